"""Two classes: what becomes of right and wrong alarms for every threshold."""

from dataclasses import dataclass

import numpy as np

from .decisions import names, outputs
from .plot import GREY, Plot, axes, line
from .run import Run
from .words import number


@dataclass(frozen=True)
class Thresholds:
    """Shares for a threshold that goes down, from none that is taken for class 1 to all: the lists are (n + 1,) for n
    different scores. Of none there is no precision, its first entry is that of the highest score again."""

    false_alarms: list[float]
    """Of the rows of class 0."""
    recall: list[float]
    precision: list[float]
    area: float
    """Under recall over false alarms."""
    average_precision: float
    """sum_k (recall_k - recall_(k-1)) precision_k"""
    rate: float
    """The share of class 1."""


def thresholds(run: Run) -> Thresholds | None:
    """Those of class 1, where there are two classes and rows of both."""
    found = outputs(run)
    if found is None or found[0].shape[1] > 2 or not 0 < found[1].sum() < len(found[1]):
        return None
    y, target = found
    score = y[:, -1].astype(float) - (y[:, 0] if y.shape[1] == 2 else 0.0)
    order = np.argsort(-score, kind="stable")
    together = np.append(np.diff(score[order]) != 0, True)  # the last of the rows with one score, which go together
    right, wrong = (np.append(0.0, np.cumsum(target[order] == kind)[together]) for kind in (1, 0))
    recall, false_alarms = right / right[-1], wrong / wrong[-1]
    precision = right[1:] / (right + wrong)[1:]
    return Thresholds(
        false_alarms.tolist(),
        recall.tolist(),
        [float(precision[0]), *precision.tolist()],
        float(np.trapezoid(recall, false_alarms)),
        float(np.sum(np.diff(recall) * precision)),
        float(target.mean()),
    )


def threshold_plots(run: Run, which: int) -> list[Plot]:
    """The ROC curve and precision over recall; none where there are not two classes."""
    found = thresholds(run)
    if found is None:
        return []
    name = names(run, 2)[1]
    roc = (
        f"The area under the curve is {number(found.area)}; 1 is perfect, 0.5 (dotted) is chance. False alarms are the "
        f"share of the other rows that are taken for {name}, recall is the share of {name} that is found."
    )
    precision = (
        f"The average precision is {number(found.average_precision)}; chance (dotted) is {number(found.rate)}, the "
        f"share of {name}."
    )
    return [
        square(
            f"roc-{which}", "ROC curve", roc, ("false alarms", found.false_alarms), ("recall", found.recall), [0, 1]
        ),
        square(
            f"precision-{which}",
            "Precision and recall",
            precision,
            ("recall", found.recall),
            ("precision", found.precision),
            [found.rate, found.rate],
        ),
    ]


def square(
    id: str, title: str, words: str, x: tuple[str, list[float]], y: tuple[str, list[float]], chance: list[float]
) -> Plot:
    """One share over another, and what chance gives."""
    hover = f"{x[0]} %{{x:.3f}}, {y[0]} %{{y:.3f}}<extra></extra>"
    dotted = line([0, 1], chance, "chance", hover="chance<extra></extra>")
    traces = [line(x[1], y[1], title, hover=hover), dotted | {"line": {"color": GREY, "dash": "dot", "width": 1.5}}]
    whole = {"range": [-0.02, 1.02]}
    return Plot(id, title, words, traces, axes(x[0], y[0], whole, whole, hover="closest"))
