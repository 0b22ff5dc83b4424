"""The diagram of a net: its units, the names and sizes of its layers, and its weights."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlp_xp import nn, train, viz

collections = pytest.importorskip("matplotlib.collections")
colors = pytest.importorskip("matplotlib.colors")
patches = pytest.importorskip("matplotlib.patches")
diagram = sys.modules["mlp_xp.viz.diagram"]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The axes of the figures that are saved."""
    axes: list[Any] = []
    save = diagram.save
    monkeypatch.setattr(diagram, "save", lambda figure, path: (axes.append(figure.axes[0]), save(figure, path)))
    return axes


def texts(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.texts if text.get_text()]


def columns(axes: Any) -> list[int]:
    """How many circles stand above each other, from left to right."""
    places = [patch.center[0] for patch in axes.patches if isinstance(patch, patches.Circle)]
    return [places.count(x) for x in sorted(set(places))]


def lines(axes: Any) -> list[Any]:
    return [each for each in axes.collections if isinstance(each, collections.LineCollection)]


def test_every_unit_is_a_circle_and_every_weight_a_line(tmp_path: Path, drawn: list[Any]) -> None:
    viz.network_diagram(nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1)), tmp_path / "net.png")
    (axes,) = drawn
    assert columns(axes) == [2, 4, 1]
    assert [len(each.get_segments()) for each in lines(axes)] == [8, 4]
    assert texts(axes) == ["2", "input", "4", "0 Linear", "Tanh", "1", "2 Linear"]
    assert (tmp_path / "net.png").read_bytes().startswith(b"\x89PNG")


def test_of_a_wide_layer_the_first_and_the_last_units_are_drawn(tmp_path: Path, drawn: list[Any]) -> None:
    viz.network_diagram(nn.Sequential(nn.Linear(784, 12), nn.ReLU(), nn.Linear(12, 13)), tmp_path / "net.png")
    assert columns(drawn[0]) == [10, 12, 10]
    assert [text for text in texts(drawn[0]) if "more" in text] == ["⋮\n774 more", "⋮\n3 more"]
    assert {"784", "12", "13"} <= set(texts(drawn[0]))


def test_what_goes_over_units_is_written_between_the_columns(tmp_path: Path, drawn: list[Any]) -> None:
    inner = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm(3), nn.LeakyReLU(slope=0.2))
    model = nn.Sequential(nn.Standardize(2), inner, nn.Dropout(0.25), nn.Linear(3, 2, bias=False), nn.Softmax())
    viz.network_diagram(model, tmp_path / "net.png")
    (axes,) = drawn
    between = {text.get_text(): text.get_position()[0] for text in axes.texts if text.get_style() == "italic"}
    x = diagram.APART
    assert between == {
        "Standardize": 0.5 * x,
        "BatchNorm\nLeakyReLU(slope=0.2)\nDropout(rate=0.25)": 1.5 * x,
        "Softmax": 2.5 * x,
    }
    assert [text for text in texts(axes) if "Linear" in text] == ["1.0 Linear", "3 Linear"]


def test_lines_show_size_and_sign_of_the_weights(tmp_path: Path, drawn: list[Any]) -> None:
    weight = np.array([[1.0, -2.0, 0.0], [0.5, -0.1, 4.0]])
    viz.network_diagram(nn.Linear(2, 3), tmp_path / "net.png", {"weight": weight, "bias": np.zeros((1, 3))})
    positive, negative = lines(drawn[0])
    at = {"x": (0.0, diagram.APART), "in": [0.5, -0.5], "out": [1.0, 0.0, -1.0]}
    for collection, places in ((positive, [(0, 0), (1, 0), (1, 2)]), (negative, [(0, 1), (1, 1)])):
        ends = [[[at["x"][0], at["in"][i]], [at["x"][1], at["out"][j]]] for i, j in places]
        np.testing.assert_allclose(collection.get_segments(), ends)
        shares = [abs(weight[i, j]) / 4 for i, j in places]
        np.testing.assert_allclose(collection.get_linewidths(), [0.3 + 2.7 * share for share in shares])
    assert {colors.to_hex(colour) for colour in positive.get_colors()} == {viz.style.COLOURS[0].lower()}
    assert {colors.to_hex(colour) for colour in negative.get_colors()} == {viz.style.COLOURS[1].lower()}
    assert positive.get_linestyle()[0][1] is None and negative.get_linestyle()[0][1] is not None  # the dashes
    (legend,) = drawn[0].figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["weight above 0", "weight below 0"]


def test_a_trainers_parameters_fit_also_where_layers_are_wide_or_nested(tmp_path: Path, drawn: list[Any]) -> None:
    model = nn.Sequential(nn.Sequential(nn.Linear(30, 5), nn.ReLU()), nn.Linear(5, 20))
    trainer = train.Trainer(model, nn.SoftmaxCrossEntropy(), backend="numpy")
    viz.network_diagram(model, tmp_path / "net.png", trainer.parameters)
    first, last = trainer.parameters["0.0.weight"], trainer.parameters["1.weight"]
    shown = [np.delete(first, slice(5, 25), axis=0), np.delete(last, slice(5, 15), axis=1)]
    counts = [count for each in shown for count in (np.sum(each > 0), np.sum(each < 0))]
    assert [len(each.get_segments()) for each in lines(drawn[0])] == counts


def test_of_the_pieces_of_maxout_the_largest_weight_is_shown(tmp_path: Path, drawn: list[Any]) -> None:
    weight = np.array([[1.0, -2.0, -3.0, 0.5]])  # pieces [1, -2] and [-3, 0.5]
    viz.network_diagram(nn.Maxout(1, 2, 2), tmp_path / "net.png", {"weight": weight})
    (negative,) = lines(drawn[0])
    np.testing.assert_allclose(negative.get_linewidths(), [0.3 + 2.7, 0.3 + 2.7 * 2 / 3])


def test_what_has_a_structure_of_its_own_is_a_box(tmp_path: Path, drawn: list[Any]) -> None:
    block = nn.Residual(nn.Linear(4, 4, weight_init=nn.GlorotNormal()), nn.ReLU())
    branches = nn.Parallel(nn.Identity(), nn.Sequential(nn.Linear(4, 2), nn.Tanh()))
    model = nn.Sequential(nn.Linear(3, 4), block, branches, nn.GLU(), nn.Linear(3, 1))
    trainer = train.Trainer(model, nn.MeanSquaredError(), backend="numpy")
    viz.network_diagram(model, tmp_path / "net.png", trainer.parameters)
    (axes,) = drawn
    assert columns(axes) == [3, 4, 1]
    assert sum(isinstance(patch, patches.FancyBboxPatch) for patch in axes.patches) == 3
    inside = ["Linear(4, 4)\nReLU", "Identity\nSequential: 2 layers", "GLU"]
    below = ["4", "1 Residual", "6", "2 Parallel", "3", "3 GLU", "1", "4 Linear"]
    assert set(inside) | set(below) <= set(texts(axes))
    long = nn.Residual(*[nn.Tanh() for _ in range(20)])
    viz.network_diagram(long, tmp_path / "net.png")
    assert texts(drawn[1])[1] == "\n".join(["Tanh"] * 7 + ["and 13 more"])


def test_inputs_that_are_not_known_are_drawn_without_a_number(tmp_path: Path, drawn: list[Any]) -> None:
    """How many columns an Embedding sees is decided by the data."""
    model = nn.Sequential(nn.Embedding({0: 10}), nn.Linear(12, 2))
    viz.network_diagram(model, tmp_path / "net.png")
    assert columns(drawn[0]) == [3, 2]
    assert [text for text in texts(drawn[0]) if "⋮" not in text][:3] == [
        "input",
        "Embedding(((0, 10),))",
        "0 Embedding",
    ]


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    model, path = nn.Sequential(nn.Linear(2, 3)), tmp_path / "net.png"
    with pytest.raises(TypeError, match=r"a diagram is drawn of a layer of mlp_xp\.nn"):
        viz.network_diagram("784-10", path)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"unknown parameter '0.weight'; did you mean 'weight'\?"):
        viz.network_diagram(model, path, {"weight": np.ones((2, 3))})
    with pytest.raises(ValueError, match=r"0\.weight does not fit 2 inputs and 3 units: it is \(3, 2\)"):
        viz.network_diagram(model, path, {"0.weight": np.ones((3, 2))})
    with pytest.raises(ValueError, match=r"0\.weight holds numbers that are not finite"):
        viz.network_diagram(model, path, {"0.weight": np.full((2, 3), np.inf)})
    assert not path.exists()
