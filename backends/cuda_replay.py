"""What a step launches through CuPy as a CUDA graph: captured when the same arrays come again, and then replayed."""

from collections.abc import Callable
from contextlib import suppress
from threading import Lock
from typing import Any, NamedTuple

from .cublas import Products
from .tape import Array

GRAPHS = 16
"""So many are kept, of arrays that lie where they did."""
CAPTURING = Lock()
"""While a stream is captured nobody may wait for the whole device."""


class Captured(NamedTuple):
    """A graph, and the memory that it works in beside that of the arrays."""

    graph: Any
    held: list[Any]


class Replay:
    """Runs launches that are the same in every call but for where the arrays lie that they are given.

    A graph does again what was launched while it was captured, at the same addresses. Whatever else differs from call
    to call must lie in memory. `reason` says why there are no graphs, where there are none.
    """

    def __init__(self, cupy: Any, products: Products) -> None:
        self._cupy, self._products = cupy, products
        self._pool = cupy.cuda.MemoryPool()
        """What is allocated within launches belongs to the graphs: nobody else may be given it."""
        self._graphs: dict[tuple[int, ...], Captured | None] = {}
        """By the stream and the addresses; None for those seen once."""
        self.reason = ""

    def __call__(self, launches: Callable[[], None], *arrays: Array) -> None:
        if self.reason:
            launches()
            return
        stream = self._cupy.cuda.get_current_stream().ptr
        key = stream, *[array.data.ptr for array in arrays]
        if key not in self._graphs:
            self._remember(key, None)
            launches()  # which loads what a capture must find loaded
            return
        known = self._graphs[key]
        if known is not None:
            known.graph.launch()
            return
        try:
            made = self._captured(launches, stream)
            made.graph.launch()
        except Exception as error:  # whatever the device refuses
            self.give_up(f"{type(error).__name__}: {error}")
            launches()
            return
        self._remember(key, made)

    def give_up(self, reason: str) -> None:
        self.reason = reason
        self._graphs.clear()

    def _captured(self, launches: Callable[[], None], stream: int) -> Captured:
        held: list[Any] = []

        def allocated(nbytes: int) -> Any:
            held.append(self._pool.malloc(nbytes))
            return held[-1]

        capture = self._cupy.cuda.Stream(non_blocking=True)  # the default stream cannot be captured
        with (
            CAPTURING,
            capture,
            self._products.captured_for(stream, capture.ptr) as workspace,
            self._cupy.cuda.using_allocator(allocated),
        ):
            capture.begin_capture()
            try:
                launches()
            except BaseException:
                with suppress(Exception):
                    capture.end_capture()
                raise
            return Captured(capture.end_capture(), [workspace, *held])

    def _remember(self, key: tuple[int, ...], graph: Captured | None) -> None:
        self._graphs.pop(key, None)
        self._graphs[key] = graph
        while len(self._graphs) > GRAPHS:
            del self._graphs[next(iter(self._graphs))]
