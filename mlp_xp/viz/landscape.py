"""The loss around trained weights, over a plane through them."""

from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from mlp_xp.nn import Layout
from mlp_xp.optim import SGD
from mlp_xp.random import stream
from mlp_xp.train import Trainer

from .style import COLOURS, new_figure, require_plotly, save, save_html

MARK = COLOURS[1]
AXES = "first direction, in norms of the weights", "second direction, in norms of the weights"


@dataclass(frozen=True, eq=False)
class Landscape:
    """Losses over the plane  theta* + a d1 + b d2  through the trained weights theta*."""

    steps: np.ndarray
    """The values (cells,) of a and of b; the middle one is 0."""
    losses: np.ndarray
    """(cells, cells), at [row, column] with b = steps[row] and a = steps[column]."""
    directions: tuple[dict[str, np.ndarray], dict[str, np.ndarray]]
    """d1 and d2, by the names of the parameters that are moved."""

    @property
    def loss(self) -> float:
        """That of the trained weights."""
        middle = len(self.steps) // 2
        return float(self.losses[middle, middle])

    def share_below(self, level: float) -> float:
        """The share of the plane on which the loss is less than `level`, as a finite loss alone can be."""
        return float((self.losses < level).mean())  # NaN is not


def landscape(
    trainer: Trainer, X: Any, y: Any, *, cells: int = 31, reach: float = 1.0, seed: int = 0, progress: bool = True
) -> Landscape:
    """The loss of `trainer`'s model on X, y along two random directions, `cells` x `cells` times (Li et al.,
    "Visualizing the Loss Landscape of Neural Nets", 2018).

    Each direction d is Gaussian, and filter-normalised: what goes into unit j is scaled to the norm of the trained
    weights there,   d_j <- d_j |W_j| / |d_j|,   so that nets of different scale can be compared. It is 0 for biases and
    whatever else takes no weight decay; running statistics stay those of the trained net. a and b go from -reach to
    reach. A few thousand rows are enough for a picture. The trainer stays as it is; a loss may be infinite or NaN.
    """
    from tqdm import tqdm

    if not isinstance(cells, int) or cells < 3 or cells % 2 == 0:
        raise ValueError(f"landscape(cells={cells!r}): give an odd number from 3 on, the trained net is in the middle")
    if not (isfinite(reach) and reach > 0):
        raise ValueError(f"landscape(reach={reach!r}): give a finite number above 0")
    centre = trainer.inference_parameters
    first, second = (filter_normalised(trainer.layout, centre, seed, number) for number in (1, 2))
    half = cells // 2
    steps = reach * np.arange(-half, half + 1) / half
    losses = np.empty((cells, cells))
    # A copy that measures nothing else and remembers nothing from step to step.
    viewer = Trainer(trainer.model, trainer.loss, SGD(), backend=trainer.backend, dtype=trainer.dtype)
    places = tqdm(
        list(np.ndindex(cells, cells)), "loss landscape", unit="cell", disable=None if progress else True, delay=1
    )
    for row, column in places:
        moved = {name: centre[name] + steps[column] * first[name] + steps[row] * second[name] for name in first}
        viewer.parameters = centre | moved
        losses[row, column] = viewer.evaluate(X, y)["loss"]
    return Landscape(steps, losses, (first, second))


def filter_normalised(layout: Layout, weights: dict[str, np.ndarray], seed: int, number: int) -> dict[str, np.ndarray]:
    """A random direction, by the names of the parameters with weight decay; for each unit it has the weights' norm."""
    direction = {}
    for entry in layout.entries:
        if entry.parameter.decays:
            d = stream(seed, f"landscape {entry.name}", number).standard_normal(weights[entry.name].shape)
            direction[entry.name] = d * (_norms(weights[entry.name].astype(float)) / _norms(d))
    return direction


def loss_contour(landscape: Landscape, path: str | Path) -> None:
    """Draw the lines of equal loss around the trained net into the picture file `path`.

    The levels are those of a logarithm where the losses differ much. Hatched: the loss is not finite.
    """
    (z,), low, high = finite(landscape)
    figure, (axes,) = new_figure(width=6.4, height=5.2)
    levels, norm = scale(low, high)
    axes.patch.set(hatch="xx", edgecolor="0.6")
    filled = axes.contourf(landscape.steps, landscape.steps, z, levels, norm=norm, cmap="viridis")
    lines = axes.contour(landscape.steps, landscape.steps, z, levels[::3], colors="white", linewidths=0.7)
    axes.clabel(lines, fmt="%.2g", fontsize=8)
    mark: dict[str, Any] = {"color": "white", "edgecolor": "black", "s": 160, "marker": "*", "zorder": 3}
    axes.scatter([0], [0], **mark, label=f"trained net, loss {landscape.loss:.3g}")
    axes.set(xlabel=AXES[0], ylabel=AXES[1], xlim=landscape.steps[[0, -1]], ylim=landscape.steps[[0, -1]])
    axes.set_aspect("equal")
    figure.colorbar(filled, ax=axes, label="loss", format="%.3g", ticks=levels[::3])
    if np.ma.is_masked(z):
        axes.fill([], [], facecolor="white", edgecolor="0.6", hatch="xx", label="loss not finite")
    figure.legend(loc="outside upper left", ncols=2)
    save(figure, path)


def loss_surface(landscape: Landscape, path: str | Path) -> None:
    """Draw the loss as a surface over the two directions into `path`: a picture file, or .html for one to turn.

    The height is the logarithm of the loss where the losses differ much. A page needs plotly, and no network to open.
    """
    (z,), low, high = finite(landscape)
    title = "loss"
    if spans_magnitudes(low, high):
        z, title = np.ma.log10(z), "loss, log10"
    height = float(z[len(z) // 2, len(z) // 2])
    label = f"trained net, loss {landscape.loss:.3g}"
    if Path(path).suffix.lower() == ".html":
        _surface_page(landscape, z.filled(np.nan), height, title, label, path)
        return
    figure, (flat,) = new_figure(width=6.8, height=5.6)
    flat.remove()
    axes = figure.add_subplot(projection="3d", computed_zorder=False)
    across, up = np.meshgrid(landscape.steps, landscape.steps)
    style: dict[str, Any] = {"cmap": "viridis", "edgecolor": "black", "linewidth": 0.15, "rcount": 61, "ccount": 61}
    axes.plot_surface(across, up, z.filled(np.nan), vmin=z.min(), vmax=z.max(), **style)
    # A stem up to the rim says that the star lies in the valley, and does not float before it.
    axes.plot([0, 0], [0, 0], [height, float(z.max())], color=MARK, linewidth=2, zorder=3)
    axes.scatter([0], [0], [height], color=MARK, edgecolor="black", marker="*", s=160, label=label, zorder=3)
    axes.set(xlabel="first direction", ylabel="second direction", zlabel=title)
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.labelpad = 10  # clear of the ticks
    axes.locator_params(nbins=5)
    # High and flat enough to look into the valley.
    axes.set_box_aspect((1, 1, 0.45))
    axes.view_init(elev=65, azim=-60)
    figure.legend(loc="outside upper left")
    save(figure, path)


def _surface_page(landscape: Landscape, z: np.ndarray, height: float, title: str, label: str, path: str | Path) -> None:
    require_plotly()
    from plotly import graph_objects

    surface = graph_objects.Surface(
        x=landscape.steps,
        y=landscape.steps,
        z=z,
        customdata=landscape.losses,
        colorscale="Viridis",
        colorbar={"title": title},
        hovertemplate="a = %{x:.3g}<br>b = %{y:.3g}<br>loss = %{customdata:.4g}<extra></extra>",
        name="loss",
    )
    star = graph_objects.Scatter3d(
        x=[0.0],
        y=[0.0],
        z=[height],
        mode="markers",
        marker={"size": 7, "color": MARK, "symbol": "diamond"},
        hovertemplate=f"{label}<extra></extra>",
        name=label,
    )
    page = graph_objects.Figure([surface, star])
    titles = {"xaxis": "first direction", "yaxis": "second direction", "zaxis": title}
    scene: dict[str, Any] = {axis: {"title": text} for axis, text in titles.items()}
    # High enough to look into the valley, where the trained net lies.
    scene |= {"camera": {"eye": {"x": 1.0, "y": -1.2, "z": 1.5}}, "aspectmode": "cube"}
    page.update_layout(
        title=f"Loss around the trained net (diamond, loss {landscape.loss:.3g}): drag to turn, scroll to zoom",
        scene=scene,
        margin={"l": 10, "r": 10, "t": 60, "b": 10},
        template="plotly_white",
        showlegend=False,
    )
    save_html(page, path)


def _norms(weights: np.ndarray) -> Any:
    """Of what goes into each unit: (..., in, out) -> (..., 1, out)."""
    return np.linalg.norm(weights, axis=-2, keepdims=True)


def finite(*landscapes: Landscape) -> tuple[list[Any], float, float]:
    """The losses of each, masked where they are not finite, and the range that they span together."""
    losses = [np.ma.masked_invalid(landscape.losses) for landscape in landscapes]
    found = [z for z in losses if z.count()]
    if not found:
        raise ValueError("no loss of the landscape is finite: give a smaller reach")
    low, high = min(float(z.min()) for z in found), max(float(z.max()) for z in found)
    return losses, low, high if high > low else low + 1.0


def spans_magnitudes(low: float, high: float) -> bool:
    """Do the numbers differ so much that their logarithm shows more?"""
    return low > 0 and high > 20 * low


def scale(low: float, high: float) -> tuple[np.ndarray, Any]:
    """Levels from low to high, and the norm of their colours: logarithmic where the losses differ much."""
    from matplotlib.colors import LogNorm, Normalize

    if spans_magnitudes(low, high):
        return np.geomspace(low, high, 25), LogNorm(low, high)
    return np.linspace(low, high, 25), Normalize(low, high)
