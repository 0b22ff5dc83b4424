"""Class labels of any kind as the numbers that a net is trained with, and back. On the host: labels may be text."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels

from .arrays import on_host

MULTIPLE = ("multilabel", "multioutput")
"""The kinds that have several columns."""


@dataclass(frozen=True)
class Labels:
    """The classes of a problem, and how they are told apart.

    kind: "binary" (also with a single class), "multiclass", "multilabel" (a row may be of several classes or none) or
    "multioutput" (several labels a row, each one out of several classes).
    classes: the sorted classes; for multioutput a tuple of those of each column.
    """

    kind: str
    classes: Any

    @classmethod
    def of(cls, y: np.ndarray) -> "Labels":
        """Find the kind and the classes of y (rows,) or (rows, columns); ValueError for what are no labels."""
        check_classification_targets(y)
        found = type_of_target(y, input_name="y")
        if found == "multilabel-indicator":
            return cls("multilabel", np.arange(y.shape[1]))
        if found == "multiclass-multioutput":
            return cls("multioutput", tuple(np.unique(column) for column in y.T))
        return cls.among(np.unique(y))

    @classmethod
    def among(cls, classes: np.ndarray) -> "Labels":
        """One label a row, out of the sorted `classes`."""
        return cls("binary" if len(classes) <= 2 else "multiclass", classes)

    @classmethod
    def stated(cls, y: np.ndarray, classes: Any) -> "Labels":
        """The kind of y, with classes as `sorted_classes` gives them: of every column, or each column its own."""
        found = cls.of(y)
        if isinstance(classes, tuple) or found.kind == "multioutput":
            return cls("multioutput", classes if isinstance(classes, tuple) else (classes,) * y.shape[1])
        return found if found.kind == "multilabel" else cls.among(classes)

    def agrees(self, classes: Any) -> bool:
        """Are these the classes, as `sorted_classes` gives them?"""
        if self.kind == "multilabel" and np.array_equal(classes, np.arange(2)):
            return True  # said of every column
        if not isinstance(self.classes, tuple):
            return not isinstance(classes, tuple) and np.array_equal(self.classes, classes)
        given = classes if isinstance(classes, tuple) else (classes,) * len(self.classes)
        return len(given) == len(self.classes) and all(map(np.array_equal, self.classes, given))

    @property
    def columns(self) -> tuple[Any, ...]:
        """The classes that each column of y chooses from."""
        if self.kind == "multilabel":
            return (np.arange(2),) * len(self.classes)
        return self.classes if self.kind == "multioutput" else (self.classes,)

    def encode(self, y: np.ndarray) -> np.ndarray:
        """The number of each label among its classes, int32, shaped like y; ValueError for one that is not there."""
        ndim = 2 if self.kind in MULTIPLE else 1
        if y.ndim != ndim or (ndim == 2 and y.shape[1] != len(self.columns)):
            width = f", {len(self.columns)}" if ndim == 2 else ","
            raise ValueError(f"y has shape {y.shape}, and the labels seen before had shape (rows{width})")
        codes = np.empty(y.shape, dtype=np.int32)
        for classes, given, code in zip(self.columns, _columns(y), _columns(codes), strict=True):
            unknown = np.setdiff1d(given, classes)
            if len(unknown):
                raise ValueError(
                    f"`y` has classes not in `self.classes_`. `self.classes_` has {classes}. 'y' has {unknown}"
                )
            code[:] = np.searchsorted(classes, given)
        return codes

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """The inverse of `encode`."""
        if self.kind == "multilabel":
            return codes.astype(self.classes.dtype)
        if self.kind == "multioutput":
            return np.stack([classes[code] for classes, code in zip(self.classes, codes.T, strict=True)], axis=1)
        return self.classes[codes]


def sorted_classes(classes: Any) -> Any:
    """The classes that a user states, sorted and each once; of a list with a sequence for each column a tuple."""
    if isinstance(classes, list | tuple) and all(np.ndim(each) == 1 for each in classes):
        return tuple(np.unique(np.asarray(on_host(each))) for each in classes)
    return unique_labels(on_host(classes))


def _columns(y: np.ndarray) -> np.ndarray:
    return y.T if y.ndim == 2 else y[None]
