"""What the arrays of a program are to its caller, and how NumPy sees the same memory."""

from collections.abc import Callable
from dataclasses import dataclass
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
    matmul: Callable[..., Any] | None = None
    """matmul(a, b, out=c) of the library's arrays, for products that are worth it; NumPy's where it is None."""

    @property
    def foreign(self) -> bool:
        return self.kind is not np.ndarray


NUMPY = Arrays()
