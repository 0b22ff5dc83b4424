"""What can be chosen by a word: activations, initial weights and optimizers."""

from collections.abc import Callable
from functools import partial
from typing import Any

from . import nn, optim
from .names import unknown

ACTIVATIONS: dict[str, type[nn.Layer]] = {"logistic": nn.Sigmoid} | {  # scikit-learn's word
    kind.__name__.lower(): kind
    for kind in (
        *(nn.Identity, nn.Sigmoid, nn.HardSigmoid, nn.LogSigmoid, nn.Tanh, nn.HardTanh, nn.Softsign),
        *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.CELU, nn.SELU, nn.Softplus),
        *(nn.GELU, nn.SiLU, nn.HardSwish, nn.Mish),
    )
}
"""Every layer that works on each number by itself and can be trained through, with its defaults."""

SATURATING = (nn.Sigmoid, nn.HardSigmoid, nn.LogSigmoid, nn.Tanh, nn.HardTanh, nn.Softsign)

INITIALIZERS: dict[str, type[nn.Initializer]] = {
    kind.__name__.lower(): kind
    for kind in (
        *(nn.HeNormal, nn.HeUniform, nn.HeTruncatedNormal, nn.GlorotNormal, nn.GlorotUniform, nn.GlorotTruncatedNormal),
        *(nn.LeCunNormal, nn.LeCunUniform, nn.LeCunTruncatedNormal, nn.FanInUniform, nn.Orthogonal, nn.LSUV),
    )
}
"""How weights can start, each with its defaults."""

OPTIMIZERS: dict[str, Callable[..., optim.Optimizer]] = {
    kind.__name__.lower(): kind
    for kind in (
        *(optim.SGD, optim.Adagrad, optim.Adadelta, optim.RMSprop, optim.Adam, optim.AdamW, optim.Adamax, optim.NAdam),
        *(optim.RAdam, optim.Lion, optim.LAMB, optim.Rprop, optim.ASGD),
    )
} | {
    "momentum": partial(optim.SGD, momentum=0.9),
    "nesterov": partial(optim.SGD, momentum=0.9, nesterov=True),
}


def activation(chosen: Any) -> nn.Layer:
    """The layer for a word such as "relu", in upper or lower case; a layer stays as it is."""
    if isinstance(chosen, nn.Layer):
        return chosen
    if not isinstance(chosen, str):
        example = chosen.__name__ if isinstance(chosen, type) and issubclass(chosen, nn.Layer) else "ReLU"
        raise TypeError(f"activation={chosen!r}: give a word such as 'relu', or a layer such as nn.{example}()")
    if chosen.lower() not in ACTIVATIONS:
        raise ValueError(unknown("activation", chosen, sorted(ACTIVATIONS)))
    return ACTIVATIONS[chosen.lower()]()


def suitable_init(activation: nn.Layer) -> nn.Initializer:
    """How the weights before an activation should start (see mlp_xp.nn.initializers for the reasons)."""
    if isinstance(activation, nn.SELU):
        return nn.LeCunNormal()  # with it a deep net normalises itself
    if isinstance(activation, (nn.Identity, *SATURATING)):
        return nn.GlorotNormal()
    return nn.HeNormal()
