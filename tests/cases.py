"""An instance of every layer, loss, initializer and optimizer to test. One that is missing here fails the suite."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlp_xp import nn, optim, train

BATCH, FEATURES = 5, 4


@dataclass
class Case:
    """A layer with the number of its input features, and how widely they spread: across every kink."""

    layer: nn.Layer
    features: int | tuple[int, ...] = FEATURES
    scale: float = 1.0
    categories: tuple[tuple[int, int], ...] = ()
    """Columns that hold categories, and how many."""

    def inputs(self, seed: int = 1) -> np.ndarray:
        shape = self.features if isinstance(self.features, tuple) else (self.features,)
        x = self.scale * np.random.default_rng(seed).normal(size=(BATCH, *shape))
        for column, categories in self.categories:
            x[:, column] = np.arange(BATCH) % categories
        return x


LAYERS: dict[str, Case] = {
    "Linear": Case(nn.Linear(4, 3)),
    "Linear(bias=False)": Case(nn.Linear(4, 3, bias=False)),
    "Identity": Case(nn.Identity()),
    "Step": Case(nn.Step()),
    "Sigmoid": Case(nn.Sigmoid()),
    "Sigmoid(beta=2.5)": Case(nn.Sigmoid(beta=2.5)),
    "HardSigmoid": Case(nn.HardSigmoid(), scale=4),
    "LogSigmoid": Case(nn.LogSigmoid()),
    "Tanh": Case(nn.Tanh()),
    "HardTanh": Case(nn.HardTanh(low=-0.5, high=1.5), scale=2),
    "Softsign": Case(nn.Softsign()),
    "ReLU": Case(nn.ReLU()),
    "ReLU6": Case(nn.ReLU6(), scale=8),
    "LeakyReLU": Case(nn.LeakyReLU(slope=0.1)),
    "PReLU, one slope": Case(nn.PReLU()),
    "PReLU, a slope for each feature": Case(nn.PReLU(4)),
    "ELU": Case(nn.ELU(alpha=1.5)),
    "CELU": Case(nn.CELU(alpha=0.5)),
    "SELU": Case(nn.SELU()),
    "Softplus": Case(nn.Softplus(beta=2.0)),
    "GELU": Case(nn.GELU(), scale=2),
    "GELU, approximate": Case(nn.GELU(approximate=True), scale=2),
    "SiLU": Case(nn.SiLU()),
    "HardSwish": Case(nn.HardSwish(), scale=4),
    "Mish": Case(nn.Mish()),
    "GLU": Case(nn.GLU()),
    "Maxout": Case(nn.Maxout(4, 3, pieces=3)),
    "Softmax": Case(nn.Softmax()),
    "LogSoftmax": Case(nn.LogSoftmax()),
    "BatchNorm": Case(nn.BatchNorm(4)),
    "LayerNorm": Case(nn.LayerNorm(4)),
    "RMSNorm": Case(nn.RMSNorm(4)),
    "Scale": Case(nn.Scale(4)),
    "Rescale": Case(nn.Rescale(0.3, offset=-1.5)),
    "Standardize": Case(nn.Standardize(4)),
    "Flatten": Case(nn.Flatten(), features=(2, 3)),
    "Embedding": Case(nn.Embedding({1: 3, 3: 2}, features=2), categories=((1, 3), (3, 2))),
    "Dropout": Case(nn.Dropout(0.4)),
    "AlphaDropout": Case(nn.AlphaDropout(0.3)),
    "GaussianNoise": Case(nn.GaussianNoise(0.5)),
    "Residual": Case(nn.Residual(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 4))),
    "Parallel": Case(nn.Sequential(nn.Parallel(nn.Identity(), nn.Linear(4, 3), nn.Dropout(0.5)), nn.Linear(11, 2))),
    "Parallel, itself": Case(nn.Parallel(nn.Linear(4, 3), nn.Sequential(nn.Tanh(), nn.BatchNorm(4)))),
    "Sequential": Case(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))),
    "Sequential, nested": Case(
        nn.Sequential(
            nn.Dropout(0.2),
            nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Dropout(0.3)),
            nn.Sequential(nn.Sigmoid(), nn.Linear(5, 3)),
        )
    ),
    "Sequential of nothing trainable": Case(nn.Sequential(nn.Tanh(), nn.Identity())),
}

_rng = np.random.default_rng(7)
_soft = _rng.uniform(0.1, 1.0, (BATCH, FEATURES))
_numbers = _rng.normal(size=(BATCH, FEATURES))
_counts = _rng.poisson(1.5, (BATCH, FEATURES)).astype(float)
_signs = _rng.choice([-1.0, 1.0], (BATCH, FEATURES))
_labels = np.array([0, 3, 1, 1, 2], np.int32)
_class_weight = (1.0, 0.5, 0.0, 3.0)


@dataclass
class LossCase:
    """A loss with encoded targets for outputs (BATCH, FEATURES); `probabilities` asks for outputs that are such."""

    loss: nn.Loss
    target: np.ndarray
    probabilities: bool = False


LOSSES: dict[str, LossCase] = {
    "MeanSquaredError": LossCase(nn.MeanSquaredError(), _rng.normal(size=(BATCH, FEATURES))),
    "MeanSquaredError(half=True)": LossCase(nn.MeanSquaredError(half=True), _rng.normal(size=(BATCH, FEATURES))),
    "SigmoidBinaryCrossEntropy": LossCase(nn.SigmoidBinaryCrossEntropy(), _rng.uniform(size=(BATCH, FEATURES))),
    "SoftmaxCrossEntropy, labels": LossCase(nn.SoftmaxCrossEntropy(), _labels),
    "SoftmaxCrossEntropy, one-hot": LossCase(nn.SoftmaxCrossEntropy(), np.eye(4)[[0, 3, 1, 1, 2]]),
    "SoftmaxCrossEntropy, soft": LossCase(nn.SoftmaxCrossEntropy(), _soft / _soft.sum(1, keepdims=True)),
    "SoftmaxCrossEntropy, rows that do not sum to 1": LossCase(nn.SoftmaxCrossEntropy(), _soft),
    "CrossEntropy, labels": LossCase(nn.CrossEntropy(), _labels, probabilities=True),
    "CrossEntropy, soft": LossCase(nn.CrossEntropy(), _soft, probabilities=True),
    "MeanAbsoluteError": LossCase(nn.MeanAbsoluteError(), _numbers),
    "Huber": LossCase(nn.Huber(delta=0.7), _numbers),
    "SmoothL1": LossCase(nn.SmoothL1(beta=0.4), _numbers),
    "LogCosh": LossCase(nn.LogCosh(), _numbers),
    "Quantile": LossCase(nn.Quantile((0.1, 0.8)), np.repeat(_numbers[:, :2], 2, axis=1)),
    "Poisson": LossCase(nn.Poisson(), _counts),
    "Poisson(full=True)": LossCase(nn.Poisson(full=True), _counts),
    "GaussianNegativeLogLikelihood": LossCase(nn.GaussianNegativeLogLikelihood(), _numbers[:, :2]),
    "GaussianNegativeLogLikelihood(full=True)": LossCase(nn.GaussianNegativeLogLikelihood(full=True), _numbers[:, :2]),
    "SigmoidBinaryCrossEntropy(pos_weight)": LossCase(
        nn.SigmoidBinaryCrossEntropy(pos_weight=(0.5, 1, 2, 7)), _rng.uniform(size=(BATCH, FEATURES))
    ),
    "SigmoidFocal": LossCase(nn.SigmoidFocal(), _rng.uniform(size=(BATCH, FEATURES))),
    "SigmoidFocal, without alpha": LossCase(nn.SigmoidFocal(gamma=0.5, alpha=None), _signs * 0.5 + 0.5),
    "SoftmaxCrossEntropy(label_smoothing)": LossCase(nn.SoftmaxCrossEntropy(label_smoothing=0.1), _labels),
    "SoftmaxCrossEntropy(class_weight)": LossCase(nn.SoftmaxCrossEntropy(class_weight=_class_weight), _labels),
    "SoftmaxCrossEntropy(label_smoothing, class_weight), labels": LossCase(
        nn.SoftmaxCrossEntropy(0.1, _class_weight), _labels
    ),
    "SoftmaxCrossEntropy(label_smoothing, class_weight), soft": LossCase(
        nn.SoftmaxCrossEntropy(0.1, _class_weight), _soft / _soft.sum(1, keepdims=True)
    ),
    "SoftmaxFocal": LossCase(nn.SoftmaxFocal(), _labels),
    "SoftmaxFocal(class_weight)": LossCase(nn.SoftmaxFocal(0.5, _class_weight), _labels),
    "SoftmaxFocal(class_weight), soft": LossCase(nn.SoftmaxFocal(0.5, _class_weight), _soft),
    "KLDivergence": LossCase(nn.KLDivergence(), np.where(_soft < 0.3, 0.0, _soft)),
    "Hinge": LossCase(nn.Hinge(), _signs),
    "Hinge(squared=True)": LossCase(nn.Hinge(squared=True), _signs),
    "MultiClassHinge": LossCase(nn.MultiClassHinge(), _labels),
    "Summed": LossCase(nn.Summed(nn.SigmoidBinaryCrossEntropy()), _rng.uniform(size=(BATCH, FEATURES))),
    "Summed, two outputs a column": LossCase(nn.Summed(nn.GaussianNegativeLogLikelihood()), _numbers[:, :2]),
    "MultiOutput": LossCase(
        nn.MultiOutput(nn.SoftmaxCrossEntropy(label_smoothing=0.1), (2, 2)),
        np.array([[0, 1], [1, 0], [1, 1], [0, 0], [1, 1]], np.int32),
    ),
}

INITIALIZERS: dict[str, nn.Initializer] = {
    "HeNormal": nn.HeNormal(),
    "HeUniform": nn.HeUniform(),
    "HeTruncatedNormal": nn.HeTruncatedNormal(),
    "GlorotNormal": nn.GlorotNormal(),
    "GlorotNormal(gain=5/3)": nn.GlorotNormal(gain=5 / 3),
    "GlorotUniform": nn.GlorotUniform(),
    "GlorotTruncatedNormal": nn.GlorotTruncatedNormal(),
    "LeCunNormal": nn.LeCunNormal(),
    "LeCunUniform": nn.LeCunUniform(),
    "LeCunTruncatedNormal": nn.LeCunTruncatedNormal(),
    "FanInUniform": nn.FanInUniform(),
    "Uniform": nn.Uniform(-0.2, 0.6),
    "Normal": nn.Normal(0.5, 0.1),
    "Constant": nn.Constant(0.3),
    "Zeros": nn.Zeros(),
    "IdentityMatrix": nn.IdentityMatrix(gain=0.7),
    "Orthogonal": nn.Orthogonal(gain=1.3),
    "LSUV": nn.LSUV(),
    "Sparse": nn.Sparse(),
    "Sparse, share": nn.Sparse(nonzero=0.1, std=0.5),
}

OPTIMIZERS: dict[str, optim.Optimizer] = {
    "SGD": optim.SGD(0.05),
    "SGD, momentum": optim.SGD(0.05, momentum=0.9),
    "SGD, Nesterov": optim.SGD(0.05, momentum=0.9, nesterov=True),
    "SGD, rate in velocity": optim.SGD(optim.Exponential(0.1, 0.9), 0.9, dampening=0.3, rate_in_velocity=True),
    "SGD, Nesterov, rate in velocity": optim.SGD(
        optim.Exponential(0.1, 0.9), 0.9, nesterov=True, rate_in_velocity=True
    ),
    "SGD, every option": optim.SGD(
        0.05,
        weight_decay=0.1,
        l1=0.05,
        clip_norm=0.9,
        clip_value=0.2,
        maximize=True,
        lr_multipliers={"*.bias": 0.5},
        decay_multipliers={"*.bias": 0.25},
        constraints={"*.weight": optim.MaxNorm(1.5), "*.bias": optim.NonNegative()},
    ),
    "Adagrad": optim.Adagrad(0.1, lr_decay=0.01, initial_accumulator=0.1),
    "RMSprop": optim.RMSprop(0.02),
    "RMSprop, centered": optim.RMSprop(0.02, momentum=0.9, centered=True),
    "Adadelta": optim.Adadelta(),
    "Adam": optim.Adam(0.02),
    "Adam, AMSGrad": optim.Adam(0.02, beta1=0.7, beta2=0.97, eps=1e-4, amsgrad=True),
    "Adam, epsilon hat": optim.Adam(0.02, eps=1e-2, epsilon_hat=True),
    "AdamW": optim.AdamW(0.02, weight_decay=0.1),
    "Adamax": optim.Adamax(0.02),
    "NAdam": optim.NAdam(0.02),
    "RAdam": optim.RAdam(0.02),
    "LAMB": optim.LAMB(0.02, weight_decay=0.1),
    "Lion": optim.Lion(0.01, weight_decay=0.1),
    "Rprop": optim.Rprop(0.01),
    "ASGD": optim.ASGD(0.05, lambd=0.01, t0=5.0),
    "EMA": optim.EMA(optim.Adam(0.02), decay=0.9),
    "SWA": optim.SWA(optim.SGD(0.05), start_step=5, every=3),
    "Lookahead": optim.Lookahead(optim.LAMB(0.02), k=3),
}


@dataclass
class MetricCase:
    """A metric, and how scikit-learn's module of metrics `m` measures the same.

    `expected` gets targets t, outputs y (rows, outputs) and weights w or None. The kind of the data is "logits" of
    classes t, "probabilities" of them, "multilabel" with t (rows, outputs) of 0 and 1, or "numbers".
    """

    metric: train.Metric
    expected: Callable[[Any, Any, Any, Any], Any]
    kind: str = "logits"
    outputs: int = 4


def softmax(y: Any) -> Any:
    e = np.exp(y - y.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def positive(y: Any) -> Any:
    """The probability of class 1 by a single logit."""
    return 1 / (1 + np.exp(-y[:, 0]))


METRICS: dict[str, MetricCase] = {
    "Accuracy": MetricCase(train.Accuracy(), lambda m, t, y, w: m.accuracy_score(t, y.argmax(1), sample_weight=w)),
    "Accuracy, one output": MetricCase(
        train.Accuracy(threshold=0.5), lambda m, t, y, w: m.accuracy_score(t, y > 0.5, sample_weight=w), outputs=1
    ),
    "Accuracy, multilabel": MetricCase(
        train.Accuracy(multilabel=True), lambda m, t, y, w: m.accuracy_score(t, y > 0, sample_weight=w), "multilabel", 2
    ),
    "TopKAccuracy, ties": MetricCase(
        train.TopKAccuracy(2),
        lambda m, t, y, w: m.top_k_accuracy_score(t, y, k=2, labels=range(4), sample_weight=w),
        "probabilities",
    ),
    "BalancedAccuracy": MetricCase(
        train.BalancedAccuracy(), lambda m, t, y, w: m.balanced_accuracy_score(t, y.argmax(1), sample_weight=w)
    ),
    "ConfusionMatrix": MetricCase(
        train.ConfusionMatrix(), lambda m, t, y, w: m.confusion_matrix(t, y.argmax(1), sample_weight=w)
    ),
    "ConfusionMatrix, one output": MetricCase(
        train.ConfusionMatrix(), lambda m, t, y, w: m.confusion_matrix(t, y > 0, sample_weight=w), outputs=1
    ),
    "Precision": MetricCase(
        train.Precision(), lambda m, t, y, w: m.precision_score(t, y.argmax(1), average="macro", sample_weight=w)
    ),
    "Precision, one output": MetricCase(
        train.Precision(threshold=0.25), lambda m, t, y, w: m.precision_score(t, y > 0.25, sample_weight=w), outputs=1
    ),
    "Recall, two outputs": MetricCase(
        train.Recall(), lambda m, t, y, w: m.recall_score(t, y.argmax(1), sample_weight=w), outputs=2
    ),
    "Recall, macro of two": MetricCase(
        train.Recall("macro"), lambda m, t, y, w: m.recall_score(t, y > 0, average="macro", sample_weight=w), outputs=1
    ),
    "F1, weighted": MetricCase(
        train.F1("weighted"), lambda m, t, y, w: m.f1_score(t, y.argmax(1), average="weighted", sample_weight=w)
    ),
    "F1, multilabel": MetricCase(
        train.F1(multilabel=True),
        lambda m, t, y, w: m.f1_score(t, y > 0, average="macro", sample_weight=w),
        "multilabel",
        2,
    ),
    "F1, multilabel, micro": MetricCase(
        train.F1("micro", multilabel=True),
        lambda m, t, y, w: m.f1_score(t, y > 0, average="micro", sample_weight=w),
        "multilabel",
    ),
    "RocAuc": MetricCase(
        train.RocAuc(), lambda m, t, y, w: m.roc_auc_score(t, softmax(y), multi_class="ovr", sample_weight=w)
    ),
    "RocAuc, ties": MetricCase(
        train.RocAuc(from_logits=False),
        lambda m, t, y, w: m.roc_auc_score(t, y, multi_class="ovr", sample_weight=w),
        "probabilities",
    ),
    "RocAuc, one output": MetricCase(
        train.RocAuc(), lambda m, t, y, w: m.roc_auc_score(t, y[:, 0], sample_weight=w), outputs=1
    ),
    "RocAuc, two outputs": MetricCase(
        train.RocAuc(), lambda m, t, y, w: m.roc_auc_score(t, y[:, 1] - y[:, 0], sample_weight=w), outputs=2
    ),
    "RocAuc, two probabilities": MetricCase(
        train.RocAuc(from_logits=False),
        lambda m, t, y, w: m.roc_auc_score(t, y[:, 1], sample_weight=w),
        "probabilities",
        2,
    ),
    "RocAuc, multilabel": MetricCase(
        train.RocAuc(multilabel=True), lambda m, t, y, w: m.roc_auc_score(t, y, sample_weight=w), "multilabel", 2
    ),
    "LogLoss": MetricCase(train.LogLoss(), lambda m, t, y, w: m.log_loss(t, softmax(y), sample_weight=w)),
    "LogLoss, one output": MetricCase(
        train.LogLoss(), lambda m, t, y, w: m.log_loss(t, positive(y), sample_weight=w), outputs=1
    ),
    "LogLoss, probabilities": MetricCase(
        train.LogLoss(from_logits=False), lambda m, t, y, w: m.log_loss(t, y, sample_weight=w), "probabilities"
    ),
    "LogLoss, one probability": MetricCase(
        train.LogLoss(from_logits=False), lambda m, t, y, w: m.log_loss(t, y[:, 0], sample_weight=w), "probabilities", 1
    ),
    "Brier": MetricCase(
        train.Brier(), lambda m, t, y, w: np.average(((softmax(y) - np.eye(4)[t]) ** 2).sum(1), weights=w)
    ),
    "Brier, one output": MetricCase(
        train.Brier(), lambda m, t, y, w: m.brier_score_loss(t, positive(y), sample_weight=w), outputs=1
    ),
    "Brier, two probabilities": MetricCase(
        train.Brier(from_logits=False),
        lambda m, t, y, w: m.brier_score_loss(t, y[:, 1], sample_weight=w),
        "probabilities",
        2,
    ),
    "RMSE": MetricCase(train.RMSE(), lambda m, t, y, w: m.root_mean_squared_error(t, y, sample_weight=w), "numbers", 2),
    "MAE": MetricCase(train.MAE(), lambda m, t, y, w: m.mean_absolute_error(t, y, sample_weight=w), "numbers", 2),
    "R2": MetricCase(train.R2(), lambda m, t, y, w: m.r2_score(t, y, sample_weight=w), "numbers", 2),
}


CONSTRAINTS: dict[str, optim.Constraint] = {
    "MaxNorm": optim.MaxNorm(1.2),
    "MaxNorm, of rows": optim.MaxNorm(1.2, axis=-1),
    "UnitNorm": optim.UnitNorm(),
    "NonNegative": optim.NonNegative(),
}


def without_case(module: Any, base: type, cases: dict[str, Any]) -> set[str]:
    """The public subclasses of `base` in `module` that no case is named after."""
    public = {
        name
        for name in module.__all__
        if isinstance(getattr(module, name), type) and issubclass(getattr(module, name), base)
    }
    return public - {base.__name__} - {name.split("(")[0].split(",")[0].split(" ")[0] for name in cases}
