"""Pictures: drawn without a display, complete, and refused where there is nothing to draw."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlp_xp import train, viz

pytest.importorskip("matplotlib")
HISTORY = train.History(
    [{"epoch": e, "loss": 1 / e, "val_loss": 1.1 / e, "accuracy": 1 - 0.5 / e} for e in range(1, 30)]
)
BEST = "best 0.03793 (epoch 29)"


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that are saved."""
    figures: list[Any] = []
    for module in (viz.curves, viz.boundary):
        save = module.save
        monkeypatch.setattr(
            module, "save", lambda figure, path, save=save: (figures.append(figure), save(figure, path))
        )
    return figures


def test_learning_curves_show_every_metric_with_labels(tmp_path: Path, drawn: list[Any]) -> None:
    viz.learning_curves(HISTORY, tmp_path / "curves.png")
    loss, accuracy = drawn[0].axes
    assert [axes.get_ylabel() for axes in (loss, accuracy)] == ["loss", "accuracy"]
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["training", "validation", BEST]
    np.testing.assert_array_equal(loss.get_lines()[1].get_ydata(), HISTORY["val_loss"])
    assert loss.get_yscale() == "log" and accuracy.get_yscale() == "linear"
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_several_runs_share_a_picture(tmp_path: Path, drawn: list[Any]) -> None:
    viz.learning_curves({"fast": HISTORY, "slow": HISTORY}, tmp_path / "curves.png", metrics=["loss"])
    (axes,) = drawn[0].axes
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == [f"{run}, {what}" for run in ("fast", "slow") for what in ("training", "validation", BEST)]
    colours = [line.get_color() for line in axes.get_lines()]
    assert colours[0] == colours[1] != colours[2] == colours[3]


def test_a_single_epoch_is_a_point(tmp_path: Path, drawn: list[Any]) -> None:
    viz.learning_curves(train.History(HISTORY.records[:1]), tmp_path / "curves.png")
    assert drawn[0].axes[0].get_lines()[0].get_marker() == "o"


def test_nothing_recorded_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="none of loss, accuracy was recorded"):
        viz.learning_curves(train.History(), tmp_path / "curves.png")


def test_losses_below_zero_are_drawn_within_the_axes(
    tmp_path: Path, drawn: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules["mlp_xp.viz.learning_rates"]
    monkeypatch.setattr(module, "save", lambda figure, path: drawn.append(figure))
    losses = (-1.0, -2.0, -3.0, 50.0)
    viz.learning_rates(train.LearningRateSearch((1e-3, 1e-2, 1e-1, 1.0), losses, losses), tmp_path / "rates.png")
    assert drawn[0].axes[0].get_ylim() == pytest.approx((-3.1, -0.9))  # 50 is divergence
    flat = (-1.0,) * 4
    viz.learning_rates(train.LearningRateSearch((1e-3, 1e-2, 1e-1, 1.0), flat, flat), tmp_path / "rates.png")
    assert drawn[1].axes[0].get_ylim() == pytest.approx((-1.05, -0.95))


def test_the_decision_boundary_is_where_the_prediction_changes(tmp_path: Path, drawn: list[Any]) -> None:
    X = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [1.0, 2.0]], np.float32)
    seen = []

    def right_of_a_quarter(grid: np.ndarray) -> np.ndarray:
        seen.append((grid.dtype, grid.min(0), grid.max(0)))
        return grid[:, :1] - 0.25

    share = viz.decision_boundary(right_of_a_quarter, X, np.array([0, 1, 0, 1]), tmp_path / "plane.png")
    dtype, low, high = seen[0]
    assert dtype == np.float32
    np.testing.assert_allclose([*low, *high], [-0.1, -0.1, 1.1, 2.1], rtol=1e-6)
    assert share == pytest.approx(0.85 / 1.2, abs=3e-3)
    labels = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert labels == ["class 0", "class 1"]
    axes = drawn[0].axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("feature 1", "feature 2")


def test_a_boundary_needs_two_features(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"over two features, X has shape \(3, 5\)"):
        viz.decision_boundary(lambda grid: grid, np.zeros((3, 5)), np.zeros(3), tmp_path / "plane.png")


def test_a_missing_matplotlib_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pictures need matplotlib .*pip install matplotlib"):
        viz.require_matplotlib()


def test_integer_features_many_classes_and_flat_predictions_are_drawn(tmp_path: Path, drawn: list[Any]) -> None:
    X = np.stack([np.arange(10), np.arange(10) ** 2], axis=1)
    viz.decision_boundary(lambda grid: -np.abs(grid[:, :1] - np.arange(10)), X, np.arange(10), tmp_path / "plane.png")
    assert len(drawn[0].legends[0].get_texts()) == 10
    share = viz.decision_boundary(lambda grid: grid[:, 0] - 4.5, X, np.arange(10) > 4, tmp_path / "plane.png")
    assert share == pytest.approx(0.5, abs=5e-3)
