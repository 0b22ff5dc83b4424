"""A loop over elements compiled by numba."""

import warnings
from functools import cache
from typing import Any

import numpy as np

from .elementwise import Loop
from .fused import Launch


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


def launcher(loop: Loop) -> Launch | None:
    """None, with a warning, where numba is installed and cannot be imported: it may not know this NumPy yet.

    It runs in one thread: those that multiply matrices wait busily for the next product on the other cores, and a
    second one beside them has made a step slower even for six million parameters.
    """
    try:
        function = compiled(source(loop))
    except ImportError as reason:
        warnings.warn(f"updates run without numba, which cannot be imported: {reason}", RuntimeWarning, stacklevel=2)
        return None

    def launch(arrays: list[Any], numbers: tuple[float, ...]) -> None:
        function(arrays[0].size, *(each.reshape(-1) for each in arrays), *numbers)

    return launch
