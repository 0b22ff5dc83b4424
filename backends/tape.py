"""What a pure function does to NumPy arrays and numbers, written down call by call without the numbers themselves.

The function is run once on stand-ins, which NumPy hands every call on to (`__array_ufunc__`, `__array_function__`).
What it does with other arrays alone is not written down: it is the same in every call, and its result is a constant.
"""

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import numpy as np

Array = Any


class Untraceable(TypeError):
    """The function cannot be recorded: it looks at the numbers in an array, or calls what has no counterpart here."""


@dataclass(frozen=True)
class Call:
    """One call of the recorded function; among `arguments` stand results of others before it."""

    kind: str
    """How it gives its result, see `Tape`."""
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    results: tuple[Any, ...]
    options: tuple[Any, ...] = ()

    def infix(self, words: list[str]) -> str:
        """A call of the kind "number" as Python writes it, and C++ but for powers."""
        sign = SIGNS[self.function]
        return f"({sign}{words[0]})" if len(words) == 1 else f"({words[0]} {sign} {words[1]})"

    @property
    def sources(self) -> Iterator["Recorded"]:
        """The results of other calls that it reads."""
        return recorded_in(self.arguments)


class Tape:
    """The calls in their order. Kinds:

    number       arithmetic of Python numbers
    view         the result lies in the memory of the first argument
    elementwise  a ufunc: it may write its result over an argument of the same shape
    product, reduction, conversion, gather, join   can write their result into memory they are given
    fresh        whatever else NumPy does: the result is a new array
    overwrite    the results lie where the first arguments lie, `options` says how many
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.count = 0
        self._zeros = np.zeros(0, np.uint8)

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """An example. They all share one memory: nobody writes to them."""
        nbytes = prod(shape) * dtype.itemsize
        if nbytes > self._zeros.nbytes:
            self._zeros = np.zeros(2 * nbytes, np.uint8)
        return self._zeros[:nbytes].view(dtype).reshape(shape)

    def call(self, kind: str, function: Any, arguments: tuple[Any, ...], options: tuple[Any, ...] = ()) -> "Value":
        found = (product if function is np.matmul else function)(*example(arguments))
        if not isinstance(found, np.ndarray | np.generic):
            raise Untraceable(f"{function} gives {type(found).__name__}, not one array")
        if kind == "fresh" and isinstance(arguments[0], Value) and np.may_share_memory(found, arguments[0].example):
            kind = "view"
        value = Value(self, found if kind == "view" else self.zeros(found.shape, found.dtype))  # a view has its strides
        self.calls.append(Call(kind, function, arguments, (value,), options))
        return value

    def number(self, ufunc: np.ufunc, arguments: tuple[Any, ...]) -> "Number":
        if ufunc not in ARITHMETIC:
            raise Untraceable(f"numpy.{ufunc.__name__} of Python numbers that differ from call to call")
        function = ARITHMETIC[ufunc]
        number = Number(self, function(*example(arguments)))
        self.calls.append(Call("number", function, arguments, (number,)))
        return number

    def overwrite(self, function: Any, owned: tuple["Value", ...], others: tuple[Any, ...]) -> tuple["Value", ...]:
        """function(*owned, *others) puts its results in the place of `owned`."""
        results = tuple(Value(self, value.example) for value in owned)
        self.calls.append(Call("overwrite", function, (*owned, *others), results, (len(owned),)))
        return results


ARITHMETIC: dict[np.ufunc, Callable[..., Any]] = {
    np.add: operator.add,
    np.subtract: operator.sub,
    np.multiply: operator.mul,
    np.true_divide: operator.truediv,
    np.power: operator.pow,
    np.negative: operator.neg,
    np.bitwise_xor: operator.xor,
}
SIGNS: dict[Callable[..., Any], str] = {
    operator.add: "+",
    operator.sub: "-",
    operator.mul: "*",
    operator.truediv: "/",
    operator.neg: "-",
    operator.pow: "**",
    operator.xor: "^",
}


# What stands for arrays and numbers


def refuse(self: Any, *_: Any, **__: Any) -> Any:
    raise Untraceable("it asks for the numbers in an array, or decides by them: they differ from call to call")


class Recorded(np.lib.mixins.NDArrayOperatorsMixin):
    """The result of a call, or an argument of the function."""

    __slots__ = ("example", "number", "tape")

    def __init__(self, tape: Tape, example: Any) -> None:
        self.tape, self.example, self.number = tape, example, tape.count
        tape.count += 1

    __bool__ = __int__ = __float__ = __index__ = __complex__ = __array__ = __iter__ = __len__ = refuse
    __hash__ = object.__hash__

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None, **options: Any) -> Any:
        # With `out` it is x += y. A pure function does not look at what x was before, nor can others: hence x + y.
        if method == "__call__" and not options:
            if not any(isinstance(each, Value | np.ndarray | np.generic) for each in inputs):
                return self.tape.number(ufunc, inputs)
            return self.tape.call("elementwise" if ufunc.signature is None else "product", ufunc, inputs)
        if method == "reduce" and out is None and set(options) <= {"axis", "dtype", "keepdims"}:
            axis, dtype, keepdims = (options.get(name, default) for name, default in REDUCTION)
            return self.tape.call("reduction", ufunc.reduce, (*inputs, axis, dtype, None, keepdims))
        raise Untraceable(f"numpy.{ufunc.__name__}.{method} with {', '.join(options) or 'out'}")

    def __array_function__(self, function: Any, types: Any, arguments: Any, options: Any) -> Any:
        fixed = function is np.full_like and next(recorded_in((*arguments[1:], *options.values())), None) is None
        if function in LIKE or fixed:  # looks at no number
            return function(*example(arguments), **dict(zip(options, example(tuple(options.values())), strict=True)))
        if function is np.stack and options == {"axis": -1}:
            return np.concatenate([each[..., None] for each in arguments[0]], axis=-1)
        if function is np.concatenate and set(options) <= {"axis"}:
            axis = options.get("axis", 0)
            return self.tape.call("join", lambda *parts: np.concatenate(parts, axis), tuple(arguments[0]), (axis,))
        if next(recorded_in((*options.values(),)), None) is not None or options.get("out") is not None:
            raise Untraceable(f"numpy.{function.__name__} with {', '.join(options)}")
        return self.tape.call("fresh", partial(function, **options) if options else function, arguments)


REDUCTION = (("axis", 0), ("dtype", None), ("keepdims", False))
LIKE = (np.zeros_like, np.ones_like, np.empty_like)


class Value(Recorded):
    """An array. `example` has its shape, dtype and strides, and nothing but zeros."""

    __slots__ = ()
    device = "cpu"

    @property
    def dtype(self) -> Any:
        return self.example.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return self.example.shape

    @property
    def ndim(self) -> int:
        return self.example.ndim

    @property
    def size(self) -> int:
        return self.example.size

    @property
    def mT(self) -> "Value":
        return self.tape.call("fresh", np.matrix_transpose, (self,))

    T = property(lambda self: self.tape.call("fresh", np.transpose, (self,)))

    def __getitem__(self, index: Any) -> "Value":
        index = index if isinstance(index, tuple) else (index,)
        if any(isinstance(each, Value | np.ndarray | list) for each in index):
            raise Untraceable("an array as an index; `xp.take` can be recorded")
        return self.tape.call("fresh", item, (self, *index))

    def reshape(self, shape: Any) -> "Value":
        return self.tape.call("fresh", np.reshape, (self, shape))

    def astype(self, dtype: Any, copy: bool = True) -> "Value":
        if self.dtype == dtype and not copy:
            return self
        return self.tape.call("conversion", np.ndarray.astype, (self, np.dtype(dtype)))

    def take(self, indices: Any, axis: int | None = None) -> "Value":
        return self.tape.call("gather", take, (self, indices, axis))


class Number(Recorded):
    """A Python number. `example` is what it was when the function was recorded."""

    __slots__ = ()
    shape: tuple[int, ...] = ()
    ndim = 0

    def astype(self, dtype: Any, copy: bool = True) -> Value:
        return self.tape.call("fresh", converted, (self, np.dtype(dtype)))


def item(x: Array, *index: Any) -> Array:
    return x[index]


def take(x: Array, indices: Array, axis: int | None) -> Array:
    """`x.take(indices, axis)`, which makes a whole copy first of what stands for a data set: it has no memory."""
    return x.take(indices) if axis is None else x[(slice(None),) * (axis % x.ndim) + (indices,)]


def product(a: Array, b: Array) -> Array:
    """What stands for a product of matrices: there is no need to multiply zeros."""
    if min(np.ndim(a), np.ndim(b)) < 2 or a.shape[-1] != b.shape[-2]:
        return np.matmul(a, b)
    shape = (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1])
    return np.broadcast_to(np.zeros((), np.result_type(a.dtype, b.dtype)), shape)


def converted(number: float, dtype: Any) -> Array:
    return np.array(number).astype(dtype)


# Trees: tuples, lists and named tuples in one another


def leaves(tree: Any) -> Iterator[Any]:
    if isinstance(tree, tuple | list):
        for each in tree:
            yield from leaves(each)
    else:
        yield tree


def mapped(tree: Any, function: Callable[[Any], Any]) -> Any:
    """The same tree with function(leaf) for each leaf, from left to right."""
    if not isinstance(tree, tuple | list):
        return function(tree)
    made = [mapped(each, function) for each in tree]
    return type(tree)(*made) if hasattr(tree, "_fields") else type(tree)(made)


def recorded_in(tree: Any) -> Iterator[Recorded]:
    return (leaf for leaf in leaves(tree) if isinstance(leaf, Recorded))


def example(tree: Any) -> Any:
    """The tree with the examples of what was recorded."""
    return mapped(tree, lambda leaf: leaf.example if isinstance(leaf, Recorded) else leaf)


# The recording


@dataclass(frozen=True)
class Argument:
    """A leaf among the function's arguments."""

    name: str
    value: Any
    """What stands for it; itself where it is neither an array nor a number."""
    donated: bool
    held: bool = False

    @property
    def bound(self) -> bool:
        """Is it the same array from call to call?"""
        return isinstance(self.value, Value) and (self.donated or self.held)


@dataclass(frozen=True)
class Recording:
    arguments: tuple[Any, ...]
    """The tree of stand-ins that the function was given."""
    inputs: tuple[Argument, ...]
    """The leaves of `arguments`."""
    calls: tuple[Call, ...]
    outcome: Any
    """The tree that the function gave."""

    @property
    def paired(self) -> dict[int, Value]:
        """Which leaves of the outcome take the place of a donated argument: that of their own number among those."""
        donated = [each.value for each in self.inputs if each.donated]
        pairs = enumerate(zip(leaves(self.outcome), donated, strict=False))
        return {
            index: old
            for index, (new, old) in pairs
            if isinstance(new, Value) and isinstance(old, Value) and (new.shape, new.dtype) == (old.shape, old.dtype)
        }

    def same(self, other: "Recording") -> bool:
        """Do both do the same? A function that draws numbers of its own, or counts its calls, does not."""
        mine, theirs = ([*map(_described, each.calls)] for each in (self, other))
        return len(mine) == len(theirs) and all(map(_equal, mine, theirs))


def record(
    function: Callable[..., Any], arguments: tuple[Any, ...], donate: tuple[int, ...] = (), held: int = 0
) -> Recording:
    """What the function does to arguments of these shapes and dtypes; `Untraceable` where that cannot be said.

    The arguments at `donate`, and so many `held` ones at the beginning, are the same arrays from call to call.
    """
    tape = Tape()
    inputs: list[Argument] = []

    def stand_in(leaf: Any) -> Any:
        value = leaf
        if isinstance(leaf, np.ndarray | np.generic):
            # Whole data sets are among the arguments: what is only read needs no memory of its own.
            zero = tape.zeros((), leaf.dtype)
            whole = donated or kept
            value = Value(tape, tape.zeros(leaf.shape, leaf.dtype) if whole else np.broadcast_to(zero, leaf.shape))
        elif type(leaf) in (int, float):
            value = Number(tape, leaf)
        inputs.append(Argument(f"a{len(inputs)}", value, donated, kept))
        return value

    stand_ins = []
    for index, tree in enumerate(arguments):
        donated, kept = index in donate, index < held
        stand_ins.append(mapped(tree, stand_in))
    with np.errstate(all="ignore"):  # stand-ins are zeros
        outcome = function(*stand_ins)
    wanted = set(recorded_in(outcome))
    calls = []
    for call in reversed(tape.calls):  # those on which the outcome depends
        if wanted.intersection(call.results):
            calls.append(call)
            wanted.update(call.sources)
    tape.calls = []  # no circle: what was recorded goes when the recording does
    return Recording(tuple(stand_ins), tuple(inputs), tuple(calls[::-1]), outcome)


def _described(call: Call) -> list[Any]:
    parts = leaves((call.kind, call.arguments, call.options))
    return [("result", part.number) if isinstance(part, Recorded) else part for part in parts]


def _equal(mine: list[Any], theirs: list[Any]) -> bool:
    return len(mine) == len(theirs) and all(map(_alike, mine, theirs))


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray | np.generic):
        return np.array_equal(one, other, equal_nan=True)
    return one == other or (one != one and other != other)  # NaN is what it was before
