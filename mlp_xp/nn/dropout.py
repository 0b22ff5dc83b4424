"""Noise in training: layers that do nothing when a net is used."""

from dataclasses import dataclass
from math import inf
from typing import Any, ClassVar

from mlp_xp.random import bits, normal, threshold
from mlp_xp.schedules import Schedule, Value

from .checks import Range
from .layer import Array, Context, Layer, Parameters

ALPHA = -1.7580993408473766
"""What SELU tends to for x -> -infinity: minus its scale times its alpha."""

SHARE = Range(lambda rate: 0 <= rate < 1, "the share of dropped elements must be in [0, 1)", also=Schedule)


@dataclass(frozen=True)
class Dropout(Layer):
    """In training y = m x / (1 - rate), where m is 0 at a share `rate` of the elements and 1 elsewhere; else y = x.

    dx = m dy / (1 - rate). The mask m is made on the device from the step's key (Srivastava et al., 2014, in the
    inverted form, which leaves the expectation of y as it is and evaluation without cost).
    """

    rate: Value = 0.5
    random: ClassVar[bool] = True
    ranges: ClassVar[dict[str, Range]] = {"rate": SHARE}

    def forward(self, xp: Any, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Array | None]:
        if not ctx.training or self.rate == 0:
            return x, None
        rate = ctx.now(self.rate)
        kept = bits(xp, ctx.key, ctx.path, x) >= threshold(xp, rate)
        mask = xp.astype(kept, x.dtype) * (1 / (1 - rate))
        return x * mask, mask

    def backward(self, xp: Any, p: Parameters, saved: Array | None, dy: Array) -> tuple[Array, Parameters]:
        mask = saved
        return (dy if mask is None else dy * mask), {}


@dataclass(frozen=True)
class AlphaDropout(Layer):
    """Dropout for SELU nets: it keeps mean 0 and variance 1 (Klambauer et al., 2017).

    In training y = a (m x + (1 - m) alpha) + b with the mask m as in Dropout, alpha = -1.758 where SELU saturates,
    a = ((1 - rate) (1 + rate alpha^2))^(-1/2) and b = -a rate alpha; else y = x.   dx = a m dy
    """

    rate: Value = 0.5
    random: ClassVar[bool] = True
    ranges: ClassVar[dict[str, Range]] = {"rate": SHARE}

    def forward(self, xp: Any, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Array | None]:
        if not ctx.training or self.rate == 0:
            return x, None
        rate = ctx.now(self.rate)
        a = ((1 - rate) * (1 + rate * ALPHA**2)) ** -0.5
        mask = xp.astype(bits(xp, ctx.key, ctx.path, x) >= threshold(xp, rate), x.dtype)
        return a * (mask * x + (1.0 - mask) * ALPHA) - a * rate * ALPHA, a * mask

    def backward(self, xp: Any, p: Parameters, saved: Array | None, dy: Array) -> tuple[Array, Parameters]:
        slope = saved
        return (dy if slope is None else dy * slope), {}


@dataclass(frozen=True)
class GaussianNoise(Layer):
    """In training y = x + std n with n from N(0, 1), new for every element and step; else y = x.   dx = dy"""

    std: Value = 0.1
    random: ClassVar[bool] = True
    in_float32: ClassVar[bool] = True  # of bits that 16-bit numbers do not hold
    ranges: ClassVar[dict[str, Range]] = {
        "std": Range(lambda std: 0 <= std < inf, "the standard deviation must be at least 0, and finite", also=Schedule)
    }

    def forward(self, xp: Any, p: Parameters, x: Array, ctx: Context) -> tuple[Array, None]:
        if not ctx.training or self.std == 0:
            return x, None
        return x + ctx.now(self.std) * normal(xp, ctx.key, ctx.path, x), None

    def backward(self, xp: Any, p: Parameters, saved: None, dy: Array) -> tuple[Array, Parameters]:
        return dy, {}
