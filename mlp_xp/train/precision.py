"""Mixed precision: matrix products in 16 bits, and in float32 what must not be rounded so far.

Micikevicius et al., "Mixed Precision Training", 2018.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from mlp_xp import backends
from mlp_xp.nn import Context, Layer, Layout
from mlp_xp.nn.containers import Container
from mlp_xp.nn.layer import Parameters
from mlp_xp.optim import Optimizer

from .wrapping import Wrapped, around_each

Array = Any
PRECISIONS = {"float32": "", "tf32": "tf32", "bf16-mixed": "bfloat16", "fp16-mixed": "float16"}
"""The arithmetic of the matrix products in a step; empty for that of the parameters."""
HALVES = ("bfloat16", "float16")


def dtype_name(dtype: Any) -> str:
    """Its name, such as "float32", for a library's own dtype too."""
    return getattr(dtype, "__name__", str(dtype)).removeprefix("torch.")


def checked_precision(precision: str, backend: backends.Backend, dtype: str, optimizer: Optimizer) -> str:
    """The precision, if a trainer can have it; ValueError or BackendError that says why not."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision={precision!r}: choose one of {', '.join(map(repr, PRECISIONS))}")
    if precision == "float32":
        return precision
    if dtype != "float32":
        raise ValueError(
            f"precision={precision!r} keeps the weights in float32, not in {dtype}; leave out precision, or dtype"
        )
    if optimizer.full_batch:
        raise ValueError(
            f"precision={precision!r}: the line search of {optimizer} compares losses that differ by less than such "
            f"products are rounded; leave precision out, or take an optimizer such as Adam"
        )
    reason = backend.unable(PRECISIONS[precision])
    if reason:
        raise backends.BackendError(f"precision={precision!r} on backend {backend.word!r}: {reason}")
    return precision


def possible(precision: str, backend: backends.Backend, dtype: str, optimizer: Optimizer) -> str:
    """The precision if a trainer can have it, else "float32": for one that goes on elsewhere."""
    try:
        return checked_precision(precision, backend, dtype, optimizer)
    except (ValueError, backends.BackendError):
        return "float32"


def mixed(xp: Any, model: Layer, layout: Layout, half: Any, full: Any) -> tuple[Layer, Callable[..., Parameters]]:
    """The model as it computes in the dtype `half`, and a function like `layout.split` for it.

    Parameters are rounded all at once, as one vector. A layer that says `in_float32` gets them, its input and dy in
    the dtype `full`; every layer its buffers. The outputs are in `full`.
    """

    def typed(layer: Layer, name: str) -> Layer:
        return _Typed(layer, full if layer.in_float32 else half)

    def split(xp: Any, flat: Array, buffers: Array) -> Parameters:
        return _chosen(model, layout.split(xp, flat, buffers), layout.split(xp, xp.astype(flat, half), buffers))

    return _Outputs(around_each(model, typed), full), split


def _chosen(model: Layer, full: Parameters, half: Parameters) -> Parameters:
    if not isinstance(model, Container):
        return full if model.in_float32 else half
    names = map(str, range(len(model.layers)))
    return {name: _chosen(layer, full[name], half[name]) for name, layer in zip(names, model.layers, strict=True)}


class _Typed(Wrapped):
    """A layer that computes in one dtype, whatever comes in."""

    def __init__(self, layer: Layer, dtype: Any) -> None:
        super().__init__(layer)
        self.dtype = dtype

    def forward(self, xp: Any, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Any]:
        return self.layer.forward(xp, p, xp.astype(x, self.dtype, copy=False), ctx)

    def backward(self, xp: Any, p: Parameters, saved: Any, dy: Array) -> tuple[Array, Parameters]:
        return self.layer.backward(xp, p, saved, xp.astype(dy, self.dtype, copy=False))

    def gradients(self, xp: Any, p: Parameters, saved: Any, dy: Array) -> Parameters:
        return self.layer.gradients(xp, p, saved, xp.astype(dy, self.dtype, copy=False))


class _Outputs(Wrapped):
    """A model whose outputs are of one dtype, for the loss."""

    def __init__(self, model: Layer, dtype: Any) -> None:
        super().__init__(model)
        self.dtype = dtype

    def forward(self, xp: Any, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Any]:
        y, saved = self.layer.forward(xp, p, x, ctx)
        return xp.astype(y, self.dtype, copy=False), saved


class Inside:
    """A step that runs inside a context; each call enters a new one."""

    def __init__(self, context: Callable[[], AbstractContextManager[Any]], step: Callable[..., Any]) -> None:
        self._context, self._step = context, step

    def __call__(self, *arguments: Any) -> Any:
        with self._context():
            return self._step(*arguments)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._step, name)
        return Inside(self._context, found) if name == "several" else found
