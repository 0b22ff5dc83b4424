"""What a layer is: a pure function and its derivative."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, ClassVar, NamedTuple

from mlp_xp import random
from mlp_xp.schedules import Schedule, Value

from .checks import Range, check_number, check_numbers, check_schedule
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
    differentiable: ClassVar[bool] = True
    """Has it a gradient, so that a net with it can be trained?"""
    adapts: ClassVar[bool] = False
    """Does `adapt` take something from the data before training?"""
    minimum_rows: ClassVar[int] = 1
    """The smallest batch that it can be trained on."""
    in_float32: ClassVar[bool] = False
    """Does it compute in float32 in a net whose matrix products are in 16 bits, because rounding to 3 digits spoils
    its sums or exponentials, or numbers that must come out as they went in?"""
    codes: ClassVar[tuple[int, ...]] = ()
    """The columns of its input that must hold categories, as they are in the data."""
    ranges: ClassVar[dict[str, Range]] = {}
    """What the numbers among the hyper-parameters may be, by name: checked at first, and a schedule at every step."""

    def __post_init__(self) -> None:
        check_numbers(self)

    def parameters(self) -> dict[str, Any]:
        """The layer's parameters and buffers by name; a container gives a dict of dicts."""
        return {}

    def output_features(self, features: Any) -> Any:
        """The number of features that come out when `features` go in; `ShapeError` if the layer cannot take them.

        None is a number that is not known yet, a tuple the shape of a row that is not flat (see Flatten).
        """
        if self.random and isinstance(features, tuple):  # whose rows would all get the same numbers
            raise ShapeError(f"{self} draws numbers for flat rows, got rows of shape {features}; put Flatten first")
        return features

    def keeps(self, columns: Collection[int]) -> bool:
        """Do the values in these columns come out as they went in, in the same columns?"""
        return False

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

    def adapt(self, xp: Any, p: Parameters, x: Array, before_training: bool) -> Parameters:
        """The parameters and buffers p, fitted to the data x that reach this layer.

        Running statistics are measured anew at any time; what else comes from data only before training.
        """
        return p

    def check(self, xp: Any, x: Array) -> None:
        """ValueError for data x (rows, ...) that this layer cannot take. Reads the data: not for a step.

        It is asked where the data reach it as they are: see `keeps`. They may be bool, or integers of up to 16 bits.
        """


def leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Parameter]]:
    """Every parameter and buffer of what `Layer.parameters` gives, with its full name."""
    for name, node in tree.items():
        if isinstance(node, Parameter):
            yield prefix + name, node
        else:
            yield from leaves(node, f"{prefix}{name}.")


def side_by_side(xp: Any, parts: list[Array]) -> Array:
    """Joined along the features; a part without the leading axes of the others is the same for all models."""
    lead = max((tuple(part.shape[:-2]) for part in parts), key=len)
    shaped = [
        part if tuple(part.shape[:-2]) == lead else xp.broadcast_to(part, (*lead, *part.shape[-2:])) for part in parts
    ]
    return xp.concat(shaped, axis=-1)


def schedules_in(thing: Any) -> tuple[Schedule, ...]:
    """Every schedule among the hyper-parameters of a layer and the layers in it, once."""
    return tuple(dict.fromkeys(schedule for schedule, _, _ in _uses(thing)))


def scheduled_numbers(model: Layer) -> Callable[[int], tuple[float, ...]]:
    """A function of the step: what each of `schedules_in(model)` is then; ValueError where a layer cannot take it."""
    uses: dict[Schedule, list[tuple[Any, str]]] = {}
    for schedule, owner, name in _uses(model):
        uses.setdefault(schedule, []).append((owner, name))

    def numbers(step: int) -> tuple[float, ...]:
        found = []
        for schedule, owners in uses.items():
            number = schedule(step)
            for owner, name in owners:
                check_number(owner, name, number, f" at step {step}")
            found.append(float(number))
        return tuple(found)

    return numbers


def _uses(thing: Any, owner: Any = None, name: str = "") -> Iterator[tuple[Schedule, Any, str]]:
    """Every schedule with whose hyper-parameter it is, and which."""
    if isinstance(thing, Schedule):
        check_schedule(owner, name, thing)
        yield thing, owner, name
    elif isinstance(thing, tuple):
        for each in thing:
            yield from _uses(each, owner, name)
    elif is_dataclass(thing):
        for field in fields(thing):
            yield from _uses(getattr(thing, field.name), thing, field.name)
