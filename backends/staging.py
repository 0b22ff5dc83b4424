"""How batches reach a CUDA GPU beside the computation."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from queue import SimpleQueue
from typing import Any

import numpy as np

from .cuda_replay import CAPTURING

LINE = 512
"""Bytes: an array begins at a multiple of it."""


class Slot:
    """Memory for one batch at a time: pinned on the host, which the GPU reads by itself, and on the device."""

    def __init__(self) -> None:
        self.nbytes = 0
        self.pinned: Any = None
        self.device: Any = None
        self.read: Any = None
        """The event after which the computing stream has read what is on the device."""


class Staging:
    """Copies batches from the host to the current device, on a stream of its own.

    Called with the arrays of a batch by a thread that reads, it waits until they are there, and gives a function; that
    one the computing thread calls, in the same order, for arrays of its own stream. `batches` is how many can be
    between the two calls. So a copy waits only for the steps of `batches` before it, and runs beside the later ones.
    """

    def __init__(self, cupy: Any, batches: int) -> None:
        self._cupy = cupy
        self._copying = cupy.cuda.Stream(non_blocking=True)  # else it and the default stream would wait for each other
        self._free: SimpleQueue[Slot] = SimpleQueue()
        for _ in range(batches):
            self._free.put(Slot())

    def __call__(self, arrays: Sequence[np.ndarray]) -> Callable[[], list[Any]]:
        slot = self._free.get()
        *starts, total = accumulate((-(-array.nbytes // LINE) * LINE for array in arrays), initial=0)
        if slot.nbytes < total:
            self._enlarge(slot, total)
        places = [(slice(start, start + a.nbytes), a.dtype, a.shape) for start, a in zip(starts, arrays, strict=True)]
        for (place, dtype, shape), array in zip(places, arrays, strict=True):
            np.copyto(slot.pinned[place].view(dtype).reshape(shape), array)
        if slot.read is not None:
            self._copying.wait_event(slot.read)
        slot.device[:total].set(slot.pinned[:total], stream=self._copying)
        self._copying.synchronize()
        return partial(self._taken, slot, places)

    def _taken(self, slot: Slot, places: list[Any]) -> list[Any]:
        arrays = [slot.device[place].view(dtype).reshape(shape).copy() for place, dtype, shape in places]
        slot.read = self._cupy.cuda.get_current_stream().record()
        self._free.put(slot)
        return arrays

    def _enlarge(self, slot: Slot, nbytes: int) -> None:
        slot.pinned = np.frombuffer(self._cupy.cuda.alloc_pinned_memory(nbytes), np.uint8, nbytes)
        slot.device = self._cupy.empty(nbytes, np.uint8)
        slot.nbytes, slot.read = nbytes, None
        # The pool may give memory that somebody has let go of whose kernels are still to run.
        with CAPTURING:
            self._cupy.cuda.Device().synchronize()
