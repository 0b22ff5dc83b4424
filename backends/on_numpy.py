"""NumPy, on the CPU."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib.util import find_spec
from typing import Any

import numpy as np

from .base import NO_TF32, Array, Backend, BackendError, Pair, Status, composed
from .blocks import Blocks
from .compiled import Compiled
from .elementwise import NUMBA, Loop
from .fused import FusedLoop, Launch
from .lean import lean
from .numba_loop import launcher
from .query import Query, Shared
from .scope import Scope, computing


def probe() -> Status:
    return Status("numpy", True, f"NumPy {np.__version__} on the CPU", devices=("numpy",))


class NumPyBackend(Backend):
    name = "numpy"
    xp = lean
    device = "cpu"
    word = "numpy"

    def __init__(self, device: str = "", launcher: Callable[[Loop], Launch | None] = launcher) -> None:
        """launcher: what makes a loop run, where numba is installed."""
        self._launcher = launcher
        if device not in ("", "cpu"):
            raise BackendError(f"NumPy has no device {device!r}; write 'numpy'")

    def owns(self, array: object) -> bool:
        return isinstance(array, np.ndarray)

    def from_host(self, array: np.ndarray, dtype: str | None = None) -> Array:
        return np.array(array, dtype=dtype, order="C")

    def from_any(self, array: Any, dtype: str | None = None, name: str = "the array") -> Array:
        if type(array) is np.ndarray and array.dtype in (np.float32, np.float64):
            # One row is answered in a few times what the questions below take.
            return np.asarray(array, dtype, order="C")
        # Rows must lie whole in memory: `take` would copy all the data in every step to make it so.
        return np.asarray(super().from_any(array, dtype, name), order="C")

    def to_host(self, array: Array) -> np.ndarray:
        return np.asarray(array, order="C")

    def scope(self) -> AbstractContextManager[Any]:
        return Scope(*computing())

    def unable(self, arithmetic: str) -> str:
        if arithmetic == "tf32":
            return NO_TF32
        does = "has no bfloat16"
        if arithmetic == "float16":
            does = "multiplies float16 number by number, many times slower than float32"
        return f"NumPy {does}; leave precision out, or take the backend 'jax' or 'torch', or 'cupy' on a GPU"

    def half(self, name: str) -> Any:
        raise BackendError(self.unable(name))

    def fuse(self, rule: Callable[..., Any]) -> Callable[..., Any]:
        """Run the rule in place: in one loop where numba is installed, else over blocks that fit the cache."""
        loop = FusedLoop(rule, NUMBA, self._launcher) if find_spec("numba") else None
        return Blocks(self.xp, rule, loop)

    def compile(self, function: Callable[..., Any], donate: tuple[int, ...] = ()) -> Callable[..., Any]:
        """Record what the function does, and replay it; without donated arguments it is run as it is."""
        return Compiled(function, donate) if donate else function

    def query(self, make: Callable[[Backend], Pair], held: int) -> Callable[..., Any]:
        function = composed(make(self), held)
        return Shared(lambda: Query(function, held))

    def argument(self, array: np.ndarray) -> Array:
        return array


create = NumPyBackend
