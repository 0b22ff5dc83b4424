"""What surrounds all work that NumPy does."""

from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from .denormals import Flushed


def computing() -> tuple[AbstractContextManager[Any], ...]:
    """No warnings, and denormal numbers are zero.

    A diverging net overflows: no other library warns of it, and the trainer reports it by the step.
    """
    return np.errstate(all="ignore"), Flushed()


class Scope(AbstractContextManager[None]):
    """Several contexts as one: they are left in the order in which they were entered, as none of them needs another."""

    def __init__(self, *within: AbstractContextManager[Any]) -> None:
        self._within = within

    def __enter__(self) -> None:
        for each in self._within:
            each.__enter__()

    def __exit__(self, *reason: Any) -> None:
        for each in self._within:
            each.__exit__(*reason)
