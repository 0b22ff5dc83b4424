"""The plane as a classifier sees it: of two features, or a plane through more of them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .labels import class_labels, class_names
from .outputs import decided
from .plane import Plane
from .style import ground, look, new_figure, save

CELLS = 400
"""Cells along each side of the plane."""


def decision_boundary(
    predict: Callable[[np.ndarray], Any],
    X: np.ndarray,
    labels: np.ndarray,
    path: str | Path,
    *,
    threshold: float = 0.0,
    margin: float | None = None,
    title: str = "",
    features: tuple[int, int] | str | None = None,
    names: Sequence[Any] | None = None,
    classes: Sequence[Any] | None = None,
) -> float:
    """Draw the classified plane with the points X (rows, 2) of integer `labels` (rows,) into the picture file `path`.

    `predict` maps (n, 2) to (n, outputs), as NumPy: several outputs are classes, of which the largest wins; one output
    says class 1 above `threshold`. The plane reaches `margin` beyond the points, in units of the features; None is 0.1.
    `names` are those of the features, `classes` those of the classes. Gives the share of the plane that is not class 0.

    Of an X with more features a plane is drawn, and `predict` is asked in all of them: that of `features=(i, j)`, where
    the others stay at their mean, or with features="pca" that of the principal components. A point is then drawn where
    it lies on the plane, and may be of another class than the plane under it although it is classified rightly. Where
    margin is None, such a plane reaches a twentieth of the points' width beyond them.
    """
    plane = Plane.through(X, features, names, margin)
    labels = class_labels(labels, len(plane.points))
    across, up, rows = plane.grid(CELLS)
    predicted = decided(predict(rows), threshold)
    count = max(int(predicted.max()), int(labels.max())) + 1
    called = class_names(classes, count if classes is None else max(count, len(classes)), "class ")

    figure, (axes,) = new_figure(1, width=6.2, height=5.0)
    shades = [ground(number) for number in range(count)]
    levels = np.arange(count + 1) - 0.5
    axes.contourf(across, up, predicted.reshape(CELLS, CELLS), levels=levels, colors=shades)
    size = np.clip(18_000 / len(labels), 6, 36)  # many points are drawn small
    for number in range(count):
        colour, marker = look(number)
        points = plane.points[labels == number].T
        style: dict[str, Any] = {"color": colour, "marker": marker, "label": called[number]}
        axes.scatter(*points, s=size, linewidth=0.6, edgecolor="white", **style)
    xlim, ylim = zip(plane.low, plane.high, strict=True)
    axes.set(xlabel=plane.axes[0], ylabel=plane.axes[1], title=title, xlim=xlim, ylim=ylim)
    axes.set_aspect("equal" if plane.equal else "auto")
    # Beside the plane, where it hides no point.
    figure.legend(loc="outside right upper", markerscale=6 / np.sqrt(size))
    save(figure, path)
    return float((predicted != 0).mean())
