"""What the units of the first layer look for."""

from math import ceil, isqrt, prod, sqrt
from pathlib import Path
from typing import Any

import numpy as np

from .style import new_figure, save

SHOWN = 0.995
"""The share of the weights that the scale of colours tells apart: the few beyond it would make all others pale."""


def first_layer_features(weight: Any, path: str | Path, shape: tuple[int, int] | None = None, count: int = 64) -> None:
    """Draw the weights (in, out) of the units of a first layer as images, the strongest units first, into `path`.

    Each column of `weight` is an image of `shape` (height, width), a square where none is given. The `count` units with
    the largest norm are drawn, row by row. All share one scale: blue is above 0, white 0, red below.
    """
    weight = np.asarray(weight)
    if weight.ndim != 2:
        raise ValueError(f"the weight of a first layer is (in, out), got the shape {weight.shape}")
    if not weight.size:
        raise ValueError(f"the weight of a first layer has units and inputs, got the shape {weight.shape}")
    if not np.isfinite(weight).all():
        raise ValueError("the weight holds numbers that are not finite: it cannot be shown as images")
    if count < 1:
        raise ValueError(f"first_layer_features(count={count}): draw at least 1 unit")
    height, width = shape = _image_shape(weight.shape[0], shape)
    strongest = np.argsort(-np.linalg.norm(weight, axis=0), kind="stable")[:count]
    columns = min(ceil(sqrt(len(strongest) * height / width)), len(strongest))
    rows = ceil(len(strongest) / columns)
    # One image of all of them, with a line of nothing around each.
    mosaic = np.full((rows * (height + 1) + 1, columns * (width + 1) + 1), np.nan)
    for place, unit in enumerate(strongest):
        top, left = (place // columns) * (height + 1) + 1, (place % columns) * (width + 1) + 1
        mosaic[top : top + height, left : left + width] = weight[:, unit].reshape(shape)

    figure, (axes,) = new_figure(width=6.6, height=max(6.0 * mosaic.shape[0] / mosaic.shape[1], 1.6))
    sizes = np.abs(weight[:, strongest])
    limit = float(np.quantile(sizes, SHOWN) or sizes.max() or 1.0)
    image = axes.imshow(mosaic, cmap="RdBu", vmin=-limit, vmax=limit, interpolation="nearest")
    axes.set_facecolor("0.7")
    axes.spines[:].set_visible(False)
    axes.set(xticks=[], yticks=[])
    some = "" if len(strongest) == weight.shape[1] else f"the {len(strongest)} strongest of "
    axes.set_title(f"first layer: {some}{weight.shape[1]} units")
    figure.colorbar(image, ax=axes, label="weight", shrink=0.8, extend="both" if sizes.max() > limit else "neither")
    save(figure, path)


def _image_shape(inputs: int, shape: tuple[int, int] | None) -> tuple[int, int]:
    if shape is None:
        side = isqrt(inputs)
        if side * side != inputs:
            raise ValueError(f"{inputs} inputs are no square image: give shape=(height, width) with that product")
        return side, side
    if len(shape) != 2 or prod(shape) != inputs or min(shape) < 1:
        raise ValueError(f"shape={shape} does not hold {inputs} inputs: give (height, width) with that product")
    return shape
