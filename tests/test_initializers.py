"""How parameters start: the moments that were published, structure to rounding, and the same on every backend."""

from dataclasses import dataclass
from math import inf, sqrt
from typing import Any

import numpy as np
import pytest
from cases import INITIALIZERS, without_case
from helpers import assert_close

from mlp_xp import backends, nn, optim, train
from mlp_xp.nn.config import from_config, to_config

IN, OUT = 300, 200


def draw(init: nn.Initializer, *shape: int, seed: int = 0) -> np.ndarray:
    drawn = init.draw(np.random.default_rng(seed), shape, shape[-2], shape[-1])
    assert drawn.shape == shape and drawn.dtype == np.float64
    return drawn


# ---- drawn one by one: what the moments must be ----


@dataclass
class Shape:
    """A distribution of deviation 1: how far it reaches, how far some of 60,000 draws do, and its fourth moment."""

    limit: float
    reached: float
    kurtosis: float


_z = np.linspace(-2, 2, 100_001)
_bell = np.exp(-_z * _z / 2) / np.exp(-_z * _z / 2).sum()
_cut = sqrt(_bell @ _z**2)
NORMAL = Shape(inf, 3.5, 3.0)
UNIFORM = Shape(sqrt(3), 0.999 * sqrt(3), 1.8)
TRUNCATED = Shape(2 / _cut, 0.999 * 2 / _cut, (_bell @ _z**4) / _cut**4)

MOMENTS: dict[str, tuple[float, float, Shape]] = {
    "HeNormal": (0.0, sqrt(2 / IN), NORMAL),
    "HeUniform": (0.0, sqrt(2 / IN), UNIFORM),
    "HeTruncatedNormal": (0.0, sqrt(2 / IN), TRUNCATED),
    "GlorotNormal": (0.0, sqrt(2 / (IN + OUT)), NORMAL),
    "GlorotNormal(gain=5/3)": (0.0, 5 / 3 * sqrt(2 / (IN + OUT)), NORMAL),
    "GlorotUniform": (0.0, sqrt(2 / (IN + OUT)), UNIFORM),
    "GlorotTruncatedNormal": (0.0, sqrt(2 / (IN + OUT)), TRUNCATED),
    "LeCunNormal": (0.0, sqrt(1 / IN), NORMAL),
    "LeCunUniform": (0.0, sqrt(1 / IN), UNIFORM),
    "LeCunTruncatedNormal": (0.0, sqrt(1 / IN), TRUNCATED),
    "FanInUniform": (0.0, sqrt(1 / (3 * IN)), UNIFORM),
    "Uniform": (0.2, 0.8 / sqrt(12), UNIFORM),
    "Normal": (0.5, 0.1, NORMAL),
}
STRUCTURED = {"Constant", "Zeros", "IdentityMatrix", "Orthogonal", "LSUV", "Sparse", "Sparse, share"}
"""What has tests of its own below."""


def test_every_public_initializer_has_a_case_and_an_expectation() -> None:
    assert without_case(nn, nn.Initializer, INITIALIZERS) == set()
    assert MOMENTS.keys() | STRUCTURED == INITIALIZERS.keys()


@pytest.mark.parametrize("name", MOMENTS)
def test_the_moments_are_the_published_ones_within_the_error_of_the_sample(name: str) -> None:
    mean, deviation, shape = MOMENTS[name]
    z = (draw(INITIALIZERS[name], IN, OUT) - mean) / deviation
    assert abs(z.mean()) < 4 / sqrt(z.size)
    assert abs((z * z).mean() - 1) < 4 * sqrt((shape.kurtosis - 1) / z.size)
    assert shape.reached < np.abs(z).max() <= shape.limit * (1 + 1e-15)


@pytest.mark.parametrize("base", ["He", "Glorot", "LeCun"])
@pytest.mark.parametrize("shape", ["Normal", "Uniform", "TruncatedNormal"])
def test_the_gain_multiplies_the_weights(base: str, shape: str) -> None:
    kind = getattr(nn, base + shape)
    np.testing.assert_array_equal(draw(kind(gain=2.0), 7, 9), 2.0 * draw(kind(), 7, 9))


def test_truncated_draws_have_the_cut_and_the_scale_of_torch() -> None:
    torch = pytest.importorskip("torch")
    ours, deviation = draw(nn.LeCunTruncatedNormal(), IN, OUT), sqrt(1 / IN) / _cut
    generator = torch.Generator().manual_seed(0)
    theirs = torch.nn.init.trunc_normal_(
        torch.empty(IN, OUT, dtype=torch.float64), std=deviation, a=-2 * deviation, b=2 * deviation, generator=generator
    )
    # The largest gap between two distributions is below this in all but 1 of 10,000 samples (Kolmogorov-Smirnov).
    together = np.sort(np.concatenate([ours.ravel(), theirs.numpy().ravel()]))
    one, other = (np.searchsorted(np.sort(x, axis=None), together, "right") / x.size for x in (ours, theirs.numpy()))
    assert np.abs(one - other).max() < 2.23 * sqrt(2 / ours.size)


def test_a_bias_has_the_fans_of_its_layer() -> None:
    layer = nn.Linear(400, 1000, bias_init=nn.FanInUniform())
    bias = nn.Layout(layer).initial(0)["bias"]
    assert 0.99 / 20 < np.abs(bias).max() <= 1 / 20


# ---- matrices with a structure ----


def test_constants_are_exact() -> None:
    assert (draw(INITIALIZERS["Constant"], 4, 3) == 0.3).all()
    assert not draw(INITIALIZERS["Zeros"], 4, 3).any()


@pytest.mark.parametrize("shape", [(5, 5), (7, 4), (4, 7), (2, 4, 7)])
def test_the_identity_has_its_gain_on_the_diagonal(shape: tuple[int, ...]) -> None:
    expected = np.broadcast_to(0.7 * np.eye(shape[-2], shape[-1]), shape)
    np.testing.assert_array_equal(draw(INITIALIZERS["IdentityMatrix"], *shape), expected)


@pytest.mark.parametrize("shape", [(200, 200), (300, 200), (200, 300), (1, 20), (3, 30, 20)])
def test_orthogonal_columns_where_tall_and_rows_where_wide(shape: tuple[int, ...]) -> None:
    for gain, init in ((1.3, INITIALIZERS["Orthogonal"]), (1.0, INITIALIZERS["LSUV"])):
        w = draw(init, *shape)
        square = w @ w.mT if shape[-2] < shape[-1] else w.mT @ w
        assert np.abs(square - gain**2 * np.eye(min(shape[-2:]))).max() < 1e-12


@pytest.mark.parametrize("shape", [(4, 4), (6, 4), (4, 6)])
def test_every_orthogonal_matrix_is_equally_likely(shape: tuple[int, int]) -> None:
    """Haar: each entry has mean 0 and variance 1 / n; without the signs of R the diagonal would be of one sign."""
    draws, n = 5000, max(shape)
    q = draw(nn.Orthogonal(), draws, *shape)
    assert np.abs(q.mean(axis=0)).max() < 4.5 / sqrt(n * draws)
    # An entry squared is Beta(1/2, (n - 1)/2), of variance 2 (n - 1) / (n^2 (n + 2)).
    assert np.abs((q * q).mean(axis=0) - 1 / n).max() < 4.5 * sqrt(2 * (n - 1) / (n * n * (n + 2)) / draws)


def test_each_unit_has_its_number_of_weights_at_places_of_its_own() -> None:
    w = draw(INITIALIZERS["Sparse"], 400, 1000)
    assert (np.count_nonzero(w, axis=0) == 15).all()
    places = {tuple(np.flatnonzero(column)) for column in w.T}
    assert len(places) == 1000
    # An input feeds a binomial number of units.
    fed, share = np.count_nonzero(w, axis=1), 15 / 400
    assert np.abs(fed - 1000 * share).max() < 4.5 * sqrt(1000 * share * (1 - share))
    values = w[w != 0]
    assert abs(values.mean()) < 4 / sqrt(values.size)
    assert abs((values**2).mean() - 1) < 4 * sqrt(2 / values.size)
    assert np.count_nonzero(draw(INITIALIZERS["Sparse"], 9, 20)) == 9 * 20  # all, where there are no more


def test_the_share_of_a_units_weights_is_rounded_but_never_none() -> None:
    init = INITIALIZERS["Sparse, share"]
    w = draw(init, 400, 50)
    assert (np.count_nonzero(w, axis=0) == 40).all()
    assert w[w != 0].std() == pytest.approx(0.5, rel=4 / sqrt(2 * 2000))
    assert (np.count_nonzero(draw(init, 18, 50), axis=0) == 2).all()
    assert (np.count_nonzero(draw(init, 3, 50), axis=0) == 1).all()


# ---- what depends on the data ----


def rescaled(backend: backends.Backend, w: np.ndarray, y: np.ndarray, dtype: str) -> np.ndarray:
    with backend.scope():
        arrays = backend.from_host(w, dtype), backend.from_host(y, dtype)
        return backend.to_host(nn.LSUV().rescaled(backend.xp, *arrays))


@pytest.mark.parametrize("lead", [(), (3,)], ids=["one model", "three stacked models"])
def test_lsuv_gives_the_output_unit_variance(backend: backends.Backend, lead: tuple[int, ...]) -> None:
    x = 50 + np.random.default_rng(0).normal(size=(*lead, 40, 6))
    if lead:
        x = x * np.array([0.01, 1.0, 100.0]).reshape(3, 1, 1)  # each model has a variance of its own
    w = draw(nn.LSUV(), *lead, 6, 4)
    scaled, rounded = (rescaled(backend, w, x @ w, dtype) for dtype in ("float64", "float32"))
    assert scaled.dtype == np.float64 and rounded.dtype == np.float32
    np.testing.assert_allclose((x @ scaled).var(axis=(-2, -1)), 1.0, rtol=1e-12)
    ratio = scaled / w  # one number for each model
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[..., :1, :1], w.shape), rtol=1e-14)
    assert_close(rounded, scaled)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_lsuv_leaves_a_weight_alone_whose_output_does_not_vary(backend: backends.Backend, dtype: str) -> None:
    w = draw(nn.LSUV(), 2, 6, 4)
    y = np.stack([np.zeros((1000, 4)), np.full((1000, 4), 0.1)])  # the mean of many 0.1 is not 0.1 to the last bit
    np.testing.assert_array_equal(rescaled(backend, w, y, dtype), w.astype(dtype))


def test_lsuv_keeps_a_deep_net_at_unit_variance_where_orthogonal_weights_fade() -> None:
    x = np.random.default_rng(1).uniform(size=(500, 30))
    orthogonal, lsuv = x, x
    for layer in range(20):
        w = draw(nn.LSUV(), 30, 30, seed=layer)
        orthogonal = np.tanh(orthogonal @ w)
        y = lsuv @ nn.LSUV().rescaled(np, w, lsuv @ w)
        assert y.var() == pytest.approx(1.0, rel=1e-12)
        lsuv = np.tanh(y)
    assert orthogonal.var() < 0.1 * lsuv.var()


def test_only_lsuv_looks_at_the_data() -> None:
    assert [name for name, init in INITIALIZERS.items() if init.data_dependent] == ["LSUV"]
    w, y = draw(nn.HeNormal(), 3, 2), np.random.default_rng(0).normal(size=(5, 2))
    for name, init in INITIALIZERS.items():
        assert name == "LSUV" or init.rescaled(np, w, y) is w


# ---- all of them ----


def test_the_same_start_on_every_backend(backend: backends.Backend) -> None:
    layers = [
        nn.Linear(12, 12, weight_init=init, bias_init=nn.Zeros() if init.data_dependent else init)
        for init in INITIALIZERS.values()
    ]
    model = nn.Sequential(*layers, *(nn.Linear(*fans, weight_init=nn.Orthogonal()) for fans in ((12, 7), (7, 12))))
    trainer = train.Trainer(model, nn.MeanSquaredError(), optim.SGD(0.1), backend=backend, dtype="float64", seed=4)
    expected = nn.Layout(model).initial(4)
    assert trainer.parameters.keys() == expected.keys()
    for name, value in trainer.parameters.items():
        np.testing.assert_array_equal(value, expected[name])


@pytest.mark.parametrize("init", INITIALIZERS.values(), ids=INITIALIZERS.keys())
def test_an_initializer_is_plain_data_and_draws_the_same_from_the_same_stream(init: nn.Initializer) -> None:
    again: Any = from_config(to_config(init, [nn]), [nn])
    assert again == init and hash(again) == hash(init)
    np.testing.assert_array_equal(draw(again, 20, 30, seed=3), draw(init, 20, 30, seed=3))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: nn.HeNormal(gain=0.0), "HeNormal(gain=0.0)"),
        (lambda: nn.LeCunUniform(gain=float("nan")), "LeCunUniform(gain=nan)"),
        (lambda: nn.Orthogonal(gain=-1.0), "Orthogonal(gain=-1.0)"),
        (lambda: nn.IdentityMatrix(gain="1"), "IdentityMatrix(gain='1')"),  # type: ignore[arg-type]
        (lambda: nn.Uniform(1.0, 0.5), "Uniform(low=1.0, high=0.5)"),
        (lambda: nn.Uniform(0.0, inf), "Uniform(high=inf)"),
        (lambda: nn.Normal(0.0, 0.0), "Normal(std=0.0)"),
        (lambda: nn.Normal(inf, 1.0), "Normal(mean=inf)"),
        (lambda: nn.Constant(float("nan")), "Constant(value=nan)"),
        (lambda: nn.Sparse(0), "Sparse(nonzero=0)"),
        (lambda: nn.Sparse(2.5), "Sparse(nonzero=2.5)"),
        (lambda: nn.Sparse(std=-1.0), "Sparse(std=-1.0)"),
        (lambda: draw_vector(nn.Orthogonal()), "Orthogonal draws a matrix"),
        (lambda: draw_vector(nn.Sparse()), "Sparse draws a matrix"),
        (lambda: draw_vector(nn.IdentityMatrix()), "IdentityMatrix draws a matrix"),
    ],
)
def test_what_makes_no_sense_is_refused(build: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        build()
    assert str(caught.value).startswith(message)


def draw_vector(init: nn.Initializer) -> Any:
    return init.draw(np.random.default_rng(0), (5,), 5, 1)


TAKING: dict[str, Any] = {
    "Linear": lambda init: nn.Linear(6, 2, weight_init=init),
    "Linear, bias": lambda init: nn.Linear(6, 2, bias_init=init),
    "Maxout": lambda init: nn.Maxout(6, 2, weight_init=init),
    "Maxout, bias": lambda init: nn.Maxout(6, 2, bias_init=init),
    "Embedding": lambda init: nn.Embedding({0: 3}, weight_init=init),
    "Scale": lambda init: nn.Scale(6, weight_init=init),
    "PReLU": lambda init: nn.PReLU(slope_init=init),
}
"""Where initializers are given."""


@pytest.mark.parametrize("name", TAKING)
def test_only_an_initializer_is_taken_for_one(name: str) -> None:
    kind = name.partition(",")[0]
    for given, remedy in (("he", "HeNormal"), (0.5, "HeNormal"), (nn.GlorotUniform, "GlorotUniform")):
        with pytest.raises(TypeError, match=rf"{kind}\(\w+_init=.*: give an initializer, for example nn.{remedy}\(\)"):
            TAKING[name](given)


@pytest.mark.parametrize("name", TAKING)
def test_what_depends_on_data_is_taken_where_it_is_fitted_to_them(name: str) -> None:
    if name in ("Linear", "Maxout"):
        assert TAKING[name](nn.LSUV()).adapts and not TAKING[name](nn.Orthogonal()).adapts
    else:
        with pytest.raises(ValueError, match=r"_init=LSUV\(\)\): only the weights of Linear and Maxout are fitted"):
            TAKING[name](nn.LSUV())
