"""Activations that squash, elementwise. Each keeps its output, or what its slope is made of, for backward.

The rectifiers (ReLU and its kin) have a file of their own, and so have gates, Maxout and Softmax.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, ClassVar

from .checks import FINITE, POSITIVE, Range
from .layer import Array, Context, Layer, Parameters


@dataclass(frozen=True)
class Identity(Layer):
    """y = x."""

    in_float32: ClassVar[bool] = True  # it may hand on categories

    def forward(self, xp: Any, p: Parameters, x: Array, ctx: Context) -> tuple[Array, None]:
        return x, None

    def backward(self, xp: Any, p: Parameters, saved: None, dy: Array) -> tuple[Array, Parameters]:
        return dy, {}

    def keeps(self, columns: Collection[int]) -> bool:
        return True


@dataclass(frozen=True)
class Step(Layer):
    """y = 1 where x >= 0, else 0: the threshold unit (McCulloch and Pitts, 1943). For recall only.

    Its slope is zero wherever it has one, so nothing is learned through it: train with Sigmoid in its place.
    """

    differentiable: ClassVar[bool] = False

    def forward(self, xp: Any, p: Parameters, x: Array, ctx: Context) -> tuple[Array, None]:
        y = xp.astype(x >= 0, x.dtype)
        return xp.where(xp.isnan(x), x, y), None  # a comparison hides NaN

    def backward(self, xp: Any, p: Parameters, saved: None, dy: Array) -> tuple[Array, Parameters]:
        raise NotImplementedError(
            "Step has no gradient to train with (its slope is zero): train with Sigmoid() in its place, and put Step() "
            "there for recall"
        )


@dataclass(frozen=True)
class Sigmoid(Layer):
    """y = 1 / (1 + exp(-beta x)),   dx = dy beta y (1 - y)."""

    beta: float = 1.0
    ranges: ClassVar[dict[str, Range]] = {"beta": POSITIVE}

    def forward(self, xp: Any, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Array]:
        y = sigmoid(xp, float(self.beta) * x)
        return y, y

    def backward(self, xp: Any, p: Parameters, saved: Array, dy: Array) -> tuple[Array, Parameters]:
        y = saved
        return dy * (float(self.beta) * y * (1.0 - y)), {}


@dataclass(frozen=True)
class HardSigmoid(Layer):
    """y = min(max(x / 6 + 1/2, 0), 1),   dx = dy / 6 where 0 < y < 1, else 0 (Howard et al., "MobileNetV3", 2019)."""

    def forward(self, xp: Any, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Array]:
        y = hard_sigmoid(xp, x)
        return y, y

    def backward(self, xp: Any, p: Parameters, saved: Array, dy: Array) -> tuple[Array, Parameters]:
        y = saved
        return dy * ((1 / 6) * between(xp, y, 0.0, 1.0)), {}


@dataclass(frozen=True)
class LogSigmoid(Layer):
    """y = log(1 / (1 + exp(-x))) = min(x, 0) - log(1 + exp(-|x|)),   dx = dy / (1 + exp(x)) = dy (1 - exp(y))."""

    in_float32: ClassVar[bool] = True

    def forward(self, xp: Any, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Array]:
        y = xp.minimum(x, 0.0) - xp.log1p(xp.exp(-xp.abs(x)))
        return y, y

    def backward(self, xp: Any, p: Parameters, saved: Array, dy: Array) -> tuple[Array, Parameters]:
        y = saved
        return -dy * xp.expm1(y), {}  # 1 - exp(y) without cancellation where y is close to 0


@dataclass(frozen=True)
class Tanh(Layer):
    """y = tanh(x),   dx = dy (1 - y^2)."""

    def forward(self, xp: Any, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Array]:
        y = xp.tanh(x)
        return y, y

    def backward(self, xp: Any, p: Parameters, saved: Array, dy: Array) -> tuple[Array, Parameters]:
        y = saved
        return dy * (1.0 - y * y), {}


@dataclass(frozen=True)
class HardTanh(Layer):
    """y = min(max(x, low), high),   dx = dy where low < y < high, else 0 (Collobert, 2004)."""

    low: float = -1.0
    high: float = 1.0
    ranges: ClassVar[dict[str, Range]] = {"low": FINITE, "high": FINITE}

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.low < self.high:
            raise ValueError(f"{self}: low must be below high")

    def forward(self, xp: Any, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Array]:
        y = xp.minimum(xp.maximum(x, float(self.low)), float(self.high))
        return y, y

    def backward(self, xp: Any, p: Parameters, saved: Array, dy: Array) -> tuple[Array, Parameters]:
        y = saved
        return dy * between(xp, y, float(self.low), float(self.high)), {}


@dataclass(frozen=True)
class Softsign(Layer):
    """y = x / (1 + |x|),   dx = dy / (1 + |x|)^2 (Bergstra et al., 2009)."""

    def forward(self, xp: Any, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Array]:
        shrink = 1.0 / (1.0 + xp.abs(x))
        return x * shrink, shrink

    def backward(self, xp: Any, p: Parameters, saved: Array, dy: Array) -> tuple[Array, Parameters]:
        shrink = saved
        return dy * (shrink * shrink), {}


def sigmoid(xp: Any, x: Array) -> Array:
    """1 / (1 + exp(-x)), to full relative precision in both tails and without overflow."""
    return xp.exp(xp.minimum(x, 0.0)) / (1.0 + xp.exp(-xp.abs(x)))


def hard_sigmoid(xp: Any, x: Array) -> Array:
    """A sigmoid of straight lines: 0 up to x = -3, 1 from x = 3 on."""
    return xp.minimum(xp.maximum((1 / 6) * x + 0.5, 0.0), 1.0)


def between(xp: Any, y: Array, low: float, high: float) -> Array:
    """1 where low < y < high, else 0: a product with it takes a ninth of the time of `where` on NumPy."""
    return xp.astype((y > low) & (y < high), y.dtype)
