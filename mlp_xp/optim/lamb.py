"""LAMB: Adam for large batches."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from mlp_xp.schedules import Value

from .adam import Moments
from .clipping import norm
from .optimizer import Array, Slots


@dataclass(frozen=True, repr=False)
class LAMB(Moments):
    """u = M / (sqrt(V) + eps) + wd w,   w <- w - lr |w| / |u| u   for each parameter w   (You et al., 2020)

    with Adam's moments M and V; the trust ratio |w| / |u| is 1 where either norm is zero. A step so has a share lr of
    the norm of each weight, however large its gradient is.
    """

    eps: Value = 1e-6
    weight_decay: Value = field(default=0.01, kw_only=True)
    per_parameter: ClassVar[bool] = True
    decay_in_rule: ClassVar[bool] = True

    @property
    def rule(self) -> Callable[..., tuple[Array, Slots]]:
        return lamb

    def numbers(self, t: int) -> tuple[float, ...]:
        a1, a2, correction1, correction2 = self.moments(t)
        return self.learning_rate(t), correction2 / correction1, a1, a2, self.number("eps", t) * correction2


def lamb(xp: Any, p: Array, g: Array, slots: Slots, numbers: Any) -> tuple[Array, Slots]:
    decay, lr, scale, a1, a2, eps = numbers
    m, v = slots
    m = m + a1 * (g - m)
    v = v + a2 * (g * g - v)
    u = scale * m / (xp.sqrt(v) + eps) + decay * p
    of_p, of_u, one = norm(xp, p), norm(xp, u), xp.ones_like(p[..., :1])
    trust = xp.where(of_p > 0, of_p, of_u) / xp.where(of_u > 0, of_u, one)
    return p - lr * trust * u, (m, v)
