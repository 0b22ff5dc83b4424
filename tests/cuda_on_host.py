"""CuPy as far as the compiler for it goes, on the host: NumPy's arrays, and a C++ compiler for the kernels."""

import ctypes
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np

from mlp_xp.backends.cublas import Products
from mlp_xp.backends.lean import lean
from mlp_xp.backends.on_cupy import CuPyBackend

# What CUDA defines, for blocks that run one after the other.
START = """
#include <cmath>
#include <pthread.h>
using namespace std;
struct Place { int x; };
static Place gridDim, blockDim = {THREADS}, blockIdx;
static thread_local Place threadIdx;
static pthread_barrier_t barrier;
#define __global__
#define __device__
#define __shared__ static
#define __launch_bounds__(most)
#define __syncthreads() if (THREADS > 1) pthread_barrier_wait(&barrier)
extern "C" void start() { pthread_barrier_init(&barrier, 0, THREADS); }
extern "C" void choose(int block, int blocks, int thread) {
    blockIdx.x = block; gridDim.x = blocks; threadIdx.x = thread;
}
"""


class OnDevice(np.ndarray):
    """An array that pretends to lie on a GPU: it is no scalar, and no other array mixes with it."""

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        return array.view(OnDevice)

    def __getitem__(self, index: Any) -> Any:
        return np.asarray(super().__getitem__(index)).view(OnDevice)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **options: Any) -> Any:
        COUNTS[0] += 1
        for each in inputs:
            if isinstance(each, np.ndarray) and not isinstance(each, OnDevice):
                raise TypeError(f"numpy.{ufunc.__name__} of an array on the device and one on the host")
        inputs = tuple(each.view(np.ndarray) if isinstance(each, OnDevice) else each for each in inputs)
        work = partial(getattr(ufunc, method), *inputs, **options)
        if out is None:
            return result_of(work)
        launched(partial(work, out=tuple(None if each is None else each.view(np.ndarray) for each in out)))
        return out[0]

    def __array_function__(self, function: Any, types: Any, arguments: Any, options: Any) -> Any:
        work = partial(super().__array_function__, function, types, arguments, options)
        if function in VIEWS:
            return np.asarray(work()).view(OnDevice)
        COUNTS[0] += 1
        return result_of(work)

    @property
    def data(self) -> Any:  # type: ignore[override]
        return SimpleNamespace(ptr=self.ctypes.data)

    def take(self, *arguments: Any, **options: Any) -> Any:
        COUNTS[0] += 1
        work = partial(super().take, *arguments, **options)
        return result_of(work) if len(arguments) < 3 else launched(work)

    def astype(self, *arguments: Any, **options: Any) -> Any:
        COUNTS[0] += 1
        return result_of(partial(super().astype, *arguments, **options))

    def copy(self, order: str = "C") -> Any:
        COUNTS[0] += 1
        return result_of(partial(np.array, self, order=order))


def result_of(work: Callable[[], Any]) -> Any:
    """A new array, into which a graph computes again."""
    found = np.asarray(work())
    if Stream.current.graph is not None:
        Stream.current.graph.work.append(lambda: np.copyto(found, work()))
    return found.view(OnDevice)


COUNTS = [0]
"""The launches of CuPy's own that there would be."""
VIEWS = (np.reshape, np.matrix_transpose, np.transpose, np.broadcast_to, np.zeros_like)


def on_device(array: Any) -> Any:
    return np.asarray(array).view(OnDevice)


class Graph:
    """What was launched while it was captured."""

    def __init__(self) -> None:
        self.work: list[Callable[[], None]] = []
        self.launched = 0

    def launch(self) -> None:
        self.launched += 1
        for each in self.work:
            each()


class Stream:
    """As far as capturing goes. `current` is the one that work goes to, 0 the default one."""

    current = SimpleNamespace(ptr=0, graph=None)
    graphs: ClassVar[list[Graph]] = []

    def __init__(self, non_blocking: bool) -> None:
        assert non_blocking
        self.ptr, self.graph = id(self), None

    def __enter__(self) -> "Stream":
        self._before, Stream.current = Stream.current, self
        return self

    def __exit__(self, *_: Any) -> None:
        assert self.graph is None
        Stream.current = self._before

    def begin_capture(self) -> None:
        self.graph = Graph()

    def end_capture(self) -> Graph:
        graph, self.graph = self.graph, None
        Stream.graphs.append(graph)
        return graph


def launched(work: Callable[[], None]) -> None:
    """Do it now, or in the graph that is captured."""
    if Stream.current.graph is None:
        work()
    else:
        Stream.current.graph.work.append(work)


class CuBLAS:
    """Goes through memory column by column."""

    def __init__(self) -> None:
        self.stream = self.workspace = 0

    def cublasCreate_v2(self, handle: Any) -> int:
        handle._obj.value = id(self)
        return 0

    def cublasSetStream_v2(self, handle: Any, stream: int) -> int:
        self.stream, self.workspace = stream, 0
        return 0

    def cublasSetWorkspace_v2(self, handle: Any, workspace: int, size: int) -> int:
        assert Stream.current.graph is None and size > 0
        self.workspace = workspace
        return 0

    def cublasGemmEx(self, handle: Any, op_a: int, op_b: int, m: int, n: int, k: int, alpha: Any, *more: Any) -> int:
        a, kind, lda, b, kind_b, ldb, beta, c, kind_c, ldc, compute, algorithm = more
        assert handle.value == id(self) and self.stream == Stream.current.ptr and self.workspace
        assert kind == kind_b == kind_c and algorithm == -1 and (alpha._obj.value, beta._obj.value) == (1, 0)
        dtype, computes = {0: (np.float32, 68), 1: (np.float64, 70), 2: (np.float16, 68)}[kind]
        assert compute == computes and ldc >= m

        def seen(address: int, rows: int, columns: int, apart: int, transposed: int) -> np.ndarray:
            rows, columns = (columns, rows) if transposed else (rows, columns)
            assert apart >= rows
            size = np.dtype(dtype).itemsize
            memory = (ctypes.c_char * (size * (apart * (columns - 1) + rows))).from_address(address)
            x = np.ndarray((rows, columns), dtype, memory, strides=(size, size * apart))
            return x.T if transposed else x

        def work() -> None:
            seen(c, m, n, ldc, 0)[...] = seen(a, m, k, lda, op_a) @ seen(b, k, n, ldb, op_b)

        COUNTS[0] += 1
        launched(work)
        return 0


CUDA = SimpleNamespace(
    get_current_stream=lambda: Stream.current,
    Stream=Stream,
    MemoryPool=lambda: SimpleNamespace(malloc=None),
    using_allocator=lambda allocator: nullcontext(),
    runtime=SimpleNamespace(is_hip=False, runtimeGetVersion=lambda: 13020),
)
try:
    import cupy

    KNOWN = set(dir(cupy))
except ImportError:
    KNOWN = set(dir(np))
"""The functions that CuPy has."""


class Compiler:
    """Compiles kernels for the host: those of all sources that it was shown before it is asked for the first, at once.

    It takes seconds to start, whatever it compiles. Blocks have so many `threads`.
    """

    def __init__(self, folder: Path, threads: int = 1) -> None:
        self._folder, self._threads = folder, threads
        self._pool = ThreadPoolExecutor(threads)
        self._waiting: list[str] = []
        self._libraries: dict[str, tuple[Any, str]] = {}
        self.sources: list[str] = []
        self.launches: list[str] = []
        self.dry = False
        """Sources are only collected: a launch does nothing."""

    def show(self, source: str) -> None:
        if source not in self._libraries and source not in self._waiting:
            self._waiting.append(source)
            self.sources.append(source)

    @contextmanager
    def collecting(self) -> Iterator[None]:
        self.dry = True
        try:
            yield
        finally:
            self.dry = False

    def _compile(self) -> None:
        number = len(list(self._folder.iterdir()))
        code, library = self._folder / f"{number}.cpp", self._folder / f"{number}.so"
        code.write_text(START + together(self._waiting))
        # Without contraction, as NumPy rounds every operation.
        options = ["-std=c++17", "-w", "-O0", "-ffp-contract=off", f"-DTHREADS={self._threads}", "-shared", "-fPIC"]
        subprocess.run(["g++", *options, "-o", library, code, "-lpthread"], check=True)
        found = ctypes.CDLL(str(library))
        found.start()
        self._libraries |= {source: (found, f"s{index}_") for index, source in enumerate(self._waiting)}
        self._waiting = []

    def function(self, source: str, name: str) -> Callable[..., None]:
        self.show(source)

        def launch(grid: tuple[int], block: tuple[int], arguments: tuple[Any, ...]) -> None:
            self.launches.append(name)  # or captured
            if self.dry:
                return
            if source not in self._libraries:
                self._compile()
            library, start = self._libraries[source]
            assert 0 < grid[0] <= 8192 and block == (256,)
            given = [*map(passed, arguments)]
            kernel = library[start + name]

            def one(number: int, thread: int) -> None:
                library.choose(number, grid[0], thread)
                kernel(*given)

            def work() -> None:
                for number in range(grid[0]):
                    if self._threads == 1:
                        one(number, 0)
                    else:
                        list(self._pool.map(partial(one, number), range(self._threads)))

            launched(work)

        return launch

    def cupy(self) -> Any:
        """The module `cupy`."""

        def module(code: str) -> Any:
            return SimpleNamespace(get_function=lambda name: self.function(code, name))

        own = {
            "ndarray": OnDevice,
            "RawKernel": self.function,
            "RawModule": module,
            "empty": lambda size, dtype: on_device(np.full(size, 0xCB, dtype)),
            "asarray": lambda array, order="K": on_device(np.array(array, order=order, copy=None)),
            "asnumpy": lambda array, order="C": np.array(array, order=order),
            "dot": dot,
            "cuda": CUDA,
            "copyto": lambda to, x, casting="same_kind": counted(
                np.copyto, to.view(np.ndarray), x.view(np.ndarray) if isinstance(x, np.ndarray) else x, casting
            ),
        }
        return SimpleNamespace(**({name: each for name, each in vars(np).items() if name in KNOWN} | own))


def dot(a: Any, b: Any, out: Any) -> None:
    if Stream.current.graph is not None:
        raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")
    counted(np.dot, a.view(np.ndarray), b.view(np.ndarray), out=out.view(np.ndarray))


def counted(function: Any, *arguments: Any, **options: Any) -> None:
    COUNTS[0] += 1
    launched(partial(function, *arguments, **options))


def together(sources: list[str]) -> str:
    """Several sources as one; the names of the kernels in source i begin with "si_"."""
    return "\n".join(
        f"namespace space{index} {{\n{named(source, f's{index}_')}\n}}" for index, source in enumerate(sources)
    )


def named(source: str, start: str) -> str:
    return source.replace("kernel_", f"{start}kernel_").replace("rule(", f"{start}rule(")


def passed(argument: Any) -> Any:
    if hasattr(type(argument), "__cuda_array_interface__"):  # of CuPy; the property itself asks for a stream
        return ctypes.c_void_p(argument.data.ptr)
    if isinstance(argument, np.ndarray):
        assert isinstance(argument, OnDevice)
        return ctypes.c_void_p(argument.ctypes.data)
    return ctypes.c_double(argument) if isinstance(argument, float) else ctypes.c_longlong(int(argument))


class CuPyOnHost(CuPyBackend):
    """The backend, without a GPU."""

    word, device = "cupy:on-host", "cpu"

    def __init__(self, compiler: Compiler) -> None:
        self.compiler, self._cupy = compiler, compiler.cupy()
        self.cublas = Products(self._cupy, CuBLAS(), lambda: False, workspace=64)
        made = ("zeros", "ones", "empty", "full", "arange", "asarray", "eye", "linspace")
        self.xp = SimpleNamespace(**(vars(lean) | {name: creating(getattr(np, name)) for name in made}))

    def __deepcopy__(self, memo: Any) -> "CuPyOnHost":
        return self

    def scope(self) -> AbstractContextManager[Any]:
        return np.errstate(all="ignore")

    def free_memory(self) -> int | None:
        return None

    def stager(self, batches: int) -> Any:
        raise NotImplementedError

    def device_name(self) -> str:
        return "CPU"

    def unable(self, arithmetic: str) -> str:
        return ""

    def half(self, name: str) -> Any:
        return np.dtype(name)

    def _products(self) -> Products | None:
        return self.cublas


def creating(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arguments, **options: on_device(function(*arguments, **options))
