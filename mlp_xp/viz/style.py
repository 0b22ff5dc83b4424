"""What all pictures share."""

from pathlib import Path
from typing import Any

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette, told apart with every kind of colour vision."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def require_matplotlib() -> None:
    """ImportError that names the remedy where matplotlib is missing: call it before long work."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError(f"pictures need matplotlib ({error}); pip install matplotlib") from None


def new_figure(columns: int = 1, width: float = 5.2, height: float = 4.2) -> tuple[Any, list[Any]]:
    """A figure of its own, without pyplot's global state or a window, and its axes from left to right."""
    require_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height), layout="constrained")
    return figure, list(figure.subplots(1, columns, squeeze=False)[0])


def save(figure: Any, path: str | Path) -> None:
    figure.savefig(path, dpi=150, bbox_inches="tight", pad_inches=0.1)  # a legend outside must not cut a label
