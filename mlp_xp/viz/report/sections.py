"""One run as the page shows it: all that is said, listed and drawn of it alone."""

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import Any

from mlp_xp.train.history import numbers
from mlp_xp.viz.curves import best_epoch

from . import health
from .decisions import Confusion, confusion
from .findings import Finding, findings, summary
from .layers import layer_plots
from .plane import plane
from .plot import Plot, Toggle
from .run import Run
from .thresholds import threshold_plots
from .words import duration, is_number, measured, number, said

ROWS = 24
"""At most so many epochs are listed in a table, and the best."""


@dataclass(frozen=True)
class Tile:
    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Sections:
    """One run as the page shows it."""

    run: Run
    summary: list[str]
    findings: list[Finding]
    tiles: list[Tile]
    confusion: Confusion | None
    thresholds: list[Plot]
    plane: tuple[Plot, list[Toggle]] | None
    layers: list[health.LayerHealth]
    layer_plots: list[Plot]
    layer_legend: list[Toggle]
    epochs: tuple[list[str], list[list[str]]]
    missing: list[str]
    """What the folder does not hold, in words."""

    @classmethod
    def at(cls, run: Run, which: int, name: str) -> "Sections":
        guard = Guard(run)
        recording = run.recording
        plots, toggles = guard("the layers", lambda: layer_plots(recording, which)) or ([], [])
        drawn = guard("the plane", lambda: plane(run, which, name or "The classified plane"))
        of_course = guard("what there is to notice", lambda: findings(run)) or []
        return cls(
            run,
            guard("the summary", lambda: summary(run)) or [],
            [*of_course, *(guard("the layers", lambda: health.findings(recording)) or [])],
            guard("the figures", lambda: tiles(run)) or [],
            guard("the confusion matrix", lambda: confusion(run)),
            guard("the curves over all thresholds", lambda: threshold_plots(run, which)) or [],
            drawn,
            guard("the layers", lambda: health.layers(recording)) or [],
            plots,
            toggles,
            guard("the epochs", lambda: epochs(run)) or ([], []),
            missing(run, moves=drawn is None or bool(drawn[0].frames)),
        )


class Guard:
    """Makes a part of the report; what cannot be made of what was read is left out, and becomes a problem in words."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def __call__(self, what: str, make: Callable[[], Any]) -> Any:
        try:
            return make()
        except (ValueError, LookupError, TypeError, ArithmeticError) as error:
            self.run.problem(f"{what} cannot be shown: {' '.join(str(error).split())}")
            return None


def missing(run: Run, moves: bool) -> list[str]:
    """What the folder does not hold, and how it comes to hold it; does the plane move, if there is one?"""
    words = []
    if not len(run.history):
        words.append("No epoch was recorded: there are no learning curves.")
    if not run.recording.records and "recording.json" not in run.damaged:
        words.append(
            "The layers were not recorded: pass callbacks=[recorder] with recorder = train.Recorder() to fit, and "
            "recording=recorder.recording to train.save_run."
        )
    looked_at = f"{run.part}_outputs" in run.results or "confusion_matrix" in run.metrics
    if not looked_at and "results.safetensors" not in run.damaged:
        words.append("There are no outputs for test data: pass test=(X, y) to train.save_run.")
    unread = {"recording.json", "snapshots.safetensors"} & run.damaged
    if not moves and not run.recording.snapshots and run.recording.records and not unread:
        words.append("The plane does not move, as there are no snapshots: train.Recorder(snapshots=True) keeps them.")
    return words


# ---- numbers ----


def tiles(run: Run) -> list[Tile]:
    """The figures that one looks for first."""
    tested = run.tested
    scores = [name for name in tested if name != "loss"]
    first = ["accuracy"] if "accuracy" in tested else scores[: 1 if "loss" in tested else 2]
    found = [Tile(f"Test {said(name)}", measured(name, tested[name])) for name in [*first, "loss"] if name in tested]
    for metric in [name for name in ("loss", "accuracy") if name in run.metric_names]:
        kind = "validation" if run.series(f"val_{metric}") else "training"
        best = best_epoch(run.history, metric)
        if best is not None:
            found.append(Tile(f"Best {kind} {metric}", measured(metric, best[1]), f"epoch {number(best[0])}"))
    if len(run.history):
        found.append(Tile("Epochs", number(run.epochs)))
    if isfinite(run.seconds):
        found.append(Tile("Time", duration(run.seconds)))
    count = run.about.get("configuration", {}).get("parameters")
    return [*found, Tile("Parameters", number(count))] if is_number(count) else found


def epochs(run: Run) -> tuple[list[str], list[list[str]]]:
    """The head and some rows of the history: the first, the last and the best epoch are among them."""
    records = [numbers(record) for record in run.history]
    names = [name for name in run.columns if name != "epoch"]
    best = best_epoch(run.history, "loss")
    marked = [i for i, record in enumerate(records) if best is not None and record["epoch"] == best[0]]
    last = len(records) - 1
    spread = [round(i * last / (ROWS - 1)) for i in range(ROWS)] if last >= ROWS else range(len(records))
    rows = [
        [f"{number(int(records[i]['epoch']))}{' (best)' if i in marked else ''}"]
        + [measured(name, records[i].get(name)) for name in names]
        for i in sorted({*spread, *marked})
    ]
    return ["epoch", *(f"{'validation ' if name.startswith('val_') else ''}{said(name)}" for name in names)], rows
