"""Which class a row is of, and what the classes are called."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def class_labels(target: Any, rows: int, classes: int | None = None, *, signs: bool = False) -> np.ndarray:
    """The class 0, 1, ... of each of so many rows, (rows,), as whole numbers, each less than `classes` where given.

    target is that already, (rows,) or (rows, 1), or a row of the probabilities of the classes, (rows, classes).
    With `signs` it may be all of -1 and 1, which are class 0 and 1, as of the hinge loss with one output.
    """
    target = np.asarray(target)
    if target.shape not in ((rows,), (rows, 1)) and (target.ndim != 2 or len(target) != rows):
        raise ValueError(f"there are {rows} rows, and labels of shape {target.shape}; give one label for each row")
    labels = target.argmax(axis=1) if target.size > rows else target.reshape(-1)
    if signs and labels.dtype.kind in "if" and -1 in labels and np.isin(labels, (-1, 1)).all():
        labels = (labels > 0).astype(int)
    if labels.dtype.kind not in "biuf" or not (np.mod(labels, 1) == 0).all() or labels.min(initial=0) < 0:
        raise ValueError(
            "labels must be the numbers 0, 1, ... of classes; np.unique(y, return_inverse=True) makes them of others"
        )
    if classes is not None and labels.max(initial=0) >= classes:
        raise ValueError(f"there is a label {labels.max():g}, and the outputs are those of {classes} classes")
    return labels.astype(int)


def class_names(names: Sequence[Any] | None, count: int, prefix: str = "") -> list[str]:
    """What so many classes are called: as given, or by their numbers."""
    if names is None:
        return [f"{prefix}{number}" for number in range(count)]
    if len(names) != count:
        raise ValueError(f"there are {count} classes, and names for {len(names)}: {', '.join(map(str, names))}")
    return [str(name) for name in names]
