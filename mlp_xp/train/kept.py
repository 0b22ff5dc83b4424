"""A copy of a state that is kept while training goes on."""

import tempfile
import weakref
from contextlib import suppress
from math import prod
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from .step import State, Totals

if TYPE_CHECKING:
    from .trainer import Trainer

IN_MEMORY = 1 << 24
"""A copy of more bytes lies in a temporary file: the memory is for weights, gradient and slots."""


class Kept:
    """The parameters, buffers and, where `slots`, the optimizer's arrays of a trainer as they are now."""

    def __init__(self, trainer: "Trainer", slots: bool) -> None:
        self._trainer = trainer
        state = trainer.state
        self._scale = trainer._copy(state.scale)
        self._has_buffers, self._slots = state.buffers is not None, len(state.slots) if slots else 0
        self._arrays: list[Any] = []
        self._file: IO[bytes] | None = None
        arrays = [state.flat, *([state.buffers] if self._has_buffers else []), *(state.slots if slots else ())]
        self._shapes = [tuple(array.shape) for array in arrays]
        if sum(map(prod, self._shapes)) * np.dtype(trainer.dtype).itemsize > IN_MEMORY:
            with suppress(OSError):  # where there is no room for it there may be in memory
                self._file = self._written(arrays)
        if self._file is None:
            self._arrays = [trainer._copy(array) for array in arrays]

    def state(self) -> State:
        """The state, without totals, in arrays that must not be changed."""
        flat, *others = self._arrays if self._file is None else self._read(self._file)
        buffers = others.pop(0) if self._has_buffers else None
        return State(flat, tuple(others), buffers, Totals(), self._scale)

    def _written(self, arrays: list[Any]) -> IO[bytes]:
        file = tempfile.TemporaryFile()  # noqa: SIM115, it lives as long as this
        try:
            for array in arrays:
                self._trainer.backend.to_host(array).tofile(file)
        except BaseException:
            file.close()
            raise
        weakref.finalize(self, file.close)
        return file

    def _read(self, file: IO[bytes]) -> list[Any]:
        file.seek(0)
        host = [np.fromfile(file, self._trainer.dtype, prod(shape)).reshape(shape) for shape in self._shapes]
        return [self._trainer.backend.from_host(array) for array in host]
