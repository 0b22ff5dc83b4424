"""What the plots of a report are made of. They have no legend of their own: the page has one that keyboards reach."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import numpy as np

from mlp_xp.viz.style import COLOURS, MARKERS, SYMBOLS, look, pale, verbatim

from .words import is_number

MOST = 2000
"""At most so many points of a curve are drawn."""
GREY = "#767676"
CARD = "#1B2128"
"""What plots stand on where the page is dark."""
DEEP = ("#0072B2", "#D55E00", "#009E73", "#CC6FA5", "#7A5200", "#1090F0", "#000000")
"""COLOURS where the page is light: thin lines ask for a contrast of 3."""
BRIGHT = ("#4BA3DB", "#FF8A45", "#2FC49B", "#E59CC6", "#F5B83D", "#A9DDFF", "#EDEFF2")
"""COLOURS where the page is dark."""


def mixed(colour: str, ground: str, share: float) -> str:
    parts = ((int(colour[i : i + 2], 16), int(ground[i : i + 2], 16)) for i in (1, 3, 5))
    return "#" + "".join(f"{round(below + share * (part - below)):02X}" for part, below in parts)


LIGHT, DARK = (dict(zip(COLOURS, shades, strict=True)) for shades in (DEEP, BRIGHT))
SHADES = {pale(one, share): mixed(dark, CARD, share) for one, dark in DARK.items() for share in (0.25, 0.5, 0.6, 0.75)}
THEMES = {"light": LIGHT, "dark": DARK | {"#FFFFFF": CARD, "white": CARD, GREY: "#98A3AF"} | SHADES}
"""What every colour of a plot becomes."""


@dataclass(frozen=True)
class Toggle:
    """A line of a legend: it shows and hides what has its key."""

    key: str
    name: str
    colour: int | None = None
    """Its place in COLOURS; None where it stands for several."""
    line: str = "solid"
    """solid, dash or none at all."""
    symbol: str = ""


@dataclass(frozen=True)
class Plot:
    id: str
    title: str
    words: str
    """What there is to see."""
    traces: list[dict[str, Any]]
    layout: dict[str, Any]
    aspect: float | None = None
    """Width over height; None for a curve."""
    logarithmic: bool | None = None
    """Whether its axis is at the start; None where it cannot be."""
    frames: list[list[dict[str, Any]]] = field(default_factory=list)
    """What takes the place of the first traces, for each moment."""
    moments: list[str] = field(default_factory=list)
    kind: str = ""
    """metric or rate, of the learning curves: how a metric is drawn the page's controls change."""

    @property
    def json(self) -> str:
        drawn = {"data": self.traces, "layout": self.layout, "frames": self.frames, "moments": self.moments}
        content = plain(drawn | {"log": self.logarithmic, "aspect": self.aspect, "kind": self.kind})
        text = json.dumps(content, allow_nan=False, separators=(",", ":"))
        return text.replace("<", "\\u003c")  # no tag may end the script that holds it


def plain(content: Any) -> Any:
    """As JSON has it: numbers of seven digits, null for what is not finite."""
    if isinstance(content, dict):
        return {key: plain(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [plain(value) for value in content]
    if isinstance(content, float | np.floating):
        return float(f"{content:.7g}") if isfinite(content) else None
    return content


def symbol(number: int) -> str:
    return SYMBOLS[MARKERS.index(look(number)[1])]


def shade(number: int) -> int:
    """The place of a colour in COLOURS."""
    return COLOURS.index(look(number)[0])


def line(
    x: Sequence[Any],
    y: Sequence[Any],
    name: str,
    keys: Sequence[str] = (),
    colour: str = COLOURS[0],
    *,
    dash: str = "solid",
    symbol: str = "",
    smooth: bool = False,
    hover: str = "%{y:.4g}",
) -> dict[str, Any]:
    """A curve, seen where all its keys are switched on; with gaps where it has no number.

    A single point is a marker, which a line would not show.
    """
    every = max(1, -(-len(x) // MOST))
    kept = sorted({*range(0, len(x), every), *range(len(x))[-1:]})
    return {
        "type": "scatter",
        "mode": "lines+markers" if symbol or len(kept) == 1 else "lines",
        "x": [x[i] for i in kept],
        "y": [y[i] if is_number(y[i]) else None for i in kept],
        "name": verbatim(name),
        "line": {"color": colour, "dash": dash, "width": 2},
        "marker": {"color": colour, "size": 7, "symbol": symbol or "circle", "maxdisplayed": 8},
        "hovertemplate": hover,
        "meta": {"keys": list(keys), "smooth": smooth},
    }


def axes(x: str, y: str, across: Any = None, up: Any = None, hover: str = "x unified") -> dict[str, Any]:
    """A layout with titles of both axes, and what else is known of them."""
    return {
        "xaxis": {"title": {"text": verbatim(x)}} | (across or {}),
        "yaxis": {"title": {"text": verbatim(y)}} | (up or {}),
        "hovermode": hover,
    }


def by_epoch(epochs: Sequence[float]) -> dict[str, Any]:
    """An axis of epochs: as long in every plot, with some air at its ends and no ticks between whole ones."""
    first, last = min(epochs, default=0), max(epochs, default=0)
    air = 0.03 * max(last - first, 1)
    ticks = {"dtick": 1} if last - first <= 10 else {"tickformat": ",d"}
    return {"range": [first - air, last + air]} | ticks


def wide(values: Iterable[Any], beyond: float = 20.0) -> bool | None:
    """Do they ask for a logarithmic axis? None where there can be none."""
    drawn = [value for value in values if is_number(value)]
    return max(drawn) > beyond * min(drawn) if drawn and min(drawn) > 0 else None
