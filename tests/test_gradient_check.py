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


def test_entry_by_entry_a_wrong_gradient_is_found_in_its_row_alone() -> None:
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), WrongBias(5, 2))
    rows = {row.name: row for row in nn.entry_check(model, X, backend=NUMPY)}
    assert [(name, row.shape, row.compared) for name, row in rows.items()] == [
        ("x", (4, 3), 12),
        ("0.weight", (3, 5), 15),
        ("0.bias", (1, 5), 5),
        ("2.weight", (5, 2), 10),
        ("2.bias", (1, 2), 2),
    ]
    assert [name for name, row in rows.items() if not row.passed] == ["2.bias"]
    assert rows["2.bias"].error == pytest.approx(1e-4, rel=0.01)
    assert rows["2.bias"].difference == pytest.approx(1e-4 * rows["2.bias"].largest, rel=0.01)
    assert max(row.error for name, row in rows.items() if name != "2.bias") < 1e-8


def test_entries_are_drawn_where_there_are_more_and_the_parameters_can_be_given() -> None:
    given = {"weight": np.array([[1.0], [2.0], [3.0]]), "bias": np.array([[0.5]])}
    target = np.zeros((4, 1))
    check = {"backend": NUMPY, "loss": nn.MeanSquaredError(), "target": target}
    some = nn.entry_check(nn.Linear(3, 1), X, parameters=given, entries=2, **check)
    assert [row.compared for row in some] == [2, 2, 1]
    slope = 2 * X.T @ (X @ given["weight"] + 0.5) / 4
    weight = nn.entry_check(nn.Linear(3, 1), X, parameters=given, **check)[1]
    assert weight.largest == pytest.approx(abs(slope).max(), rel=1e-10)


def test_a_kink_within_reach_of_a_step_is_no_mistake_and_nan_is_one() -> None:
    near = np.array([[5e-4, -5e-4], [1.0, -1.0]])
    (row,) = nn.entry_check(nn.ReLU(), near, backend=NUMPY)
    assert row.passed and row.error < 1e-8

    class Nan(nn.ReLU):
        def backward(self, xp: Any, p: Any, saved: Any, dy: Any) -> Any:
            return dy * float("nan"), {}

    (row,) = nn.entry_check(Nan(), near, backend=NUMPY)
    assert not row.passed and row.error == row.difference == float("inf")
