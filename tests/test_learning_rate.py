"""What changes the learning rate by what it sees: a plateau, and the search for a first rate."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlp_xp import backends, nn, optim, train, viz

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 5))
Y = X @ RNG.normal(size=5) + 0.1 * RNG.normal(size=64)


def new(optimizer: optim.Optimizer | None = None, backend: Any = "numpy", **more: Any) -> train.Trainer:
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 1))
    optimizer = optimizer or optim.SGD(0.1)
    return train.Trainer(model, nn.MeanSquaredError(), optimizer, backend=backend, dtype="float64", **more)


class Pretend(train.Callback):
    """Records values of its own in place of the loss, and the learning rate that the next epoch will have."""

    def __init__(self, values: list[float]) -> None:
        self.values, self.rates = values, []

    def on_epoch_end(self, trainer: train.Trainer, record: dict[str, float]) -> None:
        record["loss"] = self.values[trainer.epoch - 1]


class Rates(train.Callback):
    def __init__(self) -> None:
        self.rates: list[float] = []

    def on_epoch_end(self, trainer: train.Trainer, record: dict[str, float]) -> None:
        self.rates.append(trainer.optimizer.learning_rate(trainer.step))


def course(values: list[float], plateau: train.ReduceOnPlateau) -> list[float]:
    rates = Rates()
    new().fit(X, Y, epochs=len(values), callbacks=[Pretend(values), plateau, rates], progress=False)
    return rates.rates


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"factor": 0.5, "patience": 0},
        {"patience": 1, "cooldown": 3, "threshold": 0.05},
        {"patience": 2, "min_lr": 0.03},
    ],
    ids=str,
)
def test_without_smoothing_it_is_torchs_reduce_on_plateau(options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    values = (1 / (1 + np.arange(60)) + 0.02 * rng.random(60)).tolist()
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, eps=0, **{"factor": 0.3, "patience": 2} | options)
    expected = []
    for value in values:
        theirs.step(value)
        expected.append(theirs.get_last_lr()[0])
    named = {"factor": 0.3, "patience": 2} | options
    ours = course(values, train.ReduceOnPlateau("loss", lowest=named.pop("min_lr", 0.0), **named))
    assert ours == pytest.approx(expected, rel=1e-12)
    assert len(set(expected)) > 1


def test_smoothing_sees_a_trend_that_noise_hides() -> None:
    noisy = [1 - 0.01 * t + 0.3 * (-1) ** t for t in range(40)]
    assert course(noisy, train.ReduceOnPlateau("loss", patience=0, threshold=0))[-1] < 0.1
    assert course(noisy, train.ReduceOnPlateau("loss", patience=0, threshold=0, smoothing=0.97))[-1] == 0.1


def test_it_watches_a_metric_upwards() -> None:
    plateau = train.ReduceOnPlateau("r2", factor=0.5, patience=1)
    trainer = new(metrics=[train.R2()])
    values = iter([0.1, 0.5, 0.9, 0.9, 0.9, 0.9])

    class PretendR2(train.Callback):
        def on_epoch_end(self, trainer: train.Trainer, record: dict[str, float]) -> None:
            record["r2"] = next(values)

    rates = Rates()
    trainer.fit(X, Y, epochs=6, callbacks=[PretendR2(), plateau, rates], progress=False)
    assert rates.rates == [0.1, 0.1, 0.1, 0.1, 0.05, 0.05]
    with pytest.raises(KeyError, match=r"ReduceOnPlateau watches what is not measured.*did you mean 'r2'"):
        trainer.fit(X, Y, callbacks=[train.ReduceOnPlateau("R_2")], progress=False)


def test_the_reduced_rate_is_used_recorded_and_saved(backend: backends.Backend, tmp_path: Path) -> None:
    trainer = new(optim.EMA(optim.SGD(optim.Cosine(0.1, steps=100))), backend)
    trainer.fit(X, Y, epochs=1, batch_size=None, progress=False)
    before = trainer.parameters
    trainer.scale_learning_rate(0.0)
    trainer.fit(X, Y, epochs=2, batch_size=None, progress=False)
    for name, value in trainer.parameters.items():
        np.testing.assert_array_equal(value, before[name])
    assert trainer.history["learning_rate"] == [0.1, 0.0, 0.0]
    trainer.save(tmp_path / "model")
    assert train.Trainer.load(tmp_path / "model", backend=backend).optimizer == trainer.optimizer


def test_a_loss_that_diverges_after_a_reduction_is_still_traced_to_its_step() -> None:
    class Grow(train.Callback):
        def on_epoch_end(self, trainer: train.Trainer, record: dict[str, float]) -> None:
            trainer.scale_learning_rate(1e80 if trainer.epoch == 3 else 0.5)

    trainer, same = new(), new()
    with pytest.raises(train.Diverged) as error:
        trainer.fit(X, Y, epochs=10, batch_size=16, callbacks=[Grow()], progress=False)
    good = error.value.step - 2
    assert 12 <= good <= 16
    same.fit(X, Y, epochs=10, batch_size=16, callbacks=[Grow(), StopAfter(good)], progress=False)
    for name, value in trainer.parameters.items():
        np.testing.assert_array_equal(value, same.parameters[name])


class StopAfter(train.Callback):
    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_step(self, trainer: train.Trainer) -> None:
        trainer.stop = trainer.step >= self.steps


@pytest.mark.parametrize(
    "options",
    [
        {"factor": 1.0},
        {"patience": -1},
        {"smoothing": 1.0},
        {"threshold": -0.1},
        {"cooldown": -2},
        {"lowest": -1.0},
        {"factor": float("nan")},
    ],
    ids=str,
)
def test_plateaus_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"ReduceOnPlateau\({next(iter(options))}="):
        train.ReduceOnPlateau(**options)


def test_an_optimizer_without_a_rate_to_lower_is_refused_before_training() -> None:
    trainer = new(optim.Rprop())
    with pytest.raises(ValueError, match="Rprop"):
        trainer.fit(X, Y, callbacks=[train.ReduceOnPlateau("loss")], progress=False)
    assert trainer.step == 0


# The search


def test_the_search_tries_a_step_at_each_rate_and_leaves_the_trainer_alone(backend: backends.Backend) -> None:
    trainer = new(backend=backend)
    trainer.fit(X, Y, epochs=2, progress=False)
    before, step = trainer.parameters, trainer.step
    search = train.find_learning_rate(trainer, X, Y, lowest=1e-4, highest=10.0, steps=30, progress=False)
    assert search.rates[:2] == pytest.approx((1e-4, 1e-4 * 1e5 ** (1 / 29)))
    assert len(search.rates) == len(search.losses) == len(search.smoothed) <= 30
    assert 1e-4 < search.suggestion < 10
    assert (trainer.step, len(trainer.history)) == (step, 2)
    for name, value in trainer.parameters.items():
        np.testing.assert_array_equal(value, before[name])


def test_its_losses_are_those_of_training_with_that_schedule() -> None:
    rates, losses = [], []

    class Record(train.Callback):
        def on_step(self, trainer: train.Trainer) -> None:
            rates.append(trainer.optimizer.learning_rate(trainer.step - 1))

        def on_epoch_end(self, trainer: train.Trainer, record: dict[str, float]) -> None:
            losses.append(record["loss"])

    search = train.find_learning_rate(new(), X, Y, lowest=1e-3, highest=0.1, steps=8, batch_size=None, smoothing=0.0)
    trainer = new(optim.SGD(optim.Exponential(1e-3, 100 ** (1 / 7))))
    trainer.fit(X, Y, epochs=8, batch_size=None, callbacks=[Record()], progress=False)
    assert search.rates == pytest.approx(rates, rel=1e-12)
    assert search.losses == search.smoothed == pytest.approx(losses, rel=1e-12)


def test_the_suggested_rate_trains_and_the_search_ends_where_the_loss_explodes() -> None:
    search = train.find_learning_rate(new(), X, Y, highest=1e4, steps=200, progress=False)
    assert search.rates[-1] < 1e3 and search.smoothed[-1] > 4 * min(search.smoothed)
    history = new(optim.SGD(search.suggestion)).fit(X, Y, epochs=20, progress=False)
    assert history["loss"][-1] < 0.5 * history["loss"][0]


def test_the_suggestion_is_where_the_curve_falls_fastest() -> None:
    rates = tuple(10.0**k for k in range(-4, 3))
    search = train.LearningRateSearch(rates, (1.0,) * 7, (5.0, 4.9, 4.0, 1.5, 1.2, 8.0, 20.0))
    assert search.suggestion == rates[2]


def test_searches_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="needs 0 < lowest < highest"):
        train.find_learning_rate(new(), X, Y, lowest=1.0, highest=0.1)
    with pytest.raises(ValueError, match="steps=1: give a whole number of at least 3"):
        train.find_learning_rate(new(), X, Y, steps=1)
    with pytest.raises(ValueError, match=r"smoothing=1.*must be in \[0, 1\)"):
        train.find_learning_rate(new(), X, Y, smoothing=1.0)
    with pytest.raises(ValueError, match=r"not finite at a learning rate of .*give a smaller `lowest`"):
        train.find_learning_rate(new(), X, Y, lowest=1e200, highest=1e300, progress=False)
    with pytest.raises(ValueError, match="finds the length of its steps itself"):
        train.find_learning_rate(new(optim.LBFGS()), X, Y)


def test_the_picture_of_a_search(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    search = train.find_learning_rate(new(), X, Y, steps=40, progress=False)
    viz.learning_rates(search, tmp_path / "rates.png")
    assert (tmp_path / "rates.png").read_bytes().startswith(b"\x89PNG")
