"""Mixed precision: products in 16 bits, weights in float32, and a loss scale that is found on the device."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cases import LAYERS, OPTIMIZERS, Case
from helpers import assert_close

from mlp_xp import backends, nn, optim, train
from mlp_xp.backends.on_cupy import COMPUTE_TYPE_TF32, CuPyBackend
from mlp_xp.backends.on_numpy import NumPyBackend
from mlp_xp.backends.on_torch import TorchBackend
from mlp_xp.train import loss_scale
from mlp_xp.train.step import Data, Settings, State, Totals, backpropagation

BF16, FP16 = 2.0**-8, 2.0**-11  # by how much rounding to them changes a number at most
rng = np.random.default_rng(5)
X = rng.normal(size=(96, 6)).astype(np.float32)
Y = (X[:, 0] * X[:, 1] > 0).astype(np.int64)
MODEL = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm(16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 2))


class Half(TorchBackend):
    """PyTorch that multiplies float16 on any processor, however long it takes."""

    def unable(self, arithmetic: str) -> str:
        return ""


def new(backend: Any, precision: str, model: nn.Layer = MODEL, **more: Any) -> train.Trainer:
    more = {"optimizer": optim.Adam(0.01), **more}
    return train.Trainer(model, nn.SoftmaxCrossEntropy(), backend=backend, precision=precision, **more)


def fit(trainer: train.Trainer, epochs: int = 3, **more: Any) -> train.History:
    return trainer.fit(X, Y, **{"epochs": epochs, "batch_size": 32, "progress": False, **more})


def weights(trainer: train.Trainer) -> np.ndarray:
    return np.concatenate([value.reshape(-1) for value in trainer.parameters.values()])


def assert_rounded(actual: Any, expected: Any, unit: float, factor: float) -> None:
    """max|a - b| <= factor * unit * max|b|"""
    assert np.abs(np.asarray(actual) - expected).max() <= factor * unit * np.abs(expected).max()


# ---- what a backend cannot do ----


@pytest.mark.parametrize(
    ("word", "precision", "says"),
    [
        ("numpy", "bf16-mixed", "NumPy has no bfloat16; leave precision out, or take the backend 'jax' or 'torch'"),
        ("numpy", "fp16-mixed", "NumPy multiplies float16 number by number, many times slower"),
        ("numpy", "tf32", "TF32 is of CUDA GPUs"),
        ("strict", "bf16-mixed", "the standard has no bfloat16"),
        ("strict", "fp16-mixed", "the standard has no float16"),
        ("torch", "tf32", "compute capability 8.0"),
        ("jax:cpu", "tf32", "compute capability 8.0"),
    ],
)
def test_a_backend_says_why_it_cannot(get_backend: Any, word: str, precision: str, says: str) -> None:
    with pytest.raises(backends.BackendError, match=f"precision='{precision}' on backend '{word}.*{says}"):
        new(get_backend(word), precision)


def test_torch_refuses_float16_where_the_processor_has_none(get_backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    backend, has = get_backend("torch"), backends.select("torch")._torch.ops.mkldnn
    monkeypatch.setattr(has, "_is_mkldnn_fp16_supported", lambda: False)
    with pytest.raises(backends.BackendError, match=r"number by number on this processor.*take 'bf16-mixed'"):
        new(backend, "fp16-mixed")
    monkeypatch.setattr(has, "_is_mkldnn_fp16_supported", lambda: True)
    assert new(backend, "fp16-mixed").precision == "fp16-mixed"


def test_what_does_not_go_together_is_refused(get_backend: Any) -> None:
    backend = get_backend("torch")
    with pytest.raises(ValueError, match=r"precision='bf16': choose one of 'float32', 'tf32', 'bf16-mixed', 'fp16-mix"):
        new(backend, "bf16")
    with pytest.raises(ValueError, match="keeps the weights in float32, not in float64"):
        new(backend, "bf16-mixed", dtype="float64")
    with pytest.raises(ValueError, match=r"the line search of LBFGS.* compares losses that differ by less"):
        new(backend, "bf16-mixed", optimizer=optim.LBFGS())


# ---- the numbers ----


def changes(case: Case, backend: Any, precision: str) -> np.ndarray:
    """What three steps change in the weights of the layer and of a Linear behind it."""
    x = case.inputs()
    width = case.layer.output_features(x.shape[1] if x.ndim == 2 else x.shape[1:])
    model = nn.Sequential(case.layer, nn.Linear(width, 3))
    trainer = train.Trainer(model, nn.MeanSquaredError(), optim.SGD(0.05), backend=backend, precision=precision)
    trainer.adapt(x)
    before = np.asarray(trainer.backend.to_host(trainer.state.flat)).copy()
    target = np.random.default_rng(2).normal(size=(len(x), 3))
    trainer.fit(x, target, epochs=3, batch_size=None, progress=False)
    assert trainer.backend.to_host(trainer.state.flat).dtype == np.float32
    return trainer.backend.to_host(trainer.state.flat) - before


@pytest.mark.parametrize("name", [name for name, case in LAYERS.items() if case.layer.differentiable])
def test_every_layer_trains_in_16_bits_as_in_float32(
    name: str, get_backend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss_scale, "START", 1024.0)  # at which none of the three steps is skipped
    expected = changes(LAYERS[name], get_backend("torch"), "float32")
    assert_rounded(changes(LAYERS[name], get_backend("torch"), "bf16-mixed"), expected, BF16, 4)
    assert_rounded(changes(LAYERS[name], Half(), "fp16-mixed"), expected, FP16, 4)


DEEP = nn.Sequential(
    nn.Parallel(nn.Identity(), nn.Sequential(nn.Linear(6, 10), nn.Softmax())),
    nn.Linear(16, 16),
    nn.LayerNorm(16),
    nn.Residual(nn.Linear(16, 8), nn.GELU(), nn.Dropout(0.2), nn.Linear(8, 16)),
    nn.BatchNorm(16),
    nn.Maxout(16, 4),
    nn.Linear(4, 2),
)


@pytest.mark.parametrize(("precision", "unit"), [("bf16-mixed", BF16), ("fp16-mixed", FP16)])
def test_so_does_a_net_of_many_on_jax(get_backend: Any, precision: str, unit: float) -> None:
    backend = get_backend("jax")
    trainers = [new(backend, each, DEEP, optimizer=optim.SGD(0.1), l2=0.1) for each in ("float32", precision)]
    start = weights(trainers[0])
    reference, half = (fit(trainer, 2) for trainer in trainers)
    assert half["loss"] == pytest.approx(reference["loss"], rel=unit)
    assert_rounded(weights(trainers[1]) - start, weights(trainers[0]) - start, unit, 8)
    assert not trainers[1].fallback  # all of the step is traced: nothing in it asks the device for a number


@pytest.mark.gpu
@pytest.mark.parametrize("word", ["cupy", "torch:cuda", "jax:gpu"])
@pytest.mark.parametrize(("precision", "unit"), [("tf32", FP16), ("bf16-mixed", BF16), ("fp16-mixed", FP16)])
def test_a_gpu_trains_in_every_precision(get_backend: Any, word: str, precision: str, unit: float) -> None:
    trainers = [new(get_backend(word), each, DEEP, optimizer=optim.SGD(0.1)) for each in ("float32", precision)]
    start = weights(trainers[0])
    reference, other = (fit(trainer, 2) for trainer in trainers)
    assert other["loss"] == pytest.approx(reference["loss"], rel=unit)
    assert_rounded(weights(trainers[1]) - start, weights(trainers[0]) - start, unit, 8)


def gradient(backend: Any, half: str, flat: np.ndarray, x: np.ndarray, **more: Any) -> np.ndarray:
    """Of the mean cross-entropy of MLP, as a step computes it."""
    loss, layout = nn.SoftmaxCrossEntropy(), nn.Layout(MLP)
    xp = backend.xp
    with backend.scope():
        p = backend.from_host(flat)
        state = State(p, (), None, Totals())
        dtype = backend.half(half) if half else None
        backpropagate = backpropagation(xp, MLP, layout, loss, (), p[..., :0], dtype)
        _, g, _, _ = backpropagate(state, Data(backend.from_host(x), backend.from_host(LABELS)), Settings(**more))
        assert g.dtype == xp.float32
        return backend.to_host(g)


MLP = nn.Sequential(nn.Linear(6, 64), nn.Tanh(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3))
LABELS = np.arange(96, dtype=np.int32) % 3


def flat_weights(seed: int) -> np.ndarray:
    """Weights of MLP in one vector, with zeros between them."""
    xp, layout = backends.select("numpy").xp, nn.Layout(MLP)
    return layout.join(xp, layout.nest(layout.initial(seed)), layout.gaps(xp, np.zeros(0))).astype(np.float32)


def autocast(layers: list[Any], dtype: Any, x: Any) -> Any:
    """MLP in PyTorch's own mixed precision: the mean cross-entropy."""
    import torch

    with torch.autocast("cpu", dtype=dtype):
        hidden = torch.tanh(layers[0](x))
        y = layers[2](torch.relu(layers[1](hidden)))
    return torch.nn.functional.cross_entropy(y.float(), torch.from_numpy(LABELS.astype(np.int64)))


def of_torch(flat: np.ndarray) -> list[Any]:
    """The weights in the vector as PyTorch's layers."""
    import torch

    named = nn.Layout(MLP).named(backends.select("numpy").xp, flat)
    layers = []
    for index in (0, 2, 4):
        weight, bias = named[f"{index}.weight"], named[f"{index}.bias"]
        layers.append(torch.nn.Linear(*weight.shape))
        with torch.no_grad():
            layers[-1].weight.copy_(torch.from_numpy(weight.T.copy()))
            layers[-1].bias.copy_(torch.from_numpy(bias[0].copy()))
    return layers


def of_ours(layers: list[Any], what: Any) -> np.ndarray:
    """The same vector again, of the weights or their gradients."""
    xp, layout = backends.select("numpy").xp, nn.Layout(MLP)
    named = {}
    for index, layer in zip((0, 2, 4), layers, strict=True):
        named[f"{index}.weight"], named[f"{index}.bias"] = what(layer.weight).T, what(layer.bias)[None]
    return layout.join(xp, layout.nest(named), layout.gaps(xp, np.zeros(0, np.float32)))


@pytest.mark.parametrize("word", ["torch", "jax"])
@pytest.mark.parametrize(("half", "unit"), [("bfloat16", BF16), ("float16", FP16)])
def test_the_gradient_is_that_of_torch_autocast(get_backend: Any, word: str, half: str, unit: float) -> None:
    import torch

    flat = flat_weights(0)
    layers = of_torch(flat)
    autocast(layers, getattr(torch, half), torch.from_numpy(X)).backward()
    theirs = of_ours(layers, lambda parameter: parameter.grad.numpy())
    exact = gradient(get_backend(word), "", flat, X)
    ours = gradient(get_backend(word), half, flat, X)
    assert_rounded(ours, theirs, unit, 6)
    # As near to float32 as theirs is, or nearer: no more is rounded than there.
    assert np.linalg.norm(ours - exact) < 1.5 * np.linalg.norm(theirs - exact)
    assert np.linalg.norm(ours - exact) > 1e-5 * np.linalg.norm(exact)  # and it is rounded


def test_models_side_by_side_get_the_gradients_of_each(get_backend: Any) -> None:
    flat = np.stack([flat_weights(seed) for seed in range(3)])
    together = gradient(get_backend("torch"), "bfloat16", flat, X, l2=0.5)
    for one, alone in zip(together, flat, strict=True):
        assert_rounded(one, gradient(get_backend("torch"), "bfloat16", alone, X, l2=0.5), BF16, 2)


@pytest.mark.parametrize("word", ["torch", "jax"])
def test_an_update_below_the_resolution_of_bfloat16_is_not_lost(get_backend: Any, word: str) -> None:
    # w = 1, x = 1, L = (w + 1)^2 and so dL/dw = 4: each step takes 2^-12 off, an eighth of what bfloat16 can see.
    model = nn.Linear(1, 1, bias=False, weight_init=nn.Constant(1.0))
    options: dict[str, Any] = {"backend": get_backend(word), "precision": "bf16-mixed"}
    trainer = train.Trainer(model, nn.MeanSquaredError(), optim.SGD(2.0**-14), **options)
    one = np.ones((1, 1), np.float32)
    trainer.fit(one, -one, epochs=1, progress=False)
    assert trainer.parameters["weight"] == 1 - 2.0**-12
    trainer.fit(one, -one, epochs=99, progress=False)
    assert trainer.parameters["weight"] == pytest.approx(1 - 100 * 2.0**-12, rel=1e-3)


def test_categories_come_through_however_many(get_backend: Any) -> None:
    model = nn.Sequential(nn.Identity(), nn.Embedding({0: 300}, features=2), nn.Linear(2, 1))
    options: dict[str, Any] = {"backend": get_backend("torch"), "precision": "bf16-mixed"}
    trainer = train.Trainer(model, nn.MeanSquaredError(), optim.SGD(0.1), **options)
    before = trainer.parameters["1.column_0"]
    trainer.fit(np.full((4, 1), 257.0), np.ones(4), epochs=1, progress=False)
    moved = np.flatnonzero(np.any(trainer.parameters["1.column_0"] != before, axis=1))
    assert list(moved) == [257]


def test_evaluate_and_predict_compute_in_float32(get_backend: Any) -> None:
    backend = get_backend("torch")
    half, full = new(backend, "bf16-mixed"), new(backend, "float32")
    fit(half)
    full.parameters = half.parameters
    np.testing.assert_array_equal(half.predict(X), full.predict(X))
    assert half.evaluate(X, Y) == full.evaluate(X, Y)


# ---- the loss scale ----


@pytest.mark.parametrize("fine", ["0000111", "1101110111111"])
def test_the_scale_goes_the_way_of_torch_gradscaler(
    backend: backends.Backend, fine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(loss_scale, "GOOD_STEPS", 3)
    scaler = torch.amp.GradScaler("cpu", growth_interval=3)
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([weight], 0.0)
    xp = backend.xp
    with backend.scope():
        flat = backend.from_host(np.zeros(2, np.float32))
        zero = [backend.from_host(np.zeros((), np.float32)) for _ in range(3)]
        state = State(flat, (), flat, Totals(zero[0], zero[1], (), zero[2]), loss_scale.start(xp, flat[:0]))
        assert float(backend.to_host(state.scale)[0]) == scaler.get_scale() == 65536
        for index, each in enumerate(fine):
            entry = 6.0 if each == "1" else np.inf
            scaler.scale(torch.zeros(()))
            weight.grad = torch.tensor([entry, 0.0])
            scaler.step(optimizer)
            scale = scaler.get_scale()
            scaler.update()
            value, g = (backend.from_host(np.asarray(number, np.float32)) for number in (2.0, [entry, 0.0]))
            totals = Totals(state.totals.weight + 1.0, state.totals.loss + value, ())
            g, buffers, totals, now = loss_scale.judged(xp, state, value, g, flat + 1.0, totals)
            np.testing.assert_array_equal(backend.to_host(g), [6.0 / scale, 0.0] if each == "1" else [np.nan] * 2)
            np.testing.assert_array_equal(backend.to_host(buffers), [float(each)] * 2)
            state = state._replace(totals=totals, scale=now)
            assert float(backend.to_host(now)[0]) == scaler.get_scale()
            assert float(backend.to_host(totals.loss)) == 2.0 * (index + 1)  # the loss itself is finite
        assert float(backend.to_host(state.totals.skipped)) == fine.count("0")


def test_each_of_the_models_side_by_side_has_a_scale_of_its_own(backend: backends.Backend) -> None:
    xp = backend.xp
    with backend.scope():
        flat = backend.from_host(np.zeros((2, 3), np.float32))
        zeros = [backend.from_host(np.zeros(2, np.float32)) for _ in range(3)]
        state = State(flat, (), None, Totals(zeros[0], zeros[1], (), zeros[2]), loss_scale.start(xp, flat[:, :0]))
        g = backend.from_host(np.asarray([[1, 2, 3], [1, np.nan, 3]], np.float32))
        value = backend.from_host(np.asarray([1.0, np.inf], np.float32))
        g, _, totals, scale = loss_scale.judged(xp, state, value, g, None, Totals(zeros[0] + 1.0, value, ()))
        np.testing.assert_array_equal(backend.to_host(g)[0], np.array([1, 2, 3]) / 65536)
        assert np.isnan(backend.to_host(g)[1]).all()
        np.testing.assert_array_equal(backend.to_host(scale), [[65536, 1], [32768, 0]])
        np.testing.assert_array_equal(backend.to_host(totals.loss), [1, 0])
        np.testing.assert_array_equal(backend.to_host(totals.skipped), [0, 1])


@pytest.mark.parametrize("word", ["numpy", "torch"])  # one writes in place, one does not
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_gradient_of_nan_leaves_weights_and_slots_of_every_optimizer(get_backend: Any, word: str, name: str) -> None:
    backend = get_backend(word)
    optimizer, xp, layout = OPTIMIZERS[name], backend.xp, nn.Layout(MLP)
    averages = isinstance(optimizer, optim.EMA | optim.SWA | optim.Lookahead | optim.ASGD)
    with backend.scope():
        p = backend.from_host(flat_weights(0))
        vectors = tuple(None if each is None else layout.spread(xp, each, p) for each in optimizer.multipliers(layout))
        careful, plain = (optimizer.build(xp, backend.fuse, layout, skips) for skips in (True, False))

        def step(update: Any, p: Any, g: float, slots: Any, t: int) -> Any:
            gradient = backend.from_host(np.where(flat_weights(0) == 0, 0, g).astype(np.float32))
            gradient = gradient if g == g else xp.full_like(gradient, np.nan)
            numbers = tuple(map(float, optimizer.coefficients(t)))
            p, *slots = (xp.asarray(each, copy=True) for each in (p, *slots))  # an update may overwrite them
            p, slots = update(p, gradient, tuple(slots), numbers, vectors)
            return [np.array(backend.to_host(each)) for each in (p, *slots)], p, slots

        usual, p, slots = step(plain, p, 0.5, optimizer.start(xp, p), 0)
        again, p, slots = step(careful, backend.from_host(flat_weights(0)), 0.5, optimizer.start(xp, p), 0)
        if not averages:  # whose average starts at what p was
            for one, other in zip(usual, again, strict=True):
                np.testing.assert_array_equal(one, other)
        after, _, _ = step(careful, p, np.nan, slots, 1)
        if isinstance(optimizer, optim.FirstOrder) and optimizer.constraints:  # which are met anew, to rounding
            assert_close(after[0], again[0], 4)
        else:
            np.testing.assert_array_equal(after[0], again[0])
        for one, other in zip(after[1 : -1 if averages else None], again[1 : -1 if averages else None], strict=True):
            np.testing.assert_array_equal(one, other)
        assert all(np.isfinite(each).all() for each in after)


def wild(word: str, get_backend: Any, optimizer: optim.Optimizer | None = None) -> train.Trainer:
    """A net whose first gradients are too large for float16, times the scale."""
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm(8), nn.Linear(8, 1))
    backend = Half() if word == "torch" else get_backend(word)
    optimizer = optimizer or optim.Adam(0.01)
    return train.Trainer(model, nn.MeanSquaredError(), optimizer, backend=backend, precision="fp16-mixed")


@pytest.mark.parametrize("word", ["torch", "jax"])
def test_a_step_whose_gradient_overflows_is_skipped_and_halves_the_scale(get_backend: Any, word: str) -> None:
    trainer, target = wild(word, get_backend), 300 * X[:, :1]
    start = trainer.parameters
    fitted: dict[str, Any] = {"batch_size": None, "progress": False}
    trainer.fit(X, target, epochs=1, **fitted)
    for name, value in trainer.parameters.items():
        np.testing.assert_array_equal(value, start[name])
    assert not any(trainer.backend.to_host(slot).any() for slot in trainer.state.slots)
    assert trainer.loss_scale == 32768 and trainer.step == 1
    assert trainer.history["skipped"] == [1] and np.isfinite(trainer.history["loss"][0])
    trainer.fit(X, target, epochs=30, **fitted)
    skipped = sum(trainer.history["skipped"])
    assert 1 < skipped < 16
    assert trainer.loss_scale == 2.0 ** (16 - skipped)
    assert trainer.history["loss"][-1] < trainer.history["loss"][0]


def test_a_new_scale_compiles_nothing(get_backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_scale, "START", 16.0)
    monkeypatch.setattr(loss_scale, "GOOD_STEPS", 4)
    traced = []

    class Traced(nn.Identity):
        def forward(self, xp: Any, p: Any, x: Any, ctx: Any) -> Any:
            traced.append(ctx.training)
            return super().forward(xp, p, x, ctx)

    model = nn.Sequential(nn.Linear(6, 4), Traced(), nn.Linear(4, 2))
    trainer = new(get_backend("jax"), "fp16-mixed", model)
    fit(trainer, epochs=4)
    assert traced == [True] and not trainer.fallback
    assert trainer.loss_scale == 16 * 2**3  # of 12 steps


def test_training_goes_the_way_of_autocast_and_gradscaler(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(loss_scale, "START", 2.0**24)  # so that the first steps overflow
    flat = flat_weights(3)
    options: dict[str, Any] = {"backend": Half(), "precision": "fp16-mixed"}
    trainer = train.Trainer(MLP, nn.SoftmaxCrossEntropy(), optim.SGD(0.05, momentum=0.9), **options)
    named = nn.Layout(MLP).named(backends.select("numpy").xp, flat)
    trainer.parameters = {name: value.copy() for name, value in named.items()}
    trainer.fit(X, LABELS, epochs=12, batch_size=None, progress=False)

    layers, scaler = of_torch(flat), torch.amp.GradScaler("cpu", init_scale=2.0**24)
    parameters = [parameter for layer in layers for parameter in layer.parameters()]
    optimizer, scales = torch.optim.SGD(parameters, 0.05, momentum=0.9), []
    for _ in range(12):
        optimizer.zero_grad()
        scaler.scale(autocast(layers, torch.float16, torch.from_numpy(X))).backward()
        scaler.step(optimizer)
        scaler.update()
        scales.append(scaler.get_scale())
    skipped = [float(scale < before) for before, scale in zip([2.0**24, *scales], scales, strict=False)]
    assert trainer.history["skipped"] == skipped and 0 < sum(skipped) < 9
    assert trainer.loss_scale == scales[-1]
    theirs = of_ours(layers, lambda parameter: parameter.detach().numpy())
    assert_rounded(trainer.backend.to_host(trainer.state.flat) - flat, theirs - flat, FP16, 16)


# ---- divergence ----


def test_a_batch_that_overflows_is_skipped_in_float16_and_not_taken_for_divergence(get_backend: Any) -> None:
    x = X.copy()
    x[3] = 1e6  # infinite in float16
    trainer = new(get_backend("jax"), "fp16-mixed", nn.Sequential(nn.Linear(6, 8), nn.BatchNorm(8), nn.Linear(8, 2)))
    history = trainer.fit(x, Y, epochs=3, batch_size=32, progress=False)
    assert history["skipped"] == [1, 1, 1] and np.isfinite(history["loss"]).all()
    assert all(np.isfinite(value).all() for value in trainer.parameters.values())  # BatchNorm's statistics too


def test_where_no_scale_helps_the_training_has_diverged(get_backend: Any) -> None:
    trainer = new(get_backend("jax"), "fp16-mixed", nn.Linear(6, 2))
    start = weights(trainer)
    with pytest.raises(train.Diverged, match="at step 31 ") as raised:
        trainer.fit(1e6 * X[:32], Y[:32], epochs=100, batch_size=None, progress=False)
    assert raised.value.step == 31  # 2^16 has been halved 30 times
    np.testing.assert_array_equal(weights(trainer), start)


def test_bfloat16_diverges_as_float32_does(get_backend: Any) -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1))
    steps = []
    for precision in ("float32", "bf16-mixed"):
        options: dict[str, Any] = {"backend": get_backend("torch"), "precision": precision}
        trainer = train.Trainer(model, nn.MeanSquaredError(), optim.SGD(50.0), **options)
        with pytest.raises(train.Diverged) as raised:
            trainer.fit(X, X[:, 0], epochs=50, progress=False)
        assert np.isfinite(weights(trainer)).all()
        steps.append(raised.value.step)
    assert abs(steps[1] - steps[0]) <= 1


def test_going_back_restores_the_scale(get_backend: Any) -> None:
    trainer = new(get_backend("jax"), "fp16-mixed")
    fit(trainer, 1)
    kept, twin = trainer.copy_state(), copy.deepcopy(trainer)
    trainer.state = trainer.state._replace(scale=2 * trainer.state.scale)
    trainer.restore_state(kept)
    np.testing.assert_array_equal(trainer.state.scale, twin.state.scale)
    assert trainer.loss_scale == 65536


# ---- stop and go on ----


@pytest.mark.parametrize("precision", ["bf16-mixed", "fp16-mixed"])
def test_a_saved_trainer_goes_on_exactly(get_backend: Any, tmp_path: Path, precision: str) -> None:
    def build() -> train.Trainer:
        return wild("jax", get_backend) if precision == "fp16-mixed" else new(get_backend("jax"), precision)

    def more(trainer: train.Trainer, epochs: int) -> None:
        target = 300 * X[:, :1] if precision == "fp16-mixed" else Y
        trainer.fit(X, target, epochs=epochs, batch_size=48, progress=False)

    straight, stopped = build(), build()
    more(straight, 4)
    more(stopped, 2)
    stopped.save(tmp_path / "model")
    resumed = train.Trainer.load(tmp_path / "model", backend="jax")
    assert resumed.precision == precision and resumed.loss_scale == stopped.loss_scale != 65536
    for trainer in (resumed, copy.deepcopy(stopped)):
        more(trainer, 2)
        np.testing.assert_array_equal(weights(trainer), weights(straight))
        assert trainer.history["loss"] == straight.history["loss"]
        assert trainer.loss_scale == straight.loss_scale


def test_elsewhere_it_goes_on_in_float32(get_backend: Any, tmp_path: Path) -> None:
    trainer = new(get_backend("torch"), "bf16-mixed")
    fit(trainer, 1)
    trainer.save(tmp_path / "model")
    for other in (
        trainer.to("numpy"),
        train.Trainer.load(tmp_path / "model", backend="numpy"),
        train.Trainer.load(tmp_path / "model", backend="torch", dtype="float64"),
        train.Trainer.load(tmp_path / "model", backend="torch", precision="float32"),
        train.Trainer.load(tmp_path / "model", backend="torch", optimizer=optim.LBFGS()),
    ):
        assert other.precision == "float32"
        np.testing.assert_array_equal(weights(other), weights(trainer))
        fit(other, 1, batch_size="auto")
    assert trainer.to("jax").precision == "bf16-mixed"
    assert train.Trainer.load(tmp_path / "model", backend=Half(), precision="fp16-mixed").loss_scale == 65536
    with pytest.raises(backends.BackendError, match="NumPy has no bfloat16"):
        train.Trainer.load(tmp_path / "model", backend="numpy", precision="bf16-mixed")


# ---- TF32 ----


class Counted(NumPyBackend):
    """NumPy that pretends to have TF32, and counts the steps in it."""

    inside = entered = 0

    def unable(self, arithmetic: str) -> str:
        return ""

    @contextmanager
    def tf32(self) -> Iterator[None]:
        self.inside, self.entered = self.inside + 1, self.entered + 1
        yield
        self.inside -= 1


def test_steps_run_inside_tf32_and_nothing_else_does() -> None:
    backend = Counted()
    trainer, plain = new(backend, "tf32"), new("numpy", "float32")
    step = trainer._training_step._step

    def watched(*arguments: Any) -> Any:
        assert backend.inside == 1
        return step(*arguments)

    trainer._training_step._step = watched
    fit(trainer, 2, validation_data=(X, Y))
    trainer.predict(X)
    assert backend.entered == trainer.step == 6 and backend.inside == 0
    fit(plain, 2)
    np.testing.assert_array_equal(weights(trainer), weights(plain))


def test_torch_and_jax_are_left_as_they_were(get_backend: Any) -> None:
    torch, jax = get_backend("torch"), get_backend("jax")
    products = torch._torch.backends.cuda.matmul
    before = products.fp32_precision
    with pytest.raises(KeyError), torch.tf32():
        assert products.fp32_precision == "tf32"
        raise KeyError
    assert products.fp32_precision == before
    config = jax._jax.config
    with jax.scope():
        with jax.tf32():
            assert config.jax_default_matmul_precision == "tensorfloat32"
        assert config.jax_default_matmul_precision == "highest"


def cupy_on(capability: str) -> Any:
    """CuPy's backend over a pretended library on a GPU of this compute capability; its arrays are NumPy's."""
    types = {np.float32: 1}
    core = SimpleNamespace(get_compute_type=types.__getitem__, set_compute_type=types.__setitem__, types=types)
    backend = object.__new__(CuPyBackend)
    backend._cupy = SimpleNamespace(ones=np.ones, sum=np.sum, _core=core)
    backend._cupy.cuda = SimpleNamespace(Device=lambda index: nullcontext())
    backend.device, backend.word = SimpleNamespace(id=0, compute_capability=capability), "cupy:0"
    return backend


def test_cupy_takes_what_the_gpu_has() -> None:
    old, new = cupy_on("75"), cupy_on("120")
    assert old.unable("float16") == "" and "compute capability 8.0" in old.unable("tf32")
    assert "take 'fp16-mixed'" in old.unable("bfloat16")
    assert [new.unable(arithmetic) for arithmetic in ("float16", "bfloat16", "tf32")] == ["", "", ""]
    assert new.half("bfloat16").name == "bfloat16" and new.half("float16") == np.float16
    types = new._cupy._core.types
    with new.tf32():
        assert types[np.float32] == COMPUTE_TYPE_TF32
    assert types[np.float32] == 1


def test_cupy_says_where_its_products_fail() -> None:
    def fails(*shape: Any, dtype: Any) -> Any:
        raise TypeError("no such dtype")

    backend = cupy_on("90")
    backend._cupy.ones = fails
    assert "CuPy cannot multiply bfloat16 here: no such dtype; update it" in backend.unable("bfloat16")
