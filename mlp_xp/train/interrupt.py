"""Ctrl-C without loss: the step under way is finished first."""

import signal
import threading
from types import FrameType
from typing import Any


class DeferredInterrupt:
    """Within `with DeferredInterrupt() as interrupt`, Ctrl-C sets `interrupt.wanted`; a second one acts at once.

    A step may be writing parameters in place: stopped halfway, they would be neither the old nor the new ones. On
    leaving, a wanted interrupt is raised as KeyboardInterrupt. Outside the main thread signals do not arrive, and
    nothing is changed.
    """

    def __init__(self) -> None:
        self.wanted = False
        self._previous: Any = None

    def __enter__(self) -> "DeferredInterrupt":
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.getsignal(signal.SIGINT)
            # Somebody else's handler is left alone.
            if self._previous is signal.default_int_handler:
                signal.signal(signal.SIGINT, self._handle)
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if self._previous is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._previous)
        if self.wanted and kind is None:
            raise KeyboardInterrupt
