"""JAX, on its default device or a named one; whole steps are compiled by XLA."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from typing import Any
from weakref import ref

import numpy as np

from .base import NO_TF32, Array, Backend, BackendError, DeviceError, Pair, Status, composed, load
from .pieces import Apart, Cutter, InPieces, Joiner
from .several import Several
from .tape import leaves, mapped

INSTALL = 'pip install jax (for a CUDA GPU "jax[cuda13]")'
FEW_ROWS = 32
"""With more of them it matters less that the weights are copied than that they would be kept twice."""
ALIGNMENT = 64
"""In bytes: on the CPU JAX computes in the memory of a NumPy array that starts at a multiple of it."""


def probe() -> Status:
    jax = load("jax", INSTALL)
    if isinstance(jax, Status):
        return jax
    try:
        devices = _devices(jax)
    except RuntimeError as error:
        return Status("jax", False, f"JAX finds no device: {error}", "check the variable JAX_PLATFORMS")
    return Status("jax", True, f"JAX {jax.__version__} on {jax.devices()[0].device_kind}", devices=tuple(devices))


def _devices(jax: Any) -> dict[str, Any]:
    """Every device by its word, the default platform's first."""
    found = list(jax.devices())
    if found[0].platform != "cpu":
        with suppress(RuntimeError):  # the variable JAX_PLATFORMS may leave the CPU out
            found += jax.devices("cpu")
    return {f"jax:{device.platform}:{device.id}": device for device in found}


class JAXBackend(Backend):
    name = "jax"

    def __init__(self, device: str = "") -> None:
        import jax
        import jax.numpy

        self._jax = jax
        known = _devices(jax)
        word = next(iter(known)) if not device else f"jax:{device}"
        word = word if word in known else f"{word}:0"
        if word not in known:
            raise BackendError(f"JAX has no device {device!r} here; it has {', '.join(map(repr, known))}")
        self.xp = jax.numpy
        self.device = known[word]
        self.word = word
        self._joiner = Joiner(jax)

    def owns(self, array: object) -> bool:
        return isinstance(array, self._jax.Array)

    def from_host(self, array: np.ndarray, dtype: str | None = None) -> Array:
        # A copy, because JAX may alias host memory on the CPU, and later changes there would show. Aligned, so that it
        # does: it would make another copy, which takes twice the time of this one.
        with self.scope():
            return self._jax.device_put(aligned(array, dtype), self.device)

    def to_host(self, array: Array) -> np.ndarray:
        return np.asarray(array, order="C")

    def free_memory(self) -> int | None:
        stats = self.device.memory_stats()  # None for a CPU
        return stats["bytes_limit"] - stats["bytes_in_use"] if stats and "bytes_limit" in stats else None

    def device_name(self) -> str:
        return self.device.device_kind

    @contextmanager
    def scope(self) -> Iterator[None]:
        # Without x64 JAX turns float64 into float32 silently; dtypes are always stated, so nothing else changes.
        # Without the precision it may multiply float32 matrices in TF32 on a GPU, with 10 bits of each number.
        with self._jax.enable_x64(True), self._jax.default_matmul_precision("highest"):
            yield

    def unable(self, arithmetic: str) -> str:
        capability = getattr(self.device, "compute_capability", "")  # such as "8.0"; a CPU has none
        if arithmetic != "tf32" or (self.device.platform == "gpu" and _number(capability) >= 8):
            return ""
        return NO_TF32

    def tf32(self) -> AbstractContextManager[Any]:
        return self._jax.default_matmul_precision("tensorfloat32")

    def synchronize(self) -> None:
        self._jax.device_put(0.0, self.device).block_until_ready()

    def compile(self, function: Callable[..., Any], donate: tuple[int, ...] = ()) -> Callable[..., Any]:
        return Jitted(self._jax, function, donate)

    def build(self, make: Callable[[Backend], Callable[..., Any]], bounds: Sequence[int]) -> Callable[..., Any]:
        """What it gives back may be apart, where a piece between the bounds is large."""
        compiled = partial(Several, self._jax, self.compile, self.device.platform != "cpu")
        cutter = Cutter(self._jax, bounds)
        if len(cutter.spans) < 2:
            return compiled(make(self))
        fusing: Any = Fusing(self, cutter)
        return InPieces(cutter, self._joiner, compiled, make(fusing))

    def query(self, make: Callable[[Backend], Pair], held: int) -> Callable[..., Any]:
        prepare, answer = make(self)

        def there(leaf: Any) -> Any:
            return self.from_host(leaf) if isinstance(leaf, np.ndarray) else leaf

        def answer_there(prepared: Any, *others: Any) -> Any:
            # Where it cannot be compiled it is given arrays to compute with.
            return answer(prepared, *mapped(others, there))

        pair = prepare, answer_there
        return Prepared(held, self.compile(composed(pair, held)), *map(self.compile, pair))

    def argument(self, array: np.ndarray) -> Array:
        return array  # a compiled function moves it in less time than `device_put`

    def whole(self, state: Any) -> Any:
        return self._joiner.put_together(state) if isinstance(state, Apart) else state


class Fusing:
    """The backend, for a step whose vectors are in pieces."""

    def __init__(self, backend: JAXBackend, cutter: Cutter) -> None:
        self._backend, self._cutter = backend, cutter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def fuse(self, rule: Callable[..., Any]) -> Callable[..., Any]:
        return self._cutter.fused(self._backend.xp, rule)


def aligned(array: np.ndarray, dtype: str | None = None) -> np.ndarray:
    """A copy in C order that starts at a multiple of `ALIGNMENT` bytes, converted to `dtype` where given."""
    array = np.asarray(array)
    kind = array.dtype if dtype is None else np.dtype(dtype)
    size = array.size * kind.itemsize
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    copy = memory[start : start + size].view(kind).reshape(array.shape)
    copy[...] = array
    return copy


def _number(text: str) -> float:
    """A version as a number; 0 for what is none, such as the architecture of an AMD GPU."""
    try:
        return float(text)
    except ValueError:
        return 0.0


class Jitted:
    """A function compiled by XLA for each signature; as it is, where it looks at the numbers in an array."""

    def __init__(self, jax: Any, function: Callable[..., Any], donate: tuple[int, ...]) -> None:
        self._function, self._call = function, jax.jit(function, donate_argnums=donate)
        self._untraceable = jax.errors.JAXTypeError, jax.errors.JAXIndexError
        self.reason = ""

    def __call__(self, *arguments: Any) -> Any:
        try:
            return self._call(*arguments)
        except self._untraceable as error:  # found in tracing: nothing has been overwritten yet
            self.reason = f"{type(error).__name__}: {str(error).splitlines()[0]}"
            self._call = self._function
        return self._call(*arguments)


class Prepared:
    """What is prepared of held arguments alone is kept until they are others, where few rows are asked for.

    XLA copies the parts of a vector that it cuts, which takes longer than a row does.
    """

    def __init__(
        self, held: int, whole: Callable[..., Any], prepare: Callable[..., Any], answer: Callable[..., Any]
    ) -> None:
        self._held, self._whole, self._prepare, self._answer = held, whole, prepare, answer
        self._kept: dict[str, Any] = {}

    def __call__(self, *arguments: Any) -> Any:
        held, others = arguments[: self._held], arguments[self._held :]
        if max((leaf.shape[0] for leaf in leaves(others) if getattr(leaf, "shape", ())), default=1) > FEW_ROWS:
            return self._whole(*arguments)
        return self._answer(self._prepared(held), *others)

    def _prepared(self, held: tuple[Any, ...]) -> Any:
        refs, found = self._kept.get("all", ((), None))
        if len(refs) == len(held) and all(ref() is each for ref, each in zip(refs, held, strict=True)):
            return found
        kept: dict[str, Any] = {}  # a new one, as another thread may look at the other
        found = self._prepare(*held)
        kept["all"] = [none if each is None else ref(each, lambda _: kept.clear()) for each in held], found
        self._kept = kept
        return found


def none() -> None:
    """In the place of a reference to what is not there."""


create = JAXBackend


def where(array: Any) -> str:
    device, *others = array.devices()
    if others:
        raise DeviceError(
            f"the array is spread over {len(others) + 1} devices of JAX, and a backend computes on one; gather it "
            f"there first, with `jax.device_put(array, device)`"
        )
    return f"{device.platform}:{device.id}"
