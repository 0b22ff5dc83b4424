"""The backends that the tests run on, and what happens where one is missing."""

import atexit
import functools
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("SCIPY_ARRAY_API", "1")  # scikit-learn's array API needs it before SciPy is imported
# Compiling is most of the time on JAX: two fifths of it go with XLA's optimizations, which .ci/run tests by themselves.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

# What has been compiled once is not compiled again, by whichever of the processes that run the tests.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="mlp_xp_jax_")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

from mlp_xp import backends
from mlp_xp.backends.on_numpy import NumPyBackend

SCRIPTS = Path(__file__).parents[1] / "scripts"


class ReadOnlyNumPy(NumPyBackend):
    """NumPy whose inputs cannot be written to: a layer that works in place on what it was given fails."""

    word = "numpy:read-only"

    def __reduce__(self) -> tuple[Any, ...]:
        return ReadOnlyNumPy, ()  # it cannot be selected by its word

    def from_host(self, array: np.ndarray, dtype: str | None = None) -> Any:
        copy = super().from_host(array, dtype)
        copy.flags.writeable = False
        return copy


WORDS = [
    "numpy",
    "numpy:read-only",
    "strict",
    "strict:device1",
    "torch",
    "jax",
    pytest.param("cupy", marks=pytest.mark.gpu),
    pytest.param("torch:cuda", marks=pytest.mark.gpu),
]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-backends",
        default="",
        metavar="A,B",
        help="fail, not skip, where one of these backends is not usable: numpy,torch,jax or cupy,torch:cuda",
    )


@functools.cache
def found(word: str) -> backends.Backend | str:
    """The backend, or the reason why it is not usable here."""
    if word == ReadOnlyNumPy.word:
        return ReadOnlyNumPy()
    try:
        return backends.select(word)
    except backends.BackendError as error:
        return str(error)


REQUIRED: set[str] = set()
"""What --require-backends names."""


def usable(word: str) -> backends.Backend:
    """The backend; skips the test with the reason where it is not usable, or fails it where it is required."""
    backend = found(word)
    if isinstance(backend, str):
        if word.removesuffix(":cpu") in REQUIRED:
            pytest.fail(f"required by --require-backends: {backend}")
        pytest.skip(backend)
    return backend


@pytest.fixture(scope="session")
def get_backend() -> Callable[[str], backends.Backend]:
    return usable


@pytest.fixture(params=WORDS)
def backend(request: pytest.FixtureRequest) -> backends.Backend:
    return usable(request.param)


def pytest_report_header() -> list[str]:
    """What is usable here, at the top of every run."""
    return [f"backend {status.name}: {status.detail}" for status in backends.available()]


def pytest_configure(config: pytest.Config) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # pytest-xdist's workers ignore Ctrl-C, which tests send
    known = {"numpy", "strict", "strict:device1", "torch", "jax", "cupy", "torch:cuda", "jax:gpu", "nvrtc"}
    REQUIRED.update(word for word in config.getoption("--require-backends").split(",") if word)
    if REQUIRED - known:
        unknown, words = ", ".join(sorted(REQUIRED - known)), ", ".join(sorted(known))
        raise pytest.UsageError(f"--require-backends: no tests run on {unknown}; choose from {words}")


@pytest.fixture
def recorded_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """NumPy's steps are recorded from the first one on, however short a test is."""
    monkeypatch.setattr("mlp_xp.backends.compiled.EAGER_CALLS", 0)


@pytest.fixture(autouse=True, scope="session")
def _scripts_can_be_imported() -> Iterator[None]:
    sys.path.insert(0, str(SCRIPTS))
    yield
    sys.path.remove(str(SCRIPTS))
