"""Rectifiers, elementwise: for large x they give x, for large -x little or nothing."""

from dataclasses import dataclass
from typing import Any, ClassVar

from .activations import between
from .checks import POSITIVE, Range, check_initializer, is_whole
from .initializers import Constant, Initializer
from .layer import Array, Context, Layer, Parameter, Parameters, ShapeError


@dataclass(frozen=True)
class ReLU(Layer):
    """y = max(x, 0),   dx = dy where x > 0, else 0 (Nair and Hinton, 2010). At x = 0 the slope is taken as 0."""

    def forward(self, xp: Any, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Array]:
        y = xp.maximum(x, 0.0)  # keeps NaN, where a comparison would hide it
        return y, y

    def backward(self, xp: Any, p: Parameters, saved: Array, dy: Array) -> tuple[Array, Parameters]:
        y = saved
        dx = xp.astype(y > 0, dy.dtype)  # a product is nine times as fast on NumPy as `where`
        dx *= dy
        return dx, {}


@dataclass(frozen=True)
class ReLU6(Layer):
    """y = min(max(x, 0), 6),   dx = dy where 0 < y < 6, else 0 (Krizhevsky, 2010)."""

    def forward(self, xp: Any, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Array]:
        y = xp.minimum(xp.maximum(x, 0.0), 6.0)
        return y, y

    def backward(self, xp: Any, p: Parameters, saved: Array, dy: Array) -> tuple[Array, Parameters]:
        y = saved
        return dy * between(xp, y, 0.0, 6.0), {}


@dataclass(frozen=True)
class LeakyReLU(Layer):
    """y = max(x, a x) with a = slope in [0, 1),   dx = dy where x > 0, else a dy (Maas et al., 2013)."""

    slope: float = 0.01
    ranges: ClassVar[dict[str, Range]] = {
        "slope": Range(lambda slope: 0 <= slope < 1, "the slope below zero must be in [0, 1); PReLU learns any slope")
    }

    def forward(self, xp: Any, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Array]:
        y = xp.maximum(x, float(self.slope) * x)
        return y, y

    def backward(self, xp: Any, p: Parameters, saved: Array, dy: Array) -> tuple[Array, Parameters]:
        y = saved  # of the sign of x
        return dy * xp.maximum(xp.astype(y > 0, dy.dtype), float(self.slope)), {}


@dataclass(frozen=True)
class PReLU(Layer):
    """y = max(x, 0) + a min(x, 0), where the slope a is learned (He et al., "Delving Deep into Rectifiers", 2015).

    dx = dy where x > 0, else a dy;   da = sum over the batch of dy min(x, 0)
    With `features` each feature has a slope of its own, a: (..., 1, features); without it all share one, (..., 1, 1).
    By custom weight decay leaves the slopes alone.
    """

    features: int | None = None
    slope_init: Initializer = Constant(0.25)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.features is not None and not is_whole(self.features):
            raise ShapeError(f"PReLU({self.features!r}): give a whole number of features, or None for one shared slope")
        check_initializer(self, "slope_init")

    def forward(self, xp: Any, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Array]:
        return xp.maximum(x, 0.0) + p["slope"] * xp.minimum(x, 0.0), x

    def backward(self, xp: Any, p: Parameters, saved: Array, dy: Array) -> tuple[Array, Parameters]:
        x = saved
        positive = xp.astype(x > 0, dy.dtype)
        dx = dy * (positive + p["slope"] * (1.0 - positive))
        shared = (-2, -1) if self.features is None else -2
        return dx, {"slope": xp.sum(dy * xp.minimum(x, 0.0), axis=shared, keepdims=True)}

    def parameters(self) -> dict[str, Parameter]:
        return {"slope": Parameter((1, self.features or 1), self.slope_init, 1, 1, decays=False)}

    def output_features(self, features: Any) -> Any:
        if self.features is None:
            return features
        if features not in (None, self.features):
            raise ShapeError(f"PReLU({self.features}) expects {self.features} features, got {features}")
        return self.features


@dataclass(frozen=True)
class ELU(Layer):
    """y = x where x > 0, else alpha (exp(x) - 1);   dx = dy where x > 0, else dy (y + alpha).

    Clevert et al., "Fast and Accurate Deep Network Learning by Exponential Linear Units", 2016.
    """

    alpha: float = 1.0
    ranges: ClassVar[dict[str, Range]] = {"alpha": POSITIVE}

    def forward(self, xp: Any, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Array]:
        y = xp.maximum(x, 0.0) + float(self.alpha) * xp.expm1(xp.minimum(x, 0.0))
        return y, y

    def backward(self, xp: Any, p: Parameters, saved: Array, dy: Array) -> tuple[Array, Parameters]:
        y, alpha = saved, float(self.alpha)
        return dy * (xp.minimum(y, 0.0) + alpha + (1.0 - alpha) * xp.astype(y > 0, dy.dtype)), {}


@dataclass(frozen=True)
class CELU(Layer):
    """y = x where x > 0, else alpha (exp(x / alpha) - 1);   dx = dy where x > 0, else dy (y / alpha + 1).

    The ELU that is smooth for every alpha (Barron, "Continuously Differentiable Exponential Linear Units", 2017).
    """

    alpha: float = 1.0
    ranges: ClassVar[dict[str, Range]] = {"alpha": POSITIVE}

    def forward(self, xp: Any, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Array]:
        alpha = float(self.alpha)
        y = xp.maximum(x, 0.0) + alpha * xp.expm1((1.0 / alpha) * xp.minimum(x, 0.0))
        return y, y

    def backward(self, xp: Any, p: Parameters, saved: Array, dy: Array) -> tuple[Array, Parameters]:
        y = saved
        return dy * ((1.0 / float(self.alpha)) * xp.minimum(y, 0.0) + 1.0), {}


@dataclass(frozen=True)
class SELU(Layer):
    """y = scale x where x > 0, else scale alpha (exp(x) - 1);   dx = scale dy where x > 0, else dy (y + scale alpha).

    With these constants mean 0 and variance 1 are a fixed point from layer to layer, for weights N(0, 1 / fan_in)
    (Klambauer et al., "Self-Normalizing Neural Networks", 2017).
    """

    def forward(self, xp: Any, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Array]:
        y = SCALE * xp.maximum(x, 0.0) + (SCALE * ALPHA) * xp.expm1(xp.minimum(x, 0.0))
        return y, y

    def backward(self, xp: Any, p: Parameters, saved: Array, dy: Array) -> tuple[Array, Parameters]:
        y = saved
        slope = xp.minimum(y, 0.0) + SCALE * ALPHA + (SCALE - SCALE * ALPHA) * xp.astype(y > 0, dy.dtype)
        return dy * slope, {}


# The fixed point's, to double precision.
ALPHA = 1.6732632423543772
SCALE = 1.0507009873554805


@dataclass(frozen=True)
class Softplus(Layer):
    """y = log(1 + exp(beta x)) / beta = max(x, 0) + log(1 + exp(-beta |x|)) / beta (Dugas et al., 2001).

    dx = dy / (1 + exp(-beta x)) = dy (1 - exp(-beta y))
    """

    beta: float = 1.0
    in_float32: ClassVar[bool] = True
    ranges: ClassVar[dict[str, Range]] = {"beta": POSITIVE}

    def forward(self, xp: Any, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Array]:
        beta = float(self.beta)
        y = xp.maximum(x, 0.0) + (1.0 / beta) * xp.log1p(xp.exp(-beta * xp.abs(x)))
        return y, y

    def backward(self, xp: Any, p: Parameters, saved: Array, dy: Array) -> tuple[Array, Parameters]:
        y = saved
        return -dy * xp.expm1(-float(self.beta) * y), {}  # 1 - exp(-beta y) without cancellation where y is small
