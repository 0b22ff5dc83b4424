"""How well classes are told apart: confusion matrix, ROC and precision-recall curves, and the worst mistakes."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np

from .labels import class_labels, class_names
from .outputs import log_of, log_softmax, rows_of_outputs
from .style import LINES, look, new_figure, readable_on, require_sklearn, save

WRITTEN = 20
"""The cells of a confusion matrix with more classes are too small for numbers."""
NAMED = 10
"""So many curves of classes are named: those of the classes that are told apart worst."""
GOOD = 0.98
"""Areas from which on the curves lie so close to the corner that it is drawn larger."""
EDGES = (-0.02, 1.02)
"""A curve along the edge must not be cut in half."""


# ---- the confusion matrix ----


def confusion_matrix(
    matrix: Any, path: str | Path, names: Sequence[Any] | None = None, normalize: bool = False, *, title: str = ""
) -> None:
    """Draw how many rows of each class (outer index) are put into each class (inner index) into the file `path`.

    matrix is (classes, classes), as train.ConfusionMatrix and scikit-learn give it. The cells hold the counts and, but
    for 0, their share of the row. They are coloured by the count or, with `normalize`, by the share, on a scale of
    square roots, which shows few mistakes too.
    """
    counts = np.asarray(matrix, dtype=float)
    if counts.ndim != 2 or len(counts) != counts.shape[1] or len(counts) < 2:
        raise ValueError(f"a confusion matrix is square, a row and a column for each class; got shape {counts.shape}")
    if not np.isfinite(counts).all() or (counts < 0).any():
        raise ValueError("a confusion matrix holds counts, which are finite and not negative")
    classes, called = len(counts), class_names(names, len(counts))
    rows = counts.sum(axis=1, keepdims=True)
    shares = 100 * counts / np.where(rows > 0, rows, 1)

    written = classes <= WRITTEN
    side = max(3.0, (0.62 if written else 0.2) * classes)
    size = min(max(9.0, 14.5 * side / classes), 20.0)  # in points: grows with the cells
    figure, (axes,) = new_figure(width=side + 2.0, height=side + 1.0)
    from matplotlib.colors import PowerNorm

    shown, most, unit = (shares, 100, "share of the true class [%]") if normalize else (counts, None, "rows")
    image = axes.imshow(shown, cmap="cividis", norm=PowerNorm(0.5, 0, most))
    figure.colorbar(image, ax=axes, label=unit)
    for row, column in np.ndindex(counts.shape) if written else ():
        share = f"\n{shares[row, column]:.1f} %" if counts[row, column] else ""
        text = in_words(float(counts[row, column])) + share
        colour = readable_on(image.cmap(image.norm(shown[row, column])))
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=size)
    slanted: dict[str, Any] = {"rotation": 45, "ha": "right"} if max(map(len, called)) > 4 else {}
    axes.set_xticks(range(classes), called, **slanted)
    axes.set_yticks(range(classes), called)
    axes.set(xlabel="predicted class", ylabel="true class", title=title)
    save(figure, path)


def in_words(count: float) -> str:
    """That of weighted rows need not be a whole number."""
    return f"{count:.0f}" if count == round(count) else f"{count:.4g}"


# ---- the curves of a moving threshold ----


@dataclass(frozen=True, eq=False)
class Curves:
    """One class told from the rest by a score, with every threshold."""

    number: int
    share: float
    """Of the rows that are of the class: the precision of a score that knows nothing."""
    roc: tuple[np.ndarray, np.ndarray]
    precision_recall: tuple[np.ndarray, np.ndarray]
    auc: float
    ap: float

    @classmethod
    def of(cls, number: int, true: np.ndarray, scores: np.ndarray) -> "Curves":
        from sklearn import metrics

        false_positive, true_positive, _ = metrics.roc_curve(true, scores)
        precision, recall, _ = metrics.precision_recall_curve(true, scores, drop_intermediate=True)
        areas = float(metrics.roc_auc_score(true, scores)), float(metrics.average_precision_score(true, scores))
        return cls(number, float(true.mean()), (false_positive, true_positive), (recall, precision), *areas)


def roc_and_precision_recall(
    target: Any,
    scores: Any,
    path: str | Path,
    names: Sequence[Any] | None = None,
    *,
    from_logits: bool = True,
    title: str = "",
) -> None:
    """Draw true over false positives, and precision over recall, for every threshold into the picture file `path`.

    target are labels (rows,), or rows of probabilities; scores what the model gives, (rows,) or (rows, classes):
    logits, or probabilities with from_logits=False. One or two outputs make one curve, of class 1. Of more classes each
    is told from the rest by its probability, and those ten are named that are told apart worst; a class of which there
    is no row, or no other, has no curve. AUC is the area under the ROC curve, AP the average precision, as in
    scikit-learn.
    """
    require_sklearn("ROC curves")
    outputs = rows_of_outputs(scores)
    classes = max(outputs.shape[1], 2)
    labels = class_labels(target, len(outputs), classes)
    called = class_names(names, classes, "class ")
    curves = [
        Curves.of(number, labels == number, score)
        for number, score in ranking(outputs, from_logits).items()
        if 0 < (labels == number).sum() < len(labels)
    ]
    if not curves:
        raise ValueError("ROC curves need rows of more than one class")
    figure, (left, right) = new_figure(2, height=4.6 + 0.1 * min(len(curves), NAMED))
    draw(left, curves, called, "roc", "auc")
    draw(right, curves, called, "precision_recall", "ap")
    by_chance: dict[str, Any] = {"color": "0.4", "linewidth": 1, "linestyle": (0, (1, 3)), "label": "by chance"}
    left.plot([0, 1], [0, 1], **by_chance)
    if classes == 2:
        right.plot([0, 1], [curves[0].share] * 2, **by_chance)
    left.set(xlabel="false positive rate (share of the other rows)", ylabel="true positive rate (share of its rows)")
    right.set(xlabel="recall (share of its rows)", ylabel="precision (share of the rows put into it)")
    for axes, heading, mean in (
        (left, "ROC", f"AUC {np.mean([each.auc for each in curves]):.4f}"),
        (right, "precision and recall", f"AP {np.mean([each.ap for each in curves]):.4f}"),
    ):
        axes.set(title=heading if len(curves) == 1 else f"{heading}, mean {mean}", xlim=EDGES, ylim=EDGES)
        axes.grid(alpha=0.3)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, fontsize="small", handlelength=3)
    figure.suptitle(title or None)
    save(figure, path)


def draw(axes: Any, curves: Sequence[Curves], called: Sequence[str], points: str, area: str) -> None:
    """The curves of one kind, the worst first, and larger the corner in which they lie where all are good."""
    views = [axes]
    if min(getattr(each, area) for each in curves) > GOOD:
        x, left = ((0.0, 0.1), 0.36) if points == "roc" else ((0.9, 1.0), 0.14)
        views.append(axes.inset_axes((left, 0.14, 0.56, 0.56), xlim=x, ylim=(0.9, 1.001)))
        views[1].grid(alpha=0.3)
        axes.indicate_inset_zoom(views[1], edgecolor="0.4")
    steps = "default" if points == "roc" else "steps-post"
    for place, each in enumerate(sorted(curves, key=lambda each: each.auc)):
        if place < NAMED:
            line, (colour, _) = LINES[place % len(LINES)], look(place)
            label = f"{called[each.number]}, {area.upper()} {getattr(each, area):.4f}"
            style: dict[str, Any] = {"linestyle": line, "color": colour, "zorder": 3, "label": label}
        else:
            label = f"the {len(curves) - NAMED} others" if place == NAMED else ""
            style = {"linewidth": 0.8, "color": "0.75", "label": label}
        for view in views:
            view.plot(*getattr(each, points), drawstyle=steps, **style)


def ranking(outputs: np.ndarray, from_logits: bool) -> dict[int, np.ndarray]:
    """By what the rows are ranked for each class that gets a curve; see train.RocAuc."""
    if outputs.shape[1] <= 2:
        return {1: outputs[:, -1] - (outputs[:, 0] if outputs.shape[1] == 2 else 0)}
    return dict(enumerate((log_softmax(outputs) if from_logits else outputs).T))


# ---- the worst mistakes ----


def worst_examples(
    images: Any,
    target: Any,
    outputs: Any,
    path: str | Path,
    count: int = 20,
    names: Sequence[Any] | None = None,
    *,
    from_logits: bool = True,
    title: str = "",
) -> None:
    """Draw the images with the highest cross-entropy -log p, with p the probability of their class, into `path`.

    images are (rows, height, width), (rows, height, width, 3), or (rows, pixels) of squares; target labels (rows,), or
    rows of probabilities; outputs (rows, classes), or a single one for class 1: logits, or probabilities with
    from_logits=False. Above each stands what it is, and what it was taken for with which probability.
    """
    images, outputs = pictures(images), rows_of_outputs(outputs)
    if len(images) != len(outputs):
        raise ValueError(f"there are {len(images)} images, and outputs for {len(outputs)}")
    if count < 1:
        raise ValueError(f"worst_examples(count={count!r}): draw at least 1")
    log_p = log_softmax(outputs) if from_logits else log_of(outputs)
    labels = class_labels(target, len(images), log_p.shape[1])
    called = class_names(names, log_p.shape[1])
    cross_entropy = -log_p[np.arange(len(labels)), labels]
    worst = np.argsort(-cross_entropy, kind="stable")[:count]

    columns = min(5, len(worst))
    rows = -(-len(worst) // columns)
    figure, panels = new_figure(columns, width=1.9, height=1.9, rows=rows)
    comma = ", " if max(map(len, called)) <= 4 else ",\n"
    for axes in panels:
        axes.axis("off")
    range_: dict[str, Any] = {"vmin": images[worst].min(), "vmax": images[worst].max()}
    for axes, row in zip(panels, worst, strict=False):
        axes.imshow(images[row], cmap="gray", interpolation="nearest", **range_)
        taken = int(log_p[row].argmax())
        verdict = "right" if taken == labels[row] else f"taken for {called[taken]}"
        axes.set_title(f"{called[labels[row]]}{comma}{verdict} ({100 * np.exp(log_p[row, taken]):.0f} %)", fontsize=10)
    figure.suptitle(title or None)
    save(figure, path)


def pictures(images: Any) -> np.ndarray:
    """(rows, height, width) or (rows, height, width, 3), where rows of pixels are squares."""
    images = np.asarray(images)
    side = isqrt(images.shape[1]) if images.ndim == 2 else 0
    if side * side == images.shape[-1] and images.ndim == 2:
        images = images.reshape(-1, side, side)
    if not len(images) or not (images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3)):
        raise ValueError(f"images are (rows, height, width), or (rows, pixels) of squares; got shape {images.shape}")
    return images
