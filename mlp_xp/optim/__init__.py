"""Update rules on one vector, what they can be combined with, and schedules."""

from mlp_xp.schedules import (
    Chained,
    Constant,
    Cosine,
    CosineRestarts,
    CosLog,
    Exponential,
    FlatThenCosine,
    InverseSqrt,
    MultiStep,
    OneCycle,
    Polynomial,
    Scaled,
    Schedule,
    StepDecay,
    Warmup,
)

from .adagrad import Adadelta, Adagrad, RMSprop
from .adam import Adam, Adamax, AdamW, NAdam, RAdam
from .asgd import ASGD
from .averages import EMA, SWA, Lookahead
from .constraints import Constraint, MaxNorm, NonNegative, UnitNorm
from .lamb import LAMB
from .lbfgs import LBFGS
from .optimizer import FirstOrder, Optimizer
from .sgd import SGD
from .sign import Lion, Rprop

__all__ = [
    "ASGD",
    "EMA",
    "LAMB",
    "LBFGS",
    "SGD",
    "SWA",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Chained",
    "Constant",
    "Constraint",
    "CosLog",
    "Cosine",
    "CosineRestarts",
    "Exponential",
    "FirstOrder",
    "FlatThenCosine",
    "InverseSqrt",
    "Lion",
    "Lookahead",
    "MaxNorm",
    "MultiStep",
    "NAdam",
    "NonNegative",
    "OneCycle",
    "Optimizer",
    "Polynomial",
    "RAdam",
    "RMSprop",
    "Rprop",
    "Scaled",
    "Schedule",
    "StepDecay",
    "UnitNorm",
    "Warmup",
]
