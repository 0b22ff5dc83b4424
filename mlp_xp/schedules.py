"""Hyper-parameters over time: pure functions of the step t = 0, 1, 2, ... (the number of updates made so far).

A number may be a schedule where its type is `Value`: learning rate, momentum, decay, a dropout rate. Nothing is assumed
about it: from `value` it may rise as well as fall, to any `final`. A schedule that has an end stays at its final value
ever after.
"""

from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from math import cos, inf, isfinite, log2, pi, sqrt
from numbers import Integral, Real
from typing import Any


class Schedule:
    def __call__(self, t: int) -> float:
        raise NotImplementedError


Value = float | Schedule
"""A hyper-parameter: a number, or a schedule of it."""


def at(value: Any, t: int) -> Any:
    """The number that a hyper-parameter is at step t."""
    return value(t) if isinstance(value, Schedule) else value


# ---- one formula each ----


@dataclass(frozen=True)
class Constant(Schedule):
    """The same value always: what a plain number stands for."""

    value: float

    def __post_init__(self) -> None:
        _numbers(self, "value")

    def __call__(self, t: int) -> float:
        return self.value


@dataclass(frozen=True)
class StepDecay(Schedule):
    """value * factor^floor(t / every): a drop every `every` steps."""

    value: float
    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        _numbers(self, "value")
        _numbers(self, "factor", least=0.0)
        _steps(self, "every")

    def __call__(self, t: int) -> float:
        return self.value * _power(self.factor, t // self.every)


@dataclass(frozen=True)
class MultiStep(Schedule):
    """value * factor^(number of milestones that are at most t): a drop at each milestone."""

    value: float
    milestones: tuple[int, ...]
    factor: float = 0.1

    def __post_init__(self) -> None:
        _numbers(self, "value")
        _numbers(self, "factor", least=0.0)
        _milestones(self)

    def __call__(self, t: int) -> float:
        return self.value * _power(self.factor, bisect_right(self.milestones, t))


@dataclass(frozen=True)
class Exponential(Schedule):
    """value * factor^t. A factor above 1 rises."""

    value: float
    factor: float

    def __post_init__(self) -> None:
        _numbers(self, "value")
        _numbers(self, "factor", least=0.0)

    def __call__(self, t: int) -> float:
        return self.value * _power(self.factor, t)


@dataclass(frozen=True)
class Polynomial(Schedule):
    """final + (value - final) (1 - u)^power with u = t / steps: for power 1 a straight line, upwards or downwards."""

    value: float
    steps: int
    power: float = 1.0
    final: float = 0.0

    def __post_init__(self) -> None:
        _numbers(self, "value", "power", "final")
        _steps(self, "steps")
        if self.power <= 0:
            raise ValueError(f"Polynomial(power={self.power}): give a power above 0")

    def __call__(self, t: int) -> float:
        return _between(self.value, self.final, (1 - min(t / self.steps, 1.0)) ** self.power)


@dataclass(frozen=True)
class Cosine(Schedule):
    """final + (value - final) (1 + cos(pi u)) / 2 with u = t / steps (Loshchilov and Hutter, "SGDR", 2017)."""

    value: float
    steps: int
    final: float = 0.0

    def __post_init__(self) -> None:
        _numbers(self, "value", "final")
        _steps(self, "steps")

    def __call__(self, t: int) -> float:
        return _between(self.value, self.final, _half_cosine(t / self.steps))


@dataclass(frozen=True)
class CosineRestarts(Schedule):
    """Cosine again and again, each time `growth` times as many steps long ("SGDR": T_0 and T_mult). It has no end."""

    value: float
    steps: int
    growth: int = 1
    final: float = 0.0

    def __post_init__(self) -> None:
        _numbers(self, "value", "final")
        _steps(self, "steps", "growth")

    def __call__(self, t: int) -> float:
        length = self.steps
        if self.growth == 1:
            t %= length
        while t >= length:
            t -= length
            length *= self.growth
        return _between(self.value, self.final, _half_cosine(t / length))


@dataclass(frozen=True)
class FlatThenCosine(Schedule):
    """`value` for the share `flat` of the steps, then Cosine over the rest (flat_cos in Holzmüller et al., 2024)."""

    value: float
    steps: int
    flat: float = 0.5
    final: float = 0.0

    def __post_init__(self) -> None:
        _numbers(self, "value", "final")
        _numbers(self, "flat", least=0.0)
        _steps(self, "steps")
        if self.flat >= 1:
            raise ValueError(f"FlatThenCosine(flat={self.flat}): give a share of at least 0 and below 1")

    def __call__(self, t: int) -> float:
        u = (t / self.steps - self.flat) / (1 - self.flat)
        return _between(self.value, self.final, _half_cosine(max(u, 0.0)))


@dataclass(frozen=True)
class CosLog(Schedule):
    """value * (1 - cos(2 pi log2(1 + (2^cycles - 1) u))) / 2 with u = t / steps: waves from 0 to `value` and back to 0.

    Each wave is twice as long as the one before (Holzmüller et al., "Better by Default", 2024; coslog_4 for RealMLP).
    """

    value: float
    steps: int
    cycles: int = 4

    def __post_init__(self) -> None:
        _numbers(self, "value")
        _steps(self, "steps", "cycles")

    def __call__(self, t: int) -> float:
        u = min(t / self.steps, 1.0)
        return self.value * (1 - cos(2 * pi * log2(1 + (2**self.cycles - 1) * u))) / 2


@dataclass(frozen=True)
class InverseSqrt(Schedule):
    """value * min(s / warmup, sqrt(warmup / s)) with s = t + 1: a line up to `value`, then the inverse square root.

    The schedule of Vaswani et al., "Attention is all you need" (2017), with value = 1 / sqrt(d_model warmup).
    """

    value: float
    warmup: int

    def __post_init__(self) -> None:
        _numbers(self, "value")
        _steps(self, "warmup")

    def __call__(self, t: int) -> float:
        s = t + 1
        return self.value * min(s / self.warmup, sqrt(self.warmup / s))


@dataclass(frozen=True)
class OneCycle(Schedule):
    """From `start` to `peak` and on to `final`, along half cosines or straight lines (Smith and Topin, 2018).

    The peak is at step rise * steps - 1 and `final` at step steps - 1, as in torch.optim.lr_scheduler.OneCycleLR. With
    three_phase the way down takes as long as the way up, back to `start`, and the rest goes on to `final`. While the
    learning rate goes up the momentum goes down:

        lr=OneCycle(0.004, 0.1, 4e-7, steps=1000), momentum=OneCycle(0.95, 0.85, 0.95, steps=1000)
    """

    start: float
    peak: float
    final: float
    steps: int
    rise: float = 0.3
    anneal: str = "cos"
    three_phase: bool = False

    def __post_init__(self) -> None:
        _numbers(self, "start", "peak", "final", "rise")
        _steps(self, "steps")
        top, last = self.rise * self.steps - 1, self.steps - 1
        if not 0 < top * (2 if self.three_phase else 1) < last:
            raise ValueError(
                f"OneCycle(steps={self.steps}, rise={self.rise}, three_phase={self.three_phase}): the rise must take "
                f"more than one step, and leave some for the way to final"
            )
        if self.anneal not in ("cos", "linear"):
            raise ValueError(f"OneCycle(anneal={self.anneal!r}): write 'cos' or 'linear'")

    def __call__(self, t: int) -> float:
        top, last = self.rise * self.steps - 1, self.steps - 1
        back = ((2 * top, self.start),) if self.three_phase else ()
        begin, before = 0.0, self.start
        for end, after in ((top, self.peak), *back, (last, self.final)):
            if t <= end:
                u = (t - begin) / (end - begin)
                return _between(before, after, _half_cosine(u) if self.anneal == "cos" else 1 - u)
            begin, before = end, after
        return self.final


# ---- made of others ----


@dataclass(frozen=True)
class Warmup(Schedule):
    """A line to the first value of `schedule` over `steps` steps, then `schedule` from its own step 0 on.

    schedule(0) * (start + (1 - start) t / steps) while t < steps (LinearLR in PyTorch; Goyal et al., 2017). Without a
    start it is 1 / (steps + 1): the factors are then (t + 1) / (steps + 1), and the first update is not lost to a 0.
    """

    schedule: Value
    steps: int
    start: float | None = None

    def __post_init__(self) -> None:
        _values(self, "schedule")
        _steps(self, "steps")
        if self.start is not None:
            _numbers(self, "start")

    def __call__(self, t: int) -> float:
        if t >= self.steps:
            return at(self.schedule, t - self.steps)
        start = 1 / (self.steps + 1) if self.start is None else self.start
        return at(self.schedule, 0) * _between(start, 1.0, 1 - t / self.steps)


@dataclass(frozen=True)
class Chained(Schedule):
    """One schedule after another: number i + 1 takes over at milestones[i], and counts its steps from there."""

    schedules: tuple[Value, ...]
    milestones: tuple[int, ...]

    def __post_init__(self) -> None:
        given = _several(self, "schedules", "schedules or numbers, one more than milestones")
        schedules = tuple(_value(self, "schedules", schedule) for schedule in given)
        object.__setattr__(self, "schedules", schedules)
        _milestones(self)
        if len(self.schedules) != len(self.milestones) + 1:
            raise ValueError(
                f"Chained: {len(self.schedules)} schedules need {len(self.schedules) - 1} milestones, not "
                f"{len(self.milestones)}"
            )

    def __call__(self, t: int) -> float:
        index = bisect_right(self.milestones, t)
        return at(self.schedules[index], t - (0, *self.milestones)[index])


@dataclass(frozen=True)
class Scaled(Schedule):
    """value * factor, each a number or a schedule; both count the same steps."""

    value: Value
    factor: Value

    def __post_init__(self) -> None:
        _values(self, "value", "factor")

    def __call__(self, t: int) -> float:
        return at(self.value, t) * at(self.factor, t)


# ---- the parts of the formulas ----


def _between(a: float, b: float, share: float) -> float:
    """a for share 1, b for share 0, both exactly; in between on the line."""
    return a * share + b * (1 - share)


def _half_cosine(u: float) -> float:
    """(1 + cos(pi u)) / 2: from 1 at u = 0 down to 0 at u = 1, and 0 from there on."""
    return (1 + cos(pi * min(u, 1.0))) / 2


def _power(base: float, exponent: int) -> float:
    """base^exponent, infinite where that is more than a float holds."""
    try:
        return base**exponent
    except OverflowError:
        return inf


# ---- what is refused; the rest becomes Python's numbers and tuples, to be compared, hashed and saved ----


def _numbers(schedule: Schedule, *names: str, least: float = -inf) -> None:
    for name in names:
        object.__setattr__(schedule, name, _number(schedule, name, getattr(schedule, name), least))


def _values(schedule: Schedule, *names: str) -> None:
    for name in names:
        object.__setattr__(schedule, name, _value(schedule, name, getattr(schedule, name)))


def _steps(schedule: Schedule, *names: str) -> None:
    for name in names:
        value = getattr(schedule, name)
        if not isinstance(value, Integral) or value < 1:
            raise ValueError(f"{type(schedule).__name__}({name}={value!r}): give a whole number of at least 1")
        object.__setattr__(schedule, name, int(value))


def _milestones(schedule: Any) -> None:
    milestones = _several(schedule, "milestones", "whole numbers above 0 that rise, such as (100, 200)")
    whole = all(isinstance(step, Integral) for step in milestones)
    if not whole or any(after <= before for before, after in pairwise((0, *milestones))):
        raise ValueError(f"{type(schedule).__name__}(milestones={milestones}): give whole numbers above 0 that rise")
    object.__setattr__(schedule, "milestones", tuple(int(step) for step in milestones))


def _several(schedule: Any, name: str, wanted: str) -> tuple[Any, ...]:
    given = getattr(schedule, name)
    try:
        return tuple(given)
    except TypeError:
        raise TypeError(f"{type(schedule).__name__}({name}={given!r}): give a tuple of {wanted}") from None


def _value(schedule: Schedule, name: str, value: Any) -> Value:
    return value if isinstance(value, Schedule) else _number(schedule, name, value)


def _number(schedule: Schedule, name: str, value: Any, least: float = -inf) -> float:
    if not isinstance(value, Real) or not isfinite(value) or value < least:
        wanted = "a finite number" if least == -inf else f"a finite number of at least {least:g}"
        raise ValueError(f"{type(schedule).__name__}({name}={value!r}): give {wanted}")
    return float(value)
