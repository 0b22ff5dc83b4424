"""A plane through the space of the features, on which a classifier can be looked at."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .style import require_sklearn


@dataclass(frozen=True)
class Plane:
    """Points as they lie on the plane, and the part of it that is drawn."""

    points: np.ndarray
    """(rows, 2)"""
    low: np.ndarray
    high: np.ndarray
    axes: tuple[str, str]
    lift: Callable[[np.ndarray], np.ndarray]
    """From places on the plane, (n, 2), to the features there, (n, features)."""

    @classmethod
    def through(cls, X: Any, features: Any, names: Sequence[Any] | None, margin: float | None) -> "Plane":
        """The plane of two features, of `features=(i, j)` with the others at their mean, or the "pca" plane of X.

        It reaches `margin` beyond the points, in units of its axes; None: 0.1 for two features, else a twentieth of the
        width of the points.
        """
        X = np.asarray(X)
        X = X if X.dtype.kind == "f" else X.astype(float)
        if X.ndim != 2 or X.shape[1] < 2 or (X.shape[1] > 2 and features is None):
            remedy = "; choose a plane: features=(i, j) or features='pca'" if X.ndim == 2 and X.shape[1] > 2 else ""
            raise ValueError(f"a decision boundary is drawn over two features, X has shape {X.shape}{remedy}")
        if not len(X) or not np.isfinite(X).all():
            raise ValueError(f"a decision boundary needs points with finite features, X of shape {X.shape} has not")
        if names is not None and len(names) != X.shape[1]:
            raise ValueError(f"X has {X.shape[1]} features, and names for {len(names)}: {', '.join(map(str, names))}")
        if isinstance(features, str):
            points, axes, lift = _components(X, features)
        else:
            points, axes, lift = _pair(X, (0, 1) if features is None else features, names)
        width = np.ptp(points, axis=0)
        usual = 0.1 if features is None else np.where(width > 0, 0.05 * width, 0.1)
        beyond = usual if margin is None else margin
        return cls(points, points.min(axis=0) - beyond, points.max(axis=0) + beyond, axes, lift)

    @property
    def equal(self) -> bool:
        """Can its axes have one scale? With widths too different one of them would be a line."""
        narrow, wide = sorted(self.high - self.low)
        return bool(wide <= 4 * narrow)

    def grid(self, cells: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Places along both axes, and the features (cells * cells, features) there, row by row from below."""
        across, up = (np.linspace(self.low[i], self.high[i], cells) for i in (0, 1))
        places = np.stack(np.meshgrid(across, up), axis=-1).reshape(-1, 2)
        return across, up, self.lift(places)


Parts = tuple[np.ndarray, tuple[str, str], Callable[[np.ndarray], np.ndarray]]
"""The points on the plane, its axes, and the way from the plane to the features."""


def _pair(X: np.ndarray, features: Any, names: Sequence[Any] | None) -> Parts:
    count = X.shape[1]
    chosen = [*features] if isinstance(features, Sequence) else []
    if len(chosen) != 2 or chosen[0] == chosen[1] or not all(number in range(count) for number in chosen):
        raise ValueError(f"features={features!r}: choose two different ones of 0 to {count - 1}, or 'pca'")
    mean = X.mean(axis=0)

    def lift(places: np.ndarray) -> np.ndarray:
        rows = np.tile(mean, (len(places), 1))
        rows[:, chosen] = places
        return rows

    first, second = (f"feature {number + 1}" if names is None else str(names[number]) for number in chosen)
    return X[:, chosen], (first, second), lift


def _components(X: np.ndarray, word: str) -> Parts:
    if word != "pca":
        raise ValueError(f"features={word!r}: choose two features (i, j), or 'pca'")
    if len(X) < 2:
        raise ValueError("the plane of the principal components goes through at least two points")
    require_sklearn("principal components")
    from sklearn.decomposition import PCA

    pca = PCA(2).fit(X)
    first, second = (
        f"principal component {i + 1} ({100 * share:.0f} % of the variance)"
        for i, share in enumerate(pca.explained_variance_ratio_)
    )
    return pca.transform(X), (first, second), lambda places: pca.inverse_transform(places).astype(X.dtype)
