"""Losses for labels of two values, one column an output (several columns: independent labels), from logits."""

from dataclasses import dataclass
from typing import Any, ClassVar

from mlp_xp.nn.activations import sigmoid
from mlp_xp.nn.checks import NOT_NEGATIVE, Range
from mlp_xp.nn.layer import Array

from .base import ElementwiseLoss, keep_as_weights, one_for_each_output, vector


class _Binary(ElementwiseLoss):
    """Targets are probabilities in [0, 1]: 0 and 1, or between."""

    def encode(self, xp: Any, target: Array, outputs: int, dtype: Any) -> Array:
        target = super().encode(xp, target, outputs, dtype)
        if bool(xp.any(target < 0)) or bool(xp.any(target > 1)):
            raise ValueError(
                f"{self} expects targets between 0 and 1, got {float(xp.min(target)):g} to {float(xp.max(target)):g}; "
                f"for more than two classes use SoftmaxCrossEntropy"
            )
        return target


@dataclass(frozen=True)
class SigmoidBinaryCrossEntropy(_Binary):
    """Binary cross-entropy from logits z, mean over all elements:  L = log(1 + exp(z)) - t z,   dz = sigmoid(z) - t.

    With p = sigmoid(z) that is  L = -t log p - (1 - t) log(1 - p).  pos_weight w, one number or one for each output,
    multiplies the part with t, and leaves the mean as it is (torch.nn.BCEWithLogitsLoss):

    L = -w t log p - (1 - t) log(1 - p),   dz = p - t - (w - 1) t (1 - p).
    """

    pos_weight: float | tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pos_weight is None:
            return
        if not hasattr(self.pos_weight, "__len__"):
            object.__setattr__(self, "pos_weight", (self.pos_weight,))
        keep_as_weights(self, "pos_weight")

    def each(self, xp: Any, y: Array, target: Array) -> tuple[Array, Array]:
        z, t = y, target
        # log(1 + e^z) = max(z, 0) + log(1 + e^-|z|), which never overflows.
        tail = xp.log1p(xp.exp(-xp.abs(z)))
        each, slope = xp.maximum(z, 0.0) - t * z + tail, sigmoid(xp, z) - t
        if self.pos_weight is not None:  # -log p once more, w - 1 times
            more = (vector(xp, self.pos_weight, y) - 1.0) * t
            each, slope = each + more * (xp.maximum(-z, 0.0) + tail), slope - more * sigmoid(xp, -z)
        return each, slope

    def encode(self, xp: Any, target: Array, outputs: int, dtype: Any) -> Array:
        if isinstance(self.pos_weight, tuple) and len(self.pos_weight) > 1:
            one_for_each_output(self, "pos_weight", outputs)
        return super().encode(xp, target, outputs, dtype)


@dataclass(frozen=True)
class SigmoidFocal(_Binary):
    """Cross-entropy in which what is easy counts little, mean over all elements; with p = sigmoid(z), g = gamma:

    L = -t alpha (1 - p)^g log p - (1 - t) (1 - alpha) p^g log(1 - p)
    dz = t alpha (1 - p)^g (g p log p - (1 - p)) - (1 - t) (1 - alpha) p^g (g (1 - p) log(1 - p) - p)

    alpha=None leaves out alpha and 1 - alpha; with gamma=0 that is SigmoidBinaryCrossEntropy. (Lin et al., "Focal Loss
    for Dense Object Detection", 2017, where the sum is divided by the number of objects.)
    """

    gamma: float = 2.0
    alpha: float | None = 0.25
    ranges: ClassVar[dict[str, Range]] = {
        "gamma": NOT_NEGATIVE,
        "alpha": Range(lambda alpha: 0 <= alpha <= 1, "must be in [0, 1], or None", also=type(None)),
    }

    def each(self, xp: Any, y: Array, target: Array) -> tuple[Array, Array]:
        z, gamma = y, float(self.gamma)
        p, q = sigmoid(xp, z), sigmoid(xp, -z)  # q = 1 - p, exact where p is near 1
        tail = xp.log1p(xp.exp(-xp.abs(z)))
        log_p, log_q = xp.minimum(z, 0.0) - tail, xp.minimum(-z, 0.0) - tail
        positive, negative = target * q**gamma, (1.0 - target) * p**gamma
        if self.alpha is not None:
            positive, negative = float(self.alpha) * positive, (1.0 - float(self.alpha)) * negative
        each = -(positive * log_p) - negative * log_q
        return each, positive * (gamma * p * log_p - q) - negative * (gamma * q * log_q - p)
