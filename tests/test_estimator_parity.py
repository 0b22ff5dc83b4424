"""The estimators against scikit-learn's: the same fit from the same weights, and nets that go over either way."""

import pickle
from typing import Any

import numpy as np
import pytest
from iris import INDICATORS, NUMBERS, TEXT, X, Y
from scipy import sparse
from sklearn import neural_network
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlp_xp import nn
from mlp_xp.estimators import MLPClassifier, MLPRegressor, from_sklearn

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

ROWS = np.random.default_rng(0).permutation(len(X))
X, Y, TEXT, NUMBERS, INDICATORS = (each[ROWS] for each in (X, Y, TEXT, NUMBERS, INDICATORS))
COUNTS = np.random.default_rng(1).poisson(np.exp(0.5 * NUMBERS)).astype(float) + 1
WEIGHT = np.random.default_rng(2).uniform(0.1, 3, len(X))
POISSON = {"loss": "poisson"}

Problem = tuple[Any, np.ndarray, dict[str, Any]]
PROBLEMS: dict[str, Problem] = {
    "binary": (neural_network.MLPClassifier, np.where(Y > 0, "yes", "no"), {}),
    "multiclass": (neural_network.MLPClassifier, TEXT, {}),
    "multilabel": (neural_network.MLPClassifier, INDICATORS, {}),
    "numbers": (neural_network.MLPRegressor, NUMBERS, {}),
    "columns": (neural_network.MLPRegressor, np.stack([NUMBERS, X[:, 0] ** 2], axis=1), {}),
    "poisson": (neural_network.MLPRegressor, COUNTS, POISSON),
    "poisson columns": (neural_network.MLPRegressor, np.stack([COUNTS, COUNTS[::-1]], axis=1), POISSON),
}
SOLVERS: dict[str, dict[str, Any]] = {
    "plain": {"solver": "sgd", "momentum": 0.0},
    "momentum": {"solver": "sgd", "nesterovs_momentum": False},
    "nesterov": {"solver": "sgd"},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.1, "power_t": 0.3},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive", "learning_rate_init": 0.2, "n_iter_no_change": 3},
    "adam": {"solver": "adam", "beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-4},
}


def begun(problem: Problem, weight: Any = None, x: Any = X, **more: Any) -> Any:
    """scikit-learn's estimator after one epoch, ready for 50 more: no shuffling, batches of 32 and a last one of 22."""
    kind, y, options = problem
    given = {"hidden_layer_sizes": (8, 6), "alpha": 2.0, "batch_size": 32, "learning_rate_init": 0.01, "tol": 1e-9}
    estimator = kind(max_iter=1, shuffle=False, random_state=0, **given | options | more)
    return estimator.fit(x, y, weight).set_params(max_iter=50, warm_start=True)


def weights(estimator: Any) -> np.ndarray:
    return np.concatenate([each.ravel() for each in (*estimator.coefs_, *estimator.intercepts_)])


def assert_equal(actual: Any, expected: Any, bound: float = 1e-10) -> None:
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= bound


def assert_same_fit(ours: Any, theirs: Any) -> None:
    assert_equal(weights(ours), weights(theirs))
    assert_equal(ours.loss_curve_, theirs.loss_curve_)
    assert ours.loss_ == ours.loss_curve_[-1]
    for name in ("loss_", "best_loss_"):
        assert_equal(getattr(ours, name), getattr(theirs, name))
    for name in ("n_iter_", "t_", "_no_improvement_count"):
        assert getattr(ours, name) == getattr(theirs, name), name


# The same fit


@pytest.mark.parametrize("activation", ["relu", "logistic"])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("name", ["binary", "multiclass", "multilabel", "numbers"])
def test_a_fit_is_scikit_learns(name: str, solver: str, activation: str) -> None:
    tol = 0.01 if solver == "adaptive" else 1e-9
    theirs = begun(PROBLEMS[name], activation=activation, **{"tol": tol, **SOLVERS[solver]})
    ours = from_sklearn(theirs)
    before = weights(ours)
    ours.fit(X, PROBLEMS[name][1])
    theirs.fit(X, PROBLEMS[name][1])
    assert np.abs(weights(theirs) - before).max() > 1e-2
    assert_same_fit(ours, theirs)
    if solver == "adaptive":
        rate = theirs._optimizer.learning_rate
        assert rate < 0.2 / 4, "the rate should have dropped"
        assert ours.trainer_.learning_rate == rate


@pytest.mark.parametrize("activation", ["tanh", "identity"])
@pytest.mark.parametrize("solver", ["nesterov", "adam"])
@pytest.mark.parametrize("name", ["multiclass", "columns", "poisson", "poisson columns"])
def test_the_weights_of_a_fit_are_scikit_learns(name: str, solver: str, activation: str) -> None:
    theirs = begun(PROBLEMS[name], activation=activation, learning_rate_init=0.002, **SOLVERS[solver])
    ours = from_sklearn(theirs)
    for each in (ours, theirs):
        each.fit(X, PROBLEMS[name][1])
    assert theirs.n_iter_ == ours.n_iter_ == 50
    assert_equal(weights(ours), weights(theirs))


def test_the_loss_of_several_columns_is_the_sum_whose_gradient_is_followed() -> None:
    """scikit-learn follows the same gradient, and reports the mean over the columns."""
    theirs = begun(PROBLEMS["columns"], alpha=0.0)
    ours = from_sklearn(theirs)
    for each in (ours, theirs):
        each.fit(X, PROBLEMS["columns"][1])
    assert_equal(ours.loss_curve_[1:], 2 * np.asarray(theirs.loss_curve_[1:]))


def test_the_loss_of_poisson_leaves_out_what_does_not_depend_on_the_net() -> None:
    theirs = begun(PROBLEMS["poisson"])
    ours = from_sklearn(theirs)
    for each in (ours, theirs):
        each.fit(X, COUNTS)
    assert_equal(ours.loss_curve_[1:], theirs.loss_curve_[1:] - np.mean(COUNTS * np.log(COUNTS) - COUNTS))


@pytest.mark.parametrize("solver", ["nesterov", "adam"])
@pytest.mark.parametrize("name", ["binary", "multilabel", "numbers"])
def test_sample_weights_and_alpha_count_as_in_scikit_learn(name: str, solver: str) -> None:
    """alpha / 2 sum W^2 is divided by the sum of the weights of a batch, not by its rows."""
    theirs = begun(PROBLEMS[name], WEIGHT, **SOLVERS[solver])
    ours = from_sklearn(theirs)
    for each in (ours, theirs):
        each.fit(X, PROBLEMS[name][1], WEIGHT)
    assert_equal(weights(ours), weights(theirs))
    for each in (ours, theirs):  # where a batch takes all rows the loss is the same too
        each.set_params(batch_size=len(X)).fit(X, PROBLEMS[name][1], WEIGHT)
    assert_equal(weights(ours), weights(theirs))
    assert_equal(ours.loss_curve_[-50:], theirs.loss_curve_[-50:])


def test_the_loss_with_sample_weights_is_the_mean_over_all_rows_by_weight() -> None:
    """scikit-learn takes the mean of each batch by weight, and of these means by the rows of the batch."""
    theirs = begun(PROBLEMS["numbers"], WEIGHT, learning_rate_init=1e-300)
    ours = from_sklearn(theirs).set_params(max_iter=1)
    squares = 0.5 * (theirs.predict(X) - NUMBERS) ** 2
    penalties = 0.5 * ours.alpha * sum(np.sum(W**2) for W in ours.coefs_)
    batches = [slice(start, start + 32) for start in range(0, len(X), 32)]
    sums = np.array([np.sum(WEIGHT[batch]) for batch in batches])
    means = [(WEIGHT[batch] @ squares[batch] + penalties) / total for batch, total in zip(batches, sums, strict=True)]
    assert_equal(ours.fit(X, NUMBERS, WEIGHT).loss_, np.average(means, weights=sums))
    rows = [len(X[batch]) for batch in batches]
    assert_equal(theirs.set_params(max_iter=1).fit(X, NUMBERS, WEIGHT).loss_, np.average(means, weights=rows))


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("name", ["multiclass", "numbers"])
def test_partial_fit_over_chunks_is_scikit_learns(name: str, solver: str) -> None:
    y = PROBLEMS[name][1]
    theirs = begun(PROBLEMS[name], **{"batch_size": 16, "tol": 0.05, "n_iter_no_change": 3, **SOLVERS[solver]})
    ours = from_sklearn(theirs)
    del theirs._optimizer  # which would go on with its moments, and ours begin anew
    for _ in range(10):
        for chunk in (slice(0, 64), slice(64, 128), slice(128, 150)):
            ours.partial_fit(X[chunk], y[chunk])
            theirs.partial_fit(X[chunk], y[chunk])
    assert_same_fit(ours, theirs)
    assert ours.n_iter_ == 1 and ours.t_ == 11 * 150
    if solver in ("adaptive", "invscaling"):
        assert ours.trainer_.learning_rate == theirs._optimizer.learning_rate < ours.learning_rate_init / 4


@pytest.mark.parametrize(("tol", "patience"), [(0.0, 50), (0.02, 4)])
@pytest.mark.parametrize("name", ["binary", "multiclass", "numbers"])
def test_early_stopping_is_scikit_learns_on_the_same_validation_rows(name: str, tol: float, patience: int) -> None:
    """Where the part that scikit-learn sets aside is given: which rows these are is a matter of chance."""
    y = PROBLEMS[name][1]
    options = {"learning_rate_init": 0.05, "validation_fraction": 0.3, "tol": tol, "n_iter_no_change": patience}
    theirs = begun(PROBLEMS[name], solver="sgd", early_stopping=True, **options)
    ours = from_sklearn(theirs)
    stratify = y if name == "binary" else None
    held_out = train_test_split(
        X, y, test_size=0.3, random_state=np.random.RandomState(theirs.random_state), stratify=stratify
    )
    X_fit, X_val, y_fit, y_val = held_out
    # scikit-learn compares with the score of the fit before, on other rows; ours begins with that of the same rows.
    theirs.best_validation_score_ = theirs.score(X_val, y_val)
    theirs._best_coefs, theirs._best_intercepts = (
        [w.copy() for w in each] for each in (theirs.coefs_, theirs.intercepts_)
    )
    ours.fit(X_fit, y_fit, eval_set=(X_val, y_val))
    theirs.fit(X, y)
    assert (theirs.n_iter_ < 50) == (patience == 4)
    assert_equal(weights(ours), weights(theirs))  # those of the best epoch
    assert_equal(ours.loss_curve_, theirs.loss_curve_)
    assert_equal(ours.validation_scores_, theirs.validation_scores_)
    assert_equal(ours.best_validation_score_, theirs.best_validation_score_)
    assert ours.best_loss_ is theirs.best_loss_ is None
    assert (ours.n_iter_, ours._no_improvement_count) == (theirs.n_iter_, theirs._no_improvement_count)


# lbfgs


def objective(estimator: Any, y: np.ndarray) -> float:
    """The loss with its penalty, from the weights alone."""
    h = X
    for index, (W, b) in enumerate(zip(estimator.coefs_, estimator.intercepts_, strict=True)):
        h = (np.tanh(h) if index else h) @ W + b
    y = (y[:, None] == estimator.classes_ if y.dtype.kind == "U" else y.reshape(len(X), -1)).astype(float)
    if estimator.out_activation_ == "softmax":
        losses = np.logaddexp.reduce(h, axis=1) - np.sum(y * h, axis=1)
    elif estimator.out_activation_ == "logistic":
        y = y[:, -h.shape[1] :]
        losses = np.sum(np.logaddexp(0, h) - y * h, axis=1)
    elif estimator.out_activation_ == "exp":
        losses = np.sum(np.exp(h) - y * h, axis=1)
    else:
        losses = 0.5 * np.sum((h - y) ** 2, axis=1)
    return float(np.mean(losses) + 0.5 * estimator.alpha * sum(np.sum(W**2) for W in estimator.coefs_) / len(X))


@pytest.mark.parametrize("name", PROBLEMS)
def test_lbfgs_finds_the_minimum_of_a_convex_problem_as_scikit_learn_does(name: str) -> None:
    y = PROBLEMS[name][1]
    theirs = begun(PROBLEMS[name], hidden_layer_sizes=(), alpha=5.0).set_params(solver="lbfgs", tol=1e-9, max_iter=500)
    ours = from_sklearn(theirs)
    start = objective(ours, y)
    ours.fit(X, y)
    theirs.fit(X, y)
    assert start > objective(ours, y) + 0.01
    assert_equal(ours.loss_, objective(ours, y))
    # Of several targets scikit-learn's line search is told the mean, and the gradient of the sum: it stops too early.
    assert objective(ours, y) <= objective(theirs, y) + 1e-6
    if name != "columns":
        assert_equal(objective(ours, y), objective(theirs, y), 1e-6)


@pytest.mark.parametrize("name", ["multiclass", "multilabel", "numbers", "poisson"])
def test_lbfgs_finds_as_good_a_net_as_scikit_learn(name: str) -> None:
    """There are several minima: the best of what each finds from the same three starts."""
    (kind, y, more), found = PROBLEMS[name], []
    for seed in range(3):
        options = {"hidden_layer_sizes": (4,), "activation": "tanh", "alpha": 5.0}
        theirs = kind(max_iter=1, random_state=seed, **options, **more).fit(X, y)
        theirs.set_params(solver="lbfgs", tol=1e-5, max_iter=400, warm_start=True)
        ours = from_sklearn(theirs).fit(X, y)
        assert ours.trainer_.finished
        found.append((objective(ours, y), objective(theirs.fit(X, y), y)))
    best, their_best = np.min(found, axis=0)
    assert best <= their_best + 1e-6


# Nets that go over


def answers(estimator: Any, x: Any = X) -> np.ndarray:
    return estimator.predict_proba(x) if is_classifier(estimator) else estimator.predict(x)


def assert_predict_the_same(one: Any, other: Any, x: Any = X, bound: float = 1e-12) -> None:
    expected = answers(one, x)
    assert answers(other, x).dtype == expected.dtype
    assert_equal(answers(other, x), expected, bound * max(1.0, np.abs(expected).max()))
    if is_classifier(one):
        np.testing.assert_array_equal(one.classes_, other.classes_)
        np.testing.assert_array_equal(one.predict(x), other.predict(x))
        assert one.predict(x).dtype == other.predict(x).dtype


def ours_for(name: str, **more: Any) -> Any:
    kind, _, options = PROBLEMS[name]
    ours = MLPClassifier if kind is neural_network.MLPClassifier else MLPRegressor
    return ours(**{"hidden_layer_sizes": (8, 6), "max_iter": 8, "random_state": 0, "batch_size": 32} | options | more)


def sparse_x(x: np.ndarray) -> Any:
    return sparse.csr_matrix(np.where(x > 0, x, 0.0))


@pytest.mark.parametrize("data", ["float64", "float32", "sparse"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_from_sklearn_predicts_the_same_and_goes_back_unchanged(name: str, data: str) -> None:
    x: Any = sparse_x(X) if data == "sparse" else X.astype(data)
    theirs = begun(PROBLEMS[name], x=x, activation="tanh")
    ours = from_sklearn(theirs)
    bound = 1e-6 if data == "float32" else 1e-12
    assert_predict_the_same(theirs, ours, x, bound)
    assert ours.trainer_.dtype == ("float32" if data == "float32" else "float64")
    for attribute in ("n_features_in_", "n_layers_", "n_outputs_", "out_activation_", "t_", "n_iter_", "loss_"):
        assert getattr(ours, attribute) == getattr(theirs, attribute), attribute
    back = ours.to_sklearn()
    assert type(back) is type(theirs) and back.get_params() == theirs.get_params()
    for one, other in zip(back.coefs_ + back.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    assert_predict_the_same(theirs, back, x, 0.0)
    assert set(vars(theirs)) - set(vars(back)) <= {"_optimizer", "_random_state"}, "made anew by fit"


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_any_net_of_scikit_learn_goes_over_and_goes_on(solver: str, activation: str) -> None:
    theirs = begun(PROBLEMS["multiclass"], activation=activation, solver=solver)
    ours = from_sklearn(theirs)
    before = ours.loss_
    assert_predict_the_same(theirs, ours)
    if solver != "lbfgs":
        assert ours.partial_fit(X, TEXT).n_iter_ == 1
    ours.fit(X, TEXT)
    assert ours.n_iter_ > 1 and ours.best_loss_ <= ours.loss_ < before
    assert_predict_the_same(ours, ours.to_sklearn())


VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "standardize": {"standardize": True},
    "ema": {"ema": 0.9, "standardize": True},
    "dropout": {"dropout": 0.3, "standardize": True, "activation": [nn.Tanh(), "tanh"], "hidden_layer_sizes": (5, 3)},
    "no hidden layer": {"hidden_layer_sizes": (), "standardize": True, "activation": "gelu"},
    "lbfgs": {"solver": "lbfgs", "standardize": True},
    "own words": {"solver": "adamw", "learning_rate": "cosine", "clip_norm": 1.0, "weight_init": nn.HeNormal()},
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", PROBLEMS)
def test_to_sklearn_predicts_the_same(name: str, variant: str) -> None:
    x = 3 + 10 * X if "standardize" in VARIANTS[variant] else X
    y = PROBLEMS[name][1]
    ours = ours_for(name, **VARIANTS[variant]).fit(x, 50 + 100 * y if name in ("numbers", "columns") else y)
    theirs = ours.to_sklearn()
    assert_predict_the_same(ours, theirs, x)
    copied = pickle.loads(pickle.dumps(theirs))
    np.testing.assert_array_equal(answers(copied, x), answers(theirs, x))
    assert_predict_the_same(theirs, from_sklearn(theirs), x)
    shared = {key: value for key, value in ours.get_params().items() if key in theirs.get_params()}
    own = {"activation", "solver", "learning_rate"} if variant in ("dropout", "no hidden layer", "own words") else set()
    assert {key for key, value in theirs.get_params().items() if value != shared[key]} <= own


@pytest.mark.parametrize("name", ["multiclass", "columns"])
def test_to_sklearn_after_a_sparse_fit(name: str) -> None:
    x = sparse_x(10 * X)
    ours = ours_for(name, standardize=True).fit(x, PROBLEMS[name][1])
    assert_predict_the_same(ours, ours.to_sklearn(), x)
    assert_predict_the_same(ours, ours.to_sklearn(), x.toarray())


@pytest.mark.parametrize("name", ["binary", "numbers"])
def test_to_sklearn_in_float32(name: str) -> None:
    x = (3 + 10 * X).astype(np.float32)
    ours = ours_for(name, standardize=True).fit(x, PROBLEMS[name][1])
    theirs = ours.to_sklearn()
    assert {each.dtype for each in theirs.coefs_ + theirs.intercepts_} == {np.dtype(np.float32)}
    assert_predict_the_same(ours, theirs, x, 1e-5)


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_net_that_went_over_learns_on(name: str) -> None:
    """The loss goes on falling on either side, and is not compared with one that the other side counts differently."""
    y = PROBLEMS[name][1]
    ours = ours_for(name, warm_start=True, max_iter=50, solver="sgd", learning_rate_init=0.002).fit(X, y)
    for there in (ours.to_sklearn(), from_sklearn(begun(PROBLEMS[name]).fit(X, y))):
        start, epochs = answers(there), len(there.loss_curve_)
        there.set_params(max_iter=20, n_iter_no_change=20).fit(X, y)
        losses = there.loss_curve_[epochs:]
        assert there.n_iter_ == len(losses) == 20
        assert there.best_loss_ == min(losses) < losses[0]
        assert there.partial_fit(X, y).n_iter_ == 1
        assert np.abs(answers(there) - start).max() > 1e-3
    assert len(ours.loss_curve_) == 50, "its record is its own"


def test_from_sklearn_keeps_a_record_of_its_own() -> None:
    theirs = begun(PROBLEMS["binary"], early_stopping=True)
    ours = from_sklearn(theirs).fit(X, PROBLEMS["binary"][1])
    assert (len(theirs.loss_curve_), len(theirs.validation_scores_)) == (1, 1)
    assert len(ours.loss_curve_) == len(ours.validation_scores_) > 1
    theirs.fit(X, PROBLEMS["binary"][1])
    np.testing.assert_array_equal(from_sklearn(theirs).validation_scores_, theirs.validation_scores_)


def test_names_of_features_go_over() -> None:
    frame = load_iris(as_frame=True).data
    theirs = neural_network.MLPClassifier((3,), max_iter=2, random_state=0).fit(frame, load_iris().target)
    ours = from_sklearn(theirs)
    np.testing.assert_array_equal(ours.feature_names_in_, frame.columns)
    np.testing.assert_array_equal(ours.to_sklearn().feature_names_in_, frame.columns)
    with pytest.raises(ValueError, match="feature names should match"):
        ours.predict(frame.rename(columns={"sepal length (cm)": "length"}))


def test_a_problem_of_one_class_goes_over() -> None:
    ours = MLPClassifier((3,), max_iter=1).fit(X, np.full(len(X), "only"))
    assert set(ours.to_sklearn().predict(X)) == set(from_sklearn(ours.to_sklearn()).predict(X)) == {"only"}


def test_parameters_that_were_set_since_the_fit_change_no_prediction() -> None:
    ours = ours_for("poisson", activation="tanh").fit(X, COUNTS)
    before = ours.predict(X)
    theirs = ours.set_params(
        activation="gelu", loss="squared_error", standardize=True, normalization="batch"
    ).to_sklearn()
    assert (theirs.activation, theirs.loss) == ("tanh", "poisson")
    assert_equal(theirs.predict(X), before, 1e-12)


def test_a_clone_of_what_went_over_is_not_fitted() -> None:
    theirs = begun(PROBLEMS["numbers"])
    for there in (from_sklearn(theirs), from_sklearn(theirs).to_sklearn()):
        assert clone(there).get_params() == there.get_params()
        assert not hasattr(clone(there), "coefs_")


@pytest.mark.parametrize(
    ("name", "options", "lacking"),
    [
        ("multiclass", {"normalization": "layer"}, r"normalization='layer'"),
        ("multiclass", {"residual": True, "hidden_layer_sizes": (5, 5)}, r"residual=True"),
        ("numbers", {"activation": "gelu"}, r"activation='gelu'"),
        ("numbers", {"activation": ["relu", "tanh"]}, r"activation=\['relu', 'tanh'\]"),
        ("numbers", {"loss": "gaussian_nll"}, r"loss='gaussian_nll'"),
        ("numbers", {"loss": nn.Quantile((0.1, 0.9))}, r"loss=Quantile\(.*\)"),
        ("columns", {"loss": "gaussian_nll", "activation": "silu"}, r"activation='silu', loss='gaussian_nll'"),
        ("binary", {"loss": "hinge"}, r"loss='hinge'"),
        ("multilabel", {"loss": "hinge"}, r"loss='hinge'"),
        ("binary", {"loss": nn.SoftmaxCrossEntropy()}, r"loss=SoftmaxCrossEntropy\(.*\)"),
    ],
)
def test_what_scikit_learn_lacks_is_named(name: str, options: dict[str, Any], lacking: str) -> None:
    ours = ours_for(name, max_iter=1, **options).fit(X, PROBLEMS[name][1])
    with pytest.raises(ValueError, match=f"scikit-learn's MLP has no {lacking}: this net"):
        ours.to_sklearn()


def test_several_columns_of_classes_have_no_place_in_scikit_learn() -> None:
    ours = MLPClassifier((3,), max_iter=1).fit(X, np.stack([Y, 2 - Y], axis=1))
    with pytest.raises(ValueError, match="has no y with several columns of several classes"):
        ours.to_sklearn()


@pytest.mark.parametrize("loss", ["huber", "absolute_error", "log_cosh", nn.Quantile((0.3,))])
def test_another_loss_that_predicts_a_number_goes_over(loss: Any) -> None:
    ours = MLPRegressor((4,), loss=loss, max_iter=3, standardize=True, random_state=0).fit(X, NUMBERS)
    assert ours.to_sklearn().loss == "squared_error"
    assert_predict_the_same(ours, ours.to_sklearn())


@pytest.mark.parametrize(
    "estimator", [LogisticRegression(), MLPClassifier(), neural_network.MLPClassifier, "net", None]
)
def test_from_sklearn_refuses_what_is_not_scikit_learns(estimator: BaseEstimator) -> None:
    with pytest.raises(TypeError, match="takes scikit-learn's MLPClassifier or MLPRegressor"):
        from_sklearn(estimator)


def test_what_was_not_fitted_has_no_weights() -> None:
    with pytest.raises(NotFittedError, match="MLPRegressor"):
        from_sklearn(neural_network.MLPRegressor())
    with pytest.raises(NotFittedError, match="MLPClassifier"):
        MLPClassifier().to_sklearn()


# The defaults


def accuracy(kind: Any, load: Any, seeds: int) -> np.ndarray:
    """Of scaled data, over ten folds, for each random_state."""
    data = load(return_X_y=True)
    models = [make_pipeline(StandardScaler(), kind(random_state=seed)) for seed in range(seeds)]
    return np.array([np.mean(cross_val_score(model, *data, cv=10)) for model in models])


@pytest.mark.parametrize(("load", "theirs", "sd"), [(load_iris, 0.950, 0.006), (load_wine, 0.982, 0.007)])
def test_defaults_are_as_good_as_scikit_learns_were(load: Any, theirs: float, sd: float) -> None:
    """scikit-learn's mean over 20 random states, less twice the error of a mean of two."""
    assert accuracy(MLPClassifier, load, seeds=2).mean() >= theirs - 2 * sd / np.sqrt(2)


@pytest.mark.slow
@pytest.mark.parametrize("load", [load_iris, load_wine, load_breast_cancer, load_digits])
def test_defaults_are_not_worse_than_scikit_learns(load: Any) -> None:
    """By no more than twice the error of the difference between two means over random states."""
    ours = accuracy(MLPClassifier, load, seeds=5)
    theirs = accuracy(neural_network.MLPClassifier, load, seeds=5)
    error = np.sqrt((ours.var(ddof=1) + theirs.var(ddof=1)) / 5)
    assert ours.mean() >= theirs.mean() - 2 * error, f"{ours.mean():.4f} and {theirs.mean():.4f}"
