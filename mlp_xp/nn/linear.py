"""The affine map that every multi-layer perceptron is made of."""

from dataclasses import KW_ONLY, dataclass
from typing import Any

from .checks import check_initializer, is_whole
from .initializers import HeNormal, Initializer, Zeros
from .layer import Array, Context, Layer, Parameter, Parameters, ShapeError


class Affine(Layer):
    """A layer that begins with x W. Where `weight_init` depends on data, W is fitted to those that reach the layer."""

    weight_init: Initializer

    @property
    def adapts(self) -> bool:  # type: ignore[override]
        return self.weight_init.data_dependent

    def adapt(self, xp: Any, p: Parameters, x: Array, before_training: bool) -> Parameters:
        if not (before_training and self.adapts):
            return p
        return p | {"weight": self.weight_init.rescaled(xp, p["weight"], x @ p["weight"])}


@dataclass(frozen=True)
class Linear(Affine):
    """y = x W + b.   x: (..., batch, in)   W: (..., in, out)   b: (..., 1, out)   y: (..., batch, out)

    With dy = dL/dy:   dW = xT dy,   db = sum over the batch of dy,   dx = dy WT.   Without bias, b = 0.
    """

    in_features: int
    out_features: int
    bias: bool = True
    _: KW_ONLY
    weight_init: Initializer = HeNormal()
    bias_init: Initializer = Zeros()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not is_whole(self.in_features) or not is_whole(self.out_features):
            raise ShapeError(f"Linear({self.in_features!r}, {self.out_features!r}): give whole numbers of features")
        if not isinstance(self.bias, bool):
            raise TypeError(f"Linear(bias={self.bias!r}): must be True or False; an initializer goes to weight_init=")
        check_initializer(self, "weight_init", fitted=True)
        check_initializer(self, "bias_init")

    def forward(self, xp: Any, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Array]:
        y = x @ p["weight"]
        if self.bias:
            y += p["bias"]
        return y, x

    def backward(self, xp: Any, p: Parameters, saved: Array, dy: Array) -> tuple[Array, Parameters]:
        return dy @ p["weight"].mT, self.gradients(xp, p, saved, dy)

    def gradients(self, xp: Any, p: Parameters, saved: Array, dy: Array) -> Parameters:
        x = saved
        dw = x.mT @ dy
        return {"weight": dw, "bias": xp.sum(dy, axis=-2, keepdims=True)} if self.bias else {"weight": dw}

    def parameters(self) -> dict[str, Parameter]:
        fans = (self.in_features, self.out_features)
        weight = {"weight": Parameter(fans, self.weight_init, *fans)}
        bias = {"bias": Parameter((1, self.out_features), self.bias_init, *fans, decays=False)}
        return weight | bias if self.bias else weight

    def output_features(self, features: Any) -> int:
        if features not in (None, self.in_features):
            raise ShapeError(
                f"Linear({self.in_features}, {self.out_features}) expects {self.in_features} features, got {features}"
            )
        return self.out_features
