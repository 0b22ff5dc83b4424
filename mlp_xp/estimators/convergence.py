"""When a fit has converged, what it leaves in the estimator, and the learning rates that follow what happens."""

from math import inf
from typing import Any

from mlp_xp.train import Callback, Trainer

SMALLEST_RATE = 1e-6
"""Where "adaptive" stops."""


class Convergence(Callback):
    """Keeps loss_, loss_curve_ and their like, and stops a fit by the rules of scikit-learn's MLP.

    A fit has converged when for more than `n_iter_no_change` epochs neither the training loss fell, nor (with early
    stopping) the validation score rose, by `tol`. "adaptive" then divides the learning rate by 5 and goes on;
    "invscaling" lowers it after every epoch. With early stopping the weights at the end are those of the best epoch.

    score: a function that gives the validation score, of the record of an epoch or, for None, of the weights before the
    first; None without early stopping.
    """

    def __init__(self, estimator: Any, rows: int, score: Any, *, new: bool, incremental: bool) -> None:
        self.estimator, self.rows, self.score = estimator, rows, score
        self.converged = self.ran_out = False
        if new:
            estimator.t_ = 0
            estimator.loss_curve_ = []
            estimator.validation_loss_curve_ = estimator.validation_scores_ = estimator.best_validation_score_ = None
            estimator.loss_ = estimator.best_loss_ = inf
        if score is not None:
            estimator.best_loss_ = None
        elif estimator.best_loss_ is None:  # the fit before watched the score
            estimator.best_loss_ = inf
        if new or not incremental:
            estimator._no_improvement_count = 0
        estimator.n_iter_ = 0
        self._new = new
        self._best: Any = None

    def on_fit_start(self, trainer: Trainer, epochs: int, steps_per_epoch: int) -> None:
        self._evaluations = trainer.evaluations
        if self.score is not None:
            self.estimator.best_validation_score_ = -inf
            if not self._new:  # the weights that it goes on from are to be beaten, by what is watched now
                self._is_better(trainer, self.score(None))

    def on_epoch_end(self, trainer: Trainer, record: dict[str, float]) -> None:
        estimator = self.estimator
        estimator.n_iter_ += 1
        estimator.loss_ = record["loss"]
        estimator.loss_curve_.append(estimator.loss_)
        if "val_loss" in record:
            curve = estimator.validation_loss_curve_ = estimator.validation_loss_curve_ or []
            curve.append(record["val_loss"])
        better = self._is_better(trainer, None if self.score is None else self._validate(record))
        estimator._no_improvement_count = 0 if better else estimator._no_improvement_count + 1
        if trainer.optimizer.full_batch:  # which says itself when it has converged
            self.ran_out = trainer.evaluations - self._evaluations >= estimator.max_fun
            trainer.stop = trainer.stop or self.ran_out
            return
        estimator.t_ += self.rows
        if estimator.solver == "sgd" and estimator.learning_rate == "invscaling":
            trainer.learning_rate = estimator.learning_rate_init / (estimator.t_ + 1) ** estimator.power_t
        if estimator._no_improvement_count > estimator.n_iter_no_change:
            self._end(trainer)

    def _validate(self, record: dict[str, float]) -> float:
        estimator, score = self.estimator, self.score(record)
        scores = estimator.validation_scores_ = estimator.validation_scores_ or []
        scores.append(score)
        return score

    def _is_better(self, trainer: Trainer, score: float | None) -> bool:
        """Has this epoch made enough of a difference? Takes note of the best so far."""
        estimator = self.estimator
        if score is None:
            before = estimator.best_loss_
            estimator.best_loss_ = min(before, estimator.loss_)
            return estimator.loss_ <= before - estimator.tol
        before = estimator.best_validation_score_
        if score > before:
            estimator.best_validation_score_ = score
            self._best = None  # let go of before there is another
            self._best = trainer.copy_state(slots=trainer.averages)
        return score >= before + estimator.tol

    def _end(self, trainer: Trainer) -> None:
        estimator = self.estimator
        what = "Training loss" if self.score is None else "Validation score"
        epochs = estimator.n_iter_no_change
        said = f"{what} did not improve more than tol={estimator.tol:f} for {epochs} consecutive epochs."
        adaptive = estimator.solver == "sgd" and estimator.learning_rate == "adaptive"
        if adaptive and trainer.learning_rate > SMALLEST_RATE:
            trainer.learning_rate = trainer.learning_rate / 5
            estimator._no_improvement_count = 0
            self._say(f"{said} Setting learning rate to {trainer.learning_rate:f}")
            return
        trainer.stop = self.converged = True
        self._say(f"{said} Stopping.")

    def _say(self, text: str) -> None:
        if self.estimator.verbose:
            print(text)

    def on_fit_end(self, trainer: Trainer) -> None:
        if self._best is not None:
            trainer.restore_state(self._best)
            self._best = None
