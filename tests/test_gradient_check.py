"""The gradient check itself: it finds what is wrong, and says where."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from mlp_xp import backends, nn

NUMPY = backends.select("numpy")
X = np.random.default_rng(0).normal(size=(4, 3))


@dataclass(frozen=True)
class WrongBias(nn.Linear):
    def gradients(self, xp: Any, p: Any, saved: Any, dy: Any) -> Any:
        grads = super().gradients(xp, p, saved, dy)
        return grads | {"bias": grads["bias"] * 1.0001}


@dataclass(frozen=True)
class WrongSlope(nn.Tanh):
    def backward(self, xp: Any, p: Any, saved: Any, dy: Any) -> Any:
        return dy * (1.0 - saved), {}


def test_a_wrong_gradient_fails_and_everything_is_printed() -> None:
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), WrongBias(5, 2))
    with pytest.raises(AssertionError) as failure:
        nn.gradient_check(model, X, backend=NUMPY)
    rows = {line.split()[0]: float(line.split()[-1]) for line in str(failure.value).splitlines()[2:]}
    assert "FAILED" in str(failure.value)
    assert rows["2.bias"] == pytest.approx(1e-4, rel=0.01)
    assert max(rows[name] for name in ("x", "0.weight", "0.bias", "2.weight")) < 1e-9


def test_a_wrong_slope_fails_both_checks() -> None:
    with pytest.raises(AssertionError):
        nn.gradient_check(WrongSlope(), X, backend=NUMPY)
    with pytest.raises(AssertionError, match=r"d y\[(\d)\] / d x\[\1\]: backward"):
        nn.jacobian_check(WrongSlope(), X[:1], backend=NUMPY)


def test_a_wrong_sign_in_a_loss_fails() -> None:
    class Wrong(nn.MeanSquaredError):
        def __call__(self, xp: Any, y: Any, target: Any, weight: Any = None) -> Any:
            value, dy = super().__call__(xp, y, target, weight)
            return value, -dy

    target = np.zeros((4, 2))
    nn.gradient_check(nn.Linear(3, 2), X, backend=NUMPY, loss=nn.MeanSquaredError(), target=target)
    with pytest.raises(AssertionError):
        nn.gradient_check(nn.Linear(3, 2), X, backend=NUMPY, loss=Wrong(), target=target)
