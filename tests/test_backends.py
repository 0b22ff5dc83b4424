"""The backends room: words, probes, transfers between libraries and devices, `fuse`, `compile` and `scope`.

Which libraries and GPUs are there depends on the machine, so every state of a library that is missing, broken or
without a device is simulated; what runs on arrays runs on each backend that is usable, and says why where one is not.
"""

import copy
import functools
import importlib
import importlib.abc
import importlib.machinery
import math
import pickle
import sys
import tracemalloc
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import array_api_compat
import numpy as np
import pytest
from conftest import usable
from helpers import assert_close

from mlp_xp import backends, nn, optim, train
from mlp_xp.backends import Backend, BackendError, DeviceError, Status

NAMES = ("numpy", "cupy", "torch", "jax", "strict")
WORDS = (
    *("numpy", "torch:cpu", "jax:cpu", "strict", "strict:device1"),
    *(pytest.param(word, marks=pytest.mark.gpu) for word in ("cupy", "torch:cuda", "jax:gpu")),
)
LIBRARIES = {"cupy": "cupy", "torch": "torch", "jax": "jax", "strict": "array_api_strict"}


@functools.cache
def status_of(name: str) -> Status:
    return next(status for status in backends.available() if status.name == name)


each_backend = pytest.mark.parametrize("word", WORDS)


def probe(name: str) -> Status:
    return importlib.import_module(f"mlp_xp.backends.on_{name}").probe()


def equal(backend: Backend, array: Any, expected: Any) -> None:
    """Is `array` one of the backend's, on its device, with these numbers in this dtype?"""
    assert backend.owns(array)
    assert array_api_compat.device(array) == backend.device
    host = backend.to_host(array)
    assert host.dtype == np.asarray(expected).dtype
    np.testing.assert_array_equal(host, expected)


@pytest.fixture(autouse=True)
def no_word_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLP_XP_BACKEND", raising=False)


# ---- simulated machines ----


class RaisingFinder(importlib.abc.MetaPathFinder):
    """Makes `import name` raise an error, whether the library is installed or not."""

    def __init__(self, name: str, error: Exception) -> None:
        self.name, self.error = name, error

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if fullname == self.name:
            raise self.error
        return None


def importing_raises(monkeypatch: pytest.MonkeyPatch, name: str, error: Exception) -> None:
    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "meta_path", [RaisingFinder(name, error), *sys.meta_path])


def not_installed(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    importing_raises(monkeypatch, name, ModuleNotFoundError(f"No module named {name!r}", name=name))


class CUDARuntimeError(RuntimeError):
    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class FakeDevice:
    def __init__(self, device: int = 0) -> None:
        self.id = device

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FakeDevice) and other.id == self.id

    def __hash__(self) -> int:
        return self.id

    def __enter__(self) -> "FakeDevice":
        return self

    def __exit__(self, *reason: object) -> None:
        pass


class FakeCuPy(ModuleType):
    """A `cupy` with as much of a driver, devices and a toolkit as a test says; its arrays are NumPy's."""

    __version__ = "14.0"
    float32 = np.float32
    ndarray = np.ndarray

    def __init__(
        self,
        *,
        count: int = 1,
        count_error: Exception | None = None,
        driver: int = 13000,
        compute_error: Exception | None = None,
        wrong_by: float = 0.0,
    ) -> None:
        super().__init__("cupy")
        self.count, self.count_error, self.driver = count, count_error, driver
        self.compute_error, self.wrong_by = compute_error, wrong_by
        runtime = SimpleNamespace(
            CUDARuntimeError=CUDARuntimeError,
            getDeviceCount=self.get_device_count,
            driverGetVersion=lambda: self.driver,
            runtimeGetVersion=lambda: 13000,
            getDeviceProperties=lambda index: {"name": f"Pretended GPU {index}".encode()},
        )
        self.cuda = SimpleNamespace(runtime=runtime, Device=FakeDevice)

    def get_device_count(self) -> int:
        if self.count_error:
            raise self.count_error
        return self.count

    def ones(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        if self.compute_error:
            raise self.compute_error
        return np.ones(shape, dtype) + np.asarray(self.wrong_by, dtype)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "cupy", self)
        namespace = ModuleType("array_api_compat.cupy")
        monkeypatch.setitem(sys.modules, "array_api_compat.cupy", namespace)
        monkeypatch.setattr(array_api_compat, "cupy", namespace, raising=False)


def two_gpus() -> FakeCuPy:
    return FakeCuPy(count=2)


def no_driver() -> FakeCuPy:
    return FakeCuPy(count_error=CUDARuntimeError(35, "cudaErrorInsufficientDriver"), driver=0)


def old_driver(version: int = 11080) -> FakeCuPy:
    return FakeCuPy(count_error=CUDARuntimeError(35, "cudaErrorInsufficientDriver"), driver=version)


# ---- select: words ----


def test_a_backend_is_chosen_by_its_name():
    for name in NAMES:
        if status_of(name).usable:
            assert backends.select(name).name == name


@each_backend
def test_a_backend_is_chosen_by_its_name_and_device_and_selected_again_by_its_word(word):
    backend = usable(word)
    assert backend.word == word or backend.word.startswith(f"{word}:")
    again = backends.select(backend.word)
    assert type(again) is type(backend)
    assert again.word == backend.word
    assert again.device == backend.device


@pytest.mark.parametrize(
    ("word", "full"),
    [
        ("numpy", "numpy"),
        ("torch", "torch:cpu"),
        ("torch:cpu", "torch:cpu"),
        ("jax:cpu", "jax:cpu:0"),
        ("jax:cpu:0", "jax:cpu:0"),
        ("strict", "strict"),
        ("strict:device1", "strict:device1"),
    ],
)
def test_a_short_word_stands_for_the_full_one(word, full):
    usable(word.partition(":")[0])
    assert backends.select(word).word == full


@pytest.mark.parametrize("name", ["numpy", pytest.param("cupy", marks=pytest.mark.gpu), "torch", "jax", "strict"])
def test_every_word_that_a_status_lists_selects_that_device_and_the_first_is_the_default(name):
    first = usable(name)
    words = status_of(name).devices
    assert words[0] == first.word
    assert [backends.select(word).word for word in words] == list(words)


def test_a_backend_is_handed_back_as_it_is():
    numpy = backends.select("numpy")
    assert backends.select(numpy) is numpy


def test_an_unknown_name_is_refused_with_the_names_there_are():
    with pytest.raises(BackendError, match="unknown backend 'tensorflow'") as caught:
        backends.select("tensorflow")
    for name in ("auto", *NAMES):
        assert repr(name) in str(caught.value)


@pytest.mark.parametrize(
    ("word", "library", "known"),
    [
        ("numpy:1", "NumPy", "numpy"),
        ("torch:cuda:7", "PyTorch", "torch:cpu"),
        ("torch:tpu", "PyTorch", "torch:cpu"),
        ("jax:cpu:99", "JAX", "jax:"),
        ("strict:foo", "array-api-strict", "device1"),
    ],
)
def test_an_unknown_device_is_refused_with_the_devices_there_are(word, library, known):
    usable(word.partition(":")[0])
    with pytest.raises(BackendError, match=library) as caught:
        backends.select(word)
    assert repr(word.partition(":")[2]) in str(caught.value)
    assert known in str(caught.value).partition(repr(word.partition(":")[2]))[2]


def test_a_backend_that_is_not_usable_is_refused_with_reason_and_remedy(monkeypatch):
    not_installed(monkeypatch, "torch")
    with pytest.raises(BackendError, match="'torch' is not usable here: torch is not installed") as caught:
        backends.select("torch")
    assert "pip install" in str(caught.value)


# ---- select: "auto" and the environment ----


def test_auto_takes_cupy_where_a_gpu_computes(monkeypatch):
    two_gpus().install(monkeypatch)
    assert backends.select().word == backends.select("auto").word == "cupy:0"


@pytest.mark.parametrize(
    "machine",
    [no_driver, lambda: FakeCuPy(count=0), lambda: FakeCuPy(compute_error=RuntimeError("CuPy failed to load x.so"))],
    ids=["no driver", "no device", "no toolkit"],
)
def test_auto_takes_numpy_where_no_gpu_computes(monkeypatch, machine):
    machine().install(monkeypatch)
    assert backends.select("auto").word == "numpy"


def test_auto_takes_numpy_where_cupy_is_not_installed(monkeypatch):
    not_installed(monkeypatch, "cupy")
    assert backends.select("auto").word == "numpy"


def test_auto_takes_the_word_of_the_environment(monkeypatch):
    usable("strict")
    two_gpus().install(monkeypatch)
    monkeypatch.setenv("MLP_XP_BACKEND", "strict:device1")
    assert backends.select().word == backends.select("auto").word == "strict:device1"


@pytest.mark.parametrize("value", ["", "auto"])
def test_an_environment_that_says_nothing_changes_nothing(monkeypatch, value):
    not_installed(monkeypatch, "cupy")
    monkeypatch.setenv("MLP_XP_BACKEND", value)
    assert backends.select("auto").word == "numpy"


def test_a_stated_word_goes_before_the_environment(monkeypatch):
    monkeypatch.setenv("MLP_XP_BACKEND", "strict")
    assert backends.select("numpy").word == "numpy"


@pytest.mark.parametrize("value", ["tensorflow", "torch", "numpy:1"], ids=["name", "not usable", "device"])
def test_a_bad_word_in_the_environment_is_refused_and_the_variable_named(monkeypatch, value):
    not_installed(monkeypatch, "torch")
    monkeypatch.setenv("MLP_XP_BACKEND", value)
    with pytest.raises(BackendError, match="environment variable MLP_XP_BACKEND"):
        backends.select("auto")


def test_an_error_about_a_stated_word_does_not_blame_the_environment(monkeypatch):
    monkeypatch.setenv("MLP_XP_BACKEND", "numpy")
    for word in ("tensorflow", "numpy:1"):
        with pytest.raises(BackendError) as caught:
            backends.select(word)
        assert "MLP_XP_BACKEND" not in str(caught.value)


# ---- available ----


def test_available_tells_of_every_backend():
    assert tuple(status.name for status in backends.available()) == NAMES


def test_a_status_says_words_where_usable_and_a_remedy_where_not():
    for status in backends.available():
        assert status.detail
        assert bool(status.devices) == status.usable
        assert bool(status.remedy) != status.usable


def test_numpy_is_always_usable():
    assert status_of("numpy").usable


# ---- CuPy's states ----


def broken_in_cupy(error: Exception) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda monkeypatch: importing_raises(monkeypatch, "cupy", error)


def machine(**how: Any) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda monkeypatch: FakeCuPy(**how).install(monkeypatch)


# state: (what the machine is like, words of the reason, words of the remedy)
CUPY_STATES: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], tuple[str, ...], tuple[str, ...]]] = {
    "not installed": (
        lambda monkeypatch: not_installed(monkeypatch, "cupy"),
        ("cupy is not installed",),
        ("install it", "cupy-cuda13x[ctk]", "cupy-cuda12x[ctk]", "cupy-rocm", "driver"),
    ),
    "broken: an error inside": (
        broken_in_cupy(ImportError("libcudart.so.13: cannot open shared object file")),
        ("broken install", "ImportError", "libcudart.so.13"),
        ("uninstall", "install one again"),
    ),
    "broken: another module is missing": (
        broken_in_cupy(ModuleNotFoundError("No module named 'numpy.core'", name="numpy.core")),
        ("broken install", "ModuleNotFoundError", "numpy.core"),
        ("uninstall", "install one again"),
    ),
    "broken: a library is damaged": (
        broken_in_cupy(OSError("invalid ELF header")),
        ("broken install", "OSError", "invalid ELF header"),
        ("uninstall", "install one again"),
    ),
    "no driver": (
        machine(count_error=CUDARuntimeError(35, "cudaErrorInsufficientDriver"), driver=0),
        ("no CUDA driver",),
        ("install the GPU's driver", "nvidia-smi"),
    ),
    "driver too old": (
        machine(count_error=CUDARuntimeError(35, "cudaErrorInsufficientDriver"), driver=11080),
        ("driver is too old", "supports CUDA 11.8", "needs CUDA 13.0"),
        ("update the driver",),
    ),
    "no device": (
        machine(count_error=CUDARuntimeError(100, "cudaErrorNoDevice")),
        ("driver is installed", "no CUDA device"),
        ("nvidia-smi", "CUDA_VISIBLE_DEVICES"),
    ),
    "a count of no devices": (
        machine(count=0),
        ("no CUDA device",),
        ("nvidia-smi", "CUDA_VISIBLE_DEVICES"),
    ),
    "another error of the driver": (
        machine(count_error=CUDARuntimeError(999, "cudaErrorUnknown: unknown error")),
        ("driver reports", "cudaErrorUnknown"),
        ("nvidia-smi",),
    ),
    "no compiler library": (
        machine(compute_error=RuntimeError("CuPy failed to load libnvrtc.so.13: OSError: cannot open")),
        ("toolkit", "missing", "libnvrtc.so.13"),
        ("[ctk]",),
    ),
    "no cuBLAS": (
        machine(compute_error=ImportError("libcublas.so.13: cannot open shared object file")),
        ("toolkit", "missing", "libcublas.so.13"),
        ("[ctk]",),
    ),
    "out of memory": (
        machine(compute_error=MemoryError("cudaErrorMemoryAllocation: out of memory")),
        ("a GPU is there", "computation fails", "out of memory"),
        ("nvidia-smi",),
    ),
    "wrong numbers": (
        machine(wrong_by=0.5),
        ("a GPU is there", "computation fails", "not to 192"),
        ("nvidia-smi",),
    ),
}


@pytest.mark.parametrize("state", CUPY_STATES)
def test_cupy_that_is_not_usable_says_why_and_what_helps(monkeypatch, state):
    simulate, reason, remedy = CUPY_STATES[state]
    simulate(monkeypatch)
    status = probe("cupy")
    assert (status.name, status.usable, status.devices) == ("cupy", False, ())
    for words in reason:
        assert words in status.detail
    for words in remedy:
        assert words in status.remedy


def test_no_two_states_of_cupy_give_the_same_reason():
    reasons = {}
    for state, (simulate, _, _) in CUPY_STATES.items():
        with pytest.MonkeyPatch.context() as monkeypatch:
            simulate(monkeypatch)
            reasons[state] = probe("cupy").detail
    assert len(set(reasons.values())) == len(CUPY_STATES), reasons


def test_cupy_names_every_device_that_it_can_use(monkeypatch):
    two_gpus().install(monkeypatch)
    status = probe("cupy")
    assert status.usable
    assert status.devices == ("cupy:0", "cupy:1")
    for words in ("CuPy 14.0", "2 x Pretended GPU 0"):
        assert words in status.detail


def test_cupy_takes_the_device_of_the_word(monkeypatch):
    two_gpus().install(monkeypatch)
    for word, index in (("cupy", 0), ("cupy:0", 0), ("cupy:1", 1)):
        backend = backends.select(word)
        assert (backend.word, backend.device, backend.device_name()) == (
            f"cupy:{index}",
            FakeDevice(index),
            f"Pretended GPU {index}",
        )


@pytest.mark.parametrize("word", ["cupy:2", "cupy:x", "cupy:-1"])
def test_cupy_refuses_a_device_that_is_not_there(monkeypatch, word):
    two_gpus().install(monkeypatch)
    with pytest.raises(BackendError, match="no CUDA device") as caught:
        backends.select(word)
    for known in (word.partition(":")[2], "'cupy:0'", "'cupy:1'"):
        assert known in str(caught.value)


def test_an_old_driver_is_offered_only_a_cupy_that_there_is(monkeypatch):
    with monkeypatch.context() as patch:
        old_driver(12040).install(patch)
        assert "CUDA 12" in probe("cupy").remedy
    old_driver(11080).install(monkeypatch)  # CuPy for CUDA 11 ended with version 13
    assert "CUDA 11" not in probe("cupy").remedy


def test_a_toolkit_that_does_not_know_the_gpu_is_not_called_missing(monkeypatch):
    error = RuntimeError("nvrtc: error: invalid value for --gpu-architecture (-arch)")
    FakeCuPy(compute_error=error).install(monkeypatch)
    status = probe("cupy")
    assert not status.usable
    assert "missing" not in status.detail
    assert "--gpu-architecture" in status.detail


def test_a_driver_that_fails_in_an_unforeseen_way_does_not_hide_the_other_backends(monkeypatch):
    FakeCuPy(count_error=RuntimeError("something new")).install(monkeypatch)
    statuses = {status.name: status for status in backends.available()}
    assert statuses["numpy"].usable
    assert not statuses["cupy"].usable
    assert "something new" in statuses["cupy"].detail


def test_the_real_cupy_without_a_driver_says_so():
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    if cupy.cuda.runtime.driverGetVersion() != 0:
        pytest.skip("a CUDA driver is installed")
    status = probe("cupy")
    assert not status.usable
    assert "no CUDA driver" in status.detail


# ---- the other libraries' states ----


@pytest.mark.parametrize(("name", "library"), LIBRARIES.items())
def test_a_library_that_is_not_installed_says_how_to_install_it(monkeypatch, name, library):
    not_installed(monkeypatch, library)
    status = probe(name)
    assert (status.name, status.usable) == (name, False)
    assert f"{library} is not installed" in status.detail
    assert "pip install" in status.remedy
    assert (library.replace("_", "-") in status.remedy) or name == "cupy"


@pytest.mark.parametrize(("name", "library"), LIBRARIES.items())
@pytest.mark.parametrize(
    "error",
    [
        ImportError("an undefined symbol"),
        ModuleNotFoundError("No module named 'jaxlib'", name="jaxlib"),
        OSError("a damaged library"),
        AttributeError("half of it is from another version"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_broken_library_says_with_which_error_and_how_to_replace_it(monkeypatch, name, library, error):
    importing_raises(monkeypatch, library, error)
    status = probe(name)
    assert (status.name, status.usable) == (name, False)
    for words in ("broken install", library, type(error).__name__, str(error)):
        assert words in status.detail
    for words in ("uninstall", "install one again"):
        assert words in status.remedy


class FakeJAX(ModuleType):
    """A `jax` that was given some platforms and not others."""

    __version__ = "0.10"

    def __init__(self, **platforms: int) -> None:
        super().__init__("jax")
        self.platforms = platforms

    def devices(self, platform: str = "") -> list[Any]:
        platform = platform or next(iter(self.platforms), "")
        if platform not in self.platforms:
            raise RuntimeError(f"Unknown backend {platform!r}")
        return [
            SimpleNamespace(platform=platform, id=index, device_kind=f"Pretended {platform}")
            for index in range(self.platforms[platform])
        ]


@pytest.mark.parametrize(
    ("platforms", "words"),
    [
        ({"cpu": 1}, ("jax:cpu:0",)),
        ({"gpu": 2, "cpu": 1}, ("jax:gpu:0", "jax:gpu:1", "jax:cpu:0")),
        ({"gpu": 1}, ("jax:gpu:0",)),  # with JAX_PLATFORMS=cuda there is no CPU
    ],
    ids=["CPU", "two GPUs and CPU", "GPU alone"],
)
def test_jax_names_the_devices_of_its_default_platform_first(monkeypatch, platforms, words):
    monkeypatch.setitem(sys.modules, "jax", FakeJAX(**platforms))
    status = probe("jax")
    assert status.usable, status.detail
    assert status.devices == words


def test_jax_without_any_device_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax", FakeJAX())
    status = probe("jax")
    assert not status.usable
    assert "no device" in status.detail
    assert "JAX_PLATFORMS" in status.remedy


# ---- transfers: host and device ----

_RANGE = np.arange(24).reshape(2, 3, 4)
HOST_ARRAYS = {
    "float32": _RANGE.astype(np.float32) / 7,
    "float64": _RANGE / 7.0,
    "int32": _RANGE.astype(np.int32) - 5,
    "int64": _RANGE.astype(np.int64) - 5,
    "bool": _RANGE % 3 == 0,
    "zero-dimensional": np.asarray(1.5, np.float32),
    "empty": np.zeros((0, 3), np.float32),
    "every other column": (_RANGE / 7.0)[..., ::2],
    "reversed": np.arange(5.0)[::-1],
    "transposed": (_RANGE / 7.0).T,
    "Fortran order": np.asfortranarray(_RANGE[0] / 7.0),
}


def has_dtype(backend: Backend, array: np.ndarray) -> None:
    if array.dtype == np.float64 and not backend.has_float64:
        pytest.skip(f"{backend.word} has no float64")


@each_backend
@pytest.mark.parametrize("kind", HOST_ARRAYS)
def test_a_round_trip_to_the_device_gives_the_same_numbers_in_c_order(word, kind):
    backend, host = usable(word), HOST_ARRAYS[kind]
    has_dtype(backend, host)
    array = backend.from_host(host)
    equal(backend, array, host)
    back = backend.to_host(array)
    assert type(back) is np.ndarray
    assert back.flags.c_contiguous
    assert back.shape == host.shape


@each_backend
def test_what_the_device_hands_over_transposed_arrives_in_c_order(word):
    backend = usable(word)
    with backend.scope():
        array = backend.xp.permute_dims(backend.from_host(HOST_ARRAYS["float32"]), (2, 1, 0))
        back = backend.to_host(array)
    assert back.flags.c_contiguous
    np.testing.assert_array_equal(back, HOST_ARRAYS["float32"].T)


@each_backend
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "bool"])
def test_from_host_converts_to_the_dtype_asked_for(word, dtype):
    backend = usable(word)
    host = np.array([[0, 1], [2, 3]], np.int64)
    has_dtype(backend, host.astype(dtype))
    equal(backend, backend.from_host(host, dtype), host.astype(dtype))


@each_backend
def test_a_large_array_from_the_host_may_be_changed_at_once(word):
    backend = usable(word)
    with backend.scope():
        host = np.ones((16_000, 784), np.float32)
        array = backend.from_host(host)
        host[...] = 0
        assert backend.to_host(array).min() == 1


@each_backend
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_from_host_copies(word, dtype):
    backend = usable(word)
    room = np.zeros(64 * 64 + 16, dtype)
    start = -room.ctypes.data % 64 // room.itemsize
    host = room[start : start + 64 * 64]  # aligned to 64 bytes: JAX shares such memory where it is not copied
    has_dtype(backend, host)
    array = backend.from_host(host)
    host[...] = 1
    assert not backend.to_host(array).any()


# ---- transfers: whatever a user has ----


class Frame:
    """What a data frame offers: a conversion to NumPy."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.values, dtype=dtype)


class Exchange:
    """An array of a library that nobody knows, which offers DLPack and nothing else."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __dlpack__(self, **how: Any) -> Any:
        return self.values.__dlpack__(**how)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.values.__dlpack_device__()


VALUES = np.array([[1.5, -2.0], [0.25, 4.0]], np.float32)


def _read_only() -> np.ndarray:
    array = VALUES.copy()
    array.flags.writeable = False
    return array


def _torch() -> Any:
    return pytest.importorskip("torch", reason="PyTorch is not installed").from_numpy(VALUES.copy())


def _jax() -> Any:
    return pytest.importorskip("jax.numpy", reason="JAX is not installed").asarray(VALUES)


def _strict() -> Any:
    strict = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
    return strict.asarray(VALUES.copy())


USERS_DATA: dict[str, Callable[[], Any]] = {
    "a nested list": VALUES.tolist,
    "a list of arrays": lambda: list(VALUES),
    "a tuple": lambda: tuple(map(tuple, VALUES.tolist())),
    "a data frame": lambda: Frame(VALUES),
    "NumPy": VALUES.copy,
    "read-only NumPy": _read_only,
    "big-endian NumPy": lambda: VALUES.astype(">f4"),
    "NumPy float64": lambda: VALUES.astype(np.float64),
    "NumPy int": lambda: VALUES.astype(np.int64),
    "PyTorch": _torch,
    "PyTorch with gradients": lambda: _torch().requires_grad_(),
    "JAX": _jax,
    "array-api-strict": _strict,
    "DLPack": lambda: Exchange(VALUES.copy()),
    "read-only DLPack": lambda: Exchange(_read_only()),
}


@each_backend
@pytest.mark.parametrize("kind", USERS_DATA)
def test_from_any_takes_what_a_user_has(word, kind):
    backend, data = usable(word), USERS_DATA[kind]()
    expected = np.trunc(VALUES) if kind == "NumPy int" else VALUES
    with backend.scope():
        equal(backend, backend.from_any(data, "float32"), expected)


@each_backend
@pytest.mark.parametrize("kind", ["NumPy", "NumPy int", "PyTorch", "JAX", "array-api-strict"])
def test_from_any_keeps_the_dtype_where_none_is_asked_for(word, kind):
    backend, data = usable(word), USERS_DATA[kind]()
    expected = VALUES.astype(np.int64) if kind == "NumPy int" else VALUES
    with backend.scope():
        equal(backend, backend.from_any(data), expected)


@each_backend
def test_from_any_takes_a_foreign_byte_order(word):
    backend = usable(word)
    for kind in (np.float32, np.int64):
        values = np.array([1, 2, 258], kind)
        host = backend.to_host(backend.from_any(values.astype(values.dtype.newbyteorder(">"))))
        assert host.dtype.newbyteorder("=") == values.dtype
        np.testing.assert_array_equal(host, values)


@each_backend
def test_from_any_takes_a_flat_list_and_a_number(word):
    backend = usable(word)
    with backend.scope():
        equal(backend, backend.from_any([3, 1, 2], "int32"), np.array([3, 1, 2], np.int32))
        equal(backend, backend.from_any(2.5, "float32"), np.asarray(2.5, np.float32))


@each_backend
def test_from_any_takes_its_own_arrays_where_they_lie(word):
    backend = usable(word)
    with backend.scope():
        own = backend.from_host(VALUES)
        assert backend.from_any(own) is own
        equal(backend, backend.from_any(own, "int32"), VALUES.astype(np.int32))


@each_backend
@pytest.mark.parametrize(
    ("data", "said"),
    [
        (np.array([1, None], object), "object"),
        ([1, None], "object"),
        (np.array(["a", "b"]), "<U1"),
        (["a", "b"], "<U1"),
        (np.array([b"a"]), "S1"),
        (np.array([1j], np.complex64), "complex64"),
        (np.array(["2020-01-01"], "datetime64[D]"), "datetime64"),
        ([[1.0], [1.0, 2.0]], "array of numbers"),
        (None, "object"),
    ],
    ids=["object", "list with None", "text", "list of text", "bytes", "complex", "date", "ragged", "None"],
)
def test_from_any_refuses_what_is_not_a_real_number_and_names_it(word, data, said):
    backend = usable(word)
    for dtype in (None, "float32"):
        with backend.scope(), pytest.raises(TypeError, match="the targets") as caught:
            backend.from_any(data, dtype, "the targets")
        assert said in str(caught.value)


@each_backend
def test_from_any_refuses_its_own_complex_arrays_too(word):
    backend = usable(word)
    with backend.scope():
        own = backend.xp.zeros((2,), dtype=backend.xp.complex64, device=backend.device)
        with pytest.raises(TypeError, match=r"the data .*complex64"):
            backend.from_any(own, name="the data")


# ---- transfers: other devices ----


def pretended(name: str) -> Any:
    """VALUES in an array of array-api-strict, on one of its pretended devices: the host cannot read it."""
    strict = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
    return strict.asarray(VALUES.copy(), device=strict.Device(name))


class OnAccelerator:
    """An array of a library that nobody knows, in a GPU's memory."""

    def __dlpack__(self, **how: Any) -> Any:
        raise BufferError("not readable from here")

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 3  # CUDA device 3


@pytest.mark.parametrize("word", ["numpy", "torch:cpu", "jax:cpu", "strict", "strict:device1"])
def test_an_array_on_another_device_is_refused_and_not_moved_silently(word):
    backend = usable(word)
    for array in (pretended("device2"), OnAccelerator()):
        with backend.scope(), pytest.raises(DeviceError, match="the data") as caught:
            backend.from_any(array, "float32", "the data")
        message = str(caught.value)
        for words in (word, "move the data to the host", "choose the backend"):
            assert words in message


def test_an_array_of_a_pretended_device_is_taken_by_the_backend_of_that_device_alone():
    equal(usable("strict:device1"), usable("strict:device1").from_any(pretended("device1")), VALUES)
    with pytest.raises(DeviceError):
        usable("strict").from_any(pretended("device1"))


def test_host_memory_of_the_same_library_is_moved_to_the_device():
    backend = usable("strict:device1")
    equal(backend, backend.from_any(_strict()), VALUES)


def test_a_device_error_is_a_value_error_and_a_backend_error_a_runtime_error():
    assert issubclass(DeviceError, ValueError)
    assert issubclass(BackendError, RuntimeError)


# ---- transfers: back to where the user is ----


@each_backend
@pytest.mark.parametrize("example", [np.zeros(1), [0.0], Frame(VALUES), 1.0, None])
def test_like_gives_numpy_to_numpy_and_to_what_is_no_array(word, example):
    backend = usable(word)
    with backend.scope():
        given = backend.like(backend.from_host(VALUES), example)
    assert type(given) is np.ndarray
    np.testing.assert_array_equal(given, VALUES)


@each_backend
@pytest.mark.parametrize("example", [_torch, _jax, _strict, lambda: pretended("device1")])
def test_like_gives_the_library_and_the_device_of_the_example(word, example):
    backend, like = usable(word), example()
    with backend.scope():
        given = backend.like(backend.from_host(VALUES), like)
    assert type(given) is type(like)
    assert array_api_compat.device(given) == array_api_compat.device(like)
    assert array_api_compat.array_namespace(given) is array_api_compat.array_namespace(like)
    theirs = usable("strict:device1") if "device1" in str(array_api_compat.device(like)) else usable("numpy")
    np.testing.assert_array_equal(theirs.to_host(theirs.from_any(given)), VALUES)


MUTABLE = pytest.mark.parametrize("example", [lambda: VALUES, VALUES.tolist, _torch], ids=["NumPy", "list", "PyTorch"])


@each_backend
@MUTABLE
def test_what_like_gives_can_be_written_to_where_the_library_can_write(word, example):
    backend, like = usable(word), example()
    with backend.scope():
        given = backend.like(backend.from_host(VALUES), like)
    given[...] = 0
    assert not np.asarray(given).any()


@pytest.mark.parametrize("word", ["jax:cpu", pytest.param("jax:gpu", marks=pytest.mark.gpu)])
@MUTABLE
def test_an_array_that_never_changes_is_not_changed_through_what_like_gives(word, example):
    backend, like = usable(word), example()
    own = backend.from_host(VALUES)
    given = backend.like(own, like)
    if not isinstance(given, np.ndarray) or given.flags.writeable:
        given[...] = 0
    equal(backend, own, VALUES)


@each_backend
def test_like_hands_over_its_own_arrays_as_they_are(word):
    backend = usable(word)
    with backend.scope():
        own = backend.from_host(VALUES)
        assert backend.like(own, backend.from_host(np.zeros(3))) is own


@pytest.mark.parametrize("word", ["numpy", "torch:cpu", "strict:device1"])
def test_like_keeps_float64_in_jax_outside_of_its_scope(word):
    backend, jax = usable(word), usable("jax:cpu")
    third = np.asarray([1 / 3])
    equal(jax, backend.like(backend.from_host(third), _jax()), third)


# ---- the backend of an array ----


@pytest.mark.parametrize(
    "array",
    [
        *(VALUES, VALUES[0, 0], np.ma.masked_array(VALUES), np.array(["text"])),
        *(VALUES.tolist(), list(VALUES), 1.5, None, "text", Frame(VALUES), Exchange(VALUES.copy()), OnAccelerator()),
    ],
    ids=lambda array: type(array).__name__,
)
def test_numpy_is_the_backend_of_what_is_no_array_of_another_library(array):
    assert backends.of(array).word == "numpy"


def test_numpy_is_the_backend_of_a_sparse_matrix():
    sparse = pytest.importorskip("scipy.sparse")
    for kind in (sparse.csr_array, sparse.coo_matrix):
        assert backends.of(kind(VALUES)).word == "numpy"


@each_backend
def test_the_backend_of_an_array_is_that_of_its_library_and_device(word):
    backend = usable(word)
    array = backend.from_host(VALUES)
    found = backends.of(array)
    assert (type(found), found.word, found.device) == (type(backend), backend.word, backend.device)
    assert found == backend
    equal(found, array, VALUES)


@pytest.mark.parametrize("name", ["device2", "no_float64"])
def test_the_backend_of_an_array_is_that_of_its_pretended_device(name):
    backend = backends.of(pretended(name))
    assert (backend.word, backend.has_float64) == (f"strict:{name}", name != "no_float64")


def test_a_parameter_of_torch_and_other_kinds_of_tensors_are_tensors():
    usable("torch")
    torch = importlib.import_module("torch")

    class Mine(torch.Tensor):
        pass

    for tensor in (torch.nn.Parameter(_torch()), _torch().requires_grad_(), _torch().as_subclass(Mine)):
        assert backends.of(tensor).word == "torch:cpu"


@pytest.mark.parametrize("index", [0, 1])
def test_the_backend_of_an_array_of_cupy_is_that_of_its_gpu(monkeypatch, index):
    two_gpus().install(monkeypatch)
    kind = type("ndarray", (np.ndarray,), {"__module__": "cupy", "device": FakeDevice(index)})
    backend = backends.of(VALUES.view(kind))
    assert (backend.word, backend.device) == (f"cupy:{index}", FakeDevice(index))


def test_an_array_that_jax_has_spread_over_several_devices_is_refused():
    usable("jax:cpu")
    spread = SimpleNamespace(devices=lambda: {FakeDevice(0), FakeDevice(1)})
    with pytest.raises(DeviceError, match=r"spread over 2 devices .*`jax\.device_put"):
        importlib.import_module("mlp_xp.backends.on_jax").where(spread)


@each_backend
def test_a_backend_is_pickled_and_compared_by_its_word(word):
    backend = usable(word)
    for again in (pickle.loads(pickle.dumps(backend)), copy.deepcopy(backend), backends.select(backend.word)):
        assert again == backend
        assert hash(again) == hash(backend)
        equal(again, again.from_host(VALUES), VALUES)
    assert backend != usable("strict:device2")
    assert backend != backend.word


# ---- a trainer on another backend ----

DRAW = np.random.default_rng(6)
X, Y = DRAW.normal(size=(20, 3)), np.arange(20) % 3
MODEL = nn.Sequential(nn.Standardize(3), nn.Linear(3, 6), nn.Tanh(), nn.BatchNorm(6), nn.Dropout(0.2), nn.Linear(6, 3))
OPTIMIZERS = {
    "Adam": optim.Adam(optim.Cosine(0.05, 40)),
    "EMA": optim.EMA(optim.SGD(0.1, 0.9), 0.9),
    "LBFGS": optim.LBFGS(),
}


def trained(optimizer: optim.Optimizer, word: str = "numpy", dtype: str = "float64") -> train.Trainer:
    """Two epochs on a backend, of a smaller model where all takes longer."""
    model = nn.Sequential(nn.Linear(3, 3)) if optimizer.full_batch or word == "jax:cpu" else MODEL
    trainer = train.Trainer(
        model,
        nn.SoftmaxCrossEntropy(),
        optimizer,
        backend=word,
        dtype=dtype,
        seed=4,
        l2=0.01,
        metrics=[train.Accuracy()],
    )
    return two_epochs(trainer)


def two_epochs(trainer: train.Trainer) -> train.Trainer:
    trainer.fit(X, Y, epochs=2, batch_size=None if trainer.optimizer.full_batch else 8, progress=False)
    return trainer


def same(given: dict[str, Any], expected: dict[str, Any], atol: float) -> None:
    assert given.keys() == expected.keys()
    for name, array in given.items():
        np.testing.assert_allclose(array, expected[name], rtol=0, atol=atol, err_msg=name)


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize(
    "word",
    [
        "numpy",
        "torch:cpu",
        "strict:device1",
        *(pytest.param(word, marks=pytest.mark.gpu) for word in ("cupy", "torch:cuda")),
    ],
)
def test_a_trainer_goes_on_on_another_backend_as_if_it_had_stayed(word, optimizer):
    backend, original = usable(word), trained(optimizer)
    moved = original.to(word)
    assert (moved.backend, moved.dtype, moved.seed, moved.l2) == (backend, "float64", 4, 0.01)
    assert moved.history.records == original.history.records
    assert (moved.step, moved.epoch, moved.began) == (original.step, original.epoch, original.began)
    same(moved.parameters, original.parameters, 0.0)
    same(moved.inference_parameters, original.inference_parameters, 1e-15)
    for slot, theirs in zip(moved.state.slots, original.state.slots, strict=True):
        assert backend.owns(slot)
        same(moved.named(slot), original.named(theirs), 0.0)
    np.testing.assert_allclose(moved.predict(X), original.predict(X), rtol=0, atol=1e-14)
    two_epochs(moved)
    assert (len(original.history), len(moved.history)) == (2, 4)
    same(moved.parameters, two_epochs(original).parameters, 1e-12)
    assert moved.history["loss"] == pytest.approx(original.history["loss"], rel=1e-12)


def test_a_trainer_comes_back_from_jax():
    usable("jax:cpu")
    original = trained(optim.SGD(0.1, 0.9), "jax:cpu")
    moved = original.to("numpy")
    same(moved.parameters, original.parameters, 0.0)
    same(two_epochs(moved).parameters, two_epochs(original).parameters, 1e-12)


def test_a_copy_of_a_trainer_on_its_own_backend_goes_its_own_way():
    original = trained(OPTIMIZERS["Adam"])
    before, records = original.parameters, list(original.history.records)
    two_epochs(original.to("numpy"))
    same(original.parameters, before, 0.0)
    assert original.history.records == records


def test_a_trainer_is_of_float32_where_there_is_no_float64_and_stays_so():
    usable("strict")
    original = trained(OPTIMIZERS["Adam"])
    moved = original.to("strict:no_float64")
    assert (moved.backend.word, moved.dtype, original.dtype) == ("strict:no_float64", "float32", "float64")
    same(moved.parameters, {name: value.astype(np.float32) for name, value in original.parameters.items()}, 0.0)
    assert_close(moved.predict(X), original.predict(X))
    two_epochs(moved)
    assert moved.to("numpy").dtype == "float32"
    assert trained(OPTIMIZERS["Adam"], dtype="float32").to("torch:cpu").dtype == "float32"
    assert moved.to("numpy").history["loss"] == pytest.approx(two_epochs(original).history["loss"], rel=1e-4)


def test_a_trainer_cannot_be_moved_to_what_is_not_usable(monkeypatch):
    trainer = trained(OPTIMIZERS["Adam"])
    not_installed(monkeypatch, "torch")
    with pytest.raises(BackendError, match="torch is not installed"):
        trainer.to("torch")


# ---- fuse ----


def descent(xp: Any, p: Any, g: Any, slots: Any, coefficients: Any, vectors: Any) -> Any:
    (rate,), (scale, _) = coefficients, vectors
    return p - rate * scale * g, ()


def heavy_ball(xp: Any, p: Any, g: Any, slots: Any, coefficients: Any, vectors: Any) -> Any:
    (rate,) = coefficients
    v = 0.9 * slots[0] + g
    return p - rate * v, (v,)


def moments(xp: Any, p: Any, g: Any, slots: Any, coefficients: Any, vectors: Any) -> Any:
    (rate,) = coefficients
    m, v = slots
    m = m + 0.1 * (g - m)
    v = v + 0.001 * (g * g - v)
    return p - rate * m / (xp.sqrt(v) + 1e-8), (m, v)


RULES: dict[Any, int] = {descent: 0, heavy_ball: 1, moments: 2}
BLOCK = importlib.import_module("mlp_xp.backends.blocks").BLOCK
SHAPES = [(1,), (7,), (BLOCK - 1,), (BLOCK,), (BLOCK + 1,), (2 * BLOCK,), (2 * BLOCK + 17,), (3, 5), (3, BLOCK + 5)]


@each_backend
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{RULES[rule]} slots")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_fused_rule_gives_what_the_plain_rule_gives(word, rule, shape):
    backend = usable(word)
    draw = np.random.default_rng(3)
    p, g, scale, *slots = (draw.normal(size=shape).astype(np.float32) for _ in range(3 + RULES[rule]))
    slots = [np.abs(slot) for slot in slots]
    expected_p, expected_slots = rule(np, p, g, tuple(slots), (0.1,), (scale, None))
    with backend.scope():
        fused = backend.fuse(rule)
        arrays = [backend.from_host(array) for array in (p, g, scale, *slots)]
        given_p, given_slots = fused(arrays[0], arrays[1], tuple(arrays[3:]), (0.1,), (arrays[2], None))
        assert isinstance(given_slots, tuple)
        for given, expected in zip((given_p, *given_slots), (expected_p, *expected_slots), strict=True):
            assert backend.owns(given)
            assert tuple(given.shape) == shape
            host = backend.to_host(given)
            assert host.dtype == np.float32
            np.testing.assert_allclose(host, expected, rtol=0, atol=4e-7 * max(1.0, float(np.abs(expected).max())))


@each_backend
def test_a_fused_rule_leaves_the_gradient_as_it_is(word):
    backend = usable(word)
    with backend.scope():
        p, g, m, v = (backend.from_host(np.full(BLOCK + 3, value, np.float32)) for value in (1, 2, 3, 4))
        backend.fuse(moments)(p, g, (m, v), (0.1,), ())
        equal(backend, g, np.full(BLOCK + 3, 2, np.float32))


def test_numpy_fuses_in_place():
    numpy = usable("numpy")
    p, g, m, v = (np.full((2, BLOCK + 3), value, np.float32) for value in (1, 7, 3, 4))
    given_p, (given_m, given_v) = numpy.fuse(moments)(p, g, (m, v), (0.1,), ())
    assert (given_p is p, given_m is m, given_v is v) == (True, True, True)
    assert (p != 1).all()
    assert (m != 3).all()
    assert (v != 4).all()


def test_numpy_fuses_without_an_array_of_full_size():
    numpy = usable("numpy")
    p, g, m, v = (np.ones(4_000_000, np.float32) for _ in range(4))
    fused = numpy.fuse(moments)
    tracemalloc.start()
    try:
        fused(p, g, (m, v), (0.1,), ())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < p.nbytes / 4, f"{peak} bytes at once for a vector of {p.nbytes}"


# ---- compile ----


def _layer(xp: Any) -> Callable[..., Any]:
    def function(state: tuple[Any, tuple[Any, ...]], x: Any, scale: float) -> tuple[Any, tuple[Any, ...]]:
        weight, (total,) = state
        y = xp.tanh(x @ weight) * scale
        return weight - 0.1 * (xp.matrix_transpose(x) @ y), (total + xp.sum(y),)

    return function


@each_backend
@pytest.mark.parametrize("donate", [(), (0,)], ids=["keeping", "donating"])
def test_a_compiled_function_gives_what_the_plain_one_gives(word, donate):
    backend = usable(word)
    draw = np.random.default_rng(5)
    weight, x = draw.normal(size=(4, 4)).astype(np.float32), draw.normal(size=(6, 4)).astype(np.float32)
    plain = _layer(np)
    expected: Any = (weight, (np.float32(0),))
    with backend.scope():
        compiled = backend.compile(_layer(backend.xp), donate=donate)
        state = (backend.from_host(weight), (backend.from_host(np.zeros((), np.float32)),))
        on_device = backend.from_host(x)
        for scale in (1.0, 0.5, 0.25):  # numbers may change from call to call
            expected = plain(expected, x, scale)
            state = compiled(state, on_device, scale)
        given = [backend.to_host(state[0]), backend.to_host(state[1][0])]
    for host, known in zip(given, (expected[0], expected[1][0]), strict=True):
        assert host.dtype == np.float32
        np.testing.assert_allclose(host, known, rtol=0, atol=2e-5)


@each_backend
def test_a_compiled_function_leaves_what_is_not_donated_as_it_is(word):
    backend = usable(word)
    with backend.scope():
        array = backend.from_host(VALUES)
        backend.compile(lambda a, b: a + b, donate=(0,))(backend.from_host(VALUES), array)
        equal(backend, array, VALUES)


# ---- scope, float64, synchronize ----


@each_backend
def test_float64_stays_float64_within_the_scope(word):
    backend = usable(word)
    has_dtype(backend, np.zeros(1))
    xp, third = backend.xp, np.asarray(1 / 3)
    with backend.scope():
        x = backend.from_any([1 / 3], "float64")
        compiled = backend.compile(lambda x: xp.exp(x * 2) - 1)
        made = xp.full((1,), 1 / 3, dtype=xp.float64, device=backend.device)
        for array, expected in ((x, third), (made, third), (compiled(x), math.exp(2 / 3) - 1)):
            host = backend.to_host(array)
            assert host.dtype == np.float64
            assert host[0] == pytest.approx(expected, rel=1e-15)


def test_jax_is_left_in_its_own_precision_outside_the_scope():
    backend = usable("jax")
    jax = importlib.import_module("jax")
    before = jax.numpy.asarray([0.5]).dtype
    with backend.scope():
        assert jax.numpy.asarray([0.5]).dtype == np.float64
    assert jax.numpy.asarray([0.5]).dtype == before


def test_float64_is_known_to_be_missing_where_it_is():
    assert usable("strict").has_float64
    assert usable("numpy").has_float64
    usable("strict:no_float64")
    assert not backends.select("strict:no_float64").has_float64


@each_backend
def test_nothing_warns_within_the_scope_when_numbers_overflow(word):
    backend = usable(word)  # every warning is an error in these tests
    xp = backend.xp
    with backend.scope():
        x = backend.from_host(np.array([1e30, -1e30, 0.0], np.float32))
        big = x * x
        results = [backend.to_host(array) for array in (big, big - big, xp.exp(x), x / (x - x))]
    assert np.isinf(results[0][:2]).all()
    assert np.isnan(results[1][:2]).all()


def test_numpy_warns_again_after_the_scope():
    with usable("numpy").scope():
        pass
    with pytest.warns(RuntimeWarning, match="overflow"):
        np.float32(1e30) * np.float32(1e30)


@each_backend
def test_a_scope_can_be_entered_within_a_scope(word):
    backend = usable(word)
    with backend.scope():
        with backend.scope():
            pass
        equal(backend, backend.from_any([0.5], "float32"), np.array([0.5], np.float32))


def test_torch_keeps_no_graph_within_the_scope():
    backend = usable("torch:cpu")
    torch = importlib.import_module("torch")
    weight = torch.ones(3, requires_grad=True)
    with backend.scope():
        assert not (weight * 2).requires_grad
    assert (weight * 2).requires_grad


def test_strict_refuses_a_shape_that_depends_on_the_numbers_within_the_scope():
    backend = usable("strict")
    with backend.scope():
        x = backend.from_host(VALUES)
        with pytest.raises(RuntimeError):
            x[x > 0]
        with pytest.raises(RuntimeError):
            backend.xp.nonzero(x)


@each_backend
def test_every_backend_waits_and_names_its_device(word):
    backend = usable(word)
    backend.synchronize()
    assert backend.device_name()
    assert backend.name == word.partition(":")[0]


@pytest.mark.parametrize("word", ["jax:cpu", pytest.param("jax:gpu", marks=pytest.mark.gpu)])
def test_jax_multiplies_float32_matrices_in_float32(word):
    backend = usable(word)
    with backend.scope():
        x = backend.from_host(np.ones((4, 4)), "float32")
        assert "HIGHEST" in backend.compile(lambda a: a @ a)._call.lower(x).as_text()
