"""Losses around another loss, for several targets a row: their sum in place of their mean, and several labels."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mlp_xp.nn.checks import is_whole
from mlp_xp.nn.layer import Array, ShapeError

from .base import ElementwiseLoss, Loss
from .categorical import Categorical
from .likelihood import GaussianNegativeLogLikelihood


@dataclass(frozen=True)
class Summed(Loss):
    """The sum over the c columns of the targets, where `loss` has the mean over them:

    L = c L',   dy = c dy'   with L' and dy' of `loss`;   so  L = sum_i s_i sum_j L_ij / sum_i s_i.

    As scikit-learn's MLPClassifier has it for several labels of two values: Summed(SigmoidBinaryCrossEntropy()). Of
    Quantile it sums the columns, and still takes the mean over the quantiles of each.
    """

    loss: Loss

    def __post_init__(self) -> None:
        if not isinstance(self.loss, ElementwiseLoss | GaussianNegativeLogLikelihood):
            raise TypeError(
                f"Summed(loss={self.loss!r}): give a loss that is a mean over the columns of the targets, "
                f"such as nn.MeanSquaredError()"
            )

    @property
    def outputs_per_target(self) -> int:
        return self.loss.outputs_per_target

    def __call__(self, xp: Any, y: Array, target: Array, weight: Array | None = None) -> tuple[Array, Array]:
        columns = float(y.shape[-1] // self.outputs_per_target)
        value, dy = self.loss(xp, y, target, weight)
        return columns * value, columns * dy

    def mass(self, xp: Any, y: Array, target: Array, weight: Array | None = None) -> Any:
        return self.loss.mass(xp, y, target, weight)

    def predicted(self, xp: Any, y: Array, target: Array) -> tuple[Array, Array]:
        return self.loss.predicted(xp, y, target)

    def encode(self, xp: Any, target: Array, outputs: int, dtype: Any) -> Array:
        return self.loss.encode(xp, target, outputs, dtype)


@dataclass(frozen=True)
class MultiOutput(Loss):
    """Several labels a row, one for each of several questions: the sum over them of `loss`, as SoftmaxCrossEntropy.

    L = sum_j L_j(y_j, t_j),   dy = (dy_1, dy_2, ...)   where L_j is `loss` of the outputs y_j and the labels t_j.

    Column j of the targets (batch, columns) tells classes[j] classes apart. Their outputs lie side by side: with
    classes = (3, 2, 4) the model gives 9, the first 3 of them for column 0. (Caruana, "Multitask Learning", 1997.)
    """

    loss: Loss
    classes: tuple[int, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.loss, Categorical):
            raise TypeError(
                f"MultiOutput(loss={self.loss!r}): give a loss of class labels, such as nn.SoftmaxCrossEntropy()"
            )
        if self.loss.class_weight is not None:
            raise ValueError(
                f"MultiOutput(loss={self.loss!r}): the classes of different columns cannot share a class_weight; "
                f"leave it out, or weigh the rows with sample_weight"
            )
        classes = tuple(self.classes) if hasattr(self.classes, "__iter__") else ()
        if not classes or not all(is_whole(count) for count in classes):
            raise ValueError(
                f"MultiOutput(classes={self.classes!r}): give the number of classes of each column of the targets, "
                f"for example (3, 2)"
            )
        object.__setattr__(self, "classes", tuple(int(count) for count in classes))

    def parts(self) -> Iterator[slice]:
        """The outputs that speak of each column."""
        start = 0
        for count in self.classes:
            yield slice(start, start + count)
            start += count

    def __call__(self, xp: Any, y: Array, target: Array, weight: Array | None = None) -> tuple[Array, Array]:
        each = [self.loss(xp, y[..., part], target[..., j], weight) for j, part in enumerate(self.parts())]
        return sum(value for value, _ in each), xp.concat([dy for _, dy in each], axis=-1)

    def encode(self, xp: Any, target: Array, outputs: int, dtype: Any) -> Array:
        """Give labels (batch, columns)."""
        columns, needed = len(self.classes), sum(self.classes)
        if outputs != needed:
            raise ShapeError(f"{self} needs {needed} outputs, one for each class; the model gives {outputs}")
        if target.ndim == 1 and columns == 1:
            target = xp.reshape(target, (-1, 1))
        if target.ndim != 2 or target.shape[1] != columns:
            raise ShapeError(f"{self} expects targets of shape (rows, {columns}); got shape {tuple(target.shape)}")
        if not xp.isdtype(target.dtype, ("integral", "bool")):
            raise TypeError(
                f"{self} expects integer class labels, got dtype {target.dtype}; convert them with `.astype('int64')`"
            )
        if xp.isdtype(target.dtype, "bool"):
            target = xp.astype(target, xp.int32)
        for j, count in enumerate(self.classes):
            low, high = int(xp.min(target[:, j])), int(xp.max(target[:, j]))
            if low < 0 or high >= count:
                raise ValueError(
                    f"the class labels in column {j} run from {low} to {high}, but classes={self.classes} gives it "
                    f"{count}, so labels must be 0 to {count - 1}"
                )
        return xp.astype(target, xp.int32, copy=False)
