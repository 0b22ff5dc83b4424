"""Fitted nets from scikit-learn's MLPClassifier and MLPRegressor, and back."""

from copy import copy
from inspect import signature
from math import inf
from typing import Any

import numpy as np
from sklearn import neural_network
from sklearn.base import is_classifier
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.validation import check_is_fitted

from mlp_xp import nn
from mlp_xp.catalogue import activation
from mlp_xp.train import Trainer

from .arrays import HOST
from .base import MLP
from .classifier import MLPClassifier
from .convergence import Convergence
from .labels import Labels
from .network import NORMALIZATIONS, SCIKIT_LEARN, network, solver
from .regressor import MLPRegressor

CLASSIFIERS = neural_network.MLPClassifier, MLPClassifier
REGRESSORS = neural_network.MLPRegressor, MLPRegressor
ATTRIBUTES = (
    *("n_features_in_", "feature_names_in_", "loss_", "loss_curve_", "best_loss_"),
    *("validation_scores_", "best_validation_score_", "n_iter_", "t_"),
)
"""What both have, and neither works out from the weights."""
COUNTED_ALIKE = (
    nn.SigmoidBinaryCrossEntropy(),
    nn.SoftmaxCrossEntropy(),
    nn.Summed(nn.SigmoidBinaryCrossEntropy()),
    nn.MeanSquaredError(half=True),
)
"""The losses that are the same number in both. Of several targets ours is the sum; Poisson's has no constant terms."""


def from_sklearn(estimator: Any) -> Any:
    """The MLPClassifier or MLPRegressor of mlp_xp with the parameters and the weights of a fitted one of scikit-learn.

    It predicts the same, and fit with warm_start=True, or partial_fit, goes on from these weights with a new optimizer.
    """
    theirs, ours = CLASSIFIERS if isinstance(estimator, neural_network.MLPClassifier) else REGRESSORS
    if not isinstance(estimator, theirs):
        raise TypeError(f"from_sklearn takes scikit-learn's MLPClassifier or MLPRegressor, got {estimator!r}")
    check_is_fitted(estimator, "coefs_")
    made: Any = ours(**{name: getattr(estimator, name) for name in _shared(theirs, ours)})
    made._home = HOST
    if is_classifier(made):
        made.classes_ = np.asarray(estimator.classes_)
        multilabel = estimator._label_binarizer.y_type_.startswith("multilabel")
        made._labels = Labels("multilabel", made.classes_) if multilabel else Labels.among(made.classes_)
    else:
        made.n_outputs_, made._scale = estimator.n_outputs_, None
    loss, outputs = made._new_loss()
    model = network(made, estimator.n_features_in_, outputs)
    made._asked_for = solver(made, model, 1)
    dtype = str(estimator.coefs_[0].dtype)
    made.trainer_ = Trainer(model, loss, made._asked_for, backend="numpy", dtype=dtype, l2=made.alpha)
    made.coefs_, made.intercepts_ = estimator.coefs_, estimator.intercepts_
    Convergence(made, 0, None, new=True, incremental=False)  # what lbfgs leaves out there
    _hand_over(estimator, made, loss)
    return made


def to_sklearn(estimator: MLP) -> Any:
    """A fitted estimator of scikit-learn that predicts what this one predicts: see `MLP.to_sklearn`."""
    theirs, ours = CLASSIFIERS if is_classifier(estimator) else REGRESSORS
    made: Any = theirs(**_parameters(estimator, _shared(theirs, ours)))
    made.coefs_, made.intercepts_ = _folded(estimator)
    made.n_layers_, made.n_outputs_ = estimator.n_layers_, estimator.n_outputs_
    made.out_activation_ = estimator.out_activation_
    if isinstance(estimator, MLPClassifier):
        labels = estimator._labels
        made._label_binarizer = LabelBinarizer().fit(
            np.eye(len(labels.classes), dtype=int) if labels.kind == "multilabel" else labels.classes
        )
        made.classes_ = made._label_binarizer.classes_
    made._no_improvement_count = 0
    made._best_coefs = [each.copy() for each in made.coefs_]
    made._best_intercepts = [each.copy() for each in made.intercepts_]
    _hand_over(estimator, made, estimator.trainer_.loss)
    return made


def _hand_over(given: Any, made: Any, loss: nn.Loss) -> None:
    """The record of a fit. The best loss so far is not taken where the other one counts the loss differently."""
    for name in ATTRIBUTES:
        if hasattr(given, name):
            setattr(made, name, copy(getattr(given, name)))
    if loss not in COUNTED_ALIKE and made.best_loss_ is not None:
        made.best_loss_ = inf


def _shared(theirs: type, ours: type) -> set[str]:
    """The names of the parameters that both have."""
    return signature(theirs).parameters.keys() & signature(ours).parameters.keys()


def _parameters(estimator: Any, names: set[str]) -> dict[str, Any]:
    """The parameters of these names in scikit-learn's words; ValueError that names what it has no word for.

    What the net predicts with is read off the net: parameters may have been set since the fit.
    """
    trainer, words = estimator.trainer_, {activation(word): word for word in SCIKIT_LEARN}
    loss = getattr(trainer.loss, "loss", trainer.loss)
    layers = {each for each in trainer.model.layers if not isinstance(each, nn.Linear | nn.Standardize | nn.Dropout)}
    residual = {layer for layer in layers if isinstance(layer, nn.Residual)}
    normalized = {layer for layer in layers if isinstance(layer, tuple(NORMALIZATIONS.values()))}
    activations = layers - residual - normalized
    lacking = {
        "residual": residual,
        "normalization": normalized,
        "activation": len(activations) > 1 or not activations <= words.keys(),
        "loss": not _is_canonical(estimator, loss) or (isinstance(loss, nn.Poisson) and "loss" not in names),
    }
    refused = [f"{name}={getattr(estimator, name)!r}" for name, lacks in lacking.items() if lacks]
    if is_classifier(estimator) and estimator._labels.kind == "multioutput":
        refused.append("y with several columns of several classes")
    if refused:
        raise ValueError(f"scikit-learn's MLP has no {', '.join(refused)}: this net cannot be handed over to it")

    made = {name: getattr(estimator, name) for name in names}
    if activations or made["activation"] not in SCIKIT_LEARN:
        made["activation"] = words[activations.pop()] if activations else "relu"
    if made["solver"] not in ("lbfgs", "sgd", "adam"):
        made["solver"] = "adam"
    if made["learning_rate"] not in ("constant", "invscaling", "adaptive"):
        made["learning_rate"] = "constant"
    if "loss" in made:
        made["loss"] = "poisson" if isinstance(loss, nn.Poisson) else "squared_error"
    return made


def _is_canonical(estimator: Any, loss: nn.Loss) -> bool:
    """Do the outputs mean what they mean in scikit-learn: one for two classes or a number, logits where classified?"""
    if not is_classifier(estimator):
        return loss.outputs_per_target == 1
    return estimator.out_activation_ != "identity" and (estimator._labels.kind != "binary" or estimator.n_outputs_ == 1)


def _folded(estimator: Any) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The weights and biases on the host, with the scaling of X and y worked into the first and the last."""
    found, names = estimator.trainer_.inference_parameters, estimator._linear_names()
    weights = [found[f"{name}weight"].astype(np.float64) for name in names]
    biases = [found[f"{name}bias"][0].astype(np.float64) for name in names]
    if "0.mean" in found:  # ((x - m) / s) W + b = x (W / s) + (b - (m / s) W)
        mean, scale = found["0.mean"][0].astype(np.float64), found["0.scale"][0]
        biases[0] -= (mean / scale) @ weights[0]
        weights[0] /= scale[:, None]
    if not is_classifier(estimator) and estimator._scale is not None:
        mean, std = estimator._scale
        weights[-1] *= std
        biases[-1] = biases[-1] * std + mean
    dtype = estimator.trainer_.dtype
    return [each.astype(dtype) for each in weights], [each.astype(dtype) for each in biases]
