"""Data as they come: checked as scikit-learn checks them, and left in the library and on the device they are in."""

import inspect
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import array_api_compat
import numpy as np
from sklearn.exceptions import DataConversionWarning
from sklearn.utils import check_array, check_consistent_length
from sklearn.utils.sparsefuncs import mean_variance_axis
from sklearn.utils.validation import validate_data
from threadpoolctl import threadpool_limits

from mlp_xp import backends

Array = Any
DTYPES = ("float64", "float32")
ROWS = 4096
"""Rows that are looked at together where all are."""
HOST = backends.select("numpy")


def warn(text: str, kind: type[Warning] = UserWarning) -> None:
    """A warning that points at the line that asked for the fit, outside of mlp_xp and scikit-learn."""
    frame, level = inspect.currentframe(), 1
    while frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in ("mlp_xp", "sklearn"):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, kind, stacklevel=level)


def is_plain(array: Any) -> bool:
    """Does scikit-learn take it as it is, without its array API: NumPy, a list, a frame, a sparse matrix?"""
    return isinstance(array, np.ndarray) or not array_api_compat.is_array_api_obj(array)


def on_host(array: Any) -> Any:
    """What an array of another library holds, as a NumPy array; all else as it is."""
    if not array_api_compat.is_array_api_obj(array):
        return array
    home = backends.of(array)
    with home.scope():
        return home.to_host(array)


def following(X: Any, array: Any) -> Any:
    """An array that lies where X does as it is, and any other on the host."""
    return array if backends.of(array) == backends.of(X) else on_host(array)


def checked_features(estimator: Any, X: Any, home: backends.Backend, *, reset: bool) -> Array:
    """X (rows, features) of float32 or float64: NumPy or CSR, or an array of another library where it lies.

    With `reset` the number of features and their names are taken from it, else compared. Errors as scikit-learn's.
    """
    if is_plain(X):
        return validate_data(estimator, X, accept_sparse="csr", dtype=list(DTYPES), reset=reset)
    name, xp = type(estimator).__name__, home.xp
    if X.ndim != 2:
        raise ValueError(
            f"Expected 2D array, got {X.ndim}D array instead: X has shape {tuple(X.shape)}. Reshape it: (-1, 1) makes "
            f"it one feature, (1, -1) one sample"
        )
    if not xp.isdtype(X.dtype, ("bool", "integral", "real floating")):
        raise ValueError(f"Complex data not supported: {name} got X of dtype {X.dtype}")
    rows, features = X.shape
    if not rows or not features:
        raise ValueError(f"Found array with shape {tuple(X.shape)}: {name} needs at least 1 sample and 1 feature")
    if reset:
        estimator.n_features_in_ = features
        vars(estimator).pop("feature_names_in_", None)
    elif features != estimator.n_features_in_:
        raise ValueError(
            f"X has {features} features, but {name} is expecting {estimator.n_features_in_} features as input"
        )
    with home.scope():
        X = X if dtype_of(X) in DTYPES else xp.astype(X, xp.float64 if home.has_float64 else xp.float32)
        if not bool(xp.all(xp.isfinite(X))):
            raise ValueError("Input X contains NaN or infinity")
    return X


def checked_labels(X: Any, y: Any) -> np.ndarray:
    """y on the host, (rows,) or (rows, columns)."""
    y = check_array(on_host(y), accept_sparse="csr", ensure_2d=False, dtype=None, input_name="y")
    return _flat(X, y.toarray() if hasattr(y, "toarray") else y)


def checked_numbers(estimator: Any, X: Any, y: Any) -> Array:
    """y (rows,) or (rows, columns) of real numbers: where X lies, or on the host."""
    y = following(X, y)
    home = backends.of(y)
    if is_plain(y):
        y = validate_data(estimator, y=y, multi_output=True, y_numeric=True, estimator=estimator)
    elif not home.xp.isdtype(y.dtype, ("bool", "integral", "real floating")):
        raise ValueError(f"Complex data not supported: y has dtype {y.dtype}")
    with home.scope():
        return _flat(X, y)


def _flat(X: Any, y: Any) -> Any:
    check_consistent_length(X, y)
    if y.ndim == 2 and y.shape[1] == 1:
        warn(
            "A column-vector y was passed when a 1d array was expected. Please change the shape of y to (n_samples,), "
            "for example using ravel().",
            DataConversionWarning,
        )
        return y.reshape(-1) if isinstance(y, np.ndarray) else y[:, 0]
    if y.ndim not in (1, 2):
        raise ValueError(f"y must have shape (rows,) or (rows, columns), got {tuple(y.shape)}")
    return y


class Rows(NamedTuple):
    """Data that go together row by row, each where it lies."""

    X: Any
    """(rows, features)"""
    y: Any
    """(rows,) or (rows, columns)"""
    weight: Any = None
    """(rows,) or None"""

    @property
    def size(self) -> int:
        """How many there are."""
        return self.X.shape[0]

    def taken(self, rows: np.ndarray) -> "Rows":
        """Some of the rows."""
        return Rows(*(None if part is None else taken(part, rows) for part in self))


def taken(array: Any, rows: np.ndarray) -> Any:
    """Some rows of an array, or of a CSR matrix, where it lies."""
    if is_plain(array):
        return array[rows]
    home = backends.of(array)
    with home.scope():
        return home.xp.take(array, home.from_host(rows), axis=0)


def within_reach(backend: backends.Backend, array: Any) -> Any:
    """An array where it is if `backend` can take it from there, else on the host: who chose it chose the transfer."""
    if is_plain(array):
        return array
    try:
        with backend.scope():
            backend.from_any(array[:1, ...])
    except backends.DeviceError:
        return on_host(array)
    return array


def all_zero(array: Array) -> bool:
    with on_device(backends.of(array)) as xp:
        return not bool(xp.any(array != 0))


def mean_and_std(array: Any, weight: Any) -> tuple[np.ndarray, np.ndarray]:
    """Of each column, (1, columns) on the host; a constant one has the std 1. A row of weight 2 counts as two rows.

    Works through the rows part by part. Of a CSR matrix as scikit-learn does, without making it dense.
    """
    if hasattr(array, "tocsr"):
        return _of_sparse(array, weight)
    home, rows = backends.of(array), array.shape[0]
    with on_device(home) as xp:
        if weight is None:
            weight = xp.ones_like(array[:, 0])
        elif backends.of(weight) != home or is_plain(weight):
            weight = home.from_host(on_host(weight), dtype_of(array))
        weight = xp.astype(weight, array.dtype, copy=False)[:, None]
        total = xp.sum(weight)
        share = weight / xp.where(total == 0, xp.ones_like(total), total)
        first = xp.take(array, xp.argmax(share, axis=0), axis=0)  # a row that counts
        parts = [slice(start, min(start + ROWS, rows)) for start in range(0, rows, ROWS)]
        # Distances from a row are small where all values are alike: so the sums lose no digits.
        mean = first + sum(xp.sum(share[part, :] * (array[part, :] - first), axis=0, keepdims=True) for part in parts)
        variance = sum(xp.sum(share[part, :] * (array[part, :] - mean) ** 2, axis=0, keepdims=True) for part in parts)
        differs = [xp.any((array[part, :] != first) & (share[part, :] > 0), axis=0, keepdims=True) for part in parts]
        constant = ~xp.any(xp.concat(differs, axis=0), axis=0, keepdims=True)
        std = xp.where(constant, xp.ones_like(variance), xp.sqrt(variance))
        return home.to_host(mean), home.to_host(std)


def _of_sparse(matrix: Any, weight: Any) -> tuple[np.ndarray, np.ndarray]:
    if not matrix.has_canonical_format:
        matrix = matrix.copy()
        matrix.sum_duplicates()
    weight = None if weight is None else on_host(weight).astype(matrix.dtype)
    mean, variance = mean_variance_axis(matrix, axis=0, weights=weight)
    std = np.sqrt(variance)
    rounding = matrix.shape[0] * np.finfo(matrix.dtype).eps * np.abs(mean)
    return mean[None], np.where(std <= rounding, 1.0, std)[None]


def dtype_of(array: Any) -> str:
    return str(array.dtype).rpartition(".")[2]


def limited_threads(n_jobs: int | None) -> Any:
    """A context in which BLAS and OpenMP use at most so many threads: all cores for -1, as ever for None."""
    if n_jobs is None:
        return nullcontext()
    from joblib import effective_n_jobs

    return threadpool_limits(effective_n_jobs(n_jobs))


@contextmanager
def on_device(home: backends.Backend) -> Iterator[Any]:
    """The namespace of a backend, within its scope."""
    with home.scope():
        yield home.xp
