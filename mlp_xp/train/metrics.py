"""Metrics, measured on the device: what they keep is fetched once, when an epoch or an evaluation is over."""

from typing import Any, ClassVar

import array_api_compat

from mlp_xp.nn import Loss

Array = Any
Kept = tuple[Array, ...]


class Metric:
    """A frozen dataclass of options.

    y is (..., batch, outputs), as the model gives it; target as the loss encodes it: labels (batch,) or rows
    (batch, columns); weight (batch,) or None. What is kept has the leading axes of y, for models side by side.
    """

    lower_is_better: ClassVar[bool] = False
    by_batches: ClassVar[bool] = True
    """Can it be put together from batches? Else it is measured only where all rows are seen at once: on validation
    data and by evaluate, not during an epoch."""
    of_numbers: ClassVar[bool] = False
    """Does it compare the targets with what the loss says is predicted (`Loss.predicted`), such as a mean or a median?
    Else y are the outputs as they are."""

    @property
    def name(self) -> str:
        """Its column in the history; a class whose options do not change it states a text."""
        raise NotImplementedError

    def start(self, xp: Any, like: Array, outputs: int) -> Kept:
        """What is kept before the first batch: arrays of the dtype, on the device and with the leading axes of `like`.

        ValueError where a model with so many outputs cannot be measured.
        """
        raise NotImplementedError

    def update(self, xp: Any, kept: Kept, y: Array, target: Array, weight: Array | None) -> Kept:
        """What is kept after one more batch. Pure, and without a transfer."""
        raise NotImplementedError

    def result(self, kept: Kept) -> Any:
        """The measure of one model, a float (or lists of them), from what was kept, fetched as NumPy arrays."""
        raise NotImplementedError


class Mean(Metric):
    """The mean over the rows of a number that each row has."""

    def rows(self, xp: Any, y: Array, target: Array) -> Array:
        """The number of each row, (..., batch)."""
        raise NotImplementedError

    def start(self, xp: Any, like: Array, outputs: int) -> Kept:
        return zeros(xp, like, (1,), (1,))

    def update(self, xp: Any, kept: Kept, y: Array, target: Array, weight: Array | None) -> Kept:
        total, seen = kept
        each = weighted(self.rows(xp, y, target)[..., None], weight)
        return total + xp.sum(each, axis=-2), seen + count(xp, y, weight)

    def result(self, kept: Kept) -> float:
        total, seen = kept
        return float(total[0]) / float(seen[0])


def started(xp: Any, metric: Metric, loss: Loss, like: Array, outputs: int) -> Kept:
    """`metric.start` for a model with so many outputs, trained with `loss`."""
    return metric.start(xp, like, outputs // loss.outputs_per_target if metric.of_numbers else outputs)


def continued(xp: Any, metric: Metric, loss: Loss, kept: Kept, y: Array, target: Array, weight: Array | None) -> Kept:
    """`metric.update` with the outputs of a model that is trained with `loss`."""
    if metric.of_numbers:
        y, target = loss.predicted(xp, y, target)
    return metric.update(xp, kept, y, target, weight)


def zeros(xp: Any, like: Array, *shapes: tuple[int, ...]) -> Kept:
    """An array of zeros for each shape, behind the leading axes of `like`."""
    device = array_api_compat.device(like)
    return tuple(xp.zeros((*like.shape[:-1], *shape), dtype=like.dtype, device=device) for shape in shapes)


def columns(metric: Metric, y: Array, target: Array) -> Array:
    """The target, (batch, outputs), of a metric that compares it with the outputs one by one."""
    if target.dtype != y.dtype:
        raise ValueError(f"{metric} needs a target for each output; class labels are measured by train.Accuracy")
    if y.shape[-2:] != target.shape:
        raise ValueError(
            f"{metric} compares each output with a target of its own; got outputs of shape {tuple(y.shape)} and "
            f"targets of shape {tuple(target.shape)}"
        )
    return target


def weighted(each: Array, weight: Array | None) -> Array:
    """Rows (..., batch, columns), each times its weight."""
    return each if weight is None else weight[..., None] * each


def count(xp: Any, y: Array, weight: Array | None) -> Any:
    """How many rows there are, or the sum of their weights (..., 1)."""
    return float(y.shape[-2]) if weight is None else xp.sum(weight, axis=-1, keepdims=True)
