"""Small generated problems: two logic gates and a spiral. Host arrays, nothing to download."""

import numpy as np
from numpy.typing import NDArray

# Every pair of bits, in the order of counting.
_BITS = ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0))


def xor() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The exclusive or, the smallest problem that a single layer cannot solve.

    Returns X (4, 2) float64 with the rows 00, 01, 10, 11 and y (4, 1) float64 = 0, 1, 1, 0.
    """
    return np.array(_BITS), np.array([[0.0], [1.0], [1.0], [0.0]])


def and_gate() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The logical and, which a single layer solves.

    Returns X (4, 2) float64 with the rows 00, 01, 10, 11 and y (4, 1) float64 = 0, 0, 0, 1.
    """
    return np.array(_BITS), np.array([[0.0], [0.0], [0.0], [1.0]])


def spiral(
    points_per_class: int = 100, classes: int = 3, noise: float = 0.2, seed: int = 1234
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
    """Interleaved spiral arms in the plane, one arm a class, with a training and a test set of equal size.

    Along arm k the radius r grows from 0 to 2.5 and the angle a from 4k to 4(k + 1) radians; every angle is
    disturbed by a normal number of standard deviation `noise`, and the point is (r sin a, r cos a).

    Returns X_train, y_train, X_test, y_test with n = points_per_class * classes rows: X (n, 2) float32, y
    (n,) int64, sorted by class. Training and test set differ in their noise alone.

    Raises ValueError when points_per_class or classes is less than 1.
    """
    if points_per_class < 1 or classes < 1:
        raise ValueError(f"points_per_class and classes must be at least 1, found {points_per_class} and {classes}")
    # One legacy generator, the training set first: published figures were obtained with these very points.
    rng = np.random.RandomState(seed)
    X_train = _arms(rng, points_per_class, classes, noise)
    X_test = _arms(rng, points_per_class, classes, noise)
    y = np.repeat(np.arange(classes, dtype=np.int64), points_per_class)
    return X_train, y, X_test, y.copy()


def _arms(rng: np.random.RandomState, points: int, classes: int, noise: float) -> NDArray[np.float32]:
    radius = np.linspace(0.0, 2.5, points)
    arms = []
    for k in range(classes):
        angle = np.linspace(4 * k, 4 * (k + 1), points) + noise * rng.randn(points)
        arms.append(np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=1))
    return np.concatenate(arms).astype(np.float32)
