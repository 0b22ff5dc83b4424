"""First-layer weights as images: each is its column, the strongest come first, and 0 is the middle of the colours."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlp_xp import viz

pytest.importorskip("matplotlib")
features = sys.modules["mlp_xp.viz.features"]
WEIGHT = np.random.default_rng(0).normal(size=(12, 7)) * np.arange(1, 8)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that are saved."""
    figures: list[Any] = []
    save = features.save
    monkeypatch.setattr(features, "save", lambda figure, path: (figures.append(figure), save(figure, path)))
    return figures


def tiles(figure: Any, height: int, width: int) -> list[np.ndarray]:
    """The images in the picture, row by row."""
    mosaic = np.asarray(figure.axes[0].get_images()[0].get_array().filled(np.nan))
    rows, columns = (mosaic.shape[0] - 1) // (height + 1), (mosaic.shape[1] - 1) // (width + 1)
    cells = (
        mosaic[1 + r * (height + 1) :, 1 + c * (width + 1) :][:height, :width]
        for r in range(rows)
        for c in range(columns)
    )
    return [cell for cell in cells if not np.isnan(cell).all()]


def test_each_image_is_a_column_of_the_weight_the_strongest_first(tmp_path: Path, drawn: list[Any]) -> None:
    viz.first_layer_features(WEIGHT, tmp_path / "features.png", shape=(3, 4), count=5)
    order = sorted(range(7), key=lambda unit: -sum(WEIGHT[:, unit] ** 2))[:5]
    images = tiles(drawn[0], 3, 4)
    assert len(images) == 5
    for image, unit in zip(images, order, strict=True):
        np.testing.assert_array_equal(image.reshape(-1), WEIGHT[:, unit])
    assert drawn[0].axes[0].get_title() == "first layer: the 5 strongest of 7 units"
    assert drawn[0].axes[1].get_ylabel() == "weight"  # of the bar of colours
    assert (tmp_path / "features.png").read_bytes().startswith(b"\x89PNG")


def test_the_colours_are_symmetric_around_zero(tmp_path: Path, drawn: list[Any]) -> None:
    viz.first_layer_features(np.abs(WEIGHT), tmp_path / "features.png", shape=(3, 4))
    low, high = drawn[0].axes[0].get_images()[0].get_clim()
    assert low == -high and np.mean(np.abs(WEIGHT) <= high) == pytest.approx(0.995, abs=0.01)
    viz.first_layer_features(np.zeros((4, 2)), tmp_path / "features.png")
    assert drawn[1].axes[0].get_images()[0].get_clim() == (-1, 1)


def test_a_square_is_guessed(tmp_path: Path, drawn: list[Any]) -> None:
    weight = np.arange(18.0).reshape(9, 2)
    viz.first_layer_features(weight, tmp_path / "features.png")
    np.testing.assert_array_equal(tiles(drawn[0], 3, 3)[0], weight[:, 1].reshape(3, 3))
    assert drawn[0].axes[0].get_title() == "first layer: 2 units"


def test_what_is_no_image_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "features.png"
    with pytest.raises(ValueError, match=r"12 inputs are no square image: give shape=\(height, width\)"):
        viz.first_layer_features(WEIGHT, path)
    with pytest.raises(ValueError, match=r"shape=\(3, 5\) does not hold 12 inputs"):
        viz.first_layer_features(WEIGHT, path, shape=(3, 5))
    with pytest.raises(ValueError, match=r"\(in, out\), got the shape \(12,\)"):
        viz.first_layer_features(WEIGHT[:, 0], path)
    for empty in ((784, 0), (0, 3)):
        with pytest.raises(ValueError, match=rf"has units and inputs, got the shape \({empty[0]}, {empty[1]}\)"):
            viz.first_layer_features(np.zeros(empty), path)
    with pytest.raises(ValueError, match="not finite"):
        viz.first_layer_features(np.full((4, 1), np.nan), path)
    with pytest.raises(ValueError, match=r"count=0\): draw at least 1 unit"):
        viz.first_layer_features(WEIGHT, path, shape=(3, 4), count=0)
    assert not path.exists()
