"""On the CPU a step of PyTorch's is recorded for NumPy and replayed in the memory of its tensors."""

from typing import Any

import numpy as np
import pytest
from cases import LAYERS, OPTIMIZERS, Case
from conftest import REQUIRED

from mlp_xp import nn, optim, train
from mlp_xp.backends import program, select
from mlp_xp.backends.compiled import Compiled
from mlp_xp.backends.program import Program

torch = pytest.importorskip("torch") if "torch" not in REQUIRED else __import__("torch")
pytestmark = pytest.mark.usefixtures("recorded_at_once")
TRAINED = {name: case for name, case in LAYERS.items() if case.layer.differentiable}
X, LABELS = np.random.default_rng(0).normal(size=(11, 3)), np.arange(11) % 3


def net(*layers: nn.Layer, optimizer: optim.Optimizer | None = None, **more: Any) -> train.Trainer:
    options: dict[str, Any] = {"backend": "torch", "dtype": "float64", **more}
    return train.Trainer(nn.Sequential(*layers), nn.SoftmaxCrossEntropy(), optimizer or optim.Adam(0.05), **options)


def fitted(trainer: train.Trainer, x: Any, y: Any) -> train.Trainer:
    trainer.fit(x, y, epochs=3, batch_size=4, progress=False)
    return trainer


def programs(trainer: train.Trainer) -> list[Program]:
    step = trainer._training_step
    assert isinstance(step, Compiled)
    return [each for each in step._found.values() if isinstance(each, Program)]


def assert_same_way(layers: tuple[nn.Layer, ...], x: Any, y: Any, **more: Any) -> train.Trainer:
    """Recorded for NumPy it goes the way of PyTorch's own functions; gives the trainer that was recorded."""
    plain, recorded = (fitted(net(*layers, **more, compile=how), x, y) for how in (False, "auto"))
    assert recorded.fallback == "" and programs(recorded) and type(plain._training_step) is not Compiled
    arrays = zip(recorded.parameters.values(), plain.parameters.values(), strict=True)
    for found, expected in (*arrays, (recorded.history["loss"], plain.history["loss"])):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11)
    return recorded


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("case", TRAINED.values(), ids=TRAINED.keys())
def test_every_layer(monkeypatch: pytest.MonkeyPatch, case: Case, large: bool) -> None:
    if large:  # what large arrays are given to is taken for these
        for limit in ("LARGE", "SMALL", "MANY"):
            monkeypatch.setattr(program, limit, 1)
    x = np.concatenate([case.inputs(), case.inputs(2)])
    width = case.layer.output_features(x.shape[1] if x.ndim == 2 else x.shape[1:])
    assert_same_way((case.layer, nn.Linear(width, 3)), x, np.arange(len(x)) % 3)


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def test_every_optimizer(optimizer: optim.Optimizer) -> None:
    if not optimizer.full_batch:  # the line search is not recorded
        assert_same_way((nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 3)), X, LABELS, optimizer=optimizer)


def test_the_state_stays_where_it_is() -> None:
    trainer = fitted(net(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3)), X, LABELS)
    before = trainer.state
    fitted(trainer, torch.asarray(X), LABELS)
    for now, then in zip((trainer.state.flat, *trainer.state.slots), (before.flat, *before.slots), strict=True):
        assert type(now) is torch.Tensor and now.data_ptr() == then.data_ptr()


def test_what_is_large_is_computed_by_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("LARGE", "SMALL", "MANY"):
        monkeypatch.setattr(program, limit, 1)
    (source, *_) = (
        each.source for each in programs(assert_same_way((nn.Linear(3, 5), nn.ReLU()), X, np.arange(11) % 5))
    )
    assert source.count("lent_") > 10 and source.count(".take(") == 1  # of the labels, which are whole numbers


def test_large_products_are_pytorchs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 3)
    assert not any("lent_" in each.source for each in programs(assert_same_way(layers, X, LABELS)))
    monkeypatch.setattr(program, "LARGE", 60)
    monkeypatch.setattr(program, "SMALL", 50)
    called = []

    def matmul(a: Any, b: Any, out: Any) -> None:
        called.append((tuple(a.shape), tuple(b.shape)))
        torch.mm(a, b, out=out)

    monkeypatch.setattr(torch, "matmul", matmul)
    assert_same_way(layers, X, LABELS)
    assert {((4, 3), (3, 5)), ((5, 4), (4, 3)), ((3, 4), (4, 5)), ((4, 3), (3, 5))} <= set(called)
    assert min(a[0] * a[1] * b[1] for a, b in called) >= 50


def test_what_numpy_has_no_dtype_for_is_not_recorded() -> None:
    trainer = net(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3), dtype="float32", precision="bf16-mixed")
    assert fitted(trainer, X, LABELS).fallback == "NumPy has no bfloat16; leave precision out, or take the backend " + (
        "'jax' or 'torch', or 'cupy' on a GPU"
    )


class OwnSine(nn.Tanh):
    """A layer that somebody has written with PyTorch's functions."""

    def forward(self, xp: Any, p: Any, x: Any, ctx: Any) -> Any:
        return torch.sin(x), x

    def backward(self, xp: Any, p: Any, saved: Any, dy: Any) -> Any:
        return dy * torch.cos(saved), {}


def test_a_layer_of_pytorchs_functions_is_trained_as_it_is() -> None:
    trainer = fitted(net(nn.Linear(3, 8), OwnSine(), nn.Linear(8, 3)), X, LABELS)
    assert "TypeError: sin()" in trainer.fallback
    assert trainer.history["loss"][-1] < trainer.history["loss"][0]


def test_a_tensor_that_requires_gradients_is_data_too() -> None:
    x = torch.asarray(X).requires_grad_()
    trainer = fitted(net(nn.Linear(3, 4)), x, LABELS)
    assert trainer.fallback == "" and x.grad is None
    assert type(trainer.predict(x)) is torch.Tensor


def test_denormal_numbers_are_zero_within_its_scope() -> None:
    small = torch.full((5,), 1e-38, dtype=torch.float32)
    with select("torch").scope():
        assert float((small.numpy() * np.float32(0.1))[0]) == float((small * 0.1)[0]) == 0.0


def test_the_first_step_is_recorded_already(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlp_xp.backends.compiled.EAGER_CALLS", 4)  # PyTorch's own functions would round otherwise
    trainer = net(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3))
    trainer.fit(X, LABELS, epochs=1, batch_size=None, progress=False)
    assert len(programs(trainer)) == 1


def test_an_array_is_taken_where_it_lies_and_never_written_to() -> None:
    backend, weight = select("torch"), np.ones((64, 3))  # a parameter that fills its vector alone
    assert np.shares_memory(backend.from_any(weight).numpy(), weight)
    fixed = np.ones(3)
    fixed.flags.writeable = False
    for other in (fixed, weight.T, weight.astype(">f8")):
        assert not np.shares_memory(backend.from_any(other).numpy(), other)
    trainer = net(nn.Linear(64, 3, bias=False))
    trainer.parameters = {"0.weight": weight}
    x = np.ones((11, 64))
    fitted(trainer, x, LABELS)
    assert (weight == 1).all() and (x == 1).all() and not (trainer.parameters["0.weight"] == 1).all()
