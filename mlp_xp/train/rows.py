"""An X that stays on the host: rows are taken when their turn comes, and never all of them at once."""

from collections.abc import Iterator
from functools import cache
from typing import Any

from mlp_xp import backends

from .step import Data

Array = Any
HOST = backends.select("numpy")
SMALL = ("bool", "int8", "uint8", "int16", "uint16")
"""Kept as they are until their turn comes: as floating-point numbers they would take two to eight times the memory."""
CHECKED_ROWS = 4096
"""Rows that are looked at together where all are."""


def is_sparse(x: Any) -> bool:
    """Is it a matrix of scipy.sparse, or another that becomes one of compressed rows (CSR)?"""
    return hasattr(x, "tocsr")


def kept_dtype(x: Any, dtype: str) -> str:
    """That in which the rows of X wait for a step which computes in `dtype`."""
    own = getattr(x, "dtype", "")
    own = _name(type(own).__module__, own)
    return own if own in SMALL else dtype


@cache
def _name(library: str, dtype: Any) -> str:
    """Such as "uint8"; NumPy takes a while to put one into words. Two libraries' dtypes are not to be compared."""
    return str(dtype).rpartition(".")[2]


class HostRows:
    """Stands for X (rows, features) in `Data`, whose targets and weights are then on the host too."""

    def __init__(self, x: Any, dtype: str, name: str) -> None:
        mapped = backends.is_mapped(x)
        checked = HOST.from_any(x[:0] if mapped else x, None, name)  # refuses what is not numeric
        self._rows = x if mapped else checked
        self._kept = kept_dtype(x, dtype)
        self.shape = tuple(map(int, x.shape if mapped else checked.shape))
        self.ndim = len(self.shape)

    def take(self, rows: Any) -> Array:
        """Some rows, a slice or whole numbers on the host, as NumPy's array."""
        found = self._rows[rows] if isinstance(rows, slice) else self._rows.take(rows, axis=0)
        with HOST.scope():
            return HOST.xp.asarray(found, dtype=self._kept, order="C")

    def parts(self) -> Iterator[Array]:
        """All rows, some at a time."""
        for start in range(0, self.shape[0], CHECKED_ROWS):
            yield self.take(slice(start, start + CHECKED_ROWS))

    def uncertain(self) -> Iterator[Array]:
        """All numbers that may be NaN or infinite."""
        return iter(()) if self._kept in SMALL else self.parts()


class SparseRows(HostRows):
    """A sparse matrix, whose rows are made dense when they are taken."""

    def __init__(self, matrix: Any, dtype: str, name: str) -> None:
        matrix = matrix.tocsr()
        HOST.from_any(matrix.data[:0], None, name)  # refuses what is not numeric
        self._matrix = matrix if str(matrix.dtype) == dtype else matrix.astype(dtype)
        self.shape = tuple(map(int, matrix.shape))
        self.ndim = len(self.shape)

    def take(self, rows: Any) -> Array:
        return self._matrix[rows].toarray()

    def uncertain(self) -> Iterator[Array]:
        yield self._matrix.data[: self._matrix.nnz]


def taken(data: Data, rows: Any) -> Data:
    """Some rows of data on the host, which stay there."""
    target, weight = (None if part is None else part[rows] for part in (data.target, data.weight))
    return Data(data.x.take(rows), target, weight)


def moved(move: Any, data: Data) -> Data:
    """Data with all that is on the host moved to the device by `move`."""
    return Data(*(move(part) if HOST.owns(part) else part for part in data))
