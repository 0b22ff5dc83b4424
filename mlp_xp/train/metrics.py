"""Metrics on the device: added up over the rows without a transfer."""

from dataclasses import dataclass
from typing import Any, ClassVar

Array = Any


class Metric:
    """A frozen dataclass that measures a batch; its mean over all rows goes into the history as `name`."""

    name: ClassVar[str]
    lower_is_better: ClassVar[bool] = False

    def __call__(self, xp: Any, y: Array, target: Array, weight: Array | None) -> Array:
        """The sum over the rows of a batch, each row times its weight (batch,) where weights are given.

        y is (..., batch, outputs), target as the loss encodes it: (batch,) labels or (batch, outputs).
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Accuracy(Metric):
    """The share of rows whose class is right.

    With several outputs the class is the largest one, and the target labels or rows of probabilities; with one output
    it is 1 where the output exceeds `threshold`: 0 for logits, 0.5 for probabilities.
    """

    threshold: float = 0.0
    name: ClassVar[str] = "accuracy"

    def __call__(self, xp: Any, y: Array, target: Array, weight: Array | None) -> Array:
        if y.shape[-1] == 1:
            right = (y[..., 0] > self.threshold) == (target[..., 0] > 0.5)
        else:
            labels = xp.argmax(target, axis=-1) if target.dtype == y.dtype else target
            right = xp.argmax(y, axis=-1) == labels
        hits = xp.astype(right, y.dtype)
        return xp.sum(hits if weight is None else weight * hits, axis=-1)
