"""Normalisation and scaling of features: PyTorch's numbers, in training and when the net is used."""

from typing import Any

import numpy as np
import pytest
from helpers import assert_close, run, start

from mlp_xp import backends, nn, optim, train

NUMPY = backends.select("numpy")
RNG = np.random.default_rng(4)
X = 3.0 + 2.0 * RNG.normal(size=(7, 4))
DY = RNG.normal(size=(7, 4))


def torch_module(layer: nn.Layer) -> Any:
    torch = pytest.importorskip("torch")
    kinds = {
        nn.BatchNorm: lambda: torch.nn.BatchNorm1d(4, layer.eps, layer.momentum, dtype=torch.float64),  # type: ignore[attr-defined]
        nn.LayerNorm: lambda: torch.nn.LayerNorm(4, layer.eps, dtype=torch.float64),  # type: ignore[attr-defined]
        nn.RMSNorm: lambda: torch.nn.RMSNorm(4, layer.eps, dtype=torch.float64),  # type: ignore[attr-defined]
    }
    return kinds[type(layer)]()


@pytest.mark.parametrize("training", [True, False], ids=["in training", "in use"])
@pytest.mark.parametrize(
    "layer",
    [nn.BatchNorm(4), nn.BatchNorm(4, eps=1e-3, momentum=0.3), nn.LayerNorm(4), nn.RMSNorm(4, eps=1e-6)],
    ids=str,
)
def test_values_gradients_and_running_statistics_are_those_of_pytorch(layer: nn.Layer, training: bool) -> None:
    torch = pytest.importorskip("torch")
    module = torch_module(layer).train(training)
    parameters = start(layer)
    shaped = {name: torch.tensor(value[0]) for name, value in parameters.items()}
    module.load_state_dict(module.state_dict() | shaped)
    x = torch.tensor(X, requires_grad=True)
    y = module(x)
    y.backward(torch.tensor(DY))
    ours = run(NUMPY, layer, parameters, X, DY, training=training)
    expected = {"y": y, "dx": x.grad} | {name: p.grad for name, p in module.named_parameters()}
    expected |= {name: value for name, value in module.named_buffers() if name.startswith("running")}
    assert ours.keys() == expected.keys()
    for name, tensor in expected.items():
        reference = tensor.detach().numpy()
        assert_close(ours[name].reshape(reference.shape), reference, factor=32, dtype=np.float64)


@pytest.mark.parametrize("layer", [nn.BatchNorm(4), nn.LayerNorm(4), nn.RMSNorm(4)], ids=str)
def test_normalised_values_are_finite_and_silent_at_the_extremes(layer: nn.Layer) -> None:
    p = {name: value.astype(np.float32) for name, value in nn.Layout(layer).initial(0).items()}
    x = np.array([[-1000.0, 0.0, 1000.0, 5.0], [1000.0, 0.0, 1000.0, 5.0], [0.0, 0.0, 1000.0, 5.0]], np.float32)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        y, saved = layer.forward(np, p, x, nn.Context(training=True))
        dx, _ = layer.backward(np, p, saved, np.ones_like(y))
    assert y.dtype == dx.dtype == np.float32
    assert np.isfinite(y).all() and np.isfinite(dx).all()


def test_in_use_batch_norm_looks_at_each_row_alone(backend: backends.Backend) -> None:
    layer = nn.BatchNorm(4)
    together = run(backend, layer, start(layer), X, training=False)["y"]
    alone = run(backend, layer, start(layer), X[:1], training=False)["y"]
    assert_close(together[:1], alone, factor=4, dtype=np.float64)


def test_its_gradient_in_use_is_the_derivative_too(backend: backends.Backend) -> None:
    nn.gradient_check(nn.BatchNorm(4), X, backend=backend, context=nn.Context(training=False))


def test_a_batch_of_one_row_is_refused_at_the_first_batch_and_by_the_trainer_before() -> None:
    layer = nn.BatchNorm(4)
    with pytest.raises(nn.ShapeError, match="a batch of one row has no variance"):
        layer.forward(np, start(layer), X[:1], nn.Context(training=True))
    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.BatchNorm(4), nn.ReLU()), nn.Linear(4, 2))
    trainer = train.Trainer(model, nn.SoftmaxCrossEntropy(), backend="numpy")
    before = trainer.parameters
    for batch_size in (3, 1):
        with pytest.raises(
            ValueError, match=f"batch_size={batch_size} the last of 7 rows make a batch of 1.*BatchNorm"
        ):
            trainer.fit(X, np.arange(7) % 2, batch_size=batch_size, progress=False)
    for name, value in trainer.parameters.items():
        np.testing.assert_array_equal(value, before[name])
    trainer.fit(X, np.arange(7) % 2, batch_size=4, epochs=1, progress=False)


def test_running_statistics_live_in_the_state_and_are_saved(backend: backends.Backend, tmp_path: Any) -> None:
    model = nn.Sequential(nn.BatchNorm(4), nn.Linear(4, 2))
    trainer = train.Trainer(model, nn.SoftmaxCrossEntropy(), backend=backend, dtype="float64")
    labels = np.arange(7) % 2
    trainer.fit(X, labels, batch_size=None, epochs=3, progress=False)
    mean, var = np.zeros((1, 4)), np.ones((1, 4))
    for _ in range(3):  # the first layer sees the same X in every epoch
        mean, var = 0.9 * mean + 0.1 * X.mean(0), 0.9 * var + 0.1 * X.var(0, ddof=1)
    assert_close(trainer.parameters["0.running_mean"], mean, dtype=np.float64)
    assert_close(trainer.parameters["0.running_var"], var, dtype=np.float64)
    trainer.save(tmp_path / "model.safetensors")
    loaded = train.Trainer.load(tmp_path / "model.safetensors", backend=backend)
    np.testing.assert_array_equal(loaded.predict(X), trainer.predict(X))
    for each in (trainer, loaded):
        each.fit(X, labels, batch_size=None, epochs=2, progress=False)
    for name, value in trainer.parameters.items():
        np.testing.assert_array_equal(loaded.parameters[name], value)


def test_the_optimizer_does_not_touch_buffers_and_decay_spares_what_scales() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm(4), nn.LayerNorm(4), nn.Scale(4), nn.Linear(4, 2))
    decayed = [entry.name for entry in nn.Layout(model).entries if entry.parameter.decays]
    assert decayed == ["0.weight", "4.weight"]
    assert [entry.name for entry in nn.Layout(model).buffers.entries] == ["1.running_mean", "1.running_var"]


def test_standardize_learns_the_scaling_of_the_first_fit_and_keeps_it(backend: backends.Backend, tmp_path: Any) -> None:
    scaler = pytest.importorskip("sklearn.preprocessing").StandardScaler()
    data = np.column_stack([X * [1, 100, 1e-3, 1] + [0, 1e4, 0, -5], np.full(7, 2.0)])
    model = nn.Sequential(nn.Standardize(5), nn.Linear(5, 2))
    trainer = train.Trainer(model, nn.SoftmaxCrossEntropy(), backend=backend, dtype="float64")
    assert not trainer.adapted
    trainer.fit(data, np.arange(7) % 2, epochs=1, progress=False)
    scaler.fit(data)
    assert_close(trainer.parameters["0.mean"][0], scaler.mean_, dtype=np.float64)
    assert_close(trainer.parameters["0.scale"][0], scaler.scale_, dtype=np.float64)
    scaled = trainer.parameters
    trainer.fit(data + 100, np.arange(7) % 2, epochs=1, progress=False)  # other data does not change it
    np.testing.assert_array_equal(trainer.parameters["0.mean"], scaled["0.mean"])
    trainer.save(tmp_path / "model.safetensors")
    loaded = train.Trainer.load(tmp_path / "model.safetensors", backend=backend)
    assert loaded.adapted
    np.testing.assert_array_equal(loaded.predict(data), trainer.predict(data))


def test_standardize_is_precise_in_float32_far_from_zero() -> None:
    rng = np.random.default_rng(0)
    data = (1e4 + rng.normal(size=(20_000, 1))).astype(np.float32)
    trainer = train.Trainer(nn.Sequential(nn.Standardize(1), nn.Linear(1, 1)), nn.MeanSquaredError(), backend="numpy")
    trainer.adapt(data)
    exact = data.astype(np.float64)
    assert trainer.parameters["0.mean"].item() == pytest.approx(exact.mean(), abs=1e-3)  # float32 has steps of 1e-3
    assert trainer.parameters["0.scale"].item() == pytest.approx(exact.std(), rel=1e-3)


def test_a_net_with_standardize_equals_a_net_on_standardized_data(backend: backends.Backend) -> None:
    layers = (nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    labels = np.arange(7) % 2
    inside = train.Trainer(
        nn.Sequential(nn.Standardize(4), nn.Sequential(*layers)),
        nn.SoftmaxCrossEntropy(),
        optim.SGD(0.1),
        backend=backend,
        dtype="float64",
    )
    outside = train.Trainer(
        nn.Sequential(nn.Identity(), nn.Sequential(*layers)),
        nn.SoftmaxCrossEntropy(),
        optim.SGD(0.1),
        backend=backend,
        dtype="float64",
    )
    inside.fit(X, labels, epochs=5, batch_size=3, progress=False)
    outside.fit((X - X.mean(0)) / X.std(0), labels, epochs=5, batch_size=3, progress=False)
    for name, value in outside.parameters.items():
        assert_close(inside.parameters[name], value, dtype=np.float64)


def test_standardize_leaves_the_columns_alone_that_it_is_to_skip(backend: backends.Backend) -> None:
    model = nn.Sequential(nn.Standardize(4, skip=[2, 0]), nn.Linear(4, 2))
    trainer = train.Trainer(model, nn.SoftmaxCrossEntropy(), backend=backend, dtype="float64")
    trainer.adapt(X)
    expected = [np.where([1, 0, 1, 0], plain, of_data) for plain, of_data in ((0, X.mean(0)), (1, X.std(0)))]
    assert_close(trainer.parameters["0.mean"][0], expected[0], dtype=np.float64)
    assert_close(trainer.parameters["0.scale"][0], expected[1], dtype=np.float64)
    assert nn.Standardize(4, skip=[2, 0]) == nn.Standardize(4, skip=(0, 2))


@pytest.mark.parametrize("column", [1e30 * X[:, 0], 1e-30 * X[:, 0], np.full(7, 3e38)], ids=["large", "small", "mean"])
def test_standardize_refuses_what_its_dtype_cannot_hold(backend: backends.Backend, column: np.ndarray) -> None:
    data = np.column_stack([X, column])
    models = [nn.Sequential(nn.Standardize(5, skip=skip), nn.Linear(5, 2)) for skip in ((), (4,))]
    wide, skipping = (train.Trainer(model, nn.SoftmaxCrossEntropy(), backend=backend) for model in models)
    with pytest.raises(ValueError, match=r"Standardize: .*column 4 is too large or too small for .*float32; bring"):
        wide.adapt(data)
    skipping.adapt(data)
    precise = train.Trainer(models[0], nn.SoftmaxCrossEntropy(), backend=backend, dtype="float64")
    precise.adapt(data)


def test_lsuv_gives_every_layer_of_a_deep_net_unit_variance_before_the_first_step(backend: backends.Backend) -> None:
    layers: list[nn.Layer] = []
    for _ in range(6):
        layers += [nn.Linear(32, 32, weight_init=nn.LSUV()), nn.Tanh()]
    model = nn.Sequential(*layers, nn.Residual(nn.Linear(32, 32, weight_init=nn.LSUV())), nn.Linear(32, 2))
    x = 5.0 * np.random.default_rng(0).normal(size=(200, 32))
    trainer = train.Trainer(model, nn.SoftmaxCrossEntropy(), optim.SGD(0.0), backend=backend, dtype="float64")
    trainer.fit(x, np.arange(200) % 2, epochs=1, progress=False)
    values, seen = trainer.parameters, x
    for index in range(0, 12, 2):
        out = seen @ values[f"{index}.weight"]
        assert out.var() == pytest.approx(1.0, rel=1e-9)
        seen = np.tanh(out)
    assert (seen @ values["12.0.weight"]).var() == pytest.approx(1.0, rel=1e-9)


def test_lsuv_gives_all_pieces_of_maxout_together_unit_variance(backend: backends.Backend) -> None:
    model = nn.Sequential(nn.Maxout(4, 3, weight_init=nn.LSUV()), nn.Linear(3, 2))
    trainer = train.Trainer(model, nn.SoftmaxCrossEntropy(), backend=backend, dtype="float64")
    trainer.adapt(X)
    assert (X @ trainer.parameters["0.weight"]).var() == pytest.approx(1.0, rel=1e-9)


def test_weights_put_in_by_hand_are_not_adapted() -> None:
    model = nn.Sequential(nn.Linear(4, 2, weight_init=nn.LSUV()))
    trainer = train.Trainer(model, nn.SoftmaxCrossEntropy(), optim.SGD(0.0), backend="numpy", dtype="float64")
    given = {"0.weight": RNG.normal(size=(4, 2)), "0.bias": np.zeros((1, 2))}
    trainer.parameters = given
    trainer.fit(X, np.arange(7) % 2, epochs=1, progress=False)
    np.testing.assert_array_equal(trainer.parameters["0.weight"], given["0.weight"])


def test_refreshed_statistics_are_those_of_the_averaged_weights() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm(3), nn.Linear(3, 2))
    trainer = train.Trainer(
        model, nn.SoftmaxCrossEntropy(), optim.SWA(optim.SGD(0.5)), backend="numpy", dtype="float64"
    )
    trainer.fit(X, np.arange(7) % 2, batch_size=None, epochs=20, progress=False)
    trained = trainer.parameters
    trainer.refresh_statistics(X)
    average = trainer.inference_parameters
    hidden = X @ average["0.weight"] + average["0.bias"]
    assert_close(average["1.running_mean"][0], hidden.mean(0), dtype=np.float64)
    assert_close(average["1.running_var"][0], hidden.var(0, ddof=1), dtype=np.float64)
    np.testing.assert_array_equal(trainer.parameters["0.weight"], trained["0.weight"])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: nn.BatchNorm(0), r"BatchNorm\(0\): give a whole number"),
        (lambda: nn.BatchNorm(4, momentum=1.5), "share of the newest batch must be in"),
        (lambda: nn.LayerNorm(4, eps=0.0), r"LayerNorm\(eps=0.0\): must be above 0"),
        (lambda: nn.Sequential(nn.Linear(3, 5), nn.BatchNorm(4)), r"layer 1: BatchNorm\(4\) expects 4 features, got 5"),
        (lambda: nn.Standardize(2.5), "give a whole number"),  # type: ignore[arg-type]
        (lambda: nn.Standardize(4, skip=(4,)), r"Standardize\(skip=\(4,\)\): give columns from 0 to 3"),
        (lambda: nn.Standardize(4, skip="ab"), "give columns from 0 to 3"),  # type: ignore[arg-type]
        (lambda: nn.Standardize(4, skip=1.5), "give columns from 0 to 3"),  # type: ignore[arg-type]
        (lambda: nn.BatchNorm(True), r"BatchNorm\(True\): give a whole number"),
        (lambda: nn.BatchNorm(4, momentum=None), r"momentum=None\): .*in \[0, 1\]; give a number"),  # type: ignore[arg-type]
        (lambda: nn.Scale(3).output_features(4), r"Scale\(3\) expects 3 features, got 4"),
    ],
)
def test_what_makes_no_sense_is_refused(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
