"""What a layer is: a pure function and its derivative."""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from mlp_xp import random
from mlp_xp.schedules import Schedule, Value

from .initializers import Initializer

Array = Any
"""An array of the namespace `xp` that is handed in."""
Parameters = dict[str, Any]
"""What belongs to a layer, by name: arrays, or for a container the Parameters of its children."""


class ShapeError(ValueError):
    """Shapes that do not fit: says which layer, what it expects and what it got."""


class Context(NamedTuple):
    """What a forward pass is told beside its input."""

    training: bool = False
    key: random.Key = (0, 0)
    """The randomness of this step, see `mlp_xp.random`."""
    path: int = 0
    """Where the layer stands in the net: layers of one net draw different numbers."""
    scheduled: dict[Schedule, Any] = {}  # noqa: RUF012, read only
    """The number that each schedule among the hyper-parameters of the net stands for in this step."""

    def now(self, value: Value) -> Any:
        """A hyper-parameter as a number: itself, or what its schedule says in this step."""
        return self.scheduled[value] if isinstance(value, Schedule) else float(value)


@dataclass(frozen=True)
class Parameter:
    """A parameter to be: the shape of one model's array, its fans, and how it starts."""

    shape: tuple[int, ...]
    init: Initializer
    fan_in: int
    fan_out: int
    decays: bool = True
    """Does weight decay apply to it? By custom not to biases, and not to what scales a normalised value."""
    trainable: bool = True
    """False for a buffer, such as a running mean: an array that the optimizer does not touch."""


class Layer:
    """A frozen dataclass of hyper-parameters with a pure `forward` and `backward`.

    Shapes are (..., batch, features): a leading axis holds models trained side by side. Nothing is kept on `self`;
    what backward needs travels in `saved`.
    """

    random: ClassVar[bool] = False
    """Does forward draw random numbers in training? Then it gets a Context with a path of its own."""
    adapts: ClassVar[bool] = False
    """Does `adapt` take something from the data?"""
    minimum_rows: ClassVar[int] = 1
    """The smallest batch that it can be trained on."""

    def parameters(self) -> dict[str, Any]:
        """The layer's parameters and buffers by name; a container gives a dict of dicts."""
        return {}

    def output_features(self, features: Any) -> Any:
        """The number of features that come out when `features` go in; `ShapeError` if the layer cannot take them.

        None is a number that is not known yet, a tuple the shape of a row that is not flat (see Flatten).
        """
        return features

    def forward(self, xp: Any, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Any]:
        """Give y and what backward will need."""
        raise NotImplementedError

    def backward(self, xp: Any, p: Parameters, saved: Any, dy: Array) -> tuple[Array, Parameters]:
        """From dy = dL/dy give dx = dL/dx and the gradients of the parameters, by the parameters' names."""
        raise NotImplementedError

    def gradients(self, xp: Any, p: Parameters, saved: Any, dy: Array) -> Parameters:
        """The gradients of the parameters alone: all that is asked of the first layer of a net."""
        return self.backward(xp, p, saved, dy)[1]

    def statistics(self, xp: Any, p: Parameters, saved: Any) -> Parameters:
        """The buffers that a training batch has changed, by name; `saved` is what forward gave."""
        return {}

    def adapt(self, xp: Any, p: Parameters, x: Array) -> Parameters:
        """The parameters p fitted to the data x that will reach this layer, before training begins."""
        return p

    def check(self, xp: Any, x: Array) -> None:
        """ValueError for data that this layer, where it stands first, cannot take. Reads the data: not for a step."""
