"""Products of matrices by cuBLAS itself: CuPy refuses them while a CUDA graph is captured, and starts them slowly."""

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import local
from typing import Any

from .tape import Array

KINDS = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 14}
"""Of cudaDataType, by the names of dtypes."""
SINGLE, DOUBLE, TF32 = 68, 70, 77
"""Of cublasComputeType_t: what is multiplied and summed in."""
AS_IT_IS, TRANSPOSED = 0, 1
DEFAULT_ALGORITHM = -1


def library(cupy: Any) -> Any:
    """The one that CuPy has loaded; None where it uses another, as on an AMD GPU."""
    if cupy.cuda.runtime.is_hip or not hasattr(os, "RTLD_NOLOAD"):
        return None
    cupy.cuda.get_cublas_handle()  # so that it is loaded
    version = cupy.cuda.runtime.runtimeGetVersion() // 1000  # another package may have loaded a library of another one
    try:
        found = ctypes.CDLL(f"libcublas.so.{version}", mode=os.RTLD_NOLOAD | os.RTLD_NOW)
    except OSError:
        return None
    pointer, number = ctypes.c_void_p, ctypes.c_int
    matrix = pointer, number, number
    found.cublasCreate_v2.argtypes = (pointer,)
    found.cublasSetStream_v2.argtypes = pointer, pointer
    found.cublasSetWorkspace_v2.argtypes = pointer, pointer, ctypes.c_size_t
    found.cublasGemmEx.argtypes = (
        *(pointer, number, number, number, number, number),
        *(pointer, *matrix, *matrix, pointer, *matrix, number, number),
    )
    return found


class Products:
    """A handle of cuBLAS for each thread, and memory to work in for each stream that computes.

    tf32: are products of float32 to be rounded now?   workspace: its bytes
    """

    def __init__(self, cupy: Any, library: Any, tf32: Callable[[], bool], workspace: int) -> None:
        self._cupy, self._library, self._tf32, self._workspace = cupy, library, tf32, workspace
        self._mine = local()

    def dot(self, a: Array, b: Array, out: Array) -> None:
        """out = a b for matrices, `out` without gaps, in the current stream."""
        first, second, kind = operand(a), operand(b), KINDS.get(a.dtype.name)
        alike = kind is not None and a.dtype == b.dtype == out.dtype
        if first is None or second is None or not alike or out.size == 0 or a.size == 0:
            self._cupy.dot(a, b, out)
            return
        handle = self._handle(self._cupy.cuda.get_current_stream().ptr)
        number = ctypes.c_double if a.dtype.name == "float64" else ctypes.c_float
        compute = DOUBLE if a.dtype.name == "float64" else SINGLE
        if a.dtype.name == "float32" and self._tf32():
            compute = TF32
        rows, columns = out.shape
        # cuBLAS goes through memory column by column: what lies there is to it the transposed, and outT = bT aT.
        self._checked(
            "cublasGemmEx",
            handle,
            *(second[0], first[0], columns, rows, a.shape[1]),
            *(ctypes.byref(number(1.0)), b.data.ptr, kind, second[1], a.data.ptr, kind, first[1]),
            *(ctypes.byref(number(0.0)), out.data.ptr, kind, columns, compute, DEFAULT_ALGORITHM),
        )

    @contextmanager
    def captured_for(self, stream: int, capture: int) -> Iterator[Array]:
        """Inside, products go into a stream that is captured; they work in the memory of the one that replays it.

        That memory is given, for whoever replays it to keep: it is this thread's, which may end before.
        """
        try:
            self._follow(capture, stream)
            yield self._mine.workspaces[stream]
        finally:
            self._mine.stream = None

    def _handle(self, stream: int) -> Any:
        if getattr(self._mine, "stream", None) != stream:
            self._follow(stream, stream)
        return self._mine.handle

    def _follow(self, stream: int, place: int) -> None:
        mine = self._mine
        if not hasattr(mine, "handle"):
            # Never destroyed: at the end of a process CUDA may be gone before.
            mine.handle, mine.workspaces = ctypes.c_void_p(), {}
            self._checked("cublasCreate_v2", ctypes.byref(mine.handle))
        if place not in mine.workspaces:
            mine.workspaces[place] = self._cupy.empty(self._workspace, dtype="uint8")
        workspace, mine.stream = mine.workspaces[place], None
        self._checked("cublasSetStream_v2", mine.handle, stream)
        self._checked("cublasSetWorkspace_v2", mine.handle, workspace.data.ptr, workspace.nbytes)  # a stream resets it
        mine.stream = stream

    def _checked(self, name: str, *arguments: Any) -> None:
        status = getattr(self._library, name)(*arguments)
        if status:
            raise RuntimeError(f"{name} fails with status {status}")


def operand(x: Array) -> tuple[int, int] | None:
    """Does a matrix lie in memory as it is or transposed, and how far apart are its lines; None if it does neither."""
    if x.ndim != 2:
        return None
    (rows, columns), (down, right) = x.shape, (stride // x.itemsize for stride in x.strides)
    if (right == 1 or columns == 1) and (down >= columns or rows == 1):
        return AS_IT_IS, columns if rows == 1 else down
    if (down == 1 or rows == 1) and (right >= rows or columns == 1):
        return TRANSPOSED, rows if columns == 1 else right
    return None
