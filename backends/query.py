"""Functions that change nothing, such as a model's prediction: recorded where they take little work."""

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from .arrays import NUMPY, Arrays
from .compiled import Compiled
from .tape import leaves, mapped

WORK = 1 << 21
"""Products of the rows and the held numbers: with more of them the time that Python takes does not count any more, and
the memory that a program keeps does; and another library has more threads than NumPy."""


class Query(Compiled):
    """A pure function of held arrays and others, whose first axis is that of rows.

    What it gives depends on the arguments alone, and not on how often it was called: with few rows it is always
    NumPy's answer, with many the library's that the arguments come from.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        held: int,
        arrays: Arrays = NUMPY,
        plain: Callable[..., Any] | None = None,
    ) -> None:
        super().__init__(function, (), arrays, plain, held=held)

    def _another(self, arguments: tuple[Any, ...]) -> Any:
        if self._much(arguments):
            return self._plain(*arguments)
        before = self._program
        result = super()._another(arguments)
        if before is not None and before is not self._program:
            before.release()  # it may hold weights that nobody else needs any more
        return result

    def _much(self, arguments: tuple[Any, ...]) -> bool:
        """Is it too much work, or are there gaps in what is held, of which no views can be cut?"""
        held: list[Any] = [leaf for leaf in leaves(arguments[: self._held]) if isinstance(leaf, self._arrays.kind)]
        rows = [leaf.shape[0] for leaf in leaves(arguments[self._held :]) if getattr(leaf, "shape", ())]
        work: int = max(rows, default=1) * sum(prod(leaf.shape) for leaf in held)
        return work > WORK or not all(self._arrays.view(leaf).flags.c_contiguous for leaf in held)

    def _at_once(self, seen: tuple[Any, ...]) -> bool:
        return False

    def _meanwhile(self, seen: tuple[Any, ...], arguments: tuple[Any, ...]) -> Any:
        if not self._arrays.foreign:
            return self._plain(*arguments)
        try:
            return mapped(self._function(*seen), self._given)
        except Exception as reason:
            result = self._plain(*arguments)  # if the function is at fault, and not NumPy, this says so
            self.reason = f"{type(reason).__name__}: {reason}"
            return result

    def _given(self, leaf: Any) -> Any:
        return self._arrays.back(np.array(leaf)) if isinstance(leaf, np.ndarray | np.generic) else leaf


class Shared:
    """What several threads may call at once: each takes one that is idle, or makes another."""

    def __init__(self, make: Callable[[], Callable[..., Any]]) -> None:
        self._make = make
        self._idle = [make()]

    def __call__(self, *arguments: Any) -> Any:
        try:
            mine = self._idle.pop()
        except IndexError:
            mine = self._make()
        try:
            return mine(*arguments)
        finally:
            self._idle.append(mine)
