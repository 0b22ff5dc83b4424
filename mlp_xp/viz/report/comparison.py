"""Several runs side by side: what they reached, and how their settings differ."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mlp_xp.viz.curves import best_epoch, lower_is_better

from .run import Run
from .words import NONE, duration, is_number, measured, number, said


@dataclass(frozen=True)
class Cell:
    text: str
    value: float | None = None
    """By which it is sorted."""
    best: bool = False


@dataclass(frozen=True)
class Column:
    head: str
    cells: list[Cell]


def column(
    head: str, values: Sequence[Any], say: Callable[[Any], str], better: Callable[[list[float]], float] | None = None
) -> Column:
    """A number of each run, or a dash. The best is marked, in every run that has it, unless all have."""
    known = [value for value in values if is_number(value)]
    best = better(known) if better is not None and len(set(known)) > 1 else None
    return Column(head, [Cell(say(v), float(v), v == best) if is_number(v) else Cell(NONE) for v in values])


def comparison(runs: Sequence[Run], warnings: Sequence[int]) -> list[Column]:
    """The columns of a table with a row for each run; those that would be empty are left out."""
    columns = []
    for name in dict.fromkeys(name for run in runs for name in run.tested):
        values = [run.tested.get(name) for run in runs]
        columns.append(column(f"Test {said(name)}", values, saying(name), better(name)))
    for name in dict.fromkeys(name for run in runs for name in run.metric_names):
        validated = [bool(run.series(f"val_{name}")) for run in runs]
        found = [best_epoch(run.history, name) for run in runs]
        for kind, wanted in (("validation", True), ("training", False)):
            if wanted or not any(validated):
                values = [
                    pair[1] if pair and had == wanted else None for pair, had in zip(found, validated, strict=True)
                ]
                columns.append(column(f"Best {kind} {said(name)}", values, saying(name), better(name)))
    final = [dict(run.series("loss")).get(run.epochs) for run in runs]
    columns += [
        column("Training loss at the end", final, number, min),
        column("Epochs", [run.epochs or None for run in runs], number),
        column("Time", [run.seconds for run in runs], duration, min),
        column("Parameters", [run.about.get("configuration", {}).get("parameters") for run in runs], number),
        column("Warnings", warnings, number),
    ]
    return [each for each in columns if any(cell.value is not None for cell in each.cells)]


def saying(name: str) -> Callable[[Any], str]:
    return lambda value: measured(name, value)


def better(name: str) -> Callable[[list[float]], float]:
    return min if lower_is_better(name) else max
