"""The loss around trained weights: filter-normalised directions (Li et al., 2018), measured through a copy."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlp_xp import backends, data, nn, optim, train, viz

pytest.importorskip("matplotlib")
module = sys.modules["mlp_xp.viz.landscape"]
MODEL = nn.Sequential(nn.Linear(2, 6), nn.BatchNorm(6), nn.Tanh(), nn.Linear(6, 3))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that are saved."""
    figures: list[Any] = []
    save = module.save
    monkeypatch.setattr(module, "save", lambda figure, path: (figures.append(figure), save(figure, path)))
    return figures


def trained(optimizer: optim.Optimizer | None = None) -> train.Trainer:
    X, y, *_ = data.spiral()
    trainer = train.Trainer(MODEL, nn.SoftmaxCrossEntropy(), optimizer, backend="numpy", metrics=[train.Accuracy()])
    trainer.fit(X, y, epochs=2, batch_size=100, progress=False)
    return trainer


def test_the_middle_is_the_net_as_it_is(backend: backends.Backend) -> None:
    trainer = train.Trainer(MODEL, nn.SoftmaxCrossEntropy(), backend=backend, metrics=[train.Accuracy()])
    X, y, *_ = data.spiral()
    around = viz.landscape(trainer, X, y, cells=3, progress=False)
    assert around.loss == around.losses[1, 1] == trainer.evaluate(X, y)["loss"]
    assert np.unique(around.losses).size == 9


def test_the_trainer_stays_as_it_is() -> None:
    """With averaged weights too, which evaluate computes with, and which setting the parameters would forget."""
    trainer = trained(optim.EMA(optim.Adam(0.01), 0.9))
    X, y, *_ = data.spiral()
    before, step, records = trainer.copy_state(), trainer.step, list(trainer.history)
    around = viz.landscape(trainer, X, y, cells=3, progress=False)
    assert around.loss == trainer.evaluate(X, y)["loss"]
    for mine, kept in zip(
        (trainer.state.flat, trainer.state.buffers, *trainer.state.slots),
        (before.flat, before.buffers, *before.slots),
        strict=True,
    ):
        np.testing.assert_array_equal(mine, kept)
    assert trainer.step == step and list(trainer.history) == records


def test_what_goes_into_each_unit_has_the_norm_of_its_weights() -> None:
    trainer = trained()
    X, y, *_ = data.spiral()
    first, second = viz.landscape(trainer, X, y, cells=3, progress=False).directions
    assert first.keys() == second.keys() == {"0.weight", "3.weight"}  # no bias, and nothing of BatchNorm
    for name in first:
        weight = trainer.parameters[name].astype(float)
        for direction in (first[name], second[name]):
            for unit in range(weight.shape[1]):
                assert np.linalg.norm(direction[:, unit]) == pytest.approx(np.linalg.norm(weight[:, unit]), rel=1e-12)
        assert not np.allclose(first[name], second[name]) and not np.allclose(first[name], weight)


def test_before_they_are_scaled_directions_are_normal() -> None:
    """What is scaled to the norm sqrt(n) in n = 40,000 dimensions is nearly what it was: moments of N(0, 1)."""
    layout = nn.Layout(nn.Linear(40_000, 1))
    ones = {"weight": np.ones((40_000, 1)), "bias": np.ones((1, 1))}
    first, second = (module.filter_normalised(layout, ones, 0, number)["weight"][:, 0] for number in (1, 2))
    for d in (first, second):
        assert abs(d.mean()) < 0.02 and np.mean(d**4) == pytest.approx(3, abs=0.15)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.02


def test_the_squared_error_of_a_linear_model_is_a_quadratic() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(50, 4)), rng.normal(size=(50, 2))
    trainer = train.Trainer(nn.Linear(4, 2), nn.MeanSquaredError(), backend="numpy", dtype="float64")
    trainer.fit(X, y, epochs=3, progress=False)
    around = viz.landscape(trainer, X, y, cells=5, reach=2.0, progress=False)
    np.testing.assert_array_equal(around.steps, [-2, -1, 0, 1, 2])
    r = X @ trainer.parameters["weight"] + trainer.parameters["bias"] - y
    u, v = (X @ direction["weight"] for direction in around.directions)
    a, b = around.steps[None, :], around.steps[:, None]
    expected = (r * r).mean() + 2 * (a * (r * u).mean() + b * (r * v).mean() + a * b * (u * v).mean())
    expected = expected + a**2 * (u * u).mean() + b**2 * (v * v).mean()
    np.testing.assert_allclose(around.losses, expected, rtol=1e-12)


def test_the_seed_decides() -> None:
    trainer = trained()
    X, y, *_ = data.spiral()
    same, again, other = (viz.landscape(trainer, X, y, cells=3, seed=seed, progress=False) for seed in (1, 1, 2))
    np.testing.assert_array_equal(same.losses, again.losses)
    assert (same.losses != other.losses).sum() == 8  # all but the middle


def test_losses_that_are_not_finite_survive_and_are_marked(tmp_path: Path, drawn: list[Any]) -> None:
    X, y = np.ones((4, 3), np.float32), np.zeros((4, 1), np.float32)
    trainer = train.Trainer(nn.Linear(3, 1), nn.MeanSquaredError(), backend="numpy")
    around = viz.landscape(trainer, X, y, cells=3, reach=1e30, progress=False)
    finite = np.isfinite(around.losses)
    assert finite[1, 1] and finite.sum() == 1
    viz.loss_contour(around, tmp_path / "contour.png")
    assert "loss not finite" in [text.get_text() for text in drawn[0].legends[0].get_texts()]
    viz.loss_surface(around, tmp_path / "surface.png")
    nowhere = viz.Landscape(around.steps, np.full((3, 3), np.nan), around.directions)
    for picture in (viz.loss_contour, viz.loss_surface):
        with pytest.raises(ValueError, match="no loss of the landscape is finite: give a smaller reach"):
            picture(nowhere, tmp_path / "picture.png")


def bowl(height: float) -> viz.Landscape:
    steps = np.linspace(-1, 1, 11)
    return viz.Landscape(steps, 0.01 + height * (steps**2 + 2 * steps[:, None] ** 2), ({}, {}))


def test_the_contour_is_labelled_and_marks_the_trained_net(tmp_path: Path, drawn: list[Any]) -> None:
    viz.loss_contour(bowl(1.0), tmp_path / "contour.png")
    axes, bar = drawn[0].axes
    assert axes.get_xlabel() == "first direction, in norms of the weights"
    assert axes.get_ylabel() == "second direction, in norms of the weights"
    assert bar.get_ylabel() == "loss"
    assert [text.get_text() for text in drawn[0].legends[0].get_texts()] == ["trained net, loss 0.01"]
    np.testing.assert_array_equal(axes.collections[-1].get_offsets(), [[0, 0]])
    levels = axes.collections[0].levels
    assert levels[[0, -1]] == pytest.approx([0.01, 3.01]) and np.ptp(levels[1:] / levels[:-1]) < 1e-12
    viz.loss_contour(bowl(0.01), tmp_path / "contour.png")
    assert np.ptp(np.diff(drawn[1].axes[0].collections[0].levels)) < 1e-12  # here a logarithm says nothing more


def test_the_share_of_the_plane_below_a_level_counts_finite_losses() -> None:
    around = viz.Landscape(np.array([-1.0, 0, 1]), np.array([[1, 2, np.nan], [0, 0.5, 3], [np.inf, 4, 5]]), ({}, {}))
    assert around.share_below(2.0) == pytest.approx(3 / 9) and around.share_below(10.0) == pytest.approx(7 / 9)


def test_a_flat_landscape_is_drawn(tmp_path: Path) -> None:
    for picture in (viz.loss_contour, viz.loss_surface):
        picture(bowl(0.0), tmp_path / "flat.png")
        assert (tmp_path / "flat.png").read_bytes().startswith(b"\x89PNG")


def test_the_surface_is_as_high_as_the_loss(tmp_path: Path, drawn: list[Any]) -> None:
    viz.loss_surface(bowl(0.01), tmp_path / "surface.png")
    viz.loss_surface(bowl(1.0), tmp_path / "surface.svg")
    assert [figure.axes[0].get_zlabel() for figure in drawn] == ["loss", "loss, log10"]
    low, high = drawn[1].axes[0].get_zlim()
    assert low < -2 and np.log10(3.01) < high < 1
    stem = drawn[1].axes[0].get_lines()[0].get_data_3d()
    assert stem[2] == pytest.approx([-2, np.log10(3.01)]) and not np.any(stem[:2])
    assert b"<svg" in (tmp_path / "surface.svg").read_bytes()


def test_a_surface_to_turn_is_a_page_that_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("plotly")
    pages: list[Any] = []
    save_html = module.save_html
    monkeypatch.setattr(module, "save_html", lambda page, path: (pages.append(page), save_html(page, path)))
    around = bowl(1.0)
    around.losses[0, 0] = np.inf
    viz.loss_surface(around, tmp_path / "surface.html")
    page = (tmp_path / "surface.html").read_text()
    assert "plotly.js v" in page and "<script src=" not in page
    surface, star = pages[0].data
    heights = np.where(np.isfinite(around.losses), np.log10(around.losses), np.nan)
    np.testing.assert_allclose(np.array(surface.z, float), heights, rtol=1e-14)
    assert (star.x, star.y, star.z[0]) == ((0,), (0,), pytest.approx(-2))
    assert pages[0].layout.scene.zaxis.title.text == "loss, log10"


def test_a_missing_plotly_is_named_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "plotly", None)
    with pytest.raises(ImportError, match=r"plotly .*pip install plotly"):
        viz.loss_surface(bowl(1.0), tmp_path / "surface.html")


def test_settings_that_make_no_sense_are_refused() -> None:
    trainer = train.Trainer(MODEL, nn.SoftmaxCrossEntropy(), backend="numpy")
    X, y, *_ = data.spiral()
    for cells in (1, 4, 5.0):
        with pytest.raises(ValueError, match=rf"landscape\(cells={cells}\): give an odd number from 3 on"):
            viz.landscape(trainer, X, y, cells=cells)  # type: ignore[arg-type]
    for reach in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=rf"landscape\(reach={reach}\): give a finite number above 0"):
            viz.landscape(trainer, X, y, reach=reach)
