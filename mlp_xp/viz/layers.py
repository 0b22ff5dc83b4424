"""What goes on in each layer: how the weights grow, what comes out, and the gradient that comes back."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlp_xp import nn
from mlp_xp.nn.linear import Affine
from mlp_xp.train import Recording

from .style import COLOURS, LINES, MARKERS, look, new_figure, require_matplotlib, save

LEGEND_ROWS = 16
"""More layers than these are not all named: their colours go on from one name to the next."""
SHAPES = (*MARKERS, "*")
DEEPEST = 0.75
"""Where the scale of the colours of the layers ends: what lies beyond is too pale on white."""
GRADIENT = "gradient dL/dy, root mean square"
STD = "standard deviation of outputs"


def weight_growth(recording: Recording, path: str | Path) -> None:
    """Draw mean |W| of each weight matrix, divided by what it was at the start, into the picture file `path`.

    The last one, of the output layer, is the thick line. A matrix that starts at 0 has no growth, and is left out.
    """
    kinds = _kinds(recording)
    sizes = {
        layer: values
        for name, values in recording.of_parameters("mean_abs").items()
        for layer, _, own in [name.rpartition(".")]
        if own == "weight" and _has_matrix(kinds[layer])
    }
    growing = [layer for layer, values in sizes.items() if values[0] > 0]
    if not growing:
        raise ValueError("no weight matrix that starts above 0 was recorded: there is no growth to draw")

    figure, (axes,) = new_figure(width=7.0)
    axes.axhline(1.0, color="0.6", linewidth=1, linestyle=":")
    ends = []
    *_, output = sizes
    for layer, colour in zip(sizes, by_depth(len(sizes)), strict=True):
        if layer in growing:
            growth = np.asarray(sizes[layer]) / sizes[layer][0]
            style: dict[str, Any] = {"color": colour, "linewidth": 1.6, "marker": _marker(recording.epochs)}
            style |= {"color": COLOURS[1], "linewidth": 3} if layer == output else {}
            (line,) = axes.plot(recording.epochs, growth, **style)
            ends.append((f"{_title(layer, kinds)}  {growth[-1]:.2f}", line))
    axes.set(xlabel="epoch", ylabel="mean |W| over its start")
    axes.grid(alpha=0.3)
    _label_ends(axes, ends)
    still = [_title(layer, kinds) for layer in sizes if layer not in growing]
    if still:
        axes.set_title(f"without {', '.join(still)}: started at 0", fontsize="medium")
    save(figure, path)


def layer_statistics(recording: Recording, path: str | Path) -> None:
    """Draw gradient, deviation of the outputs and share of dead units of every layer into the picture file `path`.

    Layers with a weight matrix are solid lines, others dashed, the last layer is thick; up to eight have a marker of
    their own. On a logarithmic axis a line ends where its value is 0.
    """
    kinds = _kinds(recording)
    figure, panels = new_figure(3, width=3.8, height=3.6)
    from matplotlib.ticker import PercentFormatter

    colours = by_depth(len(kinds))
    shown = ("gradient", GRADIENT), ("std", STD), ("dead", "share of dead units")
    for axes, (what, label) in zip(panels, shown, strict=True):
        measured = recording.of_layers(what)
        for number, (layer, values) in enumerate(measured.items()):
            style: dict[str, Any] = {"color": colours[number], "marker": _marker(recording.epochs)}
            style |= {"linestyle": "-" if _has_matrix(kinds[layer]) else "--"}
            style |= {"linewidth": 2.5 if layer == recording.names[-1] else 1.5}
            if len(kinds) <= len(SHAPES):  # at places of its own on each line, so that none hides another
                between = max(1, len(values) // 6)
                style |= {"marker": SHAPES[number], "markevery": (number * between // len(kinds), between)}
            axes.plot(recording.epochs, values, markersize=5, **style)
        axes.set(xlabel="epoch", ylabel=label)
        axes.grid(alpha=0.3)
    _logarithmic(panels[0])
    _logarithmic(panels[1], beyond=20)
    panels[2].set_ylim(-0.03, 1.03)
    panels[2].yaxis.set_major_formatter(PercentFormatter(1.0))
    every = -(-len(kinds) // LEGEND_ROWS)
    named = [number for number in range(len(kinds)) if number % every == 0 or number == len(kinds) - 1]
    lines, titles = panels[2].get_lines(), [_title(layer, kinds) for layer in kinds]
    figure.legend([lines[i] for i in named], [titles[i] for i in named], loc="outside right upper", handlelength=3)
    save(figure, path)


def layer_profile(inspections: Mapping[str, Sequence[Mapping[str, Any]]], path: str | Path) -> None:
    """Draw gradient and deviation of the outputs over the depth into the picture file `path`, a line for each net.

    `inspections` is what `train.inspect` gave, by the name of the net. The layers with a weight matrix are counted from
    the input: they are what nets with different activations and normalisations have in common.
    """
    layers = {
        name: [
            entry
            for entry in inspected
            if _has_matrix(entry["layer"]) and any(own.rpartition(".")[2] == "weight" for own in entry["parameters"])
        ]
        for name, inspected in inspections.items()
    }
    missing = [name for name, entries in layers.items() if not entries]
    if missing or not layers:
        raise ValueError(f"no layer with a weight matrix was inspected in {', '.join(missing) or 'no net'}")
    figure, panels = new_figure(2)
    for axes, (what, label) in zip(panels, (("gradient", GRADIENT), ("std", STD)), strict=True):
        for number, (name, entries) in enumerate(layers.items()):
            colour, marker = look(number)
            line = LINES[number // len(COLOURS) % len(LINES)]  # the eighth has the colour of the first again
            values = [entry[what] for entry in entries]
            axes.plot(range(1, len(entries) + 1), values, line, color=colour, marker=marker, label=name)
        axes.set(xlabel="depth: layers with weights, from the input", ylabel=label)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    _logarithmic(panels[0])
    _logarithmic(panels[1], beyond=20)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", handlelength=3)
    save(figure, path)


def by_depth(count: int) -> list[Any]:
    """Colours from the input to the output, told apart with every kind of colour vision and on white."""
    require_matplotlib()
    from matplotlib import colormaps

    return list(colormaps["viridis"](np.linspace(0.0, DEEPEST, count)))


def _kinds(recording: Recording) -> dict[str, str]:
    """What each layer is, by its name; ValueError where nothing was recorded."""
    if not recording.epochs:
        raise ValueError("the recording is empty: give train.Recorder() to fit among its callbacks")
    return dict(zip(recording.names, recording.kinds, strict=True))


def in_brief(kind: str) -> str:
    """A layer in words, without how it starts: "Linear(784, 64)" for Linear(784, 64, weight_init=GlorotNormal())."""
    return re.sub(r"(, )?\w+_init=.*\)$", ")", kind).removesuffix("()")


def _title(layer: str, kinds: Mapping[str, str]) -> str:
    return f"{layer} {in_brief(kinds[layer])}".strip()


def _has_matrix(kind: str) -> bool:
    """Has a layer such as "Linear(784, 64)" a weight matrix? What is not of mlp_xp.nn is taken to have one."""
    known = getattr(nn, kind.partition("(")[0], Affine)
    return issubclass(known, Affine)


def _marker(epochs: Sequence[float]) -> str | None:
    return "o" if len(epochs) == 1 else None  # a single record is a point, which a line would not show


def _logarithmic(axes: Any, beyond: float = 1.0) -> None:
    """A logarithmic axis where the largest number is more than `beyond` times the smallest that is not 0."""
    drawn = np.concatenate([np.asarray(line.get_ydata(), float) for line in axes.get_lines()])
    positive = drawn[np.isfinite(drawn) & (drawn > 0)]
    if positive.size and positive.max() >= beyond * positive.min():
        from matplotlib.ticker import LogLocator, NullFormatter

        axes.set_yscale("log", nonpositive="mask")
        times = positive.max() / positive.min()
        if times > 5:  # named are the decades, and where there are few of them 2 and 5 between, so that nothing crowds
            axes.yaxis.set_major_locator(LogLocator(subs=(1.0,) if times > 100 else (1.0, 2.0, 5.0), numticks=8))
            axes.yaxis.set_minor_formatter(NullFormatter())
            if times <= 100:
                axes.yaxis.set_major_formatter("{x:g}")


def _label_ends(axes: Any, ends: Sequence[tuple[str, Any]]) -> None:
    """Write the name of each line beside its end, as near as they do not overlap, behind a piece of the line."""
    from matplotlib.lines import Line2D

    apart = min(0.065, 1.0 / len(ends))  # in heights of the axes
    low, high = axes.get_ylim()
    last = [float(line.get_ydata()[-1]) for _, line in ends]
    heights = [(y - low) / (high - low) if np.isfinite(y) else 1.0 for y in last]
    order = np.argsort(heights, kind="stable")
    placed = _spread(np.asarray(heights)[order], apart)
    for index, height in zip(order, placed, strict=True):
        name, line = ends[index]
        weight = "bold" if line.get_linewidth() > 2 else "normal"
        piece: dict[str, Any] = {"color": line.get_color(), "linewidth": line.get_linewidth(), "clip_on": False}
        axes.add_artist(Line2D([1.015, 1.045], [height, height], transform=axes.transAxes, **piece))
        axes.text(1.06, height, name, transform=axes.transAxes, va="center", fontsize=9, fontweight=weight)


def _spread(heights: np.ndarray, apart: float) -> np.ndarray:
    """The growing heights moved as little as it takes to lie `apart`, and within 0 and 1.

    With z_k = y_k - k apart that is the nearest growing sequence, an isotonic regression by pooling neighbours.
    """
    pools: list[list[float]] = []
    for z in heights - apart * np.arange(len(heights)):
        pools.append([float(z)])
        while len(pools) > 1 and np.mean(pools[-2]) > np.mean(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    level = [float(np.mean(pool)) for pool in pools for _ in pool]
    return np.clip(level, 0.0, 1.0 - apart * (len(heights) - 1)) + apart * np.arange(len(heights))
