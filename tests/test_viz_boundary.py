"""The classified plane: of two features, and through more of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.decomposition import PCA

from mlp_xp import viz
from mlp_xp.viz.labels import class_labels, class_names
from mlp_xp.viz.plane import Plane
from mlp_xp.viz.style import COLOURS, ground, look

pytest.importorskip("matplotlib")
X = np.random.default_rng(0).normal(size=(50, 4)) * [1.0, 2.0, 3.0, 200.0] + [5.0, 6.0, 7.0, 8.0]
LABELS = (X[:, 1] > 6).astype(int)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that would be saved."""
    figures: list[Any] = []
    monkeypatch.setattr(viz.boundary, "save", lambda figure, path: figures.append(figure))
    return figures


def test_on_the_plane_of_a_pair_the_other_features_stay_at_their_mean(tmp_path: Path, drawn: list[Any]) -> None:
    seen = []

    def second_above_six(rows: np.ndarray) -> np.ndarray:
        seen.append(rows)
        return rows[:, 1:2] - 6.0

    names = ["a", "b", "c", "d"]
    share = viz.decision_boundary(second_above_six, X, LABELS, tmp_path / "p.png", features=(2, 1), names=names)
    (rows,) = seen
    np.testing.assert_allclose(rows[:, [0, 3]], np.broadcast_to(X[:, [0, 3]].mean(axis=0), (len(rows), 2)))
    beyond = 0.05 * np.ptp(X[:, [2, 1]], axis=0)
    low, high = X[:, [2, 1]].min(axis=0) - beyond, X[:, [2, 1]].max(axis=0) + beyond
    np.testing.assert_allclose([rows[:, [2, 1]].min(axis=0), rows[:, [2, 1]].max(axis=0)], [low, high])
    assert share == pytest.approx((high[1] - 6) / (high[1] - low[1]), abs=3e-3)
    axes = drawn[0].axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("c", "b")
    _, zero, one = axes.collections  # the plane, and the points of each class
    np.testing.assert_allclose(zero.get_offsets(), X[LABELS == 0][:, [2, 1]])
    np.testing.assert_allclose(one.get_offsets(), X[LABELS == 1][:, [2, 1]])


def test_the_plane_of_the_principal_components_is_lifted_into_all_features(tmp_path: Path, drawn: list[Any]) -> None:
    pca = PCA(2).fit(X)
    seen = []
    predict = lambda rows: (seen.append(rows), rows[:, :1])[1]  # noqa: E731
    viz.decision_boundary(predict, X, LABELS, tmp_path / "p.png", features="pca", margin=0.0)
    (rows,) = seen
    corners = np.stack([pca.transform(X).min(axis=0), pca.transform(X).max(axis=0)])
    np.testing.assert_allclose(rows[[0, -1]], pca.inverse_transform(corners), rtol=1e-10)
    np.testing.assert_allclose(pca.inverse_transform(pca.transform(rows)), rows, atol=1e-11)  # all of it on the plane
    axes = drawn[0].axes[0]
    first, second = (f"{100 * share:.0f} % of the variance" for share in pca.explained_variance_ratio_)
    assert axes.get_xlabel() == f"principal component 1 ({first})"
    assert axes.get_ylabel() == f"principal component 2 ({second})"


def test_float32_stays_float32_on_every_plane() -> None:
    for features in ((0, 3), "pca"):
        plane = Plane.through(X.astype(np.float32), features, None, None)
        assert plane.grid(5)[2].dtype == np.float32


def test_axes_have_one_scale_unless_one_of_them_would_be_a_line(tmp_path: Path, drawn: list[Any]) -> None:
    for features in ((0, 1), (0, 3)):
        viz.decision_boundary(lambda rows: rows[:, :1], X, LABELS, tmp_path / "p.png", features=features)
    assert [figure.axes[0].get_aspect() for figure in drawn] == [1.0, "auto"]


def test_classes_are_called_by_their_names(tmp_path: Path, drawn: list[Any]) -> None:
    options: dict[str, Any] = {"features": (0, 1), "classes": np.array(["benign", "malignant", "unknown"])}
    viz.decision_boundary(lambda rows: rows[:, :1] - 5.0, X, LABELS, tmp_path / "p.png", **options)
    shown = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert shown == ["benign", "malignant"]
    with pytest.raises(ValueError, match="there are 2 classes, and names for 1: benign"):
        viz.decision_boundary(lambda r: r[:, :1], X, LABELS, tmp_path / "p.png", features=(0, 1), classes=["benign"])


def test_several_nets_are_drawn_side_by_side_with_one_legend(tmp_path: Path, drawn: list[Any]) -> None:
    points = X[:, :2]
    nets = {"left": lambda rows: rows[:, :1] - 100.0, "right": lambda rows: rows[:, :1] + 100.0}
    viz.decision_boundary_panels(nets, points, LABELS, tmp_path / "p.png", classes=["benign", "malignant"])
    (figure,) = drawn
    assert [axes.get_title() for axes in figure.axes] == ["left", "right"]
    for axes in figure.axes:
        _, zero, one = axes.collections
        np.testing.assert_allclose(zero.get_offsets(), points[LABELS == 0])
        np.testing.assert_allclose(one.get_offsets(), points[LABELS == 1])
    shades = [set(map(tuple, axes.collections[0].get_facecolor())) for axes in figure.axes]
    filled = [[bool(len(path)) for path in axes.collections[0].get_paths()] for axes in figure.axes]
    assert shades[0] == shades[1] and filled == [[True, False], [False, True]]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["benign", "malignant"]
    with pytest.raises(ValueError, match="there are no nets to draw"):
        viz.decision_boundary_panels({}, points, LABELS, tmp_path / "p.png")


def test_signs_are_the_classes_of_one_output(tmp_path: Path, drawn: list[Any]) -> None:
    predict = lambda rows: rows[:, 1] - 6.0  # noqa: E731
    for labels in (LABELS, 2 * LABELS - 1, 2.0 * LABELS[:, None] - 1):
        viz.decision_boundary(predict, X[:, :2], labels, tmp_path / "p.png")
    expected, *others = ([c.get_offsets().tolist() for c in figure.axes[0].collections[1:]] for figure in drawn)
    assert len(expected) == 2 and others == [expected, expected]
    with pytest.raises(ValueError, match=r"labels must be the numbers 0, 1, \.\.\. of classes"):
        viz.decision_boundary(lambda rows: rows[:, :2], X[:, :2], 2 * LABELS - 1, tmp_path / "p.png")


def test_a_net_that_gives_nan_decides_nothing(tmp_path: Path) -> None:
    for outputs in (1, 3):
        with pytest.raises(ValueError, match="some outputs are NaN: the model has diverged"):
            viz.decision_boundary(
                lambda rows, n=outputs: np.full((len(rows), n), np.nan), X[:, :2], LABELS, tmp_path / "p.png"
            )


def test_few_points_are_drawn_large_and_many_small(tmp_path: Path, drawn: list[Any]) -> None:
    for rows in (4, 50):
        viz.decision_boundary(lambda grid: grid[:, :1], X[:rows, :2], LABELS[:rows], tmp_path / "p.png")
    assert [figure.axes[0].collections[1].get_sizes()[0] for figure in drawn] == [200, 36]


def test_points_of_every_class_have_a_look_of_their_own() -> None:
    assert len({look(number) for number in range(49)}) == 49
    assert [marker for _, marker in map(look, range(7))] == ["o", "s", "^", "D", "v", "P", "X"]
    assert len({ground(number) for number in range(14)}) == 14
    assert ground(6) == "#BFBFBF" and COLOURS[6] == "#000000"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"over two features, X has shape \(50, 4\); choose a plane: features=\(i, j\) or features='pca'"),
        ({"features": (0, 4)}, r"features=\(0, 4\): choose two different ones of 0 to 3, or 'pca'"),
        ({"features": (1, 1)}, "choose two different ones"),
        ({"features": (1,)}, "choose two different ones"),
        ({"features": 2}, "features=2: choose two different ones"),
        ({"features": "umap"}, r"features='umap': choose two features \(i, j\), or 'pca'"),
        ({"features": (0, 1), "names": ["a", "b"]}, "X has 4 features, and names for 2: a, b"),
        ({"features": (0, 1), "X": np.full((50, 4), np.nan)}, "needs points with finite features"),
        ({"features": (0, 1), "X": np.zeros((0, 4))}, "needs points with finite features"),
        ({"features": "pca", "X": X[:1], "labels": LABELS[:1]}, "through at least two points"),
        ({"X": X[:, :1]}, r"over two features, X has shape \(50, 1\)$"),
        ({"X": X[:, 0]}, r"over two features, X has shape \(50,\)$"),
        ({"X": X[:, :2], "labels": LABELS[:9]}, r"there are 50 rows, and labels of shape \(9,\)"),
        ({"X": X[:, :2], "labels": LABELS - 1}, "labels must be the numbers 0, 1, ... of classes; np.unique"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_words(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    points, labels = options.get("X", X), options.get("labels", LABELS)
    options = {name: value for name, value in options.items() if name not in ("X", "labels")}
    with pytest.raises(ValueError, match=message):
        viz.decision_boundary(lambda rows: rows[:, :1], points, labels, tmp_path / "p.png", **options)


@pytest.mark.parametrize(
    "target",
    [[0, 2, 1], [[0], [2], [1]], [0.0, 2.0, 1.0], np.eye(3)[[0, 2, 1]], [[0.4, 0.3, 0.3], [0, 0.1, 0.9], [0, 0.6, 0]]],
)
def test_labels_are_taken_as_numbers_or_from_rows_of_probabilities(target: Any) -> None:
    labels = class_labels(np.asarray(target), 3)
    assert labels.tolist() == [0, 2, 1] and labels.dtype.kind == "i"


def test_labels_that_are_none_are_refused() -> None:
    for wrong in (["M", "B", "M"], [0.5, 1, 2], np.zeros((3, 1, 1))):
        with pytest.raises(ValueError, match=r"labels must be the numbers|give one label for each row"):
            class_labels(wrong, 3)
    with pytest.raises(ValueError, match="there is a label 7, and the outputs are those of 3 classes"):
        class_labels([0, 7], 2, 3)
    assert class_names(None, 2) == ["0", "1"] and class_names((3, "x"), 2) == ["3", "x"]
