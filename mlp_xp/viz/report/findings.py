"""A run in words: how it went, and what there is to notice."""

from dataclasses import dataclass
from math import isfinite

from mlp_xp.train.history import numbers
from mlp_xp.viz.curves import best_epoch

from .run import Run
from .words import counted, duration, headed, is_number, listed, measured, number, said

HARDLY = 0.01
"""A loss that fell by less than this share has hardly fallen."""
WORSENS = 0.1
"""A training loss that ends above its best by more than this share of its whole fall has got worse."""
OVERFITS = 0.1
"""By so much of its best value the validation loss rises while the training loss falls, where a net overfits."""
STILL = 0.02
"""A loss that fell by more than this share over the last tenth of the epochs is still falling."""


@dataclass(frozen=True)
class Finding:
    level: str
    """good, note or warning."""
    text: str


def course(run: Run, metric: str) -> str:
    """ "1.1 to 0.03 in training; 1.2 to 0.09 in validation, the best 0.08 in epoch 22"; or nothing."""
    parts = []
    for column, kind in ((metric, "training"), (f"val_{metric}", "validation")):
        points = run.series(column)
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
        steps, seconds = run.about.get("configuration", {}).get("steps"), run.seconds
        made = counted(run.epochs, "epoch") + (f" ({counted(steps, 'update')})" if is_number(steps) else "")
        sentences.append(f"{made} in {duration(seconds)}." if isfinite(seconds) else f"{made}.")
    names = run.metric_names
    for name in [name for name in names if name in ("loss", "accuracy")] or names[:2]:
        sentences += [f"{headed(name)}: {words}." for words in [course(run, name)] if words]
    tested = [f"{said(name)} {measured(name, value)}" for name, value in run.tested.items()]
    return [*sentences, f"On the test data: {listed(tested)}."] if tested else sentences


# ---- what there is to notice ----


def findings(run: Run) -> list[Finding]:
    found = [ending(run), standstill(run), worsening(run), overfitting(run), still_falling(run)]
    return [finding for finding in found if finding is not None]


def ending(run: Run) -> Finding | None:
    """Why it ended, where that was not the last epoch asked for."""
    reason, best = run.metrics.get("stopped_early"), run.metrics.get("best_epoch")
    reason = reason.rstrip(".") if isinstance(reason, str) else ""
    if said_of_it := reason if "NaN or infinite" in reason else lost(run):
        return Finding("warning", f"Diverged: {said_of_it}.")
    if reason:
        return Finding("note", f"Ended before its time: {reason}.")
    if is_number(best) and best < run.epochs:
        return Finding("note", f"The weights are those of epoch {number(int(best))} of {number(run.epochs)}, the best.")
    return None


def lost(run: Run) -> str:
    """In which epochs the loss is no number."""
    known = [(record["epoch"], isfinite(numbers(record).get("loss", 0.0))) for record in run.history]
    without = [epoch for epoch, finite in known if not finite]
    if not without:
        return ""
    if not any(finite for epoch, finite in known if epoch > without[0]):
        return f"the loss is NaN or infinite from epoch {without[0]} on"
    others = f" and {counted(len(without) - 1, 'later epoch')}" if len(without) > 1 else ""
    return f"the loss is NaN or infinite in epoch {without[0]}{others}"


def standstill(run: Run) -> Finding | None:
    values = [value for _, value in run.series("loss")]
    if len(values) < 3 or values[0] - min(values) >= HARDLY * abs(values[0]):
        return None
    return Finding(
        "note",
        f"The training loss has hardly fallen after the first epoch, from {number(values[0])} to no less than "
        f"{number(min(values))} (by less than {HARDLY:.0%}).",
    )


def worsening(run: Run) -> Finding | None:
    points = run.series("loss")
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
    training, validation = dict(run.series("loss")), run.series("val_loss")
    if len(validation) < 3:
        return None
    (epoch, best), (end, last) = min(validation, key=lambda point: point[1]), validation[-1]
    known = epoch in training and end in training
    if last - best <= OVERFITS * abs(best) or not known or training[end] >= training[epoch]:
        return None
    return Finding(
        "note",
        f"It overfits: from epoch {epoch} on the validation loss rose from {number(best)} to {number(last)}, while the "
        f"training loss fell from {number(training[epoch])} to {number(training[end])}.",
    )


def still_falling(run: Run) -> Finding | None:
    column = "val_loss" if run.series("val_loss") else "loss"
    points = run.series(column)
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
