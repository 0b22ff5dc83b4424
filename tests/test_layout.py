"""One flat vector, its named views, and how it starts."""

import numpy as np
import pytest
from cases import INITIALIZERS, without_case
from helpers import at

from mlp_xp import backends, nn
from mlp_xp.nn.layout import ALIGNMENT

MODEL = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Sequential(nn.Linear(7, 64), nn.Tanh()), nn.Linear(64, 2))
NAMES = ["0.weight", "0.bias", "2.0.weight", "2.0.bias", "3.weight", "3.bias"]


def test_parameters_are_named_by_their_place_and_aligned() -> None:
    layout = nn.Layout(MODEL)
    assert [entry.name for entry in layout.entries] == NAMES
    assert all(entry.start % ALIGNMENT == 0 for entry in layout.entries)
    assert layout.size % ALIGNMENT == 0
    assert layout.count == 5 * 7 + 7 + 7 * 64 + 64 + 64 * 2 + 2
    before = 0
    for entry in layout.entries:
        assert 0 <= entry.start - before < ALIGNMENT
        before = entry.stop


@pytest.mark.parametrize("lead", [(), (3,)], ids=["one model", "three stacked models"])
def test_join_and_split_are_inverse_and_the_gaps_are_zero(backend: backends.Backend, lead: tuple[int, ...]) -> None:
    layout, xp = nn.Layout(MODEL), backend.xp
    rng = np.random.default_rng(0)
    values = {entry.name: rng.normal(size=(*lead, *entry.parameter.shape)) for entry in layout.entries}
    with backend.scope():
        tree = layout.nest({name: backend.from_host(value) for name, value in values.items()})
        gaps = layout.gaps(xp, backend.from_host(np.zeros((*lead, 0))))
        flat = layout.join(xp, tree, gaps)
        assert tuple(flat.shape) == (*lead, layout.size)
        again, named = layout.split(xp, flat), layout.named(xp, flat)
        for name, value in values.items():
            np.testing.assert_array_equal(backend.to_host(at(again, name)), value)
            np.testing.assert_array_equal(backend.to_host(named[name]), value)
        assert again["1"] == {}
        assert np.count_nonzero(backend.to_host(flat)) == layout.count * int(np.prod(lead))


def test_views_share_the_memory_of_the_vector_on_numpy() -> None:
    layout = nn.Layout(MODEL)
    flat = np.zeros(layout.size)
    layout.split(np, flat)["2"]["0"]["bias"][...] = 1.0
    assert flat.sum() == 64


def test_the_same_seed_gives_the_same_start_and_another_seed_another() -> None:
    first, same, other = (nn.Layout(MODEL).initial(seed) for seed in (0, 0, 1))
    assert list(first) == NAMES
    for name in NAMES:
        np.testing.assert_array_equal(first[name], same[name])
    assert (first["0.weight"] != other["0.weight"]).all()
    twins = nn.Layout(nn.Sequential(nn.Linear(5, 7), nn.Linear(7, 5), nn.Linear(5, 7))).initial(0)
    assert (twins["0.weight"] != twins["2.weight"]).all()  # each parameter has a stream of its own
    # A layer keeps its start when another is put behind it.
    longer = nn.Layout(nn.Sequential(*MODEL.layers, nn.ReLU(), nn.Linear(2, 3))).initial(0)
    np.testing.assert_array_equal(first["3.weight"], longer["3.weight"])


def test_every_public_initializer_has_a_case() -> None:
    assert without_case(nn, nn.Initializer, INITIALIZERS) == set()


@pytest.mark.parametrize(
    ("name", "deviation", "limit"),
    [
        ("HeNormal", np.sqrt(2 / 300), None),
        ("HeUniform", np.sqrt(2 / 300), np.sqrt(6 / 300)),
        ("GlorotNormal", np.sqrt(2 / 500), None),
        ("GlorotUniform", np.sqrt(2 / 500), np.sqrt(6 / 500)),
        ("FanInUniform", np.sqrt(1 / 900), np.sqrt(1 / 300)),
        ("Constant", 0.0, 0.3),
        ("Zeros", 0.0, 0.0),
    ],
)
def test_initializers_have_the_published_spread(name: str, deviation: float, limit: float | None) -> None:
    drawn = INITIALIZERS[name].draw(np.random.default_rng(0), (300, 200), 300, 200)
    assert drawn.shape == (300, 200) and drawn.dtype == np.float64
    assert drawn.std() == pytest.approx(deviation, rel=0.015, abs=1e-12)
    assert drawn.mean() == pytest.approx(
        0.3 if name == "Constant" else 0.0, abs=4 * deviation / np.sqrt(60_000) + 1e-12
    )
    if limit is not None:
        assert np.abs(drawn).max() <= limit
        assert np.abs(drawn).max() >= 0.999 * limit


def test_a_bias_has_the_fans_of_its_layer() -> None:
    layer = nn.Linear(400, 1000, bias_init=nn.FanInUniform())
    bias = nn.Layout(layer).initial(0)["bias"]
    assert 0.99 / 20 < np.abs(bias).max() <= 1 / 20
