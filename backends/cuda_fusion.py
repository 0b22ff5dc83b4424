"""A recording for a CUDA device: its elementwise calls, gathers and sums along lines, put together into kernels.

A value is stored only where somebody wants it in memory: a matrix product, what is joined, the outcome. It is computed
by a kernel that exists already where one may, with what that has loaded, else beside what that computes, else by a
kernel of its own.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np

from .cuda_part import LONGEST, PRELUDE, THREADS, Parameters, Part, Unfit, is_computed, is_view
from .tape import Call, Recorded, Recording, Value, recorded_in

MOST_PARAMETERS = 60
LOOKED_AT = 8
"""So many of the last kernels are asked whether they could compute a value too."""


@dataclass(eq=False)
class Kernel:
    """Parts, each for blocks of its own."""

    parts: list[Part]
    position: int
    """Its number among the steps."""
    parameters: Parameters = field(default_factory=Parameters)
    blocks: int = 0
    name: str = ""

    @property
    def roots(self) -> tuple[Value, ...]:
        return tuple(root for part in self.parts for root in part.roots)

    def write(self, names: dict[str, str]) -> None:
        """Set its name, that of the kernel among these which has the same source, and what it is to be called with."""
        self.blocks, self.parameters = 0, Parameters()
        body: list[str] = []
        for part in self.parts:
            lines = part.lines(self.parameters)
            self.blocks += part.blocks
            head = [f"const int blocks = {part.blocks};", *lines[:1]]
            body += [f"if (block < {part.blocks}) {{", *head, *lines[1:], "return;", "}", f"block -= {part.blocks};"]
        head = ["__shared__ double room[THREADS];", "const int t = threadIdx.x;", "int block = blockIdx.x;"]
        inside = "\n    ".join([*head, *self.parameters.loads(), *body[:-1]])
        source = f"({', '.join(self.parameters.types.values())}) {{\n    {inside}\n}}\n"
        self.name = names.setdefault(source, f"kernel_{len(names)}")


def regrouped(recording: Recording) -> tuple[Recording, str]:
    """The recording with calls of the kind "kernel", whose function is a Kernel, and the source of all of those."""
    found = Fusion(recording)
    start = f'extern "C" __global__ void __launch_bounds__({THREADS})'
    kernels = [f"{start} {name}{source}" for source, name in found.names.items()]
    return replace(recording, calls=tuple(found.calls())), PRELUDE + "".join(kernels)


def by_lines(call: Call) -> Iterator[Call]:
    """The call as others that kernels can do, where there are such."""
    yield from _as_sums(call) if call.function is np.vecdot else _by_rows(call)


def _as_sums(call: Call) -> Iterator[Call]:
    """A product of vectors, as the sum of the products of their numbers: of long vectors the sums of lines first."""
    (result,), (x, y) = call.results, call.arguments
    shape = np.broadcast_shapes(x.shape, y.shape)

    def another(kind: str, function: Any, arguments: tuple[Any, ...], shape: tuple[int, ...]) -> Iterator[Call]:
        value = Value(result.tape, np.broadcast_to(np.zeros((), result.dtype), shape))
        yield Call(kind, function, arguments, (value,))

    (last,) = another("elementwise", np.multiply, (x, y), shape)
    yield last
    length = max((each for each in range(1, min(shape[-1], LONGEST) + 1) if shape[-1] % each == 0), default=1)
    if 1 < length < shape[-1] <= length * LONGEST:
        shape = (*shape[:-1], shape[-1] // length, length)
        (last,) = another("view", np.reshape, (last.results[0], shape), shape)
        yield last
        (last,) = another("reduction", np.add.reduce, (last.results[0], -1, None, None, False), shape[:-1])
        yield last
    yield Call("reduction", np.add.reduce, (last.results[0], -1, None, None, False), (result,))


def _by_rows(call: Call) -> Iterator[Call]:
    """A sum over the last two axes as one of the sums of the rows, which several blocks can take."""
    (result,) = call.results if call.kind == "reduction" else (None,)
    x, axis, dtype, out, kept = call.arguments if result is not None else (None,) * 5
    if isinstance(x, Value) and x.ndim > 1 and _of_matrix(axis, x.ndim):
        shape = (*x.shape[:-1], 1) if kept else x.shape[:-1]
        rows = Value(x.tape, np.zeros(shape, result.dtype))
        both = (
            replace(call, arguments=(x, -1, dtype, out, kept), results=(rows,)),
            replace(call, arguments=(rows, -2 if kept else -1, dtype, out, kept)),
        )
        if all(map(is_computed, both)):
            yield from both
            return
    yield call


def _of_matrix(axis: Any, ndim: int) -> bool:
    if axis is None:
        return ndim == 2
    return isinstance(axis, tuple) and sorted(each % ndim for each in axis) == [ndim - 2, ndim - 1]


class Fusion:
    def __init__(self, recording: Recording) -> None:
        calls = [each for call in recording.calls for each in by_lines(call)]
        self._recording = recording = replace(recording, calls=tuple(calls))
        self._maker = {call.results[0]: call for call in recording.calls if is_computed(call)}
        self._sources = {
            value: [each for each in call.sources if isinstance(each, Value)] for value, call in self._maker.items()
        }
        self._donated = {each.value for each in recording.inputs if each.donated}
        self._position = {each.value: -1 for each in recording.inputs if isinstance(each.value, Value)}
        """Of what is stored the number of the step that does so."""
        self._steps: list[Kernel | Call] = [call for call in recording.calls if call.kind == "number"]
        self._seen: set[Recorded] = set()
        """Views that are cut."""
        self._where: dict[Value, tuple[Kernel, int]] = {}
        """The kernel, and which of its parts, that computes a value."""
        for number, call in enumerate(recording.calls):
            if call.kind != "number" and call.results[0] not in self._maker:
                self._do(number, call)
        for each in recorded_in(recording.outcome):
            self._need(each)
        self.names: dict[str, str] = {}
        """Of kernels, by their sources."""
        for step in self._steps:
            if isinstance(step, Kernel):
                step.write(self.names)

    def calls(self) -> Iterator[Call]:
        cut: set[Value] = set()
        for step in self._steps:
            if isinstance(step, Call):
                if step.results[0] not in cut:
                    yield step
                    cut.add(step.results[0])
            else:
                for each in step.parameters.things.values():
                    yield from self._cuts(each, cut)
                results, things = step.roots, step.parameters.things.values()
                own = set(results)
                given = [each for each in things if isinstance(each, Recorded) and each not in own]
                yield Call("kernel", step, tuple(given), results)  # type: ignore[arg-type]

    def _cuts(self, value: Any, cut: set[Value]) -> Iterator[Call]:
        """The calls that cut a view, unless there were any."""
        if isinstance(value, Value) and value not in self._position and value not in cut:
            cut.add(value)
            yield from self._cuts(self._maker[value].arguments[0], cut)
            yield self._maker[value]

    def _do(self, number: int, call: Call) -> None:
        """A call that no kernel can do."""
        for each in call.sources:
            self._need(each)
        if call.kind == "overwrite":
            self._save(number, call)
        for result in call.results:
            self._position[result] = len(self._steps)
        self._steps.append(call)

    def _save(self, number: int, call: Call) -> None:
        """Store what is computed from arrays that this call overwrites, and wanted after it."""
        lost = {self._base(each) for each in call.arguments[: call.options[0]]}
        later = [*recorded_in([after.arguments for after in self._recording.calls[number + 1 :]])]
        before = {result for each in self._recording.calls[:number] for result in each.results}
        for each in {*later, *recorded_in(self._recording.outcome)} & before & self._maker.keys():
            base = self._base(each)
            if base in self._maker and base not in self._position and self._reads(base, lost):
                self._store(base)

    def _reads(self, value: Value, lost: set[Value]) -> bool:
        waiting, seen = [value], set()
        while waiting:
            each = waiting.pop()
            if each in lost:
                return True
            if each not in seen and each in self._maker and each not in self._position:
                seen.add(each)
                waiting += self._sources[each]
        return False

    def _base(self, value: Any) -> Any:
        """What a view is a view of."""
        while value in self._maker and is_view(self._maker[value]):
            value = self._maker[value].arguments[0]
        return value

    def _need(self, value: Recorded) -> None:
        """Have it in memory."""
        if not isinstance(value, Value) or value in self._position or value in self._seen:
            return
        call = self._maker[value]
        if is_view(call) and call.kind == "view":
            self._need(call.arguments[0])
            self._seen.add(value)
            self._steps.append(call)
        else:
            self._store(value)

    def _store(self, root: Value) -> None:
        if root in self._position:
            return
        part = None
        while part is None:
            try:
                part = self._part([root])
            except Unfit as problem:
                self._store(self._cut(root, problem))
        for each in part.order:  # a sum that is known somewhere is not taken once more
            if self._maker[each].kind == "reduction" and each in self._where:
                if self._merged(*self._where[each], root):
                    return
                if each is not root:
                    self._store(each)
                    self._store(root)
                    return
        self._give(root, part)

    def _cut(self, root: Value, problem: Unfit) -> Value:
        """What to store first where a part alone cannot compute a value."""
        if problem.cut is not None and problem.cut is not root and problem.cut not in self._position:
            return problem.cut
        for each in self._maker[root].sources:
            base = self._base(each)
            if isinstance(base, Value) and base not in self._position:
                return base
        raise problem

    def _give(self, root: Value, part: Part) -> None:
        """To the last kernel that may have it."""
        kernels = list(islice((step for step in reversed(self._steps) if isinstance(step, Kernel)), LOOKED_AT))
        for kernel in kernels:
            for number, there in enumerate(kernel.parts):
                known = all(self._position[leaf] < kernel.position or leaf in there.own for leaf in part.leaves)
                if known and there.suits(part) and self._merged(kernel, number, root):
                    return
        for kernel in kernels:
            if self._may(part, kernel):
                kernel.parts.append(part)
                self._settle(kernel, len(kernel.parts) - 1)
                return
        kernel = Kernel([part], len(self._steps))
        self._steps.append(kernel)
        self._settle(kernel, 0)

    def _merged(self, kernel: Kernel, number: int, root: Value) -> bool:
        """Could this part compute it too?"""
        try:
            part = self._part([*kernel.parts[number].roots, root])
        except Unfit:
            return False
        if not self._may(part, kernel):
            return False
        kernel.parts[number] = part
        self._settle(kernel, number)
        return True

    def _may(self, part: Part, kernel: Kernel) -> bool:
        """Is all that it loads stored before this kernel, and has that room for it?"""
        if any(self._position[leaf] >= kernel.position for leaf in part.leaves):
            return False
        parts = (part, *kernel.parts)
        return sum(len(each.leaves) + len(each.roots) for each in parts) < MOST_PARAMETERS

    def _settle(self, kernel: Kernel, number: int) -> None:
        part = kernel.parts[number]
        for root in part.roots:
            self._position[root] = kernel.position
        for each in part.order:
            self._where.setdefault(each, (kernel, number))

    def _part(self, roots: list[Value]) -> Part:
        part = Part(self._maker, self._sources, self._donated, self._position, roots)
        part.lines(Parameters())
        return part
