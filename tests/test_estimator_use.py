"""Bad input is refused as by scikit-learn; frames, sparse data, and scikit-learn's tools around the estimators."""

import warnings
from typing import Any

import numpy as np
import pandas
import polars
import pytest
import scipy.sparse
import sklearn
from helpers import assert_close
from iris import COLUMNS, NUMBERS, TEXT, X, Y, assert_same, small, weights
from sklearn import neural_network
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import BaggingClassifier, BaggingRegressor, VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.inspection import partial_dependence, permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold, cross_val_predict, cross_val_score
from sklearn.multioutput import ClassifierChain
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from mlp_xp import backends, nn, optim
from mlp_xp.estimators import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

KINDS = ["MLPClassifier", "MLPRegressor"]
BOTH = [pytest.param(MLPClassifier, Y, id="classifier"), pytest.param(MLPRegressor, NUMBERS, id="regressor")]


def raised(call: Any) -> BaseException:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(Exception) as caught:  # which one is the question
            call()
    return caught.value


# Bad input


WRONG: list[tuple[str, Any]] = [
    *(("hidden_layer_sizes", value) for value in (0, -1, (5, 0), (-3,), "abc", 3.5, None)),
    *(("activation", value) for value in ("relo", None, 3)),
    *(("solver", value) for value in ("adamm", None, 1)),
    *(("alpha", value) for value in (-0.1, "a", None)),
    *(("batch_size", value) for value in (0, -5, "all", 2.5, None)),
    *(("learning_rate", value) for value in ("constnt", 0.1, None)),
    *(("learning_rate_init", value) for value in (0, -1.0, "a", None)),
    *(("power_t", value) for value in (-1, "a")),
    *(("max_iter", value) for value in (0, -1, 2.5, None)),
    *(("shuffle", value) for value in ("yes", 2, None)),
    *(("random_state", value) for value in (-1, "a", 0.5)),
    *(("tol", value) for value in (-1, "a", None)),
    *(("verbose", value) for value in (-1, "a")),
    *(("warm_start", value) for value in ("a", None)),
    *(("momentum", value) for value in (-0.1, 1.1, "a")),
    *(("nesterovs_momentum", value) for value in ("a", None)),
    *(("early_stopping", value) for value in ("a", None)),
    *(("validation_fraction", value) for value in (-0.1, 1.0, "a")),
    *((name, value) for name in ("beta_1", "beta_2") for value in (-0.1, 1.0, "a")),
    *(("epsilon", value) for value in (0, -1, "a")),
    *(("n_iter_no_change", value) for value in (0, -1, 2.5, "a")),
    *(("max_fun", value) for value in (0, -1, 2.5)),
]


@pytest.mark.parametrize(("name", "value"), WRONG, ids=[f"{name}={value!r}" for name, value in WRONG])
def test_wrong_parameters_are_refused_as_in_scikit_learn(name: str, value: Any) -> None:
    for kind, ours, y in (("MLPClassifier", MLPClassifier, Y), ("MLPRegressor", MLPRegressor, NUMBERS)):
        theirs = getattr(neural_network, kind)
        expected = raised(lambda: theirs(max_iter=1).set_params(**{name: value}).fit(X, y))  # noqa: B023
        found = raised(lambda: ours(max_iter=1).set_params(**{name: value}).fit(X, y))  # noqa: B023
        assert type(found) is type(expected), found
        assert name in str(found)


NAN, INF = X.copy(), X.copy()
NAN[3, 1], INF[3, 1] = np.nan, np.inf
BAD_FITS: dict[str, Any] = {
    "X has NaN": lambda new, y: new().fit(NAN, y),
    "X has inf": lambda new, y: new().fit(INF, y),
    "X is 1-D": lambda new, y: new().fit(X[:, 0], y),
    "X is 3-D": lambda new, y: new().fit(X[None], y),
    "X is 0-D": lambda new, y: new().fit(3.0, y),
    "X is complex": lambda new, y: new().fit(X + 1j, y),
    "X is text": lambda new, y: new().fit(X.astype(str).astype(object) + "a", y),
    "X has no rows": lambda new, y: new().fit(X[:0], y[:0]),
    "X has no features": lambda new, y: new().fit(X[:, :0], y),
    "X is None": lambda new, y: new().fit(None, y),
    "y is None": lambda new, y: new().fit(X, None),
    "y is shorter": lambda new, y: new().fit(X, y[:-1]),
    "y has NaN": lambda new, y: new().fit(X, np.where(np.arange(150) == 3, np.nan, y)),
    "y has inf": lambda new, y: new().fit(X, np.where(np.arange(150) == 3, np.inf, y)),
    "y is 3-D": lambda new, y: new().fit(X, np.stack([y, y])[None].T),
    "y is complex": lambda new, y: new().fit(X, y + 1j),
    "sparse X has NaN": lambda new, y: new().fit(scipy.sparse.csr_array(NAN), y),
    "weights too few": lambda new, y: new().fit(X, y, np.ones(149)),
    "weights are 2-D": lambda new, y: new().fit(X, y, np.ones((150, 2))),
    "weights have NaN": lambda new, y: new().fit(X, y, np.full(150, np.nan)),
    "weights are text": lambda new, y: new().fit(X, y, np.array(["a"] * 150)),
    "rate too large": lambda new, y: new(solver="sgd", learning_rate_init=1e100, max_iter=5).fit(1e10 * X, y),
    "validation too small": lambda new, y: new(early_stopping=True).fit(X[48:52], y[48:52]),
    "predict, not fitted": lambda new, y: new().predict(X),
    "score, not fitted": lambda new, y: new().score(X, y),
    "predict, other width": lambda new, y: new().fit(X, y).predict(X[:, :3]),
    "predict, NaN": lambda new, y: new().fit(X, y).predict(NAN),
    "predict, 1-D": lambda new, y: new().fit(X, y).predict(X[0]),
    "predict, no rows": lambda new, y: new().fit(X, y).predict(X[:0]),
    "score, other rows": lambda new, y: new().fit(X, y).score(X, y[:-1]),
    "partial_fit, early stopping": lambda new, y: new(early_stopping=True).fit(X, y).partial_fit(X, y),
    "partial_fit, other width": lambda new, y: new().fit(X, y).partial_fit(X[:, :3], y),
    "warm_start, other width": lambda new, y: new(warm_start=True).fit(X, y).fit(X[:, :3], y),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", BAD_FITS)
def test_bad_data_is_refused_as_in_scikit_learn(name: str, kind: str) -> None:
    ours = {"MLPClassifier": MLPClassifier, "MLPRegressor": MLPRegressor}[kind]
    y = Y if ours is MLPClassifier else NUMBERS

    def call(each: Any) -> Any:
        return BAD_FITS[name](lambda **more: each(**{"hidden_layer_sizes": (5,), "max_iter": 2} | more), y)

    expected, found = raised(lambda: call(getattr(neural_network, kind))), raised(lambda: call(ours))
    assert type(found) is type(expected), found


BAD_LABELS: dict[str, Any] = {
    "numbers": NUMBERS,
    "one of two classes has one member, early stopping": (np.arange(150) == 0).astype(int),
    "text and numbers": np.array([*TEXT[:149], 3], dtype=object),
    "None among them": np.array([*TEXT[:149], None], dtype=object),
}


@pytest.mark.parametrize("name", BAD_LABELS)
def test_bad_labels_are_refused_as_in_scikit_learn(name: str) -> None:
    more = {"max_iter": 2, "early_stopping": "early stopping" in name}
    expected = raised(lambda: neural_network.MLPClassifier(**more).fit(X, BAD_LABELS[name]))
    found = raised(lambda: MLPClassifier(**more).fit(X, BAD_LABELS[name]))
    assert type(found) is type(expected), found


def test_a_rare_class_among_several_is_no_hindrance_to_early_stopping() -> None:
    rare = np.where(np.arange(150) == 0, 5, Y % 2)
    assert len(small(early_stopping=True).fit(X, rare).validation_scores_) == 5
    many = np.arange(150) % 30
    assert small(early_stopping=True).fit(X, many).n_iter_ == 5  # 15 rows are set aside, of 30 classes


def test_the_regressor_takes_numbers_alone() -> None:
    for kind in (neural_network.MLPRegressor, MLPRegressor):
        assert isinstance(raised(lambda: kind(max_iter=1).fit(X, TEXT)), TypeError)  # noqa: B023
    estimator = small(MLPRegressor, solver="lbfgs")
    assert not hasattr(estimator, "partial_fit")
    with pytest.raises(AttributeError, match="partial_fit"):
        estimator.partial_fit(X, NUMBERS)


def test_a_batch_larger_than_the_data_is_clipped_with_a_warning() -> None:
    with pytest.warns(UserWarning, match=r"It is going to be clipped") as caught:
        estimator = small(batch_size=1000).fit(X, Y)
    assert caught[0].filename == __file__
    assert_same(estimator, small(batch_size=150).fit(X, Y))


def test_a_fit_that_diverged_says_what_helps() -> None:
    estimator = small(MLPRegressor, solver="sgd", learning_rate_init=10.0)
    with pytest.raises(ValueError, match=r"non-finite parameter weights.*standardize=True.*lower the learning rate"):
        estimator.fit(1e6 * X, 1e6 * NUMBERS)


def test_a_fit_that_was_refused_is_no_fit() -> None:
    for more in ({"hidden_layer_sizes": (5,), "dropout": [0.1, 0.2]}, {"normalization": "batch", "batch_size": 149}):
        estimator = small(**more)
        with pytest.raises(ValueError, match=r"dropout|BatchNorm|at least 2"):
            estimator.fit(X, Y)
        with pytest.raises(NotFittedError):
            estimator.predict(X)
        assert not hasattr(estimator, "coefs_")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"dropout": [0.1, 0.2]}, r"dropout=\[0.1, 0.2\] has 2 values for 1 hidden layers"),
        ({"activation": ["relu", "tanh"]}, r"activation=.* has 2 values for 1 hidden layers"),
        ({"activation": ["gellu"]}, "did you mean 'gelu'"),
        ({"activation": "gellu"}, r"'activation' parameter of MLPClassifier must be .*'gelu'"),
        ({"dropout": 1.0}, "'dropout' parameter"),
        ({"dropout": [1.0]}, r"Dropout\(.*1.0"),
        ({"normalization": "btch"}, r"'normalization' parameter .*'batch'"),
        ({"weight_init": "he"}, "'weight_init' parameter"),
        ({"loss": "log_los"}, r"'loss' parameter .*'log_loss'"),
        ({"loss": nn.MeanSquaredError()}, "is no loss for multiclass labels; one is loss='log_loss'"),
        ({"loss": nn.SigmoidBinaryCrossEntropy()}, "is no loss for multiclass labels"),
        ({"class_weight": "balance"}, "'class_weight' parameter"),
        ({"label_smoothing": 1.0}, "'label_smoothing' parameter"),
        ({"label_smoothing": 0.1, "loss": "hinge"}, "label_smoothing is for loss='log_loss', not 'hinge'"),
        ({"label_smoothing": 0.1, "loss": nn.SoftmaxCrossEntropy()}, "give it to the loss itself"),
        ({"clip_norm": 0}, "'clip_norm' parameter"),
        ({"clip_value": -1}, "'clip_value' parameter"),
        ({"max_norm": 0}, "'max_norm' parameter"),
        ({"ema": 1.0}, "'ema' parameter"),
        ({"dtype": "float16"}, "'dtype' parameter"),
        ({"dtype": np.float32}, "'dtype' parameter"),
        ({"n_jobs": 1.5}, "'n_jobs' parameter"),
        ({"n_jobs": 0}, "n_jobs == 0"),
        ({"callbacks": 3}, "'callbacks' parameter"),
        ({"scoring": 3}, "'scoring' parameter"),
        ({"backend": 3}, "'backend' parameter"),
        ({"residual": "yes"}, "'residual' parameter"),
    ],
    ids=str,
)
def test_wrong_parameters_of_our_own(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**more).fit(X, Y)


def test_an_unknown_backend() -> None:
    with pytest.raises(backends.BackendError, match=r"unknown backend 'nunpy'.*'numpy'"):
        small(backend="nunpy").fit(X, Y)


def test_callbacks_must_be_instances() -> None:
    with pytest.raises(TypeError, match=r"instances of train\.Callback"):
        small(callbacks=["log"]).fit(X, Y)


@pytest.mark.parametrize("loss", [nn.SoftmaxCrossEntropy(), nn.Hinge(), "log_loss", None])
def test_wrong_losses_of_the_regressor(loss: Any) -> None:
    with pytest.raises(ValueError, match="'loss' parameter of MLPRegressor must be"):
        small(MLPRegressor, loss=loss).fit(X, NUMBERS)


# Frames


def frame(kind: Any, values: Any = X) -> Any:
    return kind({f"column {index}": values[:, index] for index in range(values.shape[1])})


@pytest.mark.parametrize("kind", [pandas.DataFrame, polars.DataFrame], ids=["pandas", "polars"])
def test_frames_with_names(kind: Any) -> None:
    names = [f"column {index}" for index in range(4)]
    series = (pandas if kind is pandas.DataFrame else polars).Series(TEXT)
    estimator = small(early_stopping=True, scoring="accuracy").fit(frame(kind), series, eval_set=(frame(kind), series))
    assert list(estimator.feature_names_in_) == names
    assert_same(estimator, small(early_stopping=True, scoring="accuracy").fit(X, TEXT, eval_set=(X, TEXT)))
    np.testing.assert_array_equal(estimator.predict(frame(kind)), estimator.predict(frame(pandas.DataFrame)))
    assert isinstance(estimator.predict_proba(frame(kind)), np.ndarray)
    with pytest.warns(UserWarning, match="X does not have valid feature names, but MLPClassifier was fitted with"):
        estimator.predict(X)
    renamed = frame(pandas.DataFrame).rename(columns={"column 2": "other"})
    for kind_of_mlp in (neural_network.MLPClassifier(max_iter=1).fit(frame(kind), TEXT), estimator):
        with pytest.raises(ValueError, match=r"The feature names should match(?s:.*)- other(?s:.*)- column 2"):
            kind_of_mlp.predict(renamed)
    estimator.fit(X, TEXT)
    assert not hasattr(estimator, "feature_names_in_")


def test_a_frame_as_the_target_of_the_regressor() -> None:
    targets = np.stack([NUMBERS, X[:, 0]], axis=1)
    estimator = small(MLPRegressor, standardize=True).fit(frame(pandas.DataFrame), frame(pandas.DataFrame, targets))
    same = small(MLPRegressor, standardize=True).fit(X, targets)
    assert_close(weights(estimator), weights(same), dtype=np.float64)


@pytest.mark.parametrize("kind", [pandas.DataFrame, polars.DataFrame], ids=["pandas", "polars"])
def test_column_transformer(kind: Any) -> None:
    table = kind({"size": X[:, 0], "width": X[:, 1], "kind": np.array(["a", "b", "c"])[(X[:, 2] > 0).astype(int)]})
    columns = ColumnTransformer([("numbers", StandardScaler(), ["size", "width"]), ("text", OneHotEncoder(), ["kind"])])
    pipeline = make_pipeline(columns, small(max_iter=60, learning_rate_init=0.02)).fit(table, TEXT)
    assert pipeline.score(table, TEXT) > 0.8
    assert pipeline[-1].n_features_in_ == 4


# Inside scikit-learn's tools


def test_grid_search_in_two_processes() -> None:
    grid = {"mlp__activation": ["relu", "gelu"], "mlp__solver": ["adam", optim.AdamW(0.01)]}
    pipeline = sklearn.pipeline.Pipeline([("scale", StandardScaler()), ("mlp", small(max_iter=30))])
    one, two = (GridSearchCV(pipeline, grid, cv=3, n_jobs=n_jobs).fit(X, TEXT) for n_jobs in (None, 2))
    np.testing.assert_array_equal(one.cv_results_["mean_test_score"], two.cv_results_["mean_test_score"])
    assert len(set(one.cv_results_["mean_test_score"])) > 1
    assert_same(one.best_estimator_[-1], two.best_estimator_[-1])
    assert two.score(X, TEXT) > 0.7


@pytest.mark.parametrize(("kind", "y"), BOTH)
def test_cross_validation(kind: Any, y: Any) -> None:
    estimator = small(kind, max_iter=60, learning_rate_init=0.02, early_stopping=True, standardize=True)
    folds = KFold(3, shuffle=True, random_state=0)
    assert cross_val_score(estimator, X, y, cv=folds).mean() > 0.5
    assert cross_val_predict(estimator, X, y, cv=3).shape == (150,)
    assert not hasattr(estimator, "coefs_")


@pytest.mark.parametrize(
    "around",
    [
        lambda mlp: VotingClassifier([("mlp", mlp), ("linear", LogisticRegression())], voting="soft"),
        lambda mlp: CalibratedClassifierCV(mlp, cv=3),
        lambda mlp: CalibratedClassifierCV(mlp.set_params(loss="hinge"), cv=3),
        lambda mlp: BaggingClassifier(mlp, n_estimators=3, random_state=0, n_jobs=2),
    ],
    ids=["voting", "calibrated", "calibrated hinge", "bagging"],
)
def test_classifiers_made_of_classifiers(around: Any) -> None:
    fitted = around(small(max_iter=40, learning_rate_init=0.02)).fit(X, TEXT)
    assert fitted.score(X, TEXT) > 0.85
    np.testing.assert_allclose(fitted.predict_proba(X).sum(axis=1), 1)


def test_regressors_inside_others() -> None:
    mlp = small(MLPRegressor, max_iter=60, learning_rate_init=0.02)
    assert BaggingRegressor(mlp, n_estimators=3, random_state=0).fit(X, NUMBERS).score(X, NUMBERS) > 0.5
    within = TransformedTargetRegressor(mlp, transformer=StandardScaler()).fit(X, 1e4 * NUMBERS)
    assert within.score(X, 1e4 * NUMBERS) > 0.5


def test_classifier_chain() -> None:
    y = np.stack([Y == 0, X[:, 0] > 0], axis=1).astype(int)
    chain = ClassifierChain(small(max_iter=40, learning_rate_init=0.02), random_state=0).fit(X, y)
    assert np.mean(chain.predict(X) == y) > 0.9


def test_weights_of_rows_are_routed() -> None:
    weight = np.arange(150) % 3 + 1.0
    with sklearn.config_context(enable_metadata_routing=True):
        mlp = small().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), mlp)
        pipeline.fit(X, TEXT, sample_weight=weight)
        scaled = pipeline[0].transform(X)
        assert_same(pipeline[-1], small().fit(scaled, TEXT, weight))
        scores = cross_val_score(pipeline, X, TEXT, params={"sample_weight": weight}, cv=3)
        assert not np.array_equal(scores, cross_val_score(make_pipeline(StandardScaler(), small()), X, TEXT, cv=3))
        asking = small().set_partial_fit_request(classes=True, sample_weight=False)
        assert asking.get_metadata_routing().partial_fit.requests["classes"] is True


def test_inspection() -> None:
    estimator = small(max_iter=80, learning_rate_init=0.02).fit(X, Y)
    importance = permutation_importance(estimator, X, Y, random_state=0, n_repeats=3).importances_mean
    assert importance[2:].max() > importance[:2].max()
    dependence = partial_dependence(estimator, X, features=[2], kind="average")
    assert dependence["average"].shape[0] == 3


# Sparse data

SPARSE = np.where(np.abs(X) > 0.7, X, 0.0)


@pytest.mark.parametrize("form", ["csr_matrix", "csc_matrix", "coo_matrix", "csr_array", "csc_array", "coo_array"])
@pytest.mark.parametrize(("kind", "y"), BOTH)
def test_sparse_data_trains_as_dense(form: str, kind: Any, y: Any) -> None:
    sparse = getattr(scipy.sparse, form)(SPARSE)
    estimator, dense = small(kind).fit(sparse, y), small(kind).fit(SPARSE, y)
    assert_close(weights(estimator), weights(dense), factor=1000, dtype=np.float64)
    np.testing.assert_array_equal(estimator.predict(sparse), estimator.predict(SPARSE))
    assert estimator.score(sparse, y) == estimator.score(SPARSE, y)
    assert_close(
        weights(estimator.partial_fit(sparse, y)), weights(dense.partial_fit(SPARSE, y)), factor=1000, dtype=np.float64
    )


@pytest.mark.parametrize(
    "more",
    [
        {"standardize": True},
        {"early_stopping": True, "max_iter": 12},
        {"early_stopping": True, "scoring": "neg_log_loss"},
        {"solver": "lbfgs"},
        {"weight_init": nn.LSUV(), "normalization": "batch"},
        {"dtype": "float32"},
        {"class_weight": "balanced", "batch_size": "auto"},
    ],
    ids=str,
)
def test_options_on_sparse_data(more: Any) -> None:
    sparse = scipy.sparse.csr_array(SPARSE)
    estimator, dense = small(**more).fit(sparse, TEXT), small(**more).fit(SPARSE, TEXT)
    dtype = np.float32 if more.get("dtype") else np.float64
    assert_close(estimator.predict_proba(sparse), dense.predict_proba(SPARSE), factor=1e5, dtype=dtype)
    if more.get("early_stopping"):
        np.testing.assert_allclose(estimator.validation_scores_, dense.validation_scores_, rtol=1e-9)


def test_sparse_float32_stays_so_and_whole_numbers_are_taken() -> None:
    single = small().fit(scipy.sparse.csr_array(SPARSE.astype(np.float32)), Y)
    assert single.coefs_[0].dtype == np.float32
    counts = (3 * np.abs(X)).astype(np.int64)
    whole = small().fit(scipy.sparse.csr_array(counts), Y)
    assert_close(weights(whole), weights(small().fit(counts, Y)), factor=1000, dtype=np.float64)


def test_sparse_eval_set_and_labels() -> None:
    sparse = scipy.sparse.csr_array(SPARSE)
    estimator = small().fit(sparse, Y, eval_set=(sparse, Y))
    dense = small().fit(SPARSE, Y, eval_set=(SPARSE, Y))
    np.testing.assert_allclose(estimator.validation_loss_curve_, dense.validation_loss_curve_, rtol=1e-10)
    indicators = np.stack([Y == 0, X[:, 0] > 0], axis=1).astype(int)
    assert_same(small().fit(X, scipy.sparse.csr_array(indicators)), small().fit(X, indicators))


def test_several_labels_with_lists() -> None:
    assert_same(small().fit(X.tolist(), COLUMNS.tolist()), small().fit(X, COLUMNS))
