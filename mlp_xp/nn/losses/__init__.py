"""Losses: value and gradient together, averaged over the batch."""

from .base import Loss, batch_share
from .binary import SigmoidBinaryCrossEntropy, SigmoidFocal
from .categorical import CrossEntropy, KLDivergence, SoftmaxCrossEntropy, SoftmaxFocal
from .likelihood import GaussianNegativeLogLikelihood, Poisson
from .margin import Hinge, MultiClassHinge
from .multiple import MultiOutput, Summed
from .regression import Huber, LogCosh, MeanAbsoluteError, MeanSquaredError, Quantile, SmoothL1

__all__ = [
    "CrossEntropy",
    "GaussianNegativeLogLikelihood",
    "Hinge",
    "Huber",
    "KLDivergence",
    "LogCosh",
    "Loss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "MultiClassHinge",
    "MultiOutput",
    "Poisson",
    "Quantile",
    "SigmoidBinaryCrossEntropy",
    "SigmoidFocal",
    "SmoothL1",
    "SoftmaxCrossEntropy",
    "SoftmaxFocal",
    "Summed",
    "batch_share",
]
