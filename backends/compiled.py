"""When a function is recorded, and which of its programs runs."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .arrays import NUMPY, Arrays
from .memory import Arena
from .program import MISS, Program, compiled
from .tape import Recording, Untraceable, leaves, mapped, record

EAGER_CALLS = 4
"""Calls of one signature before it is recorded: a recording costs about as much as ten of them."""
LARGE = 1 << 18
"""From so many bytes of donated arrays on it is recorded at once: such a call takes long, and more memory."""
PROGRAMS = 8
"""So many signatures are kept."""


class Compiled:
    """A pure function that is recorded, and from then on replayed, for each signature of its arguments.

    Where it cannot be recorded, or does something else when it is recorded a second time, it runs as it is, and
    `reason` says why.

    arrays: what the arguments are, where not NumPy's; `plain` is the same function for those. With a `reason` it is
    never recorded. So many of its first arguments are held: mostly the same arrays from call to call, only read.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        donate: tuple[int, ...],
        arrays: Arrays = NUMPY,
        plain: Callable[..., Any] | None = None,
        reason: str = "",
        held: int = 0,
    ) -> None:
        self._function, self._donate, self._arrays, self._plain = function, donate, arrays, plain or function
        self._held = held
        self._found: dict[Any, int | Program] = {}
        self._arena = Arena()
        self._run: Callable[..., Any] = lambda *arguments: MISS
        self._program: Program | None = None
        self.reason = reason

    def __call__(self, *arguments: Any) -> Any:
        result = self._run(*arguments)
        return self._another(arguments) if result is MISS else result

    def _another(self, arguments: tuple[Any, ...]) -> Any:
        if self.reason:
            return self._plain(*arguments)
        try:
            seen = mapped(arguments, self._seen) if self._arrays.foreign else arguments
            key = signature(seen)
        except TypeError as reason:  # Untraceable too
            self.reason = str(reason)
            return self._plain(*arguments)
        found = self._found.get(key, 0)
        if isinstance(found, int):
            if self._waits(found, seen):
                self._remember(key, found + 1)
                return self._meanwhile(seen, arguments)
            try:
                found = self._compiled(seen, arguments)
            except Exception as reason:  # whatever a stand-in is not fit for, or the error of the function itself
                self.reason = str(reason) if isinstance(reason, Untraceable) else f"{type(reason).__name__}: {reason}"
                self._found.clear()
                return self._plain(*arguments)
            self._remember(key, found)
        arguments = found.bind(arguments)
        self._run, self._program = found.run, found
        return found.run(*arguments)

    def _waits(self, calls: int, seen: tuple[Any, ...]) -> bool:
        """After so many calls, is it too early to record it?"""
        return calls < EAGER_CALLS and not self._at_once(seen)

    def _at_once(self, seen: tuple[Any, ...]) -> bool:
        # Another library rounds otherwise than NumPy: what has been trained must not depend on how often it ran.
        return self._arrays.foreign or self._large(seen)

    def _meanwhile(self, seen: tuple[Any, ...], arguments: tuple[Any, ...]) -> Any:
        return self._plain(*arguments)

    def _seen(self, leaf: Any) -> Any:
        return self._arrays.view(leaf) if isinstance(leaf, self._arrays.kind) else leaf

    def _large(self, arguments: tuple[Any, ...]) -> bool:
        donated = [leaf for index in self._donate for leaf in leaves(arguments[index])]
        return sum(leaf.nbytes for leaf in donated if isinstance(leaf, np.ndarray)) > LARGE

    def _compiled(self, seen: tuple[Any, ...], arguments: tuple[Any, ...]) -> Program:
        recording, again = (record(self._function, seen, self._donate, self._held) for _ in range(2))
        if not recording.same(again):
            raise Untraceable("it does not do the same in every call: a layer or loss must be a pure function")
        return self._written(recording, arguments)

    def _written(self, recording: Recording, arguments: tuple[Any, ...]) -> Program:
        return compiled(recording, arena=self._arena, arrays=self._arrays)

    def _remember(self, key: Any, value: int | Program) -> None:
        self._found.pop(key, None)
        self._found[key] = value
        while len(self._found) > PROGRAMS:
            del self._found[next(iter(self._found))]


def signature(tree: Any) -> Any:
    """What a program depends on."""
    if isinstance(tree, tuple | list):
        return (type(tree), *map(signature, tree))
    if isinstance(tree, np.ndarray | np.generic):
        return tree.shape, tree.dtype
    if not (tree is None or isinstance(tree, int | float | str)):
        raise Untraceable(f"an argument is a {type(tree).__name__}")
    return type(tree) if type(tree) in (int, float) else (type(tree), tree)
