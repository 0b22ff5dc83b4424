"""The plane of two features as the net sees it while it learns."""

import json
from typing import Any

import numpy as np

from mlp_xp.train import Recording, Snapshot, Trainer
from mlp_xp.viz.animation import boundary_figure

from .decisions import names, of_classes, threshold
from .plot import Plot, Toggle, shade
from .run import Run
from .words import is_number, number


def plane(run: Run, which: int, title: str) -> tuple[Plot, list[Toggle]] | None:
    """The plane and a legend of the training data; as it is at the end only, where there are no snapshots.

    None where there are not two features, or no classes. The page has a slider of its own, which keyboards reach.
    """
    trainer, X, target = run.trainer, run.results.get("train_x"), run.results.get("train_target")
    if trainer is None or X is None or target is None or X.ndim != 2 or X.shape[1] != 2 or not len(X):
        return None
    outputs = np.asarray(trainer.predict(X[:1])).shape[-1]
    labels = of_classes(target, outputs, trainer)
    if labels is None:
        return None
    recording = run.recording if run.recording.snapshots else Recording([], [end(trainer)])
    classes = names(run, max(outputs, 2))
    figure = boundary_figure(trainer, recording, X, labels, threshold=threshold(trainer), classes=classes)
    content = json.loads(figure.to_json())
    ground, *points = content["data"]
    layout = {axis: content["layout"][axis] for axis in ("xaxis", "yaxis")} | {"hovermode": "closest"}
    shape = aspect(layout)
    if "colorbar" in ground:  # above the plane, where it takes no width
        shape *= 0.8
        ground["colorbar"] |= {"orientation": "h", "yanchor": "bottom", "y": 1.02, "thickness": 10}
        ground["colorbar"]["title"]["side"] = "top"
    legend = []
    for place, (name, trace) in enumerate(zip(classes, points, strict=True)):
        trace["meta"] = {"keys": [f"class-{which}-{place}"]}
        legend.append(Toggle(f"class-{which}-{place}", name, shade(place), "", trace["marker"]["symbol"]))
    moments = [frame["layout"]["title"]["text"] for frame in content["frames"]]
    frames = [frame["data"] for frame in content["frames"]] if len(moments) > 1 else []
    rows = run.about.get("data", {}).get("training rows")
    some = f"{len(X):,} of the {number(rows)} rows of " if is_number(rows) and rows > len(X) else ""
    words = (
        f"The ground is the class that the net decides on, the marks are {some}the training data. At the end, "
        f"{moments[-1]}."
    )
    words += f" At the start, {moments[0]}." if frames else ""
    return Plot(f"plane-{which}", title, words, content["data"], layout, shape, None, frames, moments), legend


def end(trainer: Trainer) -> Snapshot:
    return Snapshot(trainer.step, float(trainer.epoch), trainer.inference_parameters)


def aspect(layout: dict[str, Any]) -> float:
    """Width over height: of the plane where both axes have one scale, else of a square."""
    if "scaleanchor" not in layout["yaxis"]:
        return 1.0
    (left, right), (low, high) = layout["xaxis"]["range"], layout["yaxis"]["range"]
    return round(min(max((right - left) / (high - low), 0.7), 1.6), 3)
