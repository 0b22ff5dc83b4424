"""How parameters start. Drawn on the host from a keyed stream, in float64, so the same on every backend.

fan_in and fan_out are the numbers of a layer's inputs and outputs; a bias has the fans of its layer.
"""

from dataclasses import dataclass
from math import sqrt
from typing import Any


class Initializer:
    def draw(self, rng: Any, shape: tuple[int, ...], fan_in: int, fan_out: int) -> Any:
        """Give a NumPy float64 array of `shape`, drawn from the generator `rng`."""
        raise NotImplementedError


@dataclass(frozen=True)
class HeNormal(Initializer):
    """N(0, 2 / fan_in), for ReLU (He et al., "Delving Deep into Rectifiers", 2015)."""

    def draw(self, rng: Any, shape: tuple[int, ...], fan_in: int, fan_out: int) -> Any:
        return rng.normal(0.0, sqrt(2 / fan_in), shape)


@dataclass(frozen=True)
class HeUniform(Initializer):
    """U(-a, a) with a = sqrt(6 / fan_in): the variance of HeNormal."""

    def draw(self, rng: Any, shape: tuple[int, ...], fan_in: int, fan_out: int) -> Any:
        limit = sqrt(6 / fan_in)
        return rng.uniform(-limit, limit, shape)


@dataclass(frozen=True)
class GlorotNormal(Initializer):
    """N(0, 2 / (fan_in + fan_out)), for tanh and sigmoid (Glorot and Bengio, 2010)."""

    def draw(self, rng: Any, shape: tuple[int, ...], fan_in: int, fan_out: int) -> Any:
        return rng.normal(0.0, sqrt(2 / (fan_in + fan_out)), shape)


@dataclass(frozen=True)
class GlorotUniform(Initializer):
    """U(-a, a) with a = sqrt(6 / (fan_in + fan_out)): the variance of GlorotNormal."""

    def draw(self, rng: Any, shape: tuple[int, ...], fan_in: int, fan_out: int) -> Any:
        limit = sqrt(6 / (fan_in + fan_out))
        return rng.uniform(-limit, limit, shape)


@dataclass(frozen=True)
class FanInUniform(Initializer):
    """U(-a, a) with a = 1 / sqrt(fan_in) (LeCun et al., "Efficient BackProp", 1998; PyTorch's default)."""

    def draw(self, rng: Any, shape: tuple[int, ...], fan_in: int, fan_out: int) -> Any:
        limit = 1 / sqrt(fan_in)
        return rng.uniform(-limit, limit, shape)


@dataclass(frozen=True)
class Constant(Initializer):
    """The same value everywhere."""

    value: float

    def draw(self, rng: Any, shape: tuple[int, ...], fan_in: int, fan_out: int) -> Any:
        return rng.uniform(self.value, self.value, shape)


@dataclass(frozen=True)
class Zeros(Constant):
    """Zero everywhere: the custom for biases."""

    value: float = 0.0
