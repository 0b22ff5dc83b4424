"""Which class the net decided on for each row of the test or validation data, and how often it was right."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mlp_xp import nn
from mlp_xp.train import Trainer
from mlp_xp.viz.labels import class_labels
from mlp_xp.viz.outputs import decided

from .run import Run

LOGITS = (nn.SigmoidBinaryCrossEntropy, nn.SigmoidFocal, nn.Hinge)
"""Losses of one output that decides for class 1 above 0."""
MOST_CLASSES = 50
"""Of more classes there is no table of each against each."""
ERRORS = 10
"""So many of the most frequent errors are listed."""


@dataclass(frozen=True)
class Confusion:
    """How many rows of each class (down) were taken for each class (across)."""

    counts: np.ndarray
    """(classes, classes)"""
    classes: list[str]
    part: str = "test"
    """What the rows are of: test or validation data."""

    @property
    def shown(self) -> bool:
        """Is it small enough for a table?"""
        return len(self.classes) <= MOST_CLASSES

    @property
    def rows(self) -> int:
        return int(self.counts.sum())

    @property
    def shares(self) -> np.ndarray:
        """Of the rows of each class, (classes, classes)."""
        return self.counts / np.maximum(self.counts.sum(axis=1, keepdims=True), 1)

    @property
    def accuracy(self) -> float:
        return float(np.trace(self.counts) / self.counts.sum())

    @property
    def scores(self) -> list[tuple[str, int, float, float, float]]:
        """(class, rows, precision, recall, F1) of each class, with 0 where there is nothing to divide by."""
        right, rows, taken = np.diag(self.counts), self.counts.sum(axis=1), self.counts.sum(axis=0)
        precision, recall = right / np.maximum(taken, 1), right / np.maximum(rows, 1)
        f1 = 2 * right / np.maximum(taken + rows, 1)
        return list(zip(self.classes, rows.tolist(), precision.tolist(), recall.tolist(), f1.tolist(), strict=True))

    @property
    def errors(self) -> list[tuple[str, str, int]]:
        """(class, taken for, rows) of the most frequent errors."""
        errors = self.counts - np.diag(np.diag(self.counts))
        places = (divmod(int(i), len(self.classes)) for i in np.argsort(-errors, axis=None, kind="stable")[:ERRORS])
        found = ((self.classes[true], self.classes[taken], int(errors[true, taken])) for true, taken in places)
        return [error for error in found if error[2] > 0]

    @property
    def worst(self) -> tuple[str, str, int] | None:
        return next(iter(self.errors), None)


def confusion(run: Run) -> Confusion | None:
    """That of metrics.json, or else of the outputs that were kept, where they decide on classes."""
    given = run.metrics.get("confusion_matrix")
    if given is not None:
        counts = matrix(given)
        if counts is not None:
            return Confusion(counts, names(run, len(counts)), run.part)
        run.problem("metrics.json: confusion_matrix is no square of counts")
    found = outputs(run)
    if found is None:
        return None
    y, target = found
    if run.trainer is None and y.shape[1] == 1:
        run.problem(
            f"the decisions on the {run.part} data cannot be shown: without the model nobody knows above which "
            f"output they are for {names(run, 2)[1]}"
        )
        return None
    taken = decided(y, threshold(run.trainer))
    count = max(y.shape[1], int(target.max()) + 1, 2)
    counts = np.bincount(target * count + taken, minlength=count * count).reshape(count, count)
    return Confusion(counts, names(run, count), run.part)


def matrix(given: Any) -> np.ndarray | None:
    """Counts (classes, classes); None where they are none, such as shares."""
    try:
        counts = np.asarray(given, float)
    except (TypeError, ValueError):
        return None
    square = counts.ndim == 2 and counts.shape[0] == counts.shape[1] > 1
    if not square or not np.isfinite(counts).all() or counts.min() < 0 or not counts.sum():
        return None
    if counts.max() >= 2**53 or not (counts == np.rint(counts)).all():
        return None
    return counts.astype(int)


def outputs(run: Run) -> tuple[np.ndarray, np.ndarray] | None:
    """(outputs (rows, n), classes (rows,)) of run.part; None where they are no decisions on classes."""
    y, target = (run.results.get(f"{run.part}_{what}") for what in ("outputs", "target"))
    if y is None or target is None or y.ndim != 2 or not len(y):
        return None
    labels = of_classes(target, y.shape[1], run.trainer)
    if labels is None or len(labels) != len(y):
        return None
    lost = int((~np.isfinite(y)).any(axis=1).sum())
    if lost:
        run.problem(
            f"the decisions on the {run.part} data cannot be shown: the outputs for {lost:,} of {len(y):,} rows are "
            "NaN or infinite"
        )
        return None
    return y, labels


def of_classes(target: np.ndarray, outputs: int, trainer: Trainer | None) -> np.ndarray | None:
    """The class of each row, where the target is labels or one-hot rows; None for numbers and several labels a row.

    Of one output the hinge loss keeps -1 and 1.
    """
    signs = outputs == 1 and trainer is not None and isinstance(trainer.loss, nn.Hinge)
    if target.dtype.kind == "f":
        one_hot = target.ndim == 2 and target.shape[1] > 1 and (target.sum(axis=1) == 1).all()
        binary = outputs == 1 and target.size == len(target)
        if not (one_hot or binary) or not np.isin(target, (-1, 1) if signs else (0, 1)).all():
            return None
    elif target.size != len(target):
        return None
    try:
        labels = class_labels(target, len(target), signs=signs)
    except ValueError:
        return None
    return labels if labels.max(initial=0) < max(outputs, 2) else None


def threshold(trainer: Trainer | None) -> float:
    """Above which one output says class 1: what a metric says, else 0 for logits and 0.5 for probabilities.

    Several outputs need none, nor a trainer.
    """
    if trainer is None:
        return 0.0
    given = [metric.threshold for metric in trainer.metrics if hasattr(metric, "threshold")]
    return float(given[0]) if given else 0.0 if isinstance(trainer.loss, LOGITS) else 0.5


def names(run: Run, count: int) -> list[str]:
    """What the classes are called: as the run's data says, in a list or a text with commas, or by their numbers."""
    given = run.about.get("data", {}).get("classes")
    given = given.split(",") if isinstance(given, str) else given
    if not isinstance(given, list) or len(given) != count:
        given = range(count)
    called = [str(name).strip() for name in given]
    return [f"class {name}" if name.isdigit() else name for name in called]
