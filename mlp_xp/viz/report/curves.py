"""Learning curves of one run, or of several together."""

from collections.abc import Sequence
from typing import Any

from mlp_xp.viz.curves import best_epoch, lower_is_better
from mlp_xp.viz.style import COLOURS, look

from .findings import course
from .plot import MOST, Plot, Toggle, axes, by_epoch, line, shade, symbol, wide
from .run import Run
from .words import headed, listed, measured, number, said

PARTS = (("training", "", "solid"), ("validation", "val_", "dash"))


def curves(runs: Sequence[Run]) -> list[Plot]:
    """A plot for each metric, and for a learning rate that changes."""
    names = list(dict.fromkeys(name for run in runs for name in run.metric_names))
    plots = [curve(runs, name, i) for i, name in enumerate(sorted(names, key=lambda name: name != "loss"))]
    if any(len({value for _, value in run.series("learning_rate")}) > 1 for run in runs):
        plots.append(rates(runs, len(plots)))
    return plots


def curve(runs: Sequence[Run], metric: str, place: int) -> Plot:
    """Training and validation in one plot; each run is drawn where it has the metric."""
    several = len(runs) > 1
    traces: list[dict[str, Any]] = []
    words: list[str] = []
    for i, run in enumerate(runs):
        name = f"{run.name}, " if several else ""
        for part, (kind, prefix, dash) in enumerate(PARTS):
            if f"{prefix}{metric}" in run.columns:
                colour, mark = (look(i)[0], symbol(i)) if several else (COLOURS[part], "")
                drawn = run.history["epoch"], run.history[f"{prefix}{metric}"]
                keys = (f"run-{i}", f"part-{kind}")
                traces.append(line(*drawn, f"{name}{kind}", keys, colour, dash=dash, symbol=mark, smooth=True))
        best = best_epoch(run.history, metric)
        if best is not None:
            traces.append(star(best, i, f"{name}best", metric))
        if said_of_it := course(run, metric):
            words.append(f"{run.name}: {said_of_it}." if several else f"{said_of_it}.")
    missing = [run.name for run in runs if metric not in run.metric_names]
    words += [f"Not measured in {listed(missing)}."] if missing else []
    words += ["Of so many epochs not all are drawn."] if any(len(run.history) > MOST for run in runs) else []
    layout = axes("epoch", said(metric), by_epoch([epoch for run in runs for epoch in run.history["epoch"]]))
    logarithmic = wide([y for trace in traces for y in trace["y"]]) if lower_is_better(metric) else None
    told = headed(metric), " ".join(words)
    return Plot(f"curve-{place}", *told, traces, layout, logarithmic=logarithmic, kind="metric")


def star(best: tuple[int, float], run: int, name: str, metric: str) -> dict[str, Any]:
    epoch, value = best
    marker = {"symbol": "star", "size": 14, "color": "#FFFFFF", "line": {"color": look(run)[0], "width": 2}}
    hover = f"{measured(metric, value)} in epoch {epoch}"
    drawn = line([epoch], [value], name, (f"run-{run}", "best"), hover=hover)
    return drawn | {"mode": "markers", "marker": marker}


def rates(runs: Sequence[Run], place: int) -> Plot:
    several = len(runs) > 1
    traces, words, epochs = [], [], [0]
    for i, run in enumerate(runs):
        points = run.series("learning_rate")
        if points:
            x, y = zip(*points, strict=True)
            traces.append(line(x, y, run.name, [f"run-{i}"], look(i)[0], symbol=symbol(i) if several else ""))
            top = max(points, key=lambda point: point[1])
            between = f", the highest {number(top[1])} in epoch {top[0]}" if top[1] > max(y[0], y[-1]) else ""
            words.append(f"{f'{run.name}: ' if several else ''}{number(y[0])} to {number(y[-1])}{between}.")
            epochs += x
    logarithmic = wide([y for trace in traces for y in trace["y"]])
    layout = axes("epoch", "learning rate", by_epoch(epochs))
    told = "Learning rate", " ".join(words)
    return Plot(f"curve-{place}", *told, traces, layout, logarithmic=logarithmic, kind="rate")


def legend(runs: Sequence[Run], plots: Sequence[Plot]) -> list[tuple[str, list[Toggle]]]:
    """The legend of all learning curves together: (what it lists, its lines)."""
    several = len(runs) > 1
    used = {key for plot in plots for trace in plot.traces for key in trace["meta"]["keys"]}
    named = [Toggle(f"run-{i}", run.name, shade(i), symbol=symbol(i)) for i, run in enumerate(runs)]
    parts = [
        Toggle(f"part-{kind}", kind, None if several else part, dash) for part, (kind, _, dash) in enumerate(PARTS)
    ]
    parts.append(Toggle("best", "best epoch", None if several else 0, "", "star"))
    groups = [("Runs", named if several else []), ("Curves", parts)]
    return [(head, [toggle for toggle in toggles if toggle.key in used]) for head, toggles in groups]
