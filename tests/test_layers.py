"""Every layer: its backward is the derivative of its forward, and it means the same on every backend."""

import re
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from cases import LAYERS, LOSSES, Case, without_case
from helpers import assert_close, at, run, start

from mlp_xp import backends, nn, optim, random

DIFFERENTIABLE = {name: case for name, case in LAYERS.items() if case.layer.differentiable}
WITH_PARAMETERS = {name: case for name, case in LAYERS.items() if nn.Layout(case.layer).count}
# Models side by side differ by their parameters; what has none takes another leading axis in test_activations.py.
STACKED = {f"{name}-one model": (case, ()) for name, case in DIFFERENTIABLE.items()}
STACKED |= {f"{name}-three stacked models": (case, (3,)) for name, case in WITH_PARAMETERS.items()}

all_layers = pytest.mark.parametrize("case", DIFFERENTIABLE.values(), ids=DIFFERENTIABLE.keys())
IN_TRAINING = nn.Context(training=True, key=random.key(3, 0))


def inputs(case: Case, seed: int = 1) -> np.ndarray:
    return case.inputs(seed)


def test_every_public_layer_has_a_case() -> None:
    assert without_case(nn, nn.Layer, LAYERS) == set()


@pytest.mark.parametrize(("case", "lead"), STACKED.values(), ids=STACKED.keys())
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


@pytest.mark.parametrize("case", WITH_PARAMETERS.values(), ids=WITH_PARAMETERS.keys())
def test_a_row_of_stacked_models_equals_the_single_model(backend: backends.Backend, case: Case) -> None:
    x, parameters = inputs(case), start(case.layer, lead=(3,))
    stacked = run(backend, case.layer, parameters, x)
    for k in range(3):
        single = run(backend, case.layer, {name: value[k] for name, value in parameters.items()}, x)
        for name, expected in single.items():
            row = stacked[name][k] if stacked[name].ndim == expected.ndim + 1 else stacked[name]
            assert_close(row, expected, factor=16, dtype=np.float64)


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
    layout = nn.Layout(case.layer)
    leaf = {name: torch.tensor(value, requires_grad=True) for name, value in {"x": x, **parameters}.items()}
    p = layout.nest({name: leaf[name] for name in parameters})
    y, _ = case.layer.forward(ours.xp, p, leaf["x"], IN_TRAINING)
    dy = np.random.default_rng(2).normal(size=tuple(y.shape))
    y.backward(torch.tensor(dy))
    by_hand = run(ours, case.layer, parameters, x, dy)
    for name in ("x", *(entry.name for entry in layout.entries)):
        grad = leaf[name].grad.numpy()
        assert_close(by_hand["dx" if name == "x" else name], grad, factor=16, dtype=np.float64)


@all_layers
def test_backward_agrees_with_jax_grad_of_our_forward(get_backend: Any, case: Case) -> None:
    ours, jax = get_backend("jax"), pytest.importorskip("jax")
    x, parameters = inputs(case), start(case.layer)
    layout = nn.Layout(case.layer)
    dy = np.random.default_rng(2).normal(size=run(ours, case.layer, parameters, x)["y"].shape)

    def scalar(leaf: dict[str, Any]) -> Any:
        y, _ = case.layer.forward(ours.xp, layout.nest(buffers | leaf), leaf["x"], IN_TRAINING)
        return (y * dy).sum()

    with ours.scope():
        leaf = {name: ours.from_host(value) for name, value in {"x": x, **parameters}.items()}
        buffers = {entry.name: leaf.pop(entry.name) for entry in layout.buffers.entries}
        expected = {name: np.asarray(grad) for name, grad in jax.grad(scalar)(leaf).items()}
    by_hand = run(ours, case.layer, parameters, x, dy)
    for name, grad in expected.items():
        assert_close(by_hand["dx" if name == "x" else name], grad, factor=16, dtype=np.float64)


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
        (lambda: nn.Linear(6, True), r"Linear\(6, True\): give whole numbers of features"),
        (lambda: nn.Maxout(True, 3), r"Maxout\(True, 3, 2\): give whole numbers of features"),
        (
            lambda: nn.Linear(6, 2, nn.Orthogonal()),
            r"bias=Orthogonal.*True or False; an initializer goes to weight_init=",
        ),  # type: ignore[arg-type]
        (lambda: nn.Linear(6, 2, bias="no"), r"Linear\(bias='no'\): must be True or False"),  # type: ignore[arg-type]
        (lambda: nn.Sequential([nn.ReLU()]), r"write Sequential\(\*layers\)"),  # type: ignore[arg-type]
        (lambda: nn.Dropout(1.0), r"must be in \[0, 1\)"),
        (lambda: nn.Dropout(-0.1), r"must be in \[0, 1\)"),
        (lambda: nn.Sequential(nn.ReLU), "layer 0 of Sequential is .* not a Layer"),  # the class, not an instance
    ],
)
def test_a_layer_that_makes_no_sense_is_refused(build: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        build()


WITH_NUMBERS = [
    (thing, field.name)
    for thing in [*(case.layer for case in LAYERS.values()), *(case.loss for case in LOSSES.values())]
    for field in fields(thing)  # type: ignore[arg-type]
    if isinstance(getattr(thing, field.name), float)
]


@pytest.mark.parametrize(("thing", "name"), WITH_NUMBERS, ids=[f"{thing!r}, {name}" for thing, name in WITH_NUMBERS])
def test_what_is_no_number_is_refused_by_its_name(thing: Any, name: str) -> None:
    scheduled = name in ("rate", "std")
    for value in ("0.5", [0.5], True, *(() if scheduled else (optim.Cosine(0.5, steps=9),))):
        given = re.escape(f"{type(thing).__name__}({name}={value!r}): ")
        with pytest.raises(ValueError, match=f"{given}.*; give a number" + (" or a schedule" if scheduled else "$")):
            replace(thing, **{name: value})
    with pytest.raises(ValueError, match=f"{name}=nan"):
        replace(thing, **{name: float("nan")})
