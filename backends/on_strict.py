"""array-api-strict: the standard and nothing else, with pretended devices. For tests and for developing layers."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .base import Array, Backend, BackendError, Status, load

INSTALL = "pip install array-api-strict"


def probe() -> Status:
    strict = load("array_api_strict", INSTALL)
    if isinstance(strict, Status):
        return strict
    devices = ("strict", *(f"strict:{name}" for name in _devices(strict) if name != "CPU_DEVICE"))
    return Status("strict", True, f"array-api-strict {strict.__version__}, for tests", devices=devices)


def _devices(strict: Any) -> dict[str, Any]:
    known = strict.__array_namespace_info__().devices()
    return {str(device).split("'")[1]: device for device in known}


class StrictBackend(Backend):
    name = "strict"

    def __init__(self, device: str = "") -> None:
        import array_api_strict

        known = _devices(array_api_strict)
        if device and device not in known:
            raise BackendError(f"array-api-strict has no device {device!r}; it has {', '.join(map(repr, known))}")
        self.xp = array_api_strict
        self.device = known[device or "CPU_DEVICE"]
        self.word = f"strict:{device}" if device else "strict"
        self.has_float64 = device not in ("no_float64", "no_x64")
        self._host = known["CPU_DEVICE"]

    def owns(self, array: object) -> bool:
        return isinstance(array, self.xp.asarray(0).__class__)

    def from_host(self, array: np.ndarray, dtype: str | None = None) -> Array:
        return self.xp.asarray(np.array(array, dtype=dtype, order="C"), device=self.device)

    def to_host(self, array: Array) -> np.ndarray:
        return np.asarray(array.to_device(self._host), order="C")

    def unable(self, arithmetic: str) -> str:
        return f"the standard has no {arithmetic}; leave precision out, or take the backend 'jax' or 'torch'"

    def device_name(self) -> str:
        return f"pretended device {self.word.partition(':')[2]}" if ":" in self.word else "CPU"

    @contextmanager
    def scope(self) -> Iterator[None]:
        flags = self.xp.ArrayAPIStrictFlags(boolean_indexing=False, data_dependent_shapes=False, enabled_extensions=())
        with np.errstate(all="ignore"), flags:  # it computes with NumPy, which warns
            yield


create = StrictBackend


def where(array: Any) -> str:
    name = str(array.device).split("'")[1]
    return "" if name == "CPU_DEVICE" else name
