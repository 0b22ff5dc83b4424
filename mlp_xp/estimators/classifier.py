"""The classifier."""

from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import compute_sample_weight
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if

from mlp_xp import backends, nn
from mlp_xp.nn.activations import sigmoid
from mlp_xp.nn.losses.categorical import softmax
from mlp_xp.train import Accuracy, Metric

from .arrays import Array, checked_labels, is_plain, on_device, on_host
from .base import MLP, is_stochastic
from .labels import MULTIPLE, Labels, sorted_classes
from .parameters import SHARE
from .tasks import with_callbacks

LOSSES: dict[str, tuple[type[nn.Loss], type[nn.Loss]]] = {
    "log_loss": (nn.SigmoidBinaryCrossEntropy, nn.SoftmaxCrossEntropy),
    "focal": (nn.SigmoidFocal, nn.SoftmaxFocal),
    "hinge": (nn.Hinge, nn.MultiClassHinge),
}
"""By word: the loss for outputs that each decide for themselves, and for classes that exclude each other."""
OF_PROBABILITIES = (
    nn.SigmoidBinaryCrossEntropy,
    nn.SigmoidFocal,
    nn.SoftmaxCrossEntropy,
    nn.SoftmaxFocal,
    nn.KLDivergence,
)
BINARY = tuple(binary for binary, _ in LOSSES.values())
CATEGORICAL = (*(categorical for _, categorical in LOSSES.values()), nn.KLDivergence)


def has_probabilities(estimator: Any) -> bool:
    """For `available_if`: AttributeError where the loss makes no probabilities of the outputs."""
    loss = _unwrapped(estimator.trainer_.loss) if hasattr(estimator, "trainer_") else estimator.loss
    if loss == "hinge" or not isinstance(loss, (str, *OF_PROBABILITIES)):
        raise AttributeError(f"loss={loss!r} gives no probabilities; use decision_function, or loss='log_loss'")
    return True


def _unwrapped(loss: nn.Loss) -> nn.Loss:
    """The loss of one column."""
    return loss.loss if isinstance(loss, nn.Summed | nn.MultiOutput) else loss


@dataclass(eq=False, repr=False)
class MLPClassifier(ClassifierMixin, MLP):
    """A multi-layer perceptron that tells classes apart. scikit-learn's parameters, and more; it follows its arrays.

    X (rows, features) and y are NumPy arrays, lists, frames, sparse matrices (X), or arrays of CuPy, PyTorch or JAX:
    training runs where X is, and what comes out is of the same library, on the same device. y is (rows,) labels of any
    kind, (rows, labels) of 0 and 1, or (rows, columns) of labels that are told apart column by column.

    hidden_layer_sizes: units in each hidden layer, a sequence or one number.
    activation: of the hidden layers, "relu", "tanh", "logistic", "identity" or any of mlp_xp.catalogue.ACTIVATIONS, an
        nn.Layer, or a sequence with one for each hidden layer.
    solver: "adam", "sgd", "lbfgs", any of mlp_xp.catalogue.OPTIMIZERS such as "adamw", or an optim.Optimizer, which
        brings its own learning rate, momentum and betas: the parameters with these names are not looked at.
    alpha: strength of the L2 penalty on the weights, divided by the rows (or the sum of the weights) of a batch.
    batch_size: rows in a batch; "auto" is 200, or all there are. L-BFGS takes all.
    learning_rate: "constant", "invscaling" or "adaptive" (these two with "sgd"), "cosine" or "one_cycle" over max_iter
        epochs, or a Schedule of mlp_xp.optim, which counts steps.
    learning_rate_init: the learning rate, or where it starts; the highest of "one_cycle".
    power_t: the exponent of "invscaling": after t rows the rate is learning_rate_init / (t + 1)^power_t.
    max_iter: epochs at most; iterations with "lbfgs".
    shuffle: put the rows in a new order for every epoch?
    random_state: decides the initial weights, the validation split, the order of the rows and dropout.
    tol, n_iter_no_change: the fit has converged when for more than n_iter_no_change epochs the loss (or the validation
        score, with early_stopping) has not become better by tol. For "lbfgs" tol is that of the gradient.
    verbose: show a progress bar, and say why training ends.
    warm_start: let fit go on from the weights of the last one?
    momentum, nesterovs_momentum: of "sgd".
    early_stopping: set a part aside (or take eval_set), stop when its score no longer rises, keep the best weights. Not
        with "lbfgs", as in scikit-learn.
    validation_fraction: the part that is set aside.
    beta_1, beta_2, epsilon: of "adam".
    max_fun: function values at most with "lbfgs".
    loss: "log_loss", "focal" or "hinge", or an nn.Loss that fits the labels.
    class_weight: {class: weight}, which multiply sample weights, or "balanced"; a list of dicts for several columns.
    label_smoothing: this share of each label is spread over all classes ("log_loss").
    weight_init: an nn.Initializer in place of scikit-learn's distribution (biases then start at zero).
    normalization: "batch", "layer" or "rms" before each activation.
    dropout: the share of hidden units left out in a step; one number, or one for each hidden layer.
    residual: let a hidden layer that is as wide as the one before it add to what it gets.
    standardize: scale each feature of X to mean 0 and deviation 1 inside the model.
        partial_fit and warm_start keep what the first fit has found.
    clip_norm, clip_value: limits of the gradient's norm and of each of its elements.
    max_norm: limit of the norm of each unit's incoming weights.
    ema: predict with an exponential moving average of the weights that decays by this factor a step.
    scoring: the scorer of early stopping, a name or a function as in scikit-learn, which gets NumPy arrays; None is
        the accuracy.
    callbacks: one or several mlp_xp.train.Callback. scikit-learn's own (from 1.9 on) are given to `set_callbacks`.
    backend: "follow" computes where X is; "auto" does so too, but takes a GPU for data on the host where there is one;
        or a word for mlp_xp.backends.select. Results are in the library of X in any case.
    dtype: "float32" or "float64"; None is that of X, float64 where X is of another.
    n_jobs: threads of the matrix library at most, -1 for all cores; None leaves them as they are.

    After fit: coefs_, intercepts_, classes_, loss_, loss_curve_, best_loss_, validation_scores_,
    best_validation_score_, n_iter_, t_, n_layers_, n_outputs_, out_activation_, n_features_in_, feature_names_in_
    as in scikit-learn; validation_loss_curve_ (with validation data, without the penalty), and trainer_, the
    mlp_xp.train.Trainer with the net, its history and `save`. With sample weights, which must not be negative,
    loss_ is a mean by weight (in scikit-learn batches count by their rows).

    >>> from sklearn.datasets import load_iris
    >>> from mlp_xp.estimators import MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> MLPClassifier((20,), standardize=True, solver="lbfgs", random_state=0).fit(X, y).predict(X[:3])
    array([0, 0, 0])
    """

    _: KW_ONLY
    loss: Any = "log_loss"
    class_weight: Any = None
    label_smoothing: float = 0.0

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = MLP._parameter_constraints | {
        "loss": [StrOptions(set(LOSSES)), nn.Loss],
        "class_weight": [None, StrOptions({"balanced"}), dict, list],
        "label_smoothing": [SHARE],
    }

    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, eval_set: Any = None) -> "MLPClassifier":
        return super().fit(X, y, sample_weight, eval_set=eval_set)

    @available_if(is_stochastic)
    @with_callbacks
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> "MLPClassifier":
        """One epoch over X and y, from where the last one ended.

        `classes`: all there will ever be, at the first call; for several columns, of each, or a list for each column.
        """
        if self.class_weight == "balanced":
            raise ValueError(
                "class_weight 'balanced' is not supported for partial_fit: the labels that are still to come cannot be "
                "counted; pass a dict of weights"
            )
        fitted = self.__sklearn_is_fitted__()
        classes = None if classes is None else sorted_classes(classes)
        if not fitted and classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        if fitted and classes is not None and not self._labels.agrees(classes):
            raise ValueError(
                f"`classes={classes}` is not the same as on last call to partial_fit, was: {self.classes_}"
            )
        return self._fit(X, y, sample_weight, classes=classes, incremental=True)

    # What the problem is

    def _read_targets(self, X: Any, y: Any, *, new: bool, classes: Any = None, held_out: bool = False) -> np.ndarray:
        y = checked_labels(X, y)
        if new:
            self._labels = Labels.of(y) if classes is None else Labels.stated(y, classes)
        elif (
            self.warm_start
            and not held_out
            and self._labels.kind not in MULTIPLE
            and set(np.unique(y)) != set(self._labels.classes)
        ):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit. Previously "
                f"got {self._labels.classes}, `y` has {np.unique(y)}"
            )
        self.classes_ = self._given(backends.of(X), self._labels.classes)
        return self._labels.encode(y)

    def _facing(self, home: backends.Backend) -> Any:
        copied = super()._facing(home)
        copied.classes_ = self._given(home, self._labels.classes)
        return copied

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if self.__sklearn_is_fitted__():  # JAX reads 64 bits back as 32
            self.classes_ = self._given(self._home, self._labels.classes)

    def _given(self, home: backends.Backend, classes: Any) -> Any:
        """Classes in the library of a backend, where it can hold them."""
        if isinstance(classes, tuple):
            return [self._given(home, each) for each in classes]
        if classes.dtype.kind not in "biuf":
            return classes
        return home.from_host(classes, "float32" if classes.dtype == np.float64 and not home.has_float64 else None)

    def _new_loss(self) -> tuple[nn.Loss, int]:
        kind, columns = self._labels.kind, [len(classes) for classes in self._labels.columns]
        given = self.loss
        if isinstance(given, str):
            binary, categorical = LOSSES[given]
            loss = binary() if kind in ("binary", "multilabel") else categorical()
            if self.label_smoothing and given != "log_loss":
                raise ValueError(f"label_smoothing is for loss='log_loss', not {given!r}")
            if isinstance(loss, nn.SoftmaxCrossEntropy):
                loss = nn.SoftmaxCrossEntropy(float(self.label_smoothing))
        else:
            loss = given
            if self.label_smoothing:
                raise ValueError("label_smoothing goes with loss='log_loss'; give it to the loss itself")
            if not isinstance(loss, BINARY + CATEGORICAL) or (
                kind != "binary" and isinstance(loss, BINARY) != (kind == "multilabel")
            ):
                raise ValueError(f"{loss} is no loss for {kind} labels; one is loss='log_loss'")
        if kind == "multilabel":
            return nn.Summed(loss), len(columns)
        if kind == "multioutput":
            return nn.MultiOutput(loss, tuple(columns)), sum(columns)
        return loss, 1 if isinstance(loss, BINARY) else max(columns[0], 2)

    @property
    def _has_one_class(self) -> bool:
        return self._labels.kind == "binary" and len(self._labels.classes) == 1

    @property
    def _decides_alone(self) -> bool:
        """Does each output decide for itself?"""
        return self._labels.kind == "multilabel" or isinstance(self.trainer_.loss, BINARY)

    def _encoded(self, y: np.ndarray) -> np.ndarray:
        smoothing = float(self.label_smoothing)
        if not smoothing or self._labels.kind not in ("binary", "multilabel"):
            return y
        return (1.0 - smoothing) * y + smoothing / 2

    def _original(self, y: np.ndarray) -> np.ndarray:
        return self._labels.decode(y)

    def _class_weights(self, y: np.ndarray) -> Any:
        if self.class_weight is None:
            return None
        weight = compute_sample_weight(self.class_weight, self._original(y))
        if not np.all(np.isfinite(weight)) or np.any(weight < 0):
            raise ValueError(
                f"class_weight={self.class_weight!r} gives a class a weight that is negative or not finite"
            )
        return weight

    def _score_metric(self) -> Metric | None:
        kind = self._labels.kind
        return None if kind == "multioutput" else Accuracy(multilabel=kind == "multilabel")

    # What it is used for

    def predict(self, X: Any) -> Array:
        """The class of each row, (rows,); for several labels (rows, columns)."""
        outputs = self._outputs(X, "predict")
        with on_device(backends.of(outputs)) as xp:
            if self._has_one_class:
                codes = xp.astype(xp.zeros_like(outputs[:, 0]), xp.int64)
            elif self._decides_alone:
                codes = xp.astype(outputs > 0, xp.int64)
                codes = codes if self._labels.kind == "multilabel" else codes[:, 0]
            else:
                codes = xp.stack([xp.argmax(part, axis=1) for part in self._parts(outputs)], axis=1)
                codes = codes if self._labels.kind == "multioutput" else codes[:, 0]
            if self._labels.kind == "multilabel":
                return codes
        return self._named(outputs, codes)

    def _named(self, outputs: Array, codes: Array) -> Array:
        """The classes by their numbers: in the library of the outputs, unless they are text."""
        home = backends.of(outputs)
        classes = self.classes_ if isinstance(self.classes_, list) else [self.classes_]
        if any(is_plain(each) for each in (outputs, *classes)):
            return self._labels.decode(np.asarray(on_host(codes)))
        with on_device(home) as xp:
            if self._labels.kind != "multioutput":
                return xp.take(classes[0], codes, axis=0)
            return xp.stack([xp.take(each, codes[:, index], axis=0) for index, each in enumerate(classes)], axis=1)

    def _parts(self, outputs: Array) -> list[Array]:
        """The outputs for each column of the labels."""
        loss = self.trainer_.loss
        return [outputs[:, part] for part in loss.parts()] if isinstance(loss, nn.MultiOutput) else [outputs]

    @available_if(has_probabilities)
    def predict_proba(self, X: Any) -> Any:
        """The probability of each class (rows, classes); with several labels as for scikit-learn's forests.

        For multilabel (rows, labels), the probability that a row is of the class; for multioutput a list of arrays.
        """
        return self._probabilities(X, "predict_proba")

    @available_if(has_probabilities)
    def predict_log_proba(self, X: Any) -> Any:
        """The logarithms of `predict_proba`."""
        found = self._probabilities(X, "predict_log_proba")
        home = backends.of(found[0] if isinstance(found, list) else found)
        with on_device(home) as xp, np.errstate(divide="ignore"):
            return [xp.log(each) for each in found] if isinstance(found, list) else xp.log(found)

    def _probabilities(self, X: Any, method: str) -> Any:
        outputs = self._outputs(X, method)
        with on_device(backends.of(outputs)) as xp:
            if self._has_one_class:
                return xp.ones_like(outputs[:, :1])
            if not self._decides_alone:
                found = [softmax(xp, part)[0] for part in self._parts(outputs)]
                return found if self._labels.kind == "multioutput" else found[0]
            if self._labels.kind == "multilabel":
                return sigmoid(xp, outputs)
            return xp.concat([sigmoid(xp, -outputs), sigmoid(xp, outputs)], axis=1)

    def decision_function(self, X: Any) -> Any:
        """What the net gives before it becomes a probability (the logits): (rows,) for two classes, (rows, classes).

        For multioutput a list of arrays.
        """
        outputs = self._outputs(X, "decision_function")
        with on_device(backends.of(outputs)):
            if self._labels.kind == "multioutput":
                return self._parts(outputs)
            if self._labels.kind == "binary":
                return outputs[:, 0] if outputs.shape[1] == 1 else outputs[:, 1] - outputs[:, 0]
            return outputs

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The share of rows whose labels are all right."""
        truth, found = (on_host(each) for each in (y, self.predict(X)))
        weight = on_host(sample_weight)
        if self._labels.kind == "multioutput":
            return float(np.average(np.all(np.asarray(truth) == found, axis=1), weights=weight))
        return float(accuracy_score(truth, found, sample_weight=weight))

    @property
    def n_outputs_(self) -> int:
        """The number of outputs of the net: 1 for two classes."""
        return self.coefs_[-1].shape[1]

    @property
    def out_activation_(self) -> str:
        """What becomes of the outputs: "logistic", "softmax", or "identity"."""
        self._linear_names()
        if not isinstance(_unwrapped(self.trainer_.loss), OF_PROBABILITIES):
            return "identity"
        return "logistic" if self._decides_alone else "softmax"

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
