"""Losses: value and gradient together, averaged over the batch.

Each is called as `loss(xp, y, target, weight)` with y (..., batch, features) and gives the value, shape (...), and
dL/dy, shaped like y. With per-sample weights s (..., batch) the value is  sum_i s_i L_i / sum_i s_i.  `encode` turns
what a user has as targets into what the loss computes with, once, before training, and refuses what does not fit.
"""

from dataclasses import dataclass
from typing import Any

import array_api_compat

from .activations import sigmoid
from .layer import Array, ShapeError


class Loss:
    def __call__(self, xp: Any, y: Array, target: Array, weight: Array | None = None) -> tuple[Array, Array]:
        raise NotImplementedError

    def encode(self, xp: Any, target: Array, outputs: int, dtype: Any) -> Array:
        """Give targets of `dtype`, shape (batch, outputs); (batch,) is taken for one output."""
        if target.ndim == 1 and outputs == 1:
            target = xp.reshape(target, (-1, 1))
        if target.ndim != 2 or target.shape[1] != outputs:
            raise ShapeError(
                f"{self} expects targets of shape (rows, {outputs}), as the model gives {outputs} outputs; "
                f"got shape {tuple(target.shape)}"
            )
        target = xp.astype(target, dtype, copy=False)
        if not bool(xp.all(xp.isfinite(target))):
            raise ValueError("the targets contain NaN or infinity; remove or replace those rows")
        return target


@dataclass(frozen=True)
class MeanSquaredError(Loss):
    """L = mean over all elements of (y - t)^2,   dy = 2 (y - t) / n;   with half=True half of both."""

    half: bool = False

    def __call__(self, xp: Any, y: Array, target: Array, weight: Array | None = None) -> tuple[Array, Array]:
        scale = 0.5 if self.half else 1.0
        error = y - target
        share = batch_share(xp, y, weight, per_element=True)
        return scale * xp.sum(share * (error * error), axis=(-2, -1)), (2 * scale * share) * error


@dataclass(frozen=True)
class SigmoidBinaryCrossEntropy(Loss):
    """Binary cross-entropy from logits z, mean over all elements:  L = log(1 + exp(z)) - t z,   dz = sigmoid(z) - t.

    Targets are probabilities in [0, 1]: 0 and 1, one column an output (several columns: independent labels).
    """

    def __call__(self, xp: Any, y: Array, target: Array, weight: Array | None = None) -> tuple[Array, Array]:
        z = y
        # log(1 + e^z) = max(z, 0) + log(1 + e^-|z|), which never overflows.
        each = xp.maximum(z, 0.0) - target * z + xp.log1p(xp.exp(-xp.abs(z)))
        share = batch_share(xp, y, weight, per_element=True)
        return xp.sum(share * each, axis=(-2, -1)), share * (sigmoid(xp, z) - target)

    def encode(self, xp: Any, target: Array, outputs: int, dtype: Any) -> Array:
        target = super().encode(xp, target, outputs, dtype)
        if bool(xp.any(target < 0)) or bool(xp.any(target > 1)):
            raise ValueError(
                f"{self} expects targets between 0 and 1, got {float(xp.min(target)):g} to {float(xp.max(target)):g}; "
                f"for more than two classes use SoftmaxCrossEntropy"
            )
        return target


class _Categorical(Loss):
    """Classes as integer labels (batch,), or as a row of probabilities each: one-hot or soft (batch, classes)."""

    def encode(self, xp: Any, target: Array, outputs: int, dtype: Any) -> Array:
        if target.ndim == 2 and target.shape[1] == 1 and outputs > 1:
            target = xp.reshape(target, (-1,))  # labels as a column
        if target.ndim != 1:
            target = super().encode(xp, target, outputs, dtype)
            if bool(xp.any(target < 0)):
                raise ValueError(f"{self} expects class probabilities as targets, got {float(xp.min(target)):g}")
            return target
        if not xp.isdtype(target.dtype, ("integral", "bool")):
            raise TypeError(
                f"{self} expects integer class labels, got dtype {target.dtype}; convert them with "
                f"`.astype('int64')`, or use MeanSquaredError for a numeric target"
            )
        if xp.isdtype(target.dtype, "bool"):
            target = xp.astype(target, xp.int32)
        low, high = int(xp.min(target)), int(xp.max(target))
        if low < 0 or high >= outputs:
            raise ValueError(
                f"the class labels run from {low} to {high}, but the model has {outputs} outputs, so labels must be "
                f"0 to {outputs - 1}; encode the classes (for example with scikit-learn's LabelEncoder) or give the "
                f"last layer {high + 1} outputs"
            )
        return xp.astype(target, xp.int32, copy=False)


def one_hot(xp: Any, target: Array, y: Array) -> Array:
    """Integer labels (..., batch) as rows of 0 and 1, typed like y; rows of probabilities as they are."""
    if target.dtype == y.dtype:
        return target
    classes = xp.arange(y.shape[-1], dtype=target.dtype, device=array_api_compat.device(target))
    return xp.astype(target[..., None] == classes, y.dtype)


@dataclass(frozen=True)
class SoftmaxCrossEntropy(_Categorical):
    """Cross-entropy of softmax(z) from logits z:  L = -sum_c t_c log p_c  with p = softmax(z),   dz = p sum_c t_c - t.

    One compound operation: exact under a shift of the logits, and where a probability underflows. Labels and one-hot
    rows sum to 1, then dz = p - t.
    """

    def __call__(self, xp: Any, y: Array, target: Array, weight: Array | None = None) -> tuple[Array, Array]:
        t = one_hot(xp, target, y)
        shifted = y - xp.max(y, axis=-1, keepdims=True)
        e = xp.exp(shifted)
        total = xp.sum(e, axis=-1, keepdims=True)
        share = batch_share(xp, y, weight)
        each = t * (xp.log(total) - shifted)
        p = e / total
        if t is target:  # rows of probabilities need not sum to 1
            p = p * xp.sum(t, axis=-1, keepdims=True)
        return xp.sum(share * each, axis=(-2, -1)), share * (p - t)


@dataclass(frozen=True)
class CrossEntropy(_Categorical):
    """Cross-entropy of given probabilities p, as a Softmax layer makes them:  L = -sum_c t_c log p_c,   dp = -t / p.

    A probability below the smallest normal number counts as that number. SoftmaxCrossEntropy is the better choice.
    """

    def __call__(self, xp: Any, y: Array, target: Array, weight: Array | None = None) -> tuple[Array, Array]:
        t = one_hot(xp, target, y)
        p = xp.maximum(y, float(xp.finfo(y.dtype).smallest_normal))
        share = batch_share(xp, y, weight)
        return -xp.sum(share * (t * xp.log(p)), axis=(-2, -1)), -share * (t / p)


def batch_share(xp: Any, y: Array, weight: Array | None, per_element: bool = False) -> Any:
    """How much each row counts in the mean: 1 / n, or s_i / sum s as a column; for each element of a row if asked.

    Weights that are all zero give shares of zero: such a batch changes nothing.
    """
    parts = y.shape[-1] if per_element else 1
    if weight is None:
        return 1.0 / (y.shape[-2] * parts)
    total = xp.maximum(xp.sum(weight, axis=-1, keepdims=True), float(xp.finfo(y.dtype).smallest_normal))
    return (weight / (total * float(parts)))[..., None]
