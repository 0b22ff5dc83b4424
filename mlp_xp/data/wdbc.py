"""Breast Cancer Wisconsin (Diagnostic), embedded in the package.

Source: W. Wolberg, O. Mangasarian, N. Street and W. Street, "Breast Cancer Wisconsin (Diagnostic)", UCI
Machine Learning Repository, 1993, doi:10.24432/C5DW2B. Described in W. N. Street, W. H. Wolberg and O. L.
Mangasarian, "Nuclear feature extraction for breast tumor diagnosis", IS&T/SPIE 1905:861-870, 1993.

Licence of the table: Creative Commons Attribution 4.0 International (CC BY 4.0). `wdbc.csv` is the
published file `wdbc.data`, unchanged.
"""

import math
import os
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_QUANTITIES = (
    "radius",
    "texture",
    "perimeter",
    "area",
    "smoothness",
    "compactness",
    "concavity",
    "concave_points",
    "symmetry",
    "fractal_dimension",
)

#: The names of the 30 columns of X: the mean of ten quantities over the cell nuclei of one image, then the
#: standard errors of these means, then the worst values (the mean of the three largest).
FEATURES = tuple(f"{quantity}_{kind}" for kind in ("mean", "se", "worst") for quantity in _QUANTITIES)


def wdbc(path: str | os.PathLike[str] | None = None) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The 569 diagnoses, or another file of the same format: no header, an id, M or B, 30 numbers a line.

    Returns X (569, 30) float64, its columns named by `FEATURES`, and y (569,) int64: 1 is malignant (M, 212
    rows) and 0 is benign (B, 357 rows). With `path` the number of rows is that file's; empty lines are
    passed over.

    Raises FileNotFoundError when there is no file at `path`, and ValueError, naming file and line, for a
    wrong number of columns, a diagnosis other than M or B, or a value that is not a finite number.

    Source and licence (CC BY 4.0) stand at the top of this module.
    """
    file: Traversable = resources.files(__package__) / "wdbc.csv" if path is None else Path(path)
    try:
        data = file.read_bytes()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{file}: no such file. wdbc() without a path reads the embedded table") from error

    # Bytes that are no text become "not a number" in _row. A byte order mark lands in the id, unread.
    lines = data.decode(errors="replace").splitlines()
    rows = [_row(line, f"{file}, line {n}") for n, line in enumerate(lines, start=1) if line.strip()]
    if not rows:
        raise ValueError(f"{file}: no rows, expected lines of an id, M or B, and {len(FEATURES)} numbers")
    X = np.array([values for values, _ in rows], dtype=np.float64)
    y = np.array([malignant for _, malignant in rows], dtype=np.int64)
    return X, y


def _row(line: str, where: str) -> tuple[list[float], int]:
    """The numbers and the diagnosis of one line; `where` says for an error which line it is."""
    cells = [cell.strip() for cell in line.split(",")]
    if len(cells) != 2 + len(FEATURES):
        raise ValueError(
            f"{where}: {len(cells)} columns, expected {2 + len(FEATURES)} (an id, M or B, {len(FEATURES)} numbers)"
        )
    diagnosis = cells[1]
    if diagnosis not in ("M", "B"):
        raise ValueError(f"{where}: the diagnosis is {diagnosis!r}, expected M or B (the file has no header line)")
    values = []
    for column, (name, cell) in enumerate(zip(FEATURES, cells[2:], strict=True), start=3):
        try:
            value = float(cell)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise ValueError(f"{where}: column {column} ({name}) is {cell!r}, expected a finite number")
        values.append(value)
    return values, int(diagnosis == "M")
