"""The threads in which PyTorch computes, for loops that numba has compiled.

They wait busily for the next product, so that threads of another pool only get in their way: NumPy's, where its
products come before a loop (milliseconds are lost), or ours. PyTorch's builds for Linux bring GCC's OpenMP library,
whose pool is open to whoever calls it; where there is another one, loops run in one thread.
"""

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from . import numba_loop
from .denormals import ROOM, control
from .elementwise import Loop
from .fused import Launch

LARGE = 1 << 17
"""From so many elements on a loop is shared out: waking the others takes as long as 20,000 of an update."""


class Awake:
    """Do the threads wait for work? They do when a product has been computed in them since this was last asked."""

    def __init__(self) -> None:
        self._is = False

    def after(self, product: Callable[..., Any]) -> Callable[..., Any]:
        def woken(*arguments: Any, **options: Any) -> Any:
            self._is = True
            return product(*arguments, **options)

        return woken

    def __call__(self) -> bool:
        found, self._is = self._is, False
        return found


@cache
def openmp() -> Any:
    """GCC's OpenMP library, if this process has loaded it; else None."""
    try:
        library = ctypes.CDLL(None)
        library.GOMP_parallel.argtypes = ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint
        library.GOMP_parallel.restype = None
        for name in ("omp_get_thread_num", "omp_get_num_threads", "omp_get_max_threads"):
            function = getattr(library, name)
            function.argtypes, function.restype = (), ctypes.c_int
        for name in ("fegetenv", "fesetenv"):
            getattr(library, name).argtypes = (ctypes.c_void_p,)
    except (OSError, AttributeError, TypeError):
        return None
    return library


def source(loop: Loop, flushed: bool) -> str:
    """Python for numba: what each thread does with (numbers, environment, arrays, room for each thread)."""
    rows = [f"carray(given[{2 + index}], (n,), {loop.type})[start:stop]" for index in range(len(loop.arrays))]
    numbers = [f"numbers[{1 + index}]" for index in range(len(loop.numbers))]
    lines = [
        "thread = omp_get_thread_num()",
        f"numbers = carray(given[0], ({1 + len(numbers)},), np.float64)",
        "n = int(numbers[0])",
        "length = -(-n // omp_get_num_threads())",  # there may be fewer threads than were asked for
        "start = min(thread * length, n)",
        "stop = min(start + length, n)",
        f"loop({', '.join(['stop - start', *rows, *numbers])})",
    ]
    if flushed:
        before = f"given[{2 + len(rows)} + thread]"
        lines[-1:] = [f"fegetenv({before})", "fesetenv(given[1])", lines[-1], f"fesetenv({before})"]
    body = "\n    ".join(lines)
    return f"def part(given):\n    {body}\n"


@cache
def compiled(text: str, function: Any) -> Any:
    from numba import carray, cfunc, types

    library = openmp()
    names = ("omp_get_thread_num", "omp_get_num_threads", "fegetenv", "fesetenv")
    space = {name: getattr(library, name) for name in names} | {"carray": carray, "np": np, "loop": function}
    exec(text, space)
    return cfunc(types.void(types.CPointer(types.voidptr)))(space["part"])


def launcher(is_awake: Callable[[], bool], loop: Loop) -> Launch | None:
    """Like that of numba_loop, but large arrays are shared out among the threads, where these are awake."""
    alone, library = numba_loop.launcher(loop), openmp()
    if alone is None or library is None:
        return alone
    flushing = control()
    part = compiled(source(loop, flushing is not None), numba_loop.compiled(numba_loop.source(loop)))

    def launch(arrays: list[Any], numbers: tuple[float, ...]) -> None:
        if not is_awake() or arrays[0].size < LARGE:
            return alone(arrays, numbers)
        threads = library.omp_get_max_threads()
        told, room = np.array([arrays[0].size, *numbers], np.float64), np.empty((threads, ROOM), np.uint8)
        environment = 0 if flushing is None else ctypes.addressof(flushing[1])
        places = [told.ctypes.data, environment, *(each.ctypes.data for each in (*arrays, *room))]
        given = np.array(places, np.uintp)
        library.GOMP_parallel(part.address, given.ctypes.data, threads, 0)
        return None

    return launch
