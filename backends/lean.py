"""NumPy as the Array API namespace that the mathematics is written against."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from .tape import Array


def _lean() -> SimpleNamespace:
    """NumPy 2 follows the standard as it is; but some functions reach the C code through layers of Python.

    They cost a small net a quarter of its step, so here they are without those layers, as the standard has them.
    """

    def sum(x: Array, /, *, axis: Any = None, dtype: Any = None, keepdims: Any = False) -> Array:
        return np.add.reduce(x, axis=axis, dtype=dtype, keepdims=keepdims)

    def max(x: Array, /, *, axis: Any = None, keepdims: Any = False) -> Array:
        return np.maximum.reduce(x, axis=axis, keepdims=keepdims)

    def take(x: Array, indices: Array, /, *, axis: int | None = None) -> Array:
        return x.take(indices, axis=axis)

    def reshape(x: Array, /, shape: tuple[int, ...], *, copy: bool | None = None) -> Array:
        return x.reshape(shape) if copy is None else np.reshape(x, shape, copy=copy)

    def astype(x: Array, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Array:
        return x.astype(dtype, copy=copy)

    lean = {"sum": sum, "max": max, "take": take, "reshape": reshape, "astype": astype}
    return SimpleNamespace(**(vars(np) | lean))


lean = _lean()
