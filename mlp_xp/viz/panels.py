"""Many nets beside each other, a small panel for each, all with the same axes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlp_xp.train import History

from .landscape import AXES, Landscape, finite, scale, spans_magnitudes
from .style import COLOURS, new_figure, save

COLUMNS = 5


def learning_curve_panels(
    runs: Mapping[str, Sequence[History]], path: str | Path, column: str = "val_accuracy", *, label: str = ""
) -> None:
    """Draw a column of the histories over the epochs, a panel for each name, into the picture file `path`.

    A name has one or several runs, such as those from different seeds: drawn is their mean, in a band from the lowest
    to the highest, as far as all of them got. Behind it stand the means of all others in grey, to compare. `label`
    says what the column is, by default its name.
    """
    courses = {name: _course(name, histories, column) for name, histories in runs.items()}
    if not courses:
        raise ValueError("there are no runs to draw")
    drawn = np.concatenate([course.ravel() for _, course in courses.values()])
    drawn = drawn[np.isfinite(drawn)]
    if not drawn.size:
        raise ValueError(f"no value of {column!r} is finite")
    low, high = float(drawn.min()), float(drawn.max())
    logarithmic = spans_magnitudes(low, high)
    limits = (low / 1.2, high * 1.2) if logarithmic else (low - 0.05 * (high - low), high + 0.05 * (high - low))
    columns = min(len(courses), COLUMNS)
    rows = -(-len(courses) // columns)
    figure, panels = new_figure(columns, width=max(2.6, 5.2 / columns), height=2.2 if rows > 1 else 3.0, rows=rows)
    for unused in panels[len(courses) :]:
        unused.remove()
    longest = max(epochs[-1] for epochs, _ in courses.values())
    for number, (axes, (name, (epochs, course))) in enumerate(zip(panels, courses.items(), strict=False)):
        for other, values in courses.values():
            axes.plot(other, values.mean(axis=0), color="0.85", linewidth=0.8, zorder=1)
        mean = course.mean(axis=0)
        marker = "o" if len(epochs) == 1 else None  # a point, which a line would not show
        axes.fill_between(epochs, course.min(axis=0), course.max(axis=0), color=COLOURS[0], alpha=0.25, linewidth=0)
        axes.plot(epochs, mean, color=COLOURS[0], linewidth=2, marker=marker)
        axes.set_title(f"{name}  {mean[-1]:.3g}", fontsize="medium")
        axes.set(yscale="log" if logarithmic else "linear", xlim=(0, longest + 1))
        if low < high:
            axes.set_ylim(*limits)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.tick_params(labelleft=number % columns == 0, labelbottom=number + columns >= len(courses))
        axes.grid(alpha=0.3)
    figure.supxlabel("epoch")
    figure.supylabel(label or column)
    _explain(figure, several=max(map(len, runs.values())) > 1, others=len(courses) > 1, columns=columns)
    save(figure, path)


def _explain(figure: Any, *, several: bool, others: bool, columns: int) -> None:
    """What the lines are, and the number in the titles."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [Line2D([], [], color=COLOURS[0], linewidth=2, label="mean of the runs" if several else "run")]
    if several:
        handles.append(Patch(color=COLOURS[0], alpha=0.25, linewidth=0, label="from the lowest to the highest run"))
    if others:
        handles.append(
            Line2D([], [], color="0.75", linewidth=0.8, label="mean of the others" if several else "the others")
        )
    number = Line2D([], [], linestyle="", label="after each name: the value at the end")
    figure.legend(handles=[*handles, number], loc="outside upper center", ncols=min(columns, 4), frameon=False)


def _course(name: str, histories: Sequence[History], column: str) -> tuple[np.ndarray, np.ndarray]:
    """The epochs that all runs of a name have made, and the column over them, (runs, epochs)."""
    made = min((len(history) for history in histories), default=0)
    if not made:
        raise ValueError(f"{name} has no run with an epoch to draw")
    return np.asarray(histories[0]["epoch"][:made]), np.asarray(
        [history[column][:made] for history in histories], float
    )


def loss_contour_panels(
    landscapes: Mapping[str, Landscape], path: str | Path, *, level: float | None = None, columns: int = 3
) -> None:
    """Draw the losses around several trained nets with one scale, a panel for each name, into the picture file `path`.

    `level` is a loss to compare, such as that of guessing: a thick line, and in the title the share of the plane that
    lies below it. Hatched: the loss is not finite.
    """
    if not landscapes:
        raise ValueError("there are no landscapes to draw")
    losses, low, high = finite(*landscapes.values())
    columns = min(columns, len(landscapes))
    figure, panels = new_figure(columns, width=3.4, height=3.1, rows=-(-len(landscapes) // columns))
    for unused in panels[len(landscapes) :]:
        unused.remove()
    levels, norm = scale(low, high)
    for number, (axes, (name, landscape), z) in enumerate(zip(panels, landscapes.items(), losses, strict=False)):
        steps = landscape.steps
        axes.patch.set(hatch="xx", edgecolor="0.6")
        title = name if level is None else f"{name}\n{landscape.share_below(level):.1%} below {level:.3g}"
        if z.count():
            filled = axes.contourf(steps, steps, z, levels, norm=norm, cmap="viridis", extend="both")
            _lines(axes, landscape, levels[::3], colors="white", linewidths=0.5)
        if level is not None:
            _lines(axes, landscape, [level], colors=COLOURS[1], linewidths=2.5)
        axes.scatter([0], [0], color="white", edgecolor="black", s=120, marker="*", zorder=3)
        axes.set_title(title, fontsize="medium")
        axes.set_aspect("equal")
        axes.tick_params(labelleft=number % columns == 0, labelbottom=number + columns >= len(landscapes))
    figure.supxlabel(AXES[0])
    figure.supylabel(AXES[1])
    figure.colorbar(filled, ax=panels[: len(landscapes)], label="loss", format="%.2g", ticks=levels[::3])
    save(figure, path)


def _lines(axes: Any, landscape: Landscape, levels: Any, **style: Any) -> None:
    """Those of the levels that the losses cross."""
    z = np.ma.masked_invalid(landscape.losses)
    crossed = [level for level in levels if z.count() and z.min() < level < z.max()]
    if crossed:
        axes.contour(landscape.steps, landscape.steps, z, crossed, **style)
