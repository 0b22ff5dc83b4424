"""A step never asks the device for a number: on a pretended device everything by which one could leave it raises."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from cases import BATCH, LAYERS, LOSSES, METRICS, OPTIMIZERS, Case, LossCase, MetricCase

from mlp_xp import backends, nn, optim, train

WAYS_OUT = ["__array__", "__bool__", "__complex__", "__dlpack__", "__float__", "__index__", "__int__", "to_device"]


@pytest.fixture
def device(get_backend: Any) -> backends.Backend:
    return get_backend("strict:device1")


@contextmanager
def sealed(device: backends.Backend) -> Iterator[None]:
    def forbidden(*_: Any, **__: Any) -> Any:
        raise AssertionError("a number was taken off the device")

    with pytest.MonkeyPatch.context() as patch:
        for name in WAYS_OUT:
            patch.setattr(type(device.from_host(np.zeros(1))), name, forbidden)
        for name in ("to_host", "from_host"):
            patch.setattr(type(device), name, forbidden)
        yield


def fit_sealed(trainer: train.Trainer, x: np.ndarray, labels: np.ndarray, **more: Any) -> int:
    """Fit with every step sealed; gives how many there were."""
    step, steps = trainer._training_step, []

    def watched(*arguments: Any) -> Any:
        steps.append(1)
        with sealed(trainer.backend):
            return step(*arguments)

    trainer._training_step = watched
    trainer.fit(x, labels, epochs=2, batch_size=2, sample_weight=np.ones(len(x)), progress=False, **more)
    return len(steps)


LABELS = np.arange(4) % 2
TRAINED = {name: case for name, case in LAYERS.items() if case.layer.differentiable}


@pytest.mark.parametrize("case", TRAINED.values(), ids=TRAINED.keys())
def test_no_layer_takes_a_number_off_the_device_in_training(device: backends.Backend, case: Case) -> None:
    x = case.inputs()[:4]
    width = case.layer.output_features(x.shape[1] if x.ndim == 2 else x.shape[1:])
    model = nn.Sequential(case.layer, nn.Linear(width, 2))
    trainer = train.Trainer(model, nn.SoftmaxCrossEntropy(), optim.SGD(0.1), backend=device)
    assert fit_sealed(trainer, x, LABELS) == 4


def test_nor_does_a_schedule_in_a_layer(device: backends.Backend) -> None:
    model = nn.Sequential(
        nn.Dropout(optim.Cosine(0.5, 10)), nn.GaussianNoise(optim.Exponential(0.1, 0.9)), nn.Linear(3, 2)
    )
    trainer = train.Trainer(model, nn.SoftmaxCrossEntropy(), backend=device)
    assert fit_sealed(trainer, np.ones((4, 3)), LABELS) == 4


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def test_no_optimizer_does(device: backends.Backend, optimizer: optim.Optimizer) -> None:
    model = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm(5), nn.Linear(5, 2))
    trainer = train.Trainer(model, nn.SoftmaxCrossEntropy(), optimizer, backend=device)
    assert fit_sealed(trainer, np.random.default_rng(0).normal(size=(4, 3)), LABELS) == 4


@pytest.mark.parametrize("case", LOSSES.values(), ids=LOSSES.keys())
def test_no_loss_does(device: backends.Backend, case: LossCase) -> None:
    y = device.from_host(np.full((BATCH, 4), 0.25))
    target = device.from_host(case.target)
    weight = device.from_host(np.ones(BATCH))
    with device.scope(), sealed(device):
        case.loss(device.xp, y, target, None)
        case.loss(device.xp, y, target, weight)
        case.loss.mass(device.xp, y, target, weight)


@pytest.mark.parametrize("case", METRICS.values(), ids=METRICS.keys())
def test_no_metric_does(device: backends.Backend, case: MetricCase) -> None:
    columns = case.kind in ("multilabel", "numbers")
    host = np.random.default_rng(0).integers(0, 2, size=(6, case.outputs) if columns else 6)
    target = device.from_host(host, "float32" if columns or case.outputs == 1 else "int32")
    if case.outputs == 1 and not columns:
        target = device.xp.reshape(target, (-1, 1))
    y = device.from_host(np.random.default_rng(1).uniform(size=(6, case.outputs)), "float32")
    weight = device.from_host(np.ones(6), "float32")
    with device.scope(), sealed(device):
        kept = case.metric.start(device.xp, y[0, :0], case.outputs)
        for each in (None, weight):
            kept = case.metric.update(device.xp, kept, y, target, each)


def test_a_step_that_takes_a_number_off_the_device_is_found(device: backends.Backend) -> None:
    class Leaky(nn.Tanh):
        def forward(self, xp: Any, p: Any, x: Any, ctx: Any) -> Any:
            y, saved = super().forward(xp, p, x, ctx)
            return (y * float(xp.max(y)) if ctx.training else y), saved

    trainer = train.Trainer(nn.Sequential(nn.Linear(3, 2), Leaky()), nn.SoftmaxCrossEntropy(), backend=device)
    with pytest.raises(AssertionError, match="a number was taken off the device"):
        fit_sealed(trainer, np.ones((4, 3)), LABELS)
