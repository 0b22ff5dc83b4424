"""Metrics on the device: means over the rows of a batch, added up without a transfer."""

from dataclasses import dataclass
from typing import Any, ClassVar

from mlp_xp.nn.losses import batch_share

Array = Any


class Metric:
    name: ClassVar[str]

    def __call__(self, xp: Any, y: Array, target: Array, weight: Array | None) -> Array:
        """The (weighted) mean over the rows of a batch: y (..., batch, outputs) and target as the loss encodes it."""
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
            right = (y > self.threshold) == (target > 0.5)
            hits = xp.astype(right, y.dtype)
        else:
            if target.ndim == 2:
                target = xp.argmax(target, axis=-1)
            hits = xp.astype(xp.argmax(y, axis=-1) == target, y.dtype)[..., None]
        return xp.sum(batch_share(xp, y, weight) * hits, axis=(-2, -1))
