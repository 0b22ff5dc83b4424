"""What the arrays of a program are to its caller, and how NumPy sees the same memory."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


def itself(array: np.ndarray) -> np.ndarray:
    return array


@dataclass(frozen=True)
class Arrays:
    """A library whose arrays lie in the host's memory."""

    kind: type = np.ndarray
    view: Callable[[Any], np.ndarray] = itself
    """NumPy's view of an array."""
    back: Callable[[np.ndarray], Any] = itself
    """The array with the memory that NumPy sees."""
    calls: Mapping[Any, Callable[..., Any]] = field(default_factory=dict)
    """What the library has in several threads in place of a function of NumPy's, for arrays that are worth it."""

    @property
    def foreign(self) -> bool:
        return self.kind is not np.ndarray


NUMPY = Arrays()
