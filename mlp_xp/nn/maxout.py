"""Maxout: an activation that learns its own shape."""

from dataclasses import KW_ONLY, dataclass
from typing import Any

from .checks import check_initializer, is_whole
from .initializers import HeNormal, Initializer, Zeros
from .layer import Array, Context, Parameter, Parameters, ShapeError
from .linear import Affine


@dataclass(frozen=True)
class Maxout(Affine):
    """y = the largest of `pieces` affine maps z_k = x W_k + b_k (Goodfellow et al., "Maxout Networks", 2013).

    Shapes: x (..., batch, in), y (..., batch, out); W (..., in, pieces out) holds W_1, W_2, ... side by side, and so
    does b (..., 1, pieces out).
    dz_k = dy where z_k = y, else 0;   dW = xT dz,   db = sum over the batch of dz,   dx = dz WT
    Where several pieces are the largest, they share dy equally.
    """

    in_features: int
    out_features: int
    pieces: int = 2
    _: KW_ONLY
    weight_init: Initializer = HeNormal()
    bias_init: Initializer = Zeros()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not is_whole(self.in_features) or not is_whole(self.out_features):
            raise ShapeError(f"{self._name}: give whole numbers of features")
        if not is_whole(self.pieces, at_least=2):
            raise ValueError(f"{self._name}: the largest of at least 2 pieces is taken; for one piece use Linear")
        check_initializer(self, "weight_init", fitted=True)
        check_initializer(self, "bias_init")

    def forward(self, xp: Any, p: Parameters, x: Array, ctx: Context) -> tuple[Array, tuple[Array, Array]]:
        z = x @ p["weight"] + p["bias"]
        z = xp.reshape(z, (*z.shape[:-1], self.pieces, self.out_features))
        y = xp.max(z, axis=-2)
        return y, (x, z == y[..., None, :])

    def backward(self, xp: Any, p: Parameters, saved: tuple[Array, Array], dy: Array) -> tuple[Array, Parameters]:
        dz = self._dz(xp, saved, dy)
        return dz @ p["weight"].mT, self._gradients(xp, saved, dz)

    def gradients(self, xp: Any, p: Parameters, saved: tuple[Array, Array], dy: Array) -> Parameters:
        return self._gradients(xp, saved, self._dz(xp, saved, dy))

    def _dz(self, xp: Any, saved: tuple[Array, Array], dy: Array) -> Array:
        largest = xp.astype(saved[1], dy.dtype)
        share = dy / xp.sum(largest, axis=-2)
        return xp.reshape(largest * share[..., None, :], (*dy.shape[:-1], self.pieces * self.out_features))

    def _gradients(self, xp: Any, saved: tuple[Array, Array], dz: Array) -> Parameters:
        x, _ = saved
        return {"weight": x.mT @ dz, "bias": xp.sum(dz, axis=-2, keepdims=True)}

    def parameters(self) -> dict[str, Parameter]:
        width, fans = self.pieces * self.out_features, (self.in_features, self.out_features)
        return {  # the fans of one piece: each is a Linear of its own
            "weight": Parameter((self.in_features, width), self.weight_init, *fans),
            "bias": Parameter((1, width), self.bias_init, *fans, decays=False),
        }

    def output_features(self, features: Any) -> int:
        if features not in (None, self.in_features):
            raise ShapeError(f"{self._name} expects {self.in_features} features, got {features}")
        return self.out_features

    @property
    def _name(self) -> str:
        return f"Maxout({self.in_features!r}, {self.out_features!r}, {self.pieces!r})"
