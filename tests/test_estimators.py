"""What a scikit-learn user relies on: parameters, copies, partial_fit, warm_start and random_state."""

import copy
import inspect
import pickle
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from iris import COLUMNS, INDICATORS, NUMBERS, TEXT, X, Y, assert_same, small, weights
from sklearn import neural_network
from sklearn.base import clone

from mlp_xp import nn, optim, train
from mlp_xp.estimators import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

BOTH = [pytest.param(MLPClassifier, Y, id="classifier"), pytest.param(MLPRegressor, NUMBERS, id="regressor")]
KINDS = [pytest.param(MLPClassifier, id="classifier"), pytest.param(MLPRegressor, id="regressor")]


# Parameters


@pytest.mark.parametrize("kind", KINDS)
def test_init_keeps_every_parameter_as_it_was_given(kind: Any) -> None:
    names = list(inspect.signature(kind).parameters)
    given = {name: object() for name in names}
    estimator = kind(**given)
    assert estimator.get_params(deep=False) == given
    assert all(getattr(estimator, name) is given[name] for name in names)
    assert kind().set_params(**given).get_params(deep=False) == given


@pytest.mark.parametrize("kind", KINDS)
def test_all_parameters_of_scikit_learn_are_there_with_its_defaults(kind: Any) -> None:
    theirs = getattr(neural_network, kind.__name__)().get_params()
    ours = kind().get_params()
    assert {name: ours[name] for name in theirs} == theirs


@pytest.mark.parametrize("kind", KINDS)
def test_only_hidden_layer_sizes_goes_by_position(kind: Any) -> None:
    assert kind((5, 3)).hidden_layer_sizes == (5, 3)
    with pytest.raises(TypeError, match="positional"):
        kind((5,), "relu")
    with pytest.raises(TypeError, match="hidden_layers"):
        kind(hidden_layers=(5,))


@pytest.mark.parametrize(
    ("sizes", "shapes"),
    [
        ((5, 4), [(4, 5), (5, 4), (4, 3)]),
        ([5], [(4, 5), (5, 3)]),
        (5, [(4, 5), (5, 3)]),
        (np.int64(5), [(4, 5), (5, 3)]),
        (np.array([5, 4]), [(4, 5), (5, 4), (4, 3)]),
        (range(2, 4), [(4, 2), (2, 3), (3, 3)]),
        ((), [(4, 3)]),
    ],
    ids=repr,
)
def test_hidden_layer_sizes_of_any_kind(sizes: Any, shapes: Any) -> None:
    estimator = clone(MLPClassifier(sizes, max_iter=1)).fit(X, Y)
    assert [each.shape for each in estimator.coefs_] == shapes
    assert [each.shape for each in estimator.intercepts_] == [shape[1:] for shape in shapes]
    assert estimator.n_layers_ == len(shapes) + 1
    assert "MLPClassifier(" in repr(estimator)


INSTANCES: dict[str, Any] = {
    "activation": nn.LeakyReLU(0.2),
    "solver": optim.AdamW(optim.Cosine(0.02, 100)),
    "weight_init": nn.Orthogonal(),
    "callbacks": [train.EarlyStopping("loss", patience=7)],
}


@pytest.mark.parametrize(
    ("kind", "y", "loss"),
    [
        pytest.param(MLPClassifier, Y, nn.SoftmaxFocal(3.0), id="classifier"),
        pytest.param(MLPRegressor, NUMBERS, nn.Huber(0.5), id="regressor"),
    ],
)
def test_a_clone_has_the_same_parameters_and_fits_the_same(kind: Any, y: Any, loss: nn.Loss) -> None:
    estimator = small(kind, loss=loss, **INSTANCES).fit(X, y)
    cloned = clone(estimator)
    assert not hasattr(cloned, "coefs_") and not hasattr(cloned, "classes_")
    ours, theirs = estimator.get_params(), cloned.get_params()
    for each in (ours, theirs):  # a callback has no ==
        assert [type(callback) for callback in each.pop("callbacks")] == [train.EarlyStopping]
    assert ours == theirs
    assert_same(cloned.fit(X, y), estimator)


CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"hidden_layer_sizes": (3, 3)}, "trainer_.model"),
    ({"activation": "tanh"}, "trainer_.model"),
    ({"normalization": "layer"}, "trainer_.model"),
    ({"loss": "focal"}, "trainer_.loss"),
    ({"learning_rate_init": 0.03}, "trainer_.optimizer"),
    ({"solver": "sgd"}, "trainer_.optimizer"),
    ({"alpha": 3.0}, "trainer_.l2"),
    ({"backend": "strict"}, "trainer_.backend"),
    ({"dtype": "float32"}, "trainer_.dtype"),
    ({"random_state": 1}, "trainer_.seed"),
]


@pytest.mark.parametrize(("changed", "where"), CHANGES, ids=[next(iter(changed)) for changed, _ in CHANGES])
def test_set_params_holds_for_the_next_fit(changed: dict[str, Any], where: str) -> None:
    def found(estimator: Any) -> Any:
        for name in where.split("."):
            estimator = getattr(estimator, name)
        return estimator

    estimator = small().fit(X, Y)
    before, weights_before = found(estimator), weights(estimator)
    estimator.set_params(**changed).fit(X, Y)
    assert found(estimator) != before
    assert_same(estimator, small(**changed).fit(X, Y))
    if changed != {"backend": "strict"}:
        assert not np.array_equal(weights(estimator), weights_before)


def test_a_parameter_that_is_not_there_cannot_be_set() -> None:
    with pytest.raises(ValueError, match="Invalid parameter 'hidden'"):
        MLPClassifier().set_params(hidden=3)


@pytest.mark.parametrize("how", ["partial_fit", "warm_start"])
def test_a_new_learning_rate_holds_from_the_next_call_on(how: str) -> None:
    """Plain SGD: the step from the same weights is as much longer as the rate is larger."""
    more = {"solver": "sgd", "momentum": 0.0, "batch_size": 150, "max_iter": 1, "warm_start": how == "warm_start"}

    def step(rate: float) -> np.ndarray:
        estimator = small(learning_rate_init=0.01, **more).fit(X, Y)
        before = weights(estimator)
        estimator.set_params(learning_rate_init=rate)
        (estimator.partial_fit if how == "partial_fit" else estimator.fit)(X, Y)
        return weights(estimator) - before

    np.testing.assert_allclose(step(0.03), 3 * step(0.01), rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
def test_repr_says_what_differs_from_the_defaults(kind: Any) -> None:
    assert repr(kind()) == f"{kind.__name__}()"
    assert repr(kind(5, dropout=0.5)) == f"{kind.__name__}(dropout=0.5, hidden_layer_sizes=5)"
    assert "nn.Huber" not in repr(kind(callbacks=[]))
    html = kind(dropout=0.5)._repr_html_()
    assert kind.__name__ in html and "dropout" in html


# Copies


@pytest.mark.parametrize(
    ("estimator", "y"),
    [
        pytest.param(small(standardize=True, normalization="batch", dropout=0.2), TEXT, id="classifier"),
        pytest.param(small(loss="hinge", ema=0.9, solver=optim.AdamW(0.01)), Y, id="hinge, averaged"),
        pytest.param(small(standardize=True, loss="focal", residual=True), COLUMNS, id="multioutput"),
        pytest.param(small(MLPRegressor, standardize=True, loss=nn.Huber(0.3), max_norm=2.0), NUMBERS, id="regressor"),
        pytest.param(small(MLPRegressor, standardize=True, loss="gaussian_nll", clip_norm=1.0), NUMBERS, id="std"),
    ],
)
@pytest.mark.parametrize("way", ["pickle", "joblib", "deepcopy"])
def test_a_copy_predicts_the_same_and_goes_on_as_the_original(estimator: Any, y: Any, way: str, tmp_path: Path) -> None:
    estimator = clone(estimator).fit(1e3 * X + 5, y)
    if way == "pickle":
        copied = pickle.loads(pickle.dumps(estimator))
    elif way == "joblib":
        joblib.dump(estimator, tmp_path / "estimator.joblib")
        copied = joblib.load(tmp_path / "estimator.joblib")
    else:
        copied = copy.deepcopy(estimator)
    methods = ["predict", "predict_proba", "decision_function", "predict_std"]
    for method in [name for name in methods if hasattr(estimator, name)]:
        for ours, theirs in zip(
            _as_list(getattr(copied, method)(X)), _as_list(getattr(estimator, method)(X)), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)
    before = weights(estimator)
    assert copied.loss_curve_ == estimator.loss_curve_
    copied.partial_fit(1e3 * X + 5, y)
    np.testing.assert_array_equal(weights(estimator), before)
    assert_same(copied, estimator.partial_fit(1e3 * X + 5, y))
    assert copied.loss_curve_ == estimator.loss_curve_ and len(copied.loss_curve_) == 6


def _as_list(arrays: Any) -> list[Any]:
    return arrays if isinstance(arrays, list) else [arrays]


def test_an_estimator_that_was_not_fitted_can_be_copied() -> None:
    estimator = small(loss=nn.SoftmaxFocal(), **INSTANCES)
    for copied in (pickle.loads(pickle.dumps(estimator)), copy.deepcopy(estimator)):
        assert_same(copied.fit(X, Y), clone(estimator).fit(X, Y))


# Going on


@pytest.mark.parametrize(("kind", "y"), BOTH)
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_partial_fit_is_one_epoch_of_fit(kind: Any, y: Any, solver: str) -> None:
    """With shuffled rows and dropout too: an epoch is known by its number and the seed."""
    more = {"solver": solver, "dropout": 0.2, "learning_rate_init": 0.01}
    whole, by_parts = small(kind, max_iter=3, **more).fit(X, y), small(kind, **more)
    for epoch in range(3):
        by_parts.partial_fit(X, y, **({"classes": np.unique(y)} if kind is MLPClassifier and not epoch else {}))
        assert by_parts.n_iter_ == 1
    assert_same(by_parts, whole)
    assert by_parts.loss_curve_ == whole.loss_curve_
    assert (by_parts.t_, by_parts.loss_) == (whole.t_, whole.loss_)


def test_partial_fit_after_fit_goes_on_with_weights_and_moments() -> None:
    estimator = small(max_iter=3).fit(X, Y).partial_fit(X, Y)
    assert_same(estimator, small(max_iter=4).fit(X, Y))


def test_partial_fit_learns_classes_that_come_late() -> None:
    estimator = small(learning_rate_init=0.01, batch_size="auto")
    estimator.partial_fit(X[:50], TEXT[:50], classes=["virginica", "setosa", "versicolor"])
    assert list(estimator.classes_) == ["setosa", "versicolor", "virginica"]
    assert estimator.predict_proba(X).shape == (150, 3)
    for _ in range(60):
        for rows in (slice(0, 75), slice(75, 150)):
            estimator.partial_fit(X[rows], TEXT[rows])
    assert estimator.score(X, TEXT) > 0.9


@pytest.mark.parametrize("kind", [MLPClassifier, neural_network.MLPClassifier], ids=["ours", "scikit-learn"])
def test_partial_fit_refuses(kind: Any) -> None:
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        kind().partial_fit(X, Y)
    with pytest.raises(ValueError, match=r"`y` has classes not in `self.classes_`"):
        kind().partial_fit(X, Y, classes=[0, 1])
    estimator = kind().partial_fit(X, Y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match=r"`y` has classes not in `self.classes_`"):
        estimator.partial_fit(X, Y + 1)
    with pytest.raises(ValueError, match="not the same as on last call"):
        estimator.partial_fit(X, Y, classes=[0, 1, 2, 3])
    with pytest.raises(ValueError, match="X has 3 features, but MLPClassifier is expecting 4 features"):
        estimator.partial_fit(X[:, :3], Y)
    with pytest.raises(ValueError, match=r"partial_fit does not support early_stopping=True"):
        kind(early_stopping=True).partial_fit(X, Y, classes=[0, 1, 2])
    lbfgs = kind(solver="lbfgs")
    assert not hasattr(lbfgs, "partial_fit")
    with pytest.raises(AttributeError, match="partial_fit"):
        lbfgs.partial_fit(X, Y, classes=[0, 1, 2])
    estimator.partial_fit(X, Y)  # which nothing of this has hurt


def test_partial_fit_cannot_count_the_classes_that_are_still_to_come() -> None:
    with pytest.raises(ValueError, match="class_weight 'balanced' is not supported for partial_fit"):
        small(class_weight="balanced").partial_fit(X, Y, classes=[0, 1, 2])


def test_partial_fit_that_was_refused_leaves_no_trace() -> None:
    estimator = small()
    with pytest.raises(ValueError, match="NaN"):
        estimator.partial_fit(np.full_like(X, np.nan), Y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="first call"):
        estimator.partial_fit(X, Y)
    assert_same(estimator.partial_fit(X, Y, classes=[0, 1, 2]), small(max_iter=1).fit(X, Y))


@pytest.mark.parametrize(
    ("y", "classes"), [(INDICATORS, [0, 1, 2]), (COLUMNS, [np.unique(column) for column in COLUMNS.T])]
)
def test_partial_fit_with_several_labels(y: Any, classes: Any) -> None:
    estimator = small().partial_fit(X, y, classes=classes).partial_fit(X, y)
    assert_same(estimator, small(max_iter=2).fit(X, y))
    assert estimator.predict(X).shape == y.shape
    assert_same(estimator.partial_fit(X, y, classes=classes), small(max_iter=3).fit(X, y))
    with pytest.raises(ValueError, match="is not the same as on last call to partial_fit"):
        estimator.partial_fit(X, y, classes=[0, 1, 2, 3])


def test_partial_fit_of_several_columns_learns_classes_that_come_late() -> None:
    for classes in ([[0, 1, 2], [5, 6], [0, 1, 2]], [0, 1, 2, 5, 6]):
        estimator = small().partial_fit(X[:50], COLUMNS[:50], classes=classes).partial_fit(X, COLUMNS)
        nested = isinstance(classes[0], list)
        counts = [3, 2, 3] if nested else [5, 5, 5]
        assert [len(each) for each in estimator.classes_] == counts
        assert [each.shape for each in estimator.predict_proba(X[:4])] == [(4, count) for count in counts]


@pytest.mark.parametrize(("kind", "y"), BOTH)
def test_warm_start_goes_on_from_the_weights(kind: Any, y: Any) -> None:
    more = {"solver": "sgd", "momentum": 0.0, "shuffle": False, "warm_start": True}
    estimator = small(kind, max_iter=2, **more).fit(X, y).set_params(max_iter=3).fit(X, y)
    assert_same(estimator, small(kind, max_iter=5, **more).fit(X, y))
    assert estimator.n_iter_ == 3 and len(estimator.loss_curve_) == 5 and estimator.t_ == 5 * len(X)


def test_without_warm_start_a_fit_begins_anew() -> None:
    assert_same(small().fit(X[:100], Y[:100]).fit(X, Y), small().fit(X, Y))


def test_warm_start_refuses_another_problem() -> None:
    estimator = small(warm_start=True).fit(X, Y)
    before = weights(estimator)
    with pytest.raises(ValueError, match="same classes as in the previous call"):
        estimator.fit(X[:100], Y[:100])
    with pytest.raises(ValueError, match="X has 3 features"):
        estimator.fit(X[:, :3], Y)
    with pytest.raises(ValueError, match=r"another net than the one that was fitted.*warm_start=False"):
        estimator.set_params(hidden_layer_sizes=(9,)).fit(X, Y)
    np.testing.assert_array_equal(weights(estimator), before)
    estimator.set_params(hidden_layer_sizes=(8,)).fit(X, Y)
    with pytest.raises(ValueError, match="2 columns"):
        small(MLPRegressor, warm_start=True).fit(X, NUMBERS).fit(X, X[:, :2])


@pytest.mark.parametrize("first", [True, False])
def test_warm_start_with_early_stopping_switched_on_or_off(first: bool) -> None:
    estimator = small(warm_start=True, early_stopping=first).fit(X, Y)
    estimator.set_params(early_stopping=not first).fit(X, Y)
    assert len(estimator.loss_curve_) == 10
    assert len(estimator.validation_scores_) == 5


def test_partial_fit_after_a_fit_with_early_stopping() -> None:
    estimator = small(early_stopping=True).fit(X, Y)
    estimator.set_params(early_stopping=False).partial_fit(X, Y)
    assert len(estimator.loss_curve_) == 6


def test_warm_start_with_early_stopping_keeps_the_best_of_all_fits() -> None:
    """A second fit that makes it worse ends with the weights that it began with."""
    estimator = small(warm_start=True, early_stopping=True, max_iter=30, learning_rate_init=0.02).fit(X, Y)
    best, before = estimator.best_validation_score_, weights(estimator)
    estimator.set_params(learning_rate_init=1e-12, max_iter=2).fit(X, Y)
    assert estimator.best_validation_score_ == best
    np.testing.assert_array_equal(weights(estimator), before)


# Chance


@pytest.mark.parametrize(("kind", "y"), BOTH)
def test_the_same_random_state_gives_the_same_fit(kind: Any, y: Any) -> None:
    more = {"dropout": 0.1, "early_stopping": True}
    estimator = small(kind, **more).fit(X, y)
    first = weights(estimator)
    np.testing.assert_array_equal(weights(estimator.fit(X, y)), first)  # refit
    assert not np.array_equal(weights(small(kind, random_state=1, **more).fit(X, y)), first)
    by_instance = [small(kind, random_state=np.random.RandomState(0), **more).fit(X, y) for _ in range(2)]
    assert_same(*by_instance)
    np.testing.assert_array_equal(weights(by_instance[0]), first)
    assert not np.array_equal(weights(by_instance[0].fit(X, y)), first)  # whose stream has gone on
    state = np.random.get_state()
    try:
        seeded = []
        for _ in range(2):
            np.random.seed(5)
            seeded += [weights(small(kind, random_state=None, **more).fit(X, y)) for _ in range(2)]
    finally:
        np.random.set_state(state)
    np.testing.assert_array_equal(seeded[0], seeded[2])
    np.testing.assert_array_equal(seeded[1], seeded[3])
    assert not np.array_equal(seeded[0], seeded[1])
