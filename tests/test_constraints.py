"""What parameters are put back into: on every backend, for models side by side, and without moving what is inside."""

import numpy as np
import pytest
from cases import CONSTRAINTS, without_case
from helpers import assert_close

from mlp_xp import backends, optim

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
        assert (np.linalg.norm(once - W, axis=-2) <= np.linalg.norm(other - W, axis=-2) + 1e-12).all()
