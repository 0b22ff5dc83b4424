"""Learning curves: smoothing, the best epoch, and runs that measured different things."""

from math import inf, nan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlp_xp import train, viz
from mlp_xp.viz.curves import best_epoch, lower_is_better, smoothed

pytest.importorskip("matplotlib")
EPOCHS = 12
NOISE = np.random.default_rng(0).uniform(0.5, 1.0, EPOCHS).tolist()
NOISY = train.History([{"epoch": e + 1, "loss": value, "val_loss": 1.5 * value} for e, value in enumerate(NOISE)])


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that would be saved."""
    figures: list[Any] = []
    monkeypatch.setattr(viz.curves, "save", lambda figure, path: figures.append(figure))
    return figures


def history(**columns: list[Any]) -> train.History:
    rows = max(map(len, columns.values()))
    records = [{name: values[i] for name, values in columns.items() if i < len(values)} for i in range(rows)]
    return train.History([{"epoch": i + 1} | record for i, record in enumerate(records)])


def texts(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


@pytest.mark.parametrize("weight", [0.0, 0.6, 0.99])
def test_smoothing_is_the_exponential_mean_corrected_for_its_start(weight: float) -> None:
    expected = pd.Series(NOISE).ewm(alpha=1 - weight, adjust=True).mean()
    np.testing.assert_allclose(smoothed(NOISE, weight), expected, rtol=1e-14)


def test_what_is_not_finite_is_kept_and_does_not_spoil_the_mean() -> None:
    np.testing.assert_allclose(smoothed([nan, 1.0, inf, 3.0], 0.5), [nan, 1.0, inf, (0.5 * 1.0 + 3.0) / 1.5])


def test_the_curve_as_measured_stays_faint_behind_the_smoothed_one(tmp_path: Path, drawn: list[Any]) -> None:
    viz.learning_curves(NOISY, tmp_path / "curves.png", ["loss"], smoothing=0.8)
    raw, smooth, *_ = drawn[0].axes[0].get_lines()
    np.testing.assert_array_equal(raw.get_ydata(), NOISE)
    np.testing.assert_array_equal(smooth.get_ydata(), smoothed(NOISE, 0.8))
    assert raw.get_color() == smooth.get_color() and raw.get_alpha() < 0.5 and smooth.get_alpha() is None
    assert texts(drawn[0].axes[0])[:2] == ["training", "validation"]  # each named once


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, nan])
def test_a_smoothing_outside_of_its_range_is_refused(tmp_path: Path, smoothing: float) -> None:
    with pytest.raises(ValueError, match=r"smoothing=.*: choose at least 0 \(none\) and less than 1"):
        viz.learning_curves(NOISY, tmp_path / "curves.png", smoothing=smoothing)


def test_the_best_epoch_is_that_of_the_validation_and_carries_its_value(tmp_path: Path, drawn: list[Any]) -> None:
    run = history(loss=[3.0, 2.0, 1.0], val_loss=[3.0, 1.25, 2.0], accuracy=[0.1, 0.7, 0.5])
    viz.learning_curves(run, tmp_path / "curves.png", smoothing=0.9)
    loss, accuracy = drawn[0].axes
    (star,) = loss.collections
    assert star.get_offsets().tolist() == [[2, 1.25]]  # the value itself, also where the curve is smoothed
    assert texts(loss) == ["training", "validation", "best 1.25 (epoch 2)"]
    assert texts(accuracy) == ["training", "best 0.7 (epoch 2)"]
    viz.learning_curves(run, tmp_path / "curves.png", mark_best=False)
    assert texts(drawn[1].axes[0]) == ["training", "validation"] and not drawn[1].axes[0].collections


def test_less_is_better_for_losses_and_errors_alone() -> None:
    metrics = [train.LogLoss(), train.Brier(), train.MAE(), train.RMSE(), train.R2(), train.RocAuc(), train.F1()]
    metrics += [train.Accuracy(), train.BalancedAccuracy(), train.Precision(), train.Recall(), train.TopKAccuracy()]
    for metric in metrics:
        assert lower_is_better(metric.name) == metric.lower_is_better, metric
    assert lower_is_better("loss") and lower_is_better("test_error")


def test_of_a_run_that_diverged_the_best_finite_epoch_counts_and_one_alone_is_not_marked() -> None:
    assert best_epoch(history(loss=[2.0, 1.0, nan, inf]), "loss") == (2, 1.0)
    assert best_epoch(history(loss=[2.0, nan]), "loss") is None
    assert best_epoch(history(loss=[2.0, 1.0]), "accuracy") is None


def test_all_that_was_measured_is_drawn_where_no_metric_is_named(tmp_path: Path, drawn: list[Any]) -> None:
    columns: dict[str, list[Any]] = {name: [0.5, 0.25] for name in ("loss", "accuracy", "f1", "val_roc_auc", "val_f1")}
    columns |= {"learning_rate": [1, 1], "seconds": [2, 2], "confusion_matrix": [[[1]], [[1]]]}
    viz.learning_curves(history(**columns), tmp_path / "curves.png", None)
    assert [axes.get_ylabel() for axes in drawn[0].axes] == ["loss", "accuracy", "f1", "roc_auc"]
    assert {axes.get_xlabel() for axes in drawn[0].axes} == {"epoch"}


def test_one_metric_may_be_named_alone(tmp_path: Path, drawn: list[Any]) -> None:
    viz.learning_curves(history(loss=[2.0, 1.0], accuracy=[0.1, 0.2]), tmp_path / "curves.png", "loss")
    assert [axes.get_ylabel() for axes in drawn[0].axes] == ["loss"]
    with pytest.raises(ValueError, match="none of accuracy was recorded"):
        viz.learning_curves(history(loss=[2.0, 1.0]), tmp_path / "curves.png", "accuracy")


def test_runs_with_different_metrics_are_drawn_where_they_have_them(tmp_path: Path, drawn: list[Any]) -> None:
    runs = {"a": history(loss=[2.0, 1.0], f1=[0.1, 0.2]), "b": history(loss=[2.0, 1.5, 1.6]), "none": train.History()}
    viz.learning_curves(runs, tmp_path / "curves.png", None)
    loss, f1 = drawn[0].axes
    assert texts(loss) == ["a, training", "a, best 1 (epoch 2)", "b, training", "b, best 1.5 (epoch 2)"]
    assert texts(f1) == ["a, training", "a, best 0.2 (epoch 2)"]


def test_runs_differ_in_more_than_colour(tmp_path: Path, drawn: list[Any]) -> None:
    viz.learning_curves({f"{i}": NOISY for i in range(16)}, tmp_path / "curves.png", ["loss"])
    looks = [(line.get_color(), line.get_marker(), line.get_linestyle()) for line in drawn[0].axes[0].get_lines()]
    assert len(set(looks)) == 32
    assert len({marker for _, marker, _ in looks[:14]}) == 7


def test_the_legend_hides_no_curve(tmp_path: Path, drawn: list[Any]) -> None:
    viz.learning_curves({"a run with a long name": NOISY, "another": NOISY}, tmp_path / "curves.png")
    drawn[0].draw_without_rendering()
    (axes,) = drawn[0].axes
    assert axes.get_legend().get_window_extent().y1 < axes.get_window_extent().y0


def test_a_value_missing_in_some_epochs_is_a_gap(tmp_path: Path, drawn: list[Any]) -> None:
    viz.learning_curves(history(loss=[2.0, None, 1.0, "?"]), tmp_path / "curves.png", ["loss"])
    np.testing.assert_array_equal(drawn[0].axes[0].get_lines()[0].get_ydata(), [2.0, nan, 1.0, nan])
    with pytest.raises(ValueError, match="none of the metrics was recorded as a number"):
        viz.learning_curves({}, tmp_path / "curves.png", None)
