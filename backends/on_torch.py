"""PyTorch, on the CPU, a CUDA GPU or an Apple GPU, without its autograd."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import numpy as np

from . import team
from .arrays import Arrays
from .base import NO_TF32, Array, Backend, BackendError, Pair, Status, composed, load
from .compiled import Compiled
from .cuda_graph import Cuda, Graphed
from .on_numpy import NumPyBackend
from .query import Query, Shared
from .scope import Scope, computing
from .tape import take

INSTALL = "pip install torch"
SHARED = frozenset(map(np.dtype, ("float64", "float32", "int64", "int32", "int16", "int8", "uint8", "bool")))
"""The dtypes whose memory a tensor on the CPU may share with an array, where none is asked for."""


def probe() -> Status:
    torch = load("torch", INSTALL)
    if isinstance(torch, Status):
        return torch
    devices = _devices(torch)
    gpu = f" and {len(devices) - 1} GPU device(s)" if len(devices) > 1 else ""
    return Status("torch", True, f"PyTorch {torch.__version__} on the CPU{gpu}", devices=tuple(devices))


def _devices(torch: Any) -> list[str]:
    found = ["torch:cpu"]
    if torch.cuda.is_available():
        found += [f"torch:cuda:{index}" for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        found += ["torch:mps:0"]
    return found


class TorchBackend(Backend):
    name = "torch"

    def __init__(self, device: str = "") -> None:
        import array_api_compat.torch
        import torch

        self._torch = torch
        self.word = f"torch:{device or 'cpu'}"
        if device in ("cuda", "mps"):
            self.word += ":0"
        known = _devices(torch)
        if self.word not in known:
            raise BackendError(f"PyTorch has no device {device!r} here; it has {', '.join(map(repr, known))}")
        self.xp = array_api_compat.torch
        self.device = torch.device(self.word.removeprefix("torch:"))
        self.has_float64 = self.device.type != "mps"

    def owns(self, array: object) -> bool:
        return isinstance(array, self._torch.Tensor)

    def from_host(self, array: np.ndarray, dtype: str | None = None) -> Array:
        array = np.array(array, dtype=dtype, order="C")  # a copy: a tensor that shares memory must be writable
        return self._torch.from_numpy(array).to(self.device)

    def from_any(self, array: Any, dtype: str | None = None, name: str = "the array") -> Array:
        if type(array) is np.ndarray and self.device.type == "cpu" and _shareable(array, dtype):
            return self._torch.from_numpy(array)  # where it lies, as NumPy's backend takes it
        found = super().from_any(array, dtype, name)
        return found.detach() if found.requires_grad else found  # NumPy sees only those that do not

    def to_host(self, array: Array) -> np.ndarray:
        return np.asarray(array.detach().cpu().numpy(), order="C")

    def free_memory(self) -> int | None:
        if self.device.type != "cuda":
            return None
        cuda = self._torch.cuda
        unused = cuda.memory_reserved(self.device) - cuda.memory_allocated(self.device)
        return cuda.mem_get_info(self.device)[0] + unused

    def device_name(self) -> str:
        if self.device.type == "cuda":
            return self._torch.cuda.get_device_name(self.device)
        return {"cpu": "CPU", "mps": "Apple GPU"}[self.device.type]

    def scope(self) -> AbstractContextManager[Any]:
        no_grad = self._torch.no_grad()
        return Scope(no_grad, *computing()) if self.device.type == "cpu" else no_grad

    def build(self, make: Callable[[Backend], Callable[..., Any]], bounds: Sequence[int]) -> Callable[..., Any]:
        """On the CPU: recorded for NumPy, and replayed in the tensors' memory, in PyTorch's threads where large.

        On a CUDA GPU: captured as a CUDA graph.
        """
        torch, plain = self._torch, make(self)
        if self.device.type == "cuda":
            return Graphed(torch, Cuda(torch, self.device), plain)
        if self.device.type != "cpu":
            return plain
        calls, awake = in_threads(torch), team.Awake()
        calls[np.matmul] = awake.after(calls[np.matmul])
        tensors = Arrays(torch.Tensor, torch.Tensor.numpy, torch.from_numpy, calls)
        try:
            return Compiled(make(NumPyBackend(launcher=partial(team.launcher, awake))), (0,), tensors, plain)
        except BackendError as reason:  # NumPy has no such dtype
            return Compiled(plain, (0,), tensors, reason=str(reason))

    def query(self, make: Callable[[Backend], Pair], held: int) -> Callable[..., Any]:
        """On the CPU: few rows are answered by NumPy, in the tensors' memory."""
        if self.device.type != "cpu":
            return super().query(make, held)
        torch, plain, function = self._torch, composed(make(self), held), composed(make(NumPyBackend()), held)
        tensors = Arrays(torch.Tensor, torch.Tensor.numpy, torch.from_numpy)
        return Shared(lambda: Query(function, held, tensors, plain))

    def argument(self, array: np.ndarray) -> Array:
        return self.from_any(array)

    def unable(self, arithmetic: str) -> str:
        torch, kind = self._torch, self.device.type
        ampere = kind == "cuda" and torch.cuda.get_device_capability(self.device) >= (8, 0)
        if arithmetic == "tf32":
            return "" if ampere else NO_TF32
        if kind == "cuda":
            needs = arithmetic == "bfloat16" and not ampere
            return "bfloat16 needs a GPU of compute capability 8.0 or newer; take 'fp16-mixed'" if needs else ""
        if kind == "cpu" and arithmetic == "float16" and not torch.ops.mkldnn._is_mkldnn_fp16_supported():
            return (
                "PyTorch multiplies float16 number by number on this processor, many times slower than float32; take "
                "'bf16-mixed', a GPU, or the backend 'jax'"
            )
        try:
            some = torch.ones((8, 8), dtype=getattr(torch, arithmetic), device=self.device)
            return "" if float((some @ some).sum()) == 512 else f"PyTorch multiplies {arithmetic} wrongly on {kind}"
        except (RuntimeError, TypeError) as error:
            return f"PyTorch cannot multiply {arithmetic} on {kind} here: {error}; leave precision out"

    @contextmanager
    def tf32(self) -> Iterator[None]:
        products = self._torch.backends.cuda.matmul
        before = products.fp32_precision
        products.fp32_precision = "tf32"
        try:
            yield
        finally:
            products.fp32_precision = before

    def synchronize(self) -> None:
        if self.device.type == "cuda":
            self._torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            self._torch.mps.synchronize()


def in_threads(torch: Any) -> dict[Any, Callable[..., Any]]:
    """What PyTorch has for functions of NumPy, see `Arrays.calls`."""

    def maximum(x: Array, y: Any, out: Array) -> None:
        torch.maximum(x, y, out=out) if isinstance(y, torch.Tensor) else torch.clamp(x, min=y, out=out)

    def minimum(x: Array, y: Any, out: Array) -> None:
        torch.minimum(x, y, out=out) if isinstance(y, torch.Tensor) else torch.clamp(x, max=y, out=out)

    return {
        np.matmul: torch.matmul,
        np.add: torch.add,
        np.subtract: torch.sub,
        np.multiply: torch.mul,
        np.true_divide: torch.div,
        np.maximum: maximum,
        np.minimum: minimum,
        np.greater: torch.gt,
        np.greater_equal: torch.ge,
        np.less: torch.lt,
        np.less_equal: torch.le,
        np.exp: torch.exp,
        np.tanh: torch.tanh,
        np.ndarray.astype: lambda x, out: out.copy_(x),
        np.add.reduce: torch.sum,
        take: torch.index_select,
    }


def _shareable(array: np.ndarray, dtype: str | None) -> bool:
    named = array.dtype == dtype if dtype else array.dtype in SHARED
    return named and array.flags.c_contiguous and array.flags.writeable


create = TorchBackend


def where(array: Any) -> str:
    return str(array.device)
