"""A step that evaluates the function over all rows as often as its line search asks."""

from collections.abc import Sequence
from math import inf, isfinite
from typing import Any, NamedTuple

from mlp_xp.nn import Layer, Layout, Loss
from mlp_xp.optim import LBFGS
from mlp_xp.optim.lbfgs import direction, remembered, with_decay
from mlp_xp.optim.line_search import Trial, strong_wolfe

from .metrics import Metric
from .step import Data, Settings, State, backpropagation

Array = Any


class Point(NamedTuple):
    """Where a trial has been."""

    state: State
    """Its parameters, buffers and totals; no slots."""
    gradient: Array
    largest: float
    """The largest element of the gradient, without its sign."""
    start_slope: float
    """The slope along the line where it starts."""


class Known(NamedTuple):
    """A function value, and what it is the value at."""

    flat: Array
    buffers: Array
    data: Data
    settings: Settings
    trial: Trial

    def holds(self, state: State, data: Data, settings: Settings) -> bool:
        """Is it still the value? Asks for the same arrays, not for the same numbers: those are on the device."""
        same = self.flat is state.flat and self.buffers is state.buffers and self.data is data
        then, now = ((s.key, s.scheduled, s.coefficients[1:]) for s in (self.settings, settings))
        return same and then == now


class FullBatchStep:
    """(state, data, index, settings) -> state: one iteration of L-BFGS. Takes the arguments of `training_step`.

    Vectors stay on the device; of each function value the host fetches four numbers in one transfer, and nothing else.
    The randomness of the step is that of every trial in it, so that the line search sees one function. The state that
    comes back holds what was measured at the accepted point: loss, metrics and running statistics.

    One model at a time: models side by side would each need a line search of their own.
    """

    def __init__(
        self,
        backend: Any,
        model: Layer,
        layout: Layout,
        loss: Loss,
        optimizer: LBFGS,
        metrics: Sequence[Metric],
        dtype: str,
    ) -> None:
        xp = backend.xp
        like = xp.zeros((0,), dtype=getattr(xp, dtype), device=backend.device)
        backpropagate = backpropagation(xp, model, layout, loss, metrics, like)

        def trial(state: State, data: Data, settings: Settings, d: Array, start: Array, length: float) -> Any:
            state = state._replace(flat=state.flat + length * d)
            value, gradient, buffers, totals = backpropagate(state, data, settings)
            decay, scale = settings.coefficients[1], settings.vectors[0]
            value, gradient = with_decay(xp, state.flat, value, gradient, decay, scale)
            numbers = [value, xp.sum(gradient * d), xp.max(xp.abs(gradient)), xp.sum(start * d)]
            return state._replace(buffers=buffers, totals=totals), gradient, xp.stack(numbers)

        self.finished = ""
        """Why the last step was the last one; empty where another may follow."""
        self.evaluations = 0
        """How many function values, each with its gradient, have been taken."""
        self._optimizer, self._to_host, self._zeros_like = optimizer, backend.to_host, xp.zeros_like
        self._eps = float(xp.finfo(like.dtype).eps)
        self._trial = backend.compile(trial)
        self._direction = backend.compile(lambda g, slots: direction(xp, g, slots))
        self._pair = backend.compile(lambda p, start, g, start_g: (p - start, g - start_g))
        self.forget()

    def forget(self) -> None:
        """Let go of what was found out about the current point, and of the data."""
        self._known: Known | None = None
        self._empty: tuple[Array, ...] | None = None
        """The slots that the last step has emptied, so that the next one goes straight down."""

    def __call__(self, state: State, data: Data, index: Any, settings: Settings) -> State:
        here = self._here(state, data, settings)._replace(length=0.0)
        still = state._replace(totals=here.point.state.totals)
        self.finished = self._level(here)
        if self.finished or not isfinite(here.value):
            return still
        slots, straight = state.slots, state.slots is self._empty
        there, fulfilled = self._search(here, state, slots, data, settings)
        if not (fulfilled or straight):  # at a kink what is remembered may mislead: is straight down better?
            empty = self._emptied(slots)
            other, _ = self._search(here, state, empty, data, settings)
            if other.value < there.value:
                there, slots, straight = other, empty, True
        if there.length == 0:
            self.finished = "the line search found nothing lower: as far as rounding lets it tell, this is a minimum"
            return still
        point = there.point
        rise = there.slope - point.start_slope
        if rise > self._eps * abs(point.start_slope):  # the function curves upwards, beyond rounding
            pair = self._pair(point.state.flat, state.flat, point.gradient, here.point.gradient)
            slots = remembered(slots, *pair)
        level, little = self._level(there), self._little(here, there)
        self.finished = level or (little if straight else "")
        if little and not self.finished:  # the next step, straight down, has the last word
            slots = self._empty = self._emptied(slots)
        state = point.state._replace(slots=slots)
        self._known = Known(state.flat, state.buffers, data, settings, there)
        return state

    def _emptied(self, slots: tuple[Array, ...]) -> tuple[Array, ...]:
        return tuple(self._zeros_like(slot) for slot in slots)

    def _search(
        self, here: Trial, state: State, slots: tuple[Array, ...], data: Data, settings: Settings
    ) -> tuple[Trial, bool]:
        """What the line search finds along the direction that the slots give; `here` if that does not lead down."""
        optimizer, start = self._optimizer, here.point.gradient
        d = self._direction(start, slots)

        def evaluate(length: float) -> Trial:
            return self._evaluate(state, data, settings, d, start, length)

        first = evaluate(settings.coefficients[0])
        slope = first.point.start_slope
        if not -inf < slope < 0:  # NaN too
            return here, False
        conditions = (optimizer.c1, optimizer.c2, optimizer.max_evaluations, self._eps * abs(here.value))
        return strong_wolfe(evaluate, here._replace(slope=slope), first, *conditions)

    def _evaluate(self, state: State, data: Data, settings: Settings, d: Array, start: Array, length: float) -> Trial:
        """The function at `length` times d from the state; `start` is the gradient there. The one place that waits."""
        self.evaluations += 1
        moved, gradient, numbers = self._trial(state._replace(slots=()), data, settings, d, start, length)
        value, slope, largest, start_slope = self._to_host(numbers).tolist()
        return Trial(length, value, slope, Point(moved, gradient, largest, start_slope))

    def _here(self, state: State, data: Data, settings: Settings) -> Trial:
        """The function at the state: known where the last step has ended there, and nothing has changed since."""
        if self._known is None or not self._known.holds(state, data, settings):
            zero = self._zeros_like(state.flat)
            trial = self._evaluate(state, data, settings, zero, zero, 0.0)
            self._known = Known(state.flat, state.buffers, data, settings, trial)
        return self._known.trial

    def _level(self, now: Trial) -> str:
        """That the gradient is small, if it is: why no iteration is to follow."""
        limit = self._optimizer.tolerance_gradient
        return f"no element of the gradient is above tolerance_gradient={limit:g}" if now.point.largest <= limit else ""

    def _little(self, before: Trial, now: Trial) -> str:
        """That the step gained little, if it did."""
        limit = self._optimizer.tolerance_change
        scale = max(abs(before.value), abs(now.value), 1.0)
        little = before.value - now.value < limit * scale
        return f"the last step gained less than tolerance_change={limit:g}" if little else ""
