"""Layers made of layers."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from mlp_xp.random import fold

from .layer import Array, Context, Layer, Parameters, ShapeError, leaves, side_by_side


@dataclass(frozen=True, init=False)
class Container(Layer):
    """Layers under the names "0", "1", ...: the parameters of layer i are named "i.weight", "i.bias", ..."""

    layers: tuple[Layer, ...]

    def __init__(self, *layers: Layer) -> None:
        kind = type(self).__name__
        for index, layer in enumerate(layers):
            if isinstance(layer, list | tuple):
                raise TypeError(f"layer {index} of {kind} is a {type(layer).__name__}; write {kind}(*layers)")
            if not isinstance(layer, Layer):
                raise TypeError(f"layer {index} of {kind} is {layer!r}, not a Layer; write for example nn.ReLU()")
        object.__setattr__(self, "layers", layers)
        for name, of_all in (("random", any), ("adapts", any), ("differentiable", all)):
            object.__setattr__(self, name, of_all(getattr(layer, name) for layer in layers))
        object.__setattr__(self, "minimum_rows", max((layer.minimum_rows for layer in layers), default=1))
        object.__setattr__(self, "codes", tuple(sorted({column for layer in layers for column in layer.codes})))
        # What is the same in every step is worked out once: the names, and what needs to be looked at.
        object.__setattr__(self, "_named", tuple((str(index), layer) for index, layer in enumerate(layers)))
        trained = [any(leaf.trainable for _, leaf in leaves(layer.parameters())) for layer in layers]
        buffered = [any(not leaf.trainable for _, leaf in leaves(layer.parameters())) for layer in layers]
        object.__setattr__(self, "_trained", tuple(index for index, is_so in enumerate(trained) if is_so))
        object.__setattr__(self, "_buffered", tuple(index for index, is_so in enumerate(buffered) if is_so))
        self.output_features(None)  # layers that do not fit each other are refused here

    def parameters(self) -> dict[str, Any]:
        return {name: layer.parameters() for name, layer in self._named}

    def statistics(self, xp: Any, p: Parameters, saved: list[Any]) -> Parameters:
        buffered = [self._named[index] for index in self._buffered]
        return {name: layer.statistics(xp, p[name], saved[int(name)]) for name, layer in buffered}

    def _inside(self, ctx: Context) -> Iterator[tuple[str, Layer, Context]]:
        """Every layer with its name and its context: layers that draw get a path of their own."""
        for name, layer in self._named:
            own = ctx._replace(path=fold(ctx.path, name)) if layer.random and ctx.training else ctx
            yield name, layer, own

    random: ClassVar[bool]  # of the instance, as the layers are
    adapts: ClassVar[bool]
    differentiable: ClassVar[bool]
    minimum_rows: ClassVar[int]
    codes: ClassVar[tuple[int, ...]]
    _named: ClassVar[tuple[tuple[str, Layer], ...]]
    _trained: ClassVar[tuple[int, ...]]
    _buffered: ClassVar[tuple[int, ...]]


class Sequential(Container):
    """The layers one after another: Sequential(Linear(784, 256), ReLU(), Linear(256, 10))."""

    def __init__(self, *layers: Layer) -> None:
        super().__init__(*layers)
        for index, layer in enumerate(layers):
            for position, before in enumerate(layers[:index] if layer.codes else ()):
                if not before.keeps(layer.codes):
                    raise ValueError(
                        f"layer {index}: {layer} looks up the categories in columns {layer.codes}, and layer "
                        f"{position}, {before}, changes them before: let it come first, or behind "
                        f"Standardize(features, skip={layer.codes})"
                    )

    def keeps(self, columns: Collection[int]) -> bool:
        return all(layer.keeps(columns) for layer in self.layers)

    def forward(self, xp: Any, p: Parameters, x: Array, ctx: Context) -> tuple[Array, list[Any]]:
        saved = []
        for name, layer, own in self._inside(ctx):
            x, kept = layer.forward(xp, p[name], x, own)
            saved.append(kept)
        return x, saved

    def backward(self, xp: Any, p: Parameters, saved: list[Any], dy: Array) -> tuple[Array, Parameters]:
        return self._back_to(0, xp, p, saved, dy)

    def gradients(self, xp: Any, p: Parameters, saved: list[Any], dy: Array) -> Parameters:
        if not self._trained:
            return {}
        first = self._trained[0]
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

    def output_features(self, features: Any) -> Any:
        for name, layer in self._named:
            try:
                features = layer.output_features(features)
            except ShapeError as error:
                raise ShapeError(f"layer {name}: {error}") from None
        return features

    def adapt(self, xp: Any, p: Parameters, x: Array, before_training: bool) -> Parameters:
        adapting = [index for index, layer in enumerate(self.layers) if layer.adapts or index in self._buffered]
        p = dict(p)
        for name, layer in self._named[: max(adapting, default=-1) + 1]:
            p[name] = layer.adapt(xp, p[name], x, before_training)
            x, _ = layer.forward(xp, p[name], x, Context())
        return p

    def check(self, xp: Any, x: Array) -> None:
        for _, layer in self._named:
            layer.check(xp, x)
            if not layer.keeps(self.codes):
                return  # what comes after it sees other values


class Residual(Sequential):
    """y = x + f(x), where f are the layers one after another (He et al., 2016);   dx = dy + dy df/dx.

    f must give as many features as it takes.
    """

    def forward(self, xp: Any, p: Parameters, x: Array, ctx: Context) -> tuple[Array, list[Any]]:
        y, saved = super().forward(xp, p, x, ctx)
        return x + y, saved

    def backward(self, xp: Any, p: Parameters, saved: list[Any], dy: Array) -> tuple[Array, Parameters]:
        dx, grads = super().backward(xp, p, saved, dy)
        return dy + dx, grads

    def keeps(self, columns: Collection[int]) -> bool:
        return False

    def output_features(self, features: Any) -> Any:
        given = super().output_features(features)
        if features is None and given is not None:
            features = given
            given = super().output_features(features)
        if given != features:
            raise ShapeError(
                f"Residual adds its input of {features} features to an output of {given}; let the layers in it end "
                f"with as many features as they begin with"
            )
        return given


class Parallel(Container):
    """The outputs of the layers side by side, each computed from the same x:   y = [f_0(x), f_1(x), ...]

    along the features;   dx is the sum of what each gives back for its part of dy.
    """

    def forward(self, xp: Any, p: Parameters, x: Array, ctx: Context) -> tuple[Array, list[Any]]:
        pairs = [layer.forward(xp, p[name], x, own) for name, layer, own in self._inside(ctx)]
        widths = [y.shape[-1] for y, _ in pairs]
        return side_by_side(xp, [y for y, _ in pairs]), [*(kept for _, kept in pairs), widths]

    def backward(self, xp: Any, p: Parameters, saved: list[Any], dy: Array) -> tuple[Array, Parameters]:
        dx, grads = None, {}
        for (name, layer), kept, part in self._parts(saved, dy):
            one, grads[name] = layer.backward(xp, p[name], kept, part)
            dx = one if dx is None else dx + one
        return dx, grads

    def gradients(self, xp: Any, p: Parameters, saved: list[Any], dy: Array) -> Parameters:
        parts = self._parts(saved, dy)
        return {name: layer.gradients(xp, p[name], kept, part) for (name, layer), kept, part in parts}

    def _parts(self, saved: list[Any], dy: Array) -> Iterator[tuple[tuple[str, Layer], Any, Array]]:
        """Each layer with what it saved and its part of dy."""
        *saved, widths = saved
        start = 0
        for named, kept, width in zip(self._named, saved, widths, strict=True):
            yield named, kept, dy[..., start : start + width]
            start += width

    def output_features(self, features: Any) -> Any:
        if not self.layers:
            raise ShapeError("Parallel needs at least one layer")
        widths = []
        for name, layer in self._named:
            try:
                widths.append(layer.output_features(features))
            except ShapeError as error:
                raise ShapeError(f"layer {name}: {error}") from None
        return None if None in widths else sum(widths)

    def adapt(self, xp: Any, p: Parameters, x: Array, before_training: bool) -> Parameters:
        return {name: layer.adapt(xp, p[name], x, before_training) for name, layer in self._named}

    def check(self, xp: Any, x: Array) -> None:
        for _, layer in self._named:
            layer.check(xp, x)
