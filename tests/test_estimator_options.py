"""Every option of the estimators has its effect, and lands in the trainer: net, optimizer, loss, scaling, precision."""

from typing import Any

import numpy as np
import pytest
from helpers import assert_close
from iris import COLUMNS, INDICATORS, NUMBERS, TEXT, X, Y, assert_same, lbfgs, small, weights
from sklearn.svm import SVC

from mlp_xp import backends, nn, optim, train
from mlp_xp.catalogue import ACTIVATIONS, OPTIMIZERS
from mlp_xp.estimators import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

BOTH = [pytest.param(MLPClassifier, Y, id="classifier"), pytest.param(MLPRegressor, NUMBERS, id="regressor")]


def kinds(layer: Any) -> list[Any]:
    """The layers of a net in order, a Residual as the list of what it holds."""
    return [kinds(each) if isinstance(each, nn.Residual) else type(each) for each in layer.layers]


# The net


def test_the_net_is_what_the_options_say() -> None:
    estimator = small(
        hidden_layer_sizes=(8, 8, 5),
        activation=["gelu", nn.LeakyReLU(0.3), "tanh"],
        dropout=[0.0, 0.25, 0.5],
        normalization="batch",
        residual=True,
        standardize=True,
    ).fit(X, Y)
    hidden = [nn.Linear, nn.BatchNorm]
    model = estimator.trainer_.model
    assert kinds(model) == [
        *(nn.Standardize, *hidden, nn.GELU),
        [*hidden, nn.LeakyReLU, nn.Dropout],
        *(*hidden, nn.Tanh, nn.Dropout),
        nn.Linear,
    ]
    residual = model.layers[4]
    assert residual.layers[2] == nn.LeakyReLU(0.3) and residual.layers[3] == nn.Dropout(0.25)
    assert model.layers[-2] == nn.Dropout(0.5)
    assert [each.shape for each in estimator.coefs_] == [(4, 8), (8, 8), (8, 5), (5, 3)]


@pytest.mark.parametrize(
    ("word", "layer"), [("batch", nn.BatchNorm), ("layer", nn.LayerNorm), ("rms", nn.RMSNorm)], ids=str
)
def test_normalization(word: str, layer: Any) -> None:
    estimator = small(normalization=word, max_iter=60, learning_rate_init=0.02).fit(X, Y)
    assert kinds(estimator.trainer_.model) == [nn.Linear, layer, nn.ReLU, nn.Linear]
    assert estimator.score(X, Y) > 0.9


@pytest.mark.parametrize("word", sorted(ACTIVATIONS))
def test_every_activation_of_the_catalogue(word: str) -> None:
    estimator = small(activation=word, max_iter=2).fit(X, Y)
    assert isinstance(estimator.trainer_.model.layers[1], ACTIVATIONS[word])
    assert estimator.loss_curve_[1] < estimator.loss_curve_[0]


def test_one_value_for_all_hidden_layers() -> None:
    """As one for each; a single layer has no use for a sequence of another length."""
    sizes = (6, 5)
    one = small(hidden_layer_sizes=sizes, activation=nn.ELU(0.5), dropout=0.2).fit(X, Y)
    each = small(hidden_layer_sizes=sizes, activation=(nn.ELU(0.5),) * 2, dropout=[0.2, 0.2]).fit(X, Y)
    assert_same(one, each)


def test_dropout_is_for_training_alone() -> None:
    estimator = small(dropout=0.5).fit(X, Y)
    np.testing.assert_array_equal(estimator.predict_proba(X), estimator.predict_proba(X))
    assert not np.array_equal(weights(estimator), weights(small().fit(X, Y)))


def test_weight_init() -> None:
    estimator = small(weight_init=nn.Constant(0.25), solver=optim.SGD(0.0), max_iter=1).fit(X, Y)
    assert all(np.all(each == 0.25) for each in estimator.coefs_)
    assert all(np.all(each == 0) for each in estimator.intercepts_)


@pytest.mark.parametrize(("activation", "gain"), [("relu", 6), ("tanh", 6), ("identity", 6), ("logistic", 2)])
def test_weights_and_biases_start_as_in_scikit_learn(activation: str, gain: float) -> None:
    """Uniform within sqrt(gain / (fan_in + fan_out))."""
    estimator = small(
        hidden_layer_sizes=(300, 200), activation=activation, solver=optim.SGD(0.0), max_iter=1, batch_size=150
    ).fit(X, Y)
    for weight, bias in zip(estimator.coefs_, estimator.intercepts_, strict=True):
        bound = np.sqrt(gain / sum(weight.shape))
        for values in (weight.ravel(), bias):
            assert np.abs(values).max() <= bound
            assert values.size < 100 or np.abs(values).max() > 0.95 * bound
            assert values.size < 100 or np.std(values) == pytest.approx(bound / np.sqrt(3), rel=0.1)


# The optimizer


@pytest.mark.parametrize("word", sorted(OPTIMIZERS))
def test_every_solver_of_the_catalogue(word: str) -> None:
    estimator = small(solver=word, max_iter=10, learning_rate_init=1.0 if word == "adadelta" else 0.003).fit(X, Y)
    expected = OPTIMIZERS[word]
    assert type(estimator.trainer_.optimizer) is getattr(expected, "func", expected)
    assert estimator.loss_ < estimator.loss_curve_[0]


def test_the_numbers_of_sgd_and_adam() -> None:
    sgd = small(solver="sgd", momentum=0.7, nesterovs_momentum=False, learning_rate_init=0.02).fit(X, Y)
    optimizer = sgd.trainer_.optimizer
    assert (optimizer.lr, optimizer.momentum, optimizer.nesterov) == (0.02, 0.7, False)
    adam = small(beta_1=0.8, beta_2=0.95, epsilon=1e-5, learning_rate_init=0.02).fit(X, Y).trainer_.optimizer
    assert (adam.lr, adam.beta1, adam.beta2, adam.eps) == (0.02, 0.8, 0.95, 1e-5)


def test_an_optimizer_of_ones_own() -> None:
    mine = optim.EMA(optim.RMSprop(0.01, clip_norm=1.0), 0.5)
    assert small(solver=mine).fit(X, Y).trainer_.optimizer == mine
    full_batch = small(solver=optim.LBFGS(history=3), max_iter=30).fit(X, Y)
    assert full_batch.score(X, Y) > 0.9 and not hasattr(full_batch, "partial_fit")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("cosine", optim.Cosine(0.01, 20)),
        ("one_cycle", optim.OneCycle(0.01 / 25, 0.01, 0.01 / 250_000, 20)),
        (optim.Exponential(0.03, 0.9), optim.Exponential(0.03, 0.9)),
    ],
    ids=str,
)
@pytest.mark.parametrize("solver", ["adam", "sgd", "lion"])
def test_learning_rates_by_schedule(given: Any, expected: optim.Schedule, solver: str) -> None:
    """Four epochs of five steps."""
    estimator = small(solver=solver, learning_rate=given, learning_rate_init=0.01, max_iter=4).fit(X, Y)
    assert estimator.trainer_.optimizer.lr == expected
    rates = estimator.trainer_.history["learning_rate"]
    np.testing.assert_allclose(rates, [expected(step) for step in (0, 5, 10, 15)], rtol=1e-12)


@pytest.mark.parametrize("given", ["cosine", "one_cycle"])
def test_schedules_and_moments_go_on_in_partial_fit_with_parts_of_any_size(given: str) -> None:
    estimator = small(learning_rate=given, learning_rate_init=0.01, max_iter=4)
    estimator.partial_fit(X, Y, classes=[0, 1, 2])
    expected = estimator.trainer_.optimizer.lr
    for rows in (70, 33, 150):
        estimator.partial_fit(X[:rows], Y[:rows])
    assert estimator.trainer_.optimizer.lr == expected
    steps = np.cumsum([0, 5, 3, 2])
    np.testing.assert_allclose(estimator.trainer_.history["learning_rate"], [expected(step) for step in steps])


def test_invscaling_and_adaptive() -> None:
    more = {"solver": "sgd", "learning_rate_init": 0.1, "max_iter": 4}
    invscaling = small(learning_rate="invscaling", power_t=0.3, **more).fit(X, Y)
    rates = invscaling.trainer_.history["learning_rate"]
    np.testing.assert_allclose(rates, [0.1, *(0.1 / (150 * epoch + 1) ** 0.3 for epoch in (1, 2, 3))], rtol=1e-12)
    more |= {"max_iter": 40, "tol": 10.0, "n_iter_no_change": 1}
    adaptive = small(learning_rate="adaptive", **more).fit(X, Y)
    rates = adaptive.trainer_.history["learning_rate"]
    np.testing.assert_allclose(rates[:7], [0.1, 0.1, 0.1, 0.02, 0.02, 0.004, 0.004], rtol=1e-9)
    assert adaptive.n_iter_ < 40 and rates[-1] < 5e-6


def test_clipping() -> None:
    """One SGD step of rate 1 from known weights is the gradient."""

    def step(**more: Any) -> np.ndarray:
        estimator = small(solver=optim.SGD(0.0), max_iter=1, batch_size=150, alpha=0.0).fit(X, Y)
        before = weights(estimator)
        estimator.set_params(solver=optim.SGD(1.0), **more).partial_fit(X, Y)
        return before - weights(estimator)

    gradient = step()
    length = np.sqrt(np.sum(gradient**2))
    assert length > 0.1
    np.testing.assert_allclose(step(clip_norm=0.1), gradient * 0.1 / length, rtol=1e-4, atol=1e-12)
    assert_close(step(clip_value=0.02), np.clip(gradient, -0.02, 0.02), factor=1e4, dtype=np.float64)
    assert np.abs(gradient).max() > 0.02


def test_max_norm_holds_for_the_incoming_weights_of_every_unit() -> None:
    more = {"learning_rate_init": 0.05, "max_iter": 20, "hidden_layer_sizes": (8, 8), "residual": True}
    free = small(**more).fit(X, Y)
    held = small(max_norm=0.9, **more).fit(X, Y)
    lengths = [np.sqrt(np.sum(each**2, axis=0)) for each in held.coefs_]
    assert max(each.max() for each in lengths) == pytest.approx(0.9, rel=1e-12)
    assert max(np.sqrt(np.sum(each**2, axis=0)).max() for each in free.coefs_) > 1.5


def test_ema_predicts_with_the_averaged_weights() -> None:
    """a <- 0.8 a + 0.2 p after every step, from the weights after the first."""

    class Keep(train.Callback):
        def on_fit_start(self, trainer: train.Trainer, epochs: int, steps_per_epoch: int) -> None:
            self.seen: list[Any] = []

        def on_step(self, trainer: train.Trainer) -> None:
            self.seen.append(trainer.parameters)

    keep = Keep()
    estimator = small(ema=0.8, callbacks=keep, learning_rate_init=0.02).fit(X, Y)
    average = keep.seen[0]
    for now in keep.seen[1:]:
        average = {name: 0.8 * average[name] + 0.2 * now[name] for name in now}
    for found, name in zip(estimator.coefs_, ("0.weight", "2.weight"), strict=True):
        assert_close(found, average[name], dtype=np.float64)
        assert not np.allclose(found, keep.seen[-1][name])
    hidden = np.maximum(X @ estimator.coefs_[0] + estimator.intercepts_[0], 0)
    logits = hidden @ estimator.coefs_[1] + estimator.intercepts_[1]
    assert_close(estimator.decision_function(X), logits, dtype=np.float64)


@pytest.mark.parametrize("option", ["clip_norm", "clip_value", "max_norm", "ema"])
def test_what_lbfgs_has_no_place_for(option: str) -> None:
    with pytest.raises(ValueError, match=f"{option} cannot be combined with solver='lbfgs'"):
        small(solver="lbfgs", **{option: 0.5}).fit(X, Y)


# Losses


@pytest.mark.parametrize(
    ("word", "two", "three"),
    [
        ("log_loss", nn.SigmoidBinaryCrossEntropy(), nn.SoftmaxCrossEntropy()),
        ("focal", nn.SigmoidFocal(), nn.SoftmaxFocal()),
        ("hinge", nn.Hinge(), nn.MultiClassHinge()),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_losses_of_the_classifier(word: str, two: nn.Loss, three: nn.Loss) -> None:
    more = {"max_iter": 60, "learning_rate_init": 0.02}
    for y, loss in ((TEXT, three), (TEXT[:100], two)):
        estimator = small(loss=word, **more).fit(X[: len(y)], y)
        assert estimator.trainer_.loss == loss
        assert estimator.score(X[: len(y)], y) > 0.9
        assert_same(estimator, small(loss=loss, **more).fit(X[: len(y)], y))
    for y in (INDICATORS, COLUMNS):
        estimator = small(loss=word, **more).fit(X, y)
        assert estimator.trainer_.loss == (nn.Summed(two) if y is INDICATORS else nn.MultiOutput(three, (3, 2, 3)))
        assert estimator.predict(X).shape == y.shape


def test_two_classes_with_a_softmax() -> None:
    estimator = lbfgs(loss=nn.SoftmaxCrossEntropy(), max_iter=40).fit(X[50:], TEXT[50:])
    assert estimator.n_outputs_ == 2 and estimator.out_activation_ == "softmax"
    probabilities = estimator.predict_proba(X)
    np.testing.assert_allclose(probabilities[:, 1], 1 / (1 + np.exp(-estimator.decision_function(X))), rtol=1e-9)
    np.testing.assert_array_equal(estimator.predict(X), estimator.classes_[probabilities.argmax(axis=1)])


def test_hinge_has_no_probabilities() -> None:
    """And is, without hidden layers, a linear support vector machine."""
    estimator = lbfgs(loss="hinge", hidden_layer_sizes=(), max_iter=300, alpha=1.0)
    assert not hasattr(estimator, "predict_proba") and not hasattr(estimator, "predict_log_proba")
    with pytest.raises(AttributeError, match="has no attribute 'predict_proba'") as raised:
        estimator.fit(X, Y).predict_proba(X)
    assert "use decision_function, or loss='log_loss'" in str(raised.value.__cause__)
    assert not hasattr(estimator.set_params(loss="log_loss"), "predict_proba")  # the net is what it was fitted to be
    assert hasattr(estimator.fit(X, Y), "predict_proba")
    x, y = X[50:], Y[50:]
    machine = SVC(kernel="linear", C=1 / 3.0, tol=1e-8).fit(x, y)
    ours = small(
        loss="hinge", hidden_layer_sizes=(), alpha=3.0, solver="sgd", batch_size=100, max_iter=3000, tol=0.0,
        momentum=0.0, learning_rate=optim.Cosine(0.5, 3000), n_iter_no_change=np.inf,
    ).fit(x, y)  # fmt: skip
    found = np.append(ours.coefs_[0], ours.intercepts_[0])
    np.testing.assert_allclose(found, np.append(machine.coef_, machine.intercept_), atol=0.02)


def test_huber_and_absolute_error_resist_outliers() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, size=(200, 1))
    y = 2 * x[:, 0] + 1 + rng.normal(scale=0.05, size=200)
    y[x[:, 0] > 0.9] += 100
    more = {"hidden_layer_sizes": (), "max_iter": 400, "learning_rate_init": 0.05, "tol": 0.0}
    line = np.array([[0.0], [0.5]])
    for loss in ("huber", "absolute_error", "log_cosh", nn.SmoothL1(0.1)):
        found = small(MLPRegressor, loss=loss, **more).fit(x, y).predict(line)
        np.testing.assert_allclose(found, [1.0, 2.0], atol=0.3)
    assert np.abs(small(MLPRegressor, **more).fit(x, y).predict(line) - [1.0, 2.0]).max() > 3


def wave(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, y and the standard deviation of y, which grows with x; in units of hundreds."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, size=(rows, 1))
    std = 100 * np.exp(x[:, 0])
    return x, 1000 + 300 * np.sin(3 * x[:, 0]) + std * rng.normal(size=rows), std


def wide(**more: Any) -> Any:
    options = {"hidden_layer_sizes": (32,), "activation": "tanh", "standardize": True, "learning_rate": "cosine"}
    return small(MLPRegressor, **options | {"max_iter": 80, "learning_rate_init": 0.02, "batch_size": 100} | more)


def test_gaussian_nll_finds_the_standard_deviation() -> None:
    x, y, std = wave(3000, 0)
    estimator = wide(loss="gaussian_nll").fit(x, y)
    found = estimator.predict_std(x)
    assert found.shape == (3000,)
    assert np.mean(np.abs(np.log(found / std))) < 0.1
    residual = (y - estimator.predict(x)) / found
    assert np.std(residual) == pytest.approx(1, abs=0.05)
    columns = wide(loss="gaussian_nll", max_iter=20).fit(x, np.stack([y, 5 - 2 * y], axis=1))
    both = columns.predict_std(x)
    assert both.shape == columns.predict(x).shape == (3000, 2)
    np.testing.assert_allclose(both[:, 1] / both[:, 0], 2, rtol=0.3)
    assert not hasattr(wide(), "predict_std")
    with pytest.raises(AttributeError, match="predict_std") as raised:
        wide().fit(x, y).predict_std(x)
    assert "use loss='gaussian_nll'" in str(raised.value.__cause__)


def test_quantiles_have_their_coverage() -> None:
    (x, y, _), (x_new, y_new, _) = wave(3000, 0), wave(3000, 1)
    quantiles = (0.1, 0.5, 0.9)
    estimator = wide(loss="quantile").fit(x, y)
    found = estimator.predict_quantiles(x_new)
    assert found.shape == (3000, 3)
    assert np.all(np.diff(found, axis=1) > 0)
    np.testing.assert_allclose(np.mean(y_new[:, None] < found, axis=0), quantiles, atol=0.03)
    np.testing.assert_array_equal(estimator.predict(x_new), found[:, 1])
    columns = wide(loss=nn.Quantile((0.25, 0.75)), max_iter=30).fit(x, np.stack([y, -y], axis=1))
    found = columns.predict_quantiles(x_new)
    assert found.shape == (3000, 2, 2) and columns.predict(x_new).shape == (3000, 2)
    for column, sign in enumerate((1, -1)):
        share = np.mean(sign * y_new[:, None] < found[:, column, :], axis=0)
        np.testing.assert_allclose(share, [0.25, 0.75], atol=0.06)
    assert not hasattr(wide(), "predict_quantiles")


def test_poisson_predicts_rates() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, size=(3000, 2))
    rate = np.exp(1 + x[:, 0] - 0.5 * x[:, 1])
    y = rng.poisson(rate)
    estimator = lbfgs(MLPRegressor, loss="poisson", standardize=True, max_iter=200).fit(x, y)
    assert np.all(estimator.predict(100 * x[:50]) > 0)
    assert np.mean(np.abs(np.log(estimator.predict(x) / rate))) < 0.05
    assert estimator.out_activation_ == "exp"
    with pytest.raises(ValueError, match="not negative"):
        small(MLPRegressor, loss="poisson").fit(x, -rate)


# Scaling and precision


@pytest.mark.parametrize("loss", ["squared_error", "gaussian_nll", "quantile"])
def test_standardize_makes_the_units_of_X_and_y_irrelevant(loss: str) -> None:
    more = {"loss": loss, "standardize": True, "max_iter": 20}
    plain = small(MLPRegressor, **more).fit(X, NUMBERS)
    factor, shift = np.array([1e3, 1e-3, 7.0, 1.0]), np.array([5.0, -1.0, 100.0, 0.0])
    scaled = small(MLPRegressor, **more).fit(X * factor + shift, 250.0 * NUMBERS - 40.0)
    for method in ("predict", "predict_quantiles", "predict_std"):
        if hasattr(plain, method):
            expected = 250.0 * getattr(plain, method)(X) - (0.0 if method == "predict_std" else 40.0)
            assert_close(getattr(scaled, method)(X * factor + shift), expected, factor=1e6, dtype=np.float64)
    assert scaled.score(X * factor + shift, 250.0 * NUMBERS - 40.0) == pytest.approx(plain.score(X, NUMBERS))


def test_standardize_is_a_scaler_before_the_classifier() -> None:
    raw = 40 * X + [1, 2, 3, 400]
    scaled = (raw - raw.mean(axis=0)) / raw.std(axis=0)
    plain, inside = (small(standardize=each, warm_start=True) for each in (False, True))
    plain.fit(scaled, Y)
    inside.fit(raw, Y)
    inside.coefs_, inside.intercepts_ = plain.coefs_, plain.intercepts_  # from the same weights on
    assert_close(inside.predict_proba(raw), plain.predict_proba(scaled), dtype=np.float64)
    assert_close(inside.fit(raw, Y).predict_proba(raw), plain.fit(scaled, Y).predict_proba(scaled), 1e5, np.float64)
    constant = np.hstack([raw, np.full((150, 1), 3.0)])
    assert np.all(np.isfinite(small(standardize=True).fit(constant, Y).predict_proba(constant)))


def test_standardize_takes_its_numbers_from_the_first_call_of_partial_fit() -> None:
    estimator = small(MLPRegressor, standardize=True)
    estimator.partial_fit(X[:50] + 3, NUMBERS[:50]).partial_fit(X, NUMBERS)
    mean = estimator.trainer_.parameters["0.mean"][0]
    np.testing.assert_allclose(mean, X[:50].mean(axis=0) + 3, rtol=1e-12)


@pytest.mark.parametrize(("kind", "y"), BOTH)
@pytest.mark.parametrize(
    ("given", "asked", "expected"),
    [
        (np.float64, None, np.float64),
        (np.float32, None, np.float32),
        (np.int64, None, np.float64),
        (np.float16, None, np.float64),
        (np.float64, "float32", np.float32),
        (np.float32, "float64", np.float64),
    ],
    ids=str,
)
def test_dtype(kind: Any, y: Any, given: Any, asked: Any, expected: Any) -> None:
    """Weights are of the dtype of X, or of the one that was asked for."""
    x = (10 * X).astype(given)
    estimator = small(kind, dtype=asked, standardize=True).fit(x, y)
    assert {each.dtype for each in (*estimator.coefs_, *estimator.intercepts_)} == {np.dtype(expected)}
    assert type(estimator.loss_) is float
    for method in ("predict_proba", "decision_function", "predict"):
        if hasattr(estimator, method) and (kind is MLPRegressor or method != "predict"):
            assert getattr(estimator, method)(x).dtype == expected


@pytest.mark.parametrize("backend", ["numpy", "strict", backends.select("numpy")], ids=str)
def test_backend(backend: Any) -> None:
    estimator = small(backend=backend).fit(X, Y)
    assert estimator.trainer_.backend.name == getattr(backend, "name", backend)
    assert isinstance(estimator.predict_proba(X), np.ndarray) and isinstance(estimator.coefs_[0], np.ndarray)
    assert_close(weights(estimator), weights(small().fit(X, Y)), factor=1000, dtype=np.float64)


@pytest.mark.parametrize("solver", ["lbfgs", optim.Adam()])
@pytest.mark.parametrize("rate", ["cosine", optim.Exponential(0.1, 0.9)])
def test_a_schedule_that_cannot_reach_the_optimizer_is_refused(solver: Any, rate: Any) -> None:
    with pytest.raises(ValueError, match="give the schedule to the optimizer"):
        small(solver=solver, learning_rate=rate).fit(X, Y)


def test_dtype_may_change_before_a_warm_start() -> None:
    estimator = small(warm_start=True).fit(X, Y).set_params(dtype="float32").fit(X, Y)
    assert estimator.coefs_[0].dtype == np.float32
