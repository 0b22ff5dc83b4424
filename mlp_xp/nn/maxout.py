"""Maxout: an activation that learns its own shape."""

from dataclasses import dataclass
from typing import Any

from .initializers import HeNormal, Initializer, Zeros
from .layer import Array, Context, Layer, Parameter, Parameters, ShapeError


@dataclass(frozen=True)
class Maxout(Layer):
    """y = the largest of `pieces` affine maps z_k = x W_k + b_k (Goodfellow et al., "Maxout Networks", 2013).

    Shapes: x (..., batch, in), y (..., batch, out); W (..., in, pieces out) holds W_1, W_2, ... side by side, and so
    does b (..., 1, pieces out).
    dz_k = dy where z_k = y, else 0;   dW = xT dz,   db = sum over the batch of dz,   dx = dz WT
    Where several pieces are the largest, they share dy equally.
    """

    in_features: int
    out_features: int
    pieces: int = 2
    weight_init: Initializer = HeNormal()
    bias_init: Initializer = Zeros()

    def __post_init__(self) -> None:
        for features in (self.in_features, self.out_features):
            if not hasattr(features, "__index__") or features < 1:
                raise ShapeError(f"{self._name}: give whole numbers of features")
        if not hasattr(self.pieces, "__index__") or self.pieces < 2:
            raise ValueError(f"{self._name}: the largest of at least 2 pieces is taken; for one piece use Linear")

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
        return f"Maxout({self.in_features}, {self.out_features}, {self.pieces})"
