"""A recorded function as a straight list of products and of kernels made for it, in memory that is kept.

Numbers that differ from call to call are put into memory of the device by one kernel before all others. So the others
are launched with the same arguments in every call, and can be replayed as a CUDA graph.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from math import isfinite
from typing import Any

import numpy as np

from .arrays import Arrays
from .compiled import Compiled
from .cublas import Products
from .cuda_fusion import Kernel, regrouped
from .cuda_kernel import launcher
from .cuda_part import THREADS, is_view
from .cuda_replay import Replay
from .cuda_words import number_type
from .elementwise import CUDA, Loop
from .lean import lean
from .memory import Arena, Memory
from .on_numpy import NumPyBackend
from .program import Program, Writer
from .tape import Array, Call, Number, Recorded, Recording, Untraceable, Value, leaves, mapped

REDUCTIONS = {
    np.add.reduce: "sum",
    np.multiply.reduce: "prod",
    np.maximum.reduce: "max",
    np.minimum.reduce: "min",
    np.logical_and.reduce: "all",
    np.logical_or.reduce: "any",
}


class Recorder(NumPyBackend):
    """NumPy to record a function with that CuPy is to run: an update rule is one kernel."""

    def __init__(self, cupy: Any, half: Callable[[str], Any]) -> None:
        super().__init__()
        self._cupy, self._half = cupy, half

    def half(self, name: str) -> Any:
        return self._half(name)

    def fuse(self, rule: Callable[..., Any]) -> Callable[..., Any]:
        def update(p: Any, g: Any, slots: tuple[Any, ...], coefficients: Any, vectors: Any) -> Any:
            arrays = p, g, *slots, *(vector for vector in vectors if vector is not None)
            loop = looped(rule, arrays, (p, g, slots, coefficients, vectors))
            if loop is None:
                return rule(lean, p, g, slots, coefficients, vectors)
            launch = launcher(self._cupy.RawKernel, loop, in_memory=True)

            def in_place(p: Any, *others: Any) -> None:
                *slots, g, numbers, vectors = others
                launch([p, g, *slots, *(vector for vector in vectors if vector is not None)], numbers)

            p, *new = p.tape.overwrite(in_place, (p, *slots), (g, coefficients, vectors))
            return p, tuple(new)

        return update


def looped(rule: Callable[..., Any], arrays: tuple[Any, ...], arguments: tuple[Any, ...]) -> Loop | None:
    """The rule as the body of a loop, if it is elementwise and all its arrays are alike."""
    p, g, slots, coefficients, vectors = arguments
    if not all(isinstance(each, Value) and (each.shape, each.dtype) == (p.shape, p.dtype) for each in arrays):
        return None
    numbers = [each.example if isinstance(each, Recorded) else float(each) for each in coefficients]
    if not all(type(each) is float for each in numbers):
        return None
    try:
        return Loop(rule, (p, g, slots, numbers, vectors), p.dtype.name, CUDA)
    except Exception:  # whatever a stand-in is not fit for
        return None


class CudaCompiled(Compiled):
    """A pure function that is recorded from the shapes of CuPy's arrays alone, and from then on replayed on the GPU.

    Each program is tried first, on copies of what is donated, beside the function as it is: where it fails, or gives
    something else, the function runs as it is. It is a graph where its products are those of `products`, and nothing
    in it takes what differs from call to call from the host.
    """

    def __init__(
        self,
        cupy: Any,
        function: Callable[..., Any],
        donate: tuple[int, ...],
        plain: Callable[..., Any],
        reason: str,
        products: Products | None = None,
    ) -> None:
        super().__init__(function, donate, Arrays(cupy.ndarray), plain, reason)
        self._cupy, self._products = cupy, products
        self._arena = Arena(lambda nbytes: cupy.empty(nbytes, dtype=cupy.uint8))

    def _seen(self, leaf: Any) -> Any:
        if not self._is_array(leaf):
            return leaf
        return np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape)  # no number leaves the device

    def _written(self, recording: Recording, arguments: tuple[Any, ...]) -> Program:
        grouped, source = regrouped(recording)
        program = CudaWriter(grouped, self._arena, self._arrays, self._cupy, source, self._products).program()
        self._try(program, arguments)
        return program

    def _try(self, program: Program, arguments: tuple[Any, ...]) -> None:
        def copied(tree: Any) -> Any:
            return mapped(tree, lambda leaf: leaf.copy() if self._is_array(leaf) else leaf)

        def fresh() -> tuple[Any, ...]:
            return tuple(copied(each) if index in self._donate else each for index, each in enumerate(arguments))

        mine, theirs = program.run(*program.bind(fresh())), self._plain(*fresh())
        if not self._all_agree(mine, theirs, [arguments[index] for index in self._donate]):
            raise Untraceable("kernels made for it gave other numbers than the step as it is written")
        replay: Replay | None = program.space.get("replay")
        if replay is not None:  # it gives what becomes of the first argument: another step from there is a graph
            for one, other in zip(leaves(mine), leaves(theirs), strict=True):
                if self._is_array(other):
                    self._cupy.copyto(one, other)
            before, others = copied(theirs), arguments[1:]
            if not self._all_agree(program.run(mine, *others), self._plain(theirs, *others), before):
                replay.give_up("its graph gave other numbers than the step as it is written")

    def _all_agree(self, mine: Any, theirs: Any, before: Any) -> bool:
        known = [*leaves(before)]
        known += [None] * (len(list(leaves(theirs))) - len(known))
        found = zip(leaves(mine), leaves(theirs), known, strict=False)
        return all(self._agree(one, other, old) for one, other, old in found if self._is_array(other))

    def _agree(self, one: Any, other: Any, old: Any) -> bool:
        """Does a kernel do the right thing? Not the same: where a gradient is nothing but rounding, signs differ."""
        if one.shape != other.shape or one.dtype != other.dtype:
            return False
        if other.dtype.kind != "f":
            return True  # such as counts, which a rounded sum can tip over
        known = old is not None and old.shape == other.shape
        error, change = self._norm(one - other), self._norm(other - old if known else other)
        rounding = 16 * float(np.finfo(other.dtype).eps) * self._norm(other)
        return error <= (0.5 if other.ndim else 0.02) * change + rounding or not isfinite(change)

    def _is_array(self, leaf: Any) -> bool:
        return isinstance(leaf, self._arrays.kind)

    def _norm(self, x: Any) -> float:
        return float(self._cupy.sqrt(self._cupy.sum(x * x)))


class CudaWriter(Writer):
    """Writes a program for CuPy's arrays."""

    def __init__(
        self, recording: Recording, arena: Arena, arrays: Arrays, cupy: Any, source: str, products: Products | None
    ) -> None:
        super().__init__(recording, True, arena, arrays)
        self._cupy, self._space["copyto"] = cupy, cupy.copyto
        self._module = cupy.RawModule(code=source)
        self._products = products
        self._numbers: list[str] = []
        """The lines that compute numbers on the host."""
        self._cells: dict[Any, Array] = {}
        """Where a number lies on the device."""
        count = sum(isinstance(each.value, Number) for each in recording.inputs)
        count += sum(call.kind == "number" for call in recording.calls)
        self._memory = cupy.empty(max(8 * count, 1), dtype=cupy.uint8)
        self._obstacle = "" if products is not None else "CuPy multiplies with another library than cuBLAS"
        """Why there can be no graph."""

    def _seen(self) -> Iterator[str]:
        """Kernels and products take what is given to lie without gaps."""
        for each in self._recording.inputs:
            if isinstance(each.value, Value) and each.value not in self._fixed:
                given = self._given(each)
                yield f"{each.name} = {given} if {given}.flags.c_contiguous else {given}.copy()"

    def _arranged(self, seen: list[str], lines: list[str], constant: bool) -> list[str]:
        before = [*seen, *self._numbers, *self._told()]
        if self._obstacle or not constant or not lines:
            return [*before, *lines]
        assert self._products is not None
        self._space["replay"] = Replay(self._cupy, self._products)
        arrays = (each.name for each in self._recording.inputs if isinstance(each.value, Value))
        return [
            *before,
            "def launches():",
            *(f"    {line}" for line in lines),
            f"replay(launches, {', '.join(arrays)})",
        ]

    def _told(self) -> Iterator[str]:
        """The line that puts the numbers where kernels read them."""
        told = [each for each in self._cells if isinstance(each, Number)]
        if told:
            kernel = self._word(self._cupy.RawKernel(numbers_source(told), NUMBERS))
            memory, words = self._word(self._memory), ", ".join(map(self._word, told))
            yield f"{kernel}((1,), ({THREADS},), ({memory}, {words}))"

    def _cell(self, number: Any) -> Any:
        """The array that a number is in; other things as they are."""
        if not isinstance(number, Number) and type(number) not in (int, float):
            return number
        if number not in self._cells:
            if isinstance(number, Number):
                place = 8 * sum(isinstance(each, Number) for each in self._cells)
                kind = np.int64 if number_type(number) == "long long" else np.float64
                self._cells[number] = self._memory[place : place + 8].view(kind)
            else:
                self._cells[number] = self._cupy.asarray(np.array([number], np.float64))
        return self._cells[number]

    def _written(self, index: int, call: Call) -> Iterator[str]:
        if call.kind == "number":
            self._numbers += super()._written(index, call)
            return
        if call.kind == "overwrite":
            call = replace(call, arguments=mapped(call.arguments, self._cell))
        elif call.kind != "kernel":
            self._obstacle = self._obstacle or obstacle(call)
        if call.kind == "kernel":
            self._plan.release(index)
            yield self._launch(index, call)
        elif call.kind == "view" and is_view(call):
            yield from super()._written(index, replace(call, function=self._own(call.function)))
        elif call.kind in ("view", "fresh"):  # whatever CuPy makes of it; kernels want it without gaps
            self._plan.release(index)
            name = self._names[call.results[0]] = f"v{call.results[0].number}"
            yield f"{name} = {self._word(call.function)}({', '.join(map(self._word, call.arguments))})"
            gaps = "" if call.kind == "view" else f"if not {name}.flags.c_contiguous: "
            yield f"{gaps}{name} = {name}.copy()"
        else:
            yield from super()._written(index, call)

    def _launch(self, index: int, call: Call) -> str:
        kernel: Any = call.function
        words = {}
        for root in call.results:
            words[root] = self._stored(index, kernel, root)
        things = kernel.parameters.things.items()
        given = [words[thing] if thing_is_written(name) else self._word(self._cell(thing)) for name, thing in things]
        function = self._word(self._module.get_function(kernel.name))
        return f"{function}(({kernel.blocks},), ({THREADS},), ({', '.join(given)},))"

    def _stored(self, index: int, kernel: Kernel, root: Value) -> str:
        """The name of the array that a kernel writes a root to: a donated one where nobody reads that any more."""
        memory = self._plan.of[root]
        for leaf, old in self._paired.items():
            if self._outcome[leaf] is root and memory.owner == "pool" and self._is_free(index, kernel, root, old):
                self._plan.of[root], self._names[root] = self._plan.of[old], self._names[old]
                self._fixed.add(root)
                return self._names[root]
        name = self._names[root] = f"v{root.number}"
        self._space[name] = self._plan.place(memory)[: memory.nbytes].view(root.dtype).reshape(root.shape)
        self._fixed.add(root)
        return name

    def _is_free(self, index: int, kernel: Kernel, root: Value, old: Value) -> bool:
        memory: Memory = self._plan.of[old]
        if memory.last < index:
            return True
        reading = [part for part in kernel.parts if any(self._plan.of[leaf] is memory for leaf in part.leaves)]
        alone = memory.last == index and len(reading) == 1 and any(each is root for each in reading[0].roots)
        return alone and reading[0].can_replace(root, old)

    def _writing(self, call: Call, words: list[str], target: str) -> str:
        cupy = self._cupy
        if call.kind == "gather":
            return f"{words[0]}.take({words[1]}, {words[2]}, {target})"
        if call.kind == "reduction":
            name = REDUCTIONS.get(call.function)
            if name is None:
                raise Untraceable(f"{call.function} is not known to CuPy")
            x, axis, dtype, _, keepdims = words
            asked = f", dtype={dtype}" if call.arguments[2] is not None else ""
            return f"{self._word(getattr(cupy, name))}({x}, axis={axis}, out={target}, keepdims={keepdims}{asked})"
        if call.kind == "product" and call.function is np.matmul:
            flat = is_flat(call)
            words.append(target if flat else f"out={target}")  # `matmul` itself takes several times as long to start
            dot = cupy.dot if self._products is None else self._products.dot
            return f"{self._word(dot if flat else cupy.matmul)}({', '.join(words)})"
        return super()._writing(call, words, target)

    def _joined(self, call: Call, target: str) -> Iterator[str]:
        whole = self._space[target]
        for place, part, there in self._plan.parts[call.results[0]]:
            if there:
                continue
            there_it_lies = whole[place]
            if isinstance(part, Recorded):
                shaped = "" if np.shape(part.example) == there_it_lies.shape else ".reshape(-1)"
                yield f"copyto({self._word(there_it_lies)}, {self._word(part)}{shaped})"
            elif self._plan.of[call.results[0]].owner == "pool":
                yield f"copyto({self._word(there_it_lies)}, {self._word(np.reshape(part, there_it_lies.shape))})"
            else:  # the same in every call, and nobody else writes there
                self._cupy.copyto(there_it_lies, self._cupy.asarray(np.reshape(part, there_it_lies.shape)))

    def _word(self, thing: Any) -> str:
        if isinstance(thing, np.ndarray) and not isinstance(thing, self._arrays.kind):
            if id(thing) not in self._constants:
                name = self._constants[id(thing)] = f"c{len(self._constants)}"
                self._space[name], self._space[f"kept_{name}"] = self._cupy.asarray(thing, order="C"), thing
            return self._constants[id(thing)]
        if callable(thing) and not isinstance(thing, Recorded):
            thing = self._own(thing)
        return super()._word(thing)

    def _own(self, function: Any) -> Any:
        """CuPy's function in place of NumPy's."""
        if isinstance(function, partial):
            return partial(self._own(function.func), **function.keywords)
        name = getattr(function, "__name__", "")
        if getattr(np, name, None) is not function:
            return function
        if function is np.matrix_transpose:
            return transposed
        if not hasattr(self._cupy, name):
            raise Untraceable(f"CuPy has no {name}")
        return getattr(self._cupy, name)


NUMBERS = "kernel_numbers"


def numbers_source(numbers: list[Number]) -> str:
    """A kernel that writes what it is given as arguments into memory, one after the other, 8 bytes each."""
    kinds = [number_type(each) for each in numbers]
    given = ", ".join(f"const {kind} n{place}" for place, kind in enumerate(kinds))
    lines = "\n".join(f"    *({kind}*)(to + {8 * place}) = n{place};" for place, kind in enumerate(kinds))
    return f"""\
extern "C" __global__ void {NUMBERS}(char* to, {given}) {{
    if (threadIdx.x != 0) return;
{lines}
}}
"""


REPLAYED = ("elementwise", "reduction", "conversion", "gather", "join")
"""Kinds of calls that are launches and nothing else."""


def is_flat(call: Call) -> bool:
    """Is it a product of matrices?"""
    return call.function is np.matmul and all(each.ndim <= 2 for each in call.arguments)


def obstacle(call: Call) -> str:
    """Why a call that is no kernel cannot be part of a graph: it takes a number, or who knows what, from the host."""
    if any(isinstance(each, Number) for each in call.sources):
        return "an array is cut at, or met by, a number that differs from step to step"
    if is_flat(call) or call.kind in REPLAYED or (is_view(call) and (call.kind == "view" or not call.results[0].size)):
        return ""
    function = getattr(call.function, "func", call.function)
    return "" if function in (np.argmax, np.argmin) else f"a step calls CuPy's {function.__name__}"


def thing_is_written(name: str) -> bool:
    return name.startswith("q")


def transposed(x: Any) -> Any:
    return x.swapaxes(-1, -2)
