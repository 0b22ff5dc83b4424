"""The regressor."""

from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if

from mlp_xp import backends, nn
from mlp_xp.train import R2, Metric

from .arrays import Array, checked_numbers, dtype_of, mean_and_std, on_device, on_host
from .base import MLP, is_stochastic
from .tasks import with_callbacks

LOSSES: dict[str, nn.Loss] = {
    "squared_error": nn.MeanSquaredError(half=True),
    "absolute_error": nn.MeanAbsoluteError(),
    "huber": nn.Huber(),
    "log_cosh": nn.LogCosh(),
    "quantile": nn.Quantile(),
    "poisson": nn.Poisson(),
    "gaussian_nll": nn.GaussianNegativeLogLikelihood(),
}


def gives_std(estimator: Any) -> bool:
    """For `available_if`: AttributeError where the loss gives no standard deviation."""
    if not isinstance(_loss(estimator), nn.GaussianNegativeLogLikelihood):
        raise AttributeError(f"loss={estimator.loss!r} gives no standard deviation; use loss='gaussian_nll'")
    return True


def gives_quantiles(estimator: Any) -> bool:
    """For `available_if`: AttributeError where the loss gives no quantiles."""
    if not isinstance(_loss(estimator), nn.Quantile):
        raise AttributeError(f"loss={estimator.loss!r} gives no quantiles; use loss='quantile' or nn.Quantile(...)")
    return True


def _loss(estimator: Any) -> nn.Loss:
    """The loss of the fitted net, or the one that a fit would take; of one column."""
    if hasattr(estimator, "trainer_"):
        fitted = estimator.trainer_.loss
        return fitted.loss if isinstance(fitted, nn.Summed) else fitted
    return _asked_for(estimator)


def _asked_for(estimator: Any) -> nn.Loss:
    return LOSSES[estimator.loss] if isinstance(estimator.loss, str) else estimator.loss


@dataclass(eq=False, repr=False)
class MLPRegressor(RegressorMixin, MLP):
    """A multi-layer perceptron that predicts numbers. scikit-learn's parameters, and more; it follows its arrays.

    X (rows, features) and y (rows,) or (rows, columns) are NumPy arrays, lists, frames, sparse matrices (X), or arrays
    of CuPy, PyTorch or JAX: training runs where X is, and what comes out is of the same library, on the same device.

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
    loss: "squared_error", "absolute_error", "huber", "log_cosh", "quantile" (`predict_quantiles` gives 10, 50 and 90 %;
        nn.Quantile(...) others), "poisson", "gaussian_nll" (`predict_std`), or an nn.Loss of numbers. Of several
        columns loss_ is the sum, which is what the gradient is of (scikit-learn reports the mean); that of "poisson"
        leaves out what does not depend on the net.
    weight_init: an nn.Initializer in place of scikit-learn's distribution (biases then start at zero).
    normalization: "batch", "layer" or "rms" before each activation.
    dropout: the share of hidden units left out in a step; one number, or one for each hidden layer.
    residual: let a hidden layer that is as wide as the one before it add to what it gets.
    standardize: scale each feature of X, and y (not for "poisson"), to mean 0 and deviation 1 inside the model;
        losses are then those of the scaled y, predictions are in the units of y.
        partial_fit and warm_start keep what the first fit has found.
    clip_norm, clip_value: limits of the gradient's norm and of each of its elements.
    max_norm: limit of the norm of each unit's incoming weights.
    ema: predict with an exponential moving average of the weights that decays by this factor a step.
    scoring: the scorer of early stopping, a name or a function as in scikit-learn, which gets NumPy arrays; None is
        R2.
    callbacks: one or several mlp_xp.train.Callback. scikit-learn's own (from 1.9 on) are given to `set_callbacks`.
    backend: "follow" computes where X is; "auto" does so too, but takes a GPU for data on the host where there is one;
        or a word for mlp_xp.backends.select. Results are in the library of X in any case.
    dtype: "float32" or "float64"; None is that of X, float64 where X is of another.
    n_jobs: threads of the matrix library at most, -1 for all cores; None leaves them as they are.

    After fit: coefs_, intercepts_, loss_, loss_curve_, best_loss_, validation_scores_, best_validation_score_,
    n_iter_, t_, n_layers_, n_outputs_, out_activation_, n_features_in_, feature_names_in_ as in scikit-learn;
    validation_loss_curve_ (with validation data, without the penalty), and trainer_, the mlp_xp.train.Trainer with
    the net, its history and `save`. With sample weights, which must not be negative, loss_ is a mean by weight (in
    scikit-learn batches count by their rows).

    >>> from sklearn.datasets import load_diabetes
    >>> from mlp_xp.estimators import MLPRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = MLPRegressor((20,), standardize=True, loss="gaussian_nll", max_iter=1000, random_state=0)
    >>> mean, std = model.fit(X, y).predict(X), model.predict_std(X)
    """

    _: KW_ONLY
    loss: Any = "squared_error"

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = MLP._parameter_constraints | {
        "loss": [StrOptions(set(LOSSES)), *(type(loss) for loss in LOSSES.values()), nn.SmoothL1],
    }

    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, eval_set: Any = None) -> "MLPRegressor":
        return super().fit(X, y, sample_weight, eval_set=eval_set)

    @available_if(is_stochastic)
    @with_callbacks
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> "MLPRegressor":
        """One epoch over X and y, from where the last one ended."""
        return self._fit(X, y, sample_weight, incremental=True)

    # What the problem is

    def _read_targets(self, X: Any, y: Any, *, new: bool, classes: Any = None, held_out: bool = False) -> Any:
        y = checked_numbers(self, X, y)
        columns = y.shape[1] if y.ndim == 2 else 1
        if new:
            self.n_outputs_ = columns
        elif columns != self.n_outputs_:
            raise ValueError(f"y has {columns} columns, and had {self.n_outputs_} in the fit before")
        return y

    def _new_loss(self) -> tuple[nn.Loss, int]:
        loss = _asked_for(self)
        outputs = self.n_outputs_ * loss.outputs_per_target
        return (nn.Summed(loss) if self.n_outputs_ > 1 else loss), outputs

    def _learn_scale(self, y: Any, weight: Any, *, new: bool) -> None:
        scaled = self.standardize and not isinstance(_asked_for(self), nn.Poisson)  # whose rates are not to be shifted
        if not new:
            if scaled != (self._scale is not None):
                raise ValueError(
                    "standardize or loss now ask for y in another scale than the fit before, whose weights are to be "
                    "kept; call fit with warm_start=False to begin anew"
                )
            return
        self._scale: tuple[Any, Any] | None = None
        if not scaled:
            return
        with on_device(backends.of(y)) as xp:
            y = self._columns(xp, y)
        mean, std = mean_and_std(y, weight)
        self._scale = mean[0], std[0]

    def _encoded(self, y: Any) -> Any:
        if self._scale is None:
            return y
        home = backends.of(y)
        with on_device(home) as xp:
            y = self._columns(xp, y)
            mean, std = (home.from_host(each, dtype_of(y)) for each in self._scale)
            return (y - mean) / std

    def _columns(self, xp: Any, y: Array) -> Array:
        """The targets (rows, columns), where they lie, in the widest numbers there are."""
        wide = xp.float64 if backends.of(y).has_float64 else xp.float32
        return xp.reshape(xp.astype(y, wide), (-1, self.n_outputs_))

    def _score_metric(self) -> Metric | None:
        return R2()

    # What it is used for

    def predict(self, X: Any) -> Array:
        """The predicted number of each row, (rows,) or (rows, columns).

        The mean for squared_error and gaussian_nll, the rate for poisson, the median for absolute_error and for
        quantile (or the quantile that is nearest to it).
        """
        outputs = self._outputs(X, "predict")
        with on_device(backends.of(outputs)) as xp:
            point, _ = self.trainer_.loss.predicted(xp, outputs, outputs)
            return self._flat(self._unscaled(xp, point))

    @available_if(gives_std)
    def predict_std(self, X: Any) -> Array:
        """The standard deviation that the net gives the target of each row, (rows,) or (rows, columns)."""
        outputs = self._outputs(X, "predict_std")
        with on_device(backends.of(outputs)) as xp:
            std = xp.exp(0.5 * outputs[:, self.n_outputs_ :])
            return self._flat(self._unscaled(xp, std, shifted=False))

    @available_if(gives_quantiles)
    def predict_quantiles(self, X: Any) -> Array:
        """The quantiles of the loss, (rows, quantiles) or (rows, columns, quantiles)."""
        outputs = self._outputs(X, "predict_quantiles")
        with on_device(backends.of(outputs)) as xp:
            by_column = xp.reshape(outputs, (outputs.shape[0], self.n_outputs_, -1))
            swapped = self._unscaled(xp, xp.permute_dims(by_column, (0, 2, 1)))
            by_column = xp.permute_dims(swapped, (0, 2, 1))
            return by_column[:, 0, :] if self.n_outputs_ == 1 else by_column

    def _unscaled(self, xp: Any, y: Array, shifted: bool = True) -> Array:
        """Numbers (..., columns) in the units of y."""
        if self._scale is None:
            return y
        home = backends.of(y)
        mean, std = (home.from_host(each, dtype_of(y)) for each in self._scale)
        return y * std + mean if shifted else y * std

    def _flat(self, y: Array) -> Array:
        return y[:, 0] if self.n_outputs_ == 1 else y

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The coefficient of determination R2, the mean over the columns of y."""
        truth, found, weight = (on_host(each) for each in (y, self.predict(X), sample_weight))
        return float(r2_score(truth, found, sample_weight=weight))

    @property
    def out_activation_(self) -> str:
        """What becomes of the outputs: "exp" for poisson, else "identity"."""
        self._linear_names()
        return "exp" if isinstance(_loss(self), nn.Poisson) else "identity"
