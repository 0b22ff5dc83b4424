"""L-BFGS and its line search: the conditions they promise, and the minima that SciPy and scikit-learn find."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from math import inf, log, nan
from typing import Any

import numpy as np
import pytest
from helpers import assert_close
from sklearn.datasets import load_iris

from mlp_xp import backends, nn, optim, train
from mlp_xp.optim.lbfgs import direction, remembered
from mlp_xp.optim.line_search import Trial, strong_wolfe
from mlp_xp.train import rollback

rng = np.random.default_rng(2)


# ---- the line search ----


def search(
    phi: Callable[[float], tuple[float, float]], first: float, **more: Any
) -> tuple[Trial, bool, list[Trial], Trial]:
    """What strong_wolfe finds on a function that gives its value and slope, every trial, and the start."""
    trials: list[Trial] = []

    def evaluate(a: float) -> Trial:
        trials.append(Trial(a, *phi(a), point=a))
        return trials[-1]

    start = Trial(0.0, *phi(0.0), point=0.0)
    found, both = strong_wolfe(evaluate, start, evaluate(first), **more)
    return found, both, trials, start


def more_thuente_1(a: float) -> tuple[float, float]:
    return -a / (a * a + 2), (a * a - 2) / (a * a + 2) ** 2


def more_thuente_2(a: float) -> tuple[float, float]:
    b = a + 0.004
    return b**5 - 2 * b**4, 5 * b**4 - 8 * b**3


def more_thuente_4(a: float, b1: float = 0.001, b2: float = 0.001) -> tuple[float, float]:
    """Equation 5.4, Yanai, Ozawa and Kaneko's function, as in their table IV."""
    g1, g2 = ((1 + b * b) ** 0.5 - b for b in (b1, b2))
    r1, r2 = ((1 - a) ** 2 + b2 * b2) ** 0.5, (a * a + b1 * b1) ** 0.5
    return g1 * r1 + g2 * r2, g1 * (a - 1) / r1 + g2 * a / r2


@pytest.mark.parametrize("first", [1e-3, 1e-1, 1e1, 1e3])
@pytest.mark.parametrize(
    ("phi", "c1", "c2"), [(more_thuente_1, 1e-3, 0.1), (more_thuente_2, 0.1, 0.1), (more_thuente_4, 1e-3, 1e-3)]
)
def test_both_conditions_hold_on_the_functions_of_more_and_thuente(
    phi: Any, c1: float, c2: float, first: float
) -> None:
    # Moré and Thuente (1994), section 5, with the tolerances and the first trials of their tables.
    found, both, trials, start = search(phi, first, c1=c1, c2=c2)
    value, slope = phi(found.length)
    assert both and found is trials[-1]
    assert value <= start.value + c1 * found.length * start.slope
    assert abs(slope) <= c2 * abs(start.slope)
    assert len(trials) <= 15


def test_a_first_trial_that_fulfils_both_is_taken_as_it_is() -> None:
    found, both, trials, _ = search(lambda a: ((a - 1) ** 2, 2 * (a - 1)), 1.0)
    assert both and found.length == 1 and len(trials) == 1
    assert found.point == 1.0  # with what the caller kept there


@pytest.mark.parametrize("beyond", [(nan, nan), (inf, inf), (-inf, nan), (0.0, nan), (nan, -1.0)])
def test_what_is_not_finite_is_too_far(beyond: tuple[float, float]) -> None:
    def phi(a: float) -> tuple[float, float]:
        return (-log(1 - a) - 3 * a, 1 / (1 - a) - 3) if a < 1 else beyond

    found, both, _, start = search(phi, 50.0)
    assert both and found.length < 1
    assert found.value <= start.value + 1e-4 * found.length * start.slope
    assert abs(found.slope) <= 0.9 * 2


def test_without_a_point_that_fulfils_both_the_lowest_is_given() -> None:
    found, both, trials, _ = search(lambda a: (-a, -1.0), 1.0, evaluations=7)  # there is no end to it
    assert not both and len(trials) == 7
    assert found.length == max(trial.length for trial in trials)
    found, both, trials, _ = search(lambda a: (abs(a - 0.3), -1.0 if a < 0.3 else 1.0), 1.0)  # a kink
    assert not both and len(trials) == 20
    assert found.value == min(trial.value for trial in trials) < 0.02
    found, both, trials, start = search(lambda a: (a, -1.0), 1.0)  # a slope that is wrong
    assert not both and found is start


def test_a_bracket_does_not_shrink_from_one_side_only() -> None:
    # Where the curvature jumps, the cubics of both sides point at the same side, ever closer to where they stand.
    def phi(a: float) -> tuple[float, float]:
        curvature = 1.0 if a < 0.3 else 1e4
        return curvature * (a - 0.3) ** 2, 2 * curvature * (a - 0.3)

    found, both, _, _ = search(phi, 1.0, c2=1e-3, evaluations=30)
    assert both and abs(found.length - 0.3) <= 1e-3 * 0.3


def test_what_rounding_hides_is_no_rise() -> None:
    found, both, _, start = search(lambda a: (1 + 1e-20 * ((a - 1) ** 2 - 1), 2e-20 * (a - 1)), 1.5)
    assert both and found.length == 1.5 and found.value == start.value


def test_a_search_ends_when_rounding_hides_what_is_left_to_gain() -> None:
    rough = 1e-6

    def phi(a: float) -> tuple[float, float]:
        return 1 + rough * round((a * a - 1e-4 * a) / rough), 2 * a - 1e-4

    _, both, trials, _ = search(phi, 1.0, noise=rough, evaluations=100)
    assert not both and len(trials) < 10


# ---- the direction ----


def test_the_direction_is_that_of_the_bfgs_formula(backend: backends.Backend) -> None:
    """d = -H g with H from one pair to the next (Nocedal and Wright, 2006, equation 6.17), as dense matrices."""
    n, history = 12, 4
    curvature = np.diag(np.linspace(1, 9, n))
    xp = backend.xp
    for pairs in (0, 2, 4, 6):
        steps = rng.normal(size=(pairs, n))
        changes = steps @ curvature
        g = rng.normal(size=n)
        kept = list(zip(steps, changes, strict=True))[-history:]
        H = np.eye(n) * (min(1.0, 1 / np.linalg.norm(g)) if not kept else kept[-1][0] @ kept[-1][1])
        H = H / (kept[-1][1] @ kept[-1][1]) if kept else H
        for s, y in kept:
            rho, identity = 1 / (y @ s), np.eye(n)
            H = (identity - rho * np.outer(s, y)) @ H @ (identity - rho * np.outer(y, s)) + rho * np.outer(s, s)
        with backend.scope():
            slots: tuple[Any, ...] = optim.LBFGS(history=history).start(xp, backend.from_host(np.zeros(n)))
            for s, y in zip(steps, changes, strict=True):
                slots = remembered(slots, backend.from_host(s), backend.from_host(y))
            d = backend.compile(lambda g, slots: direction(xp, g, slots))(backend.from_host(g), slots)
            assert_close(backend.to_host(d), -H @ g, factor=64, dtype=np.float64)


def test_a_pair_that_curves_downwards_or_underflows_changes_nothing() -> None:
    s, y, g = rng.normal(size=(3, 8)).astype(np.float32)
    y = y * np.sign(s @ y)
    empty = (np.zeros(8, np.float32),) * 4
    with np.errstate(all="ignore"):
        alone = direction(np, g, remembered(empty, s, y))
        for bad in (-y, np.float32(1e-40) * y, 0 * y):
            assert not (s @ bad).astype(np.float32) > np.finfo(np.float32).smallest_normal
            d = direction(np, g, remembered(remembered(empty, s, bad), s, y))
            np.testing.assert_array_equal(d, alone)


# ---- known functions ----


@dataclass(frozen=True)
class Function(nn.Layer):
    """A layer whose output, whatever its input, is a function of its parameter x; trained, that is minimised."""

    start: nn.Initializer
    n: int = 2

    def value(self, xp: Any, x: Any) -> tuple[Any, Any]:
        """The function and its gradient, both (1, ...)."""
        raise NotImplementedError

    def parameters(self) -> dict[str, nn.Parameter]:
        return {"x": nn.Parameter((1, self.n), self.start, 1, 1)}

    def output_features(self, features: Any) -> int:
        return 1

    def forward(self, xp: Any, p: Any, x: Any, ctx: Any) -> tuple[Any, Any]:
        value, gradient = self.value(xp, p["x"])
        return xp.reshape(value, (1, 1)), gradient

    def backward(self, xp: Any, p: Any, saved: Any, dy: Any) -> tuple[Any, Any]:
        return dy, {"x": dy * saved}


class Rosenbrock(Function):
    """sum of 100 (x_i+1 - x_i^2)^2 + (1 - x_i)^2, least at 1 (Rosenbrock, 1960)."""

    def value(self, xp: Any, x: Any) -> tuple[Any, Any]:
        a, b = x[:, :-1], x[:, 1:]
        zero = xp.zeros_like(x[:, :1])
        off = b - a * a
        left = -400.0 * a * off - 2.0 * (1.0 - a)
        gradient = xp.concat([left, zero], axis=-1) + xp.concat([zero, 200.0 * off], axis=-1)
        return xp.sum(100.0 * off * off + (1.0 - a) * (1.0 - a), axis=-1, keepdims=True), gradient


class Bowl(Function):
    """1/2 sum of i^4 (x_i - 1)^2: with n = 10 ten thousand times as steep one way as another."""

    def value(self, xp: Any, x: Any) -> tuple[Any, Any]:
        i = xp.cumulative_sum(xp.ones_like(x), axis=-1)
        steepness = i * i * i * i
        return 0.5 * xp.sum(steepness * (x - 1.0) * (x - 1.0), axis=-1, keepdims=True), steepness * (x - 1.0)


class Barrier(Function):
    """sum of i (x_i - 1) - log(i (x_i - 1)), less one each: 0 at 1 + 1 / i, its least; NaN below 1."""

    def value(self, xp: Any, x: Any) -> tuple[Any, Any]:
        i = xp.cumulative_sum(xp.ones_like(x), axis=-1)
        above = i * (x - 1.0)
        return xp.sum(above - xp.log(above) - 1.0, axis=-1, keepdims=True), i - i / above


@dataclass(frozen=True)
class Output(nn.Loss):
    """The output itself is what is to be small."""

    def __call__(self, xp: Any, y: Any, target: Any, weight: Any = None) -> tuple[Any, Any]:
        return xp.sum(y, axis=(-2, -1)), xp.ones_like(y)


EXACT = {"tolerance_gradient": 1e-7, "tolerance_change": 0.0}
"""As far as the rounding of values near 1 lets a line search see."""


def minimise(
    model: nn.Layer, optimizer: optim.LBFGS, epochs: int = 500, backend: Any = "numpy", dtype: str = "float64"
) -> train.Trainer:
    trainer = train.Trainer(model, Output(), optimizer, backend=backend, dtype=dtype)
    trainer.fit([[0.0]], [0.0], epochs=epochs, progress=False)
    return trainer


@pytest.mark.parametrize(
    ("model", "minimum", "iterations"),
    [
        (Rosenbrock(nn.Constant(-1.2)), 1.0, 60),
        (Rosenbrock(nn.Constant(0.3), n=30), 1.0, 200),
        (Bowl(nn.Constant(-3.0), n=10), 1.0, 60),
        (Barrier(nn.Constant(30.0), n=7), 1 + 1 / np.arange(1.0, 8), 60),
    ],
    ids=["Rosenbrock, 2", "Rosenbrock, 30", "Bowl", "Barrier"],
)
def test_known_minima_are_found_exactly(model: nn.Layer, minimum: Any, iterations: int) -> None:
    trainer = minimise(model, optim.LBFGS(**EXACT))
    assert "tolerance_gradient=1e-07" in trainer.finished
    assert len(trainer.history) == trainer.step <= iterations
    np.testing.assert_allclose(trainer.parameters["x"][0], np.broadcast_to(minimum, (model.n,)), rtol=1e-6)  # type: ignore[attr-defined]


# ---- a real loss: softmax regression, whose value and gradient NumPy computes here in another way ----

X = rng.normal(size=(80, 5)) * np.array([1, 3, 0.3, 1, 1])
Y = (X @ rng.normal(size=(5, 3)) + rng.normal(size=(80, 3))).argmax(1)
DECAY = 0.02


def regression(backend: Any = "numpy", model: nn.Layer | None = None, **options: Any) -> train.Trainer:
    dtype = options.pop("dtype", "float64")
    metrics = options.pop("metrics", ())
    optimizer = optim.LBFGS(**{"history": 5, "weight_decay": DECAY, **options})
    model = model or nn.Linear(5, 3)
    return train.Trainer(model, nn.SoftmaxCrossEntropy(), optimizer, backend=backend, dtype=dtype, metrics=metrics)


def fit(trainer: train.Trainer, epochs: int = 300, **more: Any) -> train.History:
    return trainer.fit(X, Y, epochs=epochs, progress=False, **more)


def objective(vector: np.ndarray, decays: np.ndarray, x: np.ndarray = X) -> tuple[float, np.ndarray]:
    """Of the weights (5, 3) and biases (3,) in one vector, with the decay of each element."""
    W, b = vector[:15].reshape(5, 3), vector[15:]
    z = x @ W + b
    probability = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    value = -np.log(probability[np.arange(80), Y]).mean() + 0.5 * (decays * vector**2).sum()
    dz = (probability - np.eye(3)[Y]) / 80
    return value, np.concatenate([(x.T @ dz).reshape(-1), dz.sum(0)]) + decays * vector


def weights(trainer: train.Trainer) -> np.ndarray:
    return np.concatenate([value.reshape(-1) for value in trainer.parameters.values()])


@pytest.mark.parametrize(
    ("multipliers", "decays"),
    [({}, [DECAY] * 15 + [0] * 3), ({"*": 1.0}, [DECAY] * 18), ({"bias": 3.0}, [DECAY] * 15 + [3 * DECAY] * 3)],
    ids=["weights", "all", "by name"],
)
def test_the_minimum_is_that_of_scipy(multipliers: dict[str, float], decays: Any) -> None:
    from scipy.optimize import minimize

    decays = np.array(decays, float)
    theirs = minimize(
        objective, np.zeros(18), (decays,), "L-BFGS-B", jac=True, options={"gtol": 1e-10, "ftol": 0, "maxcor": 20}
    )
    trainer = regression(decay_multipliers=multipliers, **EXACT)
    history = fit(trainer)
    assert "tolerance_gradient" in trainer.finished
    value, gradient = objective(weights(trainer), decays)
    assert value == pytest.approx(theirs.fun, rel=1e-11)
    assert np.abs(gradient).max() <= 1.01e-7
    # The history has the loss without the penalty.
    assert history["loss"][-1] == pytest.approx(value - 0.5 * (decays * weights(trainer) ** 2).sum(), rel=1e-12)


class Path(train.Callback):
    """The weights before the first and after every iteration."""

    def __init__(self) -> None:
        self.points: list[np.ndarray] = []

    def on_fit_start(self, trainer: train.Trainer, epochs: int, steps_per_epoch: int) -> None:
        self.points.append(weights(trainer))

    def on_step(self, trainer: train.Trainer) -> None:
        self.points.append(weights(trainer))


@pytest.mark.parametrize(("c1", "c2"), [(1e-4, 0.9), (0.1, 0.2)])
def test_every_step_fulfils_the_strong_wolfe_conditions(c1: float, c2: float) -> None:
    path, decays = Path(), np.array([DECAY] * 15 + [0] * 3)
    fit(regression(c1=c1, c2=c2, tolerance_gradient=1e-6, tolerance_change=0.0), callbacks=[path])
    assert len(path.points) > 10
    for before, after in pairwise(path.points):
        (f, g), (f_after, g_after), step = objective(before, decays), objective(after, decays), after - before
        assert f_after <= f + c1 * (g @ step) + 1e-15
        assert abs(g_after @ step) <= c2 * abs(g @ step) * (1 + 1e-9)


def test_every_backend_takes_the_same_path(backend: backends.Backend) -> None:
    reference, same, single = Path(), Path(), Path()
    fit(regression(), 12, callbacks=[reference])
    fit(regression(backend), 12, callbacks=[same])
    fit(regression(backend, dtype="float32"), 5, callbacks=[single])
    for ours, expected in zip(same.points, reference.points, strict=True):
        assert_close(ours, expected, factor=64, dtype=np.float64)
    for ours, expected in zip(single.points, reference.points, strict=False):
        assert_close(ours, expected, factor=64)


def test_in_float32_a_fit_ends_when_rounding_hides_the_rest(backend: backends.Backend) -> None:
    trainer = regression(backend, dtype="float32", weight_decay=0.0, tolerance_gradient=0.0, tolerance_change=0.0)
    loss = fit(trainer)["loss"]
    assert "nothing lower" in trainer.finished and len(loss) < 300
    assert all(after <= before for before, after in pairwise(loss))
    exact = regression(weight_decay=0.0, **EXACT)
    assert loss[-1] == pytest.approx(fit(exact)["loss"][-1], rel=1e-6)


# ---- against scikit-learn, which calls SciPy's L-BFGS-B ----


def regression_data(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows and targets, both standardised."""
    from sklearn.datasets import load_diabetes, make_regression

    if name == "diabetes":
        x, y = load_diabetes(return_X_y=True)
    else:
        x, y = make_regression(1000, 20, noise=10.0, random_state=0)
    return (x - x.mean(0)) / x.std(0), (y - y.mean()) / y.std()


def penalised_loss(x: np.ndarray, y: np.ndarray, W: list[np.ndarray], b: list[np.ndarray], alpha: float) -> float:
    """1/2 mean (f - y)^2 + alpha / (2 rows) |W|^2: what both minimise."""
    error = (np.maximum(x @ W[0] + b[0], 0) @ W[1] + b[1])[:, 0] - y
    return 0.5 * np.mean(error**2) + 0.5 * alpha / len(x) * sum((w**2).sum() for w in W)


def compared(name: str, seed: int, alpha: float, iterations: int, tol: float) -> float:
    """Our objective over scikit-learn's, of nets that start from the same weights."""
    import warnings

    from sklearn.neural_network import MLPRegressor

    x, y = regression_data(name)
    model = nn.Sequential(nn.Linear(x.shape[1], 50), nn.ReLU(), nn.Linear(50, 1))
    optimizer = optim.LBFGS(weight_decay=alpha / len(x), tolerance_gradient=tol)
    half = nn.MeanSquaredError(half=True)
    trainer = train.Trainer(model, half, optimizer, backend="numpy", dtype="float64", seed=seed)

    theirs = MLPRegressor(hidden_layer_sizes=(50,), solver="lbfgs", alpha=alpha, max_iter=1, tol=tol, warm_start=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged
        theirs.fit(x, y)
        p = trainer.parameters
        theirs.coefs_, theirs.intercepts_ = [p["0.weight"], p["2.weight"]], [p["0.bias"][0], p["2.bias"][0]]
        theirs.set_params(max_iter=iterations).fit(x, y)
    trainer.fit(x, y, epochs=iterations, progress=False)

    p = trainer.parameters
    ours = penalised_loss(x, y, [p["0.weight"], p["2.weight"]], [p["0.bias"], p["2.bias"]], alpha)
    reached = penalised_loss(x, y, theirs.coefs_, theirs.intercepts_, alpha)
    assert theirs.loss_ == pytest.approx(reached, rel=1e-10)  # the formula is theirs
    return ours / reached


@pytest.mark.parametrize("name", ["diabetes", "synthetic"])
def test_in_as_many_iterations_as_scikit_learn_makes_the_objective_is_lower(name: str) -> None:
    # Its own alpha, tol and max_iter. So little decay leaves many minima: which way is better differs from start to
    # start, and none of them has converged. A history of 20 pairs, to its 10, usually wins.
    ratios = [compared(name, seed, alpha=1e-4, iterations=200, tol=1e-4) for seed in range(5)]
    assert np.median(ratios) <= 1.0, ratios


@pytest.mark.parametrize("name", ["diabetes", "synthetic"])
def test_where_decay_leaves_one_minimum_it_is_that_of_scikit_learn(name: str) -> None:
    for seed in range(5):
        assert compared(name, seed, alpha=100.0, iterations=1000, tol=1e-5) <= 1.001


# ---- what a step costs ----


class Counted(nn.Identity):
    """Counts its forward passes in training, and keeps the key of each."""

    keys: list[Any] = []  # noqa: RUF012

    def forward(self, xp: Any, p: Any, x: Any, ctx: Any) -> Any:
        if ctx.training:
            self.keys.append(ctx.key)
        return x, None


@pytest.fixture
def evaluations(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    monkeypatch.setattr(Counted, "keys", [])
    return Counted.keys


def test_one_transfer_for_each_function_value(
    get_backend: Any, evaluations: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a pretended device all other ways by which numbers could leave it raise while a step runs."""
    backend = get_backend("strict:device1")
    trainer = regression(backend, nn.Sequential(Counted(), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)))
    array = type(backend.from_host(X))
    step, transfers, to_device, to_host = trainer._training_step, [], array.to_device, type(backend).to_host
    numbers = ("__bool__", "__complex__", "__dlpack__", "__float__", "__index__", "__int__")

    def forbidden(*_: Any, **__: Any) -> Any:
        raise AssertionError("the step took a number off the device")

    def counted(self: Any, *args: Any, **more: Any) -> Any:
        transfers.append(self.shape)
        return to_device(self, *args, **more)

    def watched(*args: Any) -> Any:
        with monkeypatch.context() as patch:
            for name in numbers:
                patch.setattr(array, name, forbidden)
            patch.setattr(array, "to_device", counted)
            patch.setattr(type(backend), "from_host", forbidden)
            return step(*args)

    watched.finished, watched.forget = "", step.forget  # type: ignore[attr-defined]
    trainer._training_step = watched
    fit(trainer, 20)
    assert type(backend).to_host is to_host
    assert 20 < len(evaluations) == len(transfers) < 40
    assert set(transfers) == {(4,)}


def test_a_step_starts_from_what_the_last_one_has_found(evaluations: list[Any]) -> None:
    fit(regression(model=nn.Sequential(Counted(), nn.Linear(5, 3))), 15)
    assert len(evaluations) < 2 * 15

    class Replace(train.Callback):
        def on_step(self, trainer: train.Trainer) -> None:
            trainer.parameters = {name: -value for name, value in trainer.parameters.items()}
            starts.append(trainer.evaluate(X, Y)["loss"])

    starts: list[float] = []
    again = regression(weight_decay=0.0)
    loss = fit(again, 15, callbacks=[Replace()])["loss"]
    assert all(after < start for start, after in zip(starts, loss[1:], strict=False))  # it looked at what is there now


def test_a_direction_that_does_not_lead_down_is_left_for_the_steepest(monkeypatch: pytest.MonkeyPatch) -> None:
    for bad in (1.0, 0.0, nan, inf, -inf):
        monkeypatch.setattr(
            "mlp_xp.train.full_batch.direction", lambda xp, g, slots, bad=bad: bad * g if slots[0].any() else -0.1 * g
        )
        trainer = regression(history=1)
        loss = fit(trainer, 10)["loss"]
        assert len(loss) == 10 and all(after < before for before, after in pairwise(loss))


def test_data_that_changed_between_fits_are_seen() -> None:
    x = X.copy()
    trainer, turned = regression(**EXACT), regression(**EXACT)
    trainer.fit(x, Y, epochs=300, progress=False)
    x[:] = X[:, ::-1]
    trainer.fit(x, Y, epochs=300, progress=False)
    turned.fit(X[:, ::-1], Y, epochs=300, progress=False)
    assert trainer.history["loss"][-1] == pytest.approx(turned.history["loss"][-1], rel=1e-6)


def test_a_line_search_sees_one_dropout_mask(evaluations: list[Any]) -> None:
    trainer = regression(model=nn.Sequential(Counted(), nn.Dropout(0.2), nn.Linear(5, 3)), tolerance_change=0.0)
    fit(trainer, 6)
    assert len(trainer.history) == 6
    changes = [before != after for before, after in pairwise(evaluations)]
    assert sum(changes) == 5  # another mask in every step, and only there


# ---- in the trainer ----


def test_what_is_recorded_is_what_holds_after_the_step(backend: backends.Backend) -> None:
    trainer = regression(backend, metrics=[train.Accuracy()])
    for _ in range(3):
        record = fit(trainer, 1).records[-1]
        measured = trainer.evaluate(X, Y)
        assert {name: record[name] for name in measured} == pytest.approx(measured, rel=1e-12)


def test_running_statistics_move_once_in_a_step_to_those_of_its_end() -> None:
    trainer = regression(model=nn.Sequential(nn.Linear(5, 4), nn.BatchNorm(4), nn.Tanh(), nn.Linear(4, 3)))
    for _ in range(3):
        before = trainer.parameters
        fit(trainer, 1)
        now = trainer.parameters
        z = X @ now["0.weight"] + now["0.bias"]
        for name, of_batch in (("1.running_mean", z.mean(0)), ("1.running_var", z.var(0, ddof=1))):
            np.testing.assert_allclose(now[name][0], 0.9 * before[name][0] + 0.1 * of_batch, rtol=1e-12)


def test_a_saved_trainer_continues_as_if_it_had_not_stopped(backend: backends.Backend, tmp_path: Any) -> None:
    model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm(4), nn.Tanh(), nn.Dropout(0.1), nn.Linear(4, 3))
    straight, stopped = (regression(backend, model, history=3) for _ in range(2))
    fit(straight, 9)
    fit(stopped, 5)
    stopped.save(tmp_path / "model.safetensors")
    resumed = train.Trainer.load(tmp_path / "model.safetensors", backend=backend)
    fit(resumed, 4)
    np.testing.assert_array_equal(weights(resumed), weights(straight))
    assert resumed.history["loss"] == straight.history["loss"]


def test_a_fit_says_why_it_has_ended() -> None:
    trainer = regression(tolerance_change=0.0)
    history = fit(trainer, 3)
    assert trainer.finished == "" and len(history) == 3
    fit(trainer)
    assert trainer.finished == "no element of the gradient is above tolerance_gradient=1e-05"
    assert 3 < len(history) == trainer.step == trainer.epoch < 100
    before = weights(trainer)
    fit(trainer)  # one more look, and nothing to do
    np.testing.assert_array_equal(weights(trainer), before)
    assert history["loss"][-1] == history["loss"][-2] and trainer.finished
    trainer = regression(tolerance_change=1e-2)
    assert len(fit(trainer)) < 20 and trainer.finished == "the last step gained less than tolerance_change=0.01"


def test_without_a_finite_loss_to_start_from_nothing_is_changed() -> None:
    trainer = train.Trainer(Barrier(nn.Constant(0.5)), Output(), optim.LBFGS(), backend="numpy", dtype="float64")
    with pytest.raises(train.Diverged, match="NaN or infinite at step 1"):
        trainer.fit([[0.0]], [0.0], epochs=5, progress=False)
    np.testing.assert_array_equal(trainer.parameters["x"], [[0.5, 0.5]])
    assert len(trainer.history) == 0


def test_nothing_is_copied_to_go_back_to(monkeypatch: pytest.MonkeyPatch) -> None:
    class Spoil(train.Callback):
        def on_epoch_end(self, trainer: train.Trainer, record: dict[str, float]) -> None:
            if trainer.epoch == 3:
                trainer.parameters = {name: np.full_like(value, nan) for name, value in trainer.parameters.items()}

    monkeypatch.setattr(rollback, "Kept", lambda trainer, slots: pytest.fail("a copy"))
    trainer = regression()
    with pytest.raises(train.Diverged, match=r"at step 4 \(epoch 4, batch 1 of 1\); the weights are those from before"):
        fit(trainer, callbacks=Spoil())
    assert trainer.step == trainer.epoch == 3


def test_only_all_rows_at_once_will_do() -> None:
    trainer = regression()
    with pytest.raises(ValueError, match="batch_size=32: a line search needs all 80 rows at once"):
        fit(trainer, 1, batch_size=32)
    for batch_size in ("auto", None, 80):
        fit(trainer, 1, batch_size=batch_size)
    assert trainer.step == 3


@pytest.mark.parametrize("wrapper", [optim.EMA, optim.SWA, optim.Lookahead])
def test_averages_do_not_go_around_it(wrapper: Any) -> None:
    with pytest.raises(ValueError, match=rf"{wrapper.__name__}.*LBFGS.*alone"):
        wrapper(optim.LBFGS())


@pytest.mark.parametrize(
    "options",
    [
        {"lr": 0.0},
        {"history": 0},
        {"history": 2.5},
        {"max_evaluations": 0},
        {"tolerance_gradient": -1.0},
        {"tolerance_change": "0"},
        {"weight_decay": -0.1},
        {"decay_multipliers": {"*": -1.0}},
        {"c1": 0.0},
        {"c1": 0.5, "c2": 0.4},
        {"c2": 1.0},
    ],
)
def test_hyper_parameters_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"LBFGS.*{next(iter(options))}"):
        optim.LBFGS(**options)


@pytest.mark.parametrize("seed", [2, 7, 8])
def test_where_a_fit_of_a_relu_net_ends_a_new_start_leads_no_further(seed: int) -> None:
    """At a kink the remembered pairs may lead nowhere while the gradient still does."""
    x, y = load_iris(return_X_y=True)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    model = nn.Sequential(nn.Linear(4, 20), nn.ReLU(), nn.Linear(20, 3))
    optimizer = optim.LBFGS(tolerance_gradient=1e-4, tolerance_change=2e-9, weight_decay=1e-4 / 150)
    trainer, again = (
        train.Trainer(model, nn.SoftmaxCrossEntropy(), optimizer, backend="numpy", dtype="float64", seed=seed)
        for _ in range(2)
    )
    end = trainer.fit(x, y, epochs=500, progress=False)["loss"][-1]
    assert trainer.finished
    again.parameters = trainer.parameters
    assert again.fit(x, y, epochs=20, progress=False)["loss"][-1] > end - 1e-6
