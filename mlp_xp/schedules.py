"""Hyper-parameters over time: pure functions of the step t = 0, 1, 2, ... (the number of updates made so far)."""

from dataclasses import dataclass
from math import cos, pi
from typing import Any


class Schedule:
    def __call__(self, t: int) -> float:
        raise NotImplementedError


Value = float | Schedule
"""A hyper-parameter: a number, or a schedule of it."""


def at(value: Any, t: int) -> Any:
    """The number that a hyper-parameter is at step t."""
    return value(t) if isinstance(value, Schedule) else value


@dataclass(frozen=True)
class Constant(Schedule):
    """The same value always: what a plain number stands for."""

    value: float

    def __call__(self, t: int) -> float:
        return self.value


@dataclass(frozen=True)
class StepDecay(Schedule):
    """value * factor^floor(t / every): a drop every `every` steps."""

    value: float
    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"StepDecay(every={self.every}): at least 1 step")

    def __call__(self, t: int) -> float:
        return self.value * self.factor ** (t // self.every)


@dataclass(frozen=True)
class CosineWithWarmup(Schedule):
    """A linear rise over `warmup` steps, then half a cosine to `final` at `steps` (Loshchilov and Hutter, 2017).

    value * (t + 1) / (warmup + 1) while t < warmup, then final + (value - final) (1 + cos(pi u)) / 2 with
    u = (t - warmup) / (steps - warmup), and `final` from step `steps` on.
    """

    value: float
    steps: int
    warmup: int = 0
    final: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.warmup < self.steps:
            raise ValueError(f"CosineWithWarmup: warmup={self.warmup} must be at least 0 and below steps={self.steps}")

    def __call__(self, t: int) -> float:
        if t < self.warmup:
            return self.value * (t + 1) / (self.warmup + 1)
        u = min((t - self.warmup) / (self.steps - self.warmup), 1.0)
        return self.final + (self.value - self.final) * (1 + cos(pi * u)) / 2
