"""A sparse matrix as X: rows are made dense when their turn comes, and never all of them at once."""

from collections.abc import Iterator
from typing import Any

from .step import Data

Array = Any
CHECKED_ROWS = 4096
"""Rows that are dense at a time where all of them are looked at."""


def is_sparse(x: Any) -> bool:
    """Is it a matrix of scipy.sparse, or another that becomes one of compressed rows (CSR)?"""
    return hasattr(x, "tocsr")


class SparseRows:
    """Stands for X (rows, features) in `Data`: `x[rows, ...]` is those rows as a dense array on the device.

    The matrix stays on the host, in `dtype`; `rows` is a slice, or whole numbers on the host.
    """

    def __init__(self, backend: Any, matrix: Any, dtype: str, name: str) -> None:
        matrix = matrix.tocsr()
        backend.from_any(matrix.data[:0], dtype, name)  # refuses what is not numeric
        self._backend, self._dtype = backend, dtype
        self._matrix = matrix if str(matrix.dtype) == dtype else matrix.astype(dtype)
        self.shape = tuple(map(int, matrix.shape))
        self.ndim = len(self.shape)

    def __getitem__(self, key: tuple[Any, Any]) -> Array:
        return self._backend.from_any(self._matrix[key[0]].toarray(), self._dtype)

    @property
    def stored(self) -> Array:
        """The numbers that are stored, on the device: all that are not zero."""
        return self._backend.from_any(self._matrix.data[: self._matrix.nnz], self._dtype)

    def parts(self) -> Iterator[Array]:
        """All rows, some at a time."""
        for start in range(0, self.shape[0], CHECKED_ROWS):
            yield self[start : start + CHECKED_ROWS, ...]


def dense_batch(backend: Any, data: Data, index: int) -> Data:
    """Batch number `index` of data with sparse rows, whose `batches` are on the host, on the device."""
    if data.batches is None:
        return data._replace(x=data.x[:, ...])
    rows = data.batches[index]
    on_device = backend.from_host(rows)
    target, weight = (
        None if part is None else backend.xp.take(part, on_device, axis=0) for part in (data.target, data.weight)
    )
    return Data(data.x[rows, ...], target, weight)
