"""A recorded function as a straight list of NumPy calls, each of which writes into memory that is kept for it.

Nothing is allocated while it runs, no layer's Python is run, views of the parameters are cut once, an elementwise
result takes the place of what is not needed any more, and what is joined into one vector, as gradients are, is
computed where it will lie.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from .tape import Array, Call, Number, Recorded, Recording, Untraceable, Value, item, leaves, mapped

ALIGNMENT = 64
"""Bytes: a line of the cache, and the widest vector register."""
MISS: Any = object()
"""What a program gives for arguments that it was not made for."""
WRITES = ("elementwise", "product", "reduction", "conversion", "gather", "join")
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

    def __init__(self) -> None:
        self.pool: list[Array] = []
        self.kept: dict[Any, Array] = {}


class Program:
    """A recording, made to run.

    bound: donated arrays are the same ones in every call, those that `bind` was given last; views of them are cut
    there. Else every call cuts its own.
    """

    def __init__(self, recording: Recording, bound: bool = True, arena: Arena | None = None) -> None:
        self._recording, self._bound, self._arena = recording, bound, arena or Arena()
        self._calls = recording.calls
        self._paired = recording.paired
        self._outcome = list(leaves(recording.outcome))
        self._maker = {result: index for index, call in enumerate(self._calls) for result in call.results}
        self._memory = self._memories()
        self._lifetimes()
        self._parts = {call.results[0]: list(self._join(call)) for call in self._calls if call.kind == "join"}
        self._space: dict[str, Any] = {"ndarray": np.ndarray, "copyto": np.copyto, "miss": MISS}
        self._constants: dict[int, str] = {}
        self._names = {each.value: each.name for each in recording.inputs if isinstance(each.value, Recorded)}
        self._fixed = {each.value for each in recording.inputs if bound and each.donated}
        """What has the same place in every call."""
        self._views: list[Call] = []
        self._pool = [*self._arena.pool]
        self._in_use: list[Memory] = []
        lines = [line for index, call in enumerate(self._calls) for line in self._written(index, call)]
        self._finish(lines)

    # What lies where, and how long

    def _memories(self) -> dict[Recorded, Memory]:
        found: dict[Recorded, Memory] = {}
        for each in self._recording.inputs:
            if isinstance(each.value, Value):
                found[each.value] = Memory(each.value.example.nbytes, "given")
        for call in self._calls:
            for result, first in zip(call.results, call.arguments, strict=False):
                if call.kind in ("view", "overwrite"):
                    found[result] = found[first]
                elif call.kind != "number":
                    found[result] = Memory(result.example.nbytes, "pool" if call.kind in WRITES else "given")
        return found

    def _lifetimes(self) -> None:
        overwritten: set[Recorded] = set()
        for index, call in enumerate(self._calls):
            self._read(call.sources, index, overwritten)
            if call.kind == "overwrite":
                places = {id(self._memory[old]) for old in call.arguments[: call.options[0]]}
                before = {value for value in self._memory if self._maker.get(value, -1) < index}
                overwritten |= {value for value in before if id(self._memory[value]) in places}
        self._read((each for each in self._outcome if isinstance(each, Recorded)), len(self._calls), overwritten)

    def _read(self, values: Iterator[Recorded], index: int, overwritten: set[Recorded]) -> None:
        for value in values:
            if value in overwritten:
                raise Untraceable("an array is used after it was overwritten")
            if value in self._memory:
                self._memory[value].last = index

    def _join(self, call: Call) -> Iterator[tuple[Any, Any, bool]]:
        """Each part of a joined array with its place, and whether it is computed there."""
        (axis,), (whole,) = call.options, call.results
        memory, start = self._memory[whole], 0
        flat = axis is None or whole.example.ndim == 1
        for part in call.arguments:
            shape = np.shape(part.example if isinstance(part, Recorded) else part)
            stop = start + (int(np.prod(shape)) if axis is None else shape[axis])
            place = (*[slice(None)] * (0 if flat else axis % whole.example.ndim), slice(start, stop))
            there = bool(flat) and isinstance(part, Value) and self._can_move(part, whole)
            if there:
                self._memory[part].inside = memory, start * whole.example.itemsize
                memory.owner = self._memory[part].owner = "kept"
            yield place, part, there
            start = stop

    def _can_move(self, part: Value, whole: Value) -> bool:
        """Is this part all that lies in a memory which can be anywhere?"""
        memory, made = self._memory[part], self._maker.get(part)
        if memory.owner != "pool" or made is None or part.example.nbytes == 0:
            return False
        return part.dtype == whole.dtype and memory.nbytes == part.example.nbytes and part.example.flags.c_contiguous

    # Where results are written

    def _place(self, memory: Memory) -> Array:
        """The bytes of a memory."""
        if memory.buffer is None:
            if memory.inside is not None:
                whole, start = memory.inside
                memory.buffer = self._place(whole)[start : start + memory.nbytes]
            elif memory.owner == "kept":
                # Constants that are joined with what is computed are written once: only who has the same shares it.
                key = next(
                    self._key(number, memory, parts)
                    for number, (whole, parts) in enumerate(self._parts.items())
                    if self._memory[whole] is memory
                )
                memory.buffer = self._arena.kept.setdefault(key, aligned(memory.nbytes))
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
            fitting = [aligned(nbytes)]
            self._arena.pool += fitting
        found = min(fitting, key=lambda each: each.nbytes)
        self._pool = [each for each in self._pool if each is not found]
        return found

    def _release(self, index: int) -> None:
        """Take back what no call from number `index` on needs."""
        for memory in [each for each in self._in_use if each.last < index]:
            self._in_use.remove(memory)
            self._pool.append(memory.buffer)

    def _target(self, index: int, call: Call) -> str:
        """The name of the array that a call writes its result to."""
        (result,) = call.results
        memory, shape, dtype = self._memory[result], result.example.shape, result.example.dtype
        donated = self._donated_place(index, call)
        if donated is not None:
            self._names[result] = self._names[donated]
            self._memory[result] = self._memory[donated]
            if donated in self._fixed:
                self._fixed.add(result)
            return self._names[result]
        if call.kind == "elementwise" and memory.owner == "pool":
            for each in call.sources:
                old = self._memory.get(each)
                if (
                    old in self._in_use
                    and old.last == index
                    and (each.example.shape, each.example.dtype) == (shape, dtype)
                    and each.example.flags.c_contiguous
                    and old.nbytes == memory.nbytes
                ):
                    memory.buffer = old.buffer
                    self._in_use[self._in_use.index(old)] = memory
                    break
        array = self._place(memory)[: memory.nbytes].view(dtype).reshape(shape)
        name = self._names[result] = f"v{result.number}"
        self._space[name] = array
        self._fixed.add(result)
        return name

    def _donated_place(self, index: int, call: Call) -> Value | None:
        """The donated argument that the result is to replace, if nobody needs that any more."""
        if call.kind != "elementwise" or self._memory[call.results[0]].owner != "pool":
            return None
        for leaf, old in self._paired.items():
            if self._outcome[leaf] is call.results[0] and self._memory[old].last <= index:
                return old
        return None

    # The lines of the program

    def _written(self, index: int, call: Call) -> Iterator[str]:
        self._release(index)
        words = [self._word(each) for each in call.arguments]
        for result in call.results:
            self._names.setdefault(result, f"v{result.number}")
        name = self._names[call.results[0]]
        if call.kind == "number":
            yield f"{name} = {call.infix(words)}"
        elif call.kind == "view" and call.arguments[0] in self._fixed and len(list(call.sources)) == 1:
            self._fixed.add(call.results[0])
            self._views.append(call)
        elif call.kind in ("view", "fresh"):
            if call.function is item:
                words[1:] = [
                    "..." if each is Ellipsis else word for each, word in zip(call.arguments, words, strict=True)
                ][1:]
                yield f"{name} = {words[0]}[{', '.join(words[1:])},]"
            else:
                yield f"{name} = {self._word(call.function)}({', '.join(words)})"
        elif call.kind == "overwrite":
            yield f"{self._word(call.function)}({', '.join(words)})"
            for result, old in zip(call.results, call.arguments, strict=False):
                self._names[result] = self._names[old]
                if old in self._fixed:
                    self._fixed.add(result)
        elif call.kind == "join":
            yield from self._joined(call, self._target(index, call))
        else:
            yield self._writing(call, words, self._target(index, call))

    def _writing(self, call: Call, words: list[str], target: str) -> str:
        if call.kind == "conversion":
            return f"copyto({target}, {words[0]}, 'unsafe')"
        if call.kind == "gather":  # with the mode "raise" NumPy would write to a copy first
            return f"{words[0]}.take({words[1]}, {words[2]}, {target}, 'clip')"
        if call.kind == "reduction":
            words[3] = target
        else:
            words.append(f"out={target}")
        return f"{self._word(call.function)}({', '.join(words)})"

    def _joined(self, call: Call, target: str) -> Iterator[str]:
        whole = self._space[target]
        for place, part, there in self._parts[call.results[0]]:
            if there:
                continue
            there_it_lies = whole[place]
            if isinstance(part, Recorded) or self._memory[call.results[0]].owner == "pool":
                shape = np.shape(part.example if isinstance(part, Recorded) else part)
                shaped = "" if shape == there_it_lies.shape else ".reshape(-1)"
                yield f"copyto({self._word(there_it_lies)}, {self._word(part)}{shaped})"
            else:  # the same in every call, and nobody else writes there
                there_it_lies[...] = np.reshape(part, there_it_lies.shape)

    def _word(self, thing: Any) -> str:
        """What stands for an argument in the program's source."""
        if isinstance(thing, Recorded):
            return self._names[thing]
        if type(thing) is tuple:
            return f"({', '.join(map(self._word, thing))},)" if thing else "()"
        if thing is Ellipsis:
            return "..."
        if thing is None or (type(thing) in (int, float, bool) and isfinite(thing)):
            return f"({thing!r})"
        if id(thing) not in self._constants:
            name = self._constants[id(thing)] = f"c{len(self._constants)}"
            self._space[name] = thing
        return self._space_name(thing)

    def _space_name(self, thing: Any) -> str:
        return self._constants[id(thing)]

    def _finish(self, lines: list[str]) -> None:
        results = []
        for leaf, each in enumerate(self._outcome):
            place = self._paired.get(leaf)
            if place is not None:
                if self._names[each] != self._names[place]:
                    if any(self._memory[each] is self._memory[other] for other in self._paired.values()):
                        raise Untraceable("a donated array is to take the place of another")
                    lines.append(f"copyto({self._names[place]}, {self._names[each]})")
                results.append(self._names[place])
            elif isinstance(each, Value):
                results.append(f"{self._names[each]}.copy()")  # the memory is used again in the next call
            else:
                results.append(self._word(each))
        names = iter([each.name for each in self._recording.inputs])
        head = [f"{_pattern(self._recording.arguments, names)} = arguments"]
        checks = " and ".join(map(self._check, self._recording.inputs))
        if checks:
            head += [f"if not ({checks}):", "    return miss"]
        self._constant_outcome = self._bound and all(
            leaf in self._paired or not isinstance(each, Recorded) for leaf, each in enumerate(self._outcome)
        )
        self._results = results
        tail = "outcome" if self._constant_outcome else f"rebuilt(({', '.join(results)},))"
        self._space["rebuilt"] = self._rebuilt
        body = "\n    ".join([*head, *lines, f"return {tail}"])
        self.source = f"def run(*arguments):\n    {body}\n"
        exec(self.source, self._space)
        self.run: Callable[..., Any] = self._space["run"]

    def _check(self, argument: Any) -> str:
        """What tells whether an argument is one that the program was made for."""
        name, value = argument.name, argument.value
        if isinstance(value, Value) and self._bound and argument.donated:
            return f"{name} is bound_{name}"
        if isinstance(value, Value):
            dtype = self._word(value.dtype)
            return f"type({name}) is ndarray and {name}.shape == {value.shape} and {name}.dtype == {dtype}"
        if isinstance(value, Number):
            return f"type({name}) is {type(value.example).__name__}"
        return f"{name} == {value!r}" if isinstance(value, str) else f"{name} is {value!r}"

    def _rebuilt(self, results: tuple[Any, ...]) -> Any:
        each = iter(results)
        return mapped(self._recording.outcome, lambda _: next(each))

    def bind(self, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """Take the donated arrays among these arguments as those of the calls to come; gives what to call `run` with.

        A NumPy scalar, or an array with gaps, is copied: neither can be written to as it is.
        """
        inputs = iter(self._recording.inputs)

        def taken(leaf: Any) -> Any:
            argument = next(inputs)
            if isinstance(argument.value, Value):
                leaf = np.asarray(leaf)
                if argument.donated and self._bound:
                    if not (leaf.flags.c_contiguous and leaf.flags.writeable):
                        leaf = leaf.copy()
                    self._space[argument.name] = self._space[f"bound_{argument.name}"] = leaf
            return leaf

        arguments = mapped(arguments, taken)
        for call in self._views:
            base, *others = call.arguments
            self._space[self._names[call.results[0]]] = call.function(self._space[self._names[base]], *others)
        if self._constant_outcome:
            self._space["outcome"] = eval(f"rebuilt(({', '.join(self._results)},))", self._space)
        return arguments


def _pattern(tree: Any, names: Iterator[str]) -> str:
    """The left side of an assignment that takes a tree apart."""
    if isinstance(tree, tuple | list):
        inside = ", ".join(_pattern(each, names) for each in tree)
        return f"({inside},)" if inside else "()"
    return next(names)


def aligned(nbytes: int) -> Array:
    """So many bytes of new memory."""
    found = np.empty(nbytes + ALIGNMENT, np.uint8)
    start = -found.ctypes.data % ALIGNMENT
    return found[start : start + nbytes]
