"""Layers that add noise in training: what they draw, what they keep, and schedules of how much."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from helpers import assert_close, run

from mlp_xp import backends, nn, optim, random, train

NUMPY = backends.select("numpy")


def test_standard_normal_numbers_on_every_backend(backend: backends.Backend) -> None:
    with backend.scope():
        like = backend.from_host(np.zeros((400, 500)))
        n = backend.to_host(random.normal(backend.xp, random.key(3, 0), 0, like))
        exact = random.normal(np, random.key(3, 0), 0, np.zeros((400, 500)))
    assert_close(n, exact, dtype=np.float64)
    assert n.mean() == pytest.approx(0, abs=4 / 200_000**0.5)
    assert n.var() == pytest.approx(1, abs=4 * (2 / 200_000) ** 0.5)
    assert (n**4).mean() == pytest.approx(3, abs=4 * (96 / 200_000) ** 0.5)
    assert np.mean(n[:, 1:] * n[:, :-1]) == pytest.approx(0, abs=4 / 200_000**0.5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_normal_numbers_are_finite_whatever_the_bits(dtype: str) -> None:
    with np.errstate(all="raise", under="ignore"):
        n = random.normal(np, random.key(0, 0), 0, np.zeros((2000, 2000), dtype))
    assert n.dtype == dtype and np.isfinite(n).all()
    assert 4.5 < np.abs(n).max() < 6.8


def test_gaussian_noise_is_added_in_training_only(backend: backends.Backend) -> None:
    x = np.full((100, 300), 2.0)
    y = run(backend, nn.GaussianNoise(0.5), {}, x)["y"]
    assert y.mean() == pytest.approx(2, abs=4 * 0.5 / 30_000**0.5) and y.std() == pytest.approx(0.5, rel=0.02)
    np.testing.assert_array_equal(run(backend, nn.GaussianNoise(0.5), {}, x, training=False)["y"], x)
    assert (y != run(backend, nn.GaussianNoise(0.5), {}, x, step=1)["y"]).all()


def test_alpha_dropout_keeps_mean_and_variance_and_has_pytorchs_two_branches(backend: backends.Backend) -> None:
    rate, x = 0.3, np.random.default_rng(0).normal(size=(500, 400))
    y = run(backend, nn.AlphaDropout(rate), {}, x)["y"]
    assert y.mean() == pytest.approx(0, abs=0.02) and y.var() == pytest.approx(1, abs=0.02)
    # PyTorch's constants: dropped elements all get one value, the others a line.
    alpha = -1.0507009873554804934193349852946 * 1.6732632423543772848170429916717
    a = ((1 - rate) * (1 + rate * alpha**2)) ** -0.5
    b = -a * rate * alpha
    dropped = np.abs(y - (a * alpha + b)) < 1e-12
    assert dropped.mean() == pytest.approx(rate, abs=0.01)
    assert_close(y[~dropped], a * x[~dropped] + b, dtype=np.float64)
    np.testing.assert_array_equal(run(backend, nn.AlphaDropout(rate), {}, x, training=False)["y"], x)


def test_alpha_dropout_saturates_where_selu_does() -> None:
    low, _ = nn.SELU().forward(np, {}, np.array([[-1e3]]), nn.Context())
    assert float(low[0, 0]) == pytest.approx(-1.7580993408473766, rel=1e-15)


@pytest.mark.parametrize("kind", [nn.Dropout, nn.AlphaDropout])
def test_a_rate_may_follow_a_schedule(backend: backends.Backend, kind: Any) -> None:
    """What a step with the scheduled rate does is what a layer with that rate does."""
    schedule = optim.Polynomial(0.6, steps=3, final=0.0)
    x = np.random.default_rng(0).normal(size=(40, 50))
    for t in range(3):
        with backend.scope():
            now = backend.compile(
                lambda x, key, rate: kind(schedule).forward(
                    backend.xp, {}, x, nn.Context(True, key, scheduled={schedule: rate})
                )[0]
            )
            y = backend.to_host(now(backend.from_host(x), random.key(0, t), schedule(t)))
        fixed, _ = kind(schedule(t)).forward(np, {}, x, nn.Context(True, random.key(0, t)))
        assert_close(y, fixed, dtype=np.float64)


def test_the_trainer_follows_the_schedules_of_its_layers(backend: backends.Backend) -> None:
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(30, 5)), np.arange(30) % 2
    first, then = (nn.Sequential(nn.Linear(5, 8), nn.Dropout(rate), nn.ReLU(), nn.Linear(8, 2)) for rate in (0.5, 0.25))
    schedule = optim.MultiStep(0.5, milestones=(4,), factor=0.5)
    falling = nn.Sequential(nn.Linear(5, 8), nn.Dropout(schedule), nn.ReLU(), nn.Linear(8, 2))
    trained = train.Trainer(falling, nn.SoftmaxCrossEntropy(), optim.SGD(0.1), backend=backend, dtype="float64")
    trained.fit(x, labels, batch_size=15, epochs=4, progress=False)
    by_hand = train.Trainer(first, nn.SoftmaxCrossEntropy(), optim.SGD(0.1), backend=backend, dtype="float64")
    by_hand.fit(x, labels, batch_size=15, epochs=2, progress=False)
    second = train.Trainer(then, nn.SoftmaxCrossEntropy(), optim.SGD(0.1), backend=backend, dtype="float64")
    second.parameters, second.step, second.epoch = by_hand.parameters, by_hand.step, by_hand.epoch
    second.fit(x, labels, batch_size=15, epochs=2, progress=False)
    for name, value in second.parameters.items():
        assert_close(trained.parameters[name], value, dtype=np.float64)


def test_a_schedule_in_a_layer_is_saved_with_the_model(tmp_path: Any) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(optim.Cosine(0.5, steps=10)), nn.Linear(4, 2))
    train.Trainer(model, nn.SoftmaxCrossEntropy(), backend="numpy").save(tmp_path / "model")
    assert train.Trainer.load(tmp_path / "model", backend="numpy").model == model
    assert nn.schedules_in(model) == (optim.Cosine(0.5, steps=10),)


@pytest.mark.parametrize("kind", [nn.Dropout, nn.AlphaDropout, nn.GaussianNoise])
def test_noise_for_rows_that_are_not_flat_is_refused(kind: Any) -> None:
    assert nn.Sequential(nn.Flatten(), kind(0.1)).output_features((28, 28)) == 784
    with pytest.raises(nn.ShapeError, match=rf"layer 0: {kind.__name__}.*shape \(28, 28\); put Flatten first"):
        nn.Sequential(kind(0.1), nn.Flatten()).output_features((28, 28))


# What a schedule says is checked at the step


@pytest.mark.parametrize(
    ("layer", "step", "message"),
    [
        (nn.Dropout(optim.Polynomial(0, 10, final=1.5)), 7, r"Dropout\(rate=1\.04\d*\) at step 7: .* in \[0, 1\)"),
        (nn.Dropout(optim.Polynomial(0, 10, final=1.0)), 10, r"Dropout\(rate=1\.0\) at step 10"),
        (nn.AlphaDropout(optim.Polynomial(0.5, 10, final=-1.0)), 4, r"AlphaDropout\(rate=-0\.(1|09)\d*\) at step 4"),
        (
            nn.GaussianNoise(optim.Polynomial(1, 10, final=-1.0)),
            6,
            r"GaussianNoise\(std=-0\.1\d*\) at step 6: .*least 0",
        ),
    ],
)
def test_a_schedule_that_leaves_the_range_is_refused_at_its_step(layer: nn.Layer, step: int, message: str) -> None:
    numbers = nn.scheduled_numbers(nn.Sequential(nn.Linear(2, 2), nn.Residual(layer)))
    for before in range(step):
        numbers(before)
    with pytest.raises(ValueError, match=message):
        numbers(step)


def test_the_scheduled_numbers_stand_in_the_order_of_the_schedules_and_each_is_checked_for_all_its_layers() -> None:
    rising, falling = optim.Polynomial(0.0, 10, final=2.0), optim.MultiStep(0.5, milestones=(4,), factor=0.5)
    model = nn.Sequential(nn.Dropout(falling), nn.GaussianNoise(rising), nn.Parallel(nn.Dropout(falling)))
    assert nn.schedules_in(model) == (falling, rising)
    for step in range(10):
        assert nn.scheduled_numbers(model)(step) == (falling(step), rising(step))
    shared = nn.scheduled_numbers(nn.Sequential(nn.GaussianNoise(rising), nn.Dropout(rising)))
    assert shared(4) == (0.8,)
    with pytest.raises(ValueError, match=r"Dropout\(rate=1\.2\) at step 6"):
        shared(6)
    assert nn.scheduled_numbers(nn.Sequential(nn.Linear(2, 2)))(0) == ()


def test_a_schedule_that_can_be_changed_is_refused() -> None:
    @dataclass
    class Line(optim.Schedule):
        slope: float = 0.1

        def __call__(self, t: int) -> float:
            return self.slope * t

    with pytest.raises(TypeError, match=r"Dropout\(rate=.*Line\(slope=0.1\)\): .*@dataclass\(frozen=True\)"):
        nn.Dropout(Line())

    @dataclass(frozen=True)
    class Mine(nn.Layer):
        strength: Any

    with pytest.raises(TypeError, match=r"Mine\(strength=.*@dataclass\(frozen=True\)"):
        nn.schedules_in(nn.Sequential(Mine(Line())))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: nn.AlphaDropout(1.0), r"AlphaDropout\(rate=1.0\).*must be in \[0, 1\)"),
        (lambda: nn.GaussianNoise(-0.1), "standard deviation must be at least 0"),
        (lambda: nn.Dropout("0.5"), r"Dropout\(rate='0\.5'\): .*in \[0, 1\); give a number or a schedule"),
        (lambda: nn.GaussianNoise(float("nan")), "standard deviation must be at least 0"),
    ],
)
def test_what_makes_no_sense_is_refused(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


def test_a_schedule_that_leaves_its_range_is_refused_at_the_step() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(optim.Polynomial(0.0, 10, final=1.5)), nn.Linear(4, 2))
    trainer = train.Trainer(model, nn.SoftmaxCrossEntropy(), backend="numpy")
    with pytest.raises(ValueError, match=r"Dropout\(rate=1\.0\d+\) at step 7: .*must be in \[0, 1\)"):
        trainer.fit(np.ones((4, 3)), np.arange(4) % 2, epochs=20, batch_size=None, progress=False)
    assert trainer.step == 7
