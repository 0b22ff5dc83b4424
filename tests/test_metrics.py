"""Every metric on every backend: what scikit-learn measures, put together on the device from batches of any size."""

import csv
import json
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import METRICS, MetricCase, without_case
from helpers import assert_close

from mlp_xp import backends, nn, optim, train

sklearn_metrics = pytest.importorskip("sklearn.metrics")
ROWS = 60
HALVES = (slice(0, 30), slice(30, ROWS))
UNEQUAL = (slice(0, 25), slice(25, 50), slice(50, ROWS))
WEIGHTS = np.random.default_rng(3).integers(0, 9, ROWS) / 4  # exact in float32, and some are 0

every_metric = pytest.mark.parametrize("case", METRICS.values(), ids=METRICS)


def data(case: MetricCase, lead: tuple[int, ...] = ()) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Outputs, exact in float32 and with ties where scores are ranked as they are; targets as the loss encodes them,
    and as scikit-learn takes them."""
    rng = np.random.default_rng(8)
    shape = (*lead, ROWS, case.outputs)
    y = rng.normal(size=shape).astype(np.float32).astype(np.float64)
    if case.kind == "numbers":
        target = 3.0 + rng.normal(size=(ROWS, case.outputs)).astype(np.float32)
        return y + 0.5 * target, target.astype(np.float64), target
    if case.kind == "multilabel":
        target = rng.integers(0, 2, (ROWS, case.outputs))
        return np.round(4 * (y + target)) / 4, target.astype(np.float64), target
    classes = max(case.outputs, 2)
    labels = rng.integers(0, classes, ROWS)
    if case.kind == "probabilities":
        columns = classes if case.outputs > 1 else 1
        y = rng.multinomial(8, np.full(classes, 1 / classes), shape[:-1])[..., -columns:] / 8
    elif case.outputs <= 2:
        y = np.round(4 * y) / 4
    else:
        y = y + np.eye(classes, dtype=np.float32)[labels]
    return y, (labels[:, None].astype(np.float64) if case.outputs == 1 else labels.astype(np.int32)), labels


def measure(
    backend: backends.Backend,
    metric: train.Metric,
    y: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray | None = None,
    dtype: str = "float64",
    batches: tuple[slice, ...] = HALVES,
) -> Any:
    """The metric from several batches, compiled as in a step; a list of them where models stand side by side."""
    xp, outputs = backend.xp, y.shape[-1]

    def moved(array: Any) -> Any:
        return backend.from_host(array, None if array.dtype.kind == "i" else dtype)

    with backend.scope():
        update = backend.compile(lambda kept, y, t, w: metric.update(xp, kept, y, t, w))
        kept = metric.start(xp, moved(np.zeros((*y.shape[:-2], 0))), outputs)
        shapes = [array.shape for array in kept]
        for rows in batches if metric.by_batches else [slice(None)]:
            w = None if weight is None else moved(weight[rows])
            kept = update(kept, moved(np.ascontiguousarray(y[..., rows, :])), moved(target[rows]), w)
        assert [array.shape for array in kept] == shapes
        assert {str(array.dtype).rpartition(".")[2] for array in kept} == {dtype}
        host = tuple(backend.to_host(array) for array in kept)
    if y.ndim == 2:
        return metric.result(host)
    return [metric.result(tuple(array[k] for array in host)) for k in range(len(y))]


def test_every_public_metric_has_a_case() -> None:
    assert without_case(train, train.Metric, METRICS) == {"Mean"}  # a base class for metrics of one's own


@every_metric
def test_it_is_what_scikit_learn_measures(backend: backends.Backend, case: MetricCase) -> None:
    y, target, true = data(case)
    measured = measure(backend, case.metric, y, target, batches=UNEQUAL)
    expected = case.expected(sklearn_metrics, true, y, None)
    np.testing.assert_allclose(measured, expected, rtol=1e-13)
    assert json.loads(json.dumps(measured)) == measured  # plain numbers of Python


@every_metric
def test_models_side_by_side_with_weights_in_float32(backend: backends.Backend, case: MetricCase) -> None:
    y, target, true = data(case, lead=(3,))
    expected = [case.expected(sklearn_metrics, true, each.astype(np.float32), WEIGHTS) for each in y]
    assert not np.allclose(expected[0], expected[1])
    for measured, single in zip(measure(backend, case.metric, y, target, WEIGHTS, "float32"), expected, strict=True):
        assert_close(measured, single, factor=16)


@every_metric
def test_rows_of_weight_zero_do_not_count(case: MetricCase) -> None:
    y, target, true = data(case, lead=(3,))
    weight, rest = WEIGHTS.copy(), slice(25, ROWS)
    weight[UNEQUAL[0]] = 0  # nothing has been seen yet
    expected = [case.expected(sklearn_metrics, true[rest], each[rest], weight[rest]) for each in y]
    measured = measure(backends.select("numpy"), case.metric, y, target, weight, batches=UNEQUAL)
    np.testing.assert_allclose(measured, expected, rtol=1e-13)


@pytest.mark.parametrize("name", [name for name, case in METRICS.items() if case.kind in ("logits", "probabilities")])
def test_rows_of_probabilities_count_as_the_class_of_their_largest_column(name: str) -> None:
    case, numpy = METRICS[name], backends.select("numpy")
    y, target, labels = data(case)
    rows = 0.4 + 0.2 * target if case.outputs == 1 else 0.1 + 0.2 * np.eye(case.outputs)[labels]
    assert measure(numpy, case.metric, y, rows) == measure(numpy, case.metric, y, target)


# Classes without rows


@pytest.mark.parametrize("metric", [train.Precision, train.Recall, train.F1])
@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
@pytest.mark.parametrize("gap", ["never of", "never put into", "neither"])
def test_classes_without_rows_count_as_in_scikit_learn(metric: Any, average: str, gap: str) -> None:
    rng = np.random.default_rng(0)
    y, labels = rng.normal(size=(ROWS, 5)), rng.integers(0, 5, ROWS).astype(np.int32)
    if gap != "never put into":
        labels[labels == 3] = 1
    if gap != "never of":
        y[:, 3] = -9.0
    score = getattr(sklearn_metrics, f"{metric.__name__.lower()}_score")
    expected = score(labels, y.argmax(1), average=average, zero_division=0)
    assert measure(backends.select("numpy"), metric(average), y, labels) == pytest.approx(expected, rel=1e-13)


def test_balanced_accuracy_leaves_out_classes_that_no_row_is_of() -> None:
    y, labels = np.eye(4)[[0, 0, 1, 3]], np.array([0, 1, 1, 1], np.int32)
    assert measure(backends.select("numpy"), train.BalancedAccuracy(), y, labels) == pytest.approx((1 + 1 / 3) / 2)


@pytest.mark.parametrize("metric", [train.Precision(), train.Recall(), train.F1()])
def test_a_score_with_nothing_to_measure_it_by_is_0(metric: train.Metric) -> None:
    assert measure(backends.select("numpy"), metric, np.full((ROWS, 1), -1.0), np.zeros((ROWS, 1))) == 0.0


def test_roc_auc_of_a_single_class_is_not_a_number() -> None:
    numpy, y = backends.select("numpy"), np.random.default_rng(0).normal(size=(ROWS, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.isnan(sklearn_metrics.roc_auc_score(np.zeros(ROWS), y[:, 0]))
    assert np.isnan(measure(numpy, train.RocAuc(), y[:, :1], np.zeros((ROWS, 1))))
    assert np.isnan(measure(numpy, train.RocAuc(), y, np.resize(np.array([0, 2], np.int32), ROWS)))


# Numbers that are hard on float32


def test_r2_keeps_its_digits_where_targets_are_far_from_zero(backend: backends.Backend) -> None:
    rng = np.random.default_rng(5)
    target = (5000 + rng.normal(size=(ROWS, 2))).astype(np.float32).astype(np.float64)
    y = target + np.round(0.5 * rng.normal(size=(ROWS, 2)) * 1024) / 1024
    expected = sklearn_metrics.r2_score(target, y, sample_weight=WEIGHTS)
    assert_close(measure(backend, train.R2(), y, target, WEIGHTS, "float32"), expected)


def test_r2_of_equal_targets_is_1_where_they_are_met_and_0_elsewhere() -> None:
    target = np.full((ROWS, 2), 0.5)
    y = target + np.array([0.0, 0.25])
    expected = sklearn_metrics.r2_score(target, y, multioutput="raw_values")
    np.testing.assert_array_equal(expected, [1, 0])
    assert measure(backends.select("numpy"), train.R2(), y, target, WEIGHTS) == 0.5


def test_logits_of_a_thousand_give_a_finite_log_loss(backend: backends.Backend) -> None:
    y = np.resize([[1000.0], [-1000.0]], (ROWS, 1))
    assert measure(backend, train.LogLoss(), y, np.ones((ROWS, 1)), dtype="float32") == 500.0
    assert measure(backend, train.LogLoss(), y, (y > 0) * 1.0, dtype="float32") == 0.0


def test_a_class_that_is_ruled_out_costs_nothing_unless_it_is_the_true_one(backend: backends.Backend) -> None:
    y, labels = np.resize([-np.inf, 1.0, 1.0], (ROWS, 3)), np.resize(np.array([1, 2], np.int32), ROWS)
    assert measure(backend, train.LogLoss(), y, labels) == pytest.approx(np.log(2), rel=1e-15)
    assert measure(backend, train.LogLoss(), y, 0 * labels) == np.inf


def test_given_probabilities_of_0_and_1_are_bounded_as_in_scikit_learn() -> None:
    y, labels = np.resize([[0.0, 1.0], [1.0, 0.0]], (ROWS, 2)), np.resize(np.array([1, 0], np.int32), ROWS)
    for true in (labels, 1 - labels):
        expected = sklearn_metrics.log_loss(true, y)
        assert 0 < expected < 40
        assert measure(backends.select("numpy"), train.LogLoss(from_logits=False), y, true) == pytest.approx(
            expected, rel=1e-9, abs=0
        )


def test_logits_rank_where_probabilities_would_all_be_1(backend: backends.Backend) -> None:
    y = np.linspace(50, 60, ROWS)[:, None]
    target = (y > 55) * 1.0
    assert measure(backend, train.RocAuc(), y, target, dtype="float32") == 1.0
    two = np.concatenate([0 * y, y], axis=1)
    assert measure(backend, train.RocAuc(), two, target[:, 0].astype(np.int32), dtype="float32") == 1.0


# What makes no sense


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: train.F1("makro"), "F1: unknown average 'makro'; did you mean 'macro'"),
        (lambda: train.Precision("binary", multilabel=True), "'binary' is for two classes"),
        (lambda: train.TopKAccuracy(0), r"TopKAccuracy\(k=0\): k must be a whole number"),
        (lambda: train.TopKAccuracy(2.5), r"TopKAccuracy\(k=2\.5\)"),  # type: ignore[arg-type]
        (lambda: train.TopKAccuracy(True), r"TopKAccuracy\(k=True\)"),
    ],
)
def test_options_that_make_no_sense_are_refused(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize("threshold", ["a", None, True])
@pytest.mark.parametrize("name", ["Accuracy", "ConfusionMatrix", "BalancedAccuracy", "Precision", "Recall", "F1"])
def test_a_threshold_is_a_number(name: str, threshold: Any) -> None:
    with pytest.raises(TypeError, match=rf"{name}\(threshold={threshold!r}\): give a number, 0 for logits"):
        getattr(train, name)(threshold=threshold)


@pytest.mark.parametrize(
    ("metric", "outputs", "message"),
    [
        (train.F1("binary"), 3, "'binary' is for two classes, and the model has 3 outputs"),
        (train.TopKAccuracy(), 1, "the model has one output; use Accuracy"),
        (train.RMSE(), 3, r"RMSE\(\) needs a target for each output"),
        (train.R2(), 3, r"R2\(\) needs a target"),
        (train.MAE(), 3, r"MAE\(\) needs a target"),
        (train.Accuracy(multilabel=True), 3, "needs a target for each output"),
        (train.F1(multilabel=True), 3, "needs a target for each output"),
        (train.RocAuc(multilabel=True), 3, "needs a target for each output"),
    ],
)
def test_what_cannot_be_measured_is_said_before_training(metric: train.Metric, outputs: int, message: str) -> None:
    loss = nn.SigmoidBinaryCrossEntropy() if outputs == 1 else nn.SoftmaxCrossEntropy()
    trainer = train.Trainer(nn.Linear(3, outputs), loss, backend="numpy", metrics=[metric])
    X, Y = np.ones((6, 3)), np.array([0, 1, 0, 1, 0, 0])
    with pytest.raises(ValueError, match=message):
        trainer.fit(X, Y, epochs=1, validation_data=(X, Y), progress=False)


def test_a_metric_is_named_by_what_it_measures() -> None:
    metrics = [train.F1(), train.F1("binary"), train.F1("micro"), train.TopKAccuracy(3), train.RocAuc()]
    assert [metric.name for metric in metrics] == ["f1", "f1", "f1_micro", "top_3_accuracy", "roc_auc"]
    assert {metric.name for metric in (train.LogLoss(), train.Brier(), train.RMSE(), train.MAE())} == {
        case.metric.name for case in METRICS.values() if case.metric.lower_is_better
    }


NUMBERS = np.random.default_rng(4).integers(0, 6, size=(40, 2)).astype(np.float64)
INPUTS = np.random.default_rng(5).normal(size=(40, 3))
PREDICTED: dict[str, tuple[nn.Loss, Any]] = {
    "means": (nn.GaussianNegativeLogLikelihood(), lambda y, columns: y[:, :columns]),
    "rates": (nn.Poisson(), lambda y, columns: np.exp(y)),
    "medians": (nn.Quantile((0.1, 0.5, 0.7, 0.9)), lambda y, columns: y[:, 1::4]),
    "nearest to the medians": (nn.Quantile((0.05, 0.1, 0.4)), lambda y, columns: y[:, 2::3]),
    "outputs": (nn.Huber(), lambda y, columns: y),
}


@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize(("loss", "predicted"), PREDICTED.values(), ids=PREDICTED)
def test_metrics_of_numbers_measure_what_the_loss_predicts(
    backend: backends.Backend, loss: nn.Loss, predicted: Any, columns: int
) -> None:
    class AtOnce(train.MAE):
        by_batches = False
        name = "at_once"

    model = nn.Linear(3, columns * loss.outputs_per_target)
    metrics = [train.RMSE(), train.MAE(), train.R2(), AtOnce()]
    more: Any = {"backend": backend, "dtype": "float64", "metrics": metrics}
    trainer, t = train.Trainer(model, loss, optim.SGD(0.0), **more), NUMBERS[:, :columns]
    record = trainer.fit(INPUTS, t, epochs=1, batch_size=15, progress=False).records[-1]
    p = predicted(trainer.predict(INPUTS), columns)
    expected = {
        "rmse": np.mean([sklearn_metrics.root_mean_squared_error(t[:, j], p[:, j]) for j in range(columns)]),
        "mae": sklearn_metrics.mean_absolute_error(t, p),
        "r2": sklearn_metrics.r2_score(t, p),
    }
    evaluated = trainer.evaluate(INPUTS, t)
    for name, value in expected.items():
        np.testing.assert_allclose([evaluated[name], record[name]], value, rtol=1e-12)
    np.testing.assert_allclose(evaluated["at_once"], expected["mae"], rtol=1e-12)


@pytest.mark.parametrize("metric", [train.RMSE(), train.MAE(), train.R2(), train.Accuracy(multilabel=True)])
def test_outputs_without_a_target_each_are_refused(metric: train.Metric) -> None:
    message = (
        rf"{type(metric).__name__}\(.*\) compares each .* outputs of shape \(30, 2\) and targets of shape \(30, 1\)"
    )
    with pytest.raises(ValueError, match=message):
        measure(backends.select("numpy"), metric, np.ones((ROWS, 2)), np.ones((ROWS, 1)))


# Through a trainer

rng = np.random.default_rng(2)
X, X_VAL = rng.normal(size=(90, 3)), rng.normal(size=(45, 3))
LABELS, LABELS_VAL = (np.digitize(x @ [1.0, -1.0, 0.5], [-0.5, 0.7]) for x in (X, X_VAL))
OF_CLASSES = {
    "accuracy": (train.Accuracy(), lambda m, t, z, w: m.accuracy_score(t, z.argmax(1), sample_weight=w)),
    "f1": (train.F1(), lambda m, t, z, w: m.f1_score(t, z.argmax(1), average="macro", sample_weight=w)),
    "confusion_matrix": (
        train.ConfusionMatrix(),
        lambda m, t, z, w: m.confusion_matrix(t, z.argmax(1), sample_weight=w),
    ),
    "roc_auc": (train.RocAuc(), METRICS["RocAuc"].expected),
    "log_loss": (train.LogLoss(), METRICS["LogLoss"].expected),
}


def new(backend: Any = "numpy", rate: float = 0.1) -> train.Trainer:
    metrics = [metric for metric, _ in OF_CLASSES.values()]
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 3))
    more: Any = {"backend": backend, "dtype": "float64", "metrics": metrics}
    return train.Trainer(model, nn.SoftmaxCrossEntropy(), optim.SGD(rate), **more)


def fit(trainer: train.Trainer, **more: Any) -> train.History:
    more = {"epochs": 2, "validation_data": (X_VAL, LABELS_VAL), "progress": False, **more}
    return trainer.fit(X, LABELS, **more)


def test_a_trainer_measures_the_same(backend: backends.Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlp_xp.train.trainer.EVALUATION_ROWS", 45)
    trainer = new(backend, rate=0.0)  # every batch sees the same weights
    weight = rng.uniform(0, 2, 90)
    record = fit(trainer, sample_weight=weight, batch_size=30, epochs=1).records[-1]
    evaluated = trainer.evaluate(X, LABELS, sample_weight=weight)
    for name, (_, expected) in OF_CLASSES.items():
        on_training = expected(sklearn_metrics, LABELS, trainer.predict(X), weight)
        np.testing.assert_allclose(evaluated[name], on_training, rtol=1e-12)
        if name != "roc_auc":
            np.testing.assert_allclose(record[name], on_training, rtol=1e-12)
        on_validation = expected(sklearn_metrics, LABELS_VAL, trainer.predict(X_VAL), None)
        np.testing.assert_allclose(record[f"val_{name}"], on_validation, rtol=1e-12)
    assert "roc_auc" not in record  # no epoch sees all rows with the same weights


def test_an_epoch_begins_its_metrics_anew() -> None:
    first, second = (np.array(matrix) for matrix in fit(new())["confusion_matrix"])
    assert first.sum() == second.sum() == 90 and (first != second).any()


def test_metrics_and_what_they_measured_are_saved(tmp_path: Path) -> None:
    trainer = new()
    history = fit(trainer)
    trainer.save(tmp_path / "model")
    for loaded in (train.Trainer.load(tmp_path / "model"), pickle.loads(pickle.dumps(trainer))):
        assert loaded.metrics == trainer.metrics
        assert loaded.history.records == history.records
        fit(loaded, epochs=1)
        assert np.sum(loaded.history["confusion_matrix"][2]) == 90
    metrics = tuple(case.metric for case in METRICS.values())
    from mlp_xp.nn.config import from_config, to_config

    assert from_config(json.loads(json.dumps(to_config(metrics, [train]))), [train]) == metrics


def test_a_confusion_matrix_is_written_to_a_table_and_left_out_of_a_line(tmp_path: Path) -> None:
    trainer = new()
    history = fit(trainer, callbacks=[train.CSVLog(tmp_path / "log.csv")])
    with (tmp_path / "log.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [json.loads(line["confusion_matrix"]) for line in table] == history["confusion_matrix"]
    assert [float(line["val_roc_auc"]) for line in table] == history["val_roc_auc"]
    assert "val_f1 " in repr(history) and "matrix" not in repr(history)


def test_a_progress_bar_shows_numbers_only() -> None:
    class ClassLoss(train.ConfusionMatrix):
        name = "class_loss"

    trainer = train.Trainer(nn.Linear(3, 3), nn.SoftmaxCrossEntropy(), metrics=[ClassLoss()], backend="numpy")
    assert np.shape(fit(trainer, progress=True)["class_loss"]) == (2, 3, 3)


def test_learning_curves_leave_out_what_is_not_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    from mlp_xp import viz

    figures: list[Any] = []
    monkeypatch.setattr(viz.curves, "save", lambda figure, path: figures.append(figure))
    history = fit(new())
    viz.learning_curves(history, tmp_path / "a.png", metrics=["f1", "confusion_matrix", "roc_auc"])
    f1, roc_auc = figures[0].axes
    assert [axes.get_ylabel() for axes in (f1, roc_auc)] == ["f1", "roc_auc"]
    (validation,) = roc_auc.get_lines()  # it is measured on validation data only
    np.testing.assert_array_equal(validation.get_ydata(), history["val_roc_auc"])
    with pytest.raises(ValueError, match="none of confusion_matrix was recorded as a number"):
        viz.learning_curves(history, tmp_path / "b.png", metrics=["confusion_matrix"])


def test_early_stopping_watches_numbers_only() -> None:
    stopping = train.EarlyStopping("val_log_loss", patience=2)
    history = fit(new(rate=3.0), epochs=50, callbacks=[stopping])
    assert stopping.best == min(history["val_log_loss"])
    stopping = train.EarlyStopping("val_roc_auc", patience=2)
    history = fit(new(rate=3.0), epochs=50, callbacks=[stopping])
    assert stopping.best == max(history["val_roc_auc"])
    with pytest.raises(TypeError, match="watches 'confusion_matrix', which is not a number"):
        fit(new(), callbacks=[train.EarlyStopping("confusion_matrix")])
    with pytest.raises(KeyError, match="unknown column 'roc_auc'; did you mean 'val_roc_auc'"):
        fit(new(), callbacks=[train.EarlyStopping("roc_auc")])


def test_metrics_of_classes_refuse_several_labels_a_row() -> None:
    model = nn.Linear(3, 5)
    loss = nn.MultiOutput(nn.SoftmaxCrossEntropy(), (2, 3))
    trainer = train.Trainer(model, loss, backend="numpy", metrics=[train.Accuracy()])
    with pytest.raises(ValueError, match=r"measure one label a row, and the targets have 2 \(MultiOutput\)"):
        trainer.fit(np.ones((4, 3)), np.array([[0, 2], [1, 1], [0, 0], [1, 2]]), epochs=1, progress=False)
