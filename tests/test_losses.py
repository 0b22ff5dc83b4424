"""Every loss: value and gradient belong together, agree with PyTorch and scikit-learn, and refuse what does not fit."""

import copy
from typing import Any

import numpy as np
import pytest
from cases import BATCH, FEATURES, LOSSES, LossCase, without_case
from helpers import assert_close

from mlp_xp import backends, nn, optim, train
from mlp_xp.nn.config import from_config, to_config

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


def interpreted(backend: backends.Backend) -> backends.Backend:
    """The backend without its compiler, which takes far longer than what these small arrays take."""
    backend = copy.copy(backend)
    backend.compile = lambda function, donate=(): function
    return backend


def test_every_public_loss_has_a_case() -> None:
    assert without_case(nn, nn.Loss, LOSSES) == set()


@all_losses
@pytest.mark.parametrize(
    ("weight", "lead"), [(None, ()), (WEIGHTS, (3,))], ids=["unweighted", "weighted, three stacked models"]
)
def test_the_gradient_is_the_derivative_of_the_value(
    backend: backends.Backend, case: LossCase, weight: Any, lead: tuple[int, ...]
) -> None:
    model = nn.Sequential(nn.Linear(3, FEATURES), nn.Softmax() if case.probabilities else nn.Identity())
    x = np.random.default_rng(5).normal(size=(BATCH, 3))
    nn.gradient_check(
        model, x, backend=interpreted(backend), loss=case.loss, target=case.target, weight=weight, lead=lead
    )


@all_losses
@weighted
def test_float32_agrees_with_numpy_float64(backend: backends.Backend, case: LossCase, weight: Any) -> None:
    backend = backend if weight is not None else interpreted(backend)  # compiled once
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
    backend = interpreted(backend)
    y = outputs(case, lead=(3,))
    values, dys = call(backend, case.loss, y, case.target, weight)
    assert values.shape == (3,)
    for k in range(3):
        value, dy = call(backend, case.loss, y[k], case.target, weight)
        assert_close(values[k], value, factor=8, dtype=np.float64)
        assert_close(dys[k], dy, factor=8, dtype=np.float64)


# ---- other libraries ----


def by_torch(torch: Any, loss: Any, y: Any, t: Any) -> tuple[Any, Any]:
    """What each row loses, with its autograd, and what each row counts in the mean beside its sample weight."""
    F, log, ones = torch.nn.functional, torch.log, torch.ones(len(y), dtype=y.dtype)
    unreduced: dict[str, Any] = {"reduction": "none"}
    labels = t.long() if t.ndim == 1 else None
    rows = t if labels is None else F.one_hot(labels, FEATURES).double()
    class_weight = torch.tensor(getattr(loss, "class_weight", None) or (1.0,) * FEATURES, dtype=y.dtype)
    counts = ones if labels is None else class_weight[labels]
    match loss:
        case nn.MeanSquaredError(half=half):
            return (0.5 if half else 1.0) * F.mse_loss(y, t, **unreduced).mean(1), ones
        case nn.MeanAbsoluteError():
            return F.l1_loss(y, t, **unreduced).mean(1), ones
        case nn.Huber(delta=delta):
            return F.huber_loss(y, t, **unreduced, delta=delta).mean(1), ones
        case nn.SmoothL1(beta=beta):
            return F.smooth_l1_loss(y, t, **unreduced, beta=beta).mean(1), ones
        case nn.LogCosh():
            return log(torch.cosh(y - t)).mean(1), ones
        case nn.Quantile(quantiles=quantiles):
            q = torch.tensor(quantiles * (FEATURES // len(quantiles)), dtype=y.dtype)
            return torch.where(y < t, q * (t - y), (1 - q) * (y - t)).mean(1), ones
        case nn.Poisson(full=full):
            return F.poisson_nll_loss(y, t, **unreduced, full=full).mean(1), ones
        case nn.GaussianNegativeLogLikelihood(full=full):
            return F.gaussian_nll_loss(y[:, :2], t, y[:, 2:].exp(), **unreduced, full=full).mean(1), ones
        case nn.SigmoidBinaryCrossEntropy(pos_weight=w):
            w = None if w is None else torch.tensor(w, dtype=y.dtype)
            return F.binary_cross_entropy_with_logits(y, t, **unreduced, pos_weight=w).mean(1), ones
        case nn.SigmoidFocal(gamma=gamma, alpha=alpha):
            p = torch.sigmoid(y)
            positive, negative = (1.0, 1.0) if alpha is None else (alpha, 1 - alpha)
            losses = positive * t * (1 - p) ** gamma * log(p) + negative * (1 - t) * p**gamma * log(1 - p)
            return -losses.mean(1), ones
        case nn.SoftmaxCrossEntropy(label_smoothing=smoothing):
            given = t if labels is None else labels
            return F.cross_entropy(y, given, class_weight, **unreduced, label_smoothing=smoothing), counts
        case nn.SoftmaxFocal(gamma=gamma):
            p = torch.softmax(y, 1)
            return -(class_weight * rows * (1 - p) ** gamma * log(p)).sum(1), counts
        case nn.CrossEntropy():
            return -(rows * log(y)).sum(1), ones
        case nn.KLDivergence():
            return F.kl_div(F.log_softmax(y, 1), rows, **unreduced).sum(1), ones
        case nn.Hinge(squared=squared):
            return torch.relu(1 - t * y).pow(2 if squared else 1).mean(1), ones
        case nn.MultiClassHinge():
            return F.multi_margin_loss(y, labels, **unreduced), ones
        case nn.Summed(loss=inner):
            return by_torch(torch, inner, y, t)[0] * (FEATURES // inner.outputs_per_target), ones
        case nn.MultiOutput(loss=inner, classes=classes):
            how = {**unreduced, "label_smoothing": inner.label_smoothing}
            parts = zip(torch.split(y, classes, 1), t.long().T, strict=True)
            return sum(F.cross_entropy(part, column, **how) for part, column in parts), ones
    raise NotImplementedError(loss)


@all_losses
@weighted
def test_values_and_gradients_are_those_of_pytorch(case: LossCase, weight: Any) -> None:
    torch = pytest.importorskip("torch")
    y, t = torch.tensor(outputs(case), requires_grad=True), torch.tensor(case.target)
    s = torch.tensor(np.ones(BATCH) if weight is None else weight)
    losses, counts = by_torch(torch, case.loss, y, t)
    expected = (s * losses).sum() / (s * counts).sum()
    expected.backward()
    value, dy = call(backends.select("numpy"), case.loss, y.detach().numpy(), case.target, weight)
    assert float(value) == pytest.approx(expected.item(), rel=1e-13)
    assert_close(dy, y.grad.numpy(), factor=32, dtype=np.float64)


@all_losses
def test_the_gradient_is_jax_grad_of_the_value(get_backend: Any, case: LossCase) -> None:
    ours, jax = get_backend("jax"), pytest.importorskip("jax")
    y = outputs(case)
    with ours.scope():
        target = ours.from_host(case.target, None if case.target.dtype.kind == "i" else "float64")
        weight = ours.from_host(WEIGHTS, "float64")
        slope = jax.grad(lambda y: case.loss(ours.xp, y, target, weight)[0])(ours.from_host(y))
    _, dy = call(backends.select("numpy"), case.loss, y, case.target, WEIGHTS)
    assert_close(dy, np.asarray(slope), factor=32, dtype=np.float64)


@pytest.mark.parametrize("target", ["labels", "soft"])
@pytest.mark.parametrize("class_weight", [None, (1.0, 0.5, 0.0, 3.0)], ids=["equal", "class weights"])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_mean_with_class_weights_is_that_of_pytorch(target: str, class_weight: Any, smoothing: float) -> None:
    torch = pytest.importorskip("torch")
    case = LOSSES[f"SoftmaxCrossEntropy, {target}"]
    t = torch.tensor(case.target)
    expected = torch.nn.CrossEntropyLoss(
        None if class_weight is None else torch.tensor(class_weight, dtype=torch.float64), label_smoothing=smoothing
    )(torch.tensor(outputs(case)), t.long() if t.ndim == 1 else t)
    value, _ = nn.SoftmaxCrossEntropy(smoothing, class_weight)(np, outputs(case), case.target)
    assert float(value) == pytest.approx(expected.item(), rel=1e-13)


def test_the_mean_with_positive_weights_and_that_of_the_divergence_are_those_of_pytorch() -> None:
    torch = pytest.importorskip("torch")
    case = LOSSES["SigmoidBinaryCrossEntropy(pos_weight)"]
    y, t = torch.tensor(outputs(case)), torch.tensor(case.target)
    expected = torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor([0.5, 1, 2, 7], dtype=y.dtype))(y, t)
    assert float(case.loss(np, outputs(case), case.target)[0]) == pytest.approx(expected.item(), rel=1e-13)
    case = LOSSES["KLDivergence"]
    expected = torch.nn.KLDivLoss(reduction="batchmean")(torch.log_softmax(y, 1), torch.tensor(case.target))
    assert float(case.loss(np, outputs(case), case.target)[0]) == pytest.approx(expected.item(), rel=1e-13)


def test_cross_entropy_is_scikit_learns_log_loss() -> None:
    log_loss = pytest.importorskip("sklearn.metrics").log_loss
    case = LOSSES["CrossEntropy, labels"]
    value, _ = call(backends.select("numpy"), case.loss, outputs(case), case.target, WEIGHTS)
    assert float(value) == pytest.approx(
        log_loss(case.target, outputs(case), sample_weight=WEIGHTS, labels=range(FEATURES)), rel=1e-13
    )


def test_quantile_is_scikit_learns_pinball_loss() -> None:
    mean_pinball_loss = pytest.importorskip("sklearn.metrics").mean_pinball_loss
    quantiles = (0.1, 0.5, 0.9)
    loss, rng = nn.Quantile(quantiles), np.random.default_rng(4)
    target, y = rng.normal(size=(BATCH, 2)), rng.normal(size=(BATCH, 6))
    expected = [
        mean_pinball_loss(target, y[:, index::3], sample_weight=WEIGHTS, alpha=q) for index, q in enumerate(quantiles)
    ]
    value, _ = loss(np, y, loss.encode(np, target, 6, np.float64), WEIGHTS)
    assert float(value) == pytest.approx(np.mean(expected), rel=1e-13)


def test_hinge_is_scikit_learns_hinge_loss() -> None:
    hinge_loss = pytest.importorskip("sklearn.metrics").hinge_loss
    labels, y = np.array([0, 1, 1, 0, 1]), np.random.default_rng(4).normal(size=(BATCH, 1))
    value, _ = nn.Hinge()(np, y, nn.Hinge().encode(np, labels, 1, np.float64), WEIGHTS)
    assert float(value) == pytest.approx(hinge_loss(labels, y[:, 0], sample_weight=WEIGHTS), rel=1e-13)


def test_several_labels_lose_the_sum_of_pytorchs_cross_entropies(backend: backends.Backend) -> None:
    torch, rng = pytest.importorskip("torch"), np.random.default_rng(4)
    classes = (3, 1, 2, 4)
    loss = nn.MultiOutput(nn.SoftmaxCrossEntropy(label_smoothing=0.1), classes)
    labels, y = rng.integers(0, classes, size=(BATCH, 4)), rng.normal(size=(BATCH, 10))
    with backend.scope():
        encoded = backend.to_host(loss.encode(backend.xp, backend.from_host(labels), 10, backend.xp.float64))
    value, dy = call(backend, loss, y, encoded, None)
    logits = torch.tensor(y, requires_grad=True)
    columns = zip(torch.split(logits, classes, 1), torch.tensor(labels).T, strict=True)
    expected = sum(torch.nn.functional.cross_entropy(z, label, label_smoothing=0.1) for z, label in columns)
    expected.backward()
    assert float(value) == pytest.approx(expected.item(), rel=1e-13)
    assert_close(dy, logits.grad.numpy(), factor=32, dtype=np.float64)


def test_summed_binary_cross_entropies_are_pytorchs_sum_divided_by_the_rows() -> None:
    torch, case = pytest.importorskip("torch"), LOSSES["Summed"]
    y, t = torch.tensor(outputs(case), requires_grad=True), torch.tensor(case.target)
    expected = torch.nn.BCEWithLogitsLoss(reduction="sum")(y, t) / BATCH
    expected.backward()
    value, dy = case.loss(np, outputs(case), case.target)
    assert float(value) == pytest.approx(expected.item(), rel=1e-13)
    assert_close(dy, y.grad.numpy(), factor=32, dtype=np.float64)


# ---- how losses are related ----


@pytest.mark.parametrize(
    ("special", "general", "target", "factor"),
    [
        (nn.MeanSquaredError(half=True), nn.Huber(delta=1e3), "MeanSquaredError", 1),
        (nn.SmoothL1(beta=0.4), nn.Huber(delta=0.4), "MeanSquaredError", 0.4),
        (nn.MeanAbsoluteError(), nn.Quantile((0.5,)), "MeanSquaredError", 0.5),
        (nn.SigmoidBinaryCrossEntropy(), nn.SigmoidBinaryCrossEntropy(1), "SigmoidBinaryCrossEntropy", 1),
        (nn.SigmoidBinaryCrossEntropy(), nn.SigmoidFocal(0, None), "SigmoidBinaryCrossEntropy", 1),
        (nn.SoftmaxCrossEntropy(), nn.SoftmaxFocal(gamma=0), "SoftmaxCrossEntropy, soft", 1),
        (nn.SoftmaxCrossEntropy(), nn.SoftmaxCrossEntropy(0, (2, 2, 2, 2)), "SoftmaxCrossEntropy, labels", 1),
        (nn.SoftmaxCrossEntropy(), nn.SoftmaxCrossEntropy(0, (2, 2, 2, 2)), "SoftmaxCrossEntropy, soft", 2),
        (nn.SoftmaxCrossEntropy(), nn.KLDivergence(), "SoftmaxCrossEntropy, labels", 1),
        (nn.Quantile((0.1, 0.8)), nn.Summed(nn.Quantile((0.1, 0.8))), "Quantile", 2),
        (nn.MeanSquaredError(), nn.Summed(nn.MeanSquaredError()), "MeanSquaredError", FEATURES),
    ],
)
def test_a_loss_is_a_special_case_of_another(special: nn.Loss, general: nn.Loss, target: str, factor: float) -> None:
    case = LOSSES[target]
    value, dy = special(np, outputs(case), case.target, WEIGHTS)
    other, other_dy = general(np, outputs(case), case.target, WEIGHTS)
    assert_close(other, factor * value, factor=8, dtype=np.float64)
    assert_close(other_dy, factor * dy, factor=8, dtype=np.float64)


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


@pytest.mark.parametrize("loss", [nn.SoftmaxCrossEntropy, nn.SoftmaxFocal])
def test_class_weights_of_labels_multiply_the_sample_weights(loss: Any) -> None:
    case, class_weight = LOSSES["SoftmaxCrossEntropy, labels"], np.array([1.0, 0.5, 0.0, 3.0])
    value, dy = loss(class_weight=class_weight)(np, outputs(case), case.target, WEIGHTS)
    expected, expected_dy = loss()(np, outputs(case), case.target, WEIGHTS * class_weight[case.target])
    assert_close(value, expected, factor=8, dtype=np.float64)
    assert_close(dy, expected_dy, factor=8, dtype=np.float64)


def test_the_divergence_is_zero_where_the_distributions_are_equal() -> None:
    t = np.array([[0.2, 0.5, 0.3], [0.0, 0.4, 0.6]])
    with np.errstate(divide="ignore"):
        y = np.maximum(np.log(t), -1000.0)
    value, dy = nn.KLDivergence()(np, y, t)
    assert abs(value) < 1e-15
    assert np.abs(dy).max() < 1e-15


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_the_focal_loss_treats_both_labels_alike(gamma: float) -> None:
    loss, z = nn.SigmoidFocal(gamma, alpha=None), np.linspace(-30, 30, 61, dtype=np.float32)[:, None]
    positive, negative = loss.each(np, z, np.ones_like(z)), loss.each(np, -z, np.zeros_like(z))
    np.testing.assert_array_equal(positive[0], negative[0])
    np.testing.assert_array_equal(positive[1], -negative[1])
    assert (positive[0] > 0).all()


@pytest.mark.parametrize("loss", [nn.MeanAbsoluteError(), nn.Huber(), nn.SmoothL1(), nn.LogCosh()])
def test_nothing_is_lost_where_the_error_is_zero(loss: nn.Loss) -> None:
    y = np.array([[0.0, -3.0, 1e-30]])
    value, dy = loss(np, y, y)
    assert value == 0 and not dy.any()


# ---- the edges of the numbers ----

FAR = [[1000.0, -1000.0]]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("loss", "y", "target", "expected"),
    [
        (nn.MeanAbsoluteError(), FAR, [[0, 0]], 1000),
        (nn.Huber(), FAR, [[0, 0]], 999.5),
        (nn.SmoothL1(beta=2), FAR, [[0, 0]], 999),
        (nn.LogCosh(), FAR, [[0, 0]], 1000 - np.log(2)),
        (nn.Quantile((0.25, 0.75)), FAR, [[0, 0]], 750),
        (nn.Poisson(), [[-1000.0, -1000.0]], [[0, 3]], 1500),
        (nn.GaussianNegativeLogLikelihood(), [[1000.0, 1000.0]], [[0]], 500),
        (nn.GaussianNegativeLogLikelihood(), [[2.0, -1000.0]], [[2]], -500),
        (nn.SigmoidBinaryCrossEntropy(), FAR, [[0, 1]], 1000),
        (nn.SigmoidBinaryCrossEntropy(), FAR, [[1, 0]], 0),
        (nn.SigmoidBinaryCrossEntropy(pos_weight=3), FAR, [[0, 1]], 2000),
        (nn.SigmoidBinaryCrossEntropy(pos_weight=3), FAR, [[1, 0]], 0),
        (nn.SigmoidFocal(), FAR, [[0, 1]], 500),
        (nn.SigmoidFocal(gamma=0.5), FAR, [[1, 0]], 0),
        (nn.SoftmaxCrossEntropy(), FAR, [[0, 1]], 2000),
        (nn.SoftmaxCrossEntropy(), FAR, [[1, 0]], 0),
        (nn.SoftmaxCrossEntropy(label_smoothing=0.1), FAR, [[0, 1]], 1900),
        (nn.SoftmaxCrossEntropy(class_weight=(1, 3)), FAR, [[0, 1]], 6000),
        (nn.SoftmaxFocal(), FAR, [[0, 1]], 2000),
        (nn.SoftmaxFocal(gamma=0.5), FAR, [[1, 0]], 0),
        (nn.KLDivergence(), FAR, [[0, 1]], 2000),
        (nn.KLDivergence(), FAR, [[1, 0]], 0),
        (nn.Hinge(), FAR, [[-1, 1]], 1001),
        (nn.Hinge(squared=True), FAR, [[-1, 1]], 1001**2),
        (nn.MultiClassHinge(), FAR, [[0, 1]], 1000.5),
        (nn.Summed(nn.SigmoidBinaryCrossEntropy()), FAR, [[0, 1]], 2000),
    ],
)
def test_outputs_of_a_thousand_are_exact_and_silent(
    loss: nn.Loss, y: Any, target: Any, expected: float, dtype: str
) -> None:
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        value, dy = loss(np, np.array(y, dtype), np.array(target, dtype))
    assert value == pytest.approx(expected, rel=float(np.finfo(dtype).eps), abs=0)
    assert np.isfinite(dy).all()


@all_losses
def test_a_nan_stays_visible(case: LossCase) -> None:
    y = outputs(case)
    y[1, 2] = np.nan
    value, dy = case.loss(np, y, case.target)
    assert np.isnan(value)
    assert list(np.isnan(dy).any(-1)) == [False, True, False, False, False]


def test_a_batch_of_weights_zero_changes_nothing() -> None:
    for case in LOSSES.values():
        value, dy = case.loss(np, outputs(case), case.target, np.zeros(BATCH))
        assert value == 0 and not dy.any()


@pytest.mark.parametrize("loss", [nn.SoftmaxCrossEntropy(0.1, (1, 2, 0, 1)), nn.SoftmaxFocal(2, (1, 2, 0, 1))])
def test_a_batch_of_classes_with_weight_zero_changes_nothing(loss: nn.Loss) -> None:
    value, dy = loss(np, outputs(LOSSES["SoftmaxFocal"]), np.full(BATCH, 2))
    assert value == 0 and not dy.any()


@all_losses
def test_the_loss_does_not_depend_on_the_scale_of_the_weights(case: LossCase) -> None:
    once = case.loss(np, outputs(case), case.target, WEIGHTS)
    thrice = case.loss(np, outputs(case), case.target, 3 * WEIGHTS)
    assert once[0] == pytest.approx(thrice[0], rel=1e-14)


# ---- hyper-parameters ----


@all_losses
def test_a_loss_can_be_written_to_a_file_and_compared(case: LossCase) -> None:
    again = from_config(to_config(case.loss, [nn]), [nn])
    assert again == case.loss
    assert hash(again) == hash(case.loss)


def test_vectors_of_numbers_may_be_lists_or_arrays() -> None:
    weights = np.array([1, 2], np.float32)
    assert nn.SoftmaxCrossEntropy(class_weight=weights) == nn.SoftmaxCrossEntropy(class_weight=(1, 2))
    assert nn.SoftmaxFocal(class_weight=[1, 2]).class_weight == (1.0, 2.0)
    assert nn.SigmoidBinaryCrossEntropy(weights) == nn.SigmoidBinaryCrossEntropy([1, 2])
    assert (
        nn.SigmoidBinaryCrossEntropy(weights[1])
        == nn.SigmoidBinaryCrossEntropy(2)
        == nn.SigmoidBinaryCrossEntropy((2,))
    )
    assert {type(number) for number in nn.Quantile(np.array([0.1, 0.9])).quantiles} == {float}


@pytest.mark.parametrize(
    "loss",
    [
        nn.Huber(np.float64(1)),
        nn.SmoothL1(np.float64(1)),
        nn.SigmoidFocal(np.float64(2), np.float64(0.5)),
        nn.SoftmaxFocal(np.float64(2)),
        nn.SoftmaxCrossEntropy(np.float64(0.1)),
    ],
)
def test_a_number_of_numpy_leaves_float32_as_it_is(loss: nn.Loss) -> None:
    value, dy = loss(np, np.ones((2, 3), np.float32), np.zeros((2, 3), np.float32))
    assert value.dtype == dy.dtype == np.float32


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: nn.Huber(0), ValueError, r"Huber\(delta=0\): must be a finite number above 0"),
        (lambda: nn.Huber(float("nan")), ValueError, r"Huber\(delta=nan\)"),
        (
            lambda: nn.SmoothL1(-1.0),
            ValueError,
            r"SmoothL1\(beta=-1.0\): .* above 0; for beta = 0 use MeanAbsoluteError",
        ),
        (lambda: nn.Quantile(()), ValueError, "one or more numbers above 0 and below 1"),
        (lambda: nn.Quantile((0.5, 1.0)), ValueError, r"Quantile\(quantiles=\(0.5, 1.0\)\).*above 0 and below 1"),
        (lambda: nn.Quantile(0.5), TypeError, r"Quantile\(quantiles=0.5\): must be a sequence of numbers"),
        (lambda: nn.SigmoidFocal(gamma=-1), ValueError, r"SigmoidFocal\(gamma=-1\): must be at least 0"),
        (lambda: nn.SigmoidFocal(alpha=1.5), ValueError, r"SigmoidFocal\(alpha=1.5\): must be in \[0, 1\], or None"),
        (lambda: nn.SoftmaxFocal(gamma=float("inf")), ValueError, r"SoftmaxFocal\(gamma=inf\).*and finite"),
        (lambda: nn.SoftmaxFocal(class_weight=(0, 0)), ValueError, "class_weight=.*not all zero"),
        (lambda: nn.SoftmaxCrossEntropy(1.0), ValueError, r"label_smoothing=1.0\): must be in \[0, 1\)"),
        (lambda: nn.SoftmaxCrossEntropy(class_weight=(1, -1)), ValueError, "class_weight=.*not negative"),
        (lambda: nn.SoftmaxCrossEntropy(class_weight=(1, np.nan)), ValueError, "class_weight=.*must be finite"),
        (lambda: nn.SoftmaxCrossEntropy(class_weight="balanced"), TypeError, "'balanced'.*a sequence of numbers"),
        (lambda: nn.SoftmaxCrossEntropy(class_weight={0: 1, 1: 5}), TypeError, "a sequence of numbers"),
        (lambda: nn.SigmoidBinaryCrossEntropy(pos_weight=-1), ValueError, "pos_weight=.*not negative"),
        (lambda: nn.Summed(nn.SoftmaxCrossEntropy()), TypeError, r"Summed\(loss=SoftmaxC.* such as nn.MeanSquaredErr"),
        (lambda: nn.Summed(nn.Summed(nn.Huber())), TypeError, r"Summed\(loss=Summed\(.*a mean over the columns"),
        (lambda: nn.Summed(nn.Huber), TypeError, r"Summed\(loss=<class .*a mean over the columns"),
        (lambda: nn.MultiOutput(nn.Huber(), (3, 2)), TypeError, r"MultiOutput\(loss=Huber\(.*such as nn.SoftmaxCross"),
        (
            lambda: nn.MultiOutput(nn.SoftmaxCrossEntropy(class_weight=(1, 2)), (2, 2)),
            ValueError,
            "MultiOutput.*cannot share a class_weight",
        ),
        (
            lambda: nn.MultiOutput(nn.SoftmaxCrossEntropy(), ()),
            ValueError,
            r"classes=\(\)\): give the number of classes",
        ),
        (lambda: nn.MultiOutput(nn.SoftmaxCrossEntropy(), 3), ValueError, r"classes=3\): .* for example \(3, 2\)"),
        (lambda: nn.MultiOutput(nn.SoftmaxCrossEntropy(), (3, 0)), ValueError, r"classes=\(3, 0\)\): give the number"),
        (lambda: nn.MultiOutput(nn.SoftmaxCrossEntropy(), (3, 2.0)), ValueError, r"classes=\(3, 2.0\)\): give"),
    ],
)
def test_hyper_parameters_out_of_range_are_refused(build: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        build()


# ---- targets ----

NAN, HALVES = np.array([0.0, np.nan]), np.full((2, 2), 0.5)
TWICE = nn.GaussianNegativeLogLikelihood()
SEVERAL = nn.MultiOutput(nn.SoftmaxCrossEntropy(), (3, 2))


@pytest.mark.parametrize(
    ("loss", "target", "outputs", "error", "message"),
    [
        (nn.SoftmaxCrossEntropy(), np.array([0, 4]), 4, ValueError, "labels run from 0 to 4.*must be 0 to 3"),
        (nn.SoftmaxCrossEntropy(), np.array([-1, 2]), 4, ValueError, "labels run from -1 to 2"),
        (nn.SoftmaxCrossEntropy(), np.array([0.0, 1.5]), 4, TypeError, "integer class labels, got dtype .*float64"),
        (nn.SoftmaxCrossEntropy(), np.ones((2, 3)), 4, nn.ShapeError, r"shape \(rows, 4\).*got shape \(2, 3\)"),
        (nn.SoftmaxCrossEntropy(), np.array([[1, 0], [2, -1]]), 2, ValueError, "row 1 .*sum 1 .*smallest number -1"),
        (nn.SoftmaxCrossEntropy(), np.array([[0.3, 0.7], [0.3, 0.6]]), 2, ValueError, "row 1 has the sum 0.9"),
        (nn.SoftmaxCrossEntropy(), np.array([[0, 0], [1, 1]]), 2, ValueError, "row 0 has the sum 0 "),
        (nn.SoftmaxCrossEntropy(0, (1, 2)), np.array([0, 2]), 3, nn.ShapeError, "2 numbers, but .* gives 3 outputs"),
        (nn.SoftmaxFocal(2, (1, 2)), np.array([0, 2]), 3, nn.ShapeError, "2 numbers, but the model gives 3 outputs"),
        (nn.KLDivergence(), np.ones((2, 2)), 2, ValueError, "row 0 has the sum 2"),
        (nn.CrossEntropy(), np.ones((2, 2)), 2, ValueError, "row 0 has the sum 2"),
        (nn.SigmoidBinaryCrossEntropy(), np.array([0, 2]), 1, ValueError, "between 0 and 1, got 0 to 2"),
        (nn.SigmoidBinaryCrossEntropy((1, 2)), np.ones((2, 3)), 3, nn.ShapeError, "2 numbers, but .* gives 3 outputs"),
        (nn.SigmoidFocal(), np.array([-1, 1]), 1, ValueError, "between 0 and 1, got -1 to 1"),
        (nn.Hinge(), np.array([0, 1, 2]), 1, ValueError, "0 and 1, or -1 and .1, got numbers from 0 to 2"),
        (nn.Hinge(), np.array([0.5, 1]), 1, ValueError, "0 and 1, or -1 and .1, got numbers from 0.5 to 1"),
        (nn.Hinge(), np.array([-1, 0, 1]), 1, ValueError, "0 and 1, or -1 and .1, got numbers from -1 to 1"),
        (nn.MultiClassHinge(), HALVES, 2, ValueError, "labels or one-hot rows as targets, not probabilities"),
        (nn.Poisson(), np.array([0, -2]), 1, ValueError, "expects counts.*not negative, got -2"),
        (nn.Quantile(), np.ones(2), 1, nn.ShapeError, r"3 outputs for each column.*gives 1 outputs; got shape \(2,\)"),
        (
            nn.Quantile(),
            np.ones((2, 2)),
            3,
            nn.ShapeError,
            r"3 outputs for each .*, 6 for 2; .* gives 3 outputs; got shape \(2, 2\)",
        ),
        (TWICE, np.ones((2, 2)), 2, nn.ShapeError, r"2 outputs for each .* gives 2 outputs; got shape \(2, 2\)"),
        (TWICE, NAN, 2, ValueError, "NaN or infinity"),
        (nn.MeanSquaredError(), NAN, 1, ValueError, "NaN or infinity"),
        (nn.Summed(nn.SigmoidBinaryCrossEntropy()), np.array([[0, 2]]), 2, ValueError, "between 0 and 1, got 0 to 2"),
        (nn.Summed(TWICE), np.ones((2, 2)), 2, nn.ShapeError, "2 outputs for each .* gives 2 outputs"),
        (SEVERAL, np.array([[2, 1], [0, 2]]), 5, ValueError, r"column 1 run from 1 to 2, .*\(3, 2\) .* be 0 to 1"),
        (SEVERAL, np.array([[-1, 1], [0, 1]]), 5, ValueError, "column 0 run from -1 to 0"),
        (SEVERAL, np.array([[0.0, 1.0]]), 5, TypeError, "integer class labels, got dtype .*float64"),
        (SEVERAL, np.array([[0, 1]]), 6, nn.ShapeError, "needs 5 outputs, one for each class; the model gives 6"),
        (SEVERAL, np.array([0, 1]), 5, nn.ShapeError, r"shape \(rows, 2\); got shape \(2,\)"),
        (SEVERAL, np.array([[0, 1, 1]]), 5, nn.ShapeError, r"shape \(rows, 2\); got shape \(1, 3\)"),
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
        np.testing.assert_array_equal(encoded(nn.SigmoidBinaryCrossEntropy(3.0), [[0, 1]], 2), [[0, 1]])
        assert encoded(nn.MeanSquaredError(), [1.5, 2], 1).shape == (2, 1)
        for labels in ([0, 1, 1], [-1, 1, 1], [False, True, True]):
            signs = encoded(nn.Hinge(), labels, 1)
            assert signs.dtype == np.float32
            np.testing.assert_array_equal(signs, [[-1], [1], [1]])
        for classes in ([0, 2, 1], np.eye(3)[[0, 2, 1]]):
            np.testing.assert_array_equal(encoded(nn.MultiClassHinge(), classes, 3), [0, 2, 1])
        # A column for every quantile of a column
        np.testing.assert_array_equal(encoded(nn.Quantile((0.1, 0.9)), [1, 2], 2), [[1, 1], [2, 2]])
        np.testing.assert_array_equal(encoded(nn.Quantile((0.1, 0.9)), [[1, 2]], 4), [[1, 1, 2, 2]])
        np.testing.assert_array_equal(encoded(nn.GaussianNegativeLogLikelihood(), [1, 2], 2), [[1], [2]])
        assert encoded(nn.GaussianNegativeLogLikelihood(), [[1, 2, 3]], 6).shape == (1, 3)
        np.testing.assert_array_equal(encoded(nn.Summed(nn.Quantile((0.1, 0.9))), [[1, 2]], 4), [[1, 1, 2, 2]])
        # A column for every label
        several = nn.MultiOutput(categorical, (3, 2))
        labels = encoded(several, [[2, 1], [0, 0]], 5)
        assert labels.dtype == np.int32
        np.testing.assert_array_equal(labels, [[2, 1], [0, 0]])
        np.testing.assert_array_equal(encoded(several, [[True, False]], 5), [[1, 0]])
        np.testing.assert_array_equal(encoded(nn.MultiOutput(categorical, (3,)), [2, 0], 3), [[2], [0]])


def test_what_is_around_a_loss_tells_metrics_what_the_loss_tells_them() -> None:
    y, t, quantiles = np.arange(12.0).reshape(2, 6), np.ones((2, 6)), nn.Quantile((0.1, 0.5, 0.9))
    summed = nn.Summed(quantiles)
    assert summed.outputs_per_target == 3
    for ours, theirs in zip(summed.predicted(np, y, t), quantiles.predicted(np, y, t), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_numbers_of_classes_may_be_a_list_or_an_array() -> None:
    given = [nn.MultiOutput(nn.SoftmaxFocal(), classes) for classes in ((3, 2), [3, 2], np.array([3, 2]))]
    assert {repr(loss.classes) for loss in given} == {"(3, 2)"}
    assert len(set(given)) == 1


def test_rows_of_probabilities_may_be_off_by_rounding() -> None:
    rows = np.random.default_rng(0).uniform(size=(100, 1000)) ** 4
    for dtype in (np.float16, np.float32):
        soft = (rows / rows.sum(1, keepdims=True)).astype(dtype)
        assert nn.SoftmaxCrossEntropy().encode(np, soft, 1000, np.float32).shape == (100, 1000)


def test_the_mean_over_batches_of_any_size_is_the_mean_over_all_with_class_weights_too() -> None:
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(5000, 3)), rng.integers(0, 3, size=5000)
    weight = rng.uniform(size=5000)
    loss = nn.SoftmaxCrossEntropy(class_weight=(0.1, 1.0, 5.0))
    trainer = train.Trainer(nn.Linear(3, 3), loss, optim.SGD(0.0), backend="numpy", dtype="float64")
    expected, _ = loss(np, trainer.predict(x), labels, weight)
    # evaluate looks at 4096 rows at a time, fit at 7.
    assert trainer.evaluate(x, labels, sample_weight=weight)["loss"] == pytest.approx(float(expected), rel=1e-12)
    history = trainer.fit(x, labels, sample_weight=weight, epochs=1, batch_size=7, progress=False)
    assert history["loss"] == pytest.approx([float(expected)], rel=1e-12)


def test_several_labels_are_learned_and_their_mean_over_batches_is_that_over_all_rows() -> None:
    rng = np.random.default_rng(0)
    x, weight = rng.normal(size=(200, 3)), rng.uniform(size=200)
    labels = np.stack([x.argmax(1), (x[:, 0] > 0).astype(int)], axis=1)
    loss = nn.MultiOutput(nn.SoftmaxCrossEntropy(), (3, 2))
    trainer = train.Trainer(nn.Linear(3, 5), loss, optim.Adam(0.1), backend="numpy", dtype="float64")
    history = trainer.fit(x, labels, sample_weight=weight, epochs=60, batch_size=32, progress=False)
    assert history["loss"][-1] < 0.2 * history["loss"][0]
    y = trainer.predict(x)
    assert (y[:, :3].argmax(1) == labels[:, 0]).mean() > 0.95
    assert (y[:, 3:].argmax(1) == labels[:, 1]).mean() > 0.95
    still = train.Trainer(nn.Linear(3, 5), loss, optim.SGD(0.0), backend="numpy", dtype="float64")
    expected, _ = loss(np, still.predict(x), labels, weight)
    history = still.fit(x, labels, sample_weight=weight, epochs=1, batch_size=7, progress=False)
    assert history["loss"] == pytest.approx([float(expected)], rel=1e-12)
