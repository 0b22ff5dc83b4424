"""A copy of a state that is kept while training goes on."""

import tempfile
import weakref
from contextlib import suppress
from math import prod
from typing import IO, TYPE_CHECKING, Any

from .step import State, Totals

if TYPE_CHECKING:
    from .trainer import Trainer

IN_MEMORY = 1 << 20
"""A copy of more bytes lies in a temporary file: the memory is for weights, gradient and slots."""


class Kept:
    """The parameters, buffers and, where `slots`, the optimizer's arrays of a trainer as they are now."""

    def __init__(self, trainer: "Trainer", slots: bool) -> None:
        self._trainer, self._slots = trainer, slots
        self._scale = trainer._copy(trainer.state.scale)
        self._arrays: list[Any] = []
        self._file: IO[bytes] | None = None
        itemsize = int(trainer.dtype.removeprefix("float")) // 8
        if sum(prod(array.shape) for array in self._present()) * itemsize > IN_MEMORY:
            with suppress(OSError):  # where there is no room for it there may be in memory
                self._file = self._written()
        if self._file is None:
            self._arrays = [trainer._copy(array) for array in self._present()]

    def state(self) -> State:
        """The state, without totals, in arrays that must not be changed."""
        flat, *others = self._arrays if self._file is None else self._read(self._file)
        buffers = None if self._trainer.state.buffers is None else others.pop(0)
        return State(flat, tuple(others), buffers, Totals(), self._scale)

    def _present(self) -> list[Any]:
        """The trainer's own arrays, of the kind that is kept."""
        state = self._trainer.state
        return [state.flat, *([] if state.buffers is None else [state.buffers]), *(state.slots if self._slots else ())]

    def _written(self) -> IO[bytes]:
        file = tempfile.TemporaryFile()  # noqa: SIM115, it lives as long as this
        weakref.finalize(self, file.close)
        for array in self._present():
            file.write(self._trainer.backend.to_host(array).data.cast("B"))
        return file

    def _read(self, file: IO[bytes]) -> list[Any]:
        backend, found = self._trainer.backend, []
        file.seek(0)
        for array in self._present():
            host = backend.to_host(array).copy()  # of that shape and dtype
            file.readinto(host.data.cast("B"))  # type: ignore[attr-defined]
            found.append(backend.from_host(host))
        return found
