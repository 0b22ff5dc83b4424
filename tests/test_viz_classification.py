"""Confusion matrices, ROC and precision-recall curves, and the worst mistakes: what is drawn is what was measured."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from mlp_xp import nn, train, viz
from mlp_xp.viz.style import contrast, pale, readable_on

to_rgb = pytest.importorskip("matplotlib.colors").to_rgb
generator = np.random.default_rng(0)
TARGET = np.arange(60) % 3
LOGITS = generator.normal(size=(60, 3)) + 1.5 * np.eye(3)[TARGET]
MATRIX = [[48, 2, 0], [5, 30, 15], [0, 0, 0]]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that would be saved."""
    figures: list[Any] = []
    monkeypatch.setattr(viz.classification, "save", lambda figure, path: figures.append(figure))
    return figures


def softmax(z: np.ndarray) -> np.ndarray:
    return np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)


def legend(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


# ---- the confusion matrix ----


@pytest.mark.parametrize("normalize", [False, True])
def test_cells_hold_counts_and_shares_and_can_be_read(tmp_path: Path, drawn: list[Any], normalize: bool) -> None:
    viz.confusion_matrix(MATRIX, tmp_path / "m.png", ["a", "b", "c"], normalize)
    axes = drawn[0].axes[0]
    written = {(int(text.get_position()[1]), int(text.get_position()[0])): text for text in axes.texts}
    assert len(written) == 9
    assert written[0, 0].get_text() == "48\n96.0 %" and written[1, 2].get_text() == "15\n30.0 %"
    assert written[0, 2].get_text() == written[2, 2].get_text() == "0"
    (image,) = axes.get_images()
    shares = [[96, 4, 0], [10, 60, 30], [0, 0, 0]]
    np.testing.assert_allclose(image.get_array(), shares if normalize else MATRIX)
    for (row, column), text in written.items():
        ground = image.cmap(image.norm(image.get_array()[row, column]))
        assert contrast(to_rgb(text.get_color()), ground) >= 4.5
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c"]
    assert drawn[0].axes[1].get_ylabel() == ("share of the true class [%]" if normalize else "rows")


def test_text_can_be_read_on_every_colour_of_the_scale() -> None:
    from matplotlib import colormaps

    for ground in colormaps["cividis"](np.linspace(0, 1, 256)):
        assert contrast(to_rgb(readable_on(ground)), ground) >= 4.5
    assert contrast((0, 0, 0), (1, 1, 1)) == pytest.approx(21)
    # A published pair: #767676 is the lightest grey that can be read on white.
    assert contrast(to_rgb("#767676"), (1, 1, 1)) == pytest.approx(4.54, abs=5e-3)
    assert pale("#0080FF", 0.5) == "#80C0FF"


def test_what_the_metric_measured_is_drawn(tmp_path: Path, drawn: list[Any]) -> None:
    trainer = train.Trainer(
        nn.Linear(3, 3), nn.SoftmaxCrossEntropy(), metrics=[train.ConfusionMatrix()], backend="numpy"
    )
    trainer.parameters = {"weight": np.eye(3), "bias": np.zeros((1, 3))}
    measured = trainer.evaluate(LOGITS, TARGET)["confusion_matrix"]
    viz.confusion_matrix(measured, tmp_path / "m.png")
    expected = metrics.confusion_matrix(TARGET, LOGITS.argmax(axis=1))
    np.testing.assert_array_equal(drawn[0].axes[0].get_images()[0].get_array(), expected)
    assert drawn[0].axes[0].texts[0].get_text().startswith(f"{expected[0, 0]}\n")  # not 16.0


def test_many_classes_are_drawn_without_numbers_and_weighted_counts_with_theirs(
    tmp_path: Path, drawn: list[Any]
) -> None:
    viz.confusion_matrix(np.eye(30), tmp_path / "m.png")
    viz.confusion_matrix([[2.125, 1.0], [0.5, 3.0]], tmp_path / "m.png")
    many, weighted = (figure.axes[0] for figure in drawn)
    assert not many.texts
    assert [text.get_text().split("\n")[0] for text in weighted.texts] == ["2.125", "1", "0.5", "3"]


def test_numbers_grow_with_the_cells(tmp_path: Path, drawn: list[Any]) -> None:
    for classes in (2, 3, 10, 20):
        viz.confusion_matrix(np.eye(classes), tmp_path / "m.png")
    assert [figure.axes[0].texts[0].get_fontsize() for figure in drawn] == pytest.approx([20, 14.5, 9, 9], abs=0.01)


@pytest.mark.parametrize(
    ("matrix", "names", "message"),
    [
        ([[1, 2, 3], [4, 5, 6]], None, r"is square, a row and a column for each class; got shape \(2, 3\)"),
        ([1, 2], None, r"got shape \(2,\)"),
        ([[1]], None, r"got shape \(1, 1\)"),
        ([[1, -1], [0, 1]], None, "counts, which are finite and not negative"),
        ([[1, np.nan], [0, 1]], None, "counts, which are finite and not negative"),
        ([[1, 0], [0, 1]], ["a", "b", "c"], "there are 2 classes, and names for 3: a, b, c"),
    ],
)
def test_what_is_no_confusion_matrix_is_refused(tmp_path: Path, matrix: Any, names: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        viz.confusion_matrix(matrix, tmp_path / "m.png", names)


# ---- ROC, precision and recall ----


@pytest.mark.parametrize("outputs", ["one", "two", "row"])
def test_two_classes_make_one_curve_with_its_area(tmp_path: Path, drawn: list[Any], outputs: str) -> None:
    target, score = TARGET > 0, LOGITS[:, 1] - LOGITS[:, 0]
    given = {"one": score[:, None], "two": LOGITS[:, :2], "row": score}[outputs]
    viz.roc_and_precision_recall(target[:, None], given, tmp_path / "roc.png", names=["healthy", "ill"])
    roc, precision_recall = drawn[0].axes
    false_positive, true_positive, _ = metrics.roc_curve(target, score)
    np.testing.assert_array_equal(roc.get_lines()[0].get_xydata(), np.stack([false_positive, true_positive], axis=1))
    assert legend(roc) == [f"ill, AUC {metrics.roc_auc_score(target, score):.4f}", "by chance"]
    precision, recall, _ = metrics.precision_recall_curve(target, score, drop_intermediate=True)
    np.testing.assert_array_equal(precision_recall.get_lines()[0].get_xydata(), np.stack([recall, precision], axis=1))
    assert legend(precision_recall) == [f"ill, AP {metrics.average_precision_score(target, score):.4f}", "by chance"]
    np.testing.assert_allclose(precision_recall.get_lines()[1].get_ydata(), 2 / 3)  # as many are ill


@pytest.mark.parametrize("from_logits", [True, False])
def test_of_more_classes_each_is_told_from_the_rest_by_its_probability(
    tmp_path: Path, drawn: list[Any], from_logits: bool
) -> None:
    p = softmax(LOGITS)
    options: dict[str, Any] = {"from_logits": from_logits}
    viz.roc_and_precision_recall(np.eye(3)[TARGET], LOGITS if from_logits else p, tmp_path / "roc.png", **options)
    roc, precision_recall = drawn[0].axes
    auc = [metrics.roc_auc_score(c == TARGET, p[:, c]) for c in range(3)]
    ap = [metrics.average_precision_score(c == TARGET, p[:, c]) for c in range(3)]
    worst_first = np.argsort(auc)
    assert legend(roc) == [*(f"class {c}, AUC {auc[c]:.4f}" for c in worst_first), "by chance"]
    assert legend(precision_recall) == [f"class {c}, AP {ap[c]:.4f}" for c in worst_first]
    assert roc.get_title() == f"ROC, mean AUC {np.mean(auc):.4f}"
    assert train_auc(LOGITS, TARGET) == pytest.approx(np.mean(auc), rel=1e-6)  # and so the metric measures it
    assert precision_recall.get_title() == f"precision and recall, mean AP {np.mean(ap):.4f}"


def train_auc(logits: np.ndarray, target: np.ndarray) -> float:
    trainer = train.Trainer(nn.Linear(3, 3), nn.SoftmaxCrossEntropy(), metrics=[train.RocAuc()], backend="numpy")
    trainer.parameters = {"weight": np.eye(3), "bias": np.zeros((1, 3))}
    return trainer.evaluate(logits, target)["roc_auc"]


def test_of_many_classes_the_ten_that_are_told_apart_worst_are_named(tmp_path: Path, drawn: list[Any]) -> None:
    target = np.arange(500) % 25
    help_each = np.linspace(0.3, 2.5, 25)
    logits = generator.normal(size=(500, 25)) + help_each[target][:, None] * np.eye(25)[target]
    viz.roc_and_precision_recall(target, logits, tmp_path / "roc.png")
    roc, _ = drawn[0].axes
    auc = {c: metrics.roc_auc_score(target == c, softmax(logits)[:, c]) for c in range(25)}
    worst = sorted(auc, key=lambda c: auc[c])[:10]
    assert legend(roc) == [*(f"class {c}, AUC {auc[c]:.4f}" for c in worst), "the 15 others", "by chance"]
    looks = {(line.get_color(), line.get_linestyle()) for line in roc.get_lines()[:10]}
    assert len(looks) == 10 and len({line for _, line in looks}) == 4


def test_the_corner_is_drawn_larger_where_all_curves_lie_in_it(tmp_path: Path, drawn: list[Any]) -> None:
    for help_each in (-1.0, 6.0):
        viz.roc_and_precision_recall(TARGET, LOGITS + help_each * np.eye(3)[TARGET], tmp_path / "roc.png")
    assert [len(axes.child_axes) for figure in drawn for axes in figure.axes] == [0, 0, 1, 1]
    corner = drawn[1].axes[0].child_axes[0]
    assert corner.get_xlim() == (0.0, 0.1) and len(corner.get_lines()) == 3


def test_a_class_without_a_row_has_no_curve(tmp_path: Path, drawn: list[Any]) -> None:
    viz.roc_and_precision_recall(TARGET % 2, LOGITS, tmp_path / "roc.png")
    assert sorted(text.split(",")[0] for text in legend(drawn[0].axes[1])) == ["class 0", "class 1"]
    with pytest.raises(ValueError, match="ROC curves need rows of more than one class"):
        viz.roc_and_precision_recall(np.ones(60), LOGITS[:, 0], tmp_path / "roc.png")


@pytest.mark.parametrize(
    ("target", "scores", "message"),
    [
        (TARGET, LOGITS * np.nan, "NaN or infinite: the model has diverged"),
        (TARGET, LOGITS[:, :2], "there is a label 2, and the outputs are those of 2 classes"),
        (TARGET[:9], LOGITS, r"there are 60 rows, and labels of shape \(9,\)"),
        (TARGET, LOGITS[None], r"outputs are \(rows, classes\), or \(rows,\) of class 1; got shape \(1, 60, 3\)"),
        ([], np.zeros((0, 3)), r"got shape \(0, 3\)"),
    ],
)
def test_scores_that_do_not_fit_are_refused(tmp_path: Path, target: Any, scores: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        viz.roc_and_precision_recall(target, scores, tmp_path / "roc.png")


def test_a_missing_scikit_learn_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r"ROC curves need scikit-learn .*pip install scikit-learn"):
        viz.roc_and_precision_recall(TARGET, LOGITS, tmp_path / "roc.png")


# ---- the worst mistakes ----


def test_the_worst_examples_come_first_with_what_they_were_taken_for(tmp_path: Path, drawn: list[Any]) -> None:
    images = generator.uniform(size=(60, 6, 6))
    viz.worst_examples(images, TARGET, LOGITS, tmp_path / "w.png", count=7)
    p = softmax(LOGITS)
    worst = np.argsort(
        -np.array([metrics.log_loss([t], [row], labels=[0, 1, 2]) for t, row in zip(TARGET, p, strict=True)])
    )[:7]
    panels = drawn[0].axes
    assert len(panels) == 10 and not any(axes.axison for axes in panels)
    for axes, row in zip(panels, worst, strict=False):
        np.testing.assert_array_equal(axes.get_images()[0].get_array(), images[row])
        taken = p[row].argmax()
        assert taken != TARGET[row]
        assert axes.get_title() == f"{TARGET[row]}, taken for {taken} ({100 * p[row, taken]:.0f} %)"
    assert not any(axes.get_images() for axes in panels[7:])
    scales = {axes.get_images()[0].get_clim() for axes in panels[:7]}
    assert scales == {(images[worst].min(), images[worst].max())}  # one grey means the same in all


def test_enormous_logits_and_probabilities_of_zero_are_ranked(tmp_path: Path, drawn: list[Any]) -> None:
    images = np.arange(12.0).reshape(3, 4)
    viz.worst_examples(images, [0, 0, 1], [[0.0, 1e4], [0.0, 2e4], [0.0, 1e4]], tmp_path / "w.png", names=["a", "bee"])
    titles = [axes.get_title() for axes in drawn[0].axes]
    assert titles == ["a, taken for bee (100 %)", "a, taken for bee (100 %)", "bee, right (100 %)"]
    np.testing.assert_array_equal(drawn[0].axes[0].get_images()[0].get_array(), images[1].reshape(2, 2))
    p = [[0.5, 0.5], [0.0, 1.0], [0.25, 0.75]]
    viz.worst_examples(images, [0, 0, 1], p, tmp_path / "w.png", count=1, from_logits=False)
    assert drawn[1].axes[0].get_title() == "0, taken for 1 (100 %)"


@pytest.mark.parametrize("from_logits", [True, False])
def test_a_single_output_is_that_of_class_one(tmp_path: Path, drawn: list[Any], from_logits: bool) -> None:
    p = np.array([0.9, 0.2, 0.6])
    outputs = np.log(p / (1 - p)) if from_logits else p
    options: dict[str, Any] = {"names": ["Ankle boot", "Sneaker"], "from_logits": from_logits, "count": 2}
    viz.worst_examples(np.zeros((3, 4, 5, 3)), [0, 0, 0], outputs, tmp_path / "w.png", **options)
    titles = [axes.get_title() for axes in drawn[0].axes]
    assert titles == ["Ankle boot,\ntaken for Sneaker (90 %)", "Ankle boot,\ntaken for Sneaker (60 %)"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": np.zeros((60, 7))}, r"or \(rows, pixels\) of squares; got shape \(60, 7\)"),
        ({"images": np.zeros((60, 7, 7, 2))}, r"got shape \(60, 7, 7, 2\)"),
        ({"images": np.zeros((59, 9))}, "there are 59 images, and outputs for 60"),
        ({"count": 0}, "count=0"),
        ({"target": TARGET + 1}, "there is a label 3, and the outputs are those of 3 classes"),
        ({"outputs": LOGITS * np.inf}, "the model has diverged"),
        ({"names": ["a"]}, "there are 3 classes, and names for 1"),
    ],
)
def test_examples_that_do_not_fit_are_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    given = {"images": np.zeros((60, 9)), "target": TARGET, "outputs": LOGITS, "path": tmp_path / "w.png"} | options
    with pytest.raises(ValueError, match=message):
        viz.worst_examples(**given)


def test_the_pictures_are_written(tmp_path: Path) -> None:
    viz.confusion_matrix(MATRIX, tmp_path / "a.png")
    viz.roc_and_precision_recall(TARGET, LOGITS, tmp_path / "b.svg")
    viz.worst_examples(np.zeros((60, 9)), TARGET, LOGITS, tmp_path / "c.pdf", count=3)
    starts = [path.read_bytes()[:4] for path in sorted(tmp_path.iterdir())]
    assert starts == [b"\x89PNG", b"<?xm", b"%PDF"]
