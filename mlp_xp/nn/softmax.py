"""Softmax and its logarithm: over the features of a row, not elementwise."""

from dataclasses import dataclass
from typing import Any, ClassVar

from .layer import Array, Context, Layer, Parameters


@dataclass(frozen=True)
class Softmax(Layer):
    """y_i = exp(x_i) / sum_j exp(x_j) over the features,   dx = y (dy - sum_j dy_j y_j).

    For training, prefer logits and SoftmaxCrossEntropy: one operation, exact where a probability underflows.
    """

    in_float32: ClassVar[bool] = True

    def forward(self, xp: Any, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Array]:
        e = xp.exp(x - xp.max(x, axis=-1, keepdims=True))  # p(x + c) = p(x): the largest exponent is 0
        y = e / xp.sum(e, axis=-1, keepdims=True)
        return y, y

    def backward(self, xp: Any, p: Parameters, saved: Array, dy: Array) -> tuple[Array, Parameters]:
        y = saved
        return y * (dy - xp.sum(dy * y, axis=-1, keepdims=True)), {}


@dataclass(frozen=True)
class LogSoftmax(Layer):
    """y_i = x_i - log sum_j exp(x_j) over the features,   dx = dy - exp(y) sum_j dy_j."""

    in_float32: ClassVar[bool] = True

    def forward(self, xp: Any, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Array]:
        shifted = x - xp.max(x, axis=-1, keepdims=True)
        y = shifted - xp.log(xp.sum(xp.exp(shifted), axis=-1, keepdims=True))
        return y, y

    def backward(self, xp: Any, p: Parameters, saved: Array, dy: Array) -> tuple[Array, Parameters]:
        y = saved
        return dy - xp.exp(y) * xp.sum(dy, axis=-1, keepdims=True), {}
