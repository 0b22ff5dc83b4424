"""Every activation: PyTorch's values and slopes, also far out; NaN stays visible; what makes no sense is refused."""

from collections.abc import Callable
from math import erfc, exp, expm1, log1p, pi, sqrt
from typing import Any

import numpy as np
import pytest
from cases import BATCH, LAYERS
from helpers import assert_close, run, start

from mlp_xp import backends, nn
from mlp_xp.nn.special import FAR, mills_ratio

NUMPY = backends.select("numpy")
FILES = ("activations", "rectifiers", "gates", "maxout", "softmax")
ACTIVATIONS = {name: case for name, case in LAYERS.items() if type(case.layer).__module__.split(".")[-1] in FILES}
DIFFERENTIABLE = {name: case for name, case in ACTIVATIONS.items() if case.layer.differentiable}
all_activations = pytest.mark.parametrize("name", ACTIVATIONS)


def forward(layer: nn.Layer, x: Any) -> np.ndarray:
    return layer.forward(NUMPY.xp, start(layer), np.asarray(x), nn.Context())[0]


# ---- values and slopes ----

# (layer, torch.nn.functional, x) -> y
TORCH: dict[str, Callable[[Any, Any, Any], Any]] = {
    "Identity": lambda layer, F, x: x * 1,
    "Sigmoid": lambda layer, F, x: F.sigmoid(layer.beta * x),
    "HardSigmoid": lambda layer, F, x: F.relu6(x + 3) / 6,  # the slope of F.hardsigmoid is 1/6 in float32 only
    "LogSigmoid": lambda layer, F, x: F.logsigmoid(x),
    "Tanh": lambda layer, F, x: F.tanh(x),
    "HardTanh": lambda layer, F, x: F.hardtanh(x, layer.low, layer.high),
    "Softsign": lambda layer, F, x: F.softsign(x),
    "ReLU": lambda layer, F, x: F.relu(x),
    "ReLU6": lambda layer, F, x: F.relu6(x),
    "LeakyReLU": lambda layer, F, x: F.leaky_relu(x, layer.slope),
    "ELU": lambda layer, F, x: F.elu(x, layer.alpha),
    "CELU": lambda layer, F, x: F.celu(x, layer.alpha),
    "SELU": lambda layer, F, x: F.selu(x),
    # Where beta x > threshold torch gives x: at its own threshold of 20 that is wrong by 2e-9.
    "Softplus": lambda layer, F, x: F.softplus(x, layer.beta, threshold=40),
    "GELU": lambda layer, F, x: F.gelu(x, approximate="tanh" if layer.approximate else "none"),
    "SiLU": lambda layer, F, x: F.silu(x),
    "HardSwish": lambda layer, F, x: F.hardswish(x),
    "Mish": lambda layer, F, x: F.mish(x),
    "GLU": lambda layer, F, x: F.glu(x),
    "Softmax": lambda layer, F, x: F.softmax(x, -1),
    "LogSoftmax": lambda layer, F, x: F.log_softmax(x, -1),
}


def over_a_wide_range() -> np.ndarray:
    """Rows of 4 with numbers of every size up to 1000, mixed, and at the kinks."""
    sizes = np.geomspace(1e-4, 1000, 200)
    kinks = np.array([-3.0, -0.5, 0.0, 0.0, 1.5, 3.0, 6.0, 1000.0])
    rng = np.random.default_rng(0)
    return rng.permutation(np.concatenate([sizes, -sizes, rng.normal(scale=3, size=400), kinks])).reshape(-1, 4)


@pytest.mark.parametrize("name", [name for name in DIFFERENTIABLE if name.split(",")[0] not in ("PReLU", "Maxout")])
def test_values_and_slopes_are_those_of_torch(name: str) -> None:
    torch = pytest.importorskip("torch")
    layer = DIFFERENTIABLE[name].layer
    x = torch.tensor(over_a_wide_range(), requires_grad=True)
    y = TORCH[type(layer).__name__](layer, torch.nn.functional, x)
    dy = np.random.default_rng(2).normal(size=tuple(y.shape))
    y.backward(torch.tensor(dy))
    ours = run(NUMPY, layer, {}, x.detach().numpy(), dy)
    np.testing.assert_allclose(ours["y"], y.detach().numpy(), rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(ours["dx"], x.grad.numpy(), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("layer", [nn.PReLU(), nn.PReLU(4)])
def test_prelu_is_torchs(layer: nn.PReLU) -> None:
    torch = pytest.importorskip("torch")
    x, parameters = torch.tensor(over_a_wide_range(), requires_grad=True), start(layer)
    slope = torch.tensor(parameters["slope"][0], requires_grad=True)
    y = torch.nn.functional.prelu(x, slope)
    dy = np.random.default_rng(2).normal(size=tuple(y.shape))
    y.backward(torch.tensor(dy))
    ours = run(NUMPY, layer, parameters, x.detach().numpy(), dy)
    np.testing.assert_array_equal(ours["y"], y.detach().numpy())
    assert_close(ours["dx"], x.grad.numpy(), factor=1, dtype=np.float64)
    assert_close(ours["slope"], slope.grad.numpy()[None, :], factor=16, dtype=np.float64)


def test_prelu_starts_at_a_quarter_and_does_not_decay() -> None:
    for layer, shape in ((nn.PReLU(), (1, 1)), (nn.PReLU(4), (1, 4))):
        slope = layer.parameters()["slope"]
        assert slope.shape == shape and not slope.decays
        np.testing.assert_array_equal(nn.Layout(layer).initial(0)["slope"], np.full(shape, 0.25))


def test_maxout_is_the_largest_of_its_pieces_and_passes_the_gradient_to_that_one() -> None:
    layer, rng = nn.Maxout(4, 3, pieces=5), np.random.default_rng(0)
    p, x, dy = start(layer), rng.normal(size=(6, 4)), rng.normal(size=(6, 3))
    ours = run(NUMPY, layer, p, x, dy)
    W, b = np.split(p["weight"], 5, axis=1), np.split(p["bias"], 5, axis=1)
    dW, db, dx = np.zeros((5, 4, 3)), np.zeros((5, 1, 3)), np.zeros((6, 4))
    for i in range(6):
        for j in range(3):
            z = [float(x[i] @ W[k][:, j]) + b[k][0, j] for k in range(5)]
            k = int(np.argmax(z))
            assert ours["y"][i, j] == pytest.approx(z[k], rel=1e-14)
            dW[k][:, j] += x[i] * dy[i, j]
            db[k][0, j] += dy[i, j]
            dx[i] += W[k][:, j] * dy[i, j]
    assert_close(ours["weight"], np.concatenate(dW, axis=1), factor=8, dtype=np.float64)
    assert_close(ours["bias"], np.concatenate(db, axis=1), factor=8, dtype=np.float64)
    assert_close(ours["dx"], dx, factor=8, dtype=np.float64)


def test_pieces_of_maxout_that_are_equally_large_share_the_gradient() -> None:
    layer = nn.Maxout(2, 1, pieces=4)
    p = {"weight": np.array([[1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0]]), "bias": np.array([[0.0, 5.0, 5.0, 1.0]])}
    ours = run(NUMPY, layer, p, np.zeros((1, 2)), np.array([[3.0]]))
    np.testing.assert_array_equal(ours["bias"], [[0.0, 1.5, 1.5, 0.0]])
    np.testing.assert_array_equal(ours["dx"], [[7.5, 7.5]])


def test_each_piece_of_maxout_starts_like_a_linear_layer() -> None:
    maxout, linear = nn.Maxout(300, 200, pieces=3), nn.Linear(300, 200)
    for name, parameter in maxout.parameters().items():
        like = linear.parameters()[name]
        assert (parameter.fan_in, parameter.fan_out, parameter.decays) == (like.fan_in, like.fan_out, like.decays)
        assert parameter.shape == (like.shape[0], 3 * like.shape[1])


# ---- Step ----


def test_step_is_one_from_zero_on(backend: backends.Backend) -> None:
    x = np.array([[-2.0, -0.0, 0.0, 1e-30], [3.0, -1e-30, 1000.0, -1000.0]])
    with backend.scope():
        y, _ = nn.Step().forward(backend.xp, {}, backend.from_host(x, "float32"), nn.Context())
        y = backend.to_host(y)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, [[0, 1, 1, 1], [1, 0, 1, 0]])


def test_step_cannot_be_trained_and_says_what_can() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Step()), nn.Linear(4, 2))
    assert not nn.Step.differentiable and not model.differentiable
    assert nn.Sequential(nn.Linear(4, 4), nn.Sigmoid()).differentiable
    p, x = nn.Layout(model).nest(start(model)), np.ones((2, 4))
    y, saved = model.forward(NUMPY.xp, p, x, nn.Context())
    with pytest.raises(NotImplementedError, match=r"Step has no gradient.*train with Sigmoid\(\)"):
        model.gradients(NUMPY.xp, p, saved, y)


# ---- far out ----


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_extremes_are_finite_and_silent(name: str, dtype: str) -> None:
    layer = DIFFERENTIABLE[name].layer
    x = np.array([[-1000, 0, 90, 1000], [1000, -90, 0, -1000], [20, -20, 40, -40], [-1e6, 1e6, 1e6, -1e6]], dtype)
    p = {key: value.astype(dtype) for key, value in start(layer).items()}
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        y, saved = layer.forward(NUMPY.xp, p, x, nn.Context())
        dx, _ = layer.backward(NUMPY.xp, p, saved, np.ones_like(y))
    assert y.dtype == dx.dtype == dtype
    assert np.isfinite(y).all() and np.isfinite(dx).all()


@all_activations
def test_a_nan_that_goes_in_comes_out(backend: backends.Backend, name: str) -> None:
    layer, x = ACTIVATIONS[name].layer, np.ones((3, 4))
    x[1, 0] = x[2, 3] = np.nan
    with backend.scope():
        p = {key: backend.from_host(value) for key, value in start(layer).items()}
        y, _ = backend.compile(lambda p, x: layer.forward(backend.xp, p, x, nn.Context()))(p, backend.from_host(x))
        y = backend.to_host(y)
    np.testing.assert_array_equal(np.isnan(y).any(axis=1), [False, True, True])


def phi(x: float) -> float:
    return exp(-x * x / 2) / sqrt(2 * pi)


def Phi(x: float) -> float:
    return erfc(-x / sqrt(2)) / 2


# (layer, x, y, slope) where a formula taken literally would give 0, or a few right digits
TAILS: list[tuple[nn.Layer, float, float, float]] = [
    (nn.Sigmoid(), -40.0, exp(-40), exp(-40)),
    (nn.Sigmoid(), -700.0, exp(-700), exp(-700)),
    (nn.LogSigmoid(), 40.0, -exp(-40), exp(-40)),
    (nn.LogSigmoid(), -700.0, -700.0, 1.0),
    (nn.Softplus(), -40.0, exp(-40), exp(-40)),
    (nn.Softplus(beta=2.0), -9.0, log1p(exp(-18)) / 2, exp(-18) / (1 + exp(-18))),
    (nn.ELU(alpha=1.5), -1e-9, 1.5 * expm1(-1e-9), 1.5 * exp(-1e-9)),
    (nn.CELU(alpha=0.5), -1e-9, 0.5 * expm1(-2e-9), exp(-2e-9)),
    (nn.SiLU(), -40.0, -40 * exp(-40), -39 * exp(-40)),
    (nn.Mish(), -40.0, -40 * exp(-40), -39 * exp(-40)),
    (nn.GELU(), -3.0, -3 * Phi(-3), Phi(-3) - 3 * phi(3)),
    (nn.GELU(), -10.0, -10 * Phi(-10), Phi(-10) - 10 * phi(10)),
]


@pytest.mark.parametrize(("layer", "x", "y", "slope"), TAILS)
def test_tails_are_precise(layer: nn.Layer, x: float, y: float, slope: float) -> None:
    ours = run(NUMPY, layer, {}, np.array([[x]]), np.ones((1, 1)))
    assert ours["y"].item() == pytest.approx(y, rel=1e-13, abs=0)
    assert ours["dx"].item() == pytest.approx(slope, rel=1e-13, abs=0)


@pytest.mark.parametrize(("dtype", "error"), [("float64", 2e-15), ("float32", 5e-7)])
def test_the_tail_of_the_normal_distribution_is_precise_everywhere(dtype: str, error: float) -> None:
    erfcx = pytest.importorskip("scipy.special").erfcx
    z = np.linspace(0, FAR, 40_001).astype(dtype)
    ratio = mills_ratio(NUMPY.xp, z)
    assert ratio.dtype == dtype
    np.testing.assert_allclose(ratio, sqrt(pi / 2) * erfcx(z.astype("float64") / sqrt(2)), rtol=error)


def test_the_complementary_error_function_of_python_is_met() -> None:
    z = np.linspace(0, 26, 1001)  # beyond, erfc(z) is no longer a normal number
    ours = sqrt(2 / pi) * np.exp(-z * z) * mills_ratio(NUMPY.xp, sqrt(2) * z)
    np.testing.assert_allclose(ours, [erfc(value) for value in z], rtol=3e-13)
    np.testing.assert_allclose(ours, [erfc(value) for value in z], atol=1e-15, rtol=0)


def test_the_approximate_gelu_is_close_to_the_exact_one() -> None:
    x = np.linspace(-10, 10, 10_000)[:, None]
    assert 4e-4 < np.abs(forward(nn.GELU(), x) - forward(nn.GELU(approximate=True), x)).max() < 5e-4


# ---- over the features ----


@pytest.mark.parametrize("word", ["numpy", "strict"])
@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_a_leading_axis_holds_batches_side_by_side(get_backend: Any, word: str, name: str) -> None:
    backend, case = get_backend(word), DIFFERENTIABLE[name]
    x, parameters = np.random.default_rng(0).normal(size=(3, BATCH, case.features)), start(case.layer, lead=(3,))
    stacked = run(backend, case.layer, parameters, case.scale * x)
    for k in range(3):
        single = run(backend, case.layer, {key: value[k] for key, value in parameters.items()}, case.scale * x[k])
        for key, expected in single.items():
            assert_close(stacked[key][k], expected, factor=8, dtype=np.float64)


def test_step_takes_a_leading_axis() -> None:
    x = np.random.default_rng(0).normal(size=(3, 2, 4))
    np.testing.assert_array_equal(forward(nn.Step(), x), x >= 0)


def test_softmax_does_not_change_when_all_logits_are_shifted() -> None:
    s = np.array([[1.0, 2.0, 4.0]])
    p = forward(nn.Softmax(), s)
    np.testing.assert_array_equal(p, forward(nn.Softmax(), s + 512.0))
    np.testing.assert_array_equal(forward(nn.LogSoftmax(), s), forward(nn.LogSoftmax(), s + 512.0))
    assert p.sum() == pytest.approx(1, abs=1e-15)


def test_log_softmax_is_exact_where_softmax_underflows() -> None:
    np.testing.assert_array_equal(forward(nn.LogSoftmax(), [[0.0, -1000.0]]), [[0.0, -1000.0]])


def test_features_are_counted_through_activations() -> None:
    model = nn.Sequential(nn.Maxout(3, 8), nn.PReLU(8), nn.GLU(), nn.PReLU(), nn.Linear(4, 2))
    assert model.output_features(3) == 2
    assert nn.GLU().output_features(None) is None and nn.PReLU().output_features(None) is None
    assert nn.PReLU(8).output_features(None) == 8 and nn.Maxout(3, 8).output_features(None) == 8


@pytest.mark.parametrize(
    ("layer", "features", "message"),
    [
        (nn.GLU(), 5, "GLU halves the features: it expects an even number of them, got 5"),
        (nn.GLU(), (2, 4), r"an even number of them, got \(2, 4\)"),
        (nn.PReLU(8), 5, r"PReLU\(8\) expects 8 features, got 5"),
        (nn.Maxout(4, 3), 5, r"Maxout\(4, 3, 2\) expects 4 features, got 5"),
    ],
)
def test_a_number_of_features_that_does_not_fit_is_refused(layer: nn.Layer, features: Any, message: str) -> None:
    with pytest.raises(nn.ShapeError, match=message):
        layer.output_features(features)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: nn.Sigmoid(beta=0.0), r"Sigmoid\(beta=0\.0\): must be a finite number above 0"),
        (lambda: nn.Softplus(beta=-1.0), r"Softplus\(beta=-1\.0\): must be a finite number above 0"),
        (lambda: nn.ELU(alpha=0.0), r"ELU\(alpha=0\.0\): must be a finite number above 0"),
        (lambda: nn.CELU(alpha=float("inf")), r"CELU\(alpha=inf\): must be a finite number above 0"),
        (lambda: nn.HardTanh(low=1.0), r"HardTanh\(low=1\.0, high=1\.0\): low must be below high"),
        (lambda: nn.LeakyReLU(slope=-0.1), r"LeakyReLU\(slope=-0\.1\).*must be in \[0, 1\)"),
        (lambda: nn.LeakyReLU(slope=1.0), r"LeakyReLU\(slope=1\.0\).*must be in \[0, 1\); PReLU learns any slope"),
        (lambda: nn.HardTanh(high=float("inf")), r"HardTanh\(high=inf\): must be a finite number"),
        (lambda: nn.PReLU(True), r"PReLU\(True\): give a whole number"),
        (lambda: nn.PReLU(0), r"PReLU\(0\): give a whole number of features, or None for one shared slope"),
        (lambda: nn.Maxout(0, 3), r"Maxout\(0, 3, 2\): give whole numbers of features"),
        (lambda: nn.Maxout(4, 3, pieces=1), r"Maxout\(4, 3, 1\): .*at least 2 pieces.*use Linear"),
    ],
)
def test_an_activation_that_makes_no_sense_is_refused(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
