"""A fit that fails changes nothing, and parameters that are set after a fit do not change what the net means."""

import pickle
from typing import Any

import numpy as np
import pytest
from iris import COLUMNS, INDICATORS, NUMBERS, TEXT, X, Y, small, weights

from mlp_xp import nn, optim, train
from mlp_xp.estimators import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def state(estimator: Any) -> dict[str, Any]:
    """What a fit has left, by name, and what is predicted."""
    found = {name: value for name, value in vars(estimator).items() if name not in estimator.get_params()}
    return found | {"predicted": estimator.predict(X).tolist(), "loss_curve_": list(estimator.loss_curve_)}


class Fails(train.Callback):
    def on_epoch_end(self, trainer: train.Trainer, record: dict[str, float]) -> None:
        raise RuntimeError("the disk is full")


WRONG: dict[str, Any] = {
    "negative weights": ({}, (X, TEXT, np.full(len(X), -1.0))),
    "another length of dropout": ({"dropout": [0.1, 0.2, 0.3]}, (X, TEXT)),
    "NaN": ({}, (X * np.nan, TEXT)),
    "a rate far too high": ({"solver": "sgd", "learning_rate_init": 1e30}, (X, Y)),
    "a callback": ({"callbacks": Fails()}, (X, Y)),
    "unknown backend": ({"backend": "cuda"}, (X, Y)),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("warm_start", [False, True])
def test_an_estimator_is_as_it_was_after_a_fit_that_fails(name: str, warm_start: bool) -> None:
    options, arguments = WRONG[name]
    labels = TEXT if arguments[1] is TEXT else Y
    estimator = small(max_iter=3, standardize=True).fit(X, labels)
    before = state(estimator)
    with pytest.raises((ValueError, RuntimeError)):
        estimator.set_params(warm_start=warm_start, **options).fit(*arguments)
    assert state(estimator) == before
    with pytest.raises((ValueError, RuntimeError)):
        small(warm_start=warm_start, **options).fit(*arguments).predict(X)


def test_a_regressor_keeps_the_scale_of_y_too() -> None:
    estimator = small(MLPRegressor, standardize=True).fit(X, NUMBERS)
    before = estimator.predict(X)
    with pytest.raises(ValueError, match="not negative"):
        estimator.fit(X, NUMBERS * 1000, np.full(len(X), -1.0))
    np.testing.assert_array_equal(estimator.predict(X), before)


def test_a_failed_partial_fit_can_be_followed_by_one_that_goes_well() -> None:
    estimator = small().partial_fit(X, Y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="NaN"):
        estimator.partial_fit(X * np.nan, Y)
    assert estimator.n_iter_ == 1
    expected = small().partial_fit(X, Y, classes=[0, 1, 2]).partial_fit(X, Y)
    np.testing.assert_array_equal(weights(estimator.partial_fit(X, Y)), weights(expected))


def test_parameters_that_are_set_later_do_not_change_a_fitted_net() -> None:
    regressor = small(MLPRegressor).fit(X, NUMBERS)
    assert not hasattr(regressor.set_params(loss="gaussian_nll"), "predict_std")
    assert not hasattr(regressor.set_params(loss="quantile"), "predict_quantiles")
    gaussian = small(MLPRegressor, loss="gaussian_nll").fit(X, NUMBERS)
    assert gaussian.set_params(loss="huber").predict_std(X).shape == (len(X),)
    scaled = small(MLPRegressor, standardize=True, warm_start=True).fit(X, NUMBERS)
    with pytest.raises(ValueError, match="another scale than the fit before"):
        scaled.set_params(loss="poisson").fit(X, NUMBERS - NUMBERS.min())


def test_a_warm_start_compares_with_what_is_watched_now() -> None:
    estimator = small(warm_start=True, early_stopping=True, n_iter_no_change=50, max_iter=30).fit(X, Y)
    start, accuracy = weights(estimator), estimator.best_validation_score_
    estimator.set_params(scoring="neg_log_loss").fit(X, Y)
    assert accuracy > 0 > estimator.best_validation_score_
    assert not np.array_equal(weights(estimator), start)


def test_weights_that_never_got_better_are_those_that_a_warm_start_began_with() -> None:
    estimator = small(warm_start=True, early_stopping=True, max_iter=30).fit(X, Y)
    start = weights(estimator)
    estimator.set_params(solver=optim.SGD(0.5, maximize=True), max_iter=3).fit(X, Y)
    np.testing.assert_array_equal(weights(estimator), start)


def test_lbfgs_takes_all_rows_as_in_scikit_learn() -> None:
    stopped = small(solver="lbfgs", early_stopping=True, max_iter=5).fit(X, Y)
    np.testing.assert_array_equal(weights(stopped), weights(small(solver="lbfgs", max_iter=5).fit(X, Y)))
    assert stopped.t_ == 0 and stopped.validation_scores_ is None


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_what_lbfgs_remembers_is_let_go(kind: Any) -> None:
    estimator = small(kind, hidden_layer_sizes=(200, 200), solver="lbfgs", max_iter=5).fit(X, Y)
    parameters = estimator.trainer_.layout.count * 8
    assert len(pickle.dumps(estimator)) < 1.5 * parameters


def test_averaged_weights_predict_with_statistics_of_their_own() -> None:
    options = {"solver": optim.SWA(optim.SGD(0.1)), "normalization": "batch", "batch_size": 30, "max_iter": 60}
    estimator = small(**options).fit(X, Y)
    before = estimator.predict_proba(X)
    estimator.trainer_.refresh_statistics(X)
    np.testing.assert_array_equal(estimator.predict_proba(X), before)
    assert estimator.score(X, Y) > 0.9


@pytest.mark.parametrize("loss", ["log_loss", nn.SoftmaxCrossEntropy(), nn.SoftmaxFocal()])
def test_a_single_class_is_predicted_for_sure(loss: Any) -> None:
    estimator = small(loss=loss, max_iter=1).fit(X, np.full(len(X), "only"))
    assert set(estimator.predict(X)) == {"only"}
    np.testing.assert_array_equal(estimator.predict_proba(X), np.ones((len(X), 1)))


def test_the_classes_of_indicators_may_be_said_as_for_one_column() -> None:
    estimator = small().partial_fit(X, INDICATORS, classes=[0, 1]).partial_fit(X, INDICATORS, classes=[0, 1])
    assert estimator.predict(X).shape == INDICATORS.shape
    assert small(max_iter=2).fit(X, COLUMNS).score(X, COLUMNS) <= 1
