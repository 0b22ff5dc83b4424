"""From rows with several axes to rows of features."""

from collections.abc import Collection
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

from .checks import is_whole
from .layer import Array, Context, Layer, Parameters, ShapeError


@dataclass(frozen=True)
class Flatten(Layer):
    """The last `axes` axes of x become one: images (..., batch, 28, 28) become rows (..., batch, 784)."""

    axes: int = 2
    in_float32: ClassVar[bool] = True  # it may hand on categories

    def __post_init__(self) -> None:
        super().__post_init__()
        if not is_whole(self.axes, at_least=2):
            raise ShapeError(f"Flatten(axes={self.axes!r}): give the number of axes that a row has, at least 2")

    def forward(self, xp: Any, p: Parameters, x: Array, ctx: Context) -> tuple[Array, tuple[int, ...]]:
        shape = tuple(x.shape)
        return xp.reshape(x, (*shape[: -self.axes], -1)), shape[-self.axes :]

    def backward(self, xp: Any, p: Parameters, saved: tuple[int, ...], dy: Array) -> tuple[Array, Parameters]:
        row = saved
        return xp.reshape(dy, (*dy.shape[:-1], *row)), {}

    def output_features(self, features: Any) -> Any:
        if features is None:
            return None
        if not isinstance(features, tuple) or len(features) != self.axes:
            shape = features if isinstance(features, tuple) else (features,)
            raise ShapeError(f"{self} expects rows with {self.axes} axes, got rows of shape {shape}")
        return prod(features)

    def keeps(self, columns: Collection[int]) -> bool:
        return True  # by their numbers in the flat row
