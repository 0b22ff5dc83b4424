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

    With rate_in_velocity v holds steps, not gradients, as Sutskever et al. write it (and Keras and scikit-learn do):
    v <- mu v + lr (1 - d) g,   p <- p - v;   with nesterov   p <- p - (lr g + mu v).   The same while lr is constant;
    where it changes, the steps already in v keep the size they were taken with.
    """

    lr: Value = 0.01
    momentum: Value = 0.0
    nesterov: bool = False
    dampening: Value = 0.0
    rate_in_velocity: bool = False
    ranges: ClassVar[dict[str, tuple[float, float]]] = FirstOrder.ranges | {
        "momentum": (0.0, 1.0),
        "dampening": (0.0, 1.0),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            raise ValueError("SGD(nesterov=True) needs a momentum above 0, for example momentum=0.9, and no dampening")
        if self.rate_in_velocity and self.momentum == 0:
            raise ValueError("SGD(rate_in_velocity=True) needs a momentum above 0: without it there is no velocity")

    @property
    def slot_names(self) -> tuple[str, ...]:
        return () if self.momentum == 0 else ("velocity",)

    @property
    def rule(self) -> Callable[..., tuple[Array, Slots]]:
        if self.rate_in_velocity:
            return nesterov_of_steps if self.nesterov else heavy_ball_of_steps
        if self.nesterov:
            return nesterov
        return descent if self.momentum == 0 else heavy_ball

    def numbers(self, t: int) -> tuple[float, ...]:
        fresh = 1.0 if t == 0 else 1.0 - self.number("dampening", t)
        lr, mu = self.learning_rate(t), self.number("momentum", t)
        return (lr * fresh, mu) if self.rate_in_velocity else (lr, mu, fresh)


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


def heavy_ball_of_steps(xp: Any, p: Array, g: Array, slots: Slots, numbers: Any) -> tuple[Array, Slots]:
    lr, mu = numbers
    v = mu * slots[0] + lr * g
    return p - v, (v,)


def nesterov_of_steps(xp: Any, p: Array, g: Array, slots: Slots, numbers: Any) -> tuple[Array, Slots]:
    lr, mu = numbers
    step = lr * g
    v = mu * slots[0] + step
    return p - (step + mu * v), (v,)
