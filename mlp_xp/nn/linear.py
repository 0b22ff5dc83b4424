"""The affine map that every multi-layer perceptron is made of."""

from dataclasses import dataclass
from typing import Any

from .initializers import HeNormal, Initializer, Zeros
from .layer import Array, Context, Layer, Parameter, Parameters, ShapeError


@dataclass(frozen=True)
class Linear(Layer):
    """y = x W + b.   x: (..., batch, in)   W: (..., in, out)   b: (..., 1, out)   y: (..., batch, out)

    With dy = dL/dy:   dW = xT dy,   db = sum over the batch of dy,   dx = dy WT.   Without bias, b = 0.
    """

    in_features: int
    out_features: int
    bias: bool = True
    weight_init: Initializer = HeNormal()
    bias_init: Initializer = Zeros()

    def __post_init__(self) -> None:
        for features in (self.in_features, self.out_features):
            if not hasattr(features, "__index__") or features < 1:
                raise ShapeError(f"Linear({self.in_features}, {self.out_features}): give whole numbers of features")

    def forward(self, xp: Any, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Array]:
        y = x @ p["weight"]
        return (y + p["bias"] if self.bias else y), x

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

    @property
    def adapts(self) -> bool:  # type: ignore[override]
        return self.weight_init.data_dependent

    def adapt(self, xp: Any, p: Parameters, x: Array, before_training: bool) -> Parameters:
        if not (before_training and self.adapts):
            return p
        return p | {"weight": self.weight_init.rescaled(xp, p["weight"], x @ p["weight"])}

    def output_features(self, features: Any) -> int:
        if features not in (None, self.in_features):
            raise ShapeError(
                f"Linear({self.in_features}, {self.out_features}) expects {self.in_features} features, got {features}"
            )
        return self.out_features
