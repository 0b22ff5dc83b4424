"""Update rules on one vector, and schedules."""

from .adam import Adam
from .optimizer import Optimizer
from .schedules import Constant, CosineWithWarmup, Schedule, StepDecay
from .sgd import SGD

__all__ = ["SGD", "Adam", "Constant", "CosineWithWarmup", "Optimizer", "Schedule", "StepDecay"]
