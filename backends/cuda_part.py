"""What a block of a CUDA kernel's threads computes: some values of a recorded function, from those that are stored.

Whatever lies between is computed where it is wanted, element by element: from the index of an element of the result
follow those of the operands, through broadcasting, views and gathers. Sums and maxima along a line (a row or a column)
are taken by the threads that share the line; what comes after them is a loop of its own.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from .cuda_words import TYPES, constant, is_known, literal, number_type, written
from .tape import Call, Number, Untraceable, Value, converted, item, leaves

THREADS, MOST_BLOCKS = 256, 1024
LONGEST = 8192
"""The longest line that a few threads go along."""
LARGEST, PASSES = 300, 4
"""The most calls in one part, and the most sums after one another: what lies between is computed anew after each."""
LARGE = 2**30
Index = tuple[str, ...]

PRELUDE = f"""\
#ifndef THREADS
#define THREADS {THREADS}
#endif
template <class T> struct Sum {{ static __device__ T of(T a, T b) {{ return a + b; }} }};
template <class T> struct Largest {{ static __device__ T of(T a, T b) {{ return a != a || a > b ? a : b; }} }};
template <class T> struct Least {{ static __device__ T of(T a, T b) {{ return a != a || a < b ? a : b; }} }};
// What the threads of a line have, as one: each has its place in the room, `apart` from the next one's.
template <template <class> class Merged, class T>
static __device__ T over_line(T mine, double* room, int lane, int lanes, int apart) {{
    T* place = (T*)room + threadIdx.x;
    *place = mine;
    __syncthreads();
    for (int half = lanes / 2; half > 0; half /= 2) {{
        if (lane < half) *place = Merged<T>::of(*place, place[half * apart]);
        __syncthreads();
    }}
    const T all = place[-lane * apart];
    __syncthreads();
    return all;
}}
"""
MERGED = {np.add.reduce: "Sum", np.maximum.reduce: "Largest", np.minimum.reduce: "Least"}
VIEWS = (item, np.reshape, np.matrix_transpose, np.transpose, np.broadcast_to)


class Unfit(Untraceable):
    """These values cannot be computed by one part. `cut` is one that may better be stored before."""

    def __init__(self, reason: str, cut: Value | None = None) -> None:
        super().__init__(reason)
        self.cut = cut


def is_view(call: Call) -> bool:
    """Is it another order of the same elements?"""
    return call.function in VIEWS and not (call.function is np.transpose and len(call.arguments) > 1)


def is_computed(call: Call) -> bool:
    """Can a part compute it?"""
    arrays = [each for each in leaves((call.results, call.arguments)) if isinstance(each, Value | np.ndarray)]
    if not all(each.size and each.dtype in TYPES for each in arrays):
        return False
    if call.kind == "reduction":
        return isinstance(call.arguments[0], Value) and _along(call) is not None
    if call.kind == "gather":
        x, rows, axis = call.arguments
        return isinstance(x, Value) and isinstance(rows, Value) and axis in (0, -x.ndim) and rows.dtype.kind in "iu"
    return is_view(call) or (_elementwise(call) and is_known(call))


def _elementwise(call: Call) -> bool:
    return call.kind in ("elementwise", "conversion") or call.function in (np.where, converted)


def _along(call: Call) -> int | None:
    """The axis of a reduction, counted from the end, where it is a row or a column of its operand."""
    x, axis, *_ = call.arguments
    if isinstance(axis, tuple):
        axis = axis[0] if len(axis) == 1 else None
    if axis is None and x.ndim == 1:
        axis = -1
    if axis is None or x.ndim == 0 or call.function not in MERGED:
        return None
    axis = axis - x.ndim if axis >= 0 else axis
    kind = call.results[0].dtype
    known = kind in TYPES and (kind.kind == "f" or call.function is np.add.reduce)
    return axis if axis >= -2 and x.shape[axis] <= LONGEST and known else None


@dataclass
class Parameters:
    """What a kernel is given, with the name and type of each."""

    names: dict[Any, str] = field(default_factory=dict)
    things: dict[str, Any] = field(default_factory=dict)
    """Recorded values, numbers, and constant arrays by name."""
    types: dict[str, str] = field(default_factory=dict)

    def name(self, thing: Any, written_to: bool = False) -> str:
        key = (id(thing), written_to)
        if key not in self.names:
            name = self.names[key] = f"{'q' if written_to else 'p'}{len(self.names)}"
            self.things[name] = thing
            if isinstance(thing, Number):
                self.types[name] = f"const {number_type(thing)}* at_{name}"
            else:
                self.types[name] = f"{'' if written_to else 'const '}{TYPES[thing.dtype]}* {name}"
        return self.names[key]

    def loads(self) -> list[str]:
        """The statements that take the numbers out of memory."""
        numbers = ((name, thing) for name, thing in self.things.items() if isinstance(thing, Number))
        return [f"const {number_type(thing)} {name} = *at_{name};" for name, thing in numbers]


class Part:
    """maker: the call that computes a value, and sources what that reads, where parts can. `roots` are to be stored."""

    def __init__(
        self,
        maker: dict[Value, Call],
        sources: dict[Value, list[Value]],
        donated: set[Value],
        stored: Any,
        roots: Sequence[Value],
    ) -> None:
        self.roots, self.own = tuple(roots), set(roots)
        self._maker, self._sources, self._donated, self._stored = maker, sources, donated, stored
        self._level: dict[Value, int] = {}
        """Of a value the number of reductions that follow one another before it."""
        self.order: list[Value] = []
        self.order = list(self._inlined())
        self._reductions = dict.fromkeys(each for each in self.order if maker[each].kind == "reduction")
        self.domain, self._axis = self._shape()
        self.blocks = 0

    def is_loaded(self, value: Value) -> bool:
        """Is it stored by others? What was not when this part was made is computed here for good."""
        if self.order:
            return value not in self._level
        return value not in self._maker or (value in self._stored and value not in self.own)

    @cached_property
    def leaves(self) -> set[Value]:
        """The stored values that it loads."""
        return {each for value in self.order for each in self._sources[value] if self.is_loaded(each)}

    def suits(self, other: "Part") -> bool:
        """May one part do both?"""
        mine, theirs = (each.domain for each in (self, other))
        if self._axis is None or other._axis is None:
            return mine == theirs or len(mine) != len(theirs) or prod(mine) != prod(theirs)
        return mine == theirs and self._axis == other._axis

    def _inlined(self) -> Iterator[Value]:
        """What is computed here, each after what it is computed from."""
        waiting = list(reversed(self.roots))
        while waiting:
            value = waiting[-1]
            if value in self._level:
                waiting.pop()
                continue
            call = self._maker[value]
            sources = [each for each in self._sources[value] if not self.is_loaded(each)]
            missing = [source for source in sources if source not in self._level]
            if missing:
                waiting += missing
                continue
            self._level[value] = max((self._level[each] for each in sources), default=0) + (call.kind == "reduction")
            if len(self._level) > LARGEST:
                raise Unfit("too many calls for one kernel", value)
            if self._level[value] > PASSES:
                raise Unfit("too many sums after one another", self._before(value))
            waiting.pop()
            yield value

    def _before(self, value: Value) -> Value:
        """The last sum before this one."""
        while True:
            value = max((each for each in self._sources[value] if each in self._level), key=self._level.__getitem__)
            if self._maker[value].kind == "reduction":
                return value

    def _shape(self) -> tuple[tuple[int, ...], int | None]:
        """The shape of what its threads share among them, and the axis along the lines."""
        found = {(self._maker[each].arguments[0].shape, _along(self._maker[each])) for each in self._reductions}
        if len(found) > 1 or (not found and len({root.shape for root in self.roots}) > 1):
            raise Unfit("several shapes in one part", next(iter(self._reductions), None))
        return next(iter(found)) if found else (self.roots[0].shape, None)

    # The source

    def lines(self, parameters: Parameters) -> list[str]:
        """The statements of a part; sets `blocks`, how many blocks it takes, and `in_place`."""
        self._parameters = parameters
        self._line: list[str] = []
        """Statements of which a line needs one for all its elements."""
        self._inner: list[str] = []
        self._known_line: dict[tuple[int, Index], str] = {}
        self._known_inner: dict[tuple[int, Index], str] = {}
        self._deep = {"e"}
        """The names of what differs from element to element."""
        self._depths: dict[Index, bool] = {}
        self._count, self._largest = 0, prod(self.domain)
        self._loads: dict[Value, set[tuple[Index, bool]]] = {}
        body = self._each() if self._axis is None else self._by_lines()
        return [f"typedef {'long long' if self._largest >= LARGE else 'int'} index;", *body]

    def can_replace(self, root: Value, old: Value) -> bool:
        """May the root be written over an array that this part alone reads, so that none is read after its time?"""
        index, once = self._stores[root]
        return all(each == (index, not once) for each in self._loads.get(old, ())) and (once or self._axis is None)

    def _each(self) -> list[str]:
        size = prod(self.domain)
        self.blocks = max(1, min(-(-size // THREADS), MOST_BLOCKS))
        self._index, split = _split("e", self.domain)
        self._deep.update(each for each in self._index if each != "0")
        self._whole = {(self._index, self.domain): "e"} if size > 1 else {}
        self._stores = dict.fromkeys(self.roots, (self._index, False))
        for root in self.roots:
            self._value(root, self._index)  # before anything is written
        stores = [self._store(root, self._index) for root in self.roots]
        loop = f"for (index e = (index)block * THREADS + t; e < {size}; e += (index)blocks * THREADS) {{"
        return [*self._line, loop, *split, *self._inner, *stores, "}"]

    def _by_lines(self) -> list[str]:
        axis = len(self.domain) + (self._axis or 0)
        length = self.domain[axis]
        shape = self.domain[:axis] + self.domain[axis + 1 :]
        count = prod(shape)
        of_line, split = _split("line", shape)
        self._whole = {}
        self._index = (*of_line[:axis], "e" if length > 1 else "0", *of_line[axis:])
        self._of_line = {True: (*of_line[:axis], "0", *of_line[axis:]), False: of_line}
        if self._axis == -1:  # neighbours share a row
            wide = min(max(_power(length), 8), 32) if length <= 1024 else THREADS
            mapping = [
                f"const int lanes = {wide} < THREADS ? {wide} : THREADS, width = THREADS / lanes, apart = 1;",
                "const int lane = t % lanes, which = t / lanes;",
            ]
            width = THREADS // wide
        else:  # neighbours have neighbouring columns
            width = min(_power(shape[-1] if shape else 1), 8)
            mapping = [
                f"const int width = {width} < THREADS ? {width} : 1, lanes = THREADS / width, apart = width;",
                "const int lane = t / width, which = t % width;",
            ]
        self.blocks = max(1, min(-(-count // width), MOST_BLOCKS))
        stores = {root: self._place(root, shape) for root in self.roots}
        self._stores = stores
        body: list[str] = []
        last = max([self._level[each] for each in self._reductions])
        for level in range(last + 1):
            body += self._loop(level, stores, length)
        for root, (index, once) in stores.items():
            if once:
                self._value(root, index)
        final = [self._store(root, index) for root, (index, once) in stores.items() if once]
        final = [f"if (there && lane == 0) {{ {' '.join(final)} }}"] if final else []
        outer = f"for (index from = (index)block * width; from < {count}; from += (index)blocks * width) {{"
        clamped = [
            f"const bool there = from + which < {count};",
            f"const index line = there ? from + which : {count - 1};",
        ]
        return [*mapping, outer, *clamped, *split, *body, *self._line, *final, "}"]

    def _place(self, root: Value, shape: tuple[int, ...]) -> tuple[Index, bool]:
        """The index of a root, and whether a line has only one."""
        axis = len(self.domain) + (self._axis or 0)
        if root.shape == self.domain and root not in self._reductions:
            return self._index, False
        if root.shape == (*self.domain[:axis], 1, *self.domain[axis + 1 :]):
            return self._of_line[True], True
        if root.shape == shape:
            return self._of_line[False], True
        raise Unfit("several shapes in one part")

    def _loop(self, level: int, stores: dict[Value, tuple[Index, bool]], length: int) -> list[str]:
        """One pass over the elements of a line."""
        self._inner, self._known_inner = [], {}
        merged = [each for each in self._reductions if self._level[each] == level + 1]
        kept = [each for each, (_, once) in stores.items() if not once and self._level[each] == level]
        start, after = [], []
        for number, each in enumerate(merged):
            call, kind = self._maker[each], TYPES[each.dtype]
            word = self._value(call.arguments[0], self._index)
            name, mine = self._name(), f"mine{level}_{number}"
            how = MERGED[call.function]
            none = {"Sum": "0", "Largest": "-1.0 / 0.0", "Least": "1.0 / 0.0"}[how]
            start.append(f"{kind} {mine} = ({kind})({none});")
            self._inner.append(f"{mine} = {how}<{kind}>::of({mine}, ({kind}){word});")
            after.append(f"const {kind} {name} = over_line<{how}, {kind}>({mine}, room, lane, lanes, apart);")
            self._known_line[id(each), self._of_line[each.ndim == len(self.domain)]] = name
        for root in kept:
            self._value(root, self._index)
        self._inner += [self._store(root, self._index) for root in kept]
        before, self._line = self._line, []
        if not merged and not kept:
            return before
        loop = f"for (index e = lane; there && e < {length}; e += lanes) {{"
        return [*before, *start, loop, *self._inner, "}", *after]

    def _store(self, root: Value, index: Index) -> str:
        name = self._parameters.name(root, written_to=True)
        return f"{name}[{self._offset(index, root.shape)}] = {self._value(root, index)};"

    def _name(self) -> str:
        self._count += 1
        return f"v{self._count}"

    def _stated(self, kind: str, value: str, index: Index) -> str:
        """A statement that gives a value a name."""
        name = self._name()
        if self._is_deep(index):
            self._deep.add(name)
            self._inner.append(f"const {kind} {name} = {value};")
        else:
            self._line.append(f"const {kind} {name} = {value};")
        return name

    def _is_deep(self, index: Index) -> bool:
        """Does it differ from element to element of a line?"""
        found = self._depths.get(index)
        if found is None:
            found = self._depths[index] = any(w in self._deep for each in index for w in re.findall(r"[a-z]\w*", each))
        return found

    def _value(self, value: Value, index: Index) -> str:
        """The name of one element of a value."""
        key = id(value), index
        found = self._known_line.get(key) or self._known_inner.get(key)
        if found is None:
            loaded = self.is_loaded(value) or self._is_cut(value)
            found = self._load(value, index) if loaded else self._computed(value, index)
            (self._known_inner if self._is_deep(index) else self._known_line)[key] = found
        return found

    def _is_cut(self, value: Value) -> bool:
        """Is it a part of a donated array, that is cut once? Then layers of one shape have kernels in common."""
        base = value
        while not self.is_loaded(base):
            call = self._maker[base]
            if not is_view(call) or call.kind != "view" or len(list(call.sources)) != 1:
                return False
            (base,) = self._sources[base]
        if base not in self._donated or not value.example.flags.c_contiguous:
            return False
        self._loads.setdefault(base, set()).add((("a part",), False))  # so it cannot be written over here
        return True

    def _load(self, value: Any, index: Index) -> str:
        if isinstance(value, Value):
            self._loads.setdefault(value, set()).add((index, self._is_deep(index) or self._axis is None))
        self._largest = max(self._largest, value.size)
        name = self._parameters.name(value)
        return self._stated(TYPES[value.dtype], f"{name}[{self._offset(index, value.shape)}]", index)

    def _computed(self, value: Value, index: Index) -> str:
        call = self._maker[value]
        if is_view(call):
            return self._value(call.arguments[0], self._viewed(call, index))
        if call.kind == "gather":
            x, rows, _ = call.arguments
            at = index[: rows.ndim]
            row, last = self._value(rows, at), x.shape[0] - 1
            row = self._stated("index", f"{row} < 0 ? 0 : {row} > {last} ? {last} : (index){row}", at)
            return self._value(x, (row, *index[rows.ndim :]))
        if call.kind == "reduction":
            raise Unfit("a sum is not of this line")
        expression = written(call, lambda each, dtype: self._word(each, dtype, index))
        return self._stated(TYPES[value.dtype], expression, index)

    def _word(self, thing: Any, dtype: np.dtype, index: Index) -> str:
        """An argument of an elementwise call, as this dtype."""
        number = constant(thing)
        if number is not None:
            return literal(number, dtype)
        if isinstance(thing, Number):
            return f"(({TYPES[dtype]}){self._parameters.name(thing)})"
        index = _broadcast(index, thing.shape)
        if isinstance(thing, Value):
            word = self._value(thing, index)
        else:
            key = id(thing), index
            word = self._known_line.get(key) or self._known_inner.get(key) or self._load(thing, index)
            (self._known_inner if self._is_deep(index) else self._known_line)[key] = word
        return word if thing.dtype == dtype else f"(({TYPES[dtype]}){word})"

    # Indices

    def _viewed(self, call: Call, index: Index) -> Index:
        """The index of an element of a view in what it is a view of."""
        x, *others = call.arguments
        if call.function is np.matrix_transpose:
            return (*index[:-2], index[-1], index[-2])
        if call.function is np.transpose:
            return index[::-1]
        if call.function is np.broadcast_to:
            return _broadcast(index, x.shape)
        if call.function is item:
            return tuple(self._cut(x, others, index))
        shape = call.results[0].shape
        long = [(each, length) for each, length in zip(index, shape, strict=True) if length > 1]
        if [length for _, length in long] == [length for length in x.shape if length > 1]:
            words = iter([each for each, _ in long])
            return tuple("0" if length == 1 else next(words) for length in x.shape)
        place = self._stated("index", self._offset(index, shape), index)
        found, _ = _split(place, x.shape, inline=True)
        return found

    def _cut(self, x: Value, cuts: list[Any], index: Index) -> Iterator[str]:
        words, axis = list(index), 0
        explicit = sum(each is not None and each is not Ellipsis for each in cuts)
        for each in cuts if Ellipsis in [c for c in cuts if c is Ellipsis] else [*cuts, Ellipsis]:
            if each is None:
                words.pop(0)
                continue
            if each is Ellipsis:
                for _ in range(x.ndim - explicit):
                    yield words.pop(0)
                    axis += 1
                continue
            if isinstance(each, slice):
                if not all(part is None or type(part) is int for part in (each.start, each.stop, each.step)):
                    raise Unfit("a slice whose ends differ from call to call")
                start, _, step = each.indices(x.shape[axis])
                word = words.pop(0)
                word = word if step == 1 or word == "0" else f"({step} * {word})"
                yield word if start == 0 else str(start) if word == "0" else f"({start} + {word})"
            elif isinstance(each, Number):
                name = self._parameters.name(each)
                if number_type(each) != "long long":
                    raise Unfit("an index that is not an integer")
                yield f"(index)({name} < 0 ? {name} + {x.shape[axis]} : {name})"
            else:
                yield str(range(x.shape[axis])[each])
            axis += 1

    def _offset(self, index: Index, shape: tuple[int, ...]) -> str:
        """Where an element lies in an array without gaps."""
        if (index, shape) in self._whole:
            return self._whole[index, shape]
        terms, stride = [], 1
        for word, length in zip(reversed(index), reversed(shape), strict=True):
            if word != "0" and length > 1:
                terms.append(word if stride == 1 else f"{word} * {stride}")
            stride *= length
        return " + ".join(reversed(terms)) or "0"


def _broadcast(index: Index, shape: tuple[int, ...]) -> Index:
    used = index[len(index) - len(shape) :]
    return tuple("0" if length == 1 else word for word, length in zip(used, shape, strict=True))


def _split(place: str, shape: tuple[int, ...], inline: bool = False) -> tuple[Index, list[str]]:
    """The index of element number `place` of an array of this shape, and the statements that compute it."""
    index, lines = [], []
    long = [axis for axis, length in enumerate(shape) if length > 1]
    stride = prod(shape)
    for axis, length in enumerate(shape):
        stride //= length
        if length == 1:
            index.append("0")
            continue
        word = place if stride == 1 else f"({place} / {stride})"
        word = word if axis == long[0] else f"({word} % {length})"
        if not inline and word != place:
            lines.append(f"const index x{axis} = {word};")
            word = f"x{axis}"
        index.append(word)
    return tuple(index), lines


def _power(number: int) -> int:
    """The smallest power of two that is not less."""
    return 1 << (number - 1).bit_length()
