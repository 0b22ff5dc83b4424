"""Layers made of layers."""

from dataclasses import dataclass
from typing import Any, ClassVar

from mlp_xp.random import fold

from .layer import Array, Context, Layer, Parameters, ShapeError


@dataclass(frozen=True, init=False)
class Sequential(Layer):
    """The layers one after another: Sequential(Linear(784, 256), ReLU(), Linear(256, 10)).

    The parameters of layer i are named "i.weight", "i.bias", ... counting every layer from 0.
    """

    layers: tuple[Layer, ...]

    def __init__(self, *layers: Layer) -> None:
        for index, layer in enumerate(layers):
            if isinstance(layer, list | tuple):
                raise TypeError(f"layer {index} of Sequential is a {type(layer).__name__}; write Sequential(*layers)")
            if not isinstance(layer, Layer):
                raise TypeError(f"layer {index} of Sequential is {layer!r}, not a Layer; write for example nn.ReLU()")
        object.__setattr__(self, "layers", layers)
        object.__setattr__(self, "random", any(layer.random for layer in layers))
        # What is the same in every step is worked out once: the names, and where the gradient may stop.
        object.__setattr__(self, "_named", tuple((str(index), layer) for index, layer in enumerate(layers)))
        trainable = [index for index, layer in enumerate(layers) if layer.parameters()]
        object.__setattr__(self, "_first_trainable", trainable[0] if trainable else None)
        self.output_features(None)  # layers that do not fit each other are refused here

    def forward(self, xp: Any, p: Parameters, x: Array, ctx: Context) -> tuple[Array, list[Any]]:
        saved = []
        for name, layer in self._named:
            own = ctx._replace(path=fold(ctx.path, name)) if layer.random and ctx.training else ctx
            x, kept = layer.forward(xp, p[name], x, own)
            saved.append(kept)
        return x, saved

    def backward(self, xp: Any, p: Parameters, saved: list[Any], dy: Array) -> tuple[Array, Parameters]:
        return self._back_to(0, xp, p, saved, dy)

    def gradients(self, xp: Any, p: Parameters, saved: list[Any], dy: Array) -> Parameters:
        first = self._first_trainable
        if first is None:
            return {}
        dy, grads = self._back_to(first + 1, xp, p, saved, dy)
        name, layer = self._named[first]
        grads[name] = layer.gradients(xp, p[name], saved[first], dy)
        return grads

    def _back_to(self, stop: int, xp: Any, p: Parameters, saved: list[Any], dy: Array) -> tuple[Array, Parameters]:
        """Backward through the layers from the last to number `stop`."""
        grads: Parameters = {}
        for index in range(len(self._named) - 1, stop - 1, -1):
            name, layer = self._named[index]
            dy, grads[name] = layer.backward(xp, p[name], saved[index], dy)
        return dy, grads

    def parameters(self) -> dict[str, Any]:
        return {name: layer.parameters() for name, layer in self._named}

    def output_features(self, features: int | None) -> int | None:
        for name, layer in self._named:
            try:
                features = layer.output_features(features)
            except ShapeError as error:
                raise ShapeError(f"layer {name}: {error}") from None
        return features

    random: ClassVar[bool]  # of the instance: whether any of the layers draws
    _named: ClassVar[tuple[tuple[str, Layer], ...]]
    _first_trainable: ClassVar[int | None]
