"""A run in words: how it went, and what there is to notice."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite, isinf
from numbers import Integral, Real
from typing import Any, TypeGuard

from mlp_xp.train.history import numbers
from mlp_xp.viz.curves import BESIDE, best_epoch

from .run import Run

HARDLY = 0.01
"""A loss that fell by less than this share has hardly fallen."""
WORSENS = 0.1
"""A training loss that ends above its best by more than this share of its whole fall has got worse."""
OVERFITS = 0.1
"""By so much of its best value the validation loss rises while the training loss falls, where a net overfits."""
STILL = 0.02
"""A loss that fell by more than this share over the last tenth of the epochs is still falling."""
NONE = "–"
SPOKEN = {"f1": "F1", "r2": "R2", "mae": "MAE", "rmse": "RMSE", "roc": "ROC", "auc": "AUC"}


@dataclass(frozen=True)
class Finding:
    level: str
    """good, note or warning."""
    text: str


def number(value: Any) -> str:
    """A number with four digits, as it is read; a dash for none."""
    if value is None or value == "":
        return NONE
    if not is_number(value):
        return "infinite" if isinstance(value, float) and isinf(value) else "NaN" if value != value else str(value)
    if isinstance(value, Integral) or 1e4 <= abs(value) < 1e15:
        return f"{round(value):,}"
    return f"{value:.4g}"


def measured(name: str, value: Any) -> str:
    """A number of a metric: an accuracy in per cent."""
    if name.endswith("accuracy") and is_number(value):
        return f"{100 * value:.2f}\N{NO-BREAK SPACE}%"
    return number(value)


def duration(seconds: float) -> str:
    if not isfinite(seconds):
        return NONE
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, Real) and not isinstance(value, bool) and isfinite(value)


def said(name: str) -> str:
    """The name of a column as it is spoken: "val_roc_auc" is "ROC AUC"."""
    return " ".join(SPOKEN.get(word, word) for word in name.removeprefix("val_").split("_"))


def headed(name: str) -> str:
    """The same as a heading."""
    words = said(name)
    return words[:1].upper() + words[1:]


def listed(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def series(run: Run, column: str) -> list[tuple[int, float]]:
    """(epoch, value) where a column holds a number."""
    if column not in run.history.names:
        return []
    pairs = zip(run.history["epoch"], run.history[column], strict=True)
    return [(int(epoch), value) for epoch, value in pairs if is_number(value)]


def metrics_of(run: Run) -> list[str]:
    """What was measured in every epoch, the loss first."""
    names = (name.removeprefix("val_") for name in run.history.names if name in run.columns and name not in BESIDE)
    return sorted(dict.fromkeys(names), key=lambda name: name != "loss")


def total_seconds(run: Run) -> float:
    """How long it took; NaN where nobody looked at the clock."""
    spent = [seconds for _, seconds in series(run, "seconds")]
    given = run.metrics.get("seconds")
    return float(given) if is_number(given) else sum(spent) if spent else float("nan")


# ---- how it went ----


def course(run: Run, metric: str) -> str:
    """ "1.1 to 0.03 in training; 1.2 to 0.09 in validation, the best 0.08 in epoch 22"; or nothing."""
    parts = []
    for column, kind in ((metric, "training"), (f"val_{metric}", "validation")):
        points = series(run, column)
        if points:
            first, last = (measured(column, value) for _, value in (points[0], points[-1]))
            parts.append(f"{first} to {last} in {kind}" if len(points) > 1 else f"{last} in {kind}")
    best = best_epoch(run.history, metric)
    if best is not None and parts:
        parts[-1] += f", the best {measured(metric, best[1])} in epoch {number(best[0])}"
    return "; ".join(parts)


def summary(run: Run) -> list[str]:
    """Sentences: how long it took, loss and accuracy in their course, and the test."""
    sentences = []
    if len(run.history):
        steps, seconds = run.about.get("configuration", {}).get("steps"), total_seconds(run)
        made = counted(run.epochs, "epoch") + (f" ({counted(steps, 'update')})" if is_number(steps) else "")
        sentences.append(f"{made} in {duration(seconds)}." if isfinite(seconds) else f"{made}.")
    names = metrics_of(run)
    for name in [name for name in names if name in ("loss", "accuracy")] or names[:2]:
        sentences += [f"{headed(name)}: {words}." for words in [course(run, name)] if words]
    tested = [f"{said(name)} {measured(name, value)}" for name, value in test_metrics(run).items()]
    return [*sentences, f"On the test data: {listed(tested)}."] if tested else sentences


def counted(count: float, what: str) -> str:
    return f"{number(int(count))} {what}{'' if count == 1 else 's'}"


def test_metrics(run: Run) -> dict[str, float]:
    """What was measured on the test data, the loss last."""
    found = {name: value for name, value in run.metrics.items() if name.startswith("test_") and is_number(value)}
    return dict(sorted(((name[5:], value) for name, value in found.items()), key=lambda pair: pair[0] == "loss"))


# ---- what there is to notice ----


def findings(run: Run) -> list[Finding]:
    found = [ending(run), standstill(run), worsening(run), overfitting(run), still_falling(run)]
    return [finding for finding in found if finding is not None]


def ending(run: Run) -> Finding | None:
    """Why it ended, where that was not the last epoch asked for."""
    reason, best = run.metrics.get("stopped_early"), run.metrics.get("best_epoch")
    reason = reason.rstrip(".") if isinstance(reason, str) else ""
    lost = [record["epoch"] for record in run.history if not isfinite(numbers(record).get("loss", 0.0))]
    if lost or "NaN or infinite" in reason:
        return Finding("warning", f"Diverged: {reason or f'the loss is NaN or infinite from epoch {lost[0]} on'}.")
    if reason:
        return Finding("note", f"Ended before its time: {reason}.")
    if is_number(best) and best < run.epochs:
        return Finding("note", f"Early stopping: epoch {number(int(best))} of {number(run.epochs)} was the best.")
    return None


def standstill(run: Run) -> Finding | None:
    values = [value for _, value in series(run, "loss")]
    if len(values) < 3 or values[0] - min(values) >= HARDLY * abs(values[0]):
        return None
    return Finding(
        "warning",
        f"The training loss has hardly fallen, from {number(values[0])} to no less than {number(min(values))} "
        f"(by less than {HARDLY:.0%}): the net learned next to nothing.",
    )


def worsening(run: Run) -> Finding | None:
    points = series(run, "loss")
    if len(points) < 3:
        return None
    (_, first), (epoch, best), (_, last) = points[0], min(points, key=lambda point: point[1]), points[-1]
    if last - best <= WORSENS * max(first - best, HARDLY * abs(first)):
        return None
    return Finding(
        "note",
        f"The training loss ended at {number(last)}, above its best of {number(best)} in epoch {epoch}: the learning "
        "rate may be too high.",
    )


def overfitting(run: Run) -> Finding | None:
    training, validation = dict(series(run, "loss")), series(run, "val_loss")
    if len(validation) < 3:
        return None
    (epoch, best), (end, last) = min(validation, key=lambda point: point[1]), validation[-1]
    if last - best <= OVERFITS * abs(best) or not training.get(end, 0.0) < training.get(epoch, 0.0):
        return None
    return Finding(
        "note",
        f"It overfits: from epoch {epoch} on the validation loss rose from {number(best)} to {number(last)}, while the "
        f"training loss fell from {number(training[epoch])} to {number(training[end])}.",
    )


def still_falling(run: Run) -> Finding | None:
    column = "val_loss" if len(series(run, "val_loss")) else "loss"
    points = series(run, column)
    tenth = max(1, len(points) // 10)
    if len(points) < 5 or points[-1][1] > min(value for _, value in points):
        return None
    before, last = points[-1 - tenth][1], points[-1][1]
    fall = (before - last) / abs(before) if before else 0.0
    if fall <= STILL:
        return None
    kind = "validation" if column == "val_loss" else "training"
    over = f"the last {tenth} epochs" if tenth > 1 else "the last epoch"
    return Finding(
        "note", f"The {kind} loss was still falling at the end, by {fall:.0%} over {over}: longer training may help."
    )
