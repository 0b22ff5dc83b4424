"""A loop over elements as a CUDA kernel."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .elementwise import Loop
from .fused import Launch

NAME = "rule"
STEP = "const long long step = (long long)gridDim.x * blockDim.x;"
THREADS, MOST_BLOCKS = 256, 4096
"""Of a launch: enough to fill any GPU; a thread takes several elements where there are more."""


def source(loop: Loop, in_memory: bool = False) -> str:
    """C++ for NVRTC: every thread takes elements a grid apart.

    Arguments: the number of elements, a pointer for each of the loop's arrays, a double for each of its numbers (the
    coefficients), or a pointer to one where they are `in_memory`.
    """
    pointers = [f"{loop.type if name in loop.results else f'const {loop.type}'}* p_{name}" for name in loop.arrays]
    numbers = [f"const double* at_{name}" if in_memory else f"const double {name}" for name in loop.numbers]
    loads = [f"const double {name} = *at_{name};" for name in loop.numbers] if in_memory else []
    lines = [
        *(f"const {loop.type} {name} = p_{name}[i];" for name in loop.arrays),
        *loop.statements,
        *(f"p_{name}[i] = {result};" for name, result in loop.results.items()),
    ]
    start, body = "\n    ".join([*loads, STEP]), "\n        ".join(lines)
    return f"""\
extern "C" __global__ void {NAME}({", ".join(["const long long n", *pointers, *numbers])}) {{
    {start}
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step) {{
        {body}
    }}
}}
"""


def launcher(make: Callable[[str, str], Any], loop: Loop, in_memory: bool = False) -> Launch:
    """make: (source, name) -> kernel, such as `cupy.RawKernel`.   in_memory: the numbers are arrays of one each."""
    kernel = make(source(loop, in_memory), NAME)

    def launch(arrays: list[Any], numbers: tuple[Any, ...]) -> None:
        size = arrays[0].size
        blocks = min(-(-size // THREADS), MOST_BLOCKS)
        given = numbers if in_memory else map(np.float64, numbers)
        kernel((blocks,), (THREADS,), (np.int64(size), *arrays, *given))

    return launch
