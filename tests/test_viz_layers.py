"""Pictures of what goes on in each layer: they show what was recorded, and every line can be told apart."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlp_xp import data, nn, optim, train, viz
from mlp_xp.viz.style import contrast

pytest.importorskip("matplotlib")
layers = sys.modules["mlp_xp.viz.layers"]
DEEP = nn.Sequential(
    nn.Linear(2, 8, bias_init=nn.Constant(1.0)), nn.ReLU(), nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 3)
)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that are saved."""
    figures: list[Any] = []
    save = layers.save
    monkeypatch.setattr(layers, "save", lambda figure, path: (figures.append(figure), save(figure, path)))
    return figures


def recorded(model: nn.Layer, epochs: int = 3, lr: float = 0.1) -> train.Recording:
    X, y, *_ = data.spiral()
    recorder = train.Recorder()
    trainer = train.Trainer(model, nn.SoftmaxCrossEntropy(), optim.SGD(lr), backend="numpy", dtype="float64")
    trainer.fit(X, y, epochs=epochs, batch_size=50, callbacks=recorder, progress=False)
    return recorder.recording


def titles(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_weights_grow_from_what_they_were_at_the_start(tmp_path: Path, drawn: list[Any]) -> None:
    recording = recorded(DEEP)
    viz.weight_growth(recording, tmp_path / "growth.png")
    (axes,) = drawn[0].axes
    _, *lines = axes.get_lines()  # the first one is the start
    lines, beside = lines[:3], lines[3:]
    start, end = recording.records[0]["layers"], recording.records[-1]["layers"]
    for line, index in zip(lines, (0, 2, 4), strict=True):
        sizes = [layers[index]["parameters"][f"{index}.weight"]["mean_abs"] for layers in (start, end)]
        assert line.get_ydata()[[0, -1]] == pytest.approx([1.0, sizes[1] / sizes[0]], rel=1e-14)
        np.testing.assert_array_equal(line.get_xdata(), [0, 1, 2, 3])
    named = {text.get_text().rpartition("  ")[0]: text for text in axes.texts}
    assert named.keys() == {"0 Linear(2, 8)", "2 Linear(8, 5)", "4 Linear(5, 3)"}
    assert len({str(line.get_color()) for line in lines}) == 3
    assert [line.get_linewidth() > 2 for line in lines] == [False, False, True]
    # What is written is dark, beside a piece of its line.
    pieces = {piece.get_ydata()[0]: piece.get_color() for piece in beside}
    for text, line in zip(named.values(), lines, strict=True):
        assert text.get_color() == "black" and pieces[text.get_position()[1]] is line.get_color()
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "mean |W| over its start")
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")


def test_only_matrices_grow(tmp_path: Path, drawn: list[Any]) -> None:
    """Scale has a weight for each feature, and what starts at 0 has nothing to be compared with."""
    model = nn.Sequential(nn.Scale(2), nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 3, weight_init=nn.Zeros()))
    viz.weight_growth(recorded(model), tmp_path / "growth.png")
    (axes,) = drawn[0].axes
    assert [text.get_text().rpartition("  ")[0] for text in axes.texts] == ["1 Linear(2, 8)"]
    assert axes.get_lines()[1].get_linewidth() < 2  # it is not the output layer
    assert axes.get_title() == "without 3 Linear(8, 3): started at 0"
    with pytest.raises(ValueError, match="no weight matrix that starts above 0"):
        viz.weight_growth(recorded(nn.Linear(2, 3, weight_init=nn.Zeros())), tmp_path / "growth.png")


def test_the_names_of_lines_do_not_overlap_and_move_least() -> None:
    from sklearn.isotonic import isotonic_regression

    heights = np.sort(np.random.default_rng(0).uniform(0.3, 0.6, 5))
    placed = layers._spread(heights, 0.06)
    gaps = 0.06 * np.arange(5)
    np.testing.assert_allclose(placed, isotonic_regression(heights - gaps) + gaps, rtol=1e-12)
    crowded = layers._spread(np.full(17, 0.999), 1 / 17)
    assert crowded[0] >= 0 and crowded[-1] <= 1 and np.diff(crowded) == pytest.approx(1 / 17)


def test_layer_statistics_show_every_layer_in_every_panel(tmp_path: Path, drawn: list[Any]) -> None:
    recording = recorded(DEEP)
    viz.layer_statistics(recording, tmp_path / "statistics.png")
    figure = drawn[0]
    labels = ["gradient dL/dy, root mean square", "standard deviation of outputs", "share of dead units"]
    assert [axes.get_ylabel() for axes in figure.axes] == labels
    for axes, what in zip(figure.axes, ("gradient", "std", "dead"), strict=True):
        for index, line in enumerate(axes.get_lines()):
            np.testing.assert_array_equal(line.get_ydata(), [r["layers"][index][what] for r in recording.records])
    assert figure.axes[0].get_yscale() == "log"
    assert titles(figure) == ["0 Linear(2, 8)", "1 ReLU", "2 Linear(8, 5)", "3 ReLU", "4 Linear(5, 3)"]
    assert [line.get_linestyle() for line in figure.axes[0].get_lines()] == ["-", "--", "-", "--", "-"]
    assert len({line.get_marker() for line in figure.axes[0].get_lines()}) == 5
    assert figure.get_size_inches()[0] < 14  # readable on a slide


def test_colours_by_depth_stand_out_from_white() -> None:
    assert min(contrast(colour, (1, 1, 1)) for colour in layers.by_depth(8)) > 2


def test_ticks_of_many_decades_do_not_crowd() -> None:
    for lowest in (1e-30, 1e-3, 0.03, 0.5):
        figure, (axes,) = layers.new_figure(width=3.8, height=3.6)
        axes.plot([lowest, 1.0])
        layers._logarithmic(axes)
        figure.draw_without_rendering()
        low, high = axes.get_ylim()
        ticks = [*axes.yaxis.get_major_ticks(), *axes.yaxis.get_minor_ticks()]
        shown = [tick for tick in ticks if low <= tick.get_loc() <= high and tick.label1.get_text()]
        assert 2 <= len(shown) <= 8


def test_every_net_of_a_profile_has_a_look_of_its_own(tmp_path: Path, drawn: list[Any]) -> None:
    entry = {"layer": "Linear(2, 2)", "gradient": 1.0, "std": 1.0, "parameters": {"0.weight": {}}}
    viz.layer_profile({f"net {number}": [entry] for number in range(10)}, tmp_path / "profile.png")
    lines = drawn[0].axes[0].get_lines()
    assert lines[7].get_color() == lines[0].get_color() and lines[7].get_linestyle() != lines[0].get_linestyle()
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 10


def test_a_dead_net_and_a_single_record_are_drawn(tmp_path: Path, drawn: list[Any]) -> None:
    """Where no unit lives, no gradient comes back: there is nothing to draw on a logarithmic axis."""
    dead = nn.Sequential(nn.Linear(2, 8, bias_init=nn.Constant(-100.0)), nn.ReLU(), nn.Linear(8, 3))
    recording = recorded(dead)
    recording.records = recording.records[:1]
    viz.layer_statistics(recording, tmp_path / "statistics.png")
    assert [line.get_ydata()[0] for line in drawn[0].axes[2].get_lines()] == [0, 1, 1]
    assert [line.get_marker() for line in drawn[0].axes[2].get_lines()] == ["o", "s", "^"]
    viz.weight_growth(recording, tmp_path / "growth.png")
    assert drawn[1].axes[0].get_lines()[1].get_marker() == "o"


def test_of_many_layers_some_are_named(tmp_path: Path, drawn: list[Any]) -> None:
    many = nn.Sequential(nn.Linear(2, 4), *[nn.Tanh() for _ in range(38)], nn.Linear(4, 3))
    viz.layer_statistics(recorded(many, epochs=1), tmp_path / "statistics.png")
    assert len(titles(drawn[0])) <= layers.LEGEND_ROWS + 1
    assert titles(drawn[0])[0] == "0 Linear(2, 4)" and titles(drawn[0])[-1] == "39 Linear(4, 3)"


def test_a_profile_compares_nets_at_the_layers_they_have_in_common(tmp_path: Path, drawn: list[Any]) -> None:
    X, y, *_ = data.spiral()
    normalised = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm(8), nn.ReLU(), nn.Linear(8, 3))
    nets = {"plain": DEEP, "normalised": normalised}
    seen = {
        name: train.inspect(train.Trainer(net, nn.SoftmaxCrossEntropy(), backend="numpy"), X, y)
        for name, net in nets.items()
    }
    viz.layer_profile(seen, tmp_path / "profile.png")
    for axes, what in zip(drawn[0].axes, ("gradient", "std"), strict=True):
        plain, other = axes.get_lines()
        np.testing.assert_array_equal(plain.get_xydata(), [(d + 1, seen["plain"][2 * d][what]) for d in range(3)])
        np.testing.assert_array_equal(other.get_ydata(), [seen["normalised"][index][what] for index in (0, 3)])
        assert plain.get_marker() != other.get_marker() and plain.get_color() != other.get_color()
        assert axes.get_xlabel() == "depth: layers with weights, from the input"
    assert drawn[0].axes[0].get_yscale() == "log" and titles(drawn[0]) == ["plain", "normalised"]


def test_what_was_not_recorded_is_an_error(tmp_path: Path) -> None:
    for picture in (viz.weight_growth, viz.layer_statistics):
        with pytest.raises(ValueError, match=r"the recording is empty: give train\.Recorder\(\) to fit"):
            picture(train.Recording(), tmp_path / "picture.png")
    with pytest.raises(ValueError, match="no layer with a weight matrix was inspected in no net"):
        viz.layer_profile({}, tmp_path / "picture.png")
    with pytest.raises(ValueError, match="no layer with a weight matrix was inspected in flat"):
        viz.layer_profile({"flat": [{"layer": "Scale(2)", "parameters": {"0.weight": {}}}]}, tmp_path / "picture.png")


def test_layers_are_named_without_how_they_start() -> None:
    assert (
        layers.in_brief("Linear(784, 64, weight_init=GlorotNormal(gain=2), bias_init=Constant(1))") == "Linear(784, 64)"
    )
    assert layers.in_brief("Linear(3, 4, bias=False)") == "Linear(3, 4, bias=False)"
    assert layers.in_brief("ReLU()") == "ReLU"
