"""A recorded function as a straight list of NumPy calls, each of which writes into memory that is kept for it.

Nothing is allocated while it runs, no layer's Python is run, views of the parameters are cut once, an elementwise
result takes the place of what is not needed any more, and what is joined into one vector, as gradients are, is
computed where it will lie.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from math import gcd, isfinite, prod
from typing import Any

import numpy as np

from .arrays import NUMPY, Arrays
from .memory import Arena, Plan
from .tape import Call, Number, Recorded, Recording, Untraceable, Value, example, item, leaves, mapped, recorded_in

MISS: Any = object()
"""What a program gives for arguments that it was not made for."""
LARGE, SMALL = 1 << 24, 1 << 16
"""Multiplications. Where the largest product has so many, products are those of the library that the arrays come from,
all but small ones, which NumPy starts faster, and in one thread: two libraries' threads would wait for one another."""
MANY = 1 << 15
"""Elements, from which on other calls are that library's too: PyTorch shares no fewer out among threads."""

COMPARISONS = (np.greater, np.greater_equal, np.less, np.less_equal, np.equal, np.not_equal)
SLOW_WITH_A_NUMBER = (np.maximum, np.minimum)
"""NumPy compares two arrays four times as fast as an array and a number."""
SHORTEST_ROW, LONGEST_ROW = 512, 4096


@dataclass(eq=False)
class Program:
    """A recorded function, ready to run."""

    source: str
    """The function `run(*arguments)`: what was recorded, or MISS for arguments that it was not made for."""
    space: dict[str, Any]
    """What stands behind the names in the source."""
    arguments: Any
    """The tree of arguments: of each leaf its name, whether it is an array, and whether it is bound."""
    views: list[tuple[str, Callable[..., Any], str, tuple[Any, ...]]]
    """Name, function, name of its first argument and the others of what is cut anew when other arrays are bound."""
    outcome: Any
    """The tree of names that the function gives, where these are bound arrays and constants; else None."""
    kind: Arrays
    """What its arguments are, and what it gives."""

    def __post_init__(self) -> None:
        exec(self.source, self.space)
        self.run: Callable[..., Any] = self.space["run"]

    def bind(self, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """Take the donated and held arrays among these as those of the calls to come; gives what to call `run` with.

        A donated NumPy scalar, or array with gaps, is copied: neither can be written to as it is.
        """
        kinds = leaves(self.arguments)

        def taken(leaf: Any) -> Any:
            argument = next(kinds)
            if isinstance(leaf, np.generic):
                leaf = np.asarray(leaf)
            if argument.bound:
                seen = self.kind.view(leaf)
                if argument.donated and not (seen.flags.c_contiguous and getattr(seen.flags, "writeable", True)):
                    seen = seen.copy()
                    leaf = self.kind.back(seen)
                self.space[argument.name], self.space[f"bound_{argument.name}"] = seen, leaf
            return leaf

        arguments = mapped(arguments, taken)
        for name, function, base, others in self.views:
            self.space[name] = function(self.space[base], *others)
        if self.outcome is not None:
            self.space["outcome"] = mapped(self.outcome, lambda word: eval(word, self.space))
        return arguments

    def release(self) -> None:
        """Let go of what was bound: `bind` is to come before the next `run`."""
        for argument in leaves(self.arguments):
            if argument.bound:
                self.space[argument.name] = self.space[f"bound_{argument.name}"] = MISS
        self.space |= dict.fromkeys((name for name, *_ in self.views), MISS)


@dataclass(frozen=True)
class Argument:
    name: str
    """Of NumPy's view of it."""
    given: str
    """Of what was given."""
    bound: bool
    donated: bool


def compiled(recording: Recording, bound: bool = True, arena: Arena | None = None, arrays: Arrays = NUMPY) -> Program:
    """bound: donated and held arrays are the same ones in every call, those that `Program.bind` was given last, and
    views of them are cut there. Else every call cuts its own.
    """
    return Writer(answered_in_numbers(recording), bound, arena or Arena(), arrays).program()


def answered_in_numbers(recording: Recording) -> Recording:
    """The same, but comparisons whose answers are only converted give numbers at once: masks, in one pass, not two."""
    readers = Counter(chain(recorded_in(recording.outcome), *(call.sources for call in recording.calls)))
    conversions = {call.arguments[0]: call for call in recording.calls if call.kind == "conversion"}
    calls, merged = [], set()
    for call in recording.calls:
        conversion = conversions.get(call.results[0]) if call.function in COMPARISONS else None
        if conversion is not None and readers[call.results[0]] == 1 and is_floating(conversion.results[0]):
            call = replace(call, results=conversion.results)
            merged.add(id(conversion))
        if id(call) not in merged:
            calls.append(call)
    return replace(recording, calls=tuple(calls))


class Writer:
    """Writes a program, call by call."""

    def __init__(self, recording: Recording, bound: bool, arena: Arena, arrays: Arrays) -> None:
        self._recording, self._bound, self._calls, self._arrays = recording, bound, recording.calls, arrays
        self._paired = recording.paired
        self._outcome = list(leaves(recording.outcome))
        self._plan = Plan(recording, arena)
        self._space: dict[str, Any] = {"copyto": np.copyto, "miss": MISS}
        self._constants: dict[int, str] = {}
        self._names = {each.value: each.name for each in recording.inputs if isinstance(each.value, Recorded)}
        self._fixed = {each.value for each in recording.inputs if bound and each.bound}
        """What has the same place in every call."""
        self._views: list[tuple[str, Callable[..., Any], str, tuple[Any, ...]]] = []
        self._lends = np.matmul in arrays.calls and any(multiplications(call) >= LARGE for call in self._calls)

    def program(self) -> Program:
        seen = list(self._seen())
        lines = [line for index, call in enumerate(self._calls) for line in self._written(index, call)]
        results = list(self._results(lines))
        constant = bool(self._bound and self._paired) and all(
            leaf in self._paired or not isinstance(each, Recorded) for leaf, each in enumerate(self._outcome)
        )
        arguments = mapped(self._recording.arguments, self._argument_of(iter(self._recording.inputs)))
        checks = " and ".join(map(self._check, self._recording.inputs)) or "True"
        names, tree = iter(results), self._recording.outcome
        outcome = mapped(tree, lambda _: next(names))
        body = "\n    ".join(
            [
                f"{_pattern(arguments)} = arguments",
                f"if not ({checks}):",
                "    return miss",
                *self._arranged(seen, lines, constant),
                f"return {'outcome' if constant else self._tree(outcome)}",
            ]
        )
        source = f"def run(*arguments):\n    {body}\n"
        return Program(source, self._space, arguments, self._views, outcome if constant else None, self._arrays)

    def _arranged(self, seen: list[str], lines: list[str], constant: bool) -> list[str]:
        """Both one after the other. constant: is the outcome the same arrays in every call?"""
        return [*seen, *lines]

    def _argument_of(self, inputs: Iterator[Any]) -> Callable[[Any], Argument]:
        def made(_: Any) -> Argument:
            each = next(inputs)
            return Argument(each.name, self._given(each), each.bound and self._bound, each.donated)

        return made

    def _given(self, argument: Any) -> str:
        return f"given_{argument.name}" if self._arrays.foreign and isinstance(argument.value, Value) else argument.name

    def _seen(self) -> Iterator[str]:
        """The lines that take NumPy's view of what is given; `Program.bind` has done so for what is bound."""
        for each in self._recording.inputs:
            given = self._given(each)
            if given != each.name and each.value not in self._fixed:
                yield f"{each.name} = {self._word(self._arrays.view)}({given})"

    def _results(self, lines: list[str]) -> Iterator[str]:
        """The words for what the function gives; adds to the lines what puts it where it belongs."""
        for leaf, each in enumerate(self._outcome):
            place = self._paired.get(leaf)
            if place is not None:
                if self._names[each] != self._names[place]:
                    if any(self._plan.of[each] is self._plan.of[other] for other in self._paired.values()):
                        raise Untraceable("a donated array is to take the place of another")
                    lines.append(f"copyto({self._names[place]}, {self._names[each]})")
                yield f"bound_{self._names[place]}" if self._bound else self._names[place]
            elif isinstance(each, Value) or (isinstance(each, np.ndarray) and not self._paired):
                copied = f"{self._word(each)}.copy()"  # the memory is used again in the next call
                yield f"{self._word(self._arrays.back)}({copied})" if self._arrays.foreign else copied
            else:
                yield self._word(each)

    def _tree(self, tree: Any) -> str:
        """A tree of words as an expression that makes it."""
        if not isinstance(tree, tuple | list):
            return str(tree)
        inside = ", ".join(map(self._tree, tree))
        if type(tree) is tuple:
            return f"({inside},)" if tree else "()"
        if hasattr(tree, "_fields"):
            return f"{self._word(type(tree))}({inside})"
        return f"[{inside}]"

    # Where results are written

    def _target(self, index: int, call: Call) -> str:
        """The name of the array that a call writes its result to."""
        (result,) = call.results
        memory, shape, dtype = self._plan.of[result], result.shape, result.dtype
        donated = self._donated_place(index, call)
        if donated is not None:
            self._names[result] = self._names[donated]
            self._plan.of[result] = self._plan.of[donated]
            if donated in self._fixed:
                self._fixed.add(result)
            return self._names[result]
        if call.kind == "elementwise":
            self._plan.take_over(index, call)
        array = self._plan.place(memory)[: memory.nbytes].view(dtype).reshape(shape)
        name = self._names[result] = f"v{result.number}"
        self._space[name] = array
        self._fixed.add(result)
        return name

    def _donated_place(self, index: int, call: Call) -> Value | None:
        """The donated argument that the result is to replace, if nobody needs that any more."""
        if call.kind != "elementwise" or self._plan.of[call.results[0]].owner != "pool":
            return None
        for leaf, old in self._paired.items():
            if self._outcome[leaf] is call.results[0] and self._plan.of[old].last <= index:
                return old
        return None

    # The lines of the program

    def _written(self, index: int, call: Call) -> Iterator[str]:
        self._plan.release(index)
        words = [self._word(each) for each in call.arguments]
        for result in call.results:
            self._names.setdefault(result, f"v{result.number}")
        name = self._names[call.results[0]]
        if call.kind == "number":
            yield f"{name} = {call.infix(words)}"
        elif call.kind == "view" and call.arguments[0] in self._fixed and len(list(call.sources)) == 1:
            _, *others = call.arguments
            self._fixed.add(call.results[0])
            self._views.append((name, call.function, words[0], tuple(others)))
        elif call.kind in ("view", "fresh"):
            if call.function is item:
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
        if self._lends and (lent := self._lent_call(call)):
            return lent
        if call.kind == "conversion":
            return f"copyto({target}, {words[0]}, 'unsafe')"
        if call.kind == "gather":  # with the mode "raise" NumPy would write to a copy first
            return f"{words[0]}.take({words[1]}, {words[2]}, {target}, 'clip')"
        function = self._word(call.function)
        if call.function in SLOW_WITH_A_NUMBER and len(limits := [*filter(self._is_limit, call.arguments)]) == 1:
            words, target = self._in_rows(call, limits[0], words, target)  # the other operand is an array
        if call.kind == "reduction":
            words[3] = target
        else:
            words.append(f"out={target}")
        return f"{function}({', '.join(words)})"

    def _is_limit(self, thing: Any) -> bool:
        return type(thing) in (int, float) and isfinite(thing)

    def _in_rows(self, call: Call, limit: float, words: list[str], target: str) -> tuple[list[str], str]:
        """The operands of a comparison with a number as rows, and a row of it for the number, where possible."""
        (result,) = call.results
        (x,) = (each for each in call.arguments if isinstance(each, Value))
        row = gcd(result.size, LONGEST_ROW)
        contiguous = x.example.flags.c_contiguous and result.example.flags.c_contiguous
        if row < SHORTEST_ROW or not contiguous or x.shape != result.shape or not {x, result} <= self._fixed:
            return words, target
        rows = [self._bound_view("rows", word, np.reshape, (-1, row)) for word in (self._word(x), target)]
        name = f"row{row}_{len(self._space)}"
        self._space[name] = np.full(row, limit, result.dtype)
        return [name if thing is limit else rows[0] for thing in call.arguments], rows[1]

    def _bound_view(self, prefix: str, name: str, function: Callable[..., Any], *others: Any) -> str:
        """The name of function(array, *others), made when arrays are bound."""
        view = f"{prefix}_{name}"
        if view not in self._space:
            self._space[view] = None  # until then
            self._views.append((view, function, name, others))
        return view

    def _lent_call(self, call: Call) -> str:
        """The call as one of the library that the arrays come from; empty where NumPy does it."""
        (result,), x, *others = call.results, *call.arguments
        if call.function not in self._arrays.calls or not (
            isinstance(x, Value) and is_floating(x) and is_floating(result)
        ):
            return ""
        if multiplications(call) < SMALL if call.kind == "product" else max(result.size, x.size) < MANY:
            return ""
        if call.kind == "gather":
            indices, axis = others
            others = [axis, indices]
        elif call.kind == "reduction":
            axis, dtype, _, keepdims = others
            if type(axis) is not int or dtype is not None:
                return ""
            others = [axis, keepdims]
        elif call.kind == "conversion":
            others = []
        elif not all(type(each) in (int, float) or is_floating(each) for each in others):
            return ""
        function, *words = self._word(self._arrays.calls[call.function]), self._lent(x)
        words += [self._lent(each) if isinstance(each, Value | np.ndarray) else self._word(each) for each in others]
        return f"{function}({', '.join(words)}, out={self._lent(result)})"

    def _lent(self, thing: Any) -> str:
        """What stands for an array in the library that the arrays come from."""
        name, back = self._word(thing), self._arrays.back
        if not isinstance(thing, Recorded) or thing not in self._fixed:
            return f"{self._word(back)}({name})"
        return self._bound_view("lent", name, back)

    def _joined(self, call: Call, target: str) -> Iterator[str]:
        whole = self._space[target]
        for place, part, there in self._plan.parts[call.results[0]]:
            if there:
                continue
            there_it_lies = whole[place]
            if isinstance(part, Recorded) or self._plan.of[call.results[0]].owner == "pool":
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
        if type(thing) is list:
            return f"[{', '.join(map(self._word, thing))}]"
        if thing is Ellipsis:
            return "..."
        if thing is None or (type(thing) in (int, float, bool) and isfinite(thing)):
            return f"({thing!r})"
        if id(thing) not in self._constants:
            name = self._constants[id(thing)] = f"c{len(self._constants)}"
            self._space[name] = thing
        return self._constants[id(thing)]

    def _check(self, argument: Any) -> str:
        """What tells whether an argument is one that the program was made for."""
        name, value = self._given(argument), argument.value
        if self._bound and argument.bound:
            return f"{name} is bound_{argument.name}"
        if isinstance(value, Value):
            kind, dtype = self._word(self._arrays.kind), self._word(self._arrays.back(np.empty(0, value.dtype)).dtype)
            return f"type({name}) is {kind} and {name}.shape == {value.shape} and {name}.dtype == {dtype}"
        if isinstance(value, Number):
            return f"type({name}) is {type(value.example).__name__}"
        return f"{name} == {value!r}" if isinstance(value, str) else f"{name} is {value!r}"


def _pattern(tree: Any) -> str:
    """The left side of an assignment that takes a tree of arguments apart."""
    if isinstance(tree, tuple | list):
        return f"({', '.join(map(_pattern, tree))},)" if tree else "()"
    return tree.given


def multiplications(call: Call) -> int:
    """Of numbers, in a product of matrices; 0 for any other call."""
    if call.kind != "product" or call.function is not np.matmul:
        return 0
    a, b = (np.shape(each) for each in example(call.arguments))
    return prod(a) * b[-1] if min(len(a), len(b)) > 1 else 0


def is_floating(thing: Any) -> bool:
    """Is it an array of floating-point numbers?"""
    return isinstance(thing, Value | np.ndarray) and thing.dtype.kind == "f"
