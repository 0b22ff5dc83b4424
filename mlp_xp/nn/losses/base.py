"""What a loss is: a value and its gradient together, averaged over the batch."""

from collections.abc import Mapping, Set
from math import isfinite
from typing import Any, ClassVar

import array_api_compat

from mlp_xp.nn.checks import Range, check_numbers
from mlp_xp.nn.layer import Array, ShapeError


class Loss:
    """A frozen dataclass of hyper-parameters, called as `loss(xp, y, target, weight)`.

    With y (..., batch, outputs) it gives the value, shape (...), and dy = dL/dy, shaped like y. With per-sample weights
    s (..., batch) the value is  sum_i s_i L_i / sum_i s_i.  `encode` turns what a user has as targets into what the
    loss computes with, once, before training, and refuses what does not fit.
    """

    ranges: ClassVar[dict[str, Range]] = {}
    """What the numbers among the hyper-parameters may be, by name."""

    def __post_init__(self) -> None:
        check_numbers(self)

    @property
    def outputs_per_target(self) -> int:
        """How many outputs of the model speak of one column of the targets."""
        return 1

    def __call__(self, xp: Any, y: Array, target: Array, weight: Array | None = None) -> tuple[Array, Array]:
        raise NotImplementedError

    def mass(self, xp: Any, y: Array, target: Array, weight: Array | None = None) -> Any:
        """What the value is a mean over, sum_i s_i: with it the means of several batches become the mean over all."""
        return float(y.shape[-2]) if weight is None else xp.sum(weight, axis=-1)

    def predicted(self, xp: Any, y: Array, target: Array) -> tuple[Array, Array]:
        """What the outputs predict for each column of the targets, and these columns: for metrics of numbers.

        (..., batch, columns) and (batch, columns), of y and of the target as `encode` gave it.
        """
        return y, target

    def encode(self, xp: Any, target: Array, outputs: int, dtype: Any) -> Array:
        """Give targets of `dtype`, shape (batch, columns), for all outputs; (batch,) is taken for one column."""
        parts = self.outputs_per_target
        if target.ndim == 1 and outputs == parts:
            target = xp.reshape(target, (-1, 1))
        columns = target.shape[1] if target.ndim > 1 else 1
        if target.ndim != 2 or target.shape[1] * parts != outputs:
            expected = (
                f"targets of shape (rows, {outputs}), as the model gives {outputs} outputs"
                if parts == 1
                else f"{parts} outputs for each column of the targets, {parts * columns} for {columns}; the model "
                f"gives {outputs} outputs"
            )
            raise ShapeError(f"{self} expects {expected}; got shape {tuple(target.shape)}")
        target = xp.astype(target, dtype, copy=False)
        if not bool(xp.all(xp.isfinite(target))):
            raise ValueError("the targets contain NaN or infinity; remove or replace those rows")
        return target


class ElementwiseLoss(Loss):
    """A loss L_ij that each output has by itself; the mean over all elements,  sum_i s_i mean_j L_ij / sum_i s_i."""

    def each(self, xp: Any, y: Array, target: Array) -> tuple[Array, Array]:
        """Give L and dL/dy of every element, shaped like y."""
        raise NotImplementedError

    def __call__(self, xp: Any, y: Array, target: Array, weight: Array | None = None) -> tuple[Array, Array]:
        each, slope = self.each(xp, y, target)
        share = batch_share(xp, y, weight, per_element=True)
        return xp.sum(share * each, axis=(-2, -1)), share * slope


def batch_share(xp: Any, y: Array, weight: Array | None, per_element: bool = False) -> Any:
    """How much each row counts in the mean: 1 / n, or s_i / sum s as a column; for each element of a row if asked.

    Weights that are all zero give shares of zero: such a batch changes nothing.
    """
    parts = y.shape[-1] if per_element else 1
    if weight is None:
        return 1.0 / (y.shape[-2] * parts)
    total = xp.maximum(xp.sum(weight, axis=-1, keepdims=True), smallest(xp, y))
    return (weight / (total * float(parts)))[..., None]


def smallest(xp: Any, y: Array) -> float:
    """The smallest normal number above zero of y's dtype."""
    return float(xp.finfo(y.dtype).smallest_normal)


def sign(xp: Any, x: Array) -> Array:
    """-1, 0 or 1; NaN for NaN, which comparisons would hide."""
    return x / xp.maximum(xp.abs(x), smallest(xp, x))


# Hyper-parameters that are vectors: a tuple of numbers, one for each output


def vector(xp: Any, numbers: Any, y: Array) -> Array:
    """The numbers as an array of y's dtype, on its device."""
    return xp.asarray(numbers, dtype=y.dtype, device=array_api_compat.device(y))


def keep_as_tuple(loss: Loss, name: str) -> tuple[float, ...]:
    """Turn a list or an array among the hyper-parameters into a tuple of Python floats; give it."""
    given = getattr(loss, name)
    try:
        if isinstance(given, str | Mapping | Set):
            raise TypeError
        numbers = tuple(float(number) for number in given)
    except (TypeError, ValueError):
        raise TypeError(f"{type(loss).__name__}({name}={given!r}): must be a sequence of numbers") from None
    object.__setattr__(loss, name, numbers)
    return numbers


def keep_as_weights(loss: Loss, name: str) -> None:
    """The same for weights of classes or outputs, which are not negative and not all zero."""
    numbers = keep_as_tuple(loss, name)
    if not all(isfinite(number) and number >= 0 for number in numbers) or not any(numbers):
        raise ValueError(f"{type(loss).__name__}({name}={numbers}): must be finite, not negative, and not all zero")


def one_for_each_output(loss: Loss, name: str, outputs: int) -> None:
    numbers = getattr(loss, name)
    if isinstance(numbers, tuple) and len(numbers) != outputs:
        raise ShapeError(
            f"{type(loss).__name__}({name}={numbers}) has {len(numbers)} numbers, but the model gives {outputs} outputs"
        )
