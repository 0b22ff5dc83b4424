"""CuPy, on a CUDA (or ROCm) GPU."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache, partial
from typing import Any

import numpy as np

from .base import NO_TF32, Array, Backend, BackendError, Status, load
from .cublas import Products, library
from .cuda_kernel import launcher
from .cuda_program import CudaCompiled, Recorder
from .elementwise import CUDA
from .fused import FusedLoop
from .staging import Staging

INSTALL = (
    'pip install "cupy-cuda13x[ctk]" (driver 580 or newer), "cupy-cuda12x[ctk]" (driver 525 or newer), '
    "or cupy-rocm-7-0 for an AMD GPU"
)
COMPUTE_TYPE_TF32 = 7  # cupy._core._routines_linalg
NO_DRIVER, NO_DEVICE = 35, 100  # cudaErrorInsufficientDriver, cudaErrorNoDevice

# What a failure to find a library or a header of the toolkit says. A message of the compiler may say "nvrtc" as well.
MISSING = ("failed to load", "failure finding", "cannot open", "could not find", "not found", "cuda_path")


def probe() -> Status:
    """Tell apart: not installed, broken, no driver, driver too old, no device, toolkit missing, usable."""
    cupy = load("cupy", INSTALL)
    if isinstance(cupy, Status):
        return cupy
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return _no_device(cupy, error)
    except Exception as error:
        return _unusable(
            f"the CUDA runtime fails: {type(error).__name__}: {error}", "check that `nvidia-smi` lists the GPU"
        )
    if count == 0:
        return _unusable("no CUDA device is visible", "check `nvidia-smi` and the variable CUDA_VISIBLE_DEVICES")
    try:
        _compute(cupy)
    except Exception as error:
        return _cannot_compute(error)
    names = tuple(f"cupy:{index}" for index in range(count))
    detail = f"CuPy {cupy.__version__} on {count} x {_device_name(cupy, 0)}"
    return Status("cupy", True, detail, devices=names)


def _unusable(reason: str, remedy: str) -> Status:
    return Status("cupy", False, reason, remedy)


def _no_device(cupy: Any, error: Exception) -> Status:
    status = getattr(error, "status", None)
    driver = cupy.cuda.runtime.driverGetVersion()
    if status == NO_DRIVER and driver == 0:
        return _unusable("no CUDA driver is installed", "install the GPU's driver; `nvidia-smi` must list the GPU")
    if status == NO_DRIVER:
        runtime = cupy.cuda.runtime.runtimeGetVersion()
        return _unusable(
            f"the driver is too old: it supports CUDA {_version(driver)}, this CuPy needs CUDA {_version(runtime)}",
            "update the driver" + (f", or install the CuPy for CUDA 12: {INSTALL}" if driver >= 12000 else ""),
        )
    if status == NO_DEVICE:
        return _unusable(
            "a driver is installed, but no CUDA device is visible",
            "check `nvidia-smi` and the variable CUDA_VISIBLE_DEVICES",
        )
    return _unusable(f"the CUDA driver reports: {error}", "check that `nvidia-smi` lists the GPU and no error")


def _cannot_compute(error: Exception) -> Status:
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, ImportError | OSError) or any(word in text.lower() for word in MISSING):
        return _unusable(
            f"the CUDA toolkit's libraries are missing: {text}",
            'install them beside CuPy: pip install "cupy-cuda13x[ctk]" (or "cupy-cuda12x[ctk]")',
        )
    return _unusable(
        f"a GPU is there, but a first computation fails: {text}",
        f"check `nvidia-smi` for errors, and that this CuPy supports this GPU: {INSTALL}",
    )


def _compute(cupy: Any) -> None:
    """A kernel that must be compiled and a matrix product: what a wheel without the toolkit cannot do."""
    x = cupy.ones((4, 4), dtype=cupy.float32)
    product = x @ (x * 2 + 1)
    if float(product.sum()) != 4 * 4 * 4 * 3:
        raise ArithmeticError(f"a product of matrices of ones sums to {float(product.sum())}, not to 192")


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def _device_name(cupy: Any, index: int) -> str:
    return cupy.cuda.runtime.getDeviceProperties(index)["name"].decode()


class CuPyBackend(Backend):
    name = "cupy"

    def __init__(self, device: str = "") -> None:
        import array_api_compat.cupy
        import cupy

        self._cupy = cupy
        count = cupy.cuda.runtime.getDeviceCount()
        if device and not (device.isdecimal() and int(device) < count):
            known = ", ".join(f"'cupy:{index}'" for index in range(count))
            raise BackendError(f"there is no CUDA device {device!r}; this machine has {known}")
        self.xp = array_api_compat.cupy
        self.device = cupy.cuda.Device(int(device or 0))
        self.word = f"cupy:{int(device or 0)}"

    def owns(self, array: object) -> bool:
        return isinstance(array, self._cupy.ndarray)

    def from_host(self, array: np.ndarray, dtype: str | None = None) -> Array:
        with self.scope():
            return self._cupy.asarray(np.asarray(array, dtype=dtype, order="C"))

    def to_host(self, array: Array) -> np.ndarray:
        with self.scope():
            return self._cupy.asnumpy(array, order="C")

    def stager(self, batches: int) -> Callable[[Sequence[np.ndarray]], Callable[[], list[Array]]]:
        """Through pinned memory, on a stream beside the one that computes."""
        with self.scope():
            return Staging(self._cupy, batches)

    def free_memory(self) -> int | None:
        with self.scope():
            return self.device.mem_info[0] + self._cupy.get_default_memory_pool().free_bytes()

    def device_name(self) -> str:
        return _device_name(self._cupy, self.device.id)

    def scope(self) -> AbstractContextManager[Any]:
        # An object of its own each time: one that threads share would mix up what they were on before.
        return self._cupy.cuda.Device(self.device.id)

    def unable(self, arithmetic: str) -> str:
        ampere = int(self.device.compute_capability) >= 80
        if arithmetic == "tf32":
            return "" if ampere else NO_TF32
        if arithmetic == "bfloat16" and not ampere:
            return "bfloat16 needs a GPU of compute capability 8.0 (Ampere) or newer; take 'fp16-mixed'"
        try:
            with self.scope():
                some = self._cupy.ones((8, 8), dtype=self.half(arithmetic))
                product = float(self._cupy.sum(some @ some))
        except (ImportError, TypeError, ValueError, KeyError) as error:  # a CuPy before 14, or no ml_dtypes
            return f"CuPy cannot multiply {arithmetic} here: {error}; update it, and pip install ml_dtypes"
        return "" if product == 8 * 8 * 8 else f"CuPy multiplies {arithmetic} wrongly; leave precision out"

    def half(self, name: str) -> Any:
        if name == "bfloat16":  # CuPy's own, where the package is there
            import ml_dtypes

            return np.dtype(ml_dtypes.bfloat16)
        return np.dtype(name)

    @contextmanager
    def tf32(self) -> Iterator[None]:
        core, float32 = self._cupy._core, np.float32  # beside the variable CUPY_TF32, which is read once
        with self.scope():
            before = core.get_compute_type(float32)
            core.set_compute_type(float32, COMPUTE_TYPE_TF32)
            try:
                yield
            finally:
                core.set_compute_type(float32, before)

    def fuse(self, rule: Callable[..., Any]) -> Callable[..., Any]:
        """Run the rule as one kernel over the whole vector, in place."""
        xp, loop = self.xp, FusedLoop(rule, CUDA, partial(launcher, self._cupy.RawKernel))

        def update(p: Array, g: Array, slots: tuple[Array, ...], coefficients: Any, vectors: tuple[Any, ...]) -> Any:
            if loop.run(p, g, slots, coefficients, vectors):
                return p, slots
            return rule(xp, p, g, slots, coefficients, vectors)

        return update

    def build(self, make: Callable[[Backend], Callable[..., Any]], bounds: Sequence[int]) -> Callable[..., Any]:
        """Recorded for NumPy, from shapes alone, and replayed with CuPy's products and kernels made for the rest."""
        plain = make(self)
        try:
            recorded, reason = make(Recorder(self._cupy, self.half)), ""
        except Exception as error:  # NumPy has no such dtype
            recorded, reason = plain, f"it cannot be recorded: {error}"
        return CudaCompiled(self._cupy, recorded, (0,), plain, reason, self._products())

    def _products(self) -> Products | None:
        with self.scope():
            return products(self.device.id)

    def synchronize(self) -> None:
        with self.scope():
            self._cupy.cuda.get_current_stream().synchronize()


@cache
def products(device: int) -> Products | None:
    """Those on the current device, for all backends there; None where CuPy multiplies with something else."""
    import cupy

    found = library(cupy)
    if found is None:
        return None
    hopper = int(cupy.cuda.Device(device).compute_capability) >= 90
    return Products(cupy, found, partial(is_tf32, cupy), (32 if hopper else 4) << 20)  # as cuBLAS recommends


def is_tf32(cupy: Any) -> bool:
    return cupy._core.get_compute_type(np.float32) == COMPUTE_TYPE_TF32


create = CuPyBackend


def where(array: Any) -> str:
    return str(array.device.id)
