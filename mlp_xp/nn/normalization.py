"""Normalisation: over the batch, or over the features of each row."""

from dataclasses import dataclass
from typing import Any, ClassVar

from .by_feature import ByFeature
from .checks import Range
from .initializers import Constant, Zeros
from .layer import Array, Context, Parameter, Parameters, ShapeError

ONES = Constant(1.0)


@dataclass(frozen=True)
class Normalization(ByFeature):
    """What the three have in common: eps > 0 under the root."""

    eps: float = 1e-5
    in_float32: ClassVar[bool] = True
    ranges: ClassVar[dict[str, Range]] = {"eps": Range(lambda eps: 0 < eps < 1, "must be above 0 and below 1")}

    def _parameter(self, init: Any, trainable: bool = True) -> Parameter:
        return Parameter((1, self.features), init, self.features, self.features, decays=False, trainable=trainable)


@dataclass(frozen=True)
class BatchNorm(Normalization):
    """y = weight z + bias   with   z = (x - mean) / sqrt(var + eps)   (Ioffe and Szegedy, 2015)

    In training mean and var (biased) are those of the batch, feature by feature:
        dz = weight dy,   dx = (dz - mean(dz) - z mean(dz z)) / sqrt(var + eps),   means over the batch.
    Each batch moves the running statistics:  running <- (1 - momentum) running + momentum batch  (var unbiased), which
    take the place of mean and var when the net is used: then  dx = dz / sqrt(running_var + eps).
    """

    momentum: float = 0.1
    minimum_rows: ClassVar[int] = 2
    ranges: ClassVar[dict[str, Range]] = Normalization.ranges | {
        "momentum": Range(lambda share: 0 <= share <= 1, "the share of the newest batch must be in [0, 1]")
    }

    def forward(self, xp: Any, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Any]:
        if ctx.training and x.shape[-2] < 2:
            raise ShapeError(f"{self}: a batch of one row has no variance; train with larger batches")
        if ctx.training:
            mean, var = moments(xp, x, axis=-2)
        else:
            mean, var = p["running_mean"], p["running_var"]
        scale = 1.0 / xp.sqrt(var + float(self.eps))
        z = (x - mean) * scale
        return z * p["weight"] + p["bias"], (z, scale, (mean, var) if ctx.training else None)

    def backward(self, xp: Any, p: Parameters, saved: Any, dy: Array) -> tuple[Array, Parameters]:
        z, scale, of_batch = saved
        dz = dy * p["weight"]
        dx = dz * scale if of_batch is None else normalized_backward(xp, z, scale, dz, axis=-2)
        return dx, self.gradients(xp, p, saved, dy)

    def gradients(self, xp: Any, p: Parameters, saved: Any, dy: Array) -> Parameters:
        z = saved[0]
        return {"weight": xp.sum(dy * z, axis=-2, keepdims=True), "bias": xp.sum(dy, axis=-2, keepdims=True)}

    def statistics(self, xp: Any, p: Parameters, saved: Any) -> Parameters:
        z, _, (mean, var) = saved
        rows, share = z.shape[-2], float(self.momentum)
        return {
            "running_mean": (1 - share) * p["running_mean"] + share * mean,
            "running_var": (1 - share) * p["running_var"] + (share * rows / (rows - 1)) * var,
        }

    def adapt(self, xp: Any, p: Parameters, x: Array, before_training: bool) -> Parameters:
        mean, var = moments(xp, x, axis=-2)
        rows = x.shape[-2]
        zero = xp.zeros_like(p["running_mean"])  # of the shape that the buffers have
        return p | {"running_mean": zero + mean, "running_var": zero + (rows / max(rows - 1, 1)) * var}

    def parameters(self) -> dict[str, Parameter]:
        return {
            "weight": self._parameter(ONES),
            "bias": self._parameter(Zeros()),
            "running_mean": self._parameter(Zeros(), trainable=False),
            "running_var": self._parameter(ONES, trainable=False),
        }


@dataclass(frozen=True)
class LayerNorm(Normalization):
    """y = weight z + bias   with   z = (x - mean) / sqrt(var + eps),   over the features of each row (Ba et al., 2016)

    dz = weight dy,   dx = (dz - mean(dz) - z mean(dz z)) / sqrt(var + eps),   means over the features.
    """

    def forward(self, xp: Any, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Any]:
        mean, var = moments(xp, x, axis=-1)
        scale = 1.0 / xp.sqrt(var + float(self.eps))
        z = (x - mean) * scale
        return z * p["weight"] + p["bias"], (z, scale)

    def backward(self, xp: Any, p: Parameters, saved: Any, dy: Array) -> tuple[Array, Parameters]:
        z, scale = saved
        return normalized_backward(xp, z, scale, dy * p["weight"], axis=-1), self.gradients(xp, p, saved, dy)

    def gradients(self, xp: Any, p: Parameters, saved: Any, dy: Array) -> Parameters:
        z = saved[0]
        return {"weight": xp.sum(dy * z, axis=-2, keepdims=True), "bias": xp.sum(dy, axis=-2, keepdims=True)}

    def parameters(self) -> dict[str, Parameter]:
        return {"weight": self._parameter(ONES), "bias": self._parameter(Zeros())}


@dataclass(frozen=True)
class RMSNorm(Normalization):
    """y = weight z   with   z = x / sqrt(mean(x^2) + eps),   over the features of each row (Zhang and Sennrich, 2019)

    dz = weight dy,   dx = (dz - z mean(dz z)) / sqrt(mean(x^2) + eps)
    """

    def forward(self, xp: Any, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Any]:
        scale = 1.0 / xp.sqrt(mean_of(xp, x * x, axis=-1) + float(self.eps))
        z = x * scale
        return z * p["weight"], (z, scale)

    def backward(self, xp: Any, p: Parameters, saved: Any, dy: Array) -> tuple[Array, Parameters]:
        z, scale = saved
        dz = dy * p["weight"]
        return scale * (dz - z * mean_of(xp, dz * z, axis=-1)), self.gradients(xp, p, saved, dy)

    def gradients(self, xp: Any, p: Parameters, saved: Any, dy: Array) -> Parameters:
        z = saved[0]
        return {"weight": xp.sum(dy * z, axis=-2, keepdims=True)}

    def parameters(self) -> dict[str, Parameter]:
        return {"weight": self._parameter(ONES)}


def mean_of(xp: Any, x: Array, axis: int) -> Array:
    """The mean along an axis, which stays with length 1."""
    return xp.sum(x, axis=axis, keepdims=True) * (1.0 / x.shape[axis])


def moments(xp: Any, x: Array, axis: int) -> tuple[Array, Array]:
    """Mean and biased variance along an axis, which stays with length 1."""
    mean = mean_of(xp, x, axis)
    centred = x - mean
    return mean, mean_of(xp, centred * centred, axis)


def normalized_backward(xp: Any, z: Array, scale: Array, dz: Array, axis: int) -> Array:
    """dx from dz, where z = (x - mean(x)) scale and scale = 1 / sqrt(var(x) + eps)."""
    return scale * (dz - mean_of(xp, dz, axis) - z * mean_of(xp, dz * z, axis))
