"""The classified plane while the net learns, as a picture that moves."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .labels import class_labels, class_names
from .outputs import decided
from .plane import Plane
from .style import COLOURS, MARKERS, SYMBOLS, ground, look, pale, require_plotly, save_html, verbatim

if TYPE_CHECKING:
    from mlp_xp.train import Recording, Trainer

CELLS = 80
"""Cells along each side of the plane: few, as every snapshot has a plane of its own in the file."""
SECONDS = 6.0
"""What it takes to play all snapshots, unless they are so few or many that each would stay long or pass unseen."""


def boundary_animation(
    trainer: "Trainer", recording: "Recording", X: np.ndarray, labels: np.ndarray, path: str | Path, **options: Any
) -> None:
    """Write `boundary_figure`, with the same options, into the file `path` (html), which opens without a network."""
    if Path(path).suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"what moves is written as html, not as {Path(path).name}")
    save_html(boundary_figure(trainer, recording, X, labels, **options), path)


def boundary_figure(
    trainer: "Trainer",
    recording: "Recording",
    X: np.ndarray,
    labels: np.ndarray,
    *,
    threshold: float = 0.0,
    margin: float | None = None,
    title: str = "",
    features: tuple[int, int] | str | None = None,
    names: Sequence[Any] | None = None,
    classes: Sequence[Any] | None = None,
    cells: int = CELLS,
) -> Any:
    """A plotly figure of the classified plane at each snapshot of the recording, with a slider and a play button.

    The points are X (rows, 2) of integer `labels` (rows,); the options are those of `decision_boundary`. At first the
    last snapshot is seen, which is also what is printed. Several outputs show the class that wins. One output shows the
    probability of class 1, in steps of a hundredth: the sigmoid of the output where the threshold is 0, as it is for
    logits, else the output itself.

    The recording needs snapshots: `train.Recorder(snapshots=True)`. It computes with a copy of the trainer.
    """
    require_plotly()
    import plotly.graph_objects as go

    if not recording.snapshots:
        raise ValueError("the recording has no snapshots to animate; record with train.Recorder(snapshots=True)")
    if not 0 <= threshold < 1:
        raise ValueError(f"boundary_figure(threshold={threshold!r}): 0 for logits, or less than 1 for probabilities")
    plane = Plane.through(X, features, names, margin)
    across, up, rows = plane.grid(cells)
    viewer = trainer.to(trainer.backend)
    seen, classes_seen, points_seen = [], [], []
    for snapshot in recording.snapshots:
        viewer.parameters = snapshot.parameters
        seen.append(np.asarray(viewer.predict(rows)).reshape(len(rows), -1))
        classes_seen.append(decided(seen[-1], threshold))
        points_seen.append(decided(viewer.predict(np.asarray(X)), threshold))
    outputs = seen[0].shape[1]
    labels = class_labels(labels, len(plane.points), signs=outputs == 1)
    right = [np.mean(classified == labels) for classified in points_seen]
    count = max(outputs, 2, int(labels.max()) + 1)
    called = [verbatim(name) for name in class_names(classes, count, "class ")]

    if outputs == 1:
        shown = [_percent(values[:, 0], threshold) for values in seen]
        ground = _of_probability(called[1], 50 if threshold == 0 else 100 * threshold)
    else:
        shown = [values.astype(np.uint8) for values in classes_seen]
        ground = _of_classes(count)
    shown = [values.reshape(cells, cells) for values in shown]
    above = f"{verbatim(title)}<br>" if title else ""
    titles = [
        f"{above}epoch {snapshot.epoch:.4g}: {100 * share:.1f} % of the points right"
        for snapshot, share in zip(recording.snapshots, right, strict=True)
    ]
    moments = [str(snapshot.step) for snapshot in recording.snapshots]
    figure = go.Figure(
        data=[
            go.Heatmap(x=across.astype(np.float32), y=up.astype(np.float32), z=shown[-1], **ground),
            *(go.Scatter(**_points(plane, labels, number, called[number])) for number in range(count)),
        ],
        frames=[
            go.Frame(data=[go.Heatmap(z=z)], traces=[0], name=moment, layout={"title": {"text": text}})
            for z, moment, text in zip(shown, moments, titles, strict=True)
        ],
    )
    pause = 1000 * float(np.clip(SECONDS / len(shown), 0.05, 0.5))
    figure.update_layout(
        title={"text": titles[-1], "font": {"size": 16}, "yref": "container", "y": 0.98, "yanchor": "top"},
        template="plotly_white",
        font={"size": 14},
        margin={"l": 60, "r": 20, "t": 90, "b": 20},
        height=680,
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0.0} if count <= 4 else {},
        sliders=[_slider(recording, moments)],
        updatemenus=[_buttons(pause)],
    )
    x, y = ([float(plane.low[i]), float(plane.high[i])] for i in (0, 1))
    still: dict[str, Any] = {"zeroline": False, "showgrid": False, "ticks": "outside", "constrain": "domain"}
    figure.update_xaxes(title=verbatim(plane.axes[0]), range=x, **still)
    figure.update_yaxes(title=verbatim(plane.axes[1]), range=y, **still)
    if plane.equal:
        figure.update_yaxes(scaleanchor="x", constraintoward="top")
    return figure


def _percent(values: np.ndarray, threshold: float) -> np.ndarray:
    values = values.astype(float)
    p = np.exp(-np.logaddexp(0, -values)) if threshold == 0 else np.clip(values, 0, 1)
    return np.round(100 * p).astype(np.uint8)


def _of_probability(name: str, middle: float) -> dict[str, Any]:
    """White where both classes are as likely as the other, towards the colour of each."""
    scale = [(0, pale(COLOURS[0], 0.6)), (middle / 100, "#FFFFFF"), (1, pale(COLOURS[1], 0.6))]
    return {
        "colorscale": scale,
        "zmin": 0,
        "zmax": 100,
        "zsmooth": "best",
        "colorbar": {"title": {"text": f"probability of {name} [%]", "side": "right"}, "thickness": 14, "len": 0.8},
        "hovertemplate": f"%{{x:.3g}}, %{{y:.3g}}: %{{z}} % {name}<extra></extra>",
    }


def _of_classes(count: int) -> dict[str, Any]:
    """A pale ground of one colour for each class: the legend of the points says which."""
    scale = [(edge / count, ground(number)) for number in range(count) for edge in (number, number + 1)]
    return {"colorscale": scale, "zmin": -0.5, "zmax": count - 0.5, "showscale": False, "hoverinfo": "skip"}


def _points(plane: Plane, labels: np.ndarray, number: int, name: str) -> dict[str, Any]:
    colour, marker = look(number)
    x, y = plane.points[labels == number].astype(np.float32).T
    # Many points are drawn small, and the few of a truth table can be seen from afar.
    size = float(max(np.clip(150 / np.sqrt(len(labels)), 5, 14), min(40 / np.sqrt(len(labels)), 20)))
    line = {"color": "white", "width": 0.8}
    return {
        "x": x,
        "y": y,
        "mode": "markers",
        "name": name,
        "marker": {"color": colour, "symbol": SYMBOLS[MARKERS.index(marker)], "size": size, "line": line},
        "hovertemplate": f"%{{x:.3g}}, %{{y:.3g}}: {name}<extra></extra>",
    }


def _go_to(which: Any, pause: float) -> list[Any]:
    frame = {"duration": pause, "redraw": True}
    return [which, {"frame": frame, "transition": {"duration": 0}, "mode": "immediate", "fromcurrent": True}]


def _slider(recording: "Recording", moments: list[str]) -> dict[str, Any]:
    return {
        "active": len(moments) - 1,
        "currentvalue": {"prefix": "epoch "},
        "pad": {"t": 50},
        "steps": [
            {"label": f"{snapshot.epoch:.4g}", "method": "animate", "args": _go_to([moment], 0)}
            for snapshot, moment in zip(recording.snapshots, moments, strict=True)
        ],
    }


def _buttons(pause: float) -> dict[str, Any]:
    return {
        "type": "buttons",
        "direction": "left",
        "showactive": False,
        "x": 0.0,
        "xanchor": "left",
        "y": 0.0,
        "yanchor": "top",
        "pad": {"t": 140},  # below the slider: on a phone there is no room beside it
        "buttons": [
            {"label": "Play", "method": "animate", "args": _go_to(None, pause)},
            {"label": "Pause", "method": "animate", "args": _go_to([None], 0)},
        ],
    }
