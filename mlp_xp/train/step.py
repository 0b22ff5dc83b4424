"""What happens in a step: pure functions of the state and the data, compiled by the backend.

Nothing in here asks the device for a number. Losses and metrics are added up on the device and fetched when
someone looks.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import array_api_compat

from mlp_xp.nn import Context, Layer, Layout, Loss
from mlp_xp.optim import Optimizer

from .metrics import Metric

Array = Any


class Totals(NamedTuple):
    """Sums over the rows seen since the start of an epoch or evaluation, each a number on the device."""

    weight: Any = 0.0
    loss: Any = 0.0
    metrics: tuple[Any, ...] = ()


class State(NamedTuple):
    """All that a step changes. The next step may overwrite these arrays: keep `Trainer.copy_weights`, not them."""

    flat: Array
    """The parameters, see Layout."""
    slots: tuple[Array, ...]
    """The optimizer's arrays, each shaped like `flat`."""
    totals: Totals


class Data(NamedTuple):
    """A data set on the device."""

    x: Array
    """(rows, features)"""
    target: Array = None
    """As the loss encodes it: (rows,) labels or (rows, outputs)."""
    weight: Array = None
    """Per-sample weights (rows,), or None."""
    batches: Array = None
    """The rows of each batch of an epoch, int32 (batches, rows in a batch); None for all rows as they are."""

    def batch(self, xp: Any, index: Any) -> "Data":
        """The rows of batch number `index`."""
        if self.batches is None:
            return self
        rows = self.batches[index, ...]
        weight = None if self.weight is None else xp.take(self.weight, rows, axis=0)
        return Data(xp.take(self.x, rows, axis=0), xp.take(self.target, rows, axis=0), weight)


def training_step(
    backend: Any,
    model: Layer,
    layout: Layout,
    gaps: tuple[Array, ...],
    loss: Loss,
    optimizer: Optimizer,
    metrics: Sequence[Metric],
) -> Callable[..., State]:
    """(state, data, index, key, coefficients) -> state: one update from batch number `index`."""
    xp = backend.xp
    update = backend.fuse(optimizer.rule)

    def step(state: State, data: Data, index: Any, key: Any, coefficients: tuple[Any, ...]) -> State:
        x, target, weight, _ = data.batch(xp, index)
        p = layout.split(xp, state.flat)
        y, saved = model.forward(xp, p, x, Context(training=True, key=key))
        value, dy = loss(xp, y, target, weight)
        gradient = layout.join(xp, model.gradients(xp, p, saved, dy), gaps)
        totals = add(xp, state.totals, metrics, y, target, weight, value)
        flat, slots = update(state.flat, gradient, state.slots, coefficients)
        return State(flat, slots, totals)

    return backend.compile(step, donate=(0,))


def evaluation_step(
    backend: Any, model: Layer, layout: Layout, loss: Loss, metrics: Sequence[Metric]
) -> Callable[..., Totals]:
    """(flat, data, totals) -> totals: loss and metrics of a batch, added to the totals."""
    xp = backend.xp

    def step(flat: Array, data: Data, totals: Totals) -> Totals:
        y, _ = model.forward(xp, layout.split(xp, flat), data.x, Context())
        value, _ = loss(xp, y, data.target, data.weight)
        return add(xp, totals, metrics, y, data.target, data.weight, value)

    return backend.compile(step)


def prediction_step(backend: Any, model: Layer, layout: Layout) -> Callable[..., Array]:
    """(flat, x) -> y, without randomness."""
    xp = backend.xp
    return backend.compile(lambda flat, x: model.forward(xp, layout.split(xp, flat), x, Context())[0])


def add(
    xp: Any,
    totals: Totals,
    metrics: Sequence[Metric],
    y: Array,
    target: Array,
    weight: Array | None,
    value: Array,
) -> Totals:
    """The totals with one more batch, whose mean loss is `value`."""
    rows = float(y.shape[-2]) if weight is None else xp.sum(weight, axis=-1)
    measured = tuple(
        total + metric(xp, y, target, weight) for total, metric in zip(totals.metrics, metrics, strict=True)
    )
    return Totals(totals.weight + rows, totals.loss + value * rows, measured)


def zero_totals(xp: Any, metrics: Sequence[Metric], example: Array) -> Totals:
    """Totals of nothing, in the dtype and on the device of `example`."""
    device = array_api_compat.device(example)
    # An array for each: a compiled step may take them over, which it can do with a buffer only once.
    weight, loss, *measured = (xp.zeros((), dtype=example.dtype, device=device) for _ in range(2 + len(metrics)))
    return Totals(weight, loss, tuple(measured))
