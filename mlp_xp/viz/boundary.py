"""The plane as a classifier of two features sees it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .style import COLOURS, MARKERS, new_figure, save

CELLS = 400
"""Cells along each side of the plane."""


def decision_boundary(
    predict: Callable[[np.ndarray], Any],
    X: np.ndarray,
    labels: np.ndarray,
    path: str | Path,
    *,
    threshold: float = 0.0,
    margin: float = 0.1,
    title: str = "",
) -> float:
    """Draw the classified plane with the points X (rows, 2) of integer `labels` (rows,) into the picture file `path`.

    `predict` maps (n, 2) to (n, outputs), as NumPy: several outputs are classes, of which the largest wins; one output
    says class 1 above `threshold`. The plane reaches `margin` beyond the points, in units of the features. Gives the
    share of the plane that is not class 0.
    """
    X, labels = np.asarray(X), np.asarray(labels).reshape(-1)
    X = X if X.dtype.kind == "f" else X.astype(float)
    if X.ndim != 2 or X.shape[1] != 2:
        raise ValueError(f"a decision boundary is drawn over two features, X has shape {X.shape}")
    low, high = X.min(axis=0) - margin, X.max(axis=0) + margin
    across, up = (np.linspace(low[i], high[i], CELLS) for i in (0, 1))
    grid = np.stack(np.meshgrid(across, up), axis=-1).reshape(-1, 2).astype(X.dtype)
    outputs = np.asarray(predict(grid)).reshape(len(grid), -1)
    classes = outputs.argmax(axis=1) if outputs.shape[1] > 1 else (outputs[:, 0] > threshold).astype(int)
    plane = classes.reshape(CELLS, CELLS)
    count = max(int(classes.max()), int(labels.max())) + 1

    figure, (axes,) = new_figure(1, width=6.2, height=5.0)
    shades = [COLOURS[k % len(COLOURS)] for k in range(count)]
    axes.contourf(across, up, plane, levels=np.arange(count + 1) - 0.5, colors=shades, alpha=0.25)
    for number in range(count):
        style: dict[str, Any] = {"color": shades[number], "marker": MARKERS[number % len(MARKERS)]}
        points = X[labels == number].T
        axes.scatter(*points, s=36, linewidth=0.6, edgecolor="white", label=f"class {number}", **style)
    axes.set(xlabel="feature 1", ylabel="feature 2", title=title, xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    axes.set_aspect("equal")
    figure.legend(loc="outside right upper")  # beside the plane, where it hides no point
    save(figure, path)
    return float((classes != 0).mean())
