"""Update rules on one vector, and schedules."""

from mlp_xp.schedules import Constant, CosineWithWarmup, Schedule, StepDecay

from .adam import Adam
from .optimizer import Optimizer
from .sgd import SGD

__all__ = ["SGD", "Adam", "Constant", "CosineWithWarmup", "Optimizer", "Schedule", "StepDecay"]
