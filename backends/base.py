"""What mlp_xp asks of an array library. Nothing here is mathematics, and nothing knows about networks."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import array_api_compat
import numpy as np

Array = Any
"""An array of whichever library: the code written against `xp` does not know which."""

Pair = tuple[Callable[..., Any], Callable[..., Any]]
NO_TF32 = "TF32 is of CUDA GPUs of compute capability 8.0 (Ampere) or newer; leave precision out"
CPU, CUDA_PINNED = 1, 3  # DLPack's device types whose memory the host can read


class BackendError(RuntimeError):
    """A backend is unknown, not usable here, or was given a device it does not have."""


class DeviceError(ValueError):
    """An array lies on another device than the one it is needed on, and is not moved silently."""


@dataclass(frozen=True)
class Status:
    """What a probe found out: is the backend usable on this machine, and if not, why and what helps."""

    name: str
    usable: bool
    detail: str
    """The library's version and what it computes on, or the reason why it is not usable."""
    remedy: str = ""
    devices: tuple[str, ...] = ()
    """Every word that `select` takes for it on this machine, the default first."""


class Backend:
    """One array library on one device.

    `xp` is the library's Array API namespace; every array handed out lies on `device`. The members below are all
    that differs between libraries; a subclass states `name`, `xp` and `device` and overrides what its library does
    in its own way.
    """

    name: str
    xp: Any
    device: Any
    word: str
    """The word that selects this backend and device, such as "torch:cuda:0"."""
    has_float64: bool = True

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.word!r})"

    def __eq__(self, other: object) -> bool:
        """Is it the same library on the same device?"""
        return type(other) is type(self) and other.word == self.word

    def __hash__(self) -> int:
        return hash(self.word)

    def __reduce__(self) -> tuple[Any, ...]:
        """For pickle and copy: the word, as a library and its devices cannot be written down."""
        from . import select

        return select, (self.word,)

    def owns(self, array: object) -> bool:
        """Is it an array of this library (on whichever of its devices)?"""
        raise NotImplementedError

    def from_host(self, array: np.ndarray, dtype: str | None = None) -> Array:
        """Copy a NumPy array to the device, converted to `dtype` ("float32", "int32", ...) where given."""
        raise NotImplementedError

    def to_host(self, array: Array) -> np.ndarray:
        """The same numbers as a C-contiguous NumPy array, possibly read-only and sharing memory."""
        raise NotImplementedError

    def stager(self, batches: int) -> Callable[[Sequence[np.ndarray]], Callable[[], list[Array]]]:
        """What copies the arrays of a batch to the device, for another thread than the one that computes.

        What it gives the computing thread calls for the arrays; so many `batches` may be on the way at once.
        """

        def stage(arrays: Sequence[np.ndarray]) -> Callable[[], list[Array]]:
            there = [self.from_host(array) for array in arrays]
            return lambda: there

        return stage

    def free_memory(self) -> int | None:
        """Bytes that arrays on the device can still take; None where that is the host's own memory, or not known."""
        return None

    def device_name(self) -> str:
        """The device in words, for people."""
        return "CPU"

    def scope(self) -> AbstractContextManager[Any]:
        """Entered around all work: the current device, gradients off, floating-point warnings off."""
        return nullcontext()

    def synchronize(self) -> None:
        """Wait until the device has finished what it was given (for timing)."""

    def unable(self, arithmetic: str) -> str:
        """Why it has no matrix products in "bfloat16", "float16" or "tf32", and what to do; empty where it has them."""
        return f"{self.name} has no products in {arithmetic}; leave precision out, or compute on a GPU"

    def half(self, name: str) -> Any:
        """The dtype "bfloat16" or "float16"."""
        return getattr(self.xp, name)

    def tf32(self) -> AbstractContextManager[Any]:
        """Entered around work whose float32 products may round what they multiply to TF32, which has 11 bits."""
        return nullcontext()

    def fuse(self, rule: Callable[..., Any]) -> Callable[..., Any]:
        """Make an elementwise rule fast.

        `rule(xp, p, g, slots, coefficients, vectors) -> (p, slots)` is pure and works element by element on the last
        axis; coefficients are numbers, and vectors are arrays like p that are only read, or None. What comes back
        is called as `(p, g, slots, coefficients, vectors)`; it owns `p` and `slots` and may overwrite them.
        """
        xp = self.xp
        return lambda p, g, slots, coefficients, vectors: rule(xp, p, g, slots, coefficients, vectors)

    def compile(self, function: Callable[..., Any], donate: tuple[int, ...] = ()) -> Callable[..., Any]:
        """Make a pure function of arrays and numbers fast; the arguments at `donate` may be overwritten.

        A function that cannot be compiled runs as it is; then what comes back says why, as its attribute `reason`.
        """
        return function

    def build(self, make: Callable[["Backend"], Callable[..., Any]], bounds: Sequence[int]) -> Callable[..., Any]:
        """The step `make(backend)`, compiled: (state, data, index, settings) -> state. It may overwrite the state.

        What comes back may have a method `several(state, data, first, settings)`, which makes a step with each of the
        settings, of batch `first` and those after it, in less time than so many calls. Settings differ in numbers.

        It is written against that backend's `xp`, `fuse` and `half`. `make` may be called with another backend as well,
        to see there what the step does: what arrays it closes over it makes itself. bounds: from 0 to their length,
        where vectors in the state may be cut: what the step gives, the state of the next, may hold them so (`whole`).

        The step may be called with arrays in place of the numbers that differ from call to call: without dimensions,
        but for its third argument, the index of a batch, which is then of shape (1,).
        """
        return self.compile(make(self), donate=(0,))

    def query(self, make: "Callable[[Backend], Pair]", held: int) -> Callable[..., Any]:
        """A function that changes nothing, compiled; threads may call it at once.

        So many of its first arguments are held: mostly the same arrays from call to call. `make(backend)` (see `build`)
        gives prepare and answer: the function is answer(prepare(*held), *others).
        """
        return self.compile(composed(make(self), held))

    def argument(self, array: np.ndarray) -> Array:
        """A small array of the host as an argument of what `query` gives: it may stay where it is for that call."""
        return self.from_host(array)

    def whole(self, state: Any) -> Any:
        """What a step of `build` has given, with its vectors in one."""
        return state

    # The rest follows from the members above.

    def from_any(self, array: Any, dtype: str | None = None, name: str = "the array") -> Array:
        """An array on the device from what a user has: a list, a data frame, any DLPack array.

        Host memory is moved to the device. Memory of an accelerator is used where it lies and is never moved
        silently: `DeviceError` where that is not this backend's device. `TypeError` for what is not numeric.
        """
        if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
            raise ValueError(f"{name} has masked entries; fill them in first, for example with `{name}.filled(0)`")
        if hasattr(array, "toarray"):
            raise TypeError(f"{name} is a sparse matrix; make it dense first: `{name}.toarray()`")
        if self.owns(array) and array_api_compat.device(array) == self.device:
            if not self.xp.isdtype(array.dtype, ("bool", "integral", "real floating")):
                raise not_numeric(name, array.dtype)
            return array if dtype is None else self.xp.astype(array, getattr(self.xp, dtype), copy=False)
        if not on_host(array):
            return self._from_accelerator(array, dtype, name)
        try:
            host = host_array(array, name)
        except RuntimeError as reason:
            raise self._elsewhere(array, name) from reason
        return self.from_host(host, dtype)

    def _from_accelerator(self, array: Any, dtype: str | None, name: str) -> Array:
        """Take over an array of an accelerator without moving it: through DLPack, on the same device only."""
        error = self._elsewhere(array, name)
        if self.owns(array):
            raise error
        try:
            taken = self.xp.from_dlpack(array)
        except Exception as reason:
            raise error from reason
        if array_api_compat.device(taken) != self.device:
            raise error
        return taken if dtype is None else self.xp.astype(taken, getattr(self.xp, dtype), copy=False)

    def _elsewhere(self, array: Any, name: str) -> DeviceError:
        device = getattr(array, "device", None) or tuple(map(int, array.__dlpack_device__()))
        return DeviceError(
            f"{name} lies on device {device!r} ({type(array).__module__}), the backend {self.word!r} computes on "
            f"{self.device!r}; move {name} to the host or to that device first, or choose the backend that computes "
            f"where it lies"
        )

    def like(self, array: Array, example: Any) -> Any:
        """Hand `array` back in the library and on the device of `example`; NumPy for what is no array."""
        if self.owns(example) and array_api_compat.device(example) == self.device:
            return array
        foreign = not isinstance(example, np.ndarray) and array_api_compat.is_array_api_obj(example)
        theirs = array_api_compat.array_namespace(example) if foreign else np
        if foreign and not on_host(example):
            return theirs.from_dlpack(array)
        host = self.to_host(array)
        if not host.flags.writeable:
            host = host.copy()  # it may be memory of an array that must not change, and a user may write to it
        if not foreign:
            return host
        from . import of

        with of(example).scope():  # outside of it JAX makes float64 float32
            return theirs.asarray(host, device=array_api_compat.device(example))


class Uncompiled:
    """A backend that runs functions as they are: to look into them with a debugger, or to draw what is not keyed."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def compile(self, function: Callable[..., Any], donate: tuple[int, ...] = ()) -> Callable[..., Any]:
        return function

    def build(self, make: Callable[[Any], Callable[..., Any]], bounds: Sequence[int]) -> Callable[..., Any]:
        return make(self._backend)

    def query(self, make: Callable[[Any], Pair], held: int) -> Callable[..., Any]:
        return composed(make(self._backend), held)

    def argument(self, array: np.ndarray) -> Array:
        return self._backend.from_any(array)


def composed(pair: Pair, held: int) -> Callable[..., Any]:
    prepare, answer = pair
    return lambda *arguments: answer(prepare(*arguments[:held]), *arguments[held:])


def on_host(array: Any) -> bool:
    """Does the memory of an array, or of anything NumPy can read, belong to the host?"""
    if not hasattr(array, "__dlpack_device__"):
        return not hasattr(array, "__cuda_array_interface__")
    return int(array.__dlpack_device__()[0]) in (CPU, CUDA_PINNED)


def is_mapped(array: Any) -> bool:
    """Is it a memory map of a file, or a part of one?"""
    return isinstance(array, np.memmap) and getattr(array, "_mmap", None) is not None


def host_array(array: Any, name: str) -> np.ndarray:
    """NumPy's view of host data; `TypeError` that names it where it is not numeric."""
    if hasattr(array, "detach"):
        array = array.detach()  # NumPy refuses a PyTorch tensor that requires gradients
    try:
        found = np.asarray(array)
        if found.dtype.kind == "O" and hasattr(array, "__dlpack__") and not isinstance(array, np.ndarray):
            found = np.from_dlpack(array)  # it has none of the other ways that NumPy knows
    except (TypeError, ValueError, BufferError) as reason:
        raise TypeError(f"{name} cannot be read as an array of numbers: {reason}") from reason
    if found.dtype.kind not in "biuf":
        raise not_numeric(name, found.dtype)
    return found if found.dtype.isnative else found.astype(found.dtype.newbyteorder("="))


def not_numeric(name: str, dtype: object) -> TypeError:
    return TypeError(
        f"{name} has dtype {dtype}, which is not a real number; convert it first, for example with "
        f"`.astype('float32')`, and encode text or categories as numbers"
    )


def load(library: str, extra: str) -> ModuleType | Status:
    """Import an array library, or say in a `Status` why that fails: not installed, or broken."""
    import importlib

    backend = {"array_api_strict": "strict"}.get(library, library)
    try:
        return importlib.import_module(library)
    except ModuleNotFoundError as error:
        if error.name == library:
            return Status(backend, False, f"{library} is not installed", f"install it: {extra}")
        reason: Exception = error
    except Exception as error:
        reason = error
    return Status(
        backend,
        False,
        f"broken install: `import {library}` fails with {type(reason).__name__}: {reason}",
        f"uninstall every package that provides {library}, then install one again: {extra}",
    )
