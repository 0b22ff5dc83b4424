"""Whole steps for CuPy: kernels made from what was recorded, run on the host, do what the step does on NumPy."""

import ctypes
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import BATCH, LAYERS, LOSSES, OPTIMIZERS, Case
from cuda_on_host import COUNTS, Compiler, CuBLAS, CuPyOnHost, OnDevice, Stream, launched, on_device, together
from helpers import assert_close
from test_cuda_kernel import has_compiler, nvrtc  # noqa: F401 (a fixture)

from mlp_xp import backends, nn, optim, train
from mlp_xp.backends import cuda_part, cuda_words
from mlp_xp.backends.cublas import Products
from mlp_xp.backends.cuda_program import CudaCompiled, Recorder
from mlp_xp.backends.lean import lean
from mlp_xp.backends.program import Program
from mlp_xp.backends.tape import leaves, mapped
from mlp_xp.train.step import Data, State, Totals, training_step

pytestmark = pytest.mark.usefixtures("recorded_at_once")

TRAINED = {name: case for name, case in LAYERS.items() if case.layer.differentiable}
RNG = np.random.default_rng(0)
X, LABELS = RNG.normal(size=(16, 4)), np.arange(16) % 3
UPDATES = ("SGD, every option", "Adagrad", "Adam", "LAMB", "Rprop", "ASGD", "EMA", "SWA", "Lookahead")
"""Of which some are one kernel, some two, and some are not elementwise."""


def of_layer(case: Case) -> Callable[[Any], train.Trainer]:
    width = case.layer.output_features(case.features)

    def trained(backend: Any) -> train.Trainer:
        x = np.concatenate([case.inputs(), case.inputs(2)])
        return fit(backend, nn.Sequential(case.layer, nn.Linear(width, 3)), x, np.arange(len(x)) % 3, batch_size=5)

    return trained


def fit(
    backend: Any,
    model: nn.Layer,
    x: np.ndarray,
    y: np.ndarray,
    *,
    loss: nn.Loss | None = None,
    optimizer: optim.Optimizer | None = None,
    dtype: str = "float64",
    epochs: int = 3,
    batch_size: int = 4,
    weights: np.ndarray | None = None,
    **more: Any,
) -> train.Trainer:
    loss, optimizer = loss or nn.SoftmaxCrossEntropy(), optimizer or optim.SGD(0.05, momentum=0.9)
    trainer = train.Trainer(model, loss, optimizer, backend=backend, dtype=dtype, **more)
    if isinstance(backend, CuPyOnHost) and backend.compiler.dry:
        epochs = 1
    trainer.fit(x, y, epochs=epochs, batch_size=batch_size, sample_weight=weights, progress=False)
    return trainer


def mlp(*sizes: int) -> nn.Layer:
    layers: list[nn.Layer] = []
    for one, other in pairwise(sizes):
        layers += [nn.Linear(one, other), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def of_mlp(batch: int, *sizes: int, rest: int = 0, dtype: str = "float32", optimizer: Any = None, **more: Any) -> Any:
    def trained(backend: Any) -> train.Trainer:
        rows = 2 * batch + rest  # the last batch is another program
        x = np.random.default_rng(1).normal(size=(rows, sizes[0]))
        y = np.arange(rows) % sizes[-1]
        given = {"optimizer": optimizer, "dtype": dtype, "batch_size": batch, "epochs": 2}
        return fit(backend, mlp(*sizes), x, y, **given, **more)

    return trained


def with_optimizer(optimizer: optim.Optimizer) -> Any:
    model = nn.Sequential(nn.Linear(4, 5, bias=False), nn.BatchNorm(5), nn.Tanh(), nn.Linear(5, 3))
    return lambda backend: fit(backend, model, X, LABELS, optimizer=optimizer)


DEEP = nn.Sequential(*[layer for _ in range(30) for layer in (nn.Linear(4, 4), nn.SiLU())])
RUNS: dict[str, Callable[[Any], train.Trainer]] = {
    **{name: of_layer(case) for name, case in TRAINED.items()},
    **{f"with {name}": with_optimizer(OPTIMIZERS[name]) for name in UPDATES},
    "2-8-2": of_mlp(4, 2, 8, 2),
    "30-32-16-2": of_mlp(32, 30, 32, 16, 2, rest=3),
    "784-128-64-10": of_mlp(32, 784, 128, 64, 10),
    "40-1100-3": of_mlp(5, 40, 1100, 3, dtype="float64"),
    "30 layers": lambda backend: fit(backend, DEEP, X, np.arange(16) % 4),
    "weighted rows": lambda backend: fit(backend, mlp(4, 5, 3), X, LABELS, weights=np.arange(16.0)),
    "accuracy": lambda backend: fit(backend, mlp(4, 5, 3), X, LABELS, metrics=[train.Accuracy()]),
    "an L2 penalty": lambda backend: fit(backend, mlp(4, 5, 3), X, LABELS, l2=0.1),
    "images": lambda backend: fit(
        backend,
        nn.Sequential(nn.Rescale(1 / 255), nn.Flatten(), nn.Linear(12, 3)),
        np.random.default_rng(0).integers(0, 256, (16, 3, 4)).astype(np.uint8),
        LABELS,
    ),
    "chains without products": lambda backend: fit(
        backend,
        nn.Sequential(*[layer for _ in range(3) for layer in (nn.Scale(4), nn.GELU(), nn.LayerNorm(4))]),
        X,
        LABELS,
        loss=nn.SoftmaxCrossEntropy(),
    ),
}


@pytest.fixture(scope="module")
def compiler(tmp_path_factory: pytest.TempPathFactory) -> Compiler:
    """Knows the kernels of all runs, each of which was begun for that."""
    has_compiler()
    made = Compiler(tmp_path_factory.mktemp("kernels"))
    with made.collecting(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlp_xp.backends.compiled.EAGER_CALLS", 0)
        for trained in RUNS.values():
            trained(CuPyOnHost(made))
        for case in LOSSES.values():
            for weight in (None, np.arange(1.0, BATCH + 1)):
                loss_program(made, case, weight)
    return made


@pytest.mark.parametrize("name", RUNS)
def test_a_run_goes_the_way_it_goes_on_numpy(compiler: Compiler, name: str) -> None:
    assert_agrees(CuPyOnHost(compiler), name)


@pytest.mark.gpu
@pytest.mark.parametrize("name", RUNS)
def test_so_it_does_on_a_gpu(get_backend: Any, name: str) -> None:
    assert_agrees(get_backend("cupy"), name)


def assert_agrees(backend: Any, name: str) -> None:
    found, expected = RUNS[name](backend), RUNS[name]("numpy")
    step = found._training_step
    assert isinstance(step, CudaCompiled) and step.reason == ""
    programs = [*step._found.values()]
    assert all(isinstance(program, Program) and program.space["replay"].reason == "" for program in programs)
    mine, theirs = found.state, expected.state
    pairs = [(mine.flat, theirs.flat), *zip(mine.slots, theirs.slots, strict=True)]
    for one, other in pairs if theirs.buffers is None else [*pairs, (mine.buffers, theirs.buffers)]:
        assert backend.owns(one)
        assert_close(backend.to_host(one), other, 2**12, found.dtype)
    for metric in expected.history.records[0]:
        if metric != "seconds":
            assert_close(found.history[metric], expected.history[metric], 2**12, found.dtype)


def loss_program(compiler: Compiler, case: Any, weight: Any) -> list[Any]:
    """The value and gradient of a loss, and its mass, by a program."""
    backend = CuPyOnHost(compiler)

    def function(xp: Any) -> Any:
        return lambda y, target, weight: (case.loss(xp, y, target, weight), case.loss.mass(xp, y, target, weight))

    y = on_device(np.random.default_rng(1).uniform(0.1, 0.9, (BATCH, 4)))
    weight = None if weight is None else on_device(weight)
    step = CudaCompiled(backend._cupy, function(lean), (), function(backend.xp), "")
    with backend.scope():
        step(y, on_device(case.target), weight)
        (value, dy), mass = step(y, on_device(case.target), weight)
    assert compiler.dry or step.reason == ""
    return [value, dy, mass]


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss(compiler: Compiler, name: str) -> None:
    case = LOSSES[name]
    for weight in (None, np.arange(1.0, BATCH + 1)):
        y = np.random.default_rng(1).uniform(0.1, 0.9, (BATCH, 4))
        value, dy = case.loss(lean, y, case.target, weight)
        expected = [value, dy, case.loss.mass(lean, y, case.target, weight)]
        for one, other in zip(loss_program(compiler, case, weight), expected, strict=True):
            assert_close(np.asarray(one), np.asarray(other), 64, np.float64)


def test_all_these_kernels_compile(compiler: Compiler, nvrtc: Callable[..., bytes]) -> None:  # noqa: F811
    code = nvrtc(together(compiler.sources), "--device-debug")  # a tenth of the time
    kernels = [name for source in compiler.sources for name in re.findall(r"(kernel_\w+|rule)\(", source)]
    assert code.count(b".visible .entry") == len(kernels) > 300


def test_the_threads_of_a_block_work_together(tmp_path: Path) -> None:
    has_compiler()
    model = nn.Sequential(
        nn.Linear(4, 40), nn.LayerNorm(40), nn.SiLU(), nn.Linear(40, 9), nn.BatchNorm(9), nn.ReLU(), nn.Linear(9, 1100)
    )
    made = Compiler(tmp_path, threads=32)
    found, expected = (
        fit(backend, model, X[:6], LABELS[:6], epochs=2, batch_size=6) for backend in (CuPyOnHost(made), "numpy")
    )
    assert found.fallback == ""
    assert_close(np.asarray(found.state.flat), expected.state.flat, 2**12, "float64")
    assert found.history["loss"] == pytest.approx(expected.history["loss"], rel=1e-13)
    wide = [source for source in made.sources if "const int lanes = 256 <" in source]
    assert wide and any("const int lanes = 32 <" in source for source in made.sources)


def steps(compiler: Compiler, **more: Any) -> tuple[list[int], list[int]]:
    """Of each step of 784-128-64-10 with Adam, on the pretended device, how many kernels and calls of CuPy it takes."""
    backend = CuPyOnHost(compiler)
    trainer = train.Trainer(mlp(784, 128, 64, 10), nn.SoftmaxCrossEntropy(), optim.Adam(), backend=backend, **more)
    step, kernels, calls = trainer._training_step, [], []

    def watched(*arguments: Any) -> Any:
        before = len(compiler.launches), COUNTS[0]
        with sealed(backend) if calls else nullcontext():
            result = step(*arguments)
        kernels.append(len(compiler.launches) - before[0])
        calls.append(COUNTS[0] - before[1])
        return result

    watched.reason = ""  # type: ignore[attr-defined]
    trainer._training_step = watched
    x, y = np.random.default_rng(1).normal(size=(128, 784)), np.arange(128) % 10
    trainer.fit(x, y, epochs=1, batch_size=32, progress=False)
    assert getattr(step, "reason", "") == ""
    return kernels, calls


@contextmanager
def sealed(backend: CuPyOnHost) -> Iterator[None]:
    def forbidden(*_: Any, **__: Any) -> Any:
        raise AssertionError("a number was taken off the device, or brought to it")

    with pytest.MonkeyPatch.context() as patch:
        for name in ("__bool__", "__float__", "__int__", "__index__"):
            patch.setattr(OnDevice, name, forbidden)
        for name in ("asarray", "asnumpy", "empty"):
            patch.setattr(backend._cupy, name, forbidden)
        yield


def test_a_step_takes_few_launches_no_memory_and_no_number(compiler: Compiler) -> None:
    """Kernels: the numbers, the rows, three layers with the loss and its gradient, two layers back, and Adam's.

    Beside them eight products. The second step is captured; from then on all but the first kernel are one graph.
    """
    before = len(Stream.graphs)
    kernels, calls = steps(compiler)
    assert kernels[1] == 8 and calls[1] == 8
    assert len(Stream.graphs) == before + 2  # that of the trial too
    assert kernels[2:] == [1, 1] and calls[2:] == [0, 0]
    assert Stream.graphs[-1].launched == 3 and len(Stream.graphs[-1].work) == 15
    kernels, calls = steps(compiler, compile=False)
    assert kernels[1:] == [1] * 3 and calls[1] > 40


def cupy_on_host_memory(compiler: Compiler) -> Any:
    """CuPy with arrays of its own, which lie in the host's memory; what would run on a GPU is NumPy's."""
    cupy = pytest.importorskip("cupy", exc_type=ImportError)

    def seen(x: Any) -> np.ndarray:
        span = x.itemsize + sum((length - 1) * stride for length, stride in zip(x.shape, x.strides, strict=True))
        memory = (ctypes.c_char * span).from_address(x.data.ptr)
        return np.ndarray(x.shape, x.dtype, memory, strides=x.strides)

    def given(x: Any, order: Any = "C") -> Any:
        kept = np.array(x, order=order, ndmin=1)
        memory = cupy.cuda.UnownedMemory(kept.ctypes.data, kept.nbytes, kept, 0)
        return cupy.ndarray(np.shape(x), kept.dtype, cupy.cuda.MemoryPointer(memory, 0))

    own = compiler.cupy()
    own.seen, own.given = seen, given
    own.ndarray, own.asarray, own.empty = cupy.ndarray, given, lambda size, dtype: given(np.full(size, 0xCB, dtype))
    own.copyto = lambda to, x: launched(partial(np.copyto, seen(to), seen(x)))
    return own


def test_arrays_of_cupy_are_cut_and_bound_as_those_of_numpy_are(compiler: Compiler, monkeypatch: Any) -> None:
    """The arrays are CuPy's; a kernel and a product are told apart from NumPy's by nothing but who runs them."""
    cupy = cupy_on_host_memory(compiler)
    model, rule = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm(5), nn.ReLU(), nn.Linear(5, 3)), optim.SGD(0.05, 0.9)
    trainer = train.Trainer(model, nn.SoftmaxCrossEntropy(), rule, backend="numpy")
    monkeypatch.setattr(CudaCompiled, "_try", lambda *_: None)  # the step as it is written needs a GPU

    def make(backend: Any) -> Any:
        plain = backends.base.Uncompiled(backend)
        return training_step(plain, model, trainer.layout, nn.SoftmaxCrossEntropy(), rule, (), "float32")

    def run(step: Any, array: Any) -> list[Any]:
        x, y = X.astype(np.float32), LABELS.astype(np.int32)
        data = Data(array(x), array(y), None, array(np.arange(16, dtype=np.int32).reshape(4, 4)))
        sizes = trainer.layout.size, trainer.layout.buffers.size
        flat, buffers = (np.linspace(-1, 1, size, dtype=np.float32) ** 2 for size in sizes)
        slots, totals = (np.zeros_like(flat),), Totals(np.zeros((), "f"), np.zeros((), "f"))
        state = mapped(State(flat, slots, buffers, totals), lambda leaf: None if leaf is None else array(leaf.copy()))
        for index in range(4):
            state = step(state, data, index, trainer._settings(False, trainer.step))
        return [leaf for leaf in leaves(state) if leaf is not None]

    products = Products(cupy, CuBLAS(), lambda: False, workspace=64)
    step = CudaCompiled(cupy, make(Recorder(cupy, np.dtype)), (0,), lambda *_: pytest.fail(step.reason), "", products)
    for one, other in zip(run(step, cupy.given), run(make(backends.select("numpy")), np.array), strict=True):
        assert isinstance(one, cupy.ndarray)
        assert_close(cupy.seen(one), other, 64)


def test_layers_of_one_shape_have_kernels_in_common(tmp_path: Path) -> None:
    made = Compiler(tmp_path)
    with made.collecting():
        RUNS["30 layers"](CuPyOnHost(made))
    (source,) = [each for each in made.sources if "kernel_0" in each]
    assert source.count("__global__") < 12


def test_a_kernel_that_is_wrong_is_not_used(compiler: Compiler, monkeypatch: pytest.MonkeyPatch) -> None:
    made = RUNS["weighted rows"]("numpy")
    monkeypatch.setattr(cuda_words, "EXTREMES", cuda_words.EXTREMES | {np.maximum: "({0} < {1} ? {0} : {1})"})
    found = RUNS["weighted rows"](CuPyOnHost(compiler))
    assert "other numbers than the step as it is written" in found.fallback
    assert_close(np.asarray(found.state.flat), made.state.flat, 2**12, "float64")


def test_nor_one_that_does_not_compile(monkeypatch: pytest.MonkeyPatch, compiler: Compiler) -> None:
    backend = CuPyOnHost(compiler)

    def broken(code: str) -> Any:
        raise RuntimeError("no NVRTC")

    monkeypatch.setattr(backend._cupy, "RawModule", broken)
    found = RUNS["weighted rows"](backend)
    assert found.fallback == "RuntimeError: no NVRTC"
    assert_close(np.asarray(found.state.flat), RUNS["weighted rows"]("numpy").state.flat, 2**12, "float64")


def test_what_cannot_be_recorded_says_why(compiler: Compiler) -> None:
    class Looks(nn.Tanh):
        def forward(self, xp: Any, p: Any, x: Any, ctx: Any) -> Any:
            y, saved = super().forward(xp, p, x, ctx)
            return y * (2.0 if float(xp.max(y)) > 0 else 1.0), saved

    found = fit(CuPyOnHost(compiler), nn.Sequential(nn.Linear(4, 3), Looks()), X, LABELS)
    assert "asks for the numbers in an array" in found.fallback


@pytest.mark.parametrize("precision", ["float32", "fp16-mixed"])
def test_mixed_precision_goes_the_same_way(compiler: Compiler, precision: str) -> None:
    found, expected = (
        fit(CuPyOnHost(compiler), mlp(4, 5, 3), X, LABELS, dtype="float32", precision=precision, compile=compile)
        for compile in ("auto", False)
    )
    assert found.fallback == ""
    for program in found._training_step._found.values():  # type: ignore[attr-defined]
        assert program.space["replay"].reason == ""
    assert_close(np.asarray(found.state.flat), np.asarray(expected.state.flat), 64)


def replayed(compiler: Compiler, function: Any, *arguments: Any) -> CudaCompiled:
    """Call it with these arguments on the device; the result must be what it is on NumPy."""
    backend = CuPyOnHost(compiler)
    step = CudaCompiled(backend._cupy, partial(function, lean), (), partial(function, backend.xp), "")
    with backend.scope():
        given = mapped(arguments, lambda leaf: on_device(leaf.copy()) if isinstance(leaf, np.ndarray) else leaf)
        for _ in range(2):
            found = step(*given)
        for one, other in zip(leaves(found), leaves(function(lean, *arguments)), strict=True):
            assert_close(np.asarray(one), np.asarray(other), 16, np.float64)
    return step


def odd(xp: Any, x: Any, n: Any, k: Any) -> Any:
    cube = xp.reshape(x, (2, 3, 4))
    return (
        xp.sum(x, axis=0),
        xp.sum(cube, axis=(-2, -1)) * 2.0,
        xp.sum(xp.sum(cube * cube, axis=-2, keepdims=True), axis=-1),
        xp.max(cube, axis=-1) - xp.min(cube, axis=1)[..., :3],
        xp.reshape(cube.mT, (4, 6))[1:3, ::2] + k,
        xp.astype(n[..., None] == xp.arange(3, dtype=xp.int32), x.dtype) @ cube[0, ...],
        xp.concat([x[:, :2], xp.exp(x[:, 1:])], axis=-1),
        (n * n + (n >> 1) * 2**30) ^ 7,
        xp.where(x > 0, xp.log1p(xp.abs(x)), xp.expm1(x)),
        xp.mean(x, axis=1),
        cube @ cube.mT,
        xp.cumulative_sum(x, axis=0) + xp.sum(x),
        xp.argmax(x, axis=1),
        xp.stack([n, n + 1]),
        xp.take(x, n, axis=0),
        xp.take(x, n, axis=1),
        x / xp.sqrt(xp.sum(x * x, axis=0, keepdims=True)) / xp.sum(xp.abs(x), axis=1, keepdims=True),
        xp.vecdot(x, x + 1.0),
        xp.stack([xp.sum(x), xp.full_like(xp.sum(x), 3.0)], axis=-1),
    )


def test_whatever_else_the_standard_has(compiler: Compiler) -> None:
    x = np.random.default_rng(3).normal(size=(6, 4))
    assert replayed(compiler, odd, x, np.array([2, 0, 1, 3], dtype=np.int32), 2.5).reason == ""


def test_lines_too_long_for_a_few_threads_are_cupys(compiler: Compiler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_part, "LONGEST", 5)
    x = np.random.default_rng(3).normal(size=(6, 7))
    step = replayed(compiler, lambda xp, x: (xp.sum(x * x, axis=0), xp.sum(x + x), xp.max(x, axis=1) * 2.0), x)
    assert step.reason == ""


def test_constants_may_lie_in_any_order(compiler: Compiler) -> None:
    turned = np.random.default_rng(3).normal(size=(4, 6)).T
    x = np.random.default_rng(4).normal(size=(6, 4))
    assert replayed(compiler, lambda xp, x: (x * xp.asarray(turned), x.mT @ xp.asarray(turned)), x).reason == ""


@pytest.mark.parametrize("size", [0, 1, 7, 8192, 3 * 8192, 8209])
def test_products_of_long_vectors_are_sums_of_lines(compiler: Compiler, size: int) -> None:
    """CuPy has none; and one of a prime number of elements is no sum of lines that are alike."""
    x, y = np.random.default_rng(3).uniform(size=(2, 2, size))
    for one, other in ((x, y), (x[0], y[0])):
        assert replayed(compiler, lambda xp, x, y: (xp.vecdot(x, y), xp.vecdot(x, x) + 1.0), one, other).reason == ""


def test_half_precision_is_left_to_cupy(compiler: Compiler) -> None:
    x = np.random.default_rng(3).normal(size=(6, 4))
    step = replayed(compiler, lambda xp, x: xp.astype(xp.astype(x, xp.float16) * 2, xp.float64) + 1.0, x)
    assert step.reason == ""
