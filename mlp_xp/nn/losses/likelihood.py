"""Negative log-likelihoods of a distribution whose parameters the outputs are."""

from dataclasses import dataclass
from math import log, pi
from typing import Any

from mlp_xp.nn.layer import Array

from .base import ElementwiseLoss, Loss, batch_share, smallest


@dataclass(frozen=True)
class Poisson(ElementwiseLoss):
    """Counts t with the rate exp(y), mean over all elements:  L = exp(y) - t y,   dy = exp(y) - t.

    With full=True plus log t! by Stirling,  t log t - t + log(2 pi t) / 2  where t > 1, which is the same for all y
    (torch.nn.PoissonNLLLoss). The rate itself overflows to infinity above y = 88 in float32, 709 in float64.
    """

    full: bool = False

    def each(self, xp: Any, y: Array, target: Array) -> tuple[Array, Array]:
        rate = xp.exp(y)
        each = rate - target * y
        if self.full:
            t = xp.maximum(target, 1.0)
            stirling = t * xp.log(t) - t + 0.5 * xp.log((2 * pi) * t)
            each = each + stirling * xp.astype(target > 1, y.dtype)
        return each, rate - target

    def predicted(self, xp: Any, y: Array, target: Array) -> tuple[Array, Array]:
        """The rates exp(y)."""
        return xp.exp(y), target

    def encode(self, xp: Any, target: Array, outputs: int, dtype: Any) -> Array:
        target = super().encode(xp, target, outputs, dtype)
        if bool(xp.any(target < 0)):
            raise ValueError(f"{self} expects counts as targets, not negative, got {float(xp.min(target)):g}")
        return target


@dataclass(frozen=True)
class GaussianNegativeLogLikelihood(Loss):
    """Numbers t with a mean m and a variance exp(v) of their own, mean over all targets:

    L = (v + e^2 exp(-v)) / 2  with  e = m - t,   dm = e exp(-v),   dv = (1 - e^2 exp(-v)) / 2;   full=True adds
    log(2 pi) / 2. The outputs are the means of all columns of the targets first, then their log variances:
    (..., batch, 2 columns). (Nix and Weigend, "Estimating the mean and variance of the target probability
    distribution", 1994; torch.nn.functional.gaussian_nll_loss(m, t, var=exp(v)).)

    A variance below the smallest normal number counts in exp(-v) as that number.
    """

    full: bool = False

    @property
    def outputs_per_target(self) -> int:
        return 2

    def __call__(self, xp: Any, y: Array, target: Array, weight: Array | None = None) -> tuple[Array, Array]:
        columns = y.shape[-1] // 2
        m, v = y[..., :columns], y[..., columns:]
        e = m - target
        precision = xp.exp(-xp.maximum(v, log(smallest(xp, y))))
        square = e * e * precision
        each = 0.5 * (v + square)
        if self.full:
            each = each + 0.5 * log(2 * pi)
        share = batch_share(xp, m, weight, per_element=True)
        dy = xp.concat([e * precision, 0.5 - 0.5 * square], axis=-1)
        return xp.sum(share * each, axis=(-2, -1)), share * dy

    def predicted(self, xp: Any, y: Array, target: Array) -> tuple[Array, Array]:
        """The means m."""
        return y[..., : y.shape[-1] // 2], target
