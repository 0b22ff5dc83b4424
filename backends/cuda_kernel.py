"""An elementwise rule as one CUDA kernel."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .elementwise import CUDA, Loop
from .tape import Array

NAME = "rule"
THREADS, MOST_BLOCKS = 256, 4096
"""Of a launch: enough to fill any GPU; a thread takes several elements where there are more."""


def source(loop: Loop) -> str:
    """C++ for NVRTC: every thread takes elements a grid apart; the coefficients come as numbers.

    Arguments: the number of elements, a pointer for each of the loop's arrays, a double for each of its numbers.
    """
    pointers = [f"{loop.type if name in loop.results else f'const {loop.type}'}* p_{name}" for name in loop.arrays]
    numbers = [f"const double {name}" for name in loop.numbers]
    lines = [
        *(f"const {loop.type} {name} = p_{name}[i];" for name in loop.arrays),
        *loop.statements,
        *(f"p_{name}[i] = {result};" for name, result in loop.results.items()),
    ]
    body = "\n        ".join(lines)
    return f"""\
extern "C" __global__ void {NAME}({", ".join(["const long long n", *pointers, *numbers])}) {{
    const long long step = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step) {{
        {body}
    }}
}}
"""


class FusedRule:
    """An update `(p, g, slots, coefficients, vectors) -> (p, slots)` in one launch, in place; see `Backend.fuse`.

    make: (source, name) -> kernel, such as `cupy.RawKernel`. Where the rule cannot be one kernel, it is run as it is.
    """

    def __init__(self, xp: Any, rule: Callable[..., Any], make: Callable[[str, str], Any]) -> None:
        self._xp, self._rule, self._make = xp, rule, make
        self._kernels: dict[Any, Any] = {}

    def __call__(self, p: Array, g: Array, slots: tuple[Array, ...], coefficients: Any, vectors: Any) -> Any:
        arrays = [p, g, *slots, *(vector for vector in vectors if vector is not None)]
        key = p.dtype, len(slots), tuple(vector is None for vector in vectors)
        if key not in self._kernels:
            self._kernels[key] = self._kernel(p, g, slots, coefficients, vectors)
        kernel = self._kernels[key]
        fits = all((each.shape, each.dtype) == (p.shape, p.dtype) and each.flags.c_contiguous for each in arrays)
        if kernel is None or not fits:
            return self._rule(self._xp, p, g, slots, coefficients, vectors)
        blocks = min(-(-p.size // THREADS), MOST_BLOCKS)
        kernel((blocks,), (THREADS,), (np.int64(p.size), *arrays, *map(np.float64, coefficients)))
        return p, slots

    def _kernel(self, *arguments: Any) -> Any:
        try:
            return self._make(source(Loop(self._rule, arguments, arguments[0].dtype.name, CUDA)), NAME)
        except Exception:  # whatever a stand-in is not fit for; an error of the rule itself shows when it is run
            return None
