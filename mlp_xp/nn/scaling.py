"""Features times numbers: one that is given, or one for each, learned or taken from the data."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, ClassVar

import array_api_compat

from .by_feature import ByFeature
from .checks import FINITE, Range, check_initializer, is_whole
from .initializers import Constant, Initializer, Zeros
from .layer import Array, Context, Layer, Parameter, Parameters, ShapeError
from .normalization import moments


@dataclass(frozen=True)
class Scale(ByFeature):
    """y = x weight, feature by feature: a diagonal Linear.   weight: (..., 1, features)

    dx = dy weight,   dweight = sum over the batch of dy x
    """

    weight_init: Initializer = Constant(1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_initializer(self, "weight_init")

    def forward(self, xp: Any, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Array]:
        return x * p["weight"], x

    def backward(self, xp: Any, p: Parameters, saved: Array, dy: Array) -> tuple[Array, Parameters]:
        return dy * p["weight"], self.gradients(xp, p, saved, dy)

    def gradients(self, xp: Any, p: Parameters, saved: Array, dy: Array) -> Parameters:
        x = saved
        return {"weight": xp.sum(dy * x, axis=-2, keepdims=True)}

    def parameters(self) -> dict[str, Parameter]:
        return {"weight": Parameter((1, self.features), self.weight_init, 1, 1, decays=False)}


@dataclass(frozen=True)
class Rescale(Layer):
    """y = factor x + offset,   dx = factor dy: Rescale(1 / 255) brings pixels, given as bytes, to between 0 and 1."""

    factor: float
    offset: float = 0.0
    ranges: ClassVar[dict[str, Range]] = {"factor": FINITE, "offset": FINITE}

    def forward(self, xp: Any, p: Parameters, x: Array, ctx: Context) -> tuple[Array, None]:
        y = float(self.factor) * x
        return y + float(self.offset) if self.offset else y, None

    def backward(self, xp: Any, p: Parameters, saved: None, dy: Array) -> tuple[Array, Parameters]:
        return float(self.factor) * dy, {}


@dataclass(frozen=True)
class Standardize(ByFeature):
    """y = (x - mean) / scale,   dx = dy / scale,   with the mean and standard deviation of the training data.

    They are taken from the data of the first fit, or by `Trainer.adapt`, stay as they are, and are saved with the
    model: so it takes raw data for ever after. A feature that is constant has scale 1. The columns in `skip` stay as
    they are: Sequential(Standardize(6, skip=(3,)), Embedding({3: 10}), ...) for categories in column 3.
    """

    skip: tuple[int, ...] = ()
    adapts: ClassVar[bool] = True
    in_float32: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        skip = tuple(self.skip) if isinstance(self.skip, Collection) else (self.skip,)
        if not all(is_whole(column, at_least=0) and column < self.features for column in skip):
            raise ShapeError(f"Standardize(skip={self.skip!r}): give columns from 0 to {self.features - 1}")
        object.__setattr__(self, "skip", tuple(sorted({int(column) for column in skip})))

    def forward(self, xp: Any, p: Parameters, x: Array, ctx: Context) -> tuple[Array, None]:
        return (x - p["mean"]) / p["scale"], None

    def backward(self, xp: Any, p: Parameters, saved: None, dy: Array) -> tuple[Array, Parameters]:
        return dy / p["scale"], {}

    def adapt(self, xp: Any, p: Parameters, x: Array, before_training: bool) -> Parameters:
        if not before_training:
            return p
        mean, _ = moments(xp, x, axis=-2)
        rest, var = moments(xp, x - mean, axis=-2)  # the mean of what is left makes up for rounding in the first
        constant = xp.max(x, axis=-2, keepdims=True) == -xp.max(-x, axis=-2, keepdims=True)
        marks = [[float(column in self.skip) for column in range(self.features)]]
        skipped = xp.asarray(marks, dtype=x.dtype, device=array_api_compat.device(x)) > 0
        mean = xp.where(skipped, xp.zeros_like(mean), mean + rest)
        std = xp.where(skipped | constant, xp.ones_like(var), xp.sqrt(var))
        self._check(xp, mean, std)
        zero = xp.zeros_like(p["mean"])  # of the shape that the buffers have
        return {"mean": zero + mean, "scale": zero + std}

    def _check(self, xp: Any, mean: Array, std: Array) -> None:
        wrong = ~(xp.isfinite(mean) & xp.isfinite(std) & (std > 0))
        if bool(xp.any(wrong)):
            column = int(xp.argmax(xp.astype(wrong, xp.int32))) % self.features
            raise ValueError(
                f"Standardize: the mean or the variance of column {column} is too large or too small for {std.dtype}; "
                f"bring the column to another unit, or compute in float64"
            )

    def keeps(self, columns: Collection[int]) -> bool:
        return set(columns) <= set(self.skip)

    def parameters(self) -> dict[str, Parameter]:
        shape, fans = (1, self.features), (1, 1)
        return {
            "mean": Parameter(shape, Zeros(), *fans, trainable=False),
            "scale": Parameter(shape, Constant(1.0), *fans, trainable=False),
        }
