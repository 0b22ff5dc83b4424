"""How far to go along a line: on the host, in double precision, whatever the function is computed with.

Nocedal and Wright, Numerical Optimization (2nd edition, 2006), section 3.5. phi(a) is the function at the distance a
along a direction of descent, phi'(a) its slope there.
"""

from collections.abc import Callable
from math import copysign, inf, isfinite, nan, sqrt
from typing import Any, NamedTuple


class Trial(NamedTuple):
    """phi and phi' at one distance."""

    length: float
    value: float
    slope: float
    point: Any = None
    """What the caller wants back with it."""


def strong_wolfe(
    evaluate: Callable[[float], Trial],
    start: Trial,
    first: Trial,
    c1: float = 1e-4,
    c2: float = 0.9,
    evaluations: int = 20,
    noise: float = 0.0,
) -> tuple[Trial, bool]:
    """The first trial with   phi(a) <= phi(0) + c1 a phi'(0)   and   |phi'(a)| <= c2 |phi'(0)|,   and True.

    If there is none after so many evaluations (`first` is one), or none can be told apart because all that is left to
    gain is less than `noise`: the lowest trial, which may be the start, and False. A value or slope that is not finite
    marks a step that is too long.

    Algorithms 3.5 and 3.6 in one loop: a minimum that fulfils both lies between `low`, the lowest trial of enough
    decrease so far, and `high`, which is infinitely far away until there is a bracket.
    """
    trial, best, previous, low, high = first, start, start, start, Trial(inf, inf, nan)
    widths = (inf, inf)
    for left in reversed(range(evaluations)):
        finite = isfinite(trial.value) and isfinite(trial.slope)
        if finite and trial.value < best.value:
            best = trial
        enough = trial.value <= start.value + c1 * trial.length * start.slope
        if not finite or not enough or (low is not start and trial.value >= low.value):
            high = trial if finite else Trial(trial.length, inf, nan)
        elif abs(trial.slope) <= c2 * abs(start.slope):
            return trial, True
        else:
            previous = low
            if trial.slope * (high.length - low.length) >= 0:
                high = low
            low = trial
        width = abs(high.length - low.length)
        if left == 0 or width * abs(low.slope) <= noise:
            break
        # Interpolation alone may move one end only, in ever smaller steps: halve a bracket that shrinks too slowly.
        slowly, widths = width > 0.5 * widths[0], (widths[1], width)
        if width == inf:
            length = _beyond(previous, low)
        else:
            length = _between(low, high, halve=slowly or high.value == inf)
        trial = evaluate(length)
    return best, False


def _beyond(previous: Trial, low: Trial) -> float:
    """A step past `low`: to the minimum of the cubic, within limits that Moré and Thuente (1994) give."""
    step = low.length - previous.length
    nearest, farthest = low.length + 1.1 * step, low.length + 4.0 * step
    length = cubic_minimum(previous, low)
    return farthest if length is None or length <= low.length else min(max(length, nearest), farthest)


def _between(low: Trial, high: Trial, halve: bool) -> float:
    """A step between the two: to the minimum of the cubic, but not too close to an end."""
    near, far = sorted((low.length, high.length))
    length = None if halve else cubic_minimum(low, high)
    margin = 0.01 * (far - near)
    return near + 0.5 * (far - near) if length is None else min(max(length, near + margin), far - margin)


def cubic_minimum(a: Trial, b: Trial) -> float | None:
    """Where the cubic with the values and slopes of two trials is least (equation 3.59); None if it is nowhere."""
    d1 = a.slope + b.slope - 3.0 * (a.value - b.value) / (a.length - b.length)
    square = d1 * d1 - a.slope * b.slope
    if not 0 <= square < inf:
        return None
    d2 = copysign(sqrt(square), b.length - a.length)
    divisor = b.slope - a.slope + 2.0 * d2
    return b.length - (b.length - a.length) * ((b.slope + d2 - d1) / divisor) if divisor else None
