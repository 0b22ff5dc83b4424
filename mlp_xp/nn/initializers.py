"""How parameters start. Drawn on the host from a keyed stream, in float64, so the same on every backend.

fan_in and fan_out are the numbers of a layer's inputs and outputs; a bias has the fans of its layer. Where y = x W, the
inputs have the mean square 1 and the weights the mean 0, y has the variance fan_in Var(W): hence the variances below.

                 Var(W) is gain^2 times      made for
    He           2 / fan_in                  ReLU and its kin, which halve the mean square
    Glorot       2 / (fan_in + fan_out)      tanh, sigmoid: keeps x going forward and dx going backward alike
    LeCun        1 / fan_in                  SELU, and whatever keeps mean 0 and variance 1 by itself

Each comes in three shapes of the same variance: normal, uniform, and normal cut off at two deviations.
"""

from dataclasses import dataclass
from math import erf, exp, isfinite, pi, sqrt
from numbers import Integral, Real
from typing import Any, ClassVar

from array_api_compat import array_namespace


class Initializer:
    data_dependent: ClassVar[bool] = False
    """Does `rescaled` take something from the data?"""

    def draw(self, rng: Any, shape: tuple[int, ...], fan_in: int, fan_out: int) -> Any:
        """Give a NumPy float64 array of `shape`, drawn from the generator `rng`."""
        raise NotImplementedError

    def rescaled(self, xp: Any, weight: Any, y: Any) -> Any:
        """The weight W (..., in, out) as it shall be for data that give y = x W (..., batch, out)."""
        return weight


@dataclass(frozen=True)
class _Scaled(Initializer):
    """A variance by the fans; gain, by which the weights are multiplied, makes up for what the activation takes."""

    gain: float = 1.0

    def __post_init__(self) -> None:
        _check_positive(self, "gain")


@dataclass(frozen=True)
class HeNormal(_Scaled):
    """N(0, 2 / fan_in) (He et al., "Delving Deep into Rectifiers", 2015).

    For a leaky ReLU of slope a below 0, gain = 1 / sqrt(1 + a^2).
    """

    def draw(self, rng: Any, shape: tuple[int, ...], fan_in: int, fan_out: int) -> Any:
        return rng.normal(0.0, self.gain * sqrt(2 / fan_in), shape)


@dataclass(frozen=True)
class HeUniform(_Scaled):
    """U(-a, a) with a = sqrt(6 / fan_in): the variance of HeNormal."""

    def draw(self, rng: Any, shape: tuple[int, ...], fan_in: int, fan_out: int) -> Any:
        limit = self.gain * sqrt(6 / fan_in)
        return rng.uniform(-limit, limit, shape)


@dataclass(frozen=True)
class HeTruncatedNormal(_Scaled):
    """The variance of HeNormal, with no weight beyond two deviations of the bell that is cut (Keras: he_normal)."""

    def draw(self, rng: Any, shape: tuple[int, ...], fan_in: int, fan_out: int) -> Any:
        return _truncated_normal(rng, shape, self.gain * sqrt(2 / fan_in))


@dataclass(frozen=True)
class GlorotNormal(_Scaled):
    """N(0, 2 / (fan_in + fan_out)) (Glorot and Bengio, "Understanding the difficulty of training ...", 2010).

    For a deep tanh net gain = 5 / 3.
    """

    def draw(self, rng: Any, shape: tuple[int, ...], fan_in: int, fan_out: int) -> Any:
        return rng.normal(0.0, self.gain * sqrt(2 / (fan_in + fan_out)), shape)


@dataclass(frozen=True)
class GlorotUniform(_Scaled):
    """U(-a, a) with a = sqrt(6 / (fan_in + fan_out)): the variance of GlorotNormal."""

    def draw(self, rng: Any, shape: tuple[int, ...], fan_in: int, fan_out: int) -> Any:
        limit = self.gain * sqrt(6 / (fan_in + fan_out))
        return rng.uniform(-limit, limit, shape)


@dataclass(frozen=True)
class GlorotTruncatedNormal(_Scaled):
    """The variance of GlorotNormal, cut off as HeTruncatedNormal (Keras: glorot_normal)."""

    def draw(self, rng: Any, shape: tuple[int, ...], fan_in: int, fan_out: int) -> Any:
        return _truncated_normal(rng, shape, self.gain * sqrt(2 / (fan_in + fan_out)))


@dataclass(frozen=True)
class LeCunNormal(_Scaled):
    """N(0, 1 / fan_in) (LeCun et al., "Efficient BackProp", 1998): what SELU needs (Klambauer et al., 2017)."""

    def draw(self, rng: Any, shape: tuple[int, ...], fan_in: int, fan_out: int) -> Any:
        return rng.normal(0.0, self.gain * sqrt(1 / fan_in), shape)


@dataclass(frozen=True)
class LeCunUniform(_Scaled):
    """U(-a, a) with a = sqrt(3 / fan_in): the variance of LeCunNormal, three times that of FanInUniform."""

    def draw(self, rng: Any, shape: tuple[int, ...], fan_in: int, fan_out: int) -> Any:
        limit = self.gain * sqrt(3 / fan_in)
        return rng.uniform(-limit, limit, shape)


@dataclass(frozen=True)
class LeCunTruncatedNormal(_Scaled):
    """The variance of LeCunNormal, cut off as HeTruncatedNormal (Keras: lecun_normal; Flax's default)."""

    def draw(self, rng: Any, shape: tuple[int, ...], fan_in: int, fan_out: int) -> Any:
        return _truncated_normal(rng, shape, self.gain * sqrt(1 / fan_in))


@dataclass(frozen=True)
class FanInUniform(Initializer):
    """U(-a, a) with a = 1 / sqrt(fan_in), so the variance 1 / (3 fan_in): PyTorch's default, weights and biases alike.

    Not LeCunUniform, whose a is sqrt(3) times as large. Glorot and Bengio (2010) call it the common heuristic.
    """

    def draw(self, rng: Any, shape: tuple[int, ...], fan_in: int, fan_out: int) -> Any:
        limit = 1 / sqrt(fan_in)
        return rng.uniform(-limit, limit, shape)


@dataclass(frozen=True)
class Uniform(Initializer):
    """U(low, high)."""

    low: float
    high: float

    def __post_init__(self) -> None:
        _check_finite(self, "low", "high")
        if self.low > self.high:
            raise ValueError(f"Uniform(low={self.low}, high={self.high}): low must not be above high")

    def draw(self, rng: Any, shape: tuple[int, ...], fan_in: int, fan_out: int) -> Any:
        return rng.uniform(self.low, self.high, shape)


@dataclass(frozen=True)
class Normal(Initializer):
    """N(mean, std^2)."""

    mean: float
    std: float

    def __post_init__(self) -> None:
        _check_finite(self, "mean")
        _check_positive(self, "std")

    def draw(self, rng: Any, shape: tuple[int, ...], fan_in: int, fan_out: int) -> Any:
        return rng.normal(self.mean, self.std, shape)


@dataclass(frozen=True)
class Constant(Initializer):
    """The same value everywhere."""

    value: float

    def __post_init__(self) -> None:
        _check_finite(self, "value")

    def draw(self, rng: Any, shape: tuple[int, ...], fan_in: int, fan_out: int) -> Any:
        return rng.uniform(self.value, self.value, shape)


@dataclass(frozen=True)
class Zeros(Constant):
    """Zero everywhere: the custom for biases."""

    value: float = 0.0


@dataclass(frozen=True)
class IdentityMatrix(Initializer):
    """W_ij = gain where i = j, else 0: as many inputs as there are units pass unchanged (Le et al., 2015, for ReLU)."""

    gain: float = 1.0

    def __post_init__(self) -> None:
        _check_positive(self, "gain")

    def draw(self, rng: Any, shape: tuple[int, ...], fan_in: int, fan_out: int) -> Any:
        _check_matrix(self, shape)
        weight = rng.uniform(0.0, 0.0, shape)
        for i in range(min(shape[-2:])):
            weight[..., i, i] = self.gain
        return weight


@dataclass(frozen=True)
class Orthogonal(Initializer):
    """gain Q, with orthonormal columns where fan_in >= fan_out, else rows; every such Q is equally likely.

    A deep linear net then stretches no direction (Saxe et al., "Exact solutions ...", 2014); for ReLU gain = sqrt(2).
    Q is that of A = Q R for normal A, which is uniform (Haar) once R has a positive diagonal (Mezzadri, 2007).
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        _check_positive(self, "gain")

    def draw(self, rng: Any, shape: tuple[int, ...], fan_in: int, fan_out: int) -> Any:
        _check_matrix(self, shape)
        a = rng.standard_normal(shape)
        linalg = array_namespace(a).linalg
        wide = shape[-2] < shape[-1]
        q, r = linalg.qr(a.mT if wide else a)
        q = q * (1.0 - 2.0 * (linalg.diagonal(r) < 0))[..., None, :]
        return self.gain * (q.mT if wide else q)


@dataclass(frozen=True)
class LSUV(Initializer):
    """Layer-sequential unit variance (Mishkin and Matas, "All you need is a good init", 2016).

    Orthogonal, then W / std(x W), over all rows and units, for the data x that reach the layer: before the bias and the
    activation its output has variance 1. Layer by layer from the first, each with those before it scaled already.
    """

    data_dependent: ClassVar[bool] = True

    def draw(self, rng: Any, shape: tuple[int, ...], fan_in: int, fan_out: int) -> Any:
        return Orthogonal().draw(rng, shape, fan_in, fan_out)

    def rescaled(self, xp: Any, weight: Any, y: Any) -> Any:
        """W / std(y), for each of the models side by side; W itself where y is constant, whatever its rounding."""
        variance = xp.var(y, axis=(-2, -1), keepdims=True)
        rounding = (64.0 * float(xp.finfo(y.dtype).eps)) ** 2 * xp.mean(y * y, axis=(-2, -1), keepdims=True)
        return weight / xp.sqrt(xp.where(variance > rounding, variance, xp.ones_like(variance)))


@dataclass(frozen=True)
class Sparse(Initializer):
    """N(0, std^2) for a few inputs of each unit, drawn anew for every unit, and 0 for the others.

    nonzero is how many: 15 with Martens ("Deep learning via Hessian-free optimization", 2010), all where a unit has
    fewer inputs; or in (0, 1) their share, rounded, but at least one. An output then has the variance nonzero std^2
    however large fan_in is. torch.nn.init.sparse_ counts the zeros of each input instead, and has std = 0.01.
    """

    nonzero: float = 15
    std: float = 1.0

    def __post_init__(self) -> None:
        _check_positive(self, "nonzero", "std")
        if self.nonzero >= 1 and not isinstance(self.nonzero, Integral):
            raise ValueError(f"Sparse(nonzero={self.nonzero!r}): give a whole number of inputs, or a share in (0, 1)")

    def draw(self, rng: Any, shape: tuple[int, ...], fan_in: int, fan_out: int) -> Any:
        _check_matrix(self, shape)
        connected = self.nonzero if self.nonzero >= 1 else max(round(self.nonzero * shape[-2]), 1)
        weight = rng.normal(0.0, self.std, shape)
        weight[..., connected:, :] = 0.0
        return rng.permuted(weight, axis=-2)


def _truncated_normal(rng: Any, shape: tuple[int, ...], std: float) -> Any:
    """A normal cut off at two of its deviations, each std / 0.88, so that what is left has the deviation std."""
    z = rng.standard_normal(shape)
    while (outside := abs(z) > 2.0).any():
        z[outside] = rng.standard_normal(outside.sum())
    # With |z| < c:   Var(z) = 1 - 2 c phi(c) / (Phi(c) - Phi(-c))
    density, mass = exp(-2.0) / sqrt(2 * pi), erf(sqrt(2))
    return std / sqrt(1 - 4 * density / mass) * z


def _check_finite(init: Initializer, *names: str) -> None:
    for name in names:
        value = getattr(init, name)
        if not isinstance(value, Real) or not isfinite(value):
            raise ValueError(f"{type(init).__name__}({name}={value!r}): give a finite number")


def _check_positive(init: Initializer, *names: str) -> None:
    for name in names:
        value = getattr(init, name)
        if not isinstance(value, Real) or not isfinite(value) or value <= 0:
            raise ValueError(f"{type(init).__name__}({name}={value!r}): give a finite number above 0")


def _check_matrix(init: Initializer, shape: tuple[int, ...]) -> None:
    if len(shape) < 2:
        raise ValueError(f"{type(init).__name__} draws a matrix (in, out), not an array of shape {shape}")
