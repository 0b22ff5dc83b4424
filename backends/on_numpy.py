"""NumPy, on the CPU."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from .base import Array, Backend, BackendError, Status

BLOCK = 32_768
"""Elements a fused rule works on at a time: a block of each operand stays in the second-level cache."""


def probe() -> Status:
    return Status("numpy", True, f"NumPy {np.__version__} on the CPU", devices=("numpy",))


class NumPyBackend(Backend):
    name = "numpy"
    xp = np  # NumPy 2 follows the standard; a wrapper around each call costs a small net a third of its step
    device = "cpu"
    word = "numpy"

    def __init__(self, device: str = "") -> None:
        if device not in ("", "cpu"):
            raise BackendError(f"NumPy has no device {device!r}; write 'numpy'")

    def owns(self, array: object) -> bool:
        return isinstance(array, np.ndarray)

    def from_host(self, array: np.ndarray, dtype: str | None = None) -> Array:
        return np.array(array, dtype=dtype, order="C")

    def to_host(self, array: Array) -> np.ndarray:
        return np.asarray(array, order="C")

    def scope(self) -> AbstractContextManager[Any]:
        # A diverging net overflows. No other library warns of it, and the trainer reports it by the step.
        return np.errstate(all="ignore")

    def fuse(self, rule: Callable[..., Any]) -> Callable[..., Any]:
        """Run the rule over blocks that fit the cache, and write the results in place."""
        xp = self.xp

        def update(p: Array, g: Array, slots: tuple[Array, ...], coefficients: tuple[float, ...]) -> Any:
            for start in range(0, p.shape[-1], BLOCK):
                block = (..., slice(start, start + BLOCK))
                old = tuple(slot[block] for slot in slots)
                p[block], new = rule(xp, p[block], g[block], old, coefficients)
                for slot, value in zip(old, new, strict=True):
                    slot[...] = value
            return p, slots

        return update


create = NumPyBackend
