"""An instance of every layer, loss, initializer and optimizer to test. One that is missing here fails the suite."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mlp_xp import nn, optim

BATCH, FEATURES = 5, 4


@dataclass
class Case:
    """A layer with the number of its input features."""

    layer: nn.Layer
    features: int = FEATURES


LAYERS: dict[str, Case] = {
    "Linear": Case(nn.Linear(4, 3)),
    "Identity": Case(nn.Identity()),
    "ReLU": Case(nn.ReLU()),
    "Sigmoid": Case(nn.Sigmoid()),
    "Sigmoid(beta=2.5)": Case(nn.Sigmoid(beta=2.5)),
    "Tanh": Case(nn.Tanh()),
    "Softmax": Case(nn.Softmax()),
    "Dropout": Case(nn.Dropout(0.4)),
    "Sequential": Case(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))),
    "Sequential, nested": Case(
        nn.Sequential(
            nn.Dropout(0.2),
            nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Dropout(0.3)),
            nn.Sequential(nn.Sigmoid(), nn.Linear(5, 3)),
        )
    ),
    "Sequential of nothing trainable": Case(nn.Sequential(nn.Tanh(), nn.Identity())),
}

_rng = np.random.default_rng(7)
_soft = _rng.uniform(0.1, 1.0, (BATCH, FEATURES))


@dataclass
class LossCase:
    """A loss with targets for outputs (BATCH, FEATURES); `probabilities` asks for outputs that are probabilities."""

    loss: nn.Loss
    target: np.ndarray
    probabilities: bool = False


LOSSES: dict[str, LossCase] = {
    "MeanSquaredError": LossCase(nn.MeanSquaredError(), _rng.normal(size=(BATCH, FEATURES))),
    "MeanSquaredError(half=True)": LossCase(nn.MeanSquaredError(half=True), _rng.normal(size=(BATCH, FEATURES))),
    "SigmoidBinaryCrossEntropy": LossCase(nn.SigmoidBinaryCrossEntropy(), _rng.uniform(size=(BATCH, FEATURES))),
    "SoftmaxCrossEntropy, labels": LossCase(nn.SoftmaxCrossEntropy(), np.array([0, 3, 1, 1, 2], np.int32)),
    "SoftmaxCrossEntropy, one-hot": LossCase(nn.SoftmaxCrossEntropy(), np.eye(4)[[0, 3, 1, 1, 2]]),
    "SoftmaxCrossEntropy, soft": LossCase(nn.SoftmaxCrossEntropy(), _soft / _soft.sum(1, keepdims=True)),
    "SoftmaxCrossEntropy, rows that do not sum to 1": LossCase(nn.SoftmaxCrossEntropy(), _soft),
    "CrossEntropy, labels": LossCase(nn.CrossEntropy(), np.array([0, 3, 1, 1, 2], np.int32), probabilities=True),
    "CrossEntropy, soft": LossCase(nn.CrossEntropy(), _soft, probabilities=True),
}

INITIALIZERS: dict[str, nn.Initializer] = {
    "HeNormal": nn.HeNormal(),
    "HeUniform": nn.HeUniform(),
    "GlorotNormal": nn.GlorotNormal(),
    "GlorotUniform": nn.GlorotUniform(),
    "FanInUniform": nn.FanInUniform(),
    "Constant": nn.Constant(0.3),
    "Zeros": nn.Zeros(),
}

OPTIMIZERS: dict[str, optim.Optimizer] = {
    "SGD": optim.SGD(0.05),
    "SGD, momentum": optim.SGD(0.05, momentum=0.9),
    "SGD, Nesterov": optim.SGD(0.05, momentum=0.9, nesterov=True),
    "Adam": optim.Adam(0.02),
    "Adam, other betas": optim.Adam(0.02, beta1=0.7, beta2=0.97, eps=1e-4),
}


def without_case(module: Any, base: type, cases: dict[str, Any]) -> set[str]:
    """The public subclasses of `base` in `module` that no case is named after."""
    public = {
        name
        for name in module.__all__
        if isinstance(getattr(module, name), type) and issubclass(getattr(module, name), base)
    }
    return public - {base.__name__} - {name.split("(")[0].split(",")[0].split(" ")[0] for name in cases}
