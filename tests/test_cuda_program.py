"""Whole steps for CuPy: kernels made from what was recorded, run on the host, do what the step does on NumPy."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cuda_on_host
import numpy as np
import pytest
from cases import BATCH, LAYERS, LOSSES, OPTIMIZERS, Case
from cuda_on_host import Compiler, CuPyOnHost, OnDevice, on_device
from helpers import assert_close
from test_cuda_kernel import has_compiler, nvrtc  # noqa: F401

from mlp_xp import nn, optim, train
from mlp_xp.backends import cuda_part
from mlp_xp.backends.cuda_program import CudaCompiled
from mlp_xp.backends.program import Program

pytestmark = pytest.mark.usefixtures("recorded_at_once")

TRAINED = {name: case for name, case in LAYERS.items() if case.layer.differentiable}
RNG = np.random.default_rng(0)
X, LABELS = RNG.normal(size=(14, 4)), np.arange(14) % 3
FULL_BATCH = {name for name, each in OPTIMIZERS.items() if each.full_batch}


def of_layer(case: Case) -> Callable[[Any], train.Trainer]:
    width = case.layer.output_features(case.features if isinstance(case.features, tuple) else case.features)

    def trained(backend: Any) -> train.Trainer:
        x = np.concatenate([case.inputs(), case.inputs(2)])
        return fit(backend, nn.Sequential(case.layer, nn.Linear(width, 3)), x, np.arange(len(x)) % 3)

    return trained


def fit(
    backend: Any,
    model: nn.Layer,
    x: np.ndarray,
    y: np.ndarray,
    *,
    loss: nn.Loss | None = None,
    optimizer: optim.Optimizer | None = None,
    dtype: str = "float64",
    epochs: int = 3,
    batch_size: int = 4,
    weights: np.ndarray | None = None,
    **more: Any,
) -> train.Trainer:
    loss, optimizer = loss or nn.SoftmaxCrossEntropy(), optimizer or optim.SGD(0.05, momentum=0.9)
    trainer = train.Trainer(model, loss, optimizer, backend=backend, dtype=dtype, **more)
    if isinstance(backend, CuPyOnHost) and backend.compiler.dry:
        epochs = 1
    trainer.fit(x, y, epochs=epochs, batch_size=batch_size, sample_weight=weights, progress=False)
    return trainer


def mlp(*sizes: int) -> nn.Layer:
    layers: list[nn.Layer] = []
    for one, other in zip(sizes, sizes[1:], strict=False):
        layers += [nn.Linear(one, other), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def of_mlp(batch: int, *sizes: int, dtype: str = "float32", optimizer: Any = None, **more: Any) -> Any:
    def trained(backend: Any) -> train.Trainer:
        rows = 2 * batch + 2  # the last batch is another program
        x = np.random.default_rng(1).normal(size=(rows, sizes[0]))
        y = np.arange(rows) % sizes[-1]
        given = {"optimizer": optimizer or optim.Adam(0.01), "dtype": dtype, "batch_size": batch, "epochs": 2}
        return fit(backend, mlp(*sizes), x, y, **given, **more)

    return trained


def with_optimizer(optimizer: optim.Optimizer) -> Any:
    model = nn.Sequential(nn.Linear(4, 5, bias=False), nn.BatchNorm(5), nn.Tanh(), nn.Linear(5, 3))
    return lambda backend: fit(backend, model, X, LABELS, optimizer=optimizer)


DEEP = nn.Sequential(*[layer for _ in range(30) for layer in (nn.Linear(4, 4), nn.SiLU())])
RUNS: dict[str, Callable[[Any], train.Trainer]] = {
    **{name: of_layer(case) for name, case in TRAINED.items()},
    **{f"with {name}": with_optimizer(each) for name, each in OPTIMIZERS.items() if name not in FULL_BATCH},
    "2-8-2": of_mlp(4, 2, 8, 2),
    "30-32-16-2": of_mlp(32, 30, 32, 16, 2),
    "784-128-64-10": of_mlp(32, 784, 128, 64, 10),
    "40-1100-3": of_mlp(5, 40, 1100, 3, dtype="float64"),
    "30 layers": lambda backend: fit(backend, DEEP, X, np.arange(14) % 4),
    "weighted rows": lambda backend: fit(backend, mlp(4, 5, 3), X, LABELS, weights=np.arange(14.0)),
    "accuracy": lambda backend: fit(backend, mlp(4, 5, 3), X, LABELS, metrics=[train.Accuracy()]),
    "an L2 penalty": lambda backend: fit(backend, mlp(4, 5, 3), X, LABELS, l2=0.1),
    "images": lambda backend: fit(
        backend,
        nn.Sequential(nn.Rescale(1 / 255), nn.Flatten(), nn.Linear(12, 3)),
        np.random.default_rng(0).integers(0, 256, (14, 3, 4)).astype(np.uint8),
        LABELS,
    ),
    "chains without products": lambda backend: fit(
        backend,
        nn.Sequential(*[layer for _ in range(3) for layer in (nn.Scale(4), nn.GELU(), nn.LayerNorm(4))]),
        X,
        LABELS,
        loss=nn.SoftmaxCrossEntropy(),
    ),
}


@pytest.fixture(scope="module")
def compiler(tmp_path_factory: pytest.TempPathFactory) -> Compiler:
    """Knows the kernels of all runs, each of which was begun for that."""
    has_compiler()
    made = Compiler(tmp_path_factory.mktemp("kernels"))
    with made.collecting(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlp_xp.backends.compiled.EAGER_CALLS", 0)
        for trained in RUNS.values():
            trained(CuPyOnHost(made))
        for case in LOSSES.values():
            for weight in (None, np.arange(1.0, BATCH + 1)):
                loss_program(made, case, weight)
    return made


@pytest.mark.parametrize("name", RUNS)
def test_a_run_goes_the_way_it_goes_on_numpy(compiler: Compiler, name: str) -> None:
    found, expected = RUNS[name](CuPyOnHost(compiler)), RUNS[name]("numpy")
    step = found._training_step
    assert isinstance(step, CudaCompiled) and step.reason == ""
    mine, theirs = found.state, expected.state
    pairs = [(mine.flat, theirs.flat), *zip(mine.slots, theirs.slots, strict=True)]
    for one, other in pairs if theirs.buffers is None else [*pairs, (mine.buffers, theirs.buffers)]:
        assert isinstance(one, OnDevice)
        assert_close(np.asarray(one), other, 2**12, found.dtype)
    for metric in expected.history.records[0]:
        if metric != "seconds":
            assert_close(found.history[metric], expected.history[metric], 2**12, found.dtype)


def loss_program(compiler: Compiler, case: Any, weight: Any) -> list[Any]:
    """The value and gradient of a loss, and its mass, by a program."""
    backend = CuPyOnHost(compiler)

    def function(xp: Any) -> Any:
        return lambda y, target, weight: (case.loss(xp, y, target, weight), case.loss.mass(xp, y, target, weight))

    y = on_device(np.random.default_rng(1).uniform(0.1, 0.9, (BATCH, 4)))
    weight = None if weight is None else on_device(weight)
    step = CudaCompiled(backend._cupy, function(cuda_on_host.lean), (), function(backend.xp), "")
    with backend.scope():
        step(y, on_device(case.target), weight)
        (value, dy), mass = step(y, on_device(case.target), weight)
    assert compiler.dry or step.reason == ""
    return [value, dy, mass]


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss(compiler: Compiler, name: str) -> None:
    case = LOSSES[name]
    for weight in (None, np.arange(1.0, BATCH + 1)):
        y = np.random.default_rng(1).uniform(0.1, 0.9, (BATCH, 4))
        value, dy = case.loss(cuda_on_host.lean, y, case.target, weight)
        expected = [value, dy, case.loss.mass(cuda_on_host.lean, y, case.target, weight)]
        for one, other in zip(loss_program(compiler, case, weight), expected, strict=True):
            assert_close(np.asarray(one), np.asarray(other), 64, np.float64)
