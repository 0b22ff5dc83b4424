"""Each feature times a number of its own, learned or taken from the data."""

from dataclasses import dataclass
from typing import Any, ClassVar

from .by_feature import ByFeature
from .initializers import Constant, Initializer, Zeros
from .layer import Array, Context, Parameter, Parameters
from .normalization import moments


@dataclass(frozen=True)
class Scale(ByFeature):
    """y = x weight, feature by feature: a diagonal Linear.   weight: (..., 1, features)

    dx = dy weight,   dweight = sum over the batch of dy x
    """

    weight_init: Initializer = Constant(1.0)

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
class Standardize(ByFeature):
    """y = (x - mean) / scale,   dx = dy / scale,   with the mean and standard deviation of the training data.

    They are taken from the data of the first fit, or by `Trainer.adapt`, stay as they are, and are saved with the
    model: so it takes raw data for ever after. A feature that is constant has scale 1.
    """

    adapts: ClassVar[bool] = True

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
        std = xp.where(constant, xp.ones_like(var), xp.sqrt(var))
        zero = xp.zeros_like(p["mean"])  # of the shape that the buffers have
        return {"mean": zero + mean + rest, "scale": zero + std}

    def parameters(self) -> dict[str, Parameter]:
        shape, fans = (1, self.features), (1, 1)
        return {
            "mean": Parameter(shape, Zeros(), *fans, trainable=False),
            "scale": Parameter(shape, Constant(1.0), *fans, trainable=False),
        }
