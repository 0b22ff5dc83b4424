"""Losses for one class out of several: the mean over the rows of what each row loses."""

from dataclasses import dataclass
from typing import Any, ClassVar

import array_api_compat

from mlp_xp.nn.checks import NOT_NEGATIVE, Range
from mlp_xp.nn.layer import Array

from .base import Loss, batch_share, keep_as_weights, one_for_each_output, smallest, vector

TOLERANCE = 1e-3
"""How far the sum of a row of probabilities may be off 1: as far as that of float16 numbers."""


class Categorical(Loss):
    """Classes as integer labels (batch,), or as a row of probabilities each: one-hot or soft (batch, classes)."""

    class_weight: tuple[float, ...] | None = None

    def mass(self, xp: Any, y: Array, target: Array, weight: Array | None = None) -> Any:
        if self.class_weight is None or target.dtype == y.dtype:
            return super().mass(xp, y, target, weight)
        of_label = xp.sum(vector(xp, self.class_weight, y) * one_hot(xp, target, y), axis=-1)
        return xp.sum(of_label if weight is None else weight * of_label, axis=-1)

    def encode(self, xp: Any, target: Array, outputs: int, dtype: Any) -> Array:
        if target.ndim == 2 and target.shape[1] == 1 and outputs > 1:
            target = xp.reshape(target, (-1,))  # labels as a column
        if target.ndim != 1:
            target = super().encode(xp, target, outputs, dtype)
            check_distributions(xp, target, self)
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


def check_distributions(xp: Any, target: Array, loss: Loss) -> None:
    """ValueError that names the first row that is not a distribution."""
    sums = xp.sum(target, axis=-1)
    wrong = xp.any(target < 0, axis=-1) | (xp.abs(sums - 1.0) > TOLERANCE)
    if bool(xp.any(wrong)):
        row = int(xp.argmax(xp.astype(wrong, xp.int32)))
        raise ValueError(
            f"{loss} expects class labels, or class probabilities that are not negative and sum to 1 in each row; "
            f"row {row} has the sum {float(sums[row]):g} and the smallest number {float(xp.min(target[row, ...])):g}. "
            f"For labels that do not exclude each other use SigmoidBinaryCrossEntropy"
        )


def one_hot(xp: Any, target: Array, y: Array) -> Array:
    """Integer labels (..., batch) as rows of 0 and 1, typed like y; rows of probabilities as they are."""
    if target.dtype == y.dtype:
        return target
    classes = xp.arange(y.shape[-1], dtype=target.dtype, device=array_api_compat.device(target))
    return xp.astype(target[..., None] == classes, y.dtype)


def class_terms(
    xp: Any, target: Array, y: Array, share: Any, class_weight: tuple[float, ...] | None, smoothing: float = 0.0
) -> Array:
    """The factors of -log p_c: the target, smoothed to (1 - smoothing) t_c + smoothing / C, times the class weights.

    For labels l the class weights w are divided by their mean over the batch, which makes the mean of a loss L_i
    sum_i s_i w_li L_i / sum_i s_i w_li;  for rows of probabilities they are not (torch.nn.CrossEntropyLoss).
    """
    t = given = one_hot(xp, target, y)
    if smoothing:
        t = (1.0 - smoothing) * t + smoothing / y.shape[-1]
    if class_weight is None:
        return t
    w = vector(xp, class_weight, y)
    if given is not target:
        mean = xp.sum(share * (w * given), axis=(-2, -1), keepdims=True)
        # A batch of classes with weight zero changes nothing.
        w = w * (xp.astype(mean > 0, y.dtype) / xp.maximum(mean, smallest(xp, y)))
    return w * t


def softmax(xp: Any, z: Array) -> tuple[Array, Array]:
    """p = softmax(z) and log p: exact under a shift of the logits, and log p where p underflows."""
    shifted = z - xp.max(z, axis=-1, keepdims=True)
    e = xp.exp(shifted)
    total = xp.sum(e, axis=-1, keepdims=True)
    return e / total, shifted - xp.log(total)


@dataclass(frozen=True)
class SoftmaxCrossEntropy(Categorical):
    """Cross-entropy of softmax(z) from logits z:  L = -sum_c t_c log p_c  with p = softmax(z),   dz = p sum_c t_c - t.

    One compound operation, stable for all z. Labels and one-hot rows sum to 1, then dz = p - t.

    label_smoothing moves a part of the target to all C classes alike, t_c <- (1 - a) t_c + a / C (Szegedy et al.,
    "Rethinking the Inception Architecture", 2016). class_weight w, one for each class, multiplies the terms,
    t_c <- w_c t_c; the mean over labels l is then  sum_i s_i w_li L_i / sum_i s_i w_li  (before the weights), that over
    rows of probabilities still divided by sum_i s_i. Both as in torch.nn.CrossEntropyLoss.
    """

    label_smoothing: float = 0.0
    class_weight: tuple[float, ...] | None = None
    ranges: ClassVar[dict[str, Range]] = {"label_smoothing": Range(lambda share: 0 <= share < 1, "must be in [0, 1)")}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.class_weight is not None:
            keep_as_weights(self, "class_weight")

    def __call__(self, xp: Any, y: Array, target: Array, weight: Array | None = None) -> tuple[Array, Array]:
        share = batch_share(xp, y, weight)
        t = class_terms(xp, target, y, share, self.class_weight, float(self.label_smoothing))
        p, log_p = softmax(xp, y)
        if target.dtype == y.dtype or self.class_weight is not None:  # elsewhere a row sums to 1
            p = p * xp.sum(t, axis=-1, keepdims=True)
        return -xp.sum(share * (t * log_p), axis=(-2, -1)), share * (p - t)

    def encode(self, xp: Any, target: Array, outputs: int, dtype: Any) -> Array:
        one_for_each_output(self, "class_weight", outputs)
        return super().encode(xp, target, outputs, dtype)


@dataclass(frozen=True)
class CrossEntropy(Categorical):
    """Cross-entropy of given probabilities p, as a Softmax layer makes them:  L = -sum_c t_c log p_c,   dp = -t / p.

    A probability below the smallest normal number counts as that number. SoftmaxCrossEntropy is the better choice.
    """

    def __call__(self, xp: Any, y: Array, target: Array, weight: Array | None = None) -> tuple[Array, Array]:
        t = one_hot(xp, target, y)
        p = xp.maximum(y, smallest(xp, y))
        share = batch_share(xp, y, weight)
        return -xp.sum(share * (t * xp.log(p)), axis=(-2, -1)), -share * (t / p)


@dataclass(frozen=True)
class KLDivergence(Categorical):
    """Kullback-Leibler divergence from logits z:  L = sum_c t_c (log t_c - log p_c)  with p = softmax(z), 0 log 0 = 0.

    dz = p sum_c t_c - t, as for the cross-entropy, which it is less the entropy of the target: 0 where p = t. (Kullback
    and Leibler, "On Information and Sufficiency", 1951; torch.nn.KLDivLoss(reduction="batchmean") of the log-softmax.)
    """

    def __call__(self, xp: Any, y: Array, target: Array, weight: Array | None = None) -> tuple[Array, Array]:
        t = one_hot(xp, target, y)
        p, log_p = softmax(xp, y)
        share = batch_share(xp, y, weight)
        each = t * (xp.log(xp.maximum(t, smallest(xp, y))) - log_p)
        return xp.sum(share * each, axis=(-2, -1)), share * (p * xp.sum(t, axis=-1, keepdims=True) - t)


@dataclass(frozen=True)
class SoftmaxFocal(Categorical):
    """Cross-entropy in which what is easy counts little; with p = softmax(z), g = gamma:

    L = -sum_c t_c (1 - p_c)^g log p_c
    dz = a - p sum_c a_c   with   a_c = p_c dL/dp_c = t_c (1 - p_c)^g (g p_c log p_c / (1 - p_c) - 1)

    class_weight, and the mean with it, as in SoftmaxCrossEntropy, which it is for gamma=0. (Lin et al., "Focal Loss for
    Dense Object Detection", 2017, carried over from two classes to several.)
    """

    gamma: float = 2.0
    class_weight: tuple[float, ...] | None = None
    ranges: ClassVar[dict[str, Range]] = {"gamma": NOT_NEGATIVE}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.class_weight is not None:
            keep_as_weights(self, "class_weight")

    def __call__(self, xp: Any, y: Array, target: Array, weight: Array | None = None) -> tuple[Array, Array]:
        gamma = float(self.gamma)
        share = batch_share(xp, y, weight)
        p, log_p = softmax(xp, y)
        q = 1.0 - p
        t = class_terms(xp, target, y, share, self.class_weight) * q**gamma
        a = t * (gamma * p * log_p / xp.maximum(q, smallest(xp, y)) - 1.0)
        dz = a - p * xp.sum(a, axis=-1, keepdims=True)
        return -xp.sum(share * (t * log_p), axis=(-2, -1)), share * dz

    def encode(self, xp: Any, target: Array, outputs: int, dtype: Any) -> Array:
        one_for_each_output(self, "class_weight", outputs)
        return super().encode(xp, target, outputs, dtype)
