"""What parameters are put back into: on every backend, for models side by side, and without moving what is inside."""

from typing import Any

import numpy as np
import pytest
from cases import CONSTRAINTS, without_case
from helpers import assert_close

from mlp_xp import backends, nn, optim, train

all_constraints = pytest.mark.parametrize("constraint", CONSTRAINTS.values(), ids=CONSTRAINTS.keys())
W = np.random.default_rng(0).normal(size=(3, 5, 4)) * [0.1, 0.5, 1.0, 3.0]


def test_every_public_constraint_has_a_case() -> None:
    assert without_case(optim, optim.Constraint, CONSTRAINTS) == set()


def put_back(backend: backends.Backend, constraint: optim.Constraint, w: np.ndarray, dtype: str) -> np.ndarray:
    with backend.scope():
        return backend.to_host(constraint(backend.xp, backend.from_host(w, dtype)))


@all_constraints
def test_each_model_of_a_stack_is_put_back_by_itself(backend: backends.Backend, constraint: optim.Constraint) -> None:
    stacked = put_back(backend, constraint, W, "float64")
    for k in range(3):
        single = put_back(backends.select("numpy"), constraint, W[k], "float64")
        assert_close(stacked[k], single, factor=4, dtype=np.float64)
    rounded = put_back(backend, constraint, W, "float32")
    assert rounded.dtype == np.float32
    assert_close(rounded, stacked, factor=8)


@all_constraints
def test_what_is_inside_stays_and_what_was_outside_comes_to_the_nearest_point(constraint: optim.Constraint) -> None:
    once = put_back(backends.select("numpy"), constraint, W, "float64")
    assert np.abs(once - W).max() > 0.1
    assert_close(put_back(backends.select("numpy"), constraint, once, "float64"), once, factor=4, dtype=np.float64)
    rng = np.random.default_rng(1)
    for _ in range(50):  # other points that meet the constraint are farther away, unit by unit
        other = constraint(np, W + rng.normal(size=W.shape))
        axis = getattr(constraint, "axis", -2)
        assert (np.linalg.norm(once - W, axis=axis) <= np.linalg.norm(other - W, axis=axis) + 1e-12).all()


def test_of_an_embedding_the_vector_of_each_category_is_bounded() -> None:
    table = W[0]  # (categories, features)
    lengths = np.linalg.norm(table, axis=-1, keepdims=True)
    assert (lengths > 1.2).any() and (lengths < 1.2).any()
    bounded, unit = optim.MaxNorm(1.2, axis=-1)(np, table), optim.UnitNorm(axis=-1)(np, table)
    np.testing.assert_allclose(bounded, table * np.minimum(1.2 / lengths, 1.0), rtol=1e-15)
    np.testing.assert_allclose(unit, table / lengths, rtol=1e-15)


@pytest.mark.parametrize("kind", [optim.MaxNorm, optim.UnitNorm])
@pytest.mark.parametrize("axis", [0, -3, 1, -1.0, None, True])
def test_an_axis_is_counted_from_the_end(kind: Any, axis: Any) -> None:
    with pytest.raises(ValueError, match=rf"{kind.__name__}\(axis={axis}\): give -2 for .* or -1 for"):
        kind(axis=axis)


@pytest.mark.parametrize("kind", ["NonNegative", "MaxNorm", "UnitNorm"])
def test_lookahead_trains_and_evaluates_inside(backend: backends.Backend, kind: str) -> None:
    """Its slow weights start from where the model started, which need not be inside."""
    constraint = optim.MaxNorm(0.5) if kind == "MaxNorm" else getattr(optim, kind)()
    inside = {
        "NonNegative": lambda w: w.min() >= 0,
        "MaxNorm": lambda w: np.linalg.norm(w, axis=0).max() <= 0.5 * (1 + 1e-6),
        "UnitNorm": lambda w: np.abs(np.linalg.norm(w, axis=0) - 1).max() <= 1e-6,
    }[kind]
    optimizer = optim.Lookahead(optim.Adam(0.05, constraints={"*.weight": constraint}), k=3)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
    trainer = train.Trainer(model, nn.MeanSquaredError(), optimizer, backend=backend)
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(8, 4)), rng.normal(size=(8, 2))
    assert not inside(trainer.parameters["0.weight"])
    for _ in range(7):
        trainer.fit(X, Y, epochs=1, batch_size=None, progress=False)
        for named in (trainer.parameters, trainer.inference_parameters):
            assert inside(named["0.weight"]) and inside(named["2.weight"])
