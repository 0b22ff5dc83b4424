"""Gates: a number times how far its gate is open, from 0 to 1.

The number itself opens the gate, in GLU another feature does.
"""

from dataclasses import dataclass
from math import pi, sqrt
from typing import Any, ClassVar

from .activations import between, hard_sigmoid, sigmoid
from .layer import Array, Context, Layer, Parameters, ShapeError
from .special import FAR, mills_ratio


@dataclass(frozen=True)
class SiLU(Layer):
    """y = x s with s = 1 / (1 + exp(-x)),   dx = dy (s + y (1 - s)) (Elfwing et al., 2018; also called Swish)."""

    def forward(self, xp: Any, p: Parameters, x: Array, ctx: Context) -> tuple[Array, tuple[Array, Array]]:
        s = sigmoid(xp, x)
        y = x * s
        return y, (y, s)

    def backward(self, xp: Any, p: Parameters, saved: tuple[Array, Array], dy: Array) -> tuple[Array, Parameters]:
        y, s = saved
        return dy * (s + y * (1.0 - s)), {}


@dataclass(frozen=True)
class HardSwish(Layer):
    """y = x g with g = min(max(x / 6 + 1/2, 0), 1) (Howard et al., "Searching for MobileNetV3", 2019).

    dx = dy (g + x / 6) where 0 < g < 1, else dy g; there x / 6 = g - 1/2
    """

    def forward(self, xp: Any, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Array]:
        g = hard_sigmoid(xp, x)
        return x * g, g

    def backward(self, xp: Any, p: Parameters, saved: Array, dy: Array) -> tuple[Array, Parameters]:
        g = saved
        return dy * (g + (g - 0.5) * between(xp, g, 0.0, 1.0)), {}


@dataclass(frozen=True)
class Mish(Layer):
    """y = x tanh(log(1 + exp(x))) = x n r  with w = exp(x), n = w (w + 2), r = 1 / (n + 2) (Misra, 2020).

    dx = dy (n r + 4 x w (w + 1) r^2) = dy w r (w + 2 + 4 x (w + 1) r)
    """

    in_float32: ClassVar[bool] = True  # w^2 exceeds float16

    def forward(self, xp: Any, p: Parameters, x: Array, ctx: Context) -> tuple[Array, tuple[Array, Array, Array]]:
        w = xp.exp(xp.minimum(x, 40.0))  # there the gate n r has long been 1, and w^2 fits float32
        n = w * (w + 2.0)
        r = 1.0 / (n + 2.0)
        return x * (n * r), (x, w, r)

    def backward(
        self, xp: Any, p: Parameters, saved: tuple[Array, Array, Array], dy: Array
    ) -> tuple[Array, Parameters]:
        x, w, r = saved
        return dy * ((w * r) * (w + 2.0 + (4.0 * x) * ((w + 1.0) * r))), {}


@dataclass(frozen=True)
class GELU(Layer):
    """y = x Phi(x),   dx = dy (Phi(x) + x phi(x)): phi and Phi are the normal density and distribution.

    With approximate=True Phi(x) = (1 + tanh(u)) / 2 with u = sqrt(2 / pi) (x + 0.044715 x^3), which takes less time
    and differs by up to 5e-4 (Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016, for both).
    """

    approximate: bool = False
    in_float32: ClassVar[bool] = True  # so do the powers of x

    def forward(self, xp: Any, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Array]:
        return approximate_gelu(xp, x) if self.approximate else exact_gelu(xp, x)

    def backward(self, xp: Any, p: Parameters, saved: Array, dy: Array) -> tuple[Array, Parameters]:
        slope = saved
        return dy * slope, {}


def exact_gelu(xp: Any, x: Array) -> tuple[Array, Array]:
    """x Phi(x) and its slope, from the upper tail  1 - Phi(z) = phi(z) R(z)  at z = |x|, which is small and exact.

    x Phi(x) = max(x, 0) - z phi(z) R(z).   Below zero the slope is  phi(z) (R(z) - z);  those of x and -x sum to 1.
    """
    z = xp.minimum(xp.abs(x), FAR)
    density = (1 / sqrt(2 * pi)) * xp.exp(-0.5 * z * z)
    ratio = mills_ratio(xp, z)
    below = density * (ratio - z)
    slope = below + xp.astype(x > 0, x.dtype) * (1.0 - 2.0 * below)
    return xp.maximum(x, 0.0) - z * (density * ratio), slope


def approximate_gelu(xp: Any, x: Array) -> tuple[Array, Array]:
    """x s with s = (1 + tanh(u)) / 2, and its slope  s + x ds/dx  with  ds/dx = 2 s (1 - s) du/dx."""
    a, b = sqrt(2 / pi), 0.044715
    square = x * x
    s = 0.5 * xp.tanh(x * (a + (a * b) * square)) + 0.5
    y = x * s
    return y, s + y * (1.0 - s) * (2 * a + (6 * a * b) * square)


@dataclass(frozen=True)
class GLU(Layer):
    """y = a s with s = 1 / (1 + exp(-b)), where a is the first half of the features and b the second.

    da = dy s,   db = dy y (1 - s).   x: (..., batch, 2 n)   y: (..., batch, n)
    Dauphin et al., "Language Modeling with Gated Convolutional Networks", 2017.
    """

    def forward(self, xp: Any, p: Parameters, x: Array, ctx: Context) -> tuple[Array, tuple[Array, Array]]:
        half = x.shape[-1] // 2
        s = sigmoid(xp, x[..., half:])
        y = x[..., :half] * s
        return y, (y, s)

    def backward(self, xp: Any, p: Parameters, saved: tuple[Array, Array], dy: Array) -> tuple[Array, Parameters]:
        y, s = saved
        return xp.concat([dy * s, dy * (y * (1.0 - s))], axis=-1), {}

    def output_features(self, features: Any) -> Any:
        if features is None:
            return None
        if isinstance(features, tuple) or features % 2:
            raise ShapeError(f"GLU halves the features: it expects an even number of them, got {features}")
        return features // 2
