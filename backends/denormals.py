"""Numbers nearer to zero than the smallest normal one (1e-38 in float32) taken as zero, as GPUs and XLA do.

The moments of a weight whose gradient has become zero fade into that range and stay there, where a processor's
arithmetic is tens of times as slow. A thread's control register says what is done with them; the C library sets it.
"""

import ctypes
import platform
from functools import cache
from typing import Any

import numpy as np

# Where the register lies in the C library's fenv_t on Linux, and the bits that turn small numbers into zero.
REGISTERS = {"x86_64": (28, 0x8040), "aarch64": (0, 1 << 24)}
ROOM = 64
"""Bytes, more than fenv_t has anywhere."""


Environment = ctypes.c_char * ROOM


@cache
def control() -> tuple[Any, Any] | None:
    """The C library and the environment to be set, where this processor and system are known; else None."""
    if platform.system() != "Linux" or platform.machine() not in REGISTERS:
        return None
    for dtype in (np.float32, np.float64):  # NumPy measures a dtype when it is asked first, and warns if that is then
        _ = np.finfo(dtype).smallest_subnormal
    before, now = (Environment() for _ in range(2))
    try:
        library = ctypes.CDLL(None)
        library.fegetenv(before)
        library.fegetenv(now)
        offset, bits = REGISTERS[platform.machine()]
        ctypes.c_uint32.from_buffer(now, offset).value |= bits
        library.fesetenv(now)
    except (OSError, AttributeError):
        return None
    works = not np.any(np.full(2, 1e-38, np.float32) * np.float32(0.1))
    library.fesetenv(before)
    return (library, now) if works else None


class Flushed:
    """In this thread such numbers are zero within; where `control` is None nothing changes."""

    def __enter__(self) -> None:
        self._control = control()
        if self._control is not None:
            library, now = self._control
            self._before = Environment()
            library.fegetenv(self._before)
            library.fesetenv(now)

    def __exit__(self, *_: object) -> None:
        if self._control is not None:
            self._control[0].fesetenv(self._before)
