"""What all pictures share."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette, told apart with every kind of colour vision."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
SYMBOLS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x")
"""The markers as plotly calls them."""
LINES = ("-", "--", "-.", ":")


def look(number: int) -> tuple[str, str]:
    """Colour and marker of the one with this number: the first 49 differ."""
    turn, place = divmod(number, len(COLOURS))
    return COLOURS[place], MARKERS[(place + turn) % len(MARKERS)]


def ground(number: int) -> str:
    """A pale shade of the colour of this number, on which its marker is seen: each turn of the colours is stronger."""
    turn, place = divmod(number, len(COLOURS))
    return pale(COLOURS[place], min(0.25 + 0.25 * turn, 0.75))


def pale(colour: str, share: float) -> str:
    """A colour "#RRGGBB" mixed with white, of which it keeps its share."""
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(255 + share * (part - 255)):02X}" for part in parts)


def contrast(first: Sequence[float], second: Sequence[float]) -> float:
    """(l + .05) / (d + .05) with the relative luminances of the lighter and the darker of two colours (r, g, b) in
    [0, 1]: 1 for the same, 21 for black and white; text asks for 4.5. Web Content Accessibility Guidelines 2.1."""

    def luminance(colour: Sequence[float]) -> float:
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour[:3]]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    darker, lighter = sorted((luminance(first), luminance(second)))
    return (lighter + 0.05) / (darker + 0.05)


def readable_on(ground: Sequence[float]) -> str:
    """The colour of text on a ground (r, g, b): "black" or "white", whichever stands out more."""
    return "black" if contrast((0, 0, 0), ground) >= contrast((1, 1, 1), ground) else "white"


def require_matplotlib() -> None:
    """ImportError that names the remedy where matplotlib is missing: call it before long work."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError(f"pictures need matplotlib ({error}); pip install matplotlib") from None


def require_plotly() -> None:
    """ImportError that names the remedy where plotly is missing: call it before long work."""
    try:
        import plotly  # noqa: F401
    except ImportError as error:
        raise ImportError(f"pictures that move need plotly ({error}); pip install plotly") from None


def require_sklearn(what: str) -> None:
    """ImportError that names the remedy where scikit-learn is missing."""
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise ImportError(f"{what} need scikit-learn ({error}); pip install scikit-learn") from None


def new_figure(columns: int = 1, width: float = 5.2, height: float = 4.2, rows: int = 1) -> tuple[Any, list[Any]]:
    """A figure of its own, without pyplot's global state or a window, and its axes from left to right, row by row.

    width and height are those of each of the axes, in inches.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def save(figure: Any, path: str | Path) -> None:
    figure.savefig(path, dpi=150, bbox_inches="tight", pad_inches=0.1)  # a legend outside must not cut a label


def verbatim(text: str) -> str:
    """A text that plotly shows as it is: it takes <b> and %{x} for orders."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("%{", "&#37;{")


CONFIG = {
    "responsive": True,
    "displaylogo": False,
    "showSendToCloud": False,  # no button may send the picture away
    "plotlyServerURL": "",
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "zoomIn2d", "zoomOut2d", "autoScale2d"],
}
"""How plotly shows a figure in a file of its own."""
MEND = """
window.addEventListener("unhandledrejection", event => { if (event.reason === undefined) event.preventDefault(); });
document.getElementById("{plot_id}").on("plotly_sliderend", () => {
  for (const slider of document.getElementById("{plot_id}")._fullLayout.sliders) slider._dragging = false;
});
"""
"""Two flaws of plotly.js: what Pause cuts short is reported as an error, and a slider that was let go while the picture
was being drawn does not move with it any more."""
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
</head>
<body>
{figure}
</body>
</html>
"""


def save_html(figure: Any, path: str | Path) -> None:
    """Write a plotly figure with all that it needs, so that it opens without a network; it does not move by itself."""
    shown = figure.to_html(full_html=False, include_plotlyjs=True, auto_play=False, config=CONFIG, post_script=MEND)
    Path(path).write_text(PAGE.format(title=escape(Path(path).stem), figure=shown), encoding="utf-8")
