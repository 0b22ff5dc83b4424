"""Layers, losses and initializers: pure functions, written once against the Array API namespace `xp`."""

from .activations import Identity, ReLU, Sigmoid, Softmax, Tanh
from .containers import Sequential
from .dropout import Dropout
from .gradient_check import GradientCheck, gradient_check, jacobian_check
from .initializers import (
    Constant,
    FanInUniform,
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    Initializer,
    Zeros,
)
from .layer import Context, Layer, Parameter, ShapeError
from .layout import Layout
from .linear import Linear
from .losses import CrossEntropy, Loss, MeanSquaredError, SigmoidBinaryCrossEntropy, SoftmaxCrossEntropy

__all__ = [
    "Constant",
    "Context",
    "CrossEntropy",
    "Dropout",
    "FanInUniform",
    "GlorotNormal",
    "GlorotUniform",
    "GradientCheck",
    "HeNormal",
    "HeUniform",
    "Identity",
    "Initializer",
    "Layer",
    "Layout",
    "Linear",
    "Loss",
    "MeanSquaredError",
    "Parameter",
    "ReLU",
    "Sequential",
    "ShapeError",
    "Sigmoid",
    "SigmoidBinaryCrossEntropy",
    "Softmax",
    "SoftmaxCrossEntropy",
    "Tanh",
    "Zeros",
    "gradient_check",
    "jacobian_check",
]
