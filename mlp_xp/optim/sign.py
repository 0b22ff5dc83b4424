"""Rules that take only the sign from the gradient: Lion and Rprop."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from numbers import Real
from typing import Any, ClassVar

from mlp_xp.schedules import Schedule, Value

from .optimizer import Array, FirstOrder, Optimizer, Slots, sign


@dataclass(frozen=True, repr=False)
class Lion(FirstOrder):
    """p <- p - lr (sign(b1 m + (1 - b1) g) + wd p),   m <- b2 m + (1 - b2) g   (Chen et al., 2023)

    Every step has the same size: take a tenth of Adam's learning rate, and ten times the weight decay.
    """

    lr: Value = 1e-4
    beta1: Value = 0.9
    beta2: Value = 0.99
    decoupled: bool = field(default=True, kw_only=True)
    ranges: ClassVar[dict[str, tuple[float, float]]] = FirstOrder.ranges | {"beta1": (0.0, 1.0), "beta2": (0.0, 1.0)}

    @property
    def slot_names(self) -> tuple[str, ...]:
        return ("m",)

    @property
    def rule(self) -> Callable[..., tuple[Array, Slots]]:
        return lion

    def numbers(self, t: int) -> tuple[float, ...]:
        return self.learning_rate(t), 1 - self.number("beta1", t), 1 - self.number("beta2", t)


def lion(xp: Any, p: Array, g: Array, slots: Slots, numbers: Any) -> tuple[Array, Slots]:
    lr, a1, a2 = numbers
    m = slots[0]
    return p - lr * sign(xp, m + a1 * (g - m)), (m + a2 * (g - m),)


@dataclass(frozen=True, repr=False)
class Rprop(FirstOrder):
    """p <- p - s sign(g), with a step size s for each number of p, lr at first (Riedmiller and Braun, 1993).

    s grows by the second of `etas` where g has the sign it had in the step before, and shrinks by the first, without
    a step, where it has the other; it stays within `step_sizes`. For whole data sets: batches change signs by chance.

    As lr is only where the step sizes start, it is a number: a schedule, or a callback that lowers it, is refused.
    """

    lr: float = 1e-2
    etas: tuple[float, float] = (0.5, 1.2)
    step_sizes: tuple[float, float] = (1e-6, 50.0)

    def __post_init__(self) -> None:
        if isinstance(self.lr, Schedule):
            raise ValueError(
                f"Rprop(lr={self.lr!r}): give a number; lr is only where its step sizes start, so a schedule "
                f"would change nothing"
            )
        super().__post_init__()
        for name in ("etas", "step_sizes"):
            pair = getattr(self, name)
            if not (isinstance(pair, tuple | list) and len(pair) == 2 and all(isinstance(x, Real) for x in pair)):
                raise ValueError(f"Rprop({name}={pair!r}): give two numbers")
            object.__setattr__(self, name, tuple(pair))
        if not 0 < self.etas[0] < 1 < self.etas[1] < inf:
            raise ValueError(f"Rprop(etas={self.etas}): give one between 0 and 1, and one above 1")
        if not 0 < self.step_sizes[0] <= self.step_sizes[1] < inf:
            raise ValueError(f"Rprop(step_sizes={self.step_sizes}): give the smallest, above 0, and the largest")

    @property
    def slot_names(self) -> tuple[str, ...]:
        return "sign", "step_size"

    def with_learning_rate(self, lr: Value) -> Optimizer:
        raise ValueError(
            f"{self}: its learning rate cannot be changed or searched for, as lr is only where its step sizes start"
        )

    def start(self, xp: Any, p: Array) -> Slots:
        return xp.zeros_like(p), xp.full_like(p, self.learning_rate(0))

    @property
    def rule(self) -> Callable[..., tuple[Array, Slots]]:
        return rprop

    def numbers(self, t: int) -> tuple[float, ...]:
        return tuple(map(float, (*self.etas, *self.step_sizes)))


def rprop(xp: Any, p: Array, g: Array, slots: Slots, numbers: Any) -> tuple[Array, Slots]:
    shrink, grow, smallest, largest = numbers
    before, size = slots
    now = sign(xp, g)
    same = now * before
    size = xp.where(same > 0, grow * size, xp.where(same < 0, shrink * size, size))
    size = xp.minimum(xp.maximum(size, smallest), largest)
    now = xp.where(same < 0, xp.zeros_like(now), now)
    return p - now * size, (now, size)
