"""Adagrad and its kin: steps scaled by the squares of the gradients so far."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from mlp_xp.schedules import Value

from .optimizer import POSITIVE, Array, FirstOrder, Slots

FROM_ZERO = FirstOrder.ranges["lr"]


@dataclass(frozen=True, repr=False)
class Adagrad(FirstOrder):
    """s <- s + g^2,   p <- p - lr / (1 + (t - 1) lr_decay) g / (sqrt(s) + eps)   in step t = 1, 2, ...

    (Duchi et al., 2011), s = initial_accumulator before the first.
    """

    lr: Value = 1e-2
    lr_decay: Value = 0.0
    initial_accumulator: float = 0.0
    eps: Value = 1e-10
    ranges: ClassVar[dict[str, tuple[float, float]]] = FirstOrder.ranges | {
        "lr_decay": FROM_ZERO,
        "initial_accumulator": FROM_ZERO,
        "eps": POSITIVE,
    }

    @property
    def slot_names(self) -> tuple[str, ...]:
        return ("sum",)

    def start(self, xp: Any, p: Array) -> Slots:
        return (xp.full_like(p, self.number("initial_accumulator", 0)),)

    @property
    def rule(self) -> Callable[..., tuple[Array, Slots]]:
        return adagrad

    def numbers(self, t: int) -> tuple[float, ...]:
        return self.learning_rate(t) / (1 + t * self.number("lr_decay", t)), self.number("eps", t)


def adagrad(xp: Any, p: Array, g: Array, slots: Slots, numbers: Any) -> tuple[Array, Slots]:
    lr, eps = numbers
    s = slots[0] + g * g
    return p - lr * g / (xp.sqrt(s) + eps), (s,)


@dataclass(frozen=True, repr=False)
class RMSprop(FirstOrder):
    """v <- alpha v + (1 - alpha) g^2,   p <- p - lr g / (sqrt(v) + eps)   (Tieleman and Hinton, 2012; torch's eps)

    With momentum mu:   b <- mu b + g / (sqrt(v) + eps),   p <- p - lr b
    With centered (Graves, 2013), the variance v - m^2 in place of v, where   m <- alpha m + (1 - alpha) g
    """

    lr: Value = 1e-2
    alpha: Value = 0.99
    eps: Value = 1e-8
    momentum: Value = 0.0
    centered: bool = False
    ranges: ClassVar[dict[str, tuple[float, float]]] = FirstOrder.ranges | {
        "alpha": (0.0, 1.0),
        "eps": POSITIVE,
        "momentum": (0.0, 1.0),
    }

    @property
    def slot_names(self) -> tuple[str, ...]:
        return "v", *(["m"] if self.centered else []), *(["momentum"] if self.momentum != 0 else [])

    @property
    def rule(self) -> Callable[..., tuple[Array, Slots]]:
        return rmsprop_centered if self.centered else rmsprop

    def numbers(self, t: int) -> tuple[float, ...]:
        return self.learning_rate(t), 1 - self.number("alpha", t), self.number("eps", t), self.number("momentum", t)


def rmsprop(xp: Any, p: Array, g: Array, slots: Slots, numbers: Any) -> tuple[Array, Slots]:
    lr, a, eps, mu = numbers
    v, *momentum = slots
    v = v + a * (g * g - v)
    step, momentum = with_momentum(mu, momentum, g / (xp.sqrt(v) + eps))
    return p - lr * step, (v, *momentum)


def rmsprop_centered(xp: Any, p: Array, g: Array, slots: Slots, numbers: Any) -> tuple[Array, Slots]:
    lr, a, eps, mu = numbers
    v, m, *momentum = slots
    v = v + a * (g * g - v)
    m = m + a * (g - m)
    deviation = xp.sqrt(xp.maximum(v - m * m, 0.0))  # rounding may take it below zero
    step, momentum = with_momentum(mu, momentum, g / (deviation + eps))
    return p - lr * step, (v, m, *momentum)


def with_momentum(mu: Any, momentum: list[Array], step: Array) -> tuple[Array, list[Array]]:
    """b <- mu b + step   where there is a b, which then is the step; and what is kept."""
    if momentum:
        step = mu * momentum[0] + step
        momentum = [step]
    return step, momentum


@dataclass(frozen=True, repr=False)
class Adadelta(FirstOrder):
    """v <- rho v + (1 - rho) g^2,   d = g sqrt(u + eps) / sqrt(v + eps),   p <- p - lr d,   u <- rho u + (1 - rho) d^2

    (Zeiler, 2012): steps in the units of p, of a size that past steps had.
    """

    lr: Value = 1.0
    rho: Value = 0.9
    eps: Value = 1e-6
    ranges: ClassVar[dict[str, tuple[float, float]]] = FirstOrder.ranges | {"rho": (0.0, 1.0), "eps": POSITIVE}

    @property
    def slot_names(self) -> tuple[str, ...]:
        return "v", "u"

    @property
    def rule(self) -> Callable[..., tuple[Array, Slots]]:
        return adadelta

    def numbers(self, t: int) -> tuple[float, ...]:
        return self.learning_rate(t), 1 - self.number("rho", t), self.number("eps", t)


def adadelta(xp: Any, p: Array, g: Array, slots: Slots, numbers: Any) -> tuple[Array, Slots]:
    lr, a, eps = numbers
    v, u = slots
    v = v + a * (g * g - v)
    d = g * xp.sqrt(u + eps) / xp.sqrt(v + eps)
    return p - lr * d, (v, u + a * (d * d - u))
