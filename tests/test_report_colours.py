"""The colours of the lines in a report: seen on the page, and told apart with every kind of colour vision."""

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("plotly")
pytest.importorskip("jinja2")

from mlp_xp.viz import report, style
from mlp_xp.viz.report.plot import BRIGHT, CARD, DEEP, GREY, THEMES

VISION = {
    "all cones": np.eye(3),
    "no L cones": np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]),
    "no M cones": np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]),
    "no S cones": np.array([[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]]),
}
"""On linear (r, g, b), at severity 1. Machado, Oliveira and Fernandes, "A physiologically-based model for simulation of
color vision deficiency", 2009."""
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
"""From linear sRGB. IEC 61966-2-1."""


def rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])


def lab(colour: str, vision: str) -> np.ndarray:
    """(L, a, b) of CIE 1976 of a colour as somebody sees it: colours at a distance of 2.3 can just be told apart."""
    value = rgb(colour)
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    share = XYZ @ np.clip(VISION[vision] @ linear, 0, 1) / XYZ.sum(axis=1)
    x, y, z = np.where(share > 216 / 24389, np.cbrt(share), (24389 / 27 * share + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.fixture(scope="module")
def grounds() -> list[list[str]]:
    """What plots and legends stand on: of the light page, and of the dark one."""
    css = Path(report.__file__).with_name("page.css").read_text(encoding="utf-8")
    papers, cards = (re.findall(rf"--{name}: (#[0-9a-f]{{6}})", css) for name in ("paper", "card"))
    return [list(pair) for pair in zip(papers, cards, strict=True)]


@pytest.mark.parametrize(("theme", "colours"), [("light", DEEP), ("dark", BRIGHT)])
def test_lines_stand_out_from_their_ground(grounds: list[list[str]], theme: str, colours: tuple[str, ...]) -> None:
    light, dark = grounds
    assert light[1] == "#ffffff" and dark[1] == CARD.lower()
    for colour in (*colours, THEMES[theme].get(GREY, GREY)):
        for ground in light if theme == "light" else dark:
            assert style.contrast(rgb(colour), rgb(ground)) >= 3, (colour, ground)


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("colours", [DEEP, BRIGHT])
def test_lines_are_told_apart_with_every_kind_of_colour_vision(colours: tuple[str, ...], vision: str) -> None:
    for one, other in combinations(colours, 2):
        assert np.linalg.norm(lab(one, vision) - lab(other, vision)) >= 10, (one, other)


def test_differences_of_colours_are_those_of_the_standard() -> None:
    np.testing.assert_allclose(lab("#FFFFFF", "all cones"), [100, 0, 0], atol=0.01)
    np.testing.assert_allclose(lab("#FF0000", "all cones"), [53.24, 80.09, 67.20], atol=0.05)
    np.testing.assert_allclose(lab("#0000FF", "all cones"), [32.30, 79.19, -107.86], atol=0.05)
    assert max(abs(lab("#808080", vision)[1:]).max() for vision in VISION) < 1  # everybody sees grey as grey


def test_every_colour_has_its_own_in_both_themes() -> None:
    assert [THEMES["light"][colour] for colour in style.COLOURS] == list(DEEP)
    assert [THEMES["dark"][colour] for colour in style.COLOURS] == list(BRIGHT)
