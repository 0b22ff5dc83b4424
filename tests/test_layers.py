"""Every layer: its backward is the derivative of its forward, and it means the same on every backend."""

from typing import Any

import numpy as np
import pytest
from cases import BATCH, LAYERS, Case, without_case
from helpers import assert_close, at, run, start

from mlp_xp import backends, nn, random

all_layers = pytest.mark.parametrize("case", LAYERS.values(), ids=LAYERS.keys())
IN_TRAINING = nn.Context(training=True, key=random.key(3, 0))


def inputs(case: Case, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(BATCH, case.features))


def test_every_public_layer_has_a_case() -> None:
    assert without_case(nn, nn.Layer, LAYERS) == set()


@all_layers
@pytest.mark.parametrize("lead", [(), (3,)], ids=["one model", "three stacked models"])
def test_backward_is_the_derivative_of_forward(backend: backends.Backend, case: Case, lead: tuple[int, ...]) -> None:
    check = nn.gradient_check(case.layer, inputs(case), backend=backend, context=IN_TRAINING, lead=lead)
    assert check.error < 1e-9


@all_layers
def test_every_entry_of_the_jacobian_is_right(case: Case) -> None:
    x = inputs(case)[:2]
    nn.jacobian_check(case.layer, x, backend=backends.select("numpy"), context=IN_TRAINING)


@all_layers
def test_float32_agrees_with_numpy_float64(backend: backends.Backend, case: Case) -> None:
    x, parameters = inputs(case), start(case.layer)
    exact = run(backends.select("numpy"), case.layer, parameters, x)
    rounded = run(backend, case.layer, parameters, x, dtype="float32")
    assert rounded.keys() == exact.keys()
    for name, expected in exact.items():
        assert rounded[name].dtype == np.float32
        assert_close(rounded[name], expected)


@all_layers
def test_a_row_of_stacked_models_equals_the_single_model(backend: backends.Backend, case: Case) -> None:
    x, parameters = inputs(case), start(case.layer, lead=(3,))
    stacked = run(backend, case.layer, parameters, x)
    for k in range(3):
        single = run(backend, case.layer, {name: value[k] for name, value in parameters.items()}, x)
        for name, expected in single.items():
            row = stacked[name][k] if stacked[name].ndim == expected.ndim + 1 else stacked[name]
            assert_close(row, expected, factor=8, dtype=np.float64)


@all_layers
def test_gradients_alone_are_those_of_backward(case: Case) -> None:
    numpy = backends.select("numpy")
    layer, layout = case.layer, nn.Layout(case.layer)
    x, p = inputs(case), layout.nest(start(case.layer))
    y, saved = layer.forward(numpy.xp, p, x, IN_TRAINING)
    dy = np.random.default_rng(2).normal(size=y.shape)
    _, expected = layer.backward(numpy.xp, p, saved, dy)
    alone = layer.gradients(numpy.xp, p, saved, dy)
    for entry in layout.entries:
        np.testing.assert_array_equal(at(alone, entry.name), at(expected, entry.name))


@all_layers
def test_backward_agrees_with_torch_autograd_of_our_forward(get_backend: Any, case: Case) -> None:
    ours, torch = get_backend("torch"), pytest.importorskip("torch")
    x, parameters = inputs(case), start(case.layer)
    leaf = {name: torch.tensor(value, requires_grad=True) for name, value in {"x": x, **parameters}.items()}
    p = nn.Layout(case.layer).nest({name: leaf[name] for name in parameters})
    y, _ = case.layer.forward(ours.xp, p, leaf["x"], IN_TRAINING)
    dy = np.random.default_rng(2).normal(size=tuple(y.shape))
    y.backward(torch.tensor(dy))
    by_hand = run(ours, case.layer, parameters, x, dy)
    for name, tensor in leaf.items():
        assert_close(by_hand["dx" if name == "x" else name], tensor.grad.numpy(), factor=16, dtype=np.float64)


@all_layers
def test_backward_agrees_with_jax_grad_of_our_forward(get_backend: Any, case: Case) -> None:
    ours, jax = get_backend("jax"), pytest.importorskip("jax")
    x, parameters = inputs(case), start(case.layer)
    layout = nn.Layout(case.layer)
    dy = np.random.default_rng(2).normal(size=run(ours, case.layer, parameters, x)["y"].shape)

    def scalar(leaf: dict[str, Any]) -> Any:
        y, _ = case.layer.forward(ours.xp, layout.nest(leaf), leaf["x"], IN_TRAINING)
        return (y * dy).sum()

    with ours.scope():
        leaf = {name: ours.from_host(value) for name, value in {"x": x, **parameters}.items()}
        expected = {name: np.asarray(grad) for name, grad in jax.grad(scalar)(leaf).items()}
    by_hand = run(ours, case.layer, parameters, x, dy)
    for name, grad in expected.items():
        assert_close(by_hand["dx" if name == "x" else name], grad, factor=16, dtype=np.float64)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["Identity", "ReLU", "Sigmoid", "Tanh", "Softmax"])
def test_activations_are_finite_and_silent_at_the_extremes(name: str, dtype: str) -> None:
    layer = LAYERS[name].layer
    x = np.array([[-1000.0, -90.0, 0.0, 90.0, 1000.0]], dtype)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        y, saved = layer.forward(np, {}, x, nn.Context())
        dx, _ = layer.backward(np, {}, saved, np.ones_like(y))
    assert y.dtype == dx.dtype == dtype
    assert np.isfinite(y).all() and np.isfinite(dx).all()


def test_sigmoid_is_precise_in_its_tails() -> None:
    x = np.array([[-700.0, -40.0, -1.0, 1.0, 40.0]])
    y, _ = nn.Sigmoid().forward(np, {}, x, nn.Context())
    np.testing.assert_allclose(y, np.exp(x) / (1 + np.exp(x)), rtol=1e-15)


def test_relu_shows_nan_and_not_a_zero_in_its_place() -> None:
    y, _ = nn.ReLU().forward(np, {}, np.array([[np.nan, -1.0]]), nn.Context())
    assert np.isnan(y[0, 0]) and y[0, 1] == 0


def test_softmax_does_not_change_when_all_logits_are_shifted() -> None:
    s = np.array([[1.0, 2.0, 4.0]])
    p, _ = nn.Softmax().forward(np, {}, s, nn.Context())
    shifted, _ = nn.Softmax().forward(np, {}, s + 512.0, nn.Context())
    np.testing.assert_array_equal(p, shifted)
    assert p.sum() == pytest.approx(1, abs=1e-15)


def test_dropout_zeroes_a_share_and_keeps_the_expectation(backend: backends.Backend) -> None:
    x = np.ones((400, 500))
    y = run(backend, nn.Dropout(0.3), {}, x)["y"]
    assert set(np.unique(y)) == {0.0, 1 / 0.7}
    deviation = np.sqrt(0.3 * 0.7 / y.size)
    assert abs((y == 0).mean() - 0.3) < 4 * deviation


def test_dropout_does_nothing_in_evaluation_or_at_rate_zero(backend: backends.Backend) -> None:
    x = np.random.default_rng(0).normal(size=(6, 7))
    np.testing.assert_array_equal(run(backend, nn.Dropout(0.9), {}, x, training=False)["y"], x)
    np.testing.assert_array_equal(run(backend, nn.Dropout(0.0), {}, x)["y"], x)


def test_dropout_masks_are_the_same_everywhere_and_differ_between_steps_and_layers(backend: backends.Backend) -> None:
    x = np.ones((20, 30))
    first = run(backend, nn.Dropout(0.5), {}, x, step=0)["y"]
    np.testing.assert_array_equal(first, run(backends.select("numpy"), nn.Dropout(0.5), {}, x, step=0)["y"])
    assert 0.4 < (first != run(backend, nn.Dropout(0.5), {}, x, step=1)["y"]).mean() < 0.6
    in_sequence = nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.5))
    both = run(backend, in_sequence, {}, x)["y"]
    assert 0.2 < (both != 0).mean() < 0.3  # were the masks equal, half would pass both


def test_nested_layers_draw_masks_of_their_own() -> None:
    x = np.ones((40, 50))
    pair = nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.5))
    y = run(backends.select("numpy"), nn.Sequential(pair, pair), {}, x)["y"]
    assert 0.04 < (y != 0).mean() < 0.085  # a sixteenth passes four masks that are independent


def test_stacked_models_get_masks_of_their_own_from_stacked_keys(backend: backends.Backend) -> None:
    words = np.array([random.key(seed, 0) for seed in range(3)], np.int32)
    with backend.scope():
        key = tuple(backend.from_host(words[:, i].reshape(3, 1, 1)) for i in (0, 1))
        x = backend.from_host(np.ones((3, 10, 20)), "float32")
        y, _ = nn.Dropout(0.5).forward(backend.xp, {}, x, nn.Context(True, key))
        stacked = backend.to_host(y)
        for k in range(3):
            single, _ = nn.Dropout(0.5).forward(backend.xp, {}, x[k, ...], nn.Context(True, random.key(k, 0)))
            np.testing.assert_array_equal(stacked[k], backend.to_host(single))
    assert not np.array_equal(stacked[0], stacked[1])


def test_shapes_that_do_not_fit_name_the_layer_and_what_it_expects() -> None:
    with pytest.raises(nn.ShapeError, match=r"layer 2: Linear\(9, 2\) expects 9 features, got 8"):
        nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(9, 2))
    with pytest.raises(nn.ShapeError, match=r"layer 1: layer 0: Linear\(4, 8\) expects 4 features, got 8"):
        nn.Sequential(nn.Linear(4, 8), nn.Sequential(nn.Linear(4, 8), nn.Tanh()))
    model = nn.Sequential(nn.Tanh(), nn.Linear(4, 8))
    assert model.output_features(4) == 8
    with pytest.raises(nn.ShapeError, match=r"layer 1: Linear\(4, 8\) expects 4 features, got 5"):
        model.output_features(5)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: nn.Linear(0, 3), r"Linear\(0, 3\): give whole numbers of features"),
        (lambda: nn.Linear(4, 8.0), r"Linear\(4, 8\.0\): give whole numbers of features"),  # type: ignore[arg-type]
        (lambda: nn.Sequential([nn.ReLU()]), r"write Sequential\(\*layers\)"),  # type: ignore[arg-type]
        (lambda: nn.Dropout(1.0), r"must be in \[0, 1\)"),
        (lambda: nn.Dropout(-0.1), r"must be in \[0, 1\)"),
        (lambda: nn.Sequential(nn.ReLU), "layer 0 of Sequential is .* not a Layer"),  # the class, not an instance
    ],
)
def test_a_layer_that_makes_no_sense_is_refused(build: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        build()
