"""Averaged stochastic gradient descent."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from mlp_xp.schedules import Value

from .averages import averaging, move_towards
from .optimizer import Array, FirstOrder, Slots, Update


@dataclass(frozen=True, repr=False)
class ASGD(FirstOrder):
    """p <- p - eta (g + lambd p),   eta = lr / (1 + lambd lr (t - 1))^alpha,   a <- a + (p - a) / max(1, t - 1 - t0)

    (Polyak and Juditsky, 1992; Bottou, 2012; as torch.optim.ASGD) with t = 1, 2, ...: a is p for the first t0 + 2
    steps and the mean of p from then on. evaluate and predict use a.
    """

    lr: Value = 1e-2
    lambd: Value = 1e-4
    alpha: Value = 0.75
    t0: float = 1e6
    ranges: ClassVar[dict[str, tuple[float, float]]] = FirstOrder.ranges | dict.fromkeys(
        ("lambd", "alpha", "t0"), FirstOrder.ranges["lr"]
    )

    @property
    def slot_names(self) -> tuple[str, ...]:
        return ("average",)

    def start(self, xp: Any, p: Array) -> Slots:
        return (xp.asarray(p, copy=True),)

    @property
    def rule(self) -> Callable[..., tuple[Array, Slots]]:
        return asgd

    def numbers(self, t: int) -> tuple[float, ...]:
        lr, lambd = self.learning_rate(t), self.number("lambd", t)
        eta = lr / (1 + lambd * lr * t) ** self.number("alpha", t)
        return eta, 1 - lambd * eta

    def coefficients(self, t: int) -> tuple[float, ...]:
        return 1 / max(1.0, t - self.number("t0", t)), *super().coefficients(t)

    def build(self, xp: Any, fuse: Callable[..., Any], layout: Any, skips: bool = False) -> Update:
        # The average is of what the options made of the step.
        return averaging(super().build(xp, fuse, layout, skips), fuse(move_towards))

    def averaged(self, p: Array, slots: Slots) -> Array:
        return slots[0]


def asgd(xp: Any, p: Array, g: Array, slots: Slots, numbers: Any) -> tuple[Array, Slots]:
    eta, kept = numbers
    return kept * p - eta * g, ()
