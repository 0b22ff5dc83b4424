"""Hinge losses: nothing to lose where the right side is ahead by a margin of 1. For support vector machines."""

from dataclasses import dataclass
from typing import Any

from mlp_xp.nn.layer import Array

from .base import ElementwiseLoss, batch_share, sign
from .categorical import Categorical, one_hot


@dataclass(frozen=True)
class Hinge(ElementwiseLoss):
    """Labels t = -1 or +1, mean over all elements:  L = h  with  h = max(0, 1 - t y),   dy = -t where h > 0, else 0.

    With squared=True  L = h^2,   dy = -2 t h.  Targets may be given as 0 and 1 too; several columns are independent
    labels. (Cortes and Vapnik, "Support-Vector Networks", 1995; scikit-learn's hinge_loss.)
    """

    squared: bool = False

    def each(self, xp: Any, y: Array, target: Array) -> tuple[Array, Array]:
        t = target
        h = xp.maximum(1.0 - t * y, 0.0)
        return (h * h, -2.0 * t * h) if self.squared else (h, -t * sign(xp, h))

    def encode(self, xp: Any, target: Array, outputs: int, dtype: Any) -> Array:
        """Give -1 and +1."""
        target = super().encode(xp, target, outputs, dtype)
        low, high = float(xp.min(target)), float(xp.max(target))
        if low not in (-1.0, 0.0, 1.0) or not bool(xp.all((target == low) | (target == 1))):
            raise ValueError(
                f"{self} expects targets 0 and 1, or -1 and +1, got numbers from {low:g} to {high:g}; "
                f"for more than two classes use MultiClassHinge"
            )
        return 2.0 * xp.astype(target > 0, dtype) - 1.0


@dataclass(frozen=True)
class MultiClassHinge(Categorical):
    """Each of the other classes j is to stay a margin of 1 below the label l:

    L = sum_j h_j / C  with  h_j = max(0, 1 - z_l + z_j)  and C classes
    dz_j = n_j / C,   dz_l = -sum_j n_j / C   with  n_j = 1 where h_j > 0, else 0

    Targets are labels, or one-hot rows. (Weston and Watkins, "Support vector machines for multi-class pattern
    recognition", 1999, without the division by C; torch.nn.MultiMarginLoss.)
    """

    def __call__(self, xp: Any, y: Array, target: Array, weight: Array | None = None) -> tuple[Array, Array]:
        t = one_hot(xp, target, y)
        right = xp.sum(t * y, axis=-1, keepdims=True)
        h = (1.0 - t) * xp.maximum(1.0 - right + y, 0.0)
        n = sign(xp, h)
        share = batch_share(xp, y, weight, per_element=True)
        dz = n - t * xp.sum(n, axis=-1, keepdims=True)
        return xp.sum(share * h, axis=(-2, -1)), share * dz

    def encode(self, xp: Any, target: Array, outputs: int, dtype: Any) -> Array:
        """Give labels (batch,)."""
        target = super().encode(xp, target, outputs, dtype)
        if target.ndim == 1:
            return target
        if not bool(xp.all((target == 0) | (target == 1))):
            raise ValueError(f"{self} expects class labels or one-hot rows as targets, not probabilities between")
        return xp.astype(xp.argmax(target, axis=-1), xp.int32)
