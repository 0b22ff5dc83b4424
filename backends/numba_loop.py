"""A loop over elements compiled by numba."""

import warnings
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from threading import Thread
from typing import Any

import numpy as np

from .elementwise import Loop
from .fused import Launch

LINE = 64
"""A multiple of the elements that two threads would share a line of the cache with."""


def source(loop: Loop) -> str:
    """Python for numba: (n, arrays, numbers), where the arrays have one axis."""
    lines = [
        *(f"{name} = p_{name}[i]" for name in loop.arrays),
        *loop.statements,
        *(f"p_{name}[i] = {result}" for name, result in loop.results.items()),
    ]
    body = "\n        ".join(lines)
    parameters = ", ".join(["n", *(f"p_{name}" for name in loop.arrays), *loop.numbers])
    return f"def loop({parameters}):\n    for i in range(n):\n        {body}\n"


@cache
def compiled(text: str) -> Any:
    """The same rule is compiled once in a process: it takes half a second."""
    import numba

    space: dict[str, Any] = {"np": np}
    exec(text, space)
    # As NumPy divides by zero. Without fast mathematics: every operation is rounded as NumPy rounds it.
    return numba.njit(space["loop"], error_model="numpy", nogil=True)


def launcher(loop: Loop, threaded: int) -> Launch | None:
    """threaded: bytes of arrays, from which on threads share them.

    None, with a warning, where numba is installed and cannot be imported: it may not know this NumPy yet.
    """
    try:
        function = compiled(source(loop))
    except ImportError as reason:
        warnings.warn(f"updates run without numba, which cannot be imported: {reason}", RuntimeWarning, stacklevel=2)
        return None

    def launch(arrays: list[Any], numbers: tuple[float, ...]) -> None:
        flat = [each.reshape(-1) for each in arrays]
        size = flat[0].size
        if len(flat) * flat[0].nbytes < threaded:
            function(size, *flat, *numbers)
        else:
            in_threads(lambda start, stop: function(stop - start, *(each[start:stop] for each in flat), *numbers), size)

    return launch


def in_threads(work: Callable[[int, int], None], size: int) -> None:
    """work(start, stop) for parts of `size` elements, one on each core that numba may use (NUMBA_NUM_THREADS).

    The threads are new ones: a pool would not be there any more in a process that was forked off.
    """
    import numba

    cores = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    step = -(-size // cores // LINE) * LINE
    parts = list(pairwise([*range(0, size, step), size]))
    threads = [Thread(target=work, args=part) for part in parts[1:]]
    for thread in threads:
        thread.start()
    work(*parts[0])
    for thread in threads:
        thread.join()
