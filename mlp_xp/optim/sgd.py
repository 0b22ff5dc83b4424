"""Stochastic gradient descent, with momentum."""

from dataclasses import dataclass
from typing import Any

from mlp_xp.schedules import Schedule

from .optimizer import Array, Optimizer, Rule


@dataclass(frozen=True)
class SGD(Optimizer):
    """p <- p - lr g.

    With momentum mu (Polyak, 1964):     v <- mu v + g,   p <- p - lr v
    With nesterov (Sutskever et al., 2013, as torch.optim.SGD):   p <- p - lr (g + mu v)
    """

    lr: float | Schedule = 0.01
    momentum: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.momentum < 1:
            raise ValueError(f"SGD(momentum={self.momentum}): momentum must be in [0, 1)")
        if self.nesterov and self.momentum == 0:
            raise ValueError("SGD(nesterov=True) needs a momentum above 0, for example momentum=0.9")

    @property
    def slot_names(self) -> tuple[str, ...]:
        return ("velocity",) if self.momentum else ()

    @property
    def rule(self) -> Rule:
        if self.nesterov:
            return nesterov
        return heavy_ball if self.momentum else descent

    def coefficients(self, t: int) -> tuple[float, ...]:
        return self.learning_rate(t), self.momentum


def descent(xp: Any, p: Array, g: Array, slots: tuple[()], coefficients: Any) -> tuple[Array, tuple[()]]:
    lr, _ = coefficients
    return p - lr * g, ()


def heavy_ball(xp: Any, p: Array, g: Array, slots: tuple[Array], coefficients: Any) -> tuple[Array, tuple[Array]]:
    lr, mu = coefficients
    v = mu * slots[0] + g
    return p - lr * v, (v,)


def nesterov(xp: Any, p: Array, g: Array, slots: tuple[Array], coefficients: Any) -> tuple[Array, tuple[Array]]:
    lr, mu = coefficients
    v = mu * slots[0] + g
    return p - lr * (g + mu * v), (v,)
