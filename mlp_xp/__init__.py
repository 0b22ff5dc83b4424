"""Multi-layer perceptrons with hand-derived backpropagation, written once for every array library.

The rooms, each imported when first used: `nn` (layers, losses), `optim` (update rules), `train` (the loop),
`estimators` (the scikit-learn face), `data` (data sets), `viz` (pictures), `backends` (NumPy, CuPy, PyTorch, JAX,
array-api-strict).
"""

import importlib
from types import ModuleType

__version__ = "0.1.0"

_ROOMS = ("backends", "catalogue", "data", "estimators", "nn", "optim", "random", "train", "viz")


def __getattr__(name: str) -> ModuleType:
    if name in _ROOMS:
        return importlib.import_module(f"mlp_xp.{name}")
    raise AttributeError(f"module 'mlp_xp' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_ROOMS]
