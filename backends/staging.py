"""How batches reach a CUDA GPU beside the computation."""

from typing import Any

import numpy as np


class Staging:
    """Copies arrays from the host to the current device, on a stream of its own; for one thread.

    Made by the thread that computes, whose current stream is the one whose work the copies run beside. The caller waits
    for each copy, so that what it gets can be used by any stream, and the pinned memory again.
    """

    def __init__(self, cupy: Any) -> None:
        self._cupy = cupy
        self._computing = cupy.cuda.get_current_stream()
        self._copying = cupy.cuda.Stream(
            non_blocking=True
        )  # else it would wait for the default stream, and that for it
        self._pinned = np.empty(0, np.uint8)

    def __call__(self, array: np.ndarray) -> Any:
        pinned = self._pinned_like(array)
        np.copyto(pinned, array)
        with self._copying:
            there = self._cupy.empty(array.shape, array.dtype)
            # It may be memory of an earlier batch, which this stream's pool has taken back while steps that read it
            # are still waiting for the GPU. They were all given to it before this event.
            self._copying.wait_event(self._computing.record())
            there.set(pinned, stream=self._copying)
        self._copying.synchronize()
        return there

    def _pinned_like(self, array: np.ndarray) -> np.ndarray:
        """Memory of that size which the GPU reads without the processor's help."""
        if self._pinned.nbytes < array.nbytes:
            memory = self._cupy.cuda.alloc_pinned_memory(array.nbytes)
            self._pinned = np.frombuffer(memory, np.uint8, array.nbytes)
        return self._pinned[: array.nbytes].view(array.dtype).reshape(array.shape)
