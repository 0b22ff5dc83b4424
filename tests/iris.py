"""Iris with targets of every kind, and small estimators for it."""

from typing import Any

import numpy as np
from sklearn.datasets import load_iris
from sklearn.preprocessing import StandardScaler

from mlp_xp.estimators import MLPClassifier

X, Y = load_iris(return_X_y=True)
X = StandardScaler().fit_transform(X)
NUMBERS = np.sin(X[:, 0]) + X[:, 1] * X[:, 2]
TEXT = np.array(["setosa", "versicolor", "virginica"])[Y]
COLUMNS = np.stack([Y, Y % 2 + 5, (X[:, 0] > 0) + (X[:, 1] > 0).astype(int)], axis=1)
"""Three questions, with 3, 2 and 3 answers."""
INDICATORS = np.stack([Y == 0, X[:, 0] > 0, X[:, 1] > 0.5], axis=1).astype(int)


def small(kind: Any = MLPClassifier, **more: Any) -> Any:
    return kind(**{"hidden_layer_sizes": (8,), "max_iter": 5, "random_state": 0, "batch_size": 32, **more})


def lbfgs(kind: Any = MLPClassifier, **more: Any) -> Any:
    """Its objective is the same whatever the order and the number of the rows that make it up."""
    return small(kind, **{"solver": "lbfgs", "max_iter": 15, "alpha": 0.1, "tol": 0.0, **more})


def weights(estimator: Any) -> np.ndarray:
    return np.concatenate([each.ravel() for each in (*estimator.coefs_, *estimator.intercepts_)])


def assert_same(one: Any, other: Any) -> None:
    np.testing.assert_array_equal(weights(one), weights(other))
