"""What the results of a recorded function lie in, and for how long."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .tape import Array, Call, Recorded, Recording, Untraceable, Value, recorded_in

ALIGNMENT = 64
"""Bytes: a line of the cache, and the widest vector register."""
WRITES = ("elementwise", "product", "reduction", "conversion", "gather", "join", "kernel")
"""The kinds of calls that can be told where to write."""


@dataclass(eq=False)
class Memory:
    """What one result lies in, with all views of it."""

    nbytes: int
    owner: str = "pool"
    """pool: used again as soon as nobody needs it; kept: never; given: belongs to an argument, or to NumPy."""
    last: int = -1
    """The number of the last call that reads it."""
    buffer: Array = None
    """Its bytes, once it has a place."""
    inside: "tuple[Memory, int] | None" = None
    """The memory that it is a part of, and at which byte."""


class Arena:
    """What the programs of one function lie in: only one of them runs at a time."""

    def __init__(self, make: Callable[[int], Array] | None = None) -> None:
        """make: gives so many bytes of new memory; NumPy's where it is None."""
        self.make = make or aligned
        self.pool: list[Array] = []
        self.kept: dict[Any, Array] = {}


class Plan:
    """The memory of every result of a recording; `place` gives it out, as the calls follow one another."""

    def __init__(self, recording: Recording, arena: Arena) -> None:
        self._recording, self._calls, self._arena = recording, recording.calls, arena
        self._maker = {result: index for index, call in enumerate(self._calls) for result in call.results}
        self.of = self._memories()
        self._lifetimes()
        self.parts = {call.results[0]: list(self._join(call)) for call in self._calls if call.kind == "join"}
        """Of a joined array each part with its place, and whether it is computed there."""
        self._pool = [*arena.pool]
        self._in_use: list[Memory] = []

    def _memories(self) -> dict[Recorded, Memory]:
        found: dict[Recorded, Memory] = {}
        for each in self._recording.inputs:
            if isinstance(each.value, Value):
                found[each.value] = Memory(each.value.example.nbytes, "given")
        for call in self._calls:
            for number, result in enumerate(call.results):
                if call.kind in ("view", "overwrite"):
                    found[result] = found[call.arguments[number]]
                elif call.kind != "number":
                    found[result] = Memory(result.example.nbytes, "pool" if call.kind in WRITES else "given")
        return found

    def _lifetimes(self) -> None:
        overwritten: set[Recorded] = set()
        for index, call in enumerate(self._calls):
            self._read(call.sources, index, overwritten)
            if call.kind == "overwrite":
                places = {id(self.of[old]) for old in call.arguments[: call.options[0]]}
                before = {value for value in self.of if self._maker.get(value, -1) < index}
                overwritten |= {value for value in before if id(self.of[value]) in places}
        self._read(recorded_in(self._recording.outcome), len(self._calls), overwritten)

    def _read(self, values: Iterator[Recorded], index: int, overwritten: set[Recorded]) -> None:
        for value in values:
            if value in overwritten:
                raise Untraceable("an array is used after it was overwritten")
            if value in self.of:
                self.of[value].last = index

    def _join(self, call: Call) -> Iterator[tuple[Any, Any, bool]]:
        """Each part of a joined array with its place, and whether it is computed there."""
        (axis,), (whole,) = call.options, call.results
        memory, start = self.of[whole], 0
        flat = axis is None or whole.example.ndim == 1
        for part in call.arguments:
            shape = np.shape(part.example if isinstance(part, Recorded) else part)
            stop = start + (int(np.prod(shape)) if axis is None else shape[axis])
            place = (*[slice(None)] * (0 if flat else axis % whole.example.ndim), slice(start, stop))
            there = bool(flat) and isinstance(part, Value) and self._can_move(part, whole)
            if there:
                self.of[part].inside = memory, start * whole.example.itemsize
                memory.owner = self.of[part].owner = "kept"
            yield place, part, there
            start = stop

    def _can_move(self, part: Value, whole: Value) -> bool:
        """Is this part all that lies in a memory which can be anywhere?"""
        memory, made = self.of[part], self._maker.get(part)
        if memory.owner != "pool" or made is None or part.example.nbytes == 0:
            return False
        return part.dtype == whole.dtype and memory.nbytes == part.example.nbytes and part.example.flags.c_contiguous

    def place(self, memory: Memory) -> Array:
        """The bytes of a memory."""
        if memory.buffer is None:
            if memory.inside is not None:
                whole, start = memory.inside
                memory.buffer = self.place(whole)[start : start + memory.nbytes]
            elif memory.owner == "kept":
                # Constants that are joined with what is computed are written once: only who has the same shares it.
                key = next(
                    self._key(number, memory, parts)
                    for number, (whole, parts) in enumerate(self.parts.items())
                    if self.of[whole] is memory
                )
                memory.buffer = self._arena.kept.setdefault(key, self._arena.make(memory.nbytes))
            else:
                memory.buffer = self._free(memory.nbytes)
                self._in_use.append(memory)
        return memory.buffer

    def _key(self, number: int, memory: Memory, parts: list[tuple[Any, Any, bool]]) -> Any:
        constants = ((place[-1].start, part) for place, part, _ in parts if not isinstance(part, Recorded))
        return number, memory.nbytes, *((start, np.asarray(part).tobytes()) for start, part in constants)

    def _free(self, nbytes: int) -> Array:
        fitting = [each for each in self._pool if nbytes <= each.nbytes <= 2 * nbytes]
        if not fitting:
            fitting = [self._arena.make(nbytes)]
            self._arena.pool += fitting
        found = min(fitting, key=lambda each: each.nbytes)
        self._pool = [each for each in self._pool if each is not found]
        return found

    def take_over(self, index: int, call: Call) -> None:
        """Let the result of an elementwise call lie where an argument lies that nobody needs after it."""
        (result,) = call.results
        memory = self.of[result]
        for each in call.sources if memory.owner == "pool" else ():
            old = self.of.get(each)
            if old not in self._in_use or old.last > index or old.nbytes != memory.nbytes:
                continue
            like = each.example
            if like.flags.c_contiguous and (like.shape, like.dtype) == (result.shape, result.dtype):
                memory.buffer = old.buffer
                self._in_use[self._in_use.index(old)] = memory
                return

    def release(self, index: int) -> None:
        """Take back what no call from number `index` on needs."""
        for memory in [each for each in self._in_use if each.last < index]:
            self._in_use.remove(memory)
            self._pool.append(memory.buffer)


def aligned(nbytes: int) -> Array:
    """So many bytes of new memory."""
    found = np.empty(nbytes + ALIGNMENT, np.uint8)
    start = -found.ctypes.data % ALIGNMENT
    return found[start : start + nbytes]
