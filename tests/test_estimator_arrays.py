"""The estimators follow the arrays they are given: library, device and dtype come back, and the numbers are NumPy's."""

import copy
import functools
import importlib
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import array_api_compat
import numpy as np
import pytest
from conftest import usable
from helpers import assert_close
from test_no_transfer import WAYS_OUT, sealed

from mlp_xp import backends, nn
from mlp_xp.backends import BackendError

sklearn = pytest.importorskip("sklearn")
from sklearn import calibration, ensemble, model_selection, pipeline, preprocessing  # noqa: E402
from sklearn.base import clone  # noqa: E402

from mlp_xp.estimators import MLPClassifier, MLPRegressor  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

GPU_WORDS = ("cupy", "torch:cuda")
GPUS = [pytest.param(word, marks=pytest.mark.gpu) for word in GPU_WORDS]
EACH = pytest.mark.parametrize("word", ["strict:device1", "torch", *GPUS])
"""Where every case is run; JAX, which compiles every net anew, is in the tests that take the fixture `backend`."""
DISPATCH = pytest.mark.parametrize("dispatch", [False, True], ids=["as it is", "dispatch"])

RNG = np.random.default_rng(5)
ROWS = 48
X = RNG.normal(size=(ROWS, 3))
SCORE = X @ [1.0, -2.0, 0.5]
BINARY = np.where(SCORE > 0, 7, 3)
CLASSES = np.digitize(SCORE, [-1.0, 1.0]) * 2
TEXT = np.array(["low", "middle", "high"])[CLASSES // 2]
LABELS = (np.stack([X[:, 0], SCORE], axis=1) > 0).astype(np.int64)
SEVERAL = np.stack([CLASSES, BINARY], axis=1)
NUMBERS = SCORE + 3.0
TWO_NUMBERS = np.stack([SCORE + 3.0, 10.0 * X[:, 0]], axis=1)
WEIGHT = RNG.uniform(0.2, 2.0, ROWS)
NEW = RNG.normal(size=(9, 3))

GIVE_ROWS = ("predict", "predict_proba", "predict_log_proba", "decision_function", "predict_std", "predict_quantiles")
SMALL: dict[str, Any] = {"hidden_layer_sizes": (5,), "max_iter": 4, "batch_size": 16, "random_state": 0}


@dataclass
class Problem:
    """An estimator's parameters, its targets, and what else fit takes."""

    kind: type
    y: Any
    parameters: dict[str, Any] = field(default_factory=dict)
    fit: dict[str, Any] = field(default_factory=dict)

    def new(self, **more: Any) -> Any:
        return self.kind(**SMALL | self.parameters | more)


PROBLEMS = {
    "binary": Problem(MLPClassifier, BINARY),
    "multiclass": Problem(MLPClassifier, CLASSES),
    "multilabel": Problem(MLPClassifier, LABELS),
    "multioutput": Problem(MLPClassifier, SEVERAL),
    "one class": Problem(MLPClassifier, np.full(ROWS, 4)),
    "true or false": Problem(MLPClassifier, BINARY == 7),
    "classes of floats": Problem(MLPClassifier, CLASSES / 2.0),
    "hinge": Problem(MLPClassifier, CLASSES, {"loss": "hinge"}),
    "class weights": Problem(MLPClassifier, CLASSES, {"class_weight": "balanced"}, {"sample_weight": WEIGHT}),
    "label smoothing": Problem(MLPClassifier, BINARY, {"label_smoothing": 0.1}),
    "validation": Problem(MLPClassifier, CLASSES, {"early_stopping": True, "validation_fraction": 0.3}),
    "scorer": Problem(
        MLPClassifier, CLASSES, {"early_stopping": True, "validation_fraction": 0.3, "scoring": "neg_log_loss"}
    ),
    "own validation data": Problem(
        MLPClassifier,
        CLASSES,
        {"early_stopping": True},
        {"eval_set": (X[::2] + 0.1, CLASSES[::2], WEIGHT[::2])},
    ),
    "dropout": Problem(
        MLPClassifier, CLASSES, {"dropout": 0.3, "normalization": "batch", "hidden_layer_sizes": (5, 5)}
    ),
    "lbfgs": Problem(MLPClassifier, CLASSES, {"solver": "lbfgs", "max_iter": 3}),
    "numbers": Problem(MLPRegressor, NUMBERS, {}, {"sample_weight": WEIGHT}),
    "whole numbers": Problem(MLPRegressor, np.round(NUMBERS).astype(np.int32), {"standardize": True}),
    "standardized": Problem(MLPRegressor, NUMBERS, {"standardize": True, "solver": "sgd", "ema": 0.9}),
    "two numbers": Problem(MLPRegressor, TWO_NUMBERS, {"standardize": True, "early_stopping": True}),
    "scored numbers": Problem(
        MLPRegressor, TWO_NUMBERS, {"early_stopping": True, "scoring": "neg_mean_absolute_error", "standardize": True}
    ),
    "gaussian": Problem(MLPRegressor, TWO_NUMBERS, {"loss": "gaussian_nll", "standardize": True}),
    "quantiles": Problem(MLPRegressor, NUMBERS, {"loss": nn.Quantile((0.1, 0.5, 0.9)), "standardize": True}),
    "poisson": Problem(MLPRegressor, np.abs(NUMBERS), {"loss": "poisson"}),
}


def on(backend: backends.Backend, given: Any) -> Any:
    """Arrays, and those in a dict or a tuple, on the device of a backend."""
    if isinstance(given, dict):
        return {name: on(backend, each) for name, each in given.items()}
    if isinstance(given, tuple):
        return tuple(on(backend, each) for each in given)
    with backend.scope():
        return backend.from_host(given)


def host(array: Any) -> np.ndarray:
    home = backends.of(array)
    with home.scope():
        return home.to_host(array)


def as_list(given: Any) -> list[Any]:
    return given if isinstance(given, list) else [given]


def results(estimator: Any, new: Any) -> dict[str, list[Any]]:
    """All that an estimator gives in the library of X."""
    found = {name: as_list(getattr(estimator, name)(new)) for name in GIVE_ROWS if hasattr(estimator, name)}
    found |= {"coefs_": estimator.coefs_, "intercepts_": estimator.intercepts_}
    return found | ({"classes_": as_list(estimator.classes_)} if hasattr(estimator, "classes_") else {})


def agree(given: dict[str, list[Any]], expected: dict[str, list[Any]], backend: backends.Backend) -> None:
    """Are they all of the backend's library, on its device, of NumPy's dtype, and the numbers those of NumPy?"""
    assert given.keys() == expected.keys()
    for name, arrays in given.items():
        for array, theirs in zip(arrays, expected[name], strict=True):
            assert backend.owns(array), name
            assert array_api_compat.device(array) == backend.device, name
            assert host(array).dtype == theirs.dtype, name
            np.testing.assert_allclose(host(array), theirs, rtol=0, atol=1e-10 * max(1.0, np.abs(theirs).max()))


@functools.cache
def on_numpy(name: str) -> Any:
    """What NumPy makes of a problem: the oracle of the other libraries."""
    problem = PROBLEMS[name]
    return problem.new().fit(X, problem.y, **problem.fit)


# ---- everything follows X ----


@EACH
@pytest.mark.parametrize("name", PROBLEMS)
def test_what_comes_in_comes_out(word: str, name: str) -> None:
    backend, problem, expected = usable(word), PROBLEMS[name], on_numpy(name)
    x, y = on(backend, (X, problem.y))
    estimator = problem.new().fit(x, y, **on(backend, problem.fit))
    assert estimator.trainer_.backend.word == backend.word
    agree(results(estimator, on(backend, NEW)), results(expected, NEW), backend)
    for curve in ("loss_curve_", "validation_scores_", "validation_loss_curve_"):
        if getattr(expected, curve) is None:
            assert getattr(estimator, curve) is None
        else:
            np.testing.assert_allclose(getattr(estimator, curve), getattr(expected, curve), rtol=1e-10)
    score = estimator.score(x, y, sample_weight=on(backend, WEIGHT))
    assert isinstance(score, float)
    assert score == pytest.approx(expected.score(X, problem.y, sample_weight=WEIGHT), rel=1e-10)


def test_it_does_on_every_backend(backend: backends.Backend) -> None:
    problem = PROBLEMS["class weights"]
    estimator = problem.new().fit(*on(backend, (X, problem.y)), **on(backend, problem.fit))
    agree(results(estimator, on(backend, NEW)), results(on_numpy("class weights"), NEW), backend)


@pytest.mark.parametrize("word", ["numpy", "strict:device1", "torch", "jax", *GPUS])
def test_float32_stays_float32(word: str) -> None:
    backend = usable(word)
    x, new = on(backend, (X.astype(np.float32), NEW.astype(np.float32)))
    problem = PROBLEMS["poisson" if word == "jax" else "gaussian"]
    given = results(problem.new().fit(x, on(backend, problem.y)), new)
    for name, expected in results(problem.new().fit(X, problem.y), NEW).items():
        for array, wide in zip(given[name], expected, strict=True):
            assert host(array).dtype == np.float32
            assert_close(host(array), wide, factor=200)


@pytest.mark.parametrize("dtype", ["int32", "bool"])
@EACH
def test_whole_numbers_are_computed_with_in_float64(word: str, dtype: str) -> None:
    backend = usable(word)
    whole = np.round(X).astype(dtype)
    given = MLPRegressor(**SMALL).fit(*on(backend, (whole, NUMBERS))).predict(on(backend, whole))
    expected = MLPRegressor(**SMALL).fit(whole, NUMBERS).predict(whole)
    assert host(given).dtype == np.float64
    np.testing.assert_allclose(host(given), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("x", [X.astype(np.float32), np.round(X).astype(np.int32)], ids=["float32", "int32"])
def test_a_device_without_float64_computes_in_float32(x: np.ndarray) -> None:
    usable("strict:no_float64")
    backend = backends.select("strict:no_float64")
    classes = np.array(CLASSES / 2.0, np.float32)
    for kind, y in ((MLPRegressor, TWO_NUMBERS.astype(np.float32)), (MLPRegressor, CLASSES), (MLPClassifier, classes)):
        given = kind(**SMALL, standardize=True).fit(*on(backend, (x, y)))
        expected = kind(**SMALL, standardize=True).fit(x.astype(np.float32), y)
        assert host(given.predict(on(backend, x))).dtype == np.float32
        assert_close(host(given.predict(on(backend, x))), expected.predict(x), factor=200)
        assert all(host(array).dtype == np.float32 for array in given.coefs_)


@EACH
def test_y_as_a_column_is_warned_of_as_on_numpy(word: str) -> None:
    backend = usable(word)
    for problem in (PROBLEMS["binary"], PROBLEMS["numbers"]):
        flat = problem.new().fit(*on(backend, (X, problem.y)))
        with pytest.warns(sklearn.exceptions.DataConversionWarning):
            column = problem.new().fit(*on(backend, (X, problem.y[:, None])))
        new = on(backend, NEW)
        np.testing.assert_array_equal(host(column.predict(new)), host(flat.predict(new)))


# ---- from fit to fit ----


def three_epochs(estimator: Any, move: Callable[[Any], Any], **more: Any) -> Any:
    for rows in (slice(0, 30), slice(30, None), slice(0, 30)):
        estimator.partial_fit(*move((X[rows], CLASSES[rows], WEIGHT[rows])), **more)
    return estimator


@EACH
def test_partial_fit_follows_x(word: str) -> None:
    backend = usable(word)
    classes = np.array([0, 2, 4, 6])
    given = three_epochs(MLPClassifier(**SMALL), lambda part: on(backend, part), classes=on(backend, classes))
    expected = three_epochs(MLPClassifier(**SMALL), lambda part: part, classes=classes)
    agree(results(given, on(backend, NEW)), results(expected, NEW), backend)
    with pytest.raises(ValueError, match="not the same as on last call"):
        given.partial_fit(*on(backend, (X, CLASSES)), classes=on(backend, classes[:3]))
    with pytest.raises(ValueError, match="classes must be passed"):
        MLPClassifier(**SMALL).partial_fit(*on(backend, (X, CLASSES)))


@EACH
def test_a_warm_start_follows_x(word: str) -> None:
    backend, problem = usable(word), PROBLEMS["standardized"]
    given, expected = (problem.new(warm_start=True) for _ in range(2))
    for y in (NUMBERS, NUMBERS**2):
        given.fit(*on(backend, (X, y)))
        expected.fit(X, y)
    agree(results(given, on(backend, NEW)), results(expected, NEW), backend)


@EACH
def test_the_next_fit_may_be_of_another_library(word: str) -> None:
    backend, problem = usable(word), PROBLEMS["own validation data"]
    estimator = problem.new().fit(X, problem.y, **problem.fit)
    estimator.fit(*on(backend, (X, problem.y)), **on(backend, problem.fit))
    agree(results(estimator, on(backend, NEW)), results(on_numpy("own validation data"), NEW), backend)


@pytest.mark.parametrize("way", ["warm_start", "partial_fit", "to"])
@EACH
def test_training_goes_on_in_another_library(word: str, way: str) -> None:
    backend = usable(word)
    given, expected = (MLPClassifier(**SMALL, warm_start=way == "warm_start").fit(X, CLASSES) for _ in range(2))
    if way == "to":
        given = given.to(word)
    go_on = "fit" if way == "warm_start" else "partial_fit"
    getattr(given, go_on)(*on(backend, (X, CLASSES)))
    getattr(expected, go_on)(X, CLASSES)
    assert given.loss_curve_ == pytest.approx(expected.loss_curve_, rel=1e-10)
    agree(results(given, on(backend, NEW)), results(expected, NEW), backend)


# ---- y and weights of another library ----

OTHERS: dict[str, Callable[[np.ndarray], Any]] = {
    "list": lambda array: array.tolist(),
    "NumPy": lambda array: array,
    "torch": lambda array: on(usable("torch"), array),
    "jax": lambda array: on(usable("jax"), array),
    "strict:device2": lambda array: on(usable("strict:device2"), array),
}


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("word", ["numpy", "strict:device1", "torch", *GPUS])
def test_y_and_the_weights_may_be_of_any_library(word: str, other: str) -> None:
    backend, move = usable(word), OTHERS[other]
    for name in ("class weights", "numbers", "standardized"):
        problem = PROBLEMS[name]
        more = {key: move(value) for key, value in problem.fit.items()}
        estimator = problem.new().fit(on(backend, X), move(problem.y), **more)
        agree(results(estimator, on(backend, NEW)), results(on_numpy(name), NEW), backend)
        score = estimator.score(on(backend, X), move(problem.y), sample_weight=move(WEIGHT))
        assert score == pytest.approx(on_numpy(name).score(X, problem.y, sample_weight=WEIGHT), rel=1e-10)


@DISPATCH
@EACH
def test_text_is_numpys_and_all_else_the_library_of_x(word: str, dispatch: bool) -> None:
    backend = usable(word)
    new = on(backend, NEW)
    with sklearn.config_context(array_api_dispatch=dispatch):
        estimator = MLPClassifier(**SMALL, early_stopping=True, validation_fraction=0.3).fit(on(backend, X), TEXT)
        expected = MLPClassifier(**SMALL, early_stopping=True, validation_fraction=0.3).fit(X, TEXT)
        found = estimator.predict(new)
        assert type(found) is np.ndarray
        np.testing.assert_array_equal(found, expected.predict(NEW))
        np.testing.assert_array_equal(estimator.classes_, ["high", "low", "middle"])
        assert backend.owns(estimator.predict_proba(new))
        assert estimator.score(on(backend, X), TEXT) == expected.score(X, TEXT)


def test_a_tensor_that_requires_gradients_is_data_like_any_other() -> None:
    usable("torch")
    torch = importlib.import_module("torch")
    x = torch.nn.Parameter(torch.tensor(X))
    estimator = MLPRegressor(**SMALL).fit(x, torch.tensor(NUMBERS, requires_grad=True))
    found = estimator.predict(x)
    assert not found.requires_grad
    assert x.grad is None
    np.testing.assert_allclose(found.numpy(), MLPRegressor(**SMALL).fit(X, NUMBERS).predict(X), rtol=0, atol=1e-12)


def test_validation_data_must_lie_where_x_does() -> None:
    backend = usable("strict:device1")
    with pytest.raises(ValueError, match=r"eval_set must lie where X does: X is 'strict:device1'.*'numpy'"):
        MLPRegressor(**SMALL).fit(*on(backend, (X, NUMBERS)), eval_set=(X, NUMBERS))


# ---- within scikit-learn ----


def of_pipeline(x: Any, y: Any, t: Any) -> Any:
    scaled = pipeline.make_pipeline(preprocessing.StandardScaler(), MLPClassifier(**SMALL))
    return scaled.fit(x, y).predict_proba(x)


def of_search(x: Any, y: Any, t: Any) -> Any:
    found = model_selection.GridSearchCV(MLPRegressor(**SMALL), {"alpha": [1e-4, 1.0]}, cv=2, scoring="r2").fit(x, t)
    return found.predict(x)


def of_cross_validation(x: Any, y: Any, t: Any) -> Any:
    return model_selection.cross_val_score(MLPClassifier(**SMALL), x, y, cv=2, scoring="neg_log_loss")


def of_cross_prediction(x: Any, y: Any, t: Any) -> Any:
    return model_selection.cross_val_predict(MLPClassifier(**SMALL), x, y, cv=2, method="decision_function")


def of_split(x: Any, y: Any, t: Any) -> Any:
    a, b, c, d = model_selection.train_test_split(x, y, random_state=0, stratify=y)
    return np.asarray(MLPClassifier(**SMALL).fit(a, c).score(b, d))


def of_calibration(x: Any, y: Any, t: Any) -> Any:
    found = calibration.CalibratedClassifierCV(MLPClassifier(**SMALL), method="temperature", cv=2)
    return found.fit(x, y).predict(x)


TOOLS = {
    "Pipeline": of_pipeline,
    "GridSearchCV": of_search,
    "cross_val_score": of_cross_validation,
    "cross_val_predict": of_cross_prediction,
    "train_test_split": of_split,
    "CalibratedClassifierCV": of_calibration,
}


@pytest.mark.parametrize("word", ["strict", "strict:device1", "torch", *GPUS])
@pytest.mark.parametrize("tool", TOOLS)
def test_scikit_learns_tools_keep_the_data_where_they_are(tool: str, word: str) -> None:
    backend = usable(word)
    expected = TOOLS[tool](X, CLASSES, NUMBERS)
    # array-api-strict divides with NumPy, which warns of what scikit-learn throws away.
    with sklearn.config_context(array_api_dispatch=True), np.errstate(all="ignore"):
        found = TOOLS[tool](*on(backend, (X, CLASSES, NUMBERS)))
    if expected.ndim and tool != "cross_val_score":
        assert backend.owns(found)
        assert array_api_compat.device(found) == backend.device
    np.testing.assert_allclose(host(found), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("tool", TOOLS)
def test_scikit_learns_tools_take_what_numpy_can_read_without_dispatch(tool: str) -> None:
    """Some hand the estimator NumPy arrays and some tensors; the numbers are the same."""
    expected, found = (TOOLS[tool](*on(usable(word), (X, CLASSES, NUMBERS))) for word in ("numpy", "torch"))
    np.testing.assert_allclose(host(found), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    "ensemble_of",
    [
        lambda one: ensemble.VotingClassifier([("a", one), ("b", one)], voting="soft"),
        lambda one: ensemble.StackingClassifier([("a", one), ("b", one)], cv=2),
        lambda one: ensemble.BaggingClassifier(one, n_estimators=2, random_state=0),
        lambda one: calibration.CalibratedClassifierCV(one, method="sigmoid", cv=2),
    ],
    ids=["voting", "stacking", "bagging", "sigmoid"],
)
def test_ensembles_that_know_numpy_alone_take_tensors_of_the_host(ensemble_of: Any) -> None:
    expected, found = (
        ensemble_of(MLPClassifier(**SMALL)).fit(*on(usable(word), (X, CLASSES))).predict_proba(on(usable(word), X))
        for word in ("numpy", "torch")
    )
    assert type(found) is np.ndarray
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


HALVES = np.split(np.arange(ROWS), 2)


def test_a_search_keeps_jax_arrays_in_jax() -> None:
    backend = usable("jax")
    search = model_selection.GridSearchCV(MLPRegressor(**SMALL), {"alpha": [0.1]}, cv=[HALVES])
    with sklearn.config_context(array_api_dispatch=True), backend.scope():  # where JAX has float64
        found = clone(search).fit(*on(backend, (X, NUMBERS))).predict(on(backend, X))
    assert backend.owns(found)
    np.testing.assert_allclose(host(found), search.fit(X, NUMBERS).predict(X), rtol=0, atol=1e-10)


@DISPATCH
@EACH
def test_a_scorer_of_ones_own_is_asked_on_the_host(word: str, dispatch: bool) -> None:
    asked = []

    def mean_error(estimator: Any, x: Any, y: Any, sample_weight: Any = None) -> float:
        asked.append([type(each) for each in (x, y, sample_weight, estimator.predict(x), estimator.classes_)])
        return -float(np.mean(estimator.predict(x) != y))

    backend = usable(word)
    estimator = MLPClassifier(**SMALL, early_stopping=True, validation_fraction=0.3, scoring=mean_error)
    with sklearn.config_context(array_api_dispatch=dispatch):
        estimator.fit(*on(backend, (X, CLASSES, WEIGHT)))
    assert asked == [[np.ndarray] * 5] * estimator.n_iter_
    assert backend.owns(estimator.predict(on(backend, NEW)))


# ---- the backend that computes ----


PAIRS = [
    *(("numpy", "torch"), ("numpy", "jax"), ("numpy", "strict:device1"), ("jax", "numpy"), ("torch", "numpy")),
    *(("strict:device1", "numpy"), ("strict:device1", "torch"), ("strict:device1", "strict:device2")),
    *(pytest.param(*pair, marks=pytest.mark.gpu) for word in GPU_WORDS for pair in (("numpy", word), (word, "numpy"))),
]


@pytest.mark.parametrize(("word", "compute"), PAIRS)
def test_another_backend_may_compute(word: str, compute: str) -> None:
    backend, computing = usable(word), usable(compute)
    for name in ("standardized",) if "jax" in (word, compute) else ("class weights", "two numbers", "gaussian"):
        problem = PROBLEMS[name]
        estimator = problem.new(backend=compute).fit(*on(backend, (X, problem.y)), **on(backend, problem.fit))
        assert estimator.trainer_.backend == computing
        agree(results(estimator, on(backend, NEW)), results(on_numpy(name), NEW), backend)


@EACH
def test_a_backend_is_taken_in_place_of_its_word(word: str) -> None:
    backend = usable(word)
    estimator = clone(MLPRegressor(**SMALL, backend=backend))
    found = pickle.loads(pickle.dumps(estimator.fit(X, NUMBERS)))
    assert found.backend.word == found.trainer_.backend.word == backend.word
    np.testing.assert_array_equal(found.predict(NEW), estimator.predict(NEW))


def test_auto_takes_the_word_of_the_environment_for_host_data(monkeypatch: pytest.MonkeyPatch) -> None:
    device, torch = usable("strict:device1"), usable("torch")
    monkeypatch.setenv("MLP_XP_BACKEND", "strict:device1")
    estimator = MLPRegressor(**SMALL, backend="auto").fit(X, NUMBERS)
    assert estimator.trainer_.backend.word == "strict:device1"
    assert type(estimator.predict(X)) is np.ndarray
    for other in (torch, usable("strict:device2")):  # which is where it is for a reason
        estimator.fit(*on(other, (X, NUMBERS)))
        assert estimator.trainer_.backend.word == other.word
    monkeypatch.delenv("MLP_XP_BACKEND")
    assert MLPRegressor(**SMALL, backend="auto").fit(*on(device, (X, NUMBERS))).trainer_.backend.word == device.word


def test_auto_is_numpy_where_no_gpu_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLP_XP_BACKEND", raising=False)
    cupy = importlib.import_module("mlp_xp.backends.on_cupy")
    monkeypatch.setattr(cupy, "probe", lambda: backends.Status("cupy", False, "no GPU", "buy one"))
    assert MLPRegressor(**SMALL, backend="auto").fit(X, NUMBERS).trainer_.backend.word == "numpy"


def test_a_backend_that_is_not_usable_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    cupy = importlib.import_module("mlp_xp.backends.on_cupy")
    monkeypatch.setattr(cupy, "probe", lambda: backends.Status("cupy", False, "no GPU", "buy one"))
    estimator = MLPRegressor(**SMALL, backend="cupy")
    with pytest.raises(BackendError, match=r"'cupy' is not usable here: no GPU\. Remedy: buy one"):
        estimator.fit(X, NUMBERS)
    with pytest.raises(sklearn.exceptions.NotFittedError):
        estimator.predict(X)
    with pytest.raises(BackendError, match="unknown backend 'tensorflow'; choose 'auto' or one of 'numpy'"):
        MLPClassifier(**SMALL, backend="tensorflow").fit(X, BINARY)


# ---- predict where fit was, and how to go elsewhere ----

METHODS = {
    MLPClassifier: ("predict", "predict_proba", "predict_log_proba", "decision_function"),
    MLPRegressor: ("predict", "predict_std"),
}


@DISPATCH
@pytest.mark.parametrize(("fitted", "given"), [("numpy", "torch"), ("torch", "numpy"), ("strict:device1", "strict")])
def test_predict_elsewhere_is_refused_and_says_how_to_move(fitted: str, given: str, dispatch: bool) -> None:
    here, there = usable(fitted), usable(given)
    with sklearn.config_context(array_api_dispatch=dispatch):
        for problem in (PROBLEMS["multiclass"], PROBLEMS["gaussian"]):
            estimator = problem.new().fit(*on(here, (X, problem.y)))
            for method in METHODS[problem.kind]:
                with pytest.raises(ValueError, match="must use the same namespace and the same device") as caught:
                    getattr(estimator, method)(on(there, NEW))
                for words in (f".{method}()", repr(here.word), repr(there.word), f"estimator.to({there.word!r})"):
                    assert words in str(caught.value)
            with pytest.raises(ValueError, match=r"predict\(\)"):
                estimator.score(on(there, X), problem.y)


@pytest.mark.parametrize("name", ["multiclass", "multioutput", "standardized"])
@pytest.mark.parametrize("word", ["numpy", "strict:device1", "torch", *GPUS])
def test_a_copy_works_elsewhere_and_the_original_as_before(word: str, name: str) -> None:
    backend, problem, first = usable(word), PROBLEMS[name], usable("strict:device2")
    original = problem.new().fit(*on(first, (X, problem.y)))
    moved = original.to(word)
    agree(results(moved, on(backend, NEW)), results(on_numpy(name), NEW), backend)
    with pytest.raises(ValueError, match=r"estimator\.to\('strict:device2'\)"):
        moved.predict(on(first, NEW))
    moved.partial_fit(*on(backend, (X, problem.y)))
    assert len(original.loss_curve_) == len(original.trainer_.history) == SMALL["max_iter"]
    assert len(moved.loss_curve_) == len(moved.trainer_.history) == SMALL["max_iter"] + 1
    agree(results(original, on(first, NEW)), results(on_numpy(name), NEW), first)


def test_a_copy_computes_where_the_backend_says() -> None:
    usable("torch")
    estimator = MLPRegressor(**SMALL, backend="torch").fit(X, NUMBERS).to("jax")
    assert (estimator.trainer_.backend.name, estimator.trainer_.dtype) == ("torch", "float64")
    found = estimator.predict(on(usable("jax"), NEW))
    assert usable("jax").owns(found)


def test_a_copy_for_a_device_without_float64_computes_in_float32() -> None:
    usable("strict:no_float64")
    backend = backends.select("strict:no_float64")
    for name in ("multiclass", "standardized", "classes of floats"):
        moved = on_numpy(name).to(backend)
        found = moved.predict(on(backend, NEW.astype(np.float32)))
        assert moved.trainer_.dtype == "float32"
        assert_close(host(found), on_numpy(name).predict(NEW), factor=200)


def test_what_is_not_fitted_cannot_be_moved() -> None:
    with pytest.raises(sklearn.exceptions.NotFittedError):
        MLPClassifier().to("numpy")


@pytest.mark.parametrize("name", ["multiclass", "standardized"])
@EACH
def test_scikit_learns_move_estimator_to_moves_it(word: str, name: str) -> None:
    tools = importlib.import_module("sklearn.utils._array_api")
    backend, numpy = usable(word), usable("numpy")
    with sklearn.config_context(array_api_dispatch=True):
        there = tools.move_estimator_to(on_numpy(name), backend.xp, backend.device)
        agree(results(there, on(backend, NEW)), results(on_numpy(name), NEW), backend)
        back = tools.move_estimator_to(there, np, "cpu")
    agree(results(back, NEW), results(on_numpy(name), NEW), numpy)


COPIES = {"pickle": lambda given: pickle.loads(pickle.dumps(given)), "deepcopy": copy.deepcopy}


@pytest.mark.parametrize(
    ("word", "again"),
    [*((word, again) for word in ("strict:device1", "torch") for again in COPIES.values()), ("jax", COPIES["pickle"])]
    + [pytest.param(word, COPIES["pickle"], marks=pytest.mark.gpu) for word in GPU_WORDS],
)
def test_a_fitted_estimator_can_be_pickled_wherever_it_was_fitted(word: str, again: Any) -> None:
    backend = usable(word)
    for name in ("multiclass", "standardized") if word != "jax" else ("multiclass",):
        problem = PROBLEMS[name]
        estimator = problem.new().fit(*on(backend, (X, problem.y)))
        agree(results(again(estimator), on(backend, NEW)), results(on_numpy(name), NEW), backend)


def test_weights_are_taken_from_any_library_and_given_in_that_of_x() -> None:
    torch, device = usable("torch"), usable("strict:device1")
    estimator = PROBLEMS["multiclass"].new().fit(*on(torch, (X, CLASSES)))
    doubled = [2.0 * array for array in on_numpy("multiclass").coefs_]
    for home in (torch, device, usable("numpy")):
        estimator.coefs_ = on(home, tuple(doubled))
        estimator.intercepts_ = on(home, tuple(on_numpy("multiclass").intercepts_))
        for found, expected in zip(estimator.coefs_, doubled, strict=True):
            assert torch.owns(found)
            np.testing.assert_array_equal(host(found), expected)


# ---- what crosses between device and host ----


@pytest.fixture
def device() -> backends.Backend:
    return usable("strict:device1")


@pytest.fixture
def crossed(device: backends.Backend, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The sizes of all arrays that leave the device; every step is sealed."""
    sizes: list[int] = []
    kind = type(device.from_host(np.zeros(1)))

    def noted(name: str) -> Callable[..., Any]:
        way = getattr(kind, name)

        def out(array: Any, *options: Any, **more: Any) -> Any:
            if "device1" in str(array.device):
                sizes.append(array.size)
            return way(array, *options, **more)

        return out

    for name in WAYS_OUT:
        monkeypatch.setattr(kind, name, noted(name))
    trainer = importlib.import_module("mlp_xp.train.trainer")

    def sealed_step(backend: backends.Backend, *parts: Any) -> Callable[..., Any]:
        step = original(backend, *parts)

        def watched(*arguments: Any) -> Any:
            with sealed(backend):
                return step(*arguments)

        return watched

    original = trainer.training_step
    monkeypatch.setattr(trainer, "training_step", sealed_step)
    yield sizes


def many_times(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """So many rows that even the part for validation is larger than any weight of the net."""
    return tuple(np.concatenate([array] * 8) for array in arrays)


def large(sizes: list[int]) -> list[int]:
    """Those of the data."""
    return [size for size in sizes if size > 30]


@pytest.mark.parametrize(
    "name", ["binary", "multiclass", "multilabel", "multioutput", "label smoothing", "validation", "dropout"]
)
def test_only_the_labels_leave_the_device_and_once(device: backends.Backend, crossed: list[int], name: str) -> None:
    problem = PROBLEMS[name]
    x, y, weight = on(device, many_times(X, problem.y, WEIGHT))
    estimator = problem.new().fit(x, y, sample_weight=weight)
    assert large(crossed) == [y.size]
    crossed.clear()
    for method in METHODS[MLPClassifier]:
        getattr(estimator, method)(x)
    assert large(crossed) == []


@pytest.mark.parametrize(
    "name", ["numbers", "whole numbers", "standardized", "two numbers", "gaussian", "quantiles", "poisson"]
)
def test_numbers_never_leave_the_device(device: backends.Backend, crossed: list[int], name: str) -> None:
    problem = PROBLEMS[name]
    x, y, weight = on(device, many_times(X, problem.y, WEIGHT))
    estimator = problem.new().fit(x, y, sample_weight=weight)
    for method in GIVE_ROWS:
        if hasattr(estimator, method):
            getattr(estimator, method)(x)
    assert large(crossed) == []


def test_own_validation_data_stay_there_too(device: backends.Backend, crossed: list[int]) -> None:
    data = on(device, many_times(X, NUMBERS, WEIGHT))
    MLPRegressor(**SMALL, standardize=True, early_stopping=True).fit(*data, eval_set=data)
    assert large(crossed) == []


def test_what_leaves_the_device_is_noted(device: backends.Backend, crossed: list[int]) -> None:
    host(on(device, NUMBERS))
    assert large(crossed) == [ROWS]


# ---- what is refused ----


@EACH
@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_a_wrong_x_is_refused_as_one_of_numpy_is(kind: type, word: str) -> None:
    backend = usable(word)
    y = on(backend, CLASSES)
    broken = X.copy()
    broken[3, 1] = np.nan
    infinite = np.where(np.isnan(broken), np.inf, broken)
    for wrong, said in (
        (X[:, 0], "Expected 2D array, got 1D array instead"),
        (X[None], r"dim 3|got 3D"),
        (np.asarray(1.0), "Expected 2D array, got (scalar|0D) array instead"),
        (X[:0], "0 sample|at least 1 sample"),
        (X[:, :0], "0 feature|at least 1 sample and 1 feature"),
        (X + 1j, "Complex data not supported"),
        (broken, "contains NaN"),
        (infinite, "contains (NaN or )?infinity"),
        (X[:-1], "inconsistent numbers of samples"),
    ):
        for home, y_there in ((usable("numpy"), CLASSES), (backend, y)):
            with pytest.raises(ValueError, match=said):
                kind(**SMALL).fit(on(home, wrong), y_there)
    for home in (usable("numpy"), backend):
        estimator = kind(**SMALL).fit(*on(home, (X, CLASSES)))
        for wrong, said in ((X[:, :2], "has 2 features, but MLP.* is expecting 3"), (broken, "NaN"), (X[0], "1D")):
            with pytest.raises(ValueError, match=said):
                estimator.predict(on(home, wrong))


@EACH
@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_a_wrong_y_or_weight_is_refused_as_one_of_numpy_is(kind: type, word: str) -> None:
    numbers = np.where(np.arange(ROWS) == 5, np.nan, CLASSES)
    negative = np.where(np.arange(ROWS) == 5, -1.0, WEIGHT)
    for home in (usable("numpy"), usable(word)):
        x = on(home, X)
        for y in (CLASSES[:-1], CLASSES + 1j, numbers, CLASSES[:, None, None], np.asarray(1)):
            with pytest.raises((ValueError, TypeError)) as caught:
                kind(**SMALL).fit(x, on(home, y))
            assert isinstance(caught.value, ValueError) or y.ndim == 0
        for weight in (WEIGHT[:-1], WEIGHT[:, None], negative, np.where(WEIGHT > 0, np.nan, 1.0), 0.0 * WEIGHT):
            with pytest.raises(ValueError, match=r"(?i)weight"):
                kind(**SMALL).fit(x, on(home, CLASSES), sample_weight=on(home, weight))


@EACH
def test_labels_that_were_never_there_are_refused(word: str) -> None:
    backend = usable(word)
    estimator = MLPClassifier(**SMALL).partial_fit(*on(backend, (X, CLASSES)), classes=on(backend, np.unique(CLASSES)))
    with pytest.raises(ValueError, match=r"classes not in `self\.classes_`"):
        estimator.partial_fit(*on(backend, (X, BINARY)))
    with pytest.raises(ValueError, match="Unknown label type"):
        MLPClassifier(**SMALL).fit(*on(backend, (X, NUMBERS)))
