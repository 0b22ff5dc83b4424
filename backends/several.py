"""Several steps in one call, for XLA: a loop that it compiles, so that Python and the dispatch cost little."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .tape import Array

MOST = 32
"""Steps in a call."""


class Several:
    """A compiled step `function(state, data, index, settings) -> state`, and several of them, one after the other.

    compiled: makes the function of one step fast; it overwrites the state, and says in `reason` where it cannot.
    fixed: is the number of steps compiled in? A GPU would ask the host after each step whether there is another one.
    """

    def __init__(self, jax: Any, compiled: Callable[..., Any], fixed: bool, function: Callable[..., Any]) -> None:
        self._jax, self._function, self._one = jax, function, compiled(function, donate=(0,))
        self._count: Callable[[int], Any] = int if fixed else np.int32
        self._call: Any = jax.jit(self._looped, donate_argnums=0, static_argnums=3 if fixed else ())

    @property
    def reason(self) -> str:
        return self._one.reason

    def __call__(self, *arguments: Any) -> Any:
        return self._one(*arguments)

    def several(self, state: Any, data: Any, first: int, settings: Sequence[Any]) -> Any:
        """A step with each of the settings, of batch number `first` and those after it.

        Settings differ in their numbers only. Up to `MOST` steps are one call.
        """
        if self._call is not None and not self.reason:
            try:
                return self._in_loops(state, data, first, settings)
            except (TypeError, IndexError):  # found in tracing: it cannot be traced, or gives another kind of state
                self._call = None
        for index, each in enumerate(settings, first):
            state = self._one(state, data, index, each)
        return state

    def _in_loops(self, state: Any, data: Any, first: int, settings: Sequence[Any]) -> Any:
        table = self._numbers(settings)
        for start in range(0, len(settings), MOST):
            part = table[start : start + MOST]
            padded = np.zeros((MOST, table.shape[1]))
            padded[: len(part)] = part
            state = self._call(state, data, np.int32(first + start), self._count(len(part)), padded, settings[0])
        return state

    def _numbers(self, settings: Sequence[Any]) -> np.ndarray:
        """The Python numbers of each of the settings, a row for each."""
        numbers = [leaf for leaf in self._jax.tree.leaves(settings) if type(leaf) in (int, float)]
        return np.array(numbers, np.float64).reshape(len(settings), -1)

    def _looped(self, state: Any, data: Any, first: Array, count: Any, table: Array, settings: Any) -> Any:
        leaves, structure = self._jax.tree.flatten(settings)

        def step(offset: Array, state: Any) -> Any:
            numbers = iter(table[offset])
            now = [as_number(self._jax.numpy, leaf, next(numbers)) if is_number(leaf) else leaf for leaf in leaves]
            return self._function(state, data, first + offset, structure.unflatten(now))

        return self._jax.lax.fori_loop(0, count, step, state)


def is_number(leaf: Array) -> bool:
    """Was it a Python number, before it was traced?"""
    return leaf.weak_type


def as_number(jnp: Any, like: Array, value: Array) -> Array:
    """The value as what a Python number becomes when it is traced: it takes on the dtype of an array that it meets.

    A scatter gives what it writes to; JAX has no function for just this.
    """
    zero = jnp.full((), 0.0 if like.dtype.kind == "f" else 0)
    return zero.at[...].set(value.astype(zero.dtype))
