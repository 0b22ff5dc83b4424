"""The classified plane while a net learns: every snapshot as the net saw it, in a file that needs nothing else."""

import base64
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlp_xp import data, nn, optim, train, viz
from mlp_xp.viz.style import COLOURS, SYMBOLS

go = pytest.importorskip("plotly.graph_objects")
CELLS = 9


def recorded(outputs: int, loss: nn.Loss, X: Any, y: Any) -> tuple[train.Trainer, train.Recording]:
    recorder = train.Recorder(every=2, snapshots=True)
    model = nn.Sequential(nn.Linear(X.shape[1], 5), nn.Tanh(), nn.Linear(5, outputs))
    trainer = train.Trainer(model, loss, optim.Adam(0.1), backend="numpy", seed=1)
    trainer.fit(X, y, epochs=5, batch_size=None, callbacks=[recorder], progress=False)
    return trainer, recorder.recording


@pytest.fixture(scope="module")
def spiral() -> tuple[Any, ...]:
    X, y, *_ = data.spiral()
    return *recorded(3, nn.SoftmaxCrossEntropy(), X, y), X, y


@pytest.fixture(scope="module")
def xor() -> tuple[Any, ...]:
    X, y = data.xor()
    return *recorded(1, nn.SigmoidBinaryCrossEntropy(), X, y), X, y


def outputs_of(trainer: train.Trainer, parameters: dict[str, Any], rows: np.ndarray) -> np.ndarray:
    """A net of two linear layers with tanh between them, by its formula."""
    h = np.tanh(rows @ parameters["0.weight"] + parameters["0.bias"])
    return h @ parameters["2.weight"] + parameters["2.bias"]


def grid_of(figure: Any) -> np.ndarray:
    plane = figure.data[0]
    return np.stack(np.meshgrid(plane.x, plane.y), axis=-1).reshape(-1, 2)


def test_every_snapshot_has_a_frame_with_the_classes_it_saw(spiral: tuple[Any, ...]) -> None:
    trainer, recording, X, y = spiral
    figure = viz.boundary_figure(trainer, recording, X, y, cells=CELLS, title="spirals")
    assert len(figure.frames) == len(recording.snapshots) == 4
    rows = grid_of(figure)
    for frame, snapshot in zip(figure.frames, recording.snapshots, strict=True):
        expected = outputs_of(trainer, snapshot.parameters, rows).argmax(axis=1).reshape(CELLS, CELLS)
        (plane,) = frame.data
        assert (frame.name, frame.traces) == (str(snapshot.step), (0,)) and plane.z.dtype == np.uint8
        np.testing.assert_array_equal(plane.z, expected)
        right = 100 * np.mean(outputs_of(trainer, snapshot.parameters, X).argmax(axis=1) == y)
        assert frame.layout.title.text == f"spirals<br>epoch {snapshot.epoch:g}: {right:.1f} % of the points right"
    assert len({frame.data[0].z.tobytes() for frame in figure.frames}) > 1  # it learns
    np.testing.assert_array_equal(figure.data[0].z, figure.frames[-1].data[0].z)  # at first the end is seen
    assert figure.layout.title.text == figure.frames[-1].layout.title.text


def test_one_output_is_shown_as_a_probability(xor: tuple[Any, ...]) -> None:
    trainer, recording, X, y = xor
    figure = viz.boundary_figure(trainer, recording, X, y, cells=CELLS, classes=["false", "true"])
    z = outputs_of(trainer, recording.snapshots[-1].parameters, grid_of(figure))[:, 0].astype(float)
    plane = figure.data[0]
    np.testing.assert_allclose(np.ravel(plane.z), 100 / (1 + np.exp(-z)), atol=0.51)
    assert plane.z.dtype == np.uint8 and (plane.zmin, plane.zmax) == (0, 100)
    assert plane.colorbar.title.text == "probability of true [%]"
    assert plane.colorscale[1] == (0.5, "#FFFFFF")  # where both are as likely
    probabilities = viz.boundary_figure(trainer, recording, X, y, cells=CELLS, threshold=0.25)
    np.testing.assert_allclose(np.ravel(probabilities.data[0].z), 100 * np.clip(z, 0, 1), atol=0.51)
    assert probabilities.data[0].colorscale[1] == (0.25, "#FFFFFF")


def test_the_points_lie_on_top_with_a_symbol_and_a_name_for_each_class(spiral: tuple[Any, ...]) -> None:
    trainer, recording, X, y = spiral
    figure = viz.boundary_figure(trainer, recording, X, y, cells=CELLS, names=["across", "up"])
    for number, points in enumerate(figure.data[1:]):
        np.testing.assert_allclose(np.stack([points.x, points.y], axis=1), X[y == number], rtol=1e-6)
        assert (points.marker.color, points.marker.symbol) == (COLOURS[number], SYMBOLS[number])
        assert points.name == f"class {number}"
    assert number == 2
    assert (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text) == ("across", "up")
    assert figure.layout.yaxis.scaleanchor == "x"


def test_a_name_is_never_taken_for_an_order(xor: tuple[Any, ...]) -> None:
    name = '<a href="https://example.org">R&D</a> %{x}'
    shown = '&lt;a href="https://example.org">R&amp;D&lt;/a> &#37;{x}'
    trainer, recording, X, y = xor
    figure = viz.boundary_figure(
        trainer, recording, X, y, cells=CELLS, title=name, names=[name, "up"], classes=["no", name]
    )
    plane, no, yes = figure.data
    assert plane.colorbar.title.text == f"probability of {shown} [%]"
    assert plane.hovertemplate == f"%{{x:.3g}}, %{{y:.3g}}: %{{z}} % {shown}<extra></extra>"
    assert (no.name, yes.name) == ("no", shown)
    assert yes.hovertemplate == f"%{{x:.3g}}, %{{y:.3g}}: {shown}<extra></extra>"
    assert figure.layout.title.text.startswith(f"{shown}<br>epoch")
    assert (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text) == (shown, "up")


def test_the_slider_and_the_buttons_go_to_the_snapshots(spiral: tuple[Any, ...]) -> None:
    trainer, recording, X, y = spiral
    figure = viz.boundary_figure(trainer, recording, X, y, cells=CELLS)
    (slider,) = figure.layout.sliders
    assert [[*step.args[0]] for step in slider.steps] == [[frame.name] for frame in figure.frames]
    assert [step.label for step in slider.steps] == ["0", "2", "4", "5"] and slider.currentvalue.prefix == "epoch "
    assert slider.active == 3
    play, pause = figure.layout.updatemenus[0].buttons
    assert (play.label, play.args[0], pause.label, [*pause.args[0]]) == ("Play", None, "Pause", [None])
    assert play.args[1]["frame"] == {"duration": 500.0, "redraw": True}


def test_of_more_features_a_plane_is_shown(xor: tuple[Any, ...]) -> None:
    X = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    y = (X[:, 2] > 0).astype(int)
    trainer, recording = recorded(2, nn.SoftmaxCrossEntropy(), X, y)
    figure = viz.boundary_figure(trainer, recording, X, y, cells=CELLS, features=(2, 0))
    rows = np.tile(X.mean(axis=0), (CELLS * CELLS, 1))
    rows[:, [2, 0]] = grid_of(figure)
    expected = outputs_of(trainer, recording.snapshots[-1].parameters, rows).argmax(axis=1)
    np.testing.assert_array_equal(np.ravel(figure.data[0].z), expected)
    assert figure.layout.xaxis.title.text == "feature 3"
    figure = viz.boundary_figure(trainer, recording, X, y, cells=CELLS, features="pca")
    assert figure.layout.xaxis.title.text.startswith("principal component 1")
    with pytest.raises(ValueError, match=r"over two features, X has shape \(30, 4\); choose a plane"):
        viz.boundary_figure(trainer, recording, X, y)


def test_the_trainer_is_left_as_it_was(spiral: tuple[Any, ...]) -> None:
    trainer, recording, X, y = spiral
    before = trainer.parameters, trainer.step
    viz.boundary_figure(trainer, recording, X, y, cells=CELLS)
    assert trainer.step == before[1]
    for name, value in trainer.parameters.items():
        np.testing.assert_array_equal(value, before[0][name])


def test_the_file_needs_no_network_and_is_small(spiral: tuple[Any, ...], tmp_path: Path) -> None:
    trainer, recording, X, y = spiral
    path = tmp_path / "spiral.html"
    viz.boundary_animation(trainer, recording, X, y, path, cells=80)
    html = path.read_text(encoding="utf-8")
    assert "<script src=" not in html and "<link" not in html and "Plotly.newPlot" in html
    assert '"showSendToCloud": false' in html  # and sends nothing away
    assert ".animate(" not in html.partition("Plotly.addFrames(")[2]  # it does not move by itself
    library = len(__import__("plotly").offline.get_plotlyjs())
    assert len(html) < library + 4 * 80 * 80 * 1.5 + 40_000  # a byte for each cell, in base64
    z = np.asarray(viz.boundary_figure(trainer, recording, X, y).frames[1].data[0].z)
    assert base64.b64encode(z.tobytes()).decode() in html.replace("\\u002f", "/")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recording": train.Recording()}, r"no snapshots to animate; record with train.Recorder\(snapshots=True\)"),
        ({"path": "a.png"}, "what moves is written as html, not as a.png"),
        ({"threshold": 1.0}, r"threshold=1.0\): 0 for logits, or less than 1 for probabilities"),
        ({"labels": [0, 1]}, r"there are 4 rows, and labels of shape \(2,\)"),
        ({"classes": ["a", "b", "c"]}, "there are 2 classes, and names for 3"),
    ],
)
def test_what_cannot_be_animated_is_said_in_words(
    xor: tuple[Any, ...], tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    trainer, recording, X, labels = xor
    given = {"recording": recording, "labels": labels, "path": "a.html"} | options
    path = tmp_path / given.pop("path")
    with pytest.raises(ValueError, match=message):
        viz.boundary_animation(trainer, given.pop("recording"), X, given.pop("labels"), path, cells=CELLS, **given)


def test_a_missing_plotly_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch, xor: tuple[Any, ...]) -> None:
    monkeypatch.setitem(sys.modules, "plotly", None)
    with pytest.raises(ImportError, match=r"pictures that move need plotly .*pip install plotly"):
        viz.boundary_figure(*xor)


def test_signs_are_the_classes_of_one_output(xor: tuple[Any, ...]) -> None:
    trainer, recording, X, y = xor
    numbers, signs = (
        viz.boundary_figure(trainer, recording, X, labels, cells=CELLS) for labels in (y, 2 * np.asarray(y) - 1)
    )
    for mine, other in zip(numbers.data[1:], signs.data[1:], strict=True):
        np.testing.assert_array_equal(mine.x, other.x)
    assert numbers.layout.title.text == signs.layout.title.text and numbers.data[1].marker.size == 20


def test_a_snapshot_that_gives_nan_is_refused(spiral: tuple[Any, ...]) -> None:
    trainer, recording, X, y = spiral
    broken = {name: np.full_like(value, np.nan) for name, value in recording.snapshots[-1].parameters.items()}
    diverged = train.Recording([], [train.Snapshot(1, 1.0, broken)])
    with pytest.raises(ValueError, match="some outputs are NaN: the model has diverged"):
        viz.boundary_figure(trainer, diverged, X, y, cells=CELLS)
