"""What goes on inside a net: the outputs of every layer, and the gradients that come back to it."""

from collections.abc import Callable, Iterator
from functools import partial
from math import nan
from typing import TYPE_CHECKING, Any

from mlp_xp import random
from mlp_xp.nn import Context, Layer, Layout, Loss, schedules_in
from mlp_xp.nn.config import in_short
from mlp_xp.nn.containers import Container
from mlp_xp.nn.layer import Parameters, leaves

from .feed import Source
from .rows import HostRows, moved, taken
from .step import Data
from .wrapping import Wrapped, around_each

if TYPE_CHECKING:
    from .trainer import Trainer

Array = Any
See = Callable[[str, str, Array], None]
"""(name of the layer, "y" or "dy", array)"""


def inspect(trainer: "Trainer", X: Any, y: Any) -> list[dict[str, Any]]:
    """Look into every layer while X goes forward and the loss comes back, in training mode; nothing is changed.

    Gives, for each layer that is no container and in their order,

        {"name": "2", "layer": "Linear(64, 10)", "mean": ..., "std": ..., "dead": ..., "gradient": ...,
         "parameters": {"2.weight": {"mean_abs": ..., "gradient_norm": ...}, "2.bias": ...}}

    mean and std are those of the layer's outputs over all rows and units; dead is the share of units that give one and
    the same number for every row (such as a ReLU that is never above 0); gradient is the root mean square of dL/dy of
    a row's own loss, NaN where training needs none. mean_abs is the mean of |W|, gradient_norm the Euclidean norm of
    the gradient of the mean loss, without an L2 penalty.
    """
    with trainer.backend.scope():
        data = trainer._labelled(X, y)
        if isinstance(data.x, Source):
            raise TypeError("inspect looks at rows all at once: give X and y, such as one of the batches")
        if isinstance(data.x, HostRows):
            data = moved(trainer.backend.from_host, taken(data, slice(None)))
        return inspector(trainer)(data)


def inspector(trainer: "Trainer") -> Callable[[Data], list[dict[str, Any]]]:
    """`inspect` for data on the device, compiled once for many looks at the same trainer."""
    look = trainer.backend.compile(partial(_numbers, trainer.backend.xp, trainer.model, trainer.layout, trainer.loss))

    def inspection(data: Data) -> list[dict[str, Any]]:
        key, scheduled = random.key(trainer.seed, trainer.step), trainer._scheduled(trainer.step)
        found = look(trainer.state.flat, trainer.state.buffers, data, key, scheduled)
        return _report(trainer.model, map(float, trainer.backend.to_host(found)))

    return inspection


def _numbers(
    xp: Any, model: Layer, layout: Layout, loss: Loss, flat: Array, buffers: Array, data: Data, key: Any, scheduled: Any
) -> Array:
    """What `_report` puts into words, in its order: in one array, for one transfer."""
    seen: dict[tuple[str, str], Array] = {}

    def see(name: str, what: str, array: Array) -> None:
        seen[name, what] = array

    spied_on = around_each(model, lambda layer, name: _Watched(layer, see, name))
    p = layout.split(xp, flat, buffers)
    now = dict(zip(schedules_in(model), scheduled, strict=True))
    x = xp.astype(data.x, flat.dtype, copy=False)
    outputs, saved = spied_on.forward(xp, p, x, Context(training=True, key=key, scheduled=now))
    _, dy = loss(xp, outputs, data.target, data.weight)
    gradients = spied_on.gradients(xp, p, saved, dy)

    rows, found = data.x.shape[0], []
    for name, layer in layers(model):
        y, back = seen[name, "y"], seen.get((name, "dy"))
        mean = xp.mean(y)
        found += [mean, xp.std(y)]
        found.append(_share_of_constants(xp, y) if rows > 1 else nan * mean)
        found.append(nan * mean if back is None else rows * xp.sqrt(xp.mean(back * back)))
        for own in _trained(name, layer):
            value, slope = _at(p, own), _at(gradients, own)
            found += [xp.mean(xp.abs(value)), xp.sqrt(xp.sum(slope * slope))]
    return xp.stack(found)


def _report(model: Layer, found: Iterator[float]) -> list[dict[str, Any]]:
    report = []
    for name, layer in layers(model):
        entry: dict[str, Any] = {"name": name, "layer": in_short(layer)}
        entry |= {what: next(found) for what in ("mean", "std", "dead", "gradient")}
        entry["parameters"] = {
            own: {what: next(found) for what in ("mean_abs", "gradient_norm")} for own in _trained(name, layer)
        }
        report.append(entry)
    return report


def _trained(name: str, layer: Layer) -> list[str]:
    """The full names of a layer's parameters, without its buffers."""
    return [own for own, leaf in leaves(layer.parameters(), f"{name}." if name else "") if leaf.trainable]


def layers(model: Layer, name: str = "") -> list[tuple[str, Layer]]:
    """Every layer that is no container, in order, with its name such as "0" or "2.1"."""
    if not isinstance(model, Container):
        return [(name, model)]
    inside = (layers(layer, f"{name}.{index}" if name else str(index)) for index, layer in enumerate(model.layers))
    return [pair for pairs in inside for pair in pairs]


class _Watched(Wrapped):
    """A layer, and somebody who looks on."""

    def __init__(self, layer: Layer, see: See, name: str) -> None:
        super().__init__(layer)
        self.see, self.name = see, name

    def forward(self, xp: Any, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Any]:
        y, saved = self.layer.forward(xp, p, x, ctx)
        self.see(self.name, "y", y)
        return y, saved

    def backward(self, xp: Any, p: Parameters, saved: Any, dy: Array) -> tuple[Array, Parameters]:
        self.see(self.name, "dy", dy)
        return self.layer.backward(xp, p, saved, dy)

    def gradients(self, xp: Any, p: Parameters, saved: Any, dy: Array) -> Parameters:
        self.see(self.name, "dy", dy)
        return self.layer.gradients(xp, p, saved, dy)


def _share_of_constants(xp: Any, y: Array) -> Array:
    same = xp.max(y, axis=0) == xp.min(y, axis=0)
    return xp.mean(xp.astype(same, y.dtype))


def _at(tree: Parameters, name: str) -> Array:
    for part in name.split("."):
        tree = tree[part]
    return tree
