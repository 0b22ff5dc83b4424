"""Loss and metrics over the epochs."""

from collections.abc import Mapping, Sequence
from math import isfinite, nan
from numbers import Real
from pathlib import Path
from typing import Any

from mlp_xp.train import History
from mlp_xp.train.history import numbers

from .style import COLOURS, look, new_figure, save

BESIDE = ("epoch", "learning_rate", "seconds")
"""Columns of a history that measure nothing of the model."""
ERRORS = ("loss", "error", "entropy", "brier", "mae", "mse")
"""What less of is better has one of these in its name."""
PANELS = 3
"""At most so many stand side by side."""


def learning_curves(
    runs: History | Mapping[str, History],
    path: str | Path,
    metrics: Sequence[str] | str | None = ("loss", "accuracy"),
    *,
    smoothing: float = 0.0,
    mark_best: bool = True,
) -> None:
    """Draw a panel for each metric into the picture file `path`: training solid, validation dashed.

    `runs` is one history, or several by name to compare; each is drawn where it has the metric. `metrics` is one or
    several; None takes all that were recorded. What is not a number, such as a confusion matrix, is left out.

    smoothing in [0, 1) is the weight that the mean so far keeps with every epoch, s = smoothing s + (1 - smoothing) x,
    corrected for its start; the curve as measured stays faint behind. mark_best sets a star on the best epoch of each
    run, by its validation value where there is one: the lowest of a loss or an error, which its name tells, else the
    highest.
    """
    if not 0 <= smoothing < 1:
        raise ValueError(f"learning_curves(smoothing={smoothing!r}): choose at least 0 (none) and less than 1")
    named = {"": runs} if isinstance(runs, History) else dict(runs)
    recorded = dict.fromkeys(name for history in named.values() for record in history for name in numbers(record))
    measured = dict.fromkeys(name.removeprefix("val_") for name in recorded if name not in BESIDE)
    wanted = measured if metrics is None else [metrics] if isinstance(metrics, str) else metrics
    present = [metric for metric in wanted if {metric, f"val_{metric}"} & recorded.keys()]
    if not present:
        raise ValueError(f"none of {', '.join(wanted) or 'the metrics'} was recorded as a number")
    columns = min(len(present), PANELS)
    rows = -(-len(present) // columns)
    abreast = 1 if max(map(len, named)) > 12 else 2
    entries = len(named) * (3 if mark_best else 2)
    figure, panels = new_figure(columns, height=4.2 + 0.2 * entries / abreast, rows=rows)
    for unused in panels[len(present) :]:
        unused.remove()
    for metric, axes in zip(present, panels, strict=False):
        for number, (name, history) in enumerate(named.items()):
            draw(axes, metric, history, name, number if len(named) > 1 else None, smoothing)
            if mark_best and (best := best_epoch(history, metric)) is not None:
                label = f"best {best[1]:.4g} (epoch {best[0]})"
                colour = axes.get_lines()[-1].get_color()  # that of the validation, where there is one
                star: dict[str, Any] = {"marker": "*", "s": 170, "color": colour, "edgecolor": "black", "zorder": 3}
                axes.scatter(*best, label=f"{name}, {label}" if name else label, **star)
        drawn = [value for line in axes.get_lines() for value in line.get_ydata() if isfinite(value)]
        if lower_is_better(metric) and drawn and min(drawn) > 0 and max(drawn) > 20 * min(drawn):
            axes.set_yscale("log")
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_ylabel(metric)
        axes.grid(alpha=0.3)
        below: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.14)}  # where it hides nothing
        axes.legend(ncols=abreast, fontsize="small", handlelength=3, **below)
    save(figure, path)


def draw(axes: Any, metric: str, history: History, name: str, number: int | None, smoothing: float) -> None:
    """The training and the validation values of a run, with a colour and a marker of its own if it has a number."""
    for shade, (column, line, kind) in enumerate(((metric, "-", "training"), (f"val_{metric}", "--", "validation"))):
        values = numbers_of(history, column)
        if values is None:
            continue
        colour, marker = (COLOURS[shade], None) if number is None else look(number)
        # A single epoch is a point, which a line would not show.
        style: dict[str, Any] = {"color": colour, "marker": "o" if len(history) == 1 else marker, "markersize": 5}
        style |= {"markevery": max(1, len(history) // 8), "label": f"{name}, {kind}" if name else kind}
        if smoothing:
            axes.plot(history["epoch"], values, color=colour, alpha=0.25, linewidth=1)
        axes.plot(history["epoch"], smoothed(values, smoothing), line, **style)


def numbers_of(history: History, column: str) -> list[float] | None:
    """A column, with NaN for what is not a number; None where nothing is one."""
    if not any(column in numbers(record) for record in history):
        return None
    return [float(value) if isinstance(value, Real) else nan for value in history[column]]


def smoothed(values: Sequence[float], weight: float) -> list[float]:
    """s_t = w s_(t-1) + (1 - w) x_t over 1 - w^t, from s_0 = 0; what is not finite stays and is not remembered."""
    mean = seen = 0.0
    result = []
    for value in values:
        if isfinite(value):
            mean, seen = weight * mean + (1 - weight) * value, weight * seen + (1 - weight)
        result.append(mean / seen if isfinite(value) else value)
    return result


def lower_is_better(metric: str) -> bool:
    return any(word in metric.lower() for word in ERRORS)


def best_epoch(history: History, metric: str) -> tuple[int, float] | None:
    """(epoch, value) of the best validation value, or of the best training value where none was validated.

    None for fewer than two epochs with a value: one alone is not the best.
    """
    for column in (f"val_{metric}", metric):
        values = numbers_of(history, column) or []
        found = [pair for pair in zip(history["epoch"], values, strict=False) if isfinite(pair[1])]
        if found:
            choose = min if lower_is_better(metric) else max
            return choose(found, key=lambda pair: pair[1]) if len(found) > 1 else None
    return None
