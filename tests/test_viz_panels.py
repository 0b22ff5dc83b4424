"""Many nets beside each other: every panel has its name, all have the same axes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlp_xp import train, viz
from mlp_xp.viz import panels

pytest.importorskip("matplotlib")
STEPS = np.linspace(-1.0, 1.0, 5)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that are saved."""
    figures: list[Any] = []
    save = panels.save
    monkeypatch.setattr(panels, "save", lambda figure, path: (figures.append(figure), save(figure, path)))
    return figures


def history(*values: float) -> train.History:
    return train.History([{"epoch": number, "val_accuracy": value} for number, value in enumerate(values, start=1)])


def plane(losses: np.ndarray) -> viz.Landscape:
    return viz.Landscape(STEPS, losses, ({}, {}))


def test_each_name_has_a_panel_with_the_mean_of_its_runs_and_all_others_behind(
    tmp_path: Path, drawn: list[Any]
) -> None:
    runs = {"slow": [history(0.1, 0.2, 0.3), history(0.3, 0.4)], "quick": [history(0.5, 0.9)]}
    runs |= {name: [history(0.2, 0.2)] for name in ("a", "b", "c", "d")}
    viz.learning_curve_panels(runs, tmp_path / "panels.png", label="test accuracy")
    (figure,) = drawn
    assert [axes.get_title() for axes in figure.axes] == ["slow  0.3", "quick  0.9", *(f"{n}  0.2" for n in "abcd")]
    *others, own = figure.axes[0].get_lines()
    assert len(others) == 6
    np.testing.assert_allclose(own.get_xydata(), [[1, 0.2], [2, 0.3]])  # as far as both runs got
    (band,) = figure.axes[0].collections
    assert band.get_paths()[0].get_extents().bounds == pytest.approx((1, 0.1, 1, 0.3))
    assert len({(axes.get_xlim(), axes.get_ylim()) for axes in figure.axes}) == 1
    assert (figure.get_supxlabel(), figure.get_supylabel()) == ("epoch", "test accuracy")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "mean of the runs",
        "from the lowest to the highest run",
        "mean of the others",
        "after each name: the value at the end",
    ]
    assert (tmp_path / "panels.png").read_bytes().startswith(b"\x89PNG")


def test_what_spans_magnitudes_is_drawn_on_a_logarithm(tmp_path: Path, drawn: list[Any]) -> None:
    viz.learning_curve_panels({"one": [history(1.0, 0.001)]}, tmp_path / "panels.png")
    viz.learning_curve_panels({"one": [history(0.7)]}, tmp_path / "panels.png")
    assert [figure.axes[0].get_yscale() for figure in drawn] == ["log", "linear"]
    assert drawn[1].axes[0].get_lines()[-1].get_marker() == "o"  # a single epoch
    assert [text.get_text() for text in drawn[1].legends[0].get_texts()][:-1] == ["run"]  # no band and no others


def test_landscapes_share_a_scale_and_say_how_much_lies_below_a_level(tmp_path: Path, drawn: list[Any]) -> None:
    bowl = 0.01 + STEPS[:, None] ** 2 + STEPS**2
    nets = {"flat": plane(bowl), "steep": plane(100 * bowl), "broken": plane(bowl * np.nan)}
    viz.loss_contour_panels(nets, tmp_path / "nets.png", level=0.4)
    *axes, bar = drawn[0].axes
    assert [each.get_title().split("\n") for each in axes] == [
        ["flat", "20.0% below 0.4"],
        ["steep", "0.0% below 0.4"],
        ["broken", "0.0% below 0.4"],
    ]
    assert bar.get_ylabel() == "loss" and bar.get_yscale() == "log"
    assert drawn[0].get_supxlabel().startswith("first direction")


@pytest.mark.parametrize(
    ("draw", "data", "message"),
    [
        (viz.learning_curve_panels, {}, "there are no runs to draw"),
        (viz.learning_curve_panels, {"one": [history()]}, "one has no run with an epoch"),
        (viz.learning_curve_panels, {"one": [history(float("nan"))]}, "no value of 'val_accuracy' is finite"),
        (viz.loss_contour_panels, {}, "there are no landscapes"),
        (viz.loss_contour_panels, {"one": plane(np.full((5, 5), np.inf))}, "give a smaller reach"),
    ],
)
def test_nothing_to_draw_is_an_error(draw: Any, data: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        draw(data, tmp_path / "panels.png")
