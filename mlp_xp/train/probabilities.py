"""Metrics of the probabilities of classes, and of their order. Defined as in scikit-learn's `sklearn.metrics`.

The outputs are logits, or probabilities with from_logits=False: one for each class, or a single one for class 1.
The class of a row is found as in `classification`.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from .classification import labels, one_hot
from .metrics import Array, Kept, Mean, Metric, columns, zeros


@dataclass(frozen=True)
class LogLoss(Mean):
    """The mean of -log p, with p the probability that is given to the class of the row.

    From logits without a bound. Given probabilities count as at least eps and at most 1 - eps, with eps that of their
    dtype, as in scikit-learn.
    """

    from_logits: bool = True
    lower_is_better: ClassVar[bool] = True
    name: ClassVar[str] = "log_loss"

    def rows(self, xp: Any, y: Array, target: Array) -> Array:
        if self.from_logits:
            log_p = log_softmax(xp, y)
        else:
            eps = float(xp.finfo(y.dtype).eps)
            log_p = xp.log(xp.minimum(xp.maximum(both(xp, y), eps), 1.0 - eps))
        true = one_hot(xp, labels(xp, y, target), log_p.shape[-1])
        return -xp.sum(xp.where(true, log_p, xp.zeros_like(log_p)), axis=-1)  # a product with 0 would spoil infinity


@dataclass(frozen=True)
class Brier(Mean):
    """The mean of sum_c (p_c - t_c)^2, with t_c = 1 for the class of the row and 0 for the others (Brier, 1950).

    For one or two outputs it is half of that, (p_1 - t_1)^2, so it is between 0 and 1; else between 0 and 2.
    """

    from_logits: bool = True
    lower_is_better: ClassVar[bool] = True
    name: ClassVar[str] = "brier"

    def rows(self, xp: Any, y: Array, target: Array) -> Array:
        p = xp.exp(log_softmax(xp, y)) if self.from_logits else both(xp, y)
        classes = p.shape[-1]
        error = p - xp.astype(one_hot(xp, labels(xp, y, target), classes), p.dtype)
        return (0.5 if classes == 2 else 1.0) * xp.sum(error * error, axis=-1)


@dataclass(frozen=True)
class RocAuc(Metric):
    """The area under the receiver operating characteristic: the share of pairs of a positive and a negative row in
    which the positive one has the larger score, pairs with equal scores counting half (Hanley and McNeil, 1982).

    Exact, and measured on validation data and by evaluate only: it takes all rows at once. With more than two outputs
    the mean over the classes, each against the rest; with `multilabel` over the outputs, each against its column of
    the target. NaN where a class has no row, or all of them.
    """

    from_logits: bool = True
    multilabel: bool = False
    by_batches: ClassVar[bool] = False
    name: ClassVar[str] = "roc_auc"

    def start(self, xp: Any, like: Array, outputs: int) -> Kept:
        scores = outputs if outputs > 2 or self.multilabel else 1
        return zeros(xp, like, (scores,), (scores,), (scores,))

    def update(self, xp: Any, kept: Kept, y: Array, target: Array, weight: Array | None) -> Kept:
        score, true = (each.mT for each in self.scores(xp, y, target))
        # Rows last: there libraries add up pairwise or in a tree, which loses the least.
        true = xp.broadcast_to(xp.astype(true, y.dtype), score.shape)
        each = xp.ones_like(true) if weight is None else weight[..., None, :]
        positive, negative = true * each, (1.0 - true) * each

        def pairs(order: Array, first: Array, second: Array) -> Array:
            """The weight of all pairs whose row of `first` comes before that of `second`."""
            first, second = (xp.take_along_axis(rows, order, axis=-1) for rows in (first, second))
            return xp.sum(xp.cumulative_sum(first, axis=-1) * second, axis=-1)

        # A stable sort leaves equal scores as they stand, rising and falling: of both counts a tied pair is in one.
        rising, falling = (xp.argsort(each, axis=-1, stable=True) for each in (score, -score))
        won = 0.5 * (pairs(rising, negative, positive) + pairs(falling, positive, negative))
        return won, xp.sum(positive, axis=-1), xp.sum(negative, axis=-1)

    def scores(self, xp: Any, y: Array, target: Array) -> tuple[Array, Array]:
        """What rows are ranked by, (..., batch, scores), and which of them are positive, (batch, scores)."""
        if self.multilabel:
            return y, columns(self, y, target) > 0.5
        label = labels(xp, y, target)
        if y.shape[-1] <= 2:
            score = y[..., 1:] - y[..., :1] if y.shape[-1] == 2 and self.from_logits else y[..., -1:]
            return score, label[..., None] == 1
        return log_softmax(xp, y) if self.from_logits else y, one_hot(xp, label, y.shape[-1])

    def result(self, kept: Kept) -> float:
        areas = [
            won / (positive * negative) if positive and negative else float("nan")
            for won, positive, negative in zip(*(each.tolist() for each in kept), strict=True)
        ]
        return sum(areas) / len(areas)


def both(xp: Any, p: Array) -> Array:
    """A probability for each class, also where only that of class 1 is given."""
    return xp.concat([1.0 - p, p], axis=-1) if p.shape[-1] == 1 else p


def log_softmax(xp: Any, z: Array) -> Array:
    """The logarithm of the probability of each class; a single logit is that of class 1 against 0."""
    if z.shape[-1] == 1:
        z = xp.concat([xp.zeros_like(z), z], axis=-1)
    shifted = z - xp.max(z, axis=-1, keepdims=True)
    return shifted - xp.log(xp.sum(xp.exp(shifted), axis=-1, keepdims=True))
