"""How a fit goes and ends: early stopping, warnings, callbacks, Ctrl-C."""

import os
import signal
import threading
import warnings
from typing import Any

import numpy as np
import pytest
from helpers import assert_close
from iris import NUMBERS, TEXT, X, Y, assert_same, lbfgs, small, weights
from sklearn.callback import ScoringMonitor
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss, make_scorer, mean_absolute_error

from mlp_xp import train
from mlp_xp.estimators import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

BOTH = [pytest.param(MLPClassifier, Y, id="classifier"), pytest.param(MLPRegressor, NUMBERS, id="regressor")]


# Early stopping


def test_early_stopping_sets_a_part_of_each_class_aside() -> None:
    """It watches the accuracy there, and ends with the weights of the best epoch."""
    estimator = small(early_stopping=True, max_iter=200, validation_fraction=0.2, n_iter_no_change=5).fit(X, TEXT)
    scores = estimator.validation_scores_
    assert len(scores) == estimator.n_iter_ == len(estimator.loss_curve_) == len(estimator.validation_loss_curve_) < 200
    assert estimator.t_ == 120 * estimator.n_iter_
    assert estimator.best_validation_score_ == max(scores) and estimator.best_loss_ is None
    assert all(round(30 * score) == pytest.approx(30 * score) for score in scores)
    best = int(np.argmax(scores)) + 1
    again = small(early_stopping=True, max_iter=best, validation_fraction=0.2, n_iter_no_change=5).fit(X, TEXT)
    assert_same(estimator, again)


@pytest.mark.parametrize(("kind", "y"), BOTH)
@pytest.mark.parametrize("more", [{}, {"standardize": True}], ids=["", "standardize"])
def test_early_stopping_on_ones_own_data(kind: Any, y: Any, more: Any) -> None:
    rows = np.arange(150) % 4 > 0
    held_out = X[~rows], y[~rows]
    more = {"early_stopping": True, "max_iter": 60, "learning_rate_init": 0.05, **more}
    estimator = small(kind, **more).fit(X[rows], y[rows], eval_set=held_out)
    assert estimator.t_ == sum(rows) * estimator.n_iter_  # all rows are trained on
    assert estimator.score(*held_out) == pytest.approx(estimator.best_validation_score_, rel=1e-9)
    assert estimator.best_validation_score_ == max(estimator.validation_scores_)


def test_an_eval_set_without_early_stopping_is_looked_at_alone() -> None:
    held_out = X[::3], TEXT[::3]
    estimator = small().fit(X, TEXT, eval_set=held_out)
    assert_same(estimator, small().fit(X, TEXT))
    assert estimator.validation_scores_ is None and len(estimator.validation_loss_curve_) == 5
    assert estimator.validation_loss_curve_[-1] == pytest.approx(log_loss(held_out[1], estimator.predict_proba(X[::3])))
    assert small().fit(X, TEXT).validation_loss_curve_ is None
    listed = small().fit(X, TEXT, eval_set=[held_out])
    assert listed.validation_loss_curve_ == estimator.validation_loss_curve_


def test_an_eval_set_with_weights() -> None:
    times = np.arange(50) % 3
    estimator = small(early_stopping=True).fit(X, TEXT, eval_set=(X[::3], TEXT[::3], times))
    repeated = small(early_stopping=True).fit(
        X, TEXT, eval_set=(np.repeat(X[::3], times, axis=0), np.repeat(TEXT[::3], times))
    )
    np.testing.assert_allclose(estimator.validation_loss_curve_, repeated.validation_loss_curve_, rtol=1e-12)
    np.testing.assert_allclose(estimator.validation_scores_, repeated.validation_scores_, rtol=1e-12)


def test_an_eval_set_may_lack_a_class_also_with_warm_start() -> None:
    estimator = small(warm_start=True)
    for _ in range(2):
        estimator.fit(X, TEXT, eval_set=(X[:50], TEXT[:50]))
    assert len(estimator.validation_loss_curve_) == 10


@pytest.mark.parametrize(
    ("eval_set", "message"),
    [
        ((X,), r"eval_set must be one data set, \(X, y\) or \(X, y, sample_weight\)"),
        (X, r"eval_set must be"),
        ([(X, TEXT), (X, TEXT)], r"eval_set must be one data set"),
        ((X[:, :3], TEXT), "X has 3 features, but MLPClassifier is expecting 4 features"),
        ((X[:9], TEXT[:8]), "inconsistent numbers of samples"),
        ((X[:3], ["setosa", "rose", "setosa"]), "classes not in"),
        ((X * np.nan, TEXT), "NaN"),
    ],
)
def test_a_wrong_eval_set(eval_set: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small().fit(X, TEXT, eval_set=eval_set)


def test_a_scorer_for_early_stopping() -> None:
    held_out = X[::4], NUMBERS[::4]
    more = {"early_stopping": True, "max_iter": 12, "standardize": True, "learning_rate_init": 0.05}
    by_name = small(MLPRegressor, scoring="neg_mean_absolute_error", **more).fit(X, NUMBERS, eval_set=held_out)
    scorer = make_scorer(mean_absolute_error, greater_is_better=False)
    for scoring in (scorer, lambda estimator, x, y: -mean_absolute_error(y, estimator.predict(x))):
        same = small(MLPRegressor, scoring=scoring, **more).fit(X, NUMBERS, eval_set=held_out)
        assert same.validation_scores_ == by_name.validation_scores_
    best = -mean_absolute_error(held_out[1], by_name.predict(held_out[0]))
    assert best == max(by_name.validation_scores_) < 0  # in the units of y
    assert not np.allclose(by_name.validation_scores_, small(MLPRegressor, **more).fit(X, NUMBERS).validation_scores_)
    with pytest.raises(ValueError, match="nonsense"):
        small(scoring="nonsense", early_stopping=True).fit(X, Y)


# When a fit ends


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_max_iter_ends_with_a_warning(solver: str) -> None:
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(3\) reached") as caught:
        estimator = small(solver=solver, max_iter=3).fit(X, Y)
    assert estimator.n_iter_ == 3 and len(caught) == 1
    assert caught[0].filename == __file__


def test_a_fit_that_converged_does_not_warn(recwarn: pytest.WarningsRecorder) -> None:
    warnings.simplefilter("always")
    stalled = small(tol=100.0, n_iter_no_change=3, max_iter=50).fit(X, Y)
    assert stalled.n_iter_ == 5  # the first epoch is better than none, and so are not the four after it
    lbfgs(max_iter=500, tol=1e-3, hidden_layer_sizes=()).fit(X, Y)
    small().partial_fit(X, Y, classes=[0, 1, 2])
    small(callbacks=Looking(stop_after=5)).fit(X, Y)
    assert not recwarn.list
    small(tol=100.0, n_iter_no_change=np.inf, max_iter=7).fit(X, Y)  # inf never says that it has
    assert [warning.category for warning in recwarn.list] == [ConvergenceWarning]


def test_max_fun_bounds_the_evaluations_of_lbfgs() -> None:
    estimator = lbfgs(max_iter=100, max_fun=7).fit(X, Y)
    assert 0 < estimator.n_iter_ <= 7 < lbfgs(max_iter=100).fit(X, Y).n_iter_


class Looking(train.Callback):
    def __init__(self, stop_after: int = 0) -> None:
        self.stop_after, self.records, self.rates = stop_after, [], []

    def on_epoch_end(self, trainer: train.Trainer, record: dict[str, float]) -> None:
        self.records.append(record)
        trainer.stop = trainer.stop or len(self.records) == self.stop_after


def test_callbacks_see_every_epoch_and_may_end_the_fit() -> None:
    looking = Looking()
    estimator = small(callbacks=looking).fit(X, Y, eval_set=(X, Y))
    assert [record["loss"] for record in looking.records] == estimator.loss_curve_
    assert [record["val_loss"] for record in looking.records] == estimator.validation_loss_curve_
    stopped = small(callbacks=[Looking(stop_after=2), Looking()]).fit(X, Y)
    assert stopped.n_iter_ == 2
    assert_same(stopped, small(max_iter=2).fit(X, Y))


def test_a_callback_of_the_trainer_that_restores_the_best_weights() -> None:
    stopping = train.EarlyStopping("val_loss", patience=3)
    estimator = small(callbacks=[stopping], max_iter=200, learning_rate_init=0.1).fit(X, Y, eval_set=(X[::2], Y[::2]))
    assert estimator.n_iter_ < 200
    found = log_loss(Y[::2], estimator.predict_proba(X[::2]))
    assert found == pytest.approx(min(estimator.validation_loss_curve_))


class Watching:
    """A callback by the protocol of scikit-learn."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.stop_after, self.scores, self.calls = stop_after, [], []

    def setup(self, estimator: Any, context: Any) -> None:
        self.calls.append("setup")

    def teardown(self, estimator: Any, context: Any) -> None:
        self.calls.append("teardown")

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        self.calls.append(f"begin {context.task_name}")

    def on_fit_task_end(self, estimator: Any, context: Any, *, X: Any, y: Any, fitted_estimator: Any) -> bool:
        self.calls.append(f"end {context.task_name}")
        self.scores.append(fitted_estimator.score(X, y))
        return len(self.scores) == self.stop_after


@pytest.mark.parametrize(("kind", "y"), [*BOTH, pytest.param(MLPClassifier, TEXT, id="text")])
def test_callbacks_of_scikit_learn(kind: Any, y: Any) -> None:
    watching = Watching()
    estimator = small(kind).set_callbacks(watching).fit(X, y)
    assert watching.calls == ["setup", "begin fit", *["begin epoch", "end epoch"] * 5, "end fit", "teardown"]
    assert watching.scores[-1] == estimator.score(X, y)
    assert watching.scores[0] == small(kind, max_iter=1).fit(X, y).score(X, y)
    stopped = small(kind).set_callbacks(Watching(stop_after=2)).fit(X, y)
    assert stopped.n_iter_ == 2
    assert_same(stopped, small(kind, max_iter=2).fit(X, y))


def test_callbacks_are_torn_down_after_a_fit_that_fails() -> None:
    watching = Watching()
    estimator = small(callbacks=Fails()).set_callbacks(watching)
    with pytest.raises(RuntimeError, match="the disk is full"):
        estimator.fit(X, Y)
    assert watching.calls[0] == "setup" and watching.calls[-1] == "teardown"
    assert not hasattr(estimator, "trainer_") and not hasattr(estimator, "_callback_fit_ctx")


class Fails(train.Callback):
    def on_epoch_end(self, trainer: train.Trainer, record: dict[str, float]) -> None:
        raise RuntimeError("the disk is full")


def test_scoring_monitor() -> None:
    monitor = ScoringMonitor(scoring="accuracy")
    estimator = small().set_callbacks(monitor).fit(X, Y)
    scores = [row["accuracy"] for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(scores) == 5 and scores[-1] == estimator.score(X, Y)
    small().set_callbacks(monitor).partial_fit(X, Y, classes=[0, 1, 2])


def test_verbose_says_why_it_stopped(capsys: pytest.CaptureFixture[str]) -> None:
    small(verbose=True, tol=100.0, n_iter_no_change=2).fit(X, Y)
    assert "Training loss did not improve more than tol=100.000000 for 2 consecutive epochs" in capsys.readouterr().out
    small(tol=100.0, n_iter_no_change=2).fit(X, Y)
    printed = capsys.readouterr()
    assert printed.out == printed.err == ""


@pytest.mark.parametrize("n_jobs", [1, 2, -1])
def test_n_jobs(n_jobs: int) -> None:
    estimator = small(n_jobs=n_jobs).fit(X, Y)
    assert_close(weights(estimator), weights(small().fit(X, Y)), factor=1000, dtype=np.float64)


# Ctrl-C


class Interrupt(train.Callback):
    """Raises KeyboardInterrupt, or sends the signal, at a step or after an epoch."""

    def __init__(self, *, step: int = 0, epoch: int = 0, by_signal: bool = False) -> None:
        self.step, self.epoch, self.by_signal = step, epoch, by_signal

    def _interrupt(self) -> None:
        if not self.by_signal:
            raise KeyboardInterrupt
        os.kill(os.getpid(), signal.SIGINT)

    def on_step(self, trainer: train.Trainer) -> None:
        if trainer.step == self.step:
            self._interrupt()

    def on_epoch_end(self, trainer: train.Trainer, record: dict[str, float]) -> None:
        if trainer.epoch == self.epoch:
            self._interrupt()


@pytest.mark.parametrize(("kind", "y"), BOTH)
@pytest.mark.parametrize("more", [{}, {"early_stopping": True}], ids=["", "early_stopping"])
@pytest.mark.parametrize("by_signal", [False, True], ids=["raised", "signal"])
@pytest.mark.parametrize(
    ("where", "epochs"), [({"step": 2}, 0), ({"epoch": 1}, 1), ({"step": 12}, 2), ({"epoch": 3}, 3)], ids=str
)
def test_ctrl_c_leaves_a_fitted_estimator(
    kind: Any, y: Any, more: Any, by_signal: bool, where: Any, epochs: int
) -> None:
    assert threading.current_thread() is threading.main_thread()
    estimator = small(kind, callbacks=Interrupt(by_signal=by_signal, **where), **more)
    with pytest.warns(UserWarning, match="Training interrupted by user") as caught:
        estimator.fit(X, y)
    assert len(caught) == 1 and caught[0].filename == __file__
    assert estimator.n_iter_ == epochs == len(estimator.loss_curve_)
    assert np.all(np.isfinite(weights(estimator)))
    assert estimator.predict(X).shape == (150,)
    assert isinstance(estimator.score(X, y), float)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    estimator.set_params(callbacks=(), warm_start=True).fit(X, y)
    assert len(estimator.loss_curve_) == epochs + 5
