"""A loop over elements as a CUDA kernel."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .elementwise import Loop
from .fused import Launch

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


def launcher(make: Callable[[str, str], Any], loop: Loop) -> Launch:
    """make: (source, name) -> kernel, such as `cupy.RawKernel`."""
    kernel = make(source(loop), NAME)

    def launch(arrays: list[Any], numbers: tuple[float, ...]) -> None:
        size = arrays[0].size
        blocks = min(-(-size // THREADS), MOST_BLOCKS)
        kernel((blocks,), (THREADS,), (np.int64(size), *arrays, *map(np.float64, numbers)))

    return launch
