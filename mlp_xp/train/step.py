"""What happens in a step: pure functions of the state and the data, compiled by the backend.

Nothing in here asks the device for a number. Losses and metrics are added up on the device and fetched when
someone looks.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import array_api_compat

from mlp_xp.nn import Context, Layer, Layout, Loss, schedules_in
from mlp_xp.nn.layer import Parameters
from mlp_xp.nn.layout import updated
from mlp_xp.optim import Optimizer

from . import loss_scale
from .metrics import Metric, continued, started
from .penalty import penalty, strength
from .precision import mixed

Array = Any


class Totals(NamedTuple):
    """Sums over the rows seen since the start of an epoch or evaluation, on the device."""

    weight: Any = 0.0
    loss: Any = 0.0
    metrics: tuple[tuple[Array, ...], ...] = ()
    """What each metric keeps."""
    skipped: Any = None
    """How many steps have left the weights as they were, where there is a loss scale."""


class State(NamedTuple):
    """All that a step changes. The next step may overwrite these arrays: keep `Trainer.copy_state`, not them."""

    flat: Array
    """The parameters, see Layout."""
    slots: tuple[Array, ...]
    """The optimizer's arrays, each shaped like `flat`."""
    buffers: Array
    """Running statistics and what else the optimizer does not touch; None where the model has none."""
    totals: Totals
    scale: Array = None
    """The loss scale and how many good steps it has seen (see `loss_scale`); None where there is none."""


def untouched(xp: Any, optimizer: Optimizer, state: State) -> bool:
    """Are the optimizer's slots as it starts them from these parameters, or dropped?"""
    if not state.slots:
        return True
    fresh = optimizer.start(xp, state.flat)
    return all(bool(xp.all(slot == new)) for slot, new in zip(state.slots, fresh, strict=True))


class Data(NamedTuple):
    """A data set on the device."""

    x: Array
    """(rows, features); small integers as they are, of which a step converts its batch.

    HostRows or a Source stand for it before a step, or a part of an evaluation, takes its rows.
    """
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
        if rows.ndim > 1:  # the index is an array of one number, see `Backend.build`
            rows = rows[0, ...]
        weight = None if self.weight is None else xp.take(self.weight, rows, axis=0)
        return Data(xp.take(self.x, rows, axis=0), xp.take(self.target, rows, axis=0), weight)


class Settings(NamedTuple):
    """What a step is told from the host: numbers that change without compiling anything anew, and vectors."""

    key: Any = (0, 0)
    """The randomness of the step, see `mlp_xp.random`."""
    coefficients: tuple[float, ...] = ()
    """The optimizer's numbers."""
    scheduled: tuple[float, ...] = ()
    """What each schedule among the model's hyper-parameters stands for in this step."""
    vectors: tuple[Array | None, ...] = ()
    """The optimizer's numbers that differ between parameters, each shaped like `State.flat`; None for 1."""
    l2: float | None = None
    """The L2 penalty that is part of the loss; None where there is none."""


def training_step(
    backend: Any,
    model: Layer,
    layout: Layout,
    loss: Loss,
    optimizer: Optimizer,
    metrics: Sequence[Metric],
    dtype: str,
    half: str = "",
    scaled: bool = False,
) -> Callable[..., State]:
    """(state, data, index, settings) -> state: one update from batch number `index`.

    `half` is the dtype of matrix products where that is another one; `scaled` says that the state has a loss scale.
    """

    def make(backend: Any) -> Callable[..., State]:
        xp = backend.xp
        like = xp.zeros((0,), dtype=getattr(xp, dtype), device=backend.device)
        update = optimizer.build(xp, backend.fuse, layout, skips=scaled)
        products = backend.half(half) if half else None
        backpropagate = backpropagation(xp, model, layout, loss, metrics, like, products)

        def step(state: State, data: Data, index: Any, settings: Settings) -> State:
            value, gradient, buffers, totals = backpropagate(state, data.batch(xp, index), settings)
            scale = None
            if scaled:
                gradient, buffers, totals, scale = loss_scale.judged(xp, state, value, gradient, buffers, totals)
            flat, slots = update(state.flat, gradient, state.slots, settings.coefficients, settings.vectors)
            return State(flat, slots, buffers, totals, scale)

        return step

    return backend.build(make, layout.bounds)


def backpropagation(
    xp: Any, model: Layer, layout: Layout, loss: Loss, metrics: Sequence[Metric], like: Array, half: Any = None
) -> Callable[..., tuple[Array, Array, Array, Totals]]:
    """(state, batch, settings) -> the mean loss, its gradient, and what becomes of the state's buffers and totals.

    With an L2 penalty on the weights W, of a batch of S rows or of weight S, both are those of
    f = L + l2 / (2 S) sum W^2.   Where the state has a loss scale c, the gradient is c times that.
    """
    schedules, split = schedules_in(model), layout.split
    if half is not None:
        model, split = mixed(xp, model, layout, half, like.dtype)
    penalised = penalty(xp, layout)
    gaps, buffer_gaps = layout.gaps(xp, like), layout.buffers.gaps(xp, like)

    def backpropagate(state: State, batch: Data, settings: Settings) -> tuple[Array, Array, Array, Totals]:
        x, target, weight, _ = batch
        x = xp.astype(x, state.flat.dtype, copy=False)  # small integers are converted when their turn comes
        p = split(xp, state.flat, state.buffers)
        scheduled = dict(zip(schedules, settings.scheduled, strict=True))
        y, saved = model.forward(xp, p, x, Context(training=True, key=settings.key, scheduled=scheduled))
        value, dy = loss(xp, y, target, weight)
        scale = None if state.scale is None else state.scale[..., 0]
        gradients = model.gradients(xp, p, saved, dy if scale is None else dy * scale[..., None, None])
        if settings.l2 is not None:
            c = strength(xp, settings.l2, loss, y, target, weight)
            w = p if half is None else layout.split(xp, state.flat, state.buffers)  # as they are, not rounded
            if scale is None:
                value = value + penalised(state.flat, w, gradients, c)
            else:
                value = value + penalised(state.flat, w, gradients, c * scale) / scale
        totals = add(xp, state.totals, loss, metrics, y, target, weight, value)
        buffers = state.buffers
        if buffer_gaps:
            buffers = layout.buffers.join(xp, updated(p, model.statistics(xp, p, saved)), buffer_gaps)
        del y, dy, saved  # the memory may be needed for the gradient in one vector
        gradient = layout.join(xp, gradients, gaps)
        if half is not None:
            gradient = xp.astype(gradient, like.dtype, copy=False)
        return value, gradient, buffers, totals

    return backpropagate


def evaluation_step(
    backend: Any, model: Layer, layout: Layout, loss: Loss, metrics: Sequence[Metric], dtype: str
) -> Callable[..., tuple[Totals, Array]]:
    """(flat, buffers, data, totals) -> totals with the loss and metrics of a batch added, and the model's outputs."""

    def make(backend: Any) -> tuple[Callable[..., Parameters], Callable[..., tuple[Totals, Array]]]:
        xp = backend.xp

        def step(p: Parameters, data: Data, totals: Totals) -> tuple[Totals, Array]:
            x = xp.astype(data.x, getattr(xp, dtype), copy=False)
            y, _ = model.forward(xp, p, x, Context())
            value, _ = loss(xp, y, data.target, data.weight)
            return add(xp, totals, loss, metrics, y, data.target, data.weight, value), y

        return partial(layout.split, xp), step

    return backend.query(make, held=2)


def prediction_step(backend: Any, model: Layer, layout: Layout, dtype: str) -> Callable[..., Array]:
    """(flat, buffers, x) -> y, without randomness."""

    def make(backend: Any) -> tuple[Callable[..., Parameters], Callable[..., Array]]:
        xp = backend.xp

        def step(p: Parameters, x: Array) -> Array:
            x = xp.astype(x, getattr(xp, dtype), copy=False)
            return model.forward(xp, p, x, Context())[0]

        return partial(layout.split, xp), step

    return backend.query(make, held=2)


def add(
    xp: Any,
    totals: Totals,
    loss: Loss,
    metrics: Sequence[Metric],
    y: Array,
    target: Array,
    weight: Array | None,
    value: Array,
) -> Totals:
    """The totals with one more batch, whose mean loss is `value`."""
    mass = loss.mass(xp, y, target, weight)
    kept = totals.metrics
    if kept:
        pairs = zip(kept, by_batches(metrics), strict=True)
        kept = tuple(continued(xp, metric, loss, before, y, target, weight) for before, metric in pairs)
    return Totals(totals.weight + mass, totals.loss + value * mass, kept)


def by_batches(metrics: Sequence[Metric]) -> list[Metric]:
    """Those that need not see all rows at once."""
    return [metric for metric in metrics if metric.by_batches]


def zero_totals(xp: Any, loss: Loss, metrics: Sequence[Metric], like: Array, outputs: int) -> Totals:
    """Totals of nothing, for a model with so many outputs, in the dtype and on the device of `like`."""
    device = array_api_compat.device(like)
    # An array for each: a compiled step may take them over, which it can do with a buffer only once.
    weight, value = (xp.zeros((), dtype=like.dtype, device=device) for _ in range(2))
    kept = tuple(started(xp, metric, loss, like, outputs) for metric in by_batches(metrics))
    return Totals(weight, value, kept)
