"""A model whose layers have something around them, with the same parameters under the same names."""

from collections.abc import Callable, Collection
from copy import copy
from typing import Any

from mlp_xp.nn import Context, Layer
from mlp_xp.nn.containers import Container
from mlp_xp.nn.layer import Parameters

Array = Any


class Wrapped(Layer):
    """A layer with something around it."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        for attribute in ("random", "differentiable", "adapts", "minimum_rows", "codes"):
            setattr(self, attribute, getattr(layer, attribute))

    def parameters(self) -> dict[str, Any]:
        return self.layer.parameters()

    def output_features(self, features: Any) -> Any:
        return self.layer.output_features(features)

    def keeps(self, columns: Collection[int]) -> bool:
        return self.layer.keeps(columns)

    def forward(self, xp: Any, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Any]:
        return self.layer.forward(xp, p, x, ctx)

    def backward(self, xp: Any, p: Parameters, saved: Any, dy: Array) -> tuple[Array, Parameters]:
        return self.layer.backward(xp, p, saved, dy)

    def gradients(self, xp: Any, p: Parameters, saved: Any, dy: Array) -> Parameters:
        return self.layer.gradients(xp, p, saved, dy)

    def statistics(self, xp: Any, p: Parameters, saved: Any) -> Parameters:
        return self.layer.statistics(xp, p, saved)


def around_each(model: Layer, wrap: Callable[[Layer, str], Layer], name: str = "") -> Layer:
    """The same model with `wrap(layer, name)` in place of each layer that is no container."""
    if not isinstance(model, Container):
        return wrap(model, name)
    inside = [around_each(layer, wrap, f"{name}.{i}" if name else str(i)) for i, layer in enumerate(model.layers)]
    same = copy(model)
    Container.__init__(same, *inside)
    return same
