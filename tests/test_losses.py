"""Every loss: value and gradient belong together, agree with PyTorch and scikit-learn, and refuse what does not fit."""

from typing import Any

import numpy as np
import pytest
from cases import BATCH, FEATURES, LOSSES, LossCase, without_case
from helpers import assert_close

from mlp_xp import backends, nn

all_losses = pytest.mark.parametrize("case", LOSSES.values(), ids=LOSSES.keys())
WEIGHTS = np.array([1.0, 0.5, 0.0, 2.0, 3.0])
weighted = pytest.mark.parametrize("weight", [None, WEIGHTS], ids=["unweighted", "weighted"])


def outputs(case: LossCase, lead: tuple[int, ...] = ()) -> np.ndarray:
    y = np.random.default_rng(5).normal(size=(*lead, BATCH, FEATURES))
    return np.exp(y) / np.exp(y).sum(-1, keepdims=True) if case.probabilities else y


def call(
    backend: backends.Backend, loss: nn.Loss, y: np.ndarray, target: np.ndarray, weight: Any, dtype: str = "float64"
) -> tuple[np.ndarray, np.ndarray]:
    with backend.scope():
        t = backend.from_host(target, None if target.dtype.kind == "i" else dtype)
        w = None if weight is None else backend.from_host(weight, dtype)
        pair = backend.compile(lambda y, t, w: loss(backend.xp, y, t, w))(backend.from_host(y, dtype), t, w)
        return backend.to_host(pair[0]), backend.to_host(pair[1])


def test_every_public_loss_has_a_case() -> None:
    assert without_case(nn, nn.Loss, LOSSES) == set()


@all_losses
@weighted
@pytest.mark.parametrize("lead", [(), (3,)], ids=["one model", "three stacked models"])
def test_the_gradient_is_the_derivative_of_the_value(
    backend: backends.Backend, case: LossCase, weight: Any, lead: tuple[int, ...]
) -> None:
    model = nn.Sequential(nn.Linear(3, FEATURES), nn.Softmax() if case.probabilities else nn.Identity())
    x = np.random.default_rng(5).normal(size=(BATCH, 3))
    nn.gradient_check(model, x, backend=backend, loss=case.loss, target=case.target, weight=weight, lead=lead)


@all_losses
@weighted
def test_float32_agrees_with_numpy_float64(backend: backends.Backend, case: LossCase, weight: Any) -> None:
    y = outputs(case)
    value, dy = call(backends.select("numpy"), case.loss, y, case.target, weight)
    value32, dy32 = call(backend, case.loss, y, case.target, weight, "float32")
    assert value32.dtype == dy32.dtype == np.float32
    assert_close(value32, value)
    assert_close(dy32, dy)


@all_losses
@weighted
def test_a_row_of_stacked_models_equals_the_single_model(
    backend: backends.Backend, case: LossCase, weight: Any
) -> None:
    y = outputs(case, lead=(3,))
    values, dys = call(backend, case.loss, y, case.target, weight)
    assert values.shape == (3,)
    for k in range(3):
        value, dy = call(backend, case.loss, y[k], case.target, weight)
        assert_close(values[k], value, factor=8, dtype=np.float64)
        assert_close(dys[k], dy, factor=8, dtype=np.float64)


@weighted
def test_values_and_gradients_are_those_of_pytorch(weight: Any) -> None:
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    s = torch.tensor(np.ones(BATCH) if weight is None else weight)

    def per_row(name: str, y: Any, t: Any) -> Any:
        if name.startswith("MeanSquaredError"):
            half = 0.5 if "half" in name else 1.0
            return half * F.mse_loss(y, t, reduction="none").mean(1)
        if name.startswith("SigmoidBinary"):
            return F.binary_cross_entropy_with_logits(y, t, reduction="none").mean(1)
        if name.startswith("Softmax"):
            return F.cross_entropy(y, t.long() if t.ndim == 1 else t, reduction="none")
        return F.nll_loss(y.log(), t.long(), reduction="none") if t.ndim == 1 else -(t * y.log()).sum(1)

    for name, case in LOSSES.items():
        y = torch.tensor(outputs(case), requires_grad=True)
        expected = (s * per_row(name, y, torch.tensor(case.target))).sum() / s.sum()
        expected.backward()
        value, dy = call(backends.select("numpy"), case.loss, y.detach().numpy(), case.target, weight)
        assert float(value) == pytest.approx(expected.item(), rel=1e-13), name
        assert_close(dy, y.grad.numpy(), factor=32, dtype=np.float64)


def test_cross_entropy_is_scikit_learns_log_loss() -> None:
    log_loss = pytest.importorskip("sklearn.metrics").log_loss
    case = LOSSES["CrossEntropy, labels"]
    value, _ = call(backends.select("numpy"), case.loss, outputs(case), case.target, WEIGHTS)
    assert float(value) == pytest.approx(
        log_loss(case.target, outputs(case), sample_weight=WEIGHTS, labels=range(FEATURES)), rel=1e-13
    )


def test_softmax_and_cross_entropy_as_one_or_as_two_layers_agree(backend: backends.Backend) -> None:
    labels = np.array([0, 3, 1, 1, 2], np.int32)
    logits = np.random.default_rng(3).normal(size=(BATCH, FEATURES))
    value, dz = call(backend, nn.SoftmaxCrossEntropy(), logits, labels, None)
    with backend.scope():
        p, saved = nn.Softmax().forward(backend.xp, {}, backend.from_host(logits), nn.Context())
        two, dp = nn.CrossEntropy()(backend.xp, p, backend.from_host(labels))
        dz_two, _ = nn.Softmax().backward(backend.xp, {}, saved, dp)
        assert_close(backend.to_host(two), value, factor=8, dtype=np.float64)
        assert_close(backend.to_host(dz_two), dz, factor=8, dtype=np.float64)


@pytest.mark.parametrize("loss", [nn.SoftmaxCrossEntropy(), nn.SigmoidBinaryCrossEntropy()])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_logits_of_a_thousand_are_exact_and_silent(loss: nn.Loss, dtype: str) -> None:
    y = np.array([[1000.0, -1000.0], [-1000.0, 1000.0]], dtype)
    wrong, right = np.array([[0.0, 1.0], [1.0, 0.0]], dtype), np.array([[1.0, 0.0], [0.0, 1.0]], dtype)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        value, dy = loss(np, y, wrong)
        assert value == (2000.0 if isinstance(loss, nn.SoftmaxCrossEntropy) else 1000.0)
        assert np.isfinite(dy).all()
        assert loss(np, y, right)[0] == 0.0


def test_a_batch_of_weights_zero_changes_nothing() -> None:
    for case in LOSSES.values():
        value, dy = case.loss(np, outputs(case), case.target, np.zeros(BATCH))
        assert value == 0 and not dy.any()


def test_the_loss_does_not_depend_on_the_scale_of_the_weights() -> None:
    case = LOSSES["SoftmaxCrossEntropy, labels"]
    once = case.loss(np, outputs(case), case.target, WEIGHTS)
    thrice = case.loss(np, outputs(case), case.target, 3 * WEIGHTS)
    assert once[0] == pytest.approx(thrice[0], rel=1e-14)


@pytest.mark.parametrize(
    ("loss", "target", "outputs", "error", "message"),
    [
        (nn.SoftmaxCrossEntropy(), np.array([0, 4]), 4, ValueError, "labels run from 0 to 4.*must be 0 to 3"),
        (nn.SoftmaxCrossEntropy(), np.array([-1, 2]), 4, ValueError, "labels run from -1 to 2"),
        (nn.SoftmaxCrossEntropy(), np.array([0.0, 1.5]), 4, TypeError, "integer class labels, got dtype .*float64"),
        (nn.SoftmaxCrossEntropy(), np.ones((2, 3)), 4, nn.ShapeError, r"shape \(rows, 4\).*got shape \(2, 3\)"),
        (nn.SoftmaxCrossEntropy(), -np.ones((2, 4)), 4, ValueError, "class probabilities as targets, got -1"),
        (nn.SigmoidBinaryCrossEntropy(), np.array([0, 2]), 1, ValueError, "between 0 and 1, got 0 to 2"),
        (nn.MeanSquaredError(), np.array([0.0, np.nan]), 1, ValueError, "NaN or infinity"),
        (nn.MeanSquaredError(), np.array([0.0, 1.0]), 2, nn.ShapeError, r"shape \(rows, 2\)"),
    ],
)
def test_targets_that_do_not_fit_are_refused(
    backend: backends.Backend, loss: nn.Loss, target: np.ndarray, outputs: int, error: type, message: str
) -> None:
    with backend.scope(), pytest.raises(error, match=message):
        loss.encode(backend.xp, backend.from_host(target), outputs, backend.xp.float64)


def test_targets_are_accepted_in_every_usual_form(backend: backends.Backend) -> None:
    xp = backend.xp
    with backend.scope():

        def encoded(loss: nn.Loss, target: Any, outputs: int) -> np.ndarray:
            return backend.to_host(loss.encode(xp, backend.from_host(np.asarray(target)), outputs, xp.float32))

        categorical, binary = nn.SoftmaxCrossEntropy(), nn.SigmoidBinaryCrossEntropy()
        for labels in ([0, 2, 1], [[0], [2], [1]]):
            np.testing.assert_array_equal(encoded(categorical, labels, 3), [0, 2, 1])
        np.testing.assert_array_equal(encoded(categorical, [True, False], 2), [1, 0])
        assert encoded(categorical, np.eye(3), 3).dtype == np.float32
        np.testing.assert_array_equal(encoded(binary, [0, 1], 1), [[0], [1]])
        np.testing.assert_array_equal(encoded(binary, [True, False], 1), [[1], [0]])
        assert encoded(nn.MeanSquaredError(), [1.5, 2], 1).shape == (2, 1)
