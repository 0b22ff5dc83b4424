"""The L2 penalty that is part of the loss: the objective f = L + l2 / (2 S) sum W^2 of each batch, and its gradient."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import assert_close
from test_no_transfer import fit_sealed

from mlp_xp import backends, nn, optim, train
from mlp_xp.train import checkpoint
from mlp_xp.train.step import Data, Settings, State, Totals, backpropagation

RNG = np.random.default_rng(5)
ROWS, BATCH, L2 = 22, 8, 0.7  # the last batch has 6 rows
X = RNG.normal(size=(ROWS, 3))
Y = np.sin(X.sum(1))
WEIGHT = RNG.uniform(0.2, 3.0, ROWS)
MODEL = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))


def new(backend: Any = "numpy", model: nn.Layer = MODEL, loss: Any = None, **more: Any) -> train.Trainer:
    more = {"optimizer": optim.SGD(0.3), "dtype": "float64", "l2": L2, **more}
    return train.Trainer(model, loss or nn.MeanSquaredError(half=True), backend=backend, **more)


def fit(trainer: train.Trainer, epochs: int = 2, **more: Any) -> train.History:
    more = {"batch_size": BATCH, "shuffle": False, "progress": False, **more}
    return trainer.fit(X, Y, epochs=epochs, **more)


def objective(p: dict[str, np.ndarray], rows: slice, weight: np.ndarray, l2: float = L2) -> float:
    """As the formula says, in plain NumPy."""
    y = np.tanh(X[rows] @ p["0.weight"] + p["0.bias"]) @ p["2.weight"] + p["2.bias"]
    s = weight[rows]
    squares = (p["0.weight"] ** 2).sum() + (p["2.weight"] ** 2).sum()
    return float((s * 0.5 * (y[:, 0] - Y[rows]) ** 2).sum() + 0.5 * l2 * squares) / s.sum()


def differences(p: dict[str, np.ndarray], *batch: Any) -> dict[str, np.ndarray]:
    """The gradient of the objective by central differences of two widths, extrapolated (Richardson)."""
    gradient = {}
    for name, value in p.items():
        gradient[name] = np.zeros_like(value)
        for at in np.ndindex(value.shape):
            unit = np.zeros_like(value)
            unit[at] = 1.0
            wide, narrow = (
                (objective(p | {name: value + h * unit}, *batch) - objective(p | {name: value - h * unit}, *batch))
                / (2 * h)
                for h in (2e-3, 1e-3)
            )
            gradient[name][at] = (4 * narrow - wide) / 3
    return gradient


@pytest.mark.parametrize("weighted", [False, True])
def test_training_goes_down_the_objective_of_each_batch(backend: backends.Backend, weighted: bool) -> None:
    trainer = new(backend)
    weight = WEIGHT if weighted else np.ones(ROWS)
    p, total = trainer.parameters, 0.0
    for start in range(0, ROWS, BATCH):
        rows = slice(start, start + BATCH)
        total += weight[rows].sum() * objective(p, rows, weight)
        gradient = differences(p, rows, weight)
        p = {name: p[name] - 0.3 * gradient[name] for name in p}
    history = fit(trainer, epochs=1, sample_weight=weight if weighted else None)
    for name, value in trainer.parameters.items():
        np.testing.assert_allclose(value, p[name], rtol=0, atol=1e-11)
    assert history["loss"][0] == pytest.approx(total / weight.sum(), rel=1e-11)
    whole = objective(trainer.parameters, slice(None), weight, l2=0.0)
    assert trainer.evaluate(X, Y, sample_weight=weight)["loss"] == pytest.approx(whole, rel=1e-12)


def test_float32_stays_float32(backend: backends.Backend) -> None:
    single, double = new(backend, dtype="float32"), new()
    fit(single, sample_weight=WEIGHT)
    fit(double, sample_weight=WEIGHT)
    assert "float32" in str(single.state.flat.dtype)
    for name, value in single.parameters.items():
        assert_close(value, double.parameters[name], factor=200)


def test_it_is_the_alpha_of_scikit_learn() -> None:
    MLPRegressor = pytest.importorskip("sklearn.neural_network").MLPRegressor
    options: dict[str, Any] = {"hidden_layer_sizes": (4,), "activation": "tanh", "solver": "sgd", "momentum": 0.0}
    options |= {"alpha": L2, "batch_size": BATCH, "shuffle": False, "learning_rate_init": 0.1, "warm_start": True}
    theirs = MLPRegressor(max_iter=1, **options)
    with pytest.warns(Warning, match="iterations"):
        theirs.fit(X, Y)  # makes the arrays that the weights are put into
    ours = new(optimizer=optim.SGD(0.1))
    p = ours.parameters
    theirs.coefs_ = [p["0.weight"].copy(), p["2.weight"].copy()]
    theirs.intercepts_ = [p["0.bias"][0].copy(), p["2.bias"][0].copy()]
    theirs.loss_curve_.clear()
    for _ in range(6):
        with pytest.warns(Warning, match="iterations"):
            theirs.fit(X, Y)
    history = fit(ours, epochs=6)
    np.testing.assert_allclose(history["loss"], theirs.loss_curve_, rtol=1e-13)
    for layer, coefs, intercepts in zip((0, 2), theirs.coefs_, theirs.intercepts_, strict=True):
        np.testing.assert_allclose(ours.parameters[f"{layer}.weight"], coefs, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(ours.parameters[f"{layer}.bias"][0], intercepts, rtol=1e-12, atol=1e-14)


def test_a_full_batch_step_reaches_the_minimum_of_ridge_regression(backend: backends.Backend) -> None:
    # 1 / (2 S) (sum_i s_i (x_i w + b - y_i)^2 + l2 |w|^2) is quadratic: its minimum solves linear equations.
    inputs = np.hstack([X, np.ones((ROWS, 1))])
    system = inputs.T @ (WEIGHT[:, None] * inputs) + L2 * np.diag([1, 1, 1, 0])
    solution = np.linalg.solve(system, inputs.T @ (WEIGHT * Y))
    lowest = (WEIGHT * (inputs @ solution - Y) ** 2).sum() + L2 * (solution[:3] ** 2).sum()
    trainer = new(backend, nn.Linear(3, 1), optimizer=optim.LBFGS(tolerance_change=0.0, tolerance_gradient=1e-12))
    history = fit(trainer, epochs=50, batch_size=None, sample_weight=WEIGHT)
    np.testing.assert_allclose(trainer.parameters["weight"][:, 0], solution[:3], rtol=1e-9)
    np.testing.assert_allclose(trainer.parameters["bias"][0], solution[3:], rtol=1e-9)
    assert history["loss"][-1] == pytest.approx(lowest / (2 * WEIGHT.sum()), rel=1e-12)


@pytest.mark.parametrize("weight", [None, WEIGHT, np.stack([WEIGHT, WEIGHT[::-1]])], ids=["rows", "shared", "each"])
def test_models_side_by_side_have_a_penalty_each(backend: backends.Backend, weight: np.ndarray | None) -> None:
    layout, xp = nn.Layout(MODEL), backend.xp
    flat = np.stack([new(seed=seed).state.flat for seed in (1, 2)])

    def run(k: Any) -> list[np.ndarray]:
        with backend.scope():
            x, target, p = (backend.from_host(each, "float64") for each in (X, Y[:, None], flat[k]))
            s = None if weight is None else backend.from_host(weight[k] if weight.ndim == 2 else weight)
            gradient = backpropagation(xp, MODEL, layout, nn.MeanSquaredError(), (), p[..., :0])
            found = backend.compile(gradient)(State(p, (), None, Totals()), Data(x, target, s), Settings(l2=L2))
            return [backend.to_host(each) for each in found[:2]]

    both, each = run(slice(None)), [run(0), run(1)]
    for index in range(2):
        for together, alone in zip(both, each[index], strict=True):
            assert_close(together[index], alone, factor=64, dtype=np.float64)


def test_a_batch_in_which_nothing_counts_changes_nothing(backend: backends.Backend) -> None:
    weight = np.where(np.arange(ROWS) < BATCH, 0.0, WEIGHT)
    trainer, without = new(backend, dtype="float32"), new(backend, dtype="float32")
    history = fit(trainer, epochs=1, sample_weight=weight)
    rest = without.fit(
        X[BATCH:], Y[BATCH:], epochs=1, batch_size=BATCH, shuffle=False, sample_weight=WEIGHT[BATCH:], progress=False
    )
    for name, value in trainer.parameters.items():
        np.testing.assert_array_equal(value, without.parameters[name])
    assert history["loss"][0] == pytest.approx(rest["loss"][0], rel=1e-6)


def test_biases_and_what_scales_a_normalised_value_have_none() -> None:
    """With targets that the model meets, the penalty alone moves parameters: those that decay, and no others."""
    model = nn.Sequential(nn.BatchNorm(3), nn.Linear(3, 2), nn.LayerNorm(2))
    trainer = new(model=model, optimizer=optim.SGD(1.0))
    before = trainer.parameters
    with trainer.backend.scope():
        p = trainer.layout.split(np, trainer.state.flat, trainer.state.buffers)
        target, _ = model.forward(np, p, X, nn.Context(training=True))
    trainer.fit(X, target, epochs=1, batch_size=None, progress=False)
    after = trainer.parameters
    trained = [entry.name for entry in trainer.layout.entries]
    moved = {name for name in trained if not np.allclose(after[name], before[name], rtol=0, atol=1e-12)}
    assert moved == {"1.weight"}
    np.testing.assert_allclose(after["1.weight"], (1 - L2 / ROWS) * before["1.weight"], rtol=1e-10)


def test_the_penalty_takes_no_number_off_the_device(get_backend: Any) -> None:
    loss = nn.SoftmaxCrossEntropy(class_weight=(1.0, 2.0))
    trainer = new(get_backend("strict:device1"), nn.Linear(3, 2), loss, dtype="float32")
    assert fit_sealed(trainer, X[:4], np.arange(4) % 2) == 4


def test_it_is_saved_loaded_pickled_and_searched_with(tmp_path: Path) -> None:
    trainer = new()
    fit(trainer)
    trainer.save(tmp_path / "model")
    loaded = train.Trainer.load(tmp_path / "model", backend="numpy")
    for twin in (loaded, pickle.loads(pickle.dumps(trainer))):
        assert twin.l2 == L2
        assert fit(twin)["loss"] == fit(pickle.loads(pickle.dumps(trainer)))["loss"]
    search = {l2: train.find_learning_rate(new(l2=l2), X, Y, steps=3, progress=False).losses[0] for l2 in (0.0, 1e3)}
    assert search[1e3] > 10 * search[0.0]


def test_a_file_that_says_nothing_of_a_penalty_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dumps(about: dict[str, Any]) -> str:
        return json.JSONEncoder().encode({name: value for name, value in about.items() if name != "l2"})

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.json, "dumps", dumps)
        new().save(tmp_path / "model")
    assert train.Trainer.load(tmp_path / "model", backend="numpy").l2 == 0.0


@pytest.mark.parametrize("l2", [-0.1, float("nan"), float("inf"), True, "0.1", None])
def test_penalties_that_make_no_sense_are_refused(l2: Any) -> None:
    with pytest.raises(ValueError, match=r"l2=.*: give a finite number of at least 0"):
        new(l2=l2)
    with pytest.raises(AttributeError):
        new().l2 = 0.1  # type: ignore[misc]
