"""Losses for numbers, of the error e = y - t. All are averaged over all elements (see ElementwiseLoss)."""

from dataclasses import dataclass
from typing import Any, ClassVar

from mlp_xp.nn.checks import POSITIVE, Range
from mlp_xp.nn.layer import Array

from .base import ElementwiseLoss, keep_as_tuple, sign, vector


@dataclass(frozen=True)
class MeanSquaredError(ElementwiseLoss):
    """L = e^2,   dy = 2 e;   with half=True half of both."""

    half: bool = False

    def each(self, xp: Any, y: Array, target: Array) -> tuple[Array, Array]:
        e = y - target
        return (0.5 * (e * e), e) if self.half else (e * e, 2.0 * e)


@dataclass(frozen=True)
class MeanAbsoluteError(ElementwiseLoss):
    """L = |e|,   dy = sign(e), and 0 at e = 0. Its minimum is the median (least absolute deviations)."""

    def each(self, xp: Any, y: Array, target: Array) -> tuple[Array, Array]:
        e = y - target
        return xp.abs(e), sign(xp, e)


@dataclass(frozen=True)
class Huber(ElementwiseLoss):
    """L = e^2 / 2 where |e| <= delta, else delta (|e| - delta / 2);   dy = c  with  c = min(max(e, -delta), delta).

    Outliers pull with a limited force (Huber, "Robust Estimation of a Location Parameter", 1964).
    """

    delta: float = 1.0
    ranges: ClassVar[dict[str, Range]] = {"delta": POSITIVE}

    def each(self, xp: Any, y: Array, target: Array) -> tuple[Array, Array]:
        e = y - target
        c = clipped(xp, e, float(self.delta))
        return c * (e - 0.5 * c), c  # both branches in one: inside c = e, outside c = +-delta


@dataclass(frozen=True)
class SmoothL1(ElementwiseLoss):
    """L = e^2 / (2 beta) where |e| <= beta, else |e| - beta / 2;   dy = c  with  c = min(max(e, -beta), beta) / beta.

    Huber's loss divided by beta: of slope 1 outside, whatever beta is (Girshick, "Fast R-CNN", 2015).
    """

    beta: float = 1.0
    ranges: ClassVar[dict[str, Range]] = {
        "beta": POSITIVE._replace(says=f"{POSITIVE.says}; for beta = 0 use MeanAbsoluteError")
    }

    def each(self, xp: Any, y: Array, target: Array) -> tuple[Array, Array]:
        beta = float(self.beta)
        e = y - target
        c = clipped(xp, e, beta) / beta
        return c * (e - (0.5 * beta) * c), c


@dataclass(frozen=True)
class LogCosh(ElementwiseLoss):
    """L = log cosh e,   dy = tanh(e): e^2 / 2 near zero, |e| - log 2 far away (Green, 1990)."""

    def each(self, xp: Any, y: Array, target: Array) -> tuple[Array, Array]:
        e = y - target
        size = xp.abs(e)
        # cosh e = e^|e| (1 + e^-2|e|) / 2, which never overflows in the logarithm, and is 0 at 0.
        return size + xp.log1p(0.5 * xp.expm1(-2.0 * size)), xp.tanh(e)


@dataclass(frozen=True)
class Quantile(ElementwiseLoss):
    """The pinball loss of quantiles q:  L = max((q - 1) e, q e)  with  e = t - y,   dy = -q where y < t, else 1 - q.

    At y = t the slope is taken as 1/2 - q. Each column of the targets has an output for every quantile, side by side:
    for columns a and b and quantiles (0.1, 0.9) the outputs are a10, a90, b10, b90. (Koenker and Bassett, "Regression
    Quantiles", 1978; scikit-learn's mean_pinball_loss, averaged over the quantiles.)
    """

    quantiles: tuple[float, ...] = (0.1, 0.5, 0.9)

    def __post_init__(self) -> None:
        super().__post_init__()
        quantiles = keep_as_tuple(self, "quantiles")
        if not quantiles or not all(0 < q < 1 for q in quantiles):
            raise ValueError(f"Quantile(quantiles={quantiles}): give one or more numbers above 0 and below 1")

    @property
    def outputs_per_target(self) -> int:
        return len(self.quantiles)

    def each(self, xp: Any, y: Array, target: Array) -> tuple[Array, Array]:
        q = vector(xp, self.quantiles * (y.shape[-1] // len(self.quantiles)), y)
        e = target - y
        return xp.maximum((q - 1.0) * e, q * e), 0.5 - q - 0.5 * sign(xp, e)

    def predicted(self, xp: Any, y: Array, target: Array) -> tuple[Array, Array]:
        """Of each column the quantile nearest to the median; of two as near the first."""
        q = self.quantiles
        nearest = min(range(len(q)), key=lambda i: abs(q[i] - 0.5))
        one_each = (..., slice(nearest, None, len(q)))
        return y[one_each], target[one_each]

    def encode(self, xp: Any, target: Array, outputs: int, dtype: Any) -> Array:
        """Give targets of `dtype`, shape (batch, outputs): each column once for every quantile."""
        target = super().encode(xp, target, outputs, dtype)
        rows, columns = target.shape
        target = xp.broadcast_to(target[..., None], (rows, columns, len(self.quantiles)))
        return xp.reshape(target, (rows, outputs))


def clipped(xp: Any, x: Array, limit: float) -> Array:
    return xp.maximum(xp.minimum(x, limit), -limit)
