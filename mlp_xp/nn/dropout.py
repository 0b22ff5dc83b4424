"""Dropout."""

from dataclasses import dataclass
from typing import Any, ClassVar

from mlp_xp.random import bits

from .layer import Array, Context, Layer, Parameters


@dataclass(frozen=True)
class Dropout(Layer):
    """In training y = m x / (1 - rate), where m is 0 at a share `rate` of the elements and 1 elsewhere; else y = x.

    dx = m dy / (1 - rate). The mask m is made on the device from the step's key (Srivastava et al., 2014, in the
    inverted form, which leaves the expectation of y as it is and evaluation without cost).
    """

    rate: float = 0.5
    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 <= self.rate < 1:
            raise ValueError(f"Dropout(rate={self.rate}): the share of dropped elements must be in [0, 1)")

    def forward(self, xp: Any, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Array | None]:
        if not ctx.training or self.rate == 0:
            return x, None
        # The bits are uniform in [-2^31, 2^31): a share of `rate` of them lies below the threshold.
        rate = float(self.rate)
        threshold = round(rate * 2**32) - 2**31
        kept = bits(xp, ctx.key, ctx.path, x) >= min(threshold, 2**31 - 1)
        mask = xp.astype(kept, x.dtype) * (1 / (1 - rate))
        return x * mask, mask

    def backward(self, xp: Any, p: Parameters, saved: Array | None, dy: Array) -> tuple[Array, Parameters]:
        mask = saved
        return (dy if mask is None else dy * mask), {}
