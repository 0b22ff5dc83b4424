"""Steps of CuPy as CUDA graphs, on the host: what is captured and replayed, and what happens where that fails."""

import ctypes
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cuda_on_host import CUDA, Compiler, CuBLAS, CuPyOnHost, Graph, Stream, on_device
from helpers import assert_close
from test_cuda_kernel import has_compiler

from mlp_xp import nn, optim, train
from mlp_xp.backends import cuda_replay
from mlp_xp.backends.cublas import Products, operand
from mlp_xp.backends.cuda_program import NUMBERS, CudaCompiled
from mlp_xp.backends.cuda_replay import Replay
from mlp_xp.backends.lean import lean
from mlp_xp.backends.program import Program

X, LABELS = np.random.default_rng(0).normal(size=(20, 4)), np.arange(20) % 3


@pytest.fixture(scope="module")
def compiler(tmp_path_factory: pytest.TempPathFactory) -> Compiler:
    has_compiler()
    return Compiler(tmp_path_factory.mktemp("kernels"))


def fitted(backend: Any, *, precision: str = "float32", compile: str | bool = "auto") -> train.Trainer:
    """Dropout draws with other numbers in every step, and the schedule gives others; the last batch is smaller."""
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Dropout(0.3), nn.Linear(6, 3))
    rule = optim.Adam(optim.Cosine(0.05, 20))
    dtype = "float64" if precision == "float32" else "float32"
    more: dict[str, Any] = {"backend": backend, "dtype": dtype, "precision": precision, "compile": compile}
    trainer = train.Trainer(model, nn.SoftmaxCrossEntropy(), rule, **more)
    trainer.fit(X, LABELS, epochs=4, batch_size=6, progress=False)
    return trainer


def replays(trainer: train.Trainer) -> list[Replay]:
    """That of each program: for whole batches, and for the last one."""
    programs = trainer._training_step._found.values()  # type: ignore[attr-defined]
    return [program.space["replay"] for program in programs]


def assert_as_on_numpy(found: train.Trainer) -> None:
    expected = fitted("numpy")
    assert found.fallback == ""
    assert_close(np.asarray(found.state.flat), expected.state.flat, 2**12, "float64")
    assert found.history["loss"] == pytest.approx(expected.history["loss"], rel=1e-12)


def test_steps_are_replayed_with_the_numbers_and_the_rows_of_each(compiler: Compiler) -> None:
    before = len(Stream.graphs)
    found = fitted(CuPyOnHost(compiler))
    assert_as_on_numpy(found)
    assert [each.reason for each in replays(found)] == ["", ""]
    assert max(graph.launched for graph in Stream.graphs[before:]) > 1


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "tf32"])
def test_so_they_are_on_a_gpu(get_backend: Any, precision: str) -> None:
    backend = get_backend("cupy")
    if reason := backend.unable(precision) if precision == "tf32" else "":
        pytest.skip(reason)
    found, expected = (fitted(backend, precision=precision, compile=compile) for compile in ("auto", False))
    assert found.fallback == "" and [each.reason for each in replays(found)] == ["", ""]
    assert any(graph is not None for each in replays(found) for graph in each._graphs.values())
    dtype, factor = ("float64", 2**12) if precision == "float32" else ("float32", 2**18)
    assert_close(backend.to_host(found.state.flat), backend.to_host(expected.state.flat), factor, dtype)


def test_a_graph_holds_no_number_of_the_host(compiler: Compiler) -> None:
    """They are arguments of one kernel, which is not captured."""
    fitted(CuPyOnHost(compiler))
    (source,) = [each for each in compiler.sources if NUMBERS in each]
    assert source.count("const long long n") == 3  # the batch, and two words that Dropout draws with
    assert source.count("const double n") == 6
    kernels = [each for source in compiler.sources for each in re.findall(r"kernel_\d+\((.*)\) {", source)]
    assert len(kernels) >= 8 and all("*" in each for arguments in kernels for each in arguments.split(", "))
    (update,) = [each for each in compiler.sources if "rule(" in each and "* at_" in each]
    assert update.count("const double* at_") == 6 and "const double c" not in update.split("{")[0]


def test_a_capture_that_fails_leaves_the_launches(compiler: Compiler, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: Stream) -> Graph:
        self.graph = None
        raise RuntimeError("cudaErrorStreamCaptureInvalidated")

    monkeypatch.setattr(Stream, "end_capture", fails)
    found = fitted(CuPyOnHost(compiler))
    assert_as_on_numpy(found)
    assert {each.reason for each in replays(found)} == {"RuntimeError: cudaErrorStreamCaptureInvalidated"}


def test_so_does_a_product_that_is_refused(compiler: Compiler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlp_xp.backends.cublas.operand", lambda x: None)  # it is CuPy's then
    found = fitted(CuPyOnHost(compiler))
    assert_as_on_numpy(found)
    assert all("currently unsupported" in each.reason for each in replays(found))
    assert Stream.current.ptr == 0


def test_and_a_graph_that_does_something_else(compiler: Compiler, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(self: Graph) -> None:
        for each in self.work[: len(self.work) // 2]:
            each()

    monkeypatch.setattr(Graph, "launch", half)
    found = fitted(CuPyOnHost(compiler))
    assert_as_on_numpy(found)
    assert {each.reason for each in replays(found)} == {"its graph gave other numbers than the step as it is written"}


def test_a_graph_is_tried_from_where_the_step_as_it_is_written_came_to(compiler: Compiler) -> None:
    """Two ways may differ in rounding, and a second step may make much of that."""
    backend, calls = CuPyOnHost(compiler), []

    def step(xp: Any, state: Any) -> Any:
        return xp.where(state > 1.5, state + 100.0, state + 1.0)

    def plain(state: Any) -> Any:
        calls.append(1)
        found = step(backend.xp, state)
        return found - 0.2 if len(calls) == 1 else found  # within what is allowed, and on the other side of 1.5

    recorded = partial(step, lean)
    compiled = CudaCompiled(backend._cupy, recorded, (0,), plain, "", backend.cublas)
    state = on_device(np.full(4, 0.6))
    for _ in range(4):
        state = compiled(state)
    (program,) = compiled._found.values()
    assert isinstance(program, Program) and len(calls) >= 2
    assert compiled.reason == "" and program.space["replay"].reason == ""


def test_without_cublas_there_are_no_graphs(compiler: Compiler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CuPyOnHost, "_products", lambda self: None)
    before = len(Stream.graphs)
    found = fitted(CuPyOnHost(compiler))
    assert_as_on_numpy(found)
    assert len(Stream.graphs) == before


@pytest.mark.parametrize("layer", [nn.Softplus(), nn.LayerNorm(6), nn.BatchNorm(6), nn.PReLU(6)], ids=str)
def test_the_usual_layers_are_graphs(compiler: Compiler, layer: nn.Layer) -> None:
    model = nn.Sequential(nn.Linear(4, 6), layer, nn.Linear(6, 3))
    trainer = train.Trainer(
        model, nn.SoftmaxCrossEntropy(), optim.SGD(0.1, momentum=0.9), backend=CuPyOnHost(compiler), dtype="float64"
    )
    trainer.fit(X, LABELS, epochs=1, batch_size=10, progress=False)
    assert trainer.fallback == "" and [each.reason for each in replays(trainer)] == [""]


def test_a_step_with_calls_of_cupys_own_is_none(compiler: Compiler) -> None:
    class Sorted(nn.Tanh):
        def forward(self, xp: Any, p: Any, x: Any, ctx: Any) -> Any:
            y, saved = super().forward(xp, p, x, ctx)
            return y + 0.0 * xp.sort(y, axis=-1), saved

    model = nn.Sequential(nn.Linear(4, 6), Sorted(), nn.Linear(6, 3))
    trainer = train.Trainer(model, nn.SoftmaxCrossEntropy(), backend=CuPyOnHost(compiler), dtype="float64")
    trainer.fit(X, LABELS, epochs=2, batch_size=10, progress=False)
    (program,) = trainer._training_step._found.values()  # type: ignore[attr-defined]
    assert trainer.fallback == "" and "replay" not in program.space


# What is captured when


class Watched:
    """Launches, and how often they were run."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self) -> None:
        self.runs += 1


def replay() -> Replay:
    cupy = SimpleNamespace(
        empty=lambda size, dtype: on_device(np.empty(size, dtype)),
        cuda=CUDA,
    )
    return Replay(cupy, Products(cupy, CuBLAS(), lambda: False, workspace=64))


def test_arrays_that_come_again_are_captured_and_others_are_not() -> None:
    launches, run = Watched(), replay()
    x, other = on_device(np.ones(3)), on_device(np.ones(3))
    before = len(Stream.graphs)
    for array in (x, other):
        run(launches, array)
    assert launches.runs == 2 and len(Stream.graphs) == before
    for _ in range(3):
        run(launches, x)
    assert launches.runs == 3  # the capture
    assert Stream.graphs[before:][0].launched == 3 and len(Stream.graphs) == before + 1


def test_another_stream_has_a_graph_of_its_own() -> None:
    launches, run, x = Watched(), replay(), on_device(np.ones(3))
    before = len(Stream.graphs)
    run(launches, x)
    run(launches, x)
    with Stream(non_blocking=True):
        run(launches, x)
    assert launches.runs == 3  # twice as they are, and once to capture them
    assert len(Stream.graphs) == before + 1


def test_a_graph_keeps_the_memory_that_it_works_in() -> None:
    """That of a thread which has ended, and what was allocated while it was captured."""
    pool = SimpleNamespace(malloc=lambda nbytes: f"{nbytes} bytes")
    allocators: list[Any] = []
    run, x = replay(), on_device(np.ones((4, 4)))
    run._pool = pool
    run._cupy.cuda = SimpleNamespace(
        **vars(CUDA) | {"using_allocator": lambda each: allocators.append(each) or nullcontext()}
    )

    def launches() -> None:
        run._products.dot(x, x, x)
        if Stream.current.graph is not None:
            assert cuda_replay.CAPTURING.locked()
            allocators[-1](64)

    with ThreadPoolExecutor(1) as thread:
        for _ in range(2):
            thread.submit(run, launches, x).result()
    (kept,) = run._graphs.values()
    assert run.reason == "" and kept is not None and not cuda_replay.CAPTURING.locked()
    workspace, *allocated = kept.held
    assert workspace.nbytes == 64 and allocated == ["64 bytes"]


def test_a_graph_that_cannot_be_launched_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Graph) -> None:
        raise MemoryError("no room for it")

    monkeypatch.setattr(Graph, "launch", full)
    launches, run, x = Watched(), replay(), on_device(np.ones(3))
    run(launches, x)
    run(launches, x)
    assert run.reason == "MemoryError: no room for it" and launches.runs == 3


def test_few_graphs_are_kept() -> None:
    launches, run = Watched(), replay()
    arrays = [on_device(np.ones(3)) for _ in range(cuda_replay.GRAPHS + 5)]
    for array in arrays:
        run(launches, array)
        run(launches, array)
    assert len(run._graphs) == cuda_replay.GRAPHS


def test_what_is_interrupted_is_no_longer_captured() -> None:
    run, x = replay(), on_device(np.ones(3))

    def interrupted() -> None:
        if Stream.current.graph is not None:
            raise KeyboardInterrupt

    run(interrupted, x)
    with pytest.raises(KeyboardInterrupt):
        run(interrupted, x)
    assert Stream.current.ptr == 0 and run.reason == ""


# Products


def laid_out(x: np.ndarray) -> dict[str, np.ndarray]:
    """The same matrix in every way that it can lie in memory."""
    rows, columns = x.shape
    wide = np.zeros((rows, columns + 3), x.dtype)
    wide[:, 1 : columns + 1] = x
    tall = np.zeros((columns, rows + 2), x.dtype)
    tall[:, 2:] = x.T
    return {
        "as it is": x.copy(),
        "transposed": np.ascontiguousarray(x.T).T,
        "cut": wide[:, 1 : columns + 1],
        "cut and transposed": tall[:, 2:].T,
    }


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sizes", [(5, 4, 3), (1, 4, 3), (5, 1, 3), (5, 4, 1), (1, 1, 1), (1, 7, 1), (6, 1, 1)])
def test_products_of_whatever_lies_in_lines(sizes: tuple[int, int, int], dtype: str) -> None:
    m, k, n = sizes
    rng = np.random.default_rng(3)
    a, b = (rng.normal(size=shape).astype(dtype) for shape in ((m, k), (k, n)))
    products = replay()._products
    for first in laid_out(a).values():
        for second in laid_out(b).values():
            out = on_device(np.full((m, n), np.nan, dtype))
            products.dot(first.view(type(out)), second.view(type(out)), out)  # NumPy would fail: there is no other dot
            assert_close(np.asarray(out), a @ b, 16, dtype)


def test_what_does_not_lie_in_lines_is_left_to_cupy() -> None:
    calls: list[Any] = []
    products = replay()._products
    products._cupy.dot = lambda *arguments: calls.append(arguments)
    odd, x = (on_device(np.ones((8, 8), np.float32)) for _ in range(2))
    spread = on_device(np.broadcast_to(np.float32(1), (4, 4)))
    out = on_device(np.zeros((4, 4), np.float32))
    for a in (odd[::2, ::2], spread, on_device(np.ones((4, 4), np.int64)), on_device(np.ones((4, 4))), odd[:4, :0]):
        products.dot(a, x[:4, :4] if a.shape == (4, 4) else x[:0, :4], out)
    assert len(calls) == 5
    assert operand(odd[::2, :3]) == (0, 16) and operand(odd[::2, ::2]) is None


def test_tf32_is_asked_for_where_float32_is_to_be_rounded() -> None:
    asked: list[int] = []

    class Library(CuBLAS):
        def cublasGemmEx(self, *arguments: Any) -> int:
            asked.append(arguments[-2])
            return 0

    on, cupy = [False], replay()._cupy
    products = Products(cupy, Library(), lambda: on[0], workspace=64)
    for on[0] in (False, True):
        for dtype in (np.float32, np.float64, np.float16):
            x = on_device(np.ones((4, 4), dtype))
            products.dot(x, x, x)
    assert asked == [68, 70, 68, 77, 70, 68]


def test_an_error_of_cublas_is_one() -> None:
    class Library(CuBLAS):
        def cublasGemmEx(self, *arguments: Any) -> int:
            return 13

    x = on_device(np.ones((4, 4)))
    with pytest.raises(RuntimeError, match="cublasGemmEx fails with status 13"):
        Products(replay()._cupy, Library(), lambda: False, workspace=64).dot(x, x, x)


def test_a_capture_works_in_the_memory_of_the_stream_that_replays_it() -> None:
    """So two graphs use one memory only if they run one after the other."""
    library = CuBLAS()
    products = Products(replay()._cupy, library, lambda: False, workspace=64)
    x = on_device(np.ones((4, 4)))
    products.dot(x, x, x)
    mine = library.workspace
    side = Stream(non_blocking=True)
    with side, products.captured_for(0, side.ptr):
        products.dot(x, x, x)
        assert library.stream == side.ptr and library.workspace == mine
    with side:
        products.dot(x, x, x)
        assert library.workspace != mine
    products.dot(x, x, x)
    assert (library.stream, library.workspace) == (0, mine)


def test_the_library_is_the_one_that_cupy_has_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The arguments are given their types: Python's integers would be cut to 32 bits."""
    from mlp_xp.backends import cublas

    def function() -> Any:
        return SimpleNamespace(argtypes=None)

    names = "cublasCreate_v2", "cublasSetStream_v2", "cublasSetWorkspace_v2", "cublasGemmEx"
    made = SimpleNamespace(**{name: function() for name in names})
    asked: list[str] = []

    def opened(name: str, mode: int) -> Any:
        asked.append(name)
        if "11" in name:
            raise OSError
        return made

    monkeypatch.setattr(ctypes, "CDLL", opened)
    loaded: list[int] = []
    runtime = SimpleNamespace(is_hip=False, runtimeGetVersion=lambda: 12090)
    cupy = SimpleNamespace(cuda=SimpleNamespace(runtime=runtime, get_cublas_handle=lambda: loaded.append(1)))
    assert cublas.library(cupy) is made and loaded == [1] and asked == ["libcublas.so.12"]
    assert len(made.cublasGemmEx.argtypes) == 19
    runtime.runtimeGetVersion = lambda: 11080
    assert cublas.library(cupy) is None
    runtime.is_hip, runtime.runtimeGetVersion = True, lambda: 12090
    assert cublas.library(cupy) is None
