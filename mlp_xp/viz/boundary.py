"""The plane as a classifier sees it: of two features, or a plane through more of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
    says class 1 above `threshold`, and labels may then be -1 and 1 too, for the classes 0 and 1. The plane reaches
    `margin` beyond the points, in units of the features; None is 0.1. `names` are those of the features, `classes`
    those of the classes. Gives the share of the plane that is not class 0.

    Of an X with more features a plane is drawn, and `predict` is asked in all of them: that of `features=(i, j)`, where
    the others stay at their mean, or with features="pca" that of the principal components. A point is then drawn where
    it lies on the plane, and may be of another class than the plane under it although it is classified rightly. Where
    margin is None, such a plane reaches a twentieth of the points' width beyond them.
    """
    view = _View.of(predict, X, labels, threshold, Plane.through(X, features, names, margin), title)
    called = _called([view], classes)
    figure, (axes,) = new_figure(1, width=6.2, height=5.0)
    _draw(axes, view, called)
    _legend(figure, axes, view, loc="outside right upper")
    save(figure, path)
    return float((view.classes != 0).mean())


def decision_boundary_panels(
    nets: Mapping[str, Callable[[np.ndarray], Any]],
    X: np.ndarray,
    labels: np.ndarray,
    path: str | Path,
    *,
    classes: Sequence[Any] | None = None,
    threshold: float = 0.0,
    columns: int = 3,
) -> None:
    """Draw what several nets make of the same points X (rows, 2), a panel for each name, into the picture file `path`.

    `nets` are the functions that `decision_boundary` takes, by what stands above their panels.
    """
    if not nets:
        raise ValueError("there are no nets to draw")
    plane = Plane.through(X, None, None, None)
    views = [_View.of(predict, X, labels, threshold, plane, name) for name, predict in nets.items()]
    called = _called(views, classes)
    columns = min(columns, len(views))
    figure, panels = new_figure(columns, width=4.4, height=4.7, rows=-(-len(views) // columns))
    for unused in panels[len(views) :]:
        unused.remove()
    for axes, view in zip(panels, views, strict=False):
        _draw(axes, view, called)
    _legend(figure, panels[0], views[0], loc="outside lower center", ncols=min(len(called), 5))
    save(figure, path)


@dataclass(frozen=True, eq=False)
class _View:
    """A plane as one net sees it."""

    plane: Plane
    across: np.ndarray
    up: np.ndarray
    classes: np.ndarray
    """(CELLS, CELLS), row by row from below."""
    labels: np.ndarray
    """Of the points, (rows,)."""
    title: str

    @classmethod
    def of(cls, predict: Any, X: Any, labels: Any, threshold: float, plane: Plane, title: str) -> "_View":
        across, up, rows = plane.grid(CELLS)
        outputs = np.asarray(predict(rows))
        labels = class_labels(labels, len(plane.points), signs=outputs.size == len(rows))
        return cls(plane, across, up, decided(outputs, threshold).reshape(CELLS, CELLS), labels, title)

    @property
    def count(self) -> int:
        """How many classes are seen."""
        return max(int(self.classes.max()), int(self.labels.max())) + 1

    @property
    def size(self) -> float:
        """Of a marker: many points are drawn small, and the few of a truth table can be seen from afar."""
        rows = len(self.labels)
        return float(max(np.clip(18_000 / rows, 6, 36), min(1_600 / rows, 200)))


def _called(views: Sequence[_View], classes: Sequence[Any] | None) -> list[str]:
    """What the classes are called that are seen in one of the views."""
    count = max(view.count for view in views)
    return class_names(classes, count if classes is None else max(count, len(classes)), "class ")[:count]


def _draw(axes: Any, view: _View, called: Sequence[str]) -> None:
    plane, count = view.plane, len(called)
    shades = [ground(number) for number in range(count)]
    axes.contourf(view.across, view.up, view.classes, levels=np.arange(count + 1) - 0.5, colors=shades)
    for number, name in enumerate(called):
        colour, marker = look(number)
        points = plane.points[view.labels == number].T
        style: dict[str, Any] = {"color": colour, "marker": marker, "label": name}
        axes.scatter(*points, s=view.size, linewidth=0.6, edgecolor="white", **style)
    xlim, ylim = zip(plane.low, plane.high, strict=True)
    axes.set(xlabel=plane.axes[0], ylabel=plane.axes[1], title=view.title, xlim=xlim, ylim=ylim)
    axes.set_aspect("equal" if plane.equal else "auto")


def _legend(figure: Any, axes: Any, view: _View, **where: Any) -> None:
    """Beside the plane, where it hides no point."""
    figure.legend(*axes.get_legend_handles_labels(), markerscale=6 / np.sqrt(view.size), **where)
