"""Adam: steps scaled by running moments of the gradient."""

from dataclasses import dataclass
from math import sqrt
from typing import Any

from mlp_xp.schedules import Schedule

from .optimizer import Array, Optimizer, Rule


@dataclass(frozen=True)
class Adam(Optimizer):
    """m <- b1 m + (1 - b1) g,   v <- b2 v + (1 - b2) g^2,   p <- p - lr M / (sqrt(V) + eps)

    with the moments corrected for their start at zero, M = m / (1 - b1^t) and V = v / (1 - b2^t), t = 1, 2, ...
    (Kingma and Ba, 2015; eps stands outside the root, as in torch.optim.Adam). The rule uses the same formula
    rearranged as in section 2 of the paper, with both corrections moved into the step size and eps.
    """

    lr: float | Schedule = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"Adam({name}={getattr(self, name)}): must be in [0, 1)")

    @property
    def slot_names(self) -> tuple[str, ...]:
        return "m", "v"

    @property
    def rule(self) -> Rule:
        return adam

    def coefficients(self, t: int) -> tuple[float, ...]:
        correction1 = 1 - self.beta1 ** (t + 1)
        correction2 = sqrt(1 - self.beta2 ** (t + 1))
        step = self.learning_rate(t) * correction2 / correction1
        return step, 1 - self.beta1, 1 - self.beta2, self.eps * correction2


def adam(xp: Any, p: Array, g: Array, slots: tuple[Array, Array], coefficients: Any) -> Any:
    step, a1, a2, eps = coefficients
    m, v = slots
    m = m + a1 * (g - m)
    v = v + a2 * (g * g - v)
    return p - step * m / (xp.sqrt(v) + eps), (m, v)
