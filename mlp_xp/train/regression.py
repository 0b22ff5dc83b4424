"""Metrics of numbers. Defined as in scikit-learn's `sklearn.metrics`; of several outputs the mean of their measures.

y is what the loss says the outputs predict: the outputs themselves, the means of GaussianNegativeLogLikelihood, the
rates of Poisson, the median of Quantile or what is nearest to it.
"""

from dataclasses import dataclass
from math import sqrt
from typing import Any, ClassVar

from mlp_xp.nn.losses import batch_share

from .metrics import Array, Kept, Mean, Metric, columns, count, weighted, zeros


@dataclass(frozen=True)
class RMSE(Metric):
    """The root of the mean squared error of each output, sqrt(mean (y - t)^2)."""

    lower_is_better: ClassVar[bool] = True
    of_numbers: ClassVar[bool] = True
    name: ClassVar[str] = "rmse"

    def start(self, xp: Any, like: Array, outputs: int) -> Kept:
        return zeros(xp, like, (outputs,), (1,))

    def update(self, xp: Any, kept: Kept, y: Array, target: Array, weight: Array | None) -> Kept:
        total, seen = kept
        error = y - columns(self, y, target)
        return total + xp.sum(weighted(error * error, weight), axis=-2), seen + count(xp, y, weight)

    def result(self, kept: Kept) -> float:
        total, (seen,) = (each.tolist() for each in kept)
        return sum(sqrt(each / seen) for each in total) / len(total)


@dataclass(frozen=True)
class MAE(Mean):
    """The mean absolute error, mean |y - t|."""

    lower_is_better: ClassVar[bool] = True
    of_numbers: ClassVar[bool] = True
    name: ClassVar[str] = "mae"

    def rows(self, xp: Any, y: Array, target: Array) -> Array:
        return xp.mean(xp.abs(y - columns(self, y, target)), axis=-1)


@dataclass(frozen=True)
class R2(Metric):
    """The coefficient of determination of each output, 1 - sum (y - t)^2 / sum (t - mean t)^2.

    Where the targets are all equal, 1 if they are met exactly and 0 if not.

    The variance is put together from those of the batches (Chan, Golub and LeVeque, "Algorithms for Computing the
    Sample Variance", 1983), and of the distances from the first target: so targets far from zero lose no digits.
    """

    of_numbers: ClassVar[bool] = True
    name: ClassVar[str] = "r2"

    def start(self, xp: Any, like: Array, outputs: int) -> Kept:
        return zeros(xp, like, (1,), (outputs,), (outputs,), (outputs,), (outputs,))

    def update(self, xp: Any, kept: Kept, y: Array, target: Array, weight: Array | None) -> Kept:
        seen, origin, mean, variance, mse = kept
        t = columns(self, y, target)
        share = batch_share(xp, y, weight)

        def average(each: Array) -> Array:
            return xp.sum(share * each, axis=-2)

        origin = xp.where(seen > 0, origin, t[..., 0, :])
        offset, error = t - origin[..., None, :], y - t
        centre = average(offset)
        deviation = offset - centre[..., None, :]
        rows = count(xp, y, weight)
        total = seen + rows
        part = rows / xp.maximum(total, float(xp.finfo(y.dtype).smallest_normal))
        delta = centre - mean
        return (
            total,
            origin,
            mean + part * delta,
            variance + part * (average(deviation * deviation) - variance) + part * (1.0 - part) * delta * delta,
            mse + part * (average(error * error) - mse),
        )

    def result(self, kept: Kept) -> float:
        _, _, _, variances, mses = (each.tolist() for each in kept)
        scores = [
            1.0 - mse / variance if variance else float(mse == 0) for mse, variance in zip(mses, variances, strict=True)
        ]
        return sum(scores) / len(scores)
