"""Batches from the host: a thread reads them and moves them to the device while the steps before them are made."""

from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from queue import SimpleQueue
from threading import Event, Semaphore, Thread
from typing import Any, TypeVar

from mlp_xp import backends
from mlp_xp.random import stream

from .rows import HOST, HostRows, moved, taken
from .step import Data

T = TypeVar("T")
AHEAD = 3
"""So many batches wait for their step at most."""
ARRAYS = ("__array__", "__array_interface__", "__dlpack__", "shape", "tocsr")
"""What has one of these is data, and gives no batches."""


def is_source(x: Any, y: Any) -> bool:
    """Does x stand for data and targets both: something that gives batches, or a function that makes it?"""
    if x is None or any(hasattr(x, name) for name in ARRAYS):
        return False
    if hasattr(x, "shuffled"):
        return True
    if y is not None:
        return False
    if isinstance(x, list | tuple):
        return all(isinstance(batch, tuple) for batch in x)
    return callable(x) or isinstance(x, Iterable)


class Source:
    """Stands for X in `Data` where batches are given in place of rows: see `Trainer.fit`.

    checked: (X, y, sample_weight, prefix of the name in errors) -> data, and how many outputs the model gives for it.
    """

    def __init__(self, given: Any, checked: Callable[..., tuple[Data, int]], name: str) -> None:
        if iter_is_itself(given):
            raise TypeError(
                f"{name} is an iterator ({type(given).__name__}), which gives its batches only once, and every epoch "
                f"needs them: give what can be iterated again, or a function that makes the iterator anew"
            )
        self._given, self._checked, self._name, self._began = given, checked, name, False
        with closing(self.batches()) as batches:  # what does not fit is refused before anything is changed
            self.first = next(batches)

    def __len__(self) -> int:
        """How many batches an epoch has; 0 where that is not known."""
        return len(self._given) if hasattr(self._given, "__len__") else 0

    def batches(self, order: tuple[int, int] | None = None, first: int = 0, at_least: int = 1) -> Generator[Data]:
        """Those of one pass from number `first` on, on the host where they were given there.

        order: the (seed, epoch) of a shuffled pass; at_least: the fewest rows that a batch may have.
        """
        number = 0
        try:
            for number, batch in enumerate(self._pass(order), 1):
                self._began = True
                if number > first:
                    yield self._data(batch, number, at_least)
        except Exception as error:
            error.add_note(f"The last batch that {self._name} gave was number {number}.")
            raise
        if number == 0:
            once = "; what it gives can be gone through only once: give a function that makes it anew"
            raise ValueError(f"{self._name} gives no batches{once if self._began else ''}")

    def _pass(self, order: tuple[int, int] | None) -> Iterable[Any]:
        given = self._given() if callable(self._given) else self._given
        if order is not None and hasattr(given, "shuffled"):
            seed, epoch = order
            return given.shuffled(stream(seed, "shuffle", epoch))
        return given

    def _data(self, batch: Any, number: int, at_least: int) -> Data:
        if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
            raise TypeError(
                f"batch {number} of {self._name} is a {type(batch).__name__}: give (X, y) or (X, y, sample_weight)"
            )
        x, y, weight = (*batch, None)[:3]
        data, self.outputs = self._checked(x, y, weight, f"batch {number} of {self._name}: ")
        if isinstance(data.x, HostRows):  # it is sparse
            data = taken(data, slice(None))
        if data.x.shape[0] < at_least:
            raise ValueError(
                f"batch {number} of {self._name} has {data.x.shape[0]} rows, and the model needs at least {at_least} "
                f"to train on (BatchNorm takes a variance over them); leave it out, or join it to another"
            )
        return data


def iter_is_itself(given: Any) -> bool:
    """Is it an iterator, such as a generator, and so used up by one pass?"""
    return hasattr(given, "__next__") and iter(given) is given


def parts(backend: backends.Backend, data: Data, rows: int) -> Generator[Data]:
    """All rows on the device, so many at a time, or the batches of a source. Close it."""
    if isinstance(data.x, Source):
        yield from fed(backend, data.x.batches())
        return
    total = data.x.shape[0]
    if not isinstance(data.x, HostRows):
        if HOST.owns(data.x):
            data = moved(backend.argument, data)
        if total <= rows:
            yield data
            return
    slices = [slice(start, min(start + rows, total)) for start in range(0, total, rows)]
    if not isinstance(data.x, HostRows):
        yield from (Data(*(None if part is None else part[each, ...] for part in data)) for each in slices)
    elif len(slices) == 1:
        yield moved(backend.from_host, taken(data, slices[0]))
    else:
        yield from fed(backend, (taken(data, each) for each in slices))


def fed(backend: backends.Backend, batches: Generator[Data]) -> Generator[Data]:
    """Batches from the host, on the device: read and moved by a thread. Close it, to end the thread."""
    stage = backend.stager(AHEAD + 1)

    def staged() -> Generator[tuple[Data, Callable[[], list[Any]]]]:
        with backend.scope(), HOST.scope(), closing(batches):  # a scope holds in the thread that enters it
            for batch in batches:
                yield batch, stage([part for part in batch if HOST.owns(part)])

    with closing(prefetched(staged())) as pairs:
        for batch, arrived in pairs:
            there = iter(arrived())
            yield Data(*(next(there) if HOST.owns(part) else part for part in batch))


def prefetched(items: Generator[T]) -> Generator[T]:
    """The same items, made by a thread, some before they are asked for. Close it, to end the thread.

    An error that the thread meets is raised when all items from before it have been given.
    """
    ready: SimpleQueue[Any] = SimpleQueue()
    room, stopped = Semaphore(AHEAD - 1), Event()

    def work() -> None:
        end = None
        try:
            for item in items:
                ready.put((item,))
                room.acquire()
                if stopped.is_set():
                    break
        except BaseException as error:
            end = error
        finally:
            items.close()
        ready.put(end)

    thread = Thread(target=work, name="mlp_xp feed", daemon=True)
    thread.start()
    try:
        while (got := ready.get()) is not None:
            if isinstance(got, BaseException):
                raise got
            room.release()
            yield got[0]
    finally:
        stopped.set()
        room.release()
        thread.join()
