"""The kernels that CuPy gets: NVRTC compiles them without a GPU, and a C++ compiler makes the host run them."""

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cases import OPTIMIZERS
from conftest import REQUIRED
from helpers import assert_close

from mlp_xp import nn, optim
from mlp_xp.backends import select
from mlp_xp.backends.cuda_kernel import NAME
from mlp_xp.backends.on_cupy import CuPyBackend

XP = select("numpy").xp
LAYOUT = nn.Layout(nn.Sequential(nn.Linear(9, 7), nn.Linear(7, 3)))
EXTRA = {
    "all options": optim.Adam(
        0.01, weight_decay=0.1, l1=0.01, clip_value=0.5, maximize=True, lr_multipliers={"0.*": 0.5, "1.bias": 0.0}
    ),
    "decoupled": optim.AdamW(0.01, decay_multipliers={"*": 0.5}),
    "schedule": optim.SGD(optim.Cosine(0.1, 50), momentum=0.9, nesterov=True),
}
FUSED = {name: each for name, each in OPTIMIZERS.items() if not (each.full_batch or getattr(each, "per_parameter", 0))}
FUSED |= EXTRA

# What CUDA defines, for one thread that takes every element.
HOST = """
#include <cmath>
using namespace std;
struct Index { int x; };
static const Index gridDim = {1}, blockDim = {1}, blockIdx = {0}, threadIdx = {0};
#define __global__
"""


def lacking(what: str) -> None:
    if "nvrtc" in REQUIRED:
        pytest.fail(f"{what}, which --require-backends asks for")
    pytest.skip(what)


def has_compiler() -> None:
    if shutil.which("g++") is None:
        lacking("there is no C++ compiler (g++)")


@pytest.fixture(scope="session")
def nvrtc() -> Callable[..., bytes]:
    """Compile CUDA's C++ for a GPU of the year 2022, and give what the assembler is to get."""
    try:
        from cupy_backends.cuda.libs import nvrtc as library

        library.getVersion()
    except Exception as reason:
        lacking(f"NVRTC is not usable: {reason}")

    def compiled(source: str, *options: str) -> bytes:
        program = library.createProgram(source, f"{NAME}.cu", (), ())
        try:
            library.compileProgram(program, ("--gpu-architecture=compute_90", "--std=c++17", *options))
        except Exception:
            pytest.fail(f"{library.getProgramLog(program)}\n{source}")
        return library.getPTX(program)

    return compiled


@pytest.fixture
def on_host(tmp_path: Path) -> Callable[[str, str], Any]:
    """Makes a kernel of CUDA's C++ that runs on the host, over NumPy arrays."""
    has_compiler()

    def make(source: str, name: str) -> Any:
        code, library = (
            tmp_path / f"{len(list(tmp_path.iterdir()))}.cpp",
            tmp_path / f"{len(list(tmp_path.iterdir()))}.so",
        )
        code.write_text(HOST + source)
        # Without contraction, as NumPy rounds every operation.
        subprocess.run(["g++", "-O1", "-ffp-contract=off", "-shared", "-fPIC", "-o", library, code], check=True)
        function = ctypes.CDLL(str(library))[name]

        def launch(grid: tuple[int], block: tuple[int], arguments: tuple[Any, ...]) -> None:
            assert 0 < grid[0] <= 4096 and block == (256,)
            function(*map(passed, arguments))

        return launch

    return make


def passed(argument: Any) -> Any:
    if isinstance(argument, np.ndarray):
        return ctypes.c_void_p(argument.ctypes.data)
    return ctypes.c_double(argument) if isinstance(argument, np.float64) else ctypes.c_longlong(int(argument))


def fuse(make: Callable[[str, str], Any]) -> Callable[..., Any]:
    """CuPy's fuse, with another compiler, over NumPy arrays."""
    backend = object.__new__(CuPyBackend)  # without a device
    backend.xp, backend._cupy = XP, SimpleNamespace(RawKernel=make)
    return backend.fuse


def trained(optimizer: optim.Optimizer, fuse: Callable[..., Any], dtype: str) -> list[np.ndarray]:
    """The parameters and slots after a few updates."""
    rng = np.random.default_rng(0)
    p = rng.normal(size=LAYOUT.size).astype(dtype)
    slots = optimizer.start(XP, p)
    vectors = tuple(None if each is None else LAYOUT.spread(XP, each, p) for each in optimizer.multipliers(LAYOUT))
    update = optimizer.build(XP, fuse, LAYOUT)
    for step in range(6):
        g = rng.normal(size=LAYOUT.size).astype(dtype)
        g[::7] = 0.0
        p, slots = update(p, g, slots, tuple(map(float, optimizer.coefficients(step))), vectors)
    return [p, *slots]


def plain(rule: Any) -> Any:
    return lambda *arguments: rule(XP, *arguments)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FUSED)
def test_the_rule_of_every_optimizer_compiles(nvrtc: Callable[[str], bytes], name: str, dtype: str) -> None:
    sources: list[str] = []

    def make(source: str, name: str) -> Any:
        sources.append(source)
        return lambda grid, block, arguments: None

    trained(FUSED[name], fuse(make), dtype)
    for source in sources:
        assert NAME.encode() in nvrtc(source)
    assert sources


@pytest.mark.parametrize(("name", "dtype"), [*((name, "float32") for name in FUSED), ("Adam", "float64")])
def test_the_kernel_of_every_optimizer_does_what_the_rule_does(on_host: Any, name: str, dtype: str) -> None:
    made: list[str] = []

    def make(source: str, name: str) -> Any:
        made.append(source)
        return on_host(source, name)

    fused = trained(FUSED[name], fuse(make), dtype)
    for one, other in zip(fused, trained(FUSED[name], plain, dtype), strict=True):
        assert_close(one, other, 16, dtype)
    assert 1 <= len(made) <= 2  # an average has one of its own


def test_nan_and_infinity_come_through(on_host: Any) -> None:
    def rule(xp: Any, p: Any, g: Any, slots: Any, numbers: Any, vectors: Any) -> Any:
        return xp.maximum(p, g), (xp.minimum(p, g), xp.where(g > p, p, 2.0 * g))

    some = np.array([np.nan, 1.0, -np.inf, np.inf, 0.0])
    p, g = (array.copy() for array in np.meshgrid(some, some))
    expected, others = rule(XP, p, g, (), (), ())
    slots = np.zeros_like(p), np.zeros_like(p)
    result, slots = fuse(on_host)(rule)(p, g, slots, (), (None,))
    for one, other in zip((result, *slots), (expected, *others), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_rule_that_skips_is_one_kernel_and_leaves_what_has_a_gradient_of_nan(on_host: Any, nvrtc: Any) -> None:
    made: list[str] = []

    def make(source: str, name: str) -> Any:
        made.append(source)
        return on_host(source, name)

    p, g = np.linspace(0.5, 1, 128, dtype=np.float32), np.linspace(-1, 1, 128, dtype=np.float32)
    g[5:9] = np.nan
    adam, slots = optim.Adam(0.1, weight_decay=0.1, clip_value=0.5), (p / 4, p / 8)
    numbers = tuple(map(float, adam.coefficients(3)))
    expected = adam.build(XP, plain, LAYOUT, skips=True)(p, g, slots, numbers, (None, None))
    fused = adam.build(XP, fuse(make), LAYOUT, skips=True)
    before = [each.copy() for each in (p, *slots)]
    result, kept = fused(p, g, slots, numbers, (None, None))
    for one, other, old in zip((result, *kept), (expected[0], *expected[1]), before, strict=True):
        assert_close(one, other, 4)
        np.testing.assert_array_equal(one[5:9], old[5:9])
        assert (one != old).sum() == 124
    assert len(made) == 1 and NAME.encode() in nvrtc(made[0])


def norm(xp: Any, p: Any, g: Any, slots: Any, numbers: Any, vectors: Any) -> Any:
    return p - g / xp.sqrt(xp.sum(g * g)), slots


def looks(xp: Any, p: Any, g: Any, slots: Any, numbers: Any, vectors: Any) -> Any:
    return (p - g if float(p[0]) > 0 else p), slots


def neighbours(xp: Any, p: Any, g: Any, slots: Any, numbers: Any, vectors: Any) -> Any:
    return p - np.arange(64) * g, slots


@pytest.mark.parametrize("rule", [norm, looks, neighbours])
def test_what_is_not_elementwise_is_run_as_it_is(rule: Any) -> None:
    p, g = np.linspace(0.5, 1, 64), np.linspace(1, 2, 64)
    expected = rule(XP, p, g, (), (0.5,), ())
    found = fuse(lambda source, name: pytest.fail(source))(rule)(p, g, (), (0.5,), ())
    np.testing.assert_array_equal(found[0], expected[0])


def test_so_are_arrays_with_gaps() -> None:
    def make(source: str, name: str) -> Any:
        return lambda *arguments: pytest.fail("a launch")

    rule = optim.SGD(0.1).rule
    update = fuse(make)(lambda xp, p, g, slots, numbers, vectors: rule(xp, p, g, slots, numbers))
    p, g = np.ones(128)[::2], np.ones(64)
    np.testing.assert_array_equal(update(p, g, (), (0.25, 0.0, 1.0), ())[0], np.full(64, 0.75))
