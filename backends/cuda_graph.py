"""Whole steps of PyTorch on a CUDA GPU as CUDA graphs: launched once kernel by kernel, and from then on as a whole.

A graph does again what was launched while it was captured, in the same memory and with the same numbers. So what
differs from step to step must lie in memory: the state, the numbers, and arrays that are others each time.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from math import isfinite
from threading import Lock
from typing import Any
from weakref import ref

from .tape import Array, Untraceable, leaves, mapped

GRAPHS = 8
"""So many graphs are kept. So many captured in a row, of which none was of use again, and it is given up."""
SMALL, LARGE = 1 << 20, 1 << 28
"""In bytes: a graph copies small arrays into memory of its own, where each step brings others. Others it reads where
they lie; if then another lies elsewhere, it is copied as well, or, where it is large, has a graph of its own."""
ONE_AT_A_TIME = Lock()
"""There must be one capture at a time in a process."""


class Cuda:
    """How work is captured on a CUDA device: all of this file that knows of streams and graphs."""

    def __init__(self, torch: Any, device: Any) -> None:
        self._torch, self._device, self._stream = torch, device, torch.cuda.Stream(device)

    def scope(self) -> AbstractContextManager[Any]:
        return self._torch.cuda.device(self._device)

    def send(self, numbers: list[float], memory: Array) -> None:
        """Copy numbers to the device without waiting: what was pinned is taken again only when it has been read."""
        host = self._torch.tensor(numbers, dtype=memory.dtype, pin_memory=True)
        memory.copy_(host, non_blocking=True)

    def warm_up(self, work: Callable[[], Any]) -> None:
        """Do the work on the stream on which it is captured afterwards: libraries start, and take their workspace."""
        cuda = self._torch.cuda
        self._stream.wait_stream(cuda.current_stream(self._device))
        with cuda.stream(self._stream):
            work()
        cuda.current_stream(self._device).wait_stream(self._stream)

    def captured(self, work: Callable[[], Any], beside: Any) -> Any:
        """A graph of the work, which is not done now; its `replay` does it. `beside`: a graph to share memory with.

        Graphs can share what is needed within a step, as none gives anything but what it writes into the state.
        """
        cuda = self._torch.cuda
        graph = cuda.CUDAGraph()
        pool = None if beside is None else beside.pool()
        # Another thread may move the next batches meanwhile.
        with cuda.graph(graph, pool=pool, stream=self._stream, capture_error_mode="thread_local"):
            work()
        return graph


class Graphed:
    """A pure step (state, data, index, settings) -> state as a graph, for each signature of what it is given.

    What comes back is always the same state, with the numbers of the last step. A graph is tried first, beside the
    step as it is: where it cannot be captured, or gives something else, the step runs as it is, and `reason` says why.
    """

    def __init__(self, torch: Any, device: Any, plain: Callable[..., Any]) -> None:
        self._torch, self._device, self._plain = torch, device, plain
        self.reason = ""
        self._forget()

    def _forget(self) -> None:
        self._state: Any = None
        self._kind: Any = None
        self._graphs: dict[Any, Graph] = {}
        self._in_a_row = 0

    def __call__(self, state: Any, data: Any, index: Any, settings: Any) -> Any:
        if self.reason:
            return self._plain(state, data, index, settings)
        given = data, index, settings
        found: list[Any] = []
        try:
            key = self._described(given, found), *self._large(found)
            graph = self._graphs.get(key)
        except TypeError as reason:  # Untraceable too
            return self._as_it_is(str(reason), state, *given)
        elsewhere = () if graph is None else graph.elsewhere(found)
        with self._device.scope():
            if graph is None or elsewhere or (state is not self._state and mapped(state, kind) != self._kind):
                return self._another(key, state, given, found, graph, elsewhere)
            if state is not self._state:
                overwrite(self._state, state)
            graph.run(found)
        self._in_a_row = 0
        return self._state

    def _as_it_is(self, reason: str, *arguments: Any) -> Any:
        self.reason = reason
        self._forget()
        return self._plain(*arguments)

    def _another(self, key: Any, state: Any, given: Any, found: list[Any], before: Any, elsewhere: Any) -> Any:
        """The step as it is, and a graph for the next of its kind."""
        if not all(leaf is None or isinstance(leaf, self._torch.Tensor) for leaf in leaves(state)):
            return self._plain(state, *given)  # numbers that the first step makes arrays of
        self._in_a_row += 1
        if self._in_a_row > GRAPHS:
            return self._as_it_is("every step is given arrays of other shapes, or large ones elsewhere", state, *given)
        expected = apart(self._plain(state, *given), self._state)
        try:
            if mapped(state, kind) != self._kind:
                self._graphs.clear()
                self._state, self._kind = mapped(state, copied), mapped(state, kind)
            else:
                overwrite(self._state, state)
            own = elsewhere if before is None else {*before.own, *elsewhere}
            changes = self._distances(expected, self._state)
            with ONE_AT_A_TIME:
                beside = next(iter(self._graphs.values()), None)
                graph = Graph(self._torch, self._device, self._plain, self._state, given, found, own, beside)
            graph.run(found)
            self._check(expected, changes)
        except Exception as reason:  # whatever the device refuses
            self.reason = str(reason) if isinstance(reason, Untraceable) else f"{type(reason).__name__}: {reason}"
            self._forget()
            return expected
        self._graphs.pop(key, None)
        self._graphs[key] = graph
        while len(self._graphs) > GRAPHS:
            del self._graphs[next(iter(self._graphs))]
        return self._state

    def _described(self, tree: Any, found: list[Any]) -> Any:
        """What a graph depends on; puts the leaves into `found`."""
        if isinstance(tree, tuple | list):
            return (type(tree), *[self._described(each, found) for each in tree])
        found.append(tree)
        if isinstance(tree, self._torch.Tensor):
            return tree.shape, tree.stride(), tree.dtype
        if type(tree) in (int, float):
            return type(tree)
        if tree is None or isinstance(tree, int | float | str):
            return type(tree), tree
        raise Untraceable(f"an argument is a {type(tree).__name__}")

    def _large(self, found: list[Any]) -> Iterator[int]:
        """Where large arrays lie."""
        return (leaf.data_ptr() for leaf in found if isinstance(leaf, self._torch.Tensor) and leaf.nbytes > LARGE)

    def _distances(self, one: Any, other: Any) -> list[Array]:
        pairs = zip(leaves(one), leaves(other), strict=True)
        return [self._torch.linalg.vector_norm(a - b) for a, b in pairs if a is not None and a.is_floating_point()]

    def _check(self, expected: Any, changes: list[Array]) -> None:
        """Does the graph do the right thing? Not the same: where a gradient is nothing but rounding, signs differ."""
        floating = [leaf for leaf in leaves(expected) if leaf is not None and leaf.is_floating_point()]
        for wanted, change, error in zip(floating, changes, self._distances(self._state, expected), strict=True):
            rounding = 16 * float(self._torch.finfo(wanted.dtype).eps) * float(self._torch.linalg.vector_norm(wanted))
            share = 0.5 if wanted.ndim else 0.02
            if isfinite(float(change)) and not float(error) <= share * float(change) + rounding:
                raise Untraceable("its graph gave other numbers than the step as it is written")


class Graph:
    """The graph of a step that changes `state` where it lies, and the memory that it reads.

    Whatever else it reads must be at the same address when it is replayed, and may be gone before. Numbers are on the
    device without dimensions: so PyTorch computes in the dtype of the arrays that they meet, as with Python's.
    """

    def __init__(
        self,
        torch: Any,
        device: Any,
        plain: Callable[..., Any],
        state: Any,
        given: Any,
        found: list[Any],
        own: Any,
        beside: "Graph | None",
    ) -> None:
        self.own: dict[int, Array] = {}
        """Memory by the number of the leaf whose array is copied there."""
        self._addresses: dict[int, int] = {}
        self._seen: dict[int, Callable[[Array], bool]] = {}
        self._numbers: list[int] = []
        for place, leaf in enumerate(found):
            if isinstance(leaf, torch.Tensor):
                if leaf.nbytes <= SMALL or place in own:
                    self.own[place], self._seen[place] = leaf.clone(), seen(leaf)
                else:
                    self._addresses[place] = leaf.data_ptr()
            elif type(leaf) in (int, float):
                self._numbers.append(place)
        self._device = device
        like = next(leaf for leaf in leaves(state) if leaf is not None)
        self._memory = torch.empty(len(self._numbers), dtype=torch.float64, device=like.device)

        def step() -> Any:
            whole = self._memory.to(torch.int64)  # a double holds every integer of 53 bits
            places = iter(range(len(found)))

            def stand_in(leaf: Any) -> Any:
                place = next(places)
                if isinstance(leaf, torch.Tensor):
                    return self.own.get(place, leaf)
                if type(leaf) in (int, float):
                    return (whole if type(leaf) is int else self._memory)[self._numbers.index(place)]
                return leaf

            data, index, settings = mapped(given, stand_in)
            if isinstance(index, torch.Tensor):
                index = index.reshape(1)
            with self._constants:
                return plain(state, data, index, settings)

        self._constants, no_numbers = modes(torch)
        self._send(found)
        with no_numbers:
            device.warm_up(step)
            self._constants.complete = True
            device.warm_up(step)
        self._graph: Any = device.captured(lambda: overwrite(state, step()), None if beside is None else beside._graph)

    def elsewhere(self, found: list[Any]) -> set[int]:
        """The leaves that do not lie where the graph reads them."""
        return {place for place, address in self._addresses.items() if found[place].data_ptr() != address}

    def run(self, found: list[Any]) -> None:
        for place, memory in self.own.items():
            array = found[place]
            if not self._seen[place](array):
                memory.copy_(array)
                self._seen[place] = seen(array)
        self._send(found)
        self._graph.replay()

    def _send(self, found: list[Any]) -> None:
        if self._numbers:
            self._device.send([found[place] for place in self._numbers], self._memory)


def seen(array: Array) -> Callable[[Array], bool]:
    """Is another array this one, and nobody has written to it since? Keeps no array alive."""
    if array.is_inference():  # it does not say whether somebody has
        return lambda other: False
    this: Callable[[], Any] = ref(array)
    version = array._version
    return lambda other: other is this() and version == other._version


def kind(leaf: Any) -> Any:
    """What the state's own memory for an array depends on."""
    return type(leaf), getattr(leaf, "shape", None), getattr(leaf, "dtype", None)


def copied(leaf: Any) -> Any:
    return None if leaf is None else leaf.clone()


def apart(new: Any, old: Any) -> Any:
    """The arrays of a tree, and copies of those that lie in the memory of another."""
    taken = {start(leaf) for leaf in leaves(old) if leaf is not None}
    return mapped(new, lambda leaf: leaf.clone() if leaf is not None and start(leaf) in taken else leaf)


def start(array: Array) -> int:
    """Where its memory begins."""
    return array.untyped_storage().data_ptr()


def overwrite(old: Any, new: Any) -> None:
    """Put the arrays of a tree in the place of those of another, in which some of them may lie; the dtypes stay."""
    changed = [pair for pair in zip(leaves(old), leaves(new), strict=True) if pair[0] is not pair[1]]
    for one, other in changed:
        if one is None or other is None or one.shape != other.shape:
            raise Untraceable("the state that it gives has other shapes than the one that it is given")
    sources = apart([other for _, other in changed], old)
    for (one, _), source in zip(changed, sources, strict=True):
        one.copy_(source)


def modes(torch: Any) -> tuple[Any, Any]:
    """What is entered around a step that is captured, and around its runs before."""
    from torch.overrides import TorchFunctionMode
    from torch.utils._python_dispatch import TorchDispatchMode

    aten = torch.ops.aten
    waits = aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten.equal, aten._unique2
    moves, indexes = (aten._to_copy, aten.copy_), (aten.index, aten.index_put, aten.index_put_)

    def arrays(*trees: Any) -> Iterator[Array]:
        return (leaf for leaf in leaves(trees) if isinstance(leaf, torch.Tensor))

    class NoNumbers(TorchDispatchMode):
        """Says so where a step waits for numbers from the device.

        A capture would fail, not say why, and leave PyTorch before 2.12 with memory that it takes for one of a capture.
        """

        off = False

        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs, called = kwargs or {}, function.overloadpacket
            if self.off:
                return function(*args, **kwargs)
            if called in waits or (called in indexes and any(each.dtype == torch.bool for each in arrays(args[1]))):
                raise Untraceable("it asks for the numbers in an array, or decides by them: they differ in every call")
            if called in moves:
                places = {each.device.type for each in arrays(args)}
                if kwargs.get("device") is not None:
                    places.add(torch.device(kwargs["device"]).type)
                if len(places) > 1:
                    raise Untraceable(f"it moves arrays between devices ({', '.join(sorted(places))})")
            return function(*args, **kwargs)

    class Constants(TorchFunctionMode):
        """Makes an array of Python's numbers once: a graph must not fetch it from the host."""

        def __init__(self) -> None:
            super().__init__()
            self._made: dict[str, Array] = {}
            self.complete = False

        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            if function not in (torch.asarray, torch.tensor) or isinstance(args[0], torch.Tensor):
                return function(*args, **kwargs)
            numbers, *others = args
            exact = numbers.tobytes() if hasattr(numbers, "tobytes") else numbers  # whose repr is not shortened
            key = repr((exact, type(numbers), getattr(numbers, "shape", ()), others, sorted(kwargs.items())))
            if key not in self._made:
                if self.complete:
                    raise Untraceable("it does not do the same in every call: a layer or loss must be a pure function")
                no_numbers.off = True
                try:
                    self._made[key] = function(*args, **kwargs)
                finally:
                    no_numbers.off = False
            return self._made[key]

    no_numbers = NoNumbers()
    return Constants(), no_numbers
