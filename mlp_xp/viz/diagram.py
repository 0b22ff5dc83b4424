"""A net as circles and lines."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from mlp_xp import nn
from mlp_xp.names import unknown
from mlp_xp.nn.by_feature import ByFeature
from mlp_xp.nn.config import in_short
from mlp_xp.nn.containers import Container
from mlp_xp.nn.layer import leaves
from mlp_xp.nn.linear import Affine
from mlp_xp.train.inspection import layers

from .layers import in_brief
from .style import COLOURS, new_figure, save

DRAWN = 12
"""The most units drawn in a column; of more, the first and the last few."""
APART = 3.6
"""Between two columns, where two units are 1 apart."""
RADIUS = 0.34
BOX = 1.45
"""Half the width of a box."""
LINES = 8
"""The most that are written into one."""
POSITIVE, NEGATIVE = COLOURS[0], COLOURS[1]


@dataclass
class Column:
    """The outputs of a layer: circles, or a box for what is more than one step."""

    title: str
    size: Any
    """The number of units; None where it is not known."""
    weight: str = ""
    """The name of the matrix that leads here."""
    inside: tuple[str, ...] = ()
    """What is written into the box."""
    behind: list[str] = field(default_factory=list)
    """The layers that go over its units before the next column: activation, normalisation, dropout."""
    x: float = 0.0

    @property
    def drawn(self) -> list[int]:
        """The numbers of the units that are drawn."""
        if self.size is None:
            return [0, 1, 2]
        if self.size <= DRAWN:
            return list(range(self.size))
        few = (DRAWN - 2) // 2
        return [*range(few), *range(self.size - few, self.size)]

    @property
    def hidden(self) -> int:
        """How many are not drawn."""
        return 0 if self.size is None or self.inside else self.size - len(self.drawn)

    @property
    def heights(self) -> np.ndarray:
        """Where the units are drawn, from the top; there is room for two in place of those that are not."""
        places = np.arange(len(self.drawn), dtype=float)
        if self.hidden:
            places[len(places) // 2 :] += 1.5
        return places.mean() - places

    @property
    def top(self) -> float:
        return 0.25 * len(self.inside) + 0.5 if self.inside else float(self.heights[0])


def network_diagram(model: nn.Layer, path: str | Path, parameters: Mapping[str, Any] | None = None) -> None:
    """Draw the layers of `model` with their units into the picture file `path`; of a wide layer a few units.

    With `parameters`, by name as `trainer.parameters` gives them, a line is the wider the larger |w| is beside the
    largest of its matrix; it is solid where w > 0, and dashed, in another colour, where w < 0. What has a structure of
    its own, such as Residual and Parallel, is a box.
    """
    columns = list(_columns(model))
    for index, column in enumerate(columns):
        column.x = index * APART
    top = max(column.top for column in columns)
    lines = max(len(column.behind) for column in columns)
    width, height = APART * len(columns) + 1.0, 2 * top + 3.6 + 0.6 * lines
    figure, (axes,) = new_figure(width=0.44 * width, height=0.44 * height)
    for before, after in pairwise(columns):
        weight = None if parameters is None else _matrix(parameters, before, after)
        _connect(axes, before, after, weight)
    for column in columns:
        _draw(axes, column, top)
    if parameters is not None:
        _legend(figure)
    axes.set(xlim=(-APART / 2 - 0.2, width - APART / 2 - 0.8), ylim=(-top - 2.4, top + 1.2 + 0.6 * lines))
    axes.set_aspect("equal")
    axes.set_axis_off()
    save(figure, path)


def _columns(model: nn.Layer) -> Iterator[Column]:
    """The inputs, then a column for each layer that has units of its own."""
    if not isinstance(model, nn.Layer):
        raise TypeError(f"a diagram is drawn of a layer of mlp_xp.nn, such as Sequential; got {model!r}")
    features = _inputs(model)
    column = Column("input", features)
    for name, layer in _steps(model):
        given = layer.output_features(features)
        title = f"{name} {type(layer).__name__}".strip()
        if isinstance(layer, Affine):
            yield column
            column = Column(title, given, weight=f"{name}.weight" if name else "weight")
        elif isinstance(layer, Container) or given != features or _has_weights(layer):
            yield column
            column = Column(title, given, inside=_inside(layer))
        else:
            column.behind.append(_text(layer))
        features = given
    yield column


def _steps(layer: nn.Layer, name: str = "") -> Iterator[tuple[str, nn.Layer]]:
    """The layers one after another, with their names; what is no plain Sequential is one step."""
    if type(layer) is not nn.Sequential:
        yield name, layer
        return
    for index, inner in enumerate(layer.layers):
        yield from _steps(inner, f"{name}.{index}" if name else str(index))


def _inputs(model: nn.Layer) -> int | None:
    """The number of features the model takes, as the first layer that knows says; None where none does."""
    before: list[nn.Layer] = []
    for _, layer in layers(model):
        known = layer.features if isinstance(layer, ByFeature) else getattr(layer, "in_features", None)
        if known is not None:
            return known if all(_keeps(each, known) for each in before) else None
        before.append(layer)
    return None


def _has_weights(layer: nn.Layer) -> bool:
    """Has it a table or matrix, such as Embedding, and not only numbers for each feature?"""
    return any(parameter.decays and parameter.trainable for _, parameter in leaves(layer.parameters()))


def _keeps(layer: nn.Layer, features: int) -> bool:
    try:
        return bool(layer.output_features(features) == features)
    except nn.ShapeError:
        return False


def _matrix(parameters: Mapping[str, Any], before: Column, after: Column) -> np.ndarray | None:
    """The weights (in, out) of the lines between two columns; where pieces lie side by side (Maxout), the largest."""
    if not after.weight:
        return None
    if after.weight not in parameters:
        raise ValueError(unknown("parameter", after.weight, parameters))
    weight = np.asarray(parameters[after.weight])
    if weight.ndim != 2 or weight.shape[0] != (before.size or weight.shape[0]) or weight.shape[1] % after.size:
        raise ValueError(
            f"{after.weight} does not fit {before.size} inputs and {after.size} units: it is {weight.shape}"
        )
    if not np.isfinite(weight).all():
        raise ValueError(f"{after.weight} holds numbers that are not finite: no line can be drawn for them")
    pieces = weight.reshape(len(weight), -1, after.size)
    largest = np.abs(pieces).argmax(axis=1, keepdims=True)
    return np.take_along_axis(pieces, largest, axis=1)[:, 0]


def _connect(axes: Any, before: Column, after: Column, weight: np.ndarray | None) -> None:
    """A line from every unit to every unit; a box has one end for all of them."""
    from matplotlib.collections import LineCollection

    starts = [(before.x + BOX, 0.0)] if before.inside else [(before.x, y) for y in before.heights]
    stops = [(after.x - BOX, 0.0)] if after.inside else [(after.x, y) for y in after.heights]
    lines: Any = np.array([(start, stop) for start in starts for stop in stops])
    if weight is None or before.inside:
        axes.add_collection(LineCollection(lines, colors="0.75", linewidths=0.6, zorder=1))
        return
    shares = weight[np.ix_(before.drawn, after.drawn)].reshape(-1) / (np.abs(weight).max() or 1.0)
    for colour, dashes, chosen in ((POSITIVE, "-", shares > 0), (NEGATIVE, "--", shares < 0)):
        size = np.abs(shares[chosen])
        if size.size:
            style: dict[str, Any] = {"linewidths": 0.3 + 2.7 * size, "alpha": 0.15 + 0.85 * size, "zorder": 1}
            axes.add_collection(LineCollection(lines[chosen], colors=colour, linestyles=dashes, **style))


def _draw(axes: Any, column: Column, top: float) -> None:
    """The units or the box, the size and the name below, and above what comes before the next column."""
    from matplotlib.patches import Circle, FancyBboxPatch

    x, text = column.x, {"ha": "center", "fontsize": 10}
    if column.inside:
        low, size = (x - BOX, -column.top), (2 * BOX, 2 * column.top)
        axes.add_patch(FancyBboxPatch(low, *size, boxstyle="round,pad=0.05", facecolor="#F5F5F5", edgecolor="0.2"))
        axes.text(x, 0.0, "\n".join(column.inside), va="center", **text | {"fontsize": 7.5})
    else:
        for y in column.heights:
            axes.add_patch(Circle((x, y), RADIUS, facecolor="white", edgecolor="0.2", linewidth=1.3, zorder=2))
    if column.hidden:
        y = float(np.mean(column.heights[len(column.drawn) // 2 - 1 :][:2]))
        gap: dict[str, Any] = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
        axes.text(x, y, f"⋮\n{column.hidden} more", va="center", bbox=gap, zorder=3, **text | {"fontsize": 9})
    axes.text(x, -top - 0.8, "" if column.size is None else f"{column.size}", va="top", fontweight="bold", **text)
    axes.text(x, -top - 1.5, column.title, va="top", **text)
    axes.text(x + APART / 2, top + 0.8, "\n".join(column.behind), va="bottom", style="italic", **text | {"fontsize": 9})


def _legend(figure: Any) -> None:
    from matplotlib.lines import Line2D

    signs: Any = ((POSITIVE, "-", "weight above 0"), (NEGATIVE, "--", "weight below 0"))
    handles = [
        Line2D([], [], color=colour, linestyle=line, linewidth=2.5, label=label) for colour, line, label in signs
    ]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=2, title="width: |w| beside the largest of the layer"
    )


def _inside(layer: nn.Layer) -> tuple[str, ...]:
    """The lines in the box of a layer: the layers in it, or its name."""
    if not isinstance(layer, Container):
        return (_text(layer),)
    lines = [_text(each) for each in layer.layers]
    return tuple(lines if len(lines) <= LINES else [*lines[: LINES - 1], f"and {len(lines) - LINES + 1} more"])


def _text(layer: nn.Layer) -> str:
    if isinstance(layer, Container):
        return f"{type(layer).__name__}: {len(layer.layers)} layers"
    # The number of features is written below already.
    return type(layer).__name__ if isinstance(layer, ByFeature) else in_brief(in_short(layer))
