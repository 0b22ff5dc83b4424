"""Metrics of decisions: which rows are put into the right class. Defined as in scikit-learn's `sklearn.metrics`.

A row is put into the class whose output is the largest. One output tells two classes apart: 1 where it exceeds
`threshold`, which is 0 for logits and 0.5 for probabilities. A row is of the class that its label says; of the largest
column, where the target is a row of probabilities; of class 1 where a target of one column exceeds 0.5.

With `multilabel` a row may be of several classes or none, and each is decided for itself: the output is compared with
`threshold`, the target's column with 0.5.

`average` says how the scores of the classes become one, as in scikit-learn: "binary" is the score of class 1, and what
None means for one or two outputs; "macro" is the mean over the classes, and what None means otherwise; "weighted" is
that mean weighted by the rows of each class; "micro" is the score of all decisions together. Without `multilabel`,
classes that no row is of or is put into are left out. A score with no row to measure it by is 0.

Rows are counted exactly up to 2^24 = 16.8 million of a kind in float32.
"""

from dataclasses import dataclass
from numbers import Real
from operator import mul
from typing import Any, ClassVar

import array_api_compat

from mlp_xp.names import unknown

from .metrics import Array, Kept, Mean, Metric, columns, weighted, zeros

AVERAGES = ("binary", "macro", "micro", "weighted")


@dataclass(frozen=True)
class Accuracy(Mean):
    """The share of rows whose class is right; with `multilabel`, of rows where every class is (subset accuracy)."""

    threshold: float = 0.0
    multilabel: bool = False
    name: ClassVar[str] = "accuracy"

    def __post_init__(self) -> None:
        check_threshold(self, self.threshold)

    def rows(self, xp: Any, y: Array, target: Array) -> Array:
        if self.multilabel:
            right = xp.all((y > float(self.threshold)) == (columns(self, y, target) > 0.5), axis=-1)
        else:
            right = decided(xp, y, self.threshold) == labels(xp, y, target)
        return xp.astype(right, y.dtype)


@dataclass(frozen=True)
class TopKAccuracy(Mean):
    """The share of rows whose class is among the `k` largest outputs; of equal outputs the last counts as the largest.

    So k=1 gives the accuracy, but for rows with several largest outputs: Accuracy takes the first of them.
    """

    k: int = 5

    def __post_init__(self) -> None:
        if isinstance(self.k, bool) or not hasattr(self.k, "__index__") or self.k < 1:
            raise ValueError(f"TopKAccuracy(k={self.k!r}): k must be a whole number of at least 1")

    @property
    def name(self) -> str:
        return f"top_{self.k}_accuracy"

    def start(self, xp: Any, like: Array, outputs: int) -> Kept:
        if outputs == 1:
            raise ValueError(f"{self} ranks the outputs of classes, and the model has one output; use Accuracy")
        return super().start(xp, like, outputs)

    def rows(self, xp: Any, y: Array, target: Array) -> Array:
        label = labels(xp, y, target)[..., None]
        column = numbers(xp, y.shape[-1], label)
        own = xp.max(xp.where(column == label, y, xp.full_like(y, -float("inf"))), axis=-1, keepdims=True)
        ahead = (y > own) | ((y == own) & (column > label))
        return xp.astype(xp.sum(xp.astype(ahead, xp.int32), axis=-1) < int(self.k), y.dtype)


@dataclass(frozen=True)
class ConfusionMatrix(Metric):
    """How many rows of each class (outer index) are put into each class (inner index): a list of lists."""

    threshold: float = 0.0
    name: ClassVar[str] = "confusion_matrix"

    def __post_init__(self) -> None:
        check_threshold(self, self.threshold)

    def start(self, xp: Any, like: Array, outputs: int) -> Kept:
        classes = max(outputs, 2)
        return zeros(xp, like, (classes, classes))

    def update(self, xp: Any, kept: Kept, y: Array, target: Array, weight: Array | None) -> Kept:
        true, chosen = memberships(xp, y, target, self.threshold)
        return (kept[0] + true.mT @ weighted(chosen, weight),)

    def result(self, kept: Kept) -> list[list[float]]:
        return kept[0].tolist()


class ClassCounts(Metric):
    """Keeps for each class how many rows are rightly put into it, are put into it, and are of it."""

    threshold: float
    multilabel: bool = False

    def __post_init__(self) -> None:
        check_threshold(self, self.threshold)

    def start(self, xp: Any, like: Array, outputs: int) -> Kept:
        classes = outputs if self.multilabel else max(outputs, 2)
        return zeros(xp, like, (classes,), (classes,), (classes,))

    def update(self, xp: Any, kept: Kept, y: Array, target: Array, weight: Array | None) -> Kept:
        if self.multilabel:
            target = columns(self, y, target)
            true, chosen = (xp.astype(each, y.dtype) for each in (target > 0.5, y > float(self.threshold)))
        else:
            true, chosen = memberships(xp, y, target, self.threshold)
        batch = (true * chosen, chosen, true)
        return tuple(total + xp.sum(weighted(each, weight), axis=-2) for total, each in zip(kept, batch, strict=True))


@dataclass(frozen=True)
class BalancedAccuracy(ClassCounts):
    """The mean over the classes that occur of the share of their rows that is right."""

    threshold: float = 0.0
    name: ClassVar[str] = "balanced_accuracy"

    def result(self, kept: Kept) -> float:
        right, _, true = (each.tolist() for each in kept)
        occurring = [r / t for r, t in zip(right, true, strict=True) if t]
        return ratio(sum(occurring), len(occurring))


@dataclass(frozen=True)
class _Averaged(ClassCounts):
    """A score of each class, and the average of them."""

    average: str | None = None
    threshold: float = 0.0
    multilabel: bool = False
    measure: ClassVar[str]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.average not in (None, *AVERAGES):
            raise ValueError(f"{type(self).__name__}: {unknown('average', self.average, AVERAGES)}")
        if self.average == "binary" and self.multilabel:
            raise ValueError(f"{self}: 'binary' is for two classes; take 'macro', 'micro' or 'weighted'")

    @property
    def name(self) -> str:
        return self.measure if self.average in (None, "binary") else f"{self.measure}_{self.average}"

    def score(self, right: float, chosen: float, true: float) -> float:
        """The score of a class from its counts, 0 where there is nothing to measure it by."""
        raise NotImplementedError

    def start(self, xp: Any, like: Array, outputs: int) -> Kept:
        if self.average == "binary" and outputs > 2:
            raise ValueError(
                f"{self}: 'binary' is for two classes, and the model has {outputs} outputs; "
                f"take 'macro', 'micro' or 'weighted'"
            )
        return super().start(xp, like, outputs)

    def result(self, kept: Kept) -> float:
        right, chosen, true = (each.tolist() for each in kept)
        average = self.average or ("binary" if len(true) == 2 and not self.multilabel else "macro")
        if average == "binary":
            return self.score(right[1], chosen[1], true[1])
        if average == "micro":
            return self.score(sum(right), sum(chosen), sum(true))
        scores = map(self.score, right, chosen, true)
        shares = true
        if average == "macro":
            shares = [float(self.multilabel or c + t > 0) for c, t in zip(chosen, true, strict=True)]
        return ratio(sum(map(mul, shares, scores)), sum(shares))


@dataclass(frozen=True)
class Precision(_Averaged):
    """Of the rows put into a class the share that is of it, of class 1 or on average over the classes.

    `average` is "binary", "macro", "micro" or "weighted", see above; None: "binary" up to two outputs, "macro" beyond.
    """

    measure: ClassVar[str] = "precision"

    def score(self, right: float, chosen: float, true: float) -> float:
        return ratio(right, chosen)


@dataclass(frozen=True)
class Recall(_Averaged):
    """Of the rows of a class the share that is put into it, of class 1 or on average over the classes.

    `average` is "binary", "macro", "micro" or "weighted", see above; None: "binary" up to two outputs, "macro" beyond.
    """

    measure: ClassVar[str] = "recall"

    def score(self, right: float, chosen: float, true: float) -> float:
        return ratio(right, true)


@dataclass(frozen=True)
class F1(_Averaged):
    """The harmonic mean of precision and recall, of class 1 or on average over the classes.

    `average` is "binary", "macro", "micro" or "weighted", see above; None: "binary" up to two outputs, "macro" beyond.
    """

    measure: ClassVar[str] = "f1"

    def score(self, right: float, chosen: float, true: float) -> float:
        return ratio(2 * right, chosen + true)


def check_threshold(metric: Metric, threshold: Any) -> None:
    if not isinstance(threshold, Real) or isinstance(threshold, bool):
        raise TypeError(
            f"{type(metric).__name__}(threshold={threshold!r}): give a number, 0 for logits or 0.5 for probabilities"
        )


def decided(xp: Any, y: Array, threshold: float) -> Array:
    """The class each row is put into, (..., batch)."""
    if y.shape[-1] == 1:
        return xp.astype(y[..., 0] > float(threshold), xp.int32)
    return xp.astype(xp.argmax(y, axis=-1), xp.int32)


def labels(xp: Any, y: Array, target: Array) -> Array:
    """The class each row is of, (batch,)."""
    if target.dtype != y.dtype:
        if target.ndim != 1:
            raise ValueError(
                f"metrics of classes measure one label a row, and the targets have {target.shape[1]} (MultiOutput); "
                f"measure each column by itself"
            )
        return target
    return decided(xp, target, 0.5)


def memberships(xp: Any, y: Array, target: Array, threshold: float) -> tuple[Array, Array]:
    """Rows of 0 and a single 1, (..., batch, classes): the class each row is of, and the one it is put into."""
    classes = max(y.shape[-1], 2)
    chosen = one_hot(xp, decided(xp, y, threshold), classes)
    return xp.astype(one_hot(xp, labels(xp, y, target), classes), y.dtype), xp.astype(chosen, y.dtype)


def one_hot(xp: Any, label: Array, classes: int) -> Array:
    """Labels (..., batch) as rows that are true for their class alone, (..., batch, classes)."""
    return label[..., None] == numbers(xp, classes, label)


def numbers(xp: Any, count: int, like: Array) -> Array:
    """0, 1, ... of the dtype and on the device of `like`."""
    return xp.arange(count, dtype=like.dtype, device=array_api_compat.device(like))


def ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
