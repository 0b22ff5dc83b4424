"""What layers have in common that treat each feature by itself."""

from dataclasses import dataclass
from typing import Any

from .checks import is_whole
from .layer import Layer, ShapeError


@dataclass(frozen=True)
class ByFeature(Layer):
    """A layer for a known number of features, which stays the same."""

    features: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if not is_whole(self.features):
            raise ShapeError(f"{type(self).__name__}({self.features!r}): give a whole number of features")

    def output_features(self, features: Any) -> Any:
        if features not in (None, self.features):
            raise ShapeError(f"{type(self).__name__}({self.features}) expects {self.features} features, got {features}")
        return self.features
