"""Labels of every kind, and weights of rows and of classes."""

import warnings
from typing import Any

import numpy as np
import pytest
from helpers import assert_close
from iris import COLUMNS, INDICATORS, NUMBERS, TEXT, X, Y, assert_same, lbfgs, small, weights
from sklearn import neural_network
from sklearn.exceptions import DataConversionWarning
from sklearn.utils import compute_sample_weight

from mlp_xp.estimators import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

BOTH = [pytest.param(MLPClassifier, Y, id="classifier"), pytest.param(MLPRegressor, NUMBERS, id="regressor")]


# Labels


@pytest.mark.parametrize(
    "names",
    [
        [0, 1, 2],
        [-1, 1],
        [False, True],
        [1.0, 2.0, 4.0],
        ["setosa", "versicolor", "virginica"],
        np.array(["b", "c", "a"], dtype=object),
        np.array([7, 200, 3], dtype=np.uint8),
    ],
    ids=str,
)
def test_labels_of_any_kind(names: Any) -> None:
    names = np.asarray(names)
    y = names[np.minimum(Y, len(names) - 1)]
    estimator = small(max_iter=60, learning_rate_init=0.02).fit(X, y)
    np.testing.assert_array_equal(estimator.classes_, np.unique(names))
    assert estimator.classes_.dtype == names.dtype
    found = estimator.predict(X)
    assert found.dtype == names.dtype and found.shape == (150,)
    assert estimator.score(X, y) > 0.9
    assert estimator.score(X.tolist(), y.tolist()) == estimator.score(X, y)
    probabilities = estimator.predict_proba(X)
    assert probabilities.shape == (150, len(names))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    np.testing.assert_array_equal(estimator.classes_[probabilities.argmax(axis=1)], found)
    np.testing.assert_allclose(estimator.predict_log_proba(X), np.log(probabilities))
    scores = estimator.decision_function(X)
    assert scores.shape == ((150,) if len(names) == 2 else (150, len(names)))
    chosen = (scores > 0).astype(int) if len(names) == 2 else scores.argmax(axis=1)
    np.testing.assert_array_equal(estimator.classes_[chosen], found)


@pytest.mark.parametrize("more", [{}, {"scoring": "f1_macro"}, {"scoring": "neg_log_loss"}], ids=str)
def test_text_labels_with_early_stopping(more: Any) -> None:
    estimator = small(early_stopping=True, max_iter=40, learning_rate_init=0.02, **more).fit(X, TEXT)
    assert estimator.score(X, TEXT) > 0.8
    assert len(estimator.validation_scores_) == estimator.n_iter_


@pytest.mark.parametrize(("kind", "y"), BOTH)
def test_y_as_a_column_warns_and_predicts_a_row(kind: Any, y: Any) -> None:
    with pytest.warns(DataConversionWarning, match="A column-vector y was passed when a 1d array was expected"):
        estimator = small(kind).fit(X, y[:, None])
    assert estimator.predict(X).shape == (150,)
    assert_same(estimator, small(kind).fit(X, y))


@pytest.mark.parametrize("name", [3, "only"])
def test_a_single_class(name: Any) -> None:
    y = np.full(150, name)
    estimator = small().fit(X, y)
    np.testing.assert_array_equal(estimator.predict(X), y)
    np.testing.assert_array_equal(estimator.predict_proba(X), np.ones((150, 1)))
    assert estimator.score(X, y) == 1


def test_several_labels_of_two_values() -> None:
    estimator = small(max_iter=80, learning_rate_init=0.02).fit(X, INDICATORS)
    theirs = neural_network.MLPClassifier((8,), max_iter=1).fit(X, INDICATORS)
    found, probabilities = estimator.predict(X), estimator.predict_proba(X)
    assert found.shape == probabilities.shape == estimator.decision_function(X).shape == INDICATORS.shape
    np.testing.assert_array_equal(estimator.classes_, theirs.classes_)
    assert (estimator.n_outputs_, estimator.out_activation_) == (theirs.n_outputs_, theirs.out_activation_)
    np.testing.assert_array_equal(found, (probabilities > 0.5).astype(int))
    np.testing.assert_array_equal(found, (estimator.decision_function(X) > 0).astype(int))
    assert estimator.score(X, INDICATORS) == np.mean(np.all(found == INDICATORS, axis=1)) > 0.8


@pytest.mark.parametrize("text", [False, True])
def test_several_labels_of_many_values(text: bool) -> None:
    y = np.array([[f"{value}" for value in row] for row in COLUMNS]) if text else COLUMNS
    estimator = small(max_iter=80, learning_rate_init=0.02).fit(X, y)
    assert [list(each) for each in estimator.classes_] == [list(np.unique(column)) for column in y.T]
    found, probabilities = estimator.predict(X), estimator.predict_proba(X)
    scores, logarithms = estimator.decision_function(X), estimator.predict_log_proba(X)
    assert found.shape == y.shape and found.dtype == y.dtype
    for column, classes in enumerate(estimator.classes_):
        assert probabilities[column].shape == scores[column].shape == (150, len(classes))
        np.testing.assert_allclose(probabilities[column].sum(axis=1), 1)
        np.testing.assert_allclose(logarithms[column], np.log(probabilities[column]))
        np.testing.assert_array_equal(classes[probabilities[column].argmax(axis=1)], found[:, column])
        np.testing.assert_array_equal(classes[scores[column].argmax(axis=1)], found[:, column])
        assert np.mean(found[:, column] == y[:, column]) > 0.9
    assert estimator.score(X, y) == np.mean(np.all(found == y, axis=1))


@pytest.mark.parametrize("y", [INDICATORS, COLUMNS, np.stack([NUMBERS, X[:, 0]], axis=1)], ids=["labels", "many", "R2"])
def test_early_stopping_with_several_columns(y: Any) -> None:
    kind = MLPRegressor if y.dtype.kind == "f" else MLPClassifier
    held_out = X[::5], y[::5]
    estimator = small(kind, early_stopping=True, max_iter=20, learning_rate_init=0.02).fit(X, y, eval_set=held_out)
    assert len(estimator.validation_scores_) == 20
    assert estimator.score(*held_out) == pytest.approx(max(estimator.validation_scores_), rel=1e-12)


# Weights of rows and classes


@pytest.mark.parametrize(
    ("kind", "y"),
    [*BOTH, pytest.param(MLPClassifier, INDICATORS, id="labels"), pytest.param(MLPClassifier, COLUMNS, id="many")],
)
def test_whole_weights_are_repeated_rows_and_zero_leaves_a_row_out(kind: Any, y: Any) -> None:
    times = np.arange(150) % 4
    weighted = lbfgs(kind).fit(X, y, sample_weight=times)
    repeated = lbfgs(kind).fit(np.repeat(X, times, axis=0), np.repeat(y, times, axis=0))
    assert_close(weights(weighted), weights(repeated), factor=1e5, dtype=np.float64)
    for same in (times.tolist(), 3.0 * times):  # only alpha knows how large they are
        assert_close(
            weights(lbfgs(kind, alpha=0.0).fit(X, y, same)),
            weights(lbfgs(kind, alpha=0.0).fit(X, y, times)),
            factor=1e5,
            dtype=np.float64,
        )


def test_weights_come_as_a_series_or_one_number() -> None:
    import pandas

    times = np.arange(150) % 4
    reference = small().fit(X, Y, times)
    assert_same(small().fit(X, Y, pandas.Series(times, index=np.arange(150)[::-1])), reference)
    assert_close(weights(small().fit(X, Y, 1)), weights(small().fit(X, Y)), dtype=np.float64)


def test_weights_in_partial_fit() -> None:
    times = np.arange(150) % 4
    estimator = small().partial_fit(X, Y, times, classes=[0, 1, 2])
    assert_same(estimator, small(max_iter=1).fit(X, Y, times))


@pytest.mark.parametrize(("kind", "y"), BOTH)
def test_all_zero_weights_are_refused(kind: Any, y: Any) -> None:
    theirs = getattr(neural_network, kind.__name__)
    for each in (kind, theirs):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(ValueError, match=r"weight"):
                each(hidden_layer_sizes=(8,), max_iter=2).fit(X, y, np.zeros(150))


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.ones(149), r"sample_weight.shape == \(149,\), expected \(150,\)"),
        (np.ones((150, 1)), "Sample weights must be 1D"),
    ],
)
@pytest.mark.parametrize("kind", [MLPClassifier, neural_network.MLPClassifier], ids=["ours", "scikit-learn"])
def test_weights_of_a_wrong_shape(kind: Any, weight: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(max_iter=1).fit(X, Y, weight)


@pytest.mark.parametrize("class_weight", ["balanced", {"setosa": 3.0, "virginica": 0.5}], ids=["balanced", "dict"])
def test_class_weight_is_a_weight_for_each_row(class_weight: Any) -> None:
    rows = np.r_[0:10, 50:150]
    x, y = X[rows], TEXT[rows]
    of_class = compute_sample_weight(class_weight, y)
    assert_same(small(class_weight=class_weight).fit(x, y), small().fit(x, y, of_class))
    times = np.arange(len(y)) % 3 + 1.0
    assert_same(small(class_weight=class_weight).fit(x, y, times), small().fit(x, y, times * of_class))


def test_class_weight_balanced_helps_the_few() -> None:
    rows = np.r_[50:56, 100:150]  # 6 of one kind, 50 of the other
    x, y = X[rows][:, :2], Y[rows]
    found = [lbfgs(class_weight=each, hidden_layer_sizes=()).fit(x, y).predict(x) for each in (None, "balanced")]
    assert np.mean(found[1][y == 1] == 1) > np.mean(found[0][y == 1] == 1)


def test_class_weight_of_several_columns_is_a_list() -> None:
    class_weight = [{0: 1.0, 1: 2.0, 2: 3.0}, {5: 1.0, 6: 2.0}, {0: 1.0, 1: 0.5, 2: 1.0}]
    of_class = compute_sample_weight(class_weight, COLUMNS)
    assert_same(small(class_weight=class_weight).fit(X, COLUMNS), small().fit(X, COLUMNS, of_class))
    of_class = compute_sample_weight("balanced", COLUMNS)
    assert_same(small(class_weight="balanced").fit(X, COLUMNS), small().fit(X, COLUMNS, of_class))


def test_class_weight_of_a_class_that_is_not_there() -> None:
    with pytest.raises(ValueError, match=r"classes.*not in class_weight"):
        small(class_weight={0: 1.0, 7: 2.0, 8: 3.0}).fit(X, Y)


@pytest.mark.parametrize("y", [(Y == 1).astype(int), Y, INDICATORS[:, :1] + INDICATORS[:, 1:2]], ids=["2", "3", "sum"])
def test_label_smoothing_is_training_on_soft_labels(y: Any) -> None:
    """A soft label is every label at once, each with its share as its weight."""
    y = y.ravel()
    classes, smoothing = np.unique(y), 0.2
    share = smoothing / len(classes)
    everything = [(np.full(150, each), np.where(y == each, 1 - smoothing + share, share)) for each in classes]
    labels, shares = (np.concatenate(part) for part in zip(*everything, strict=True))
    soft = lbfgs().fit(np.tile(X, (len(classes), 1)), labels, shares)
    assert_close(weights(lbfgs(label_smoothing=smoothing).fit(X, y)), weights(soft), factor=1e5, dtype=np.float64)
