"""What each array library needs, and nothing about networks.

    >>> from mlp_xp import backends
    >>> backends.select("numpy").word
    'numpy'

`select` finds a backend by one word, `of` the one for an array; `available` says for each whether it is usable here,
and if not, why.
"""

import importlib
import os
from types import ModuleType
from typing import Any

import array_api_compat

from .base import Array, Backend, BackendError, DeviceError, Status, Uncompiled, is_mapped, on_host

__all__ = [
    "Array",
    "Backend",
    "BackendError",
    "DeviceError",
    "Status",
    "Uncompiled",
    "available",
    "is_mapped",
    "of",
    "on_host",
    "select",
]

NAMES = ("numpy", "cupy", "torch", "jax", "strict")
VARIABLE = "MLP_XP_BACKEND"
LIBRARIES = {"cupy": "cupy", "torch": "torch", "jax": "jax", "jaxlib": "jax", "array_api_strict": "strict"}
"""The backend for the arrays of each package that defines some."""


def _module(name: str) -> ModuleType:
    return importlib.import_module(f".on_{name}", __package__)


def available() -> tuple[Status, ...]:
    """Probe every backend on this machine. Imports each library that is installed, which takes seconds."""
    return tuple(_module(name).probe() for name in NAMES)


def select(word: str | Backend = "auto") -> Backend:
    """Find a backend and its device by one word.

    "numpy", "cupy", "cupy:1", "torch", "torch:cuda:0", "jax", "jax:cpu", "strict", "strict:device1"; "auto" takes
    the word in the environment variable MLP_XP_BACKEND if it is set, else CuPy where a GPU really computes, else
    NumPy. A backend is handed back as it is. `BackendError` for an unknown word, and, with the reason and the
    remedy, for a backend that is not usable here.
    """
    if isinstance(word, Backend):
        return word
    if not isinstance(word, str):
        raise BackendError(f"a backend is chosen by a word, such as 'numpy' or 'cupy:0', not by {word!r}")
    said = ""
    if word == "auto":
        word = os.environ.get(VARIABLE, "") or "auto"
        said = f" (from the environment variable {VARIABLE})" if word != "auto" else ""
    if word == "auto":
        word = "cupy" if _module("cupy").probe().usable else "numpy"
    name, _, device = word.partition(":")
    if name not in NAMES:
        raise BackendError(f"unknown backend {word!r}{said}; choose 'auto' or one of {', '.join(map(repr, NAMES))}")
    module = _module(name)
    status = module.probe()
    if not status.usable:
        raise BackendError(f"backend {word!r}{said} is not usable here: {status.detail}. Remedy: {status.remedy}")
    try:
        return module.create(device)
    except BackendError as error:
        raise BackendError(f"backend {word!r}{said}: {error}") from None


def of(array: Any) -> Backend:
    """The backend that computes where an array lies; NumPy's for what is no array of a library, such as a list."""
    kinds = type(array).__mro__ if array_api_compat.is_array_api_obj(array) else ()
    packages = [kind.__module__.partition(".")[0] for kind in kinds]
    name = next((LIBRARIES[package] for package in packages if package in LIBRARIES), "numpy")
    module = _module(name)
    return module.create("" if name == "numpy" else module.where(array))
