"""Stochastic gradient descent, with momentum."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from mlp_xp.schedules import Value

from .optimizer import Array, FirstOrder, Slots


@dataclass(frozen=True, repr=False)
class SGD(FirstOrder):
    """p <- p - lr g.

    With momentum mu and dampening d (Polyak, 1964):   v <- mu v + (1 - d) g,   p <- p - lr v,   v = g in the first step
    With nesterov (Sutskever et al., 2013, as torch.optim.SGD):   p <- p - lr (g + mu v)
    """

    lr: Value = 0.01
    momentum: Value = 0.0
    nesterov: bool = False
    dampening: Value = 0.0
    ranges: ClassVar[dict[str, tuple[float, float]]] = FirstOrder.ranges | {
        "momentum": (0.0, 1.0),
        "dampening": (0.0, 1.0),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            raise ValueError("SGD(nesterov=True) needs a momentum above 0, for example momentum=0.9, and no dampening")

    @property
    def slot_names(self) -> tuple[str, ...]:
        return () if self.momentum == 0 else ("velocity",)

    @property
    def rule(self) -> Callable[..., tuple[Array, Slots]]:
        if self.nesterov:
            return nesterov
        return descent if self.momentum == 0 else heavy_ball

    def numbers(self, t: int) -> tuple[float, ...]:
        fresh = 1.0 if t == 0 else 1.0 - self.number("dampening", t)
        return self.learning_rate(t), self.number("momentum", t), fresh


def descent(xp: Any, p: Array, g: Array, slots: Slots, numbers: Any) -> tuple[Array, Slots]:
    lr, _, _ = numbers
    return p - lr * g, ()


def heavy_ball(xp: Any, p: Array, g: Array, slots: Slots, numbers: Any) -> tuple[Array, Slots]:
    lr, mu, fresh = numbers
    v = mu * slots[0] + fresh * g
    return p - lr * v, (v,)


def nesterov(xp: Any, p: Array, g: Array, slots: Slots, numbers: Any) -> tuple[Array, Slots]:
    lr, mu, _ = numbers
    v = mu * slots[0] + g
    return p - lr * (g + mu * v), (v,)
