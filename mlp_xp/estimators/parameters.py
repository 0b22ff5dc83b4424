"""The parameters of both estimators, and what each may be."""

from dataclasses import KW_ONLY, dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval, Options, StrOptions

from mlp_xp import backends, nn, optim
from mlp_xp.catalogue import ACTIVATIONS, OPTIMIZERS
from mlp_xp.train import Callback

from .network import NORMALIZATIONS

AT_LEAST_ONE = Interval(Integral, 1, None, closed="left")
NOT_NEGATIVE = Interval(Real, 0, None, closed="left")
POSITIVE = Interval(Real, 0, None, closed="neither")
SHARE = Interval(Real, 0, 1, closed="left")


@dataclass(eq=False, repr=False)
class Parameters(BaseEstimator):
    """MLPClassifier and MLPRegressor say what each means."""

    hidden_layer_sizes: Any = (100,)
    _: KW_ONLY
    activation: Any = "relu"
    solver: Any = "adam"
    alpha: float = 0.0001
    batch_size: Any = "auto"
    learning_rate: Any = "constant"
    learning_rate_init: float = 0.001
    power_t: float = 0.5
    max_iter: int = 200
    shuffle: bool = True
    random_state: Any = None
    tol: float = 1e-4
    verbose: Any = False
    warm_start: bool = False
    momentum: float = 0.9
    nesterovs_momentum: bool = True
    early_stopping: bool = False
    validation_fraction: float = 0.1
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    n_iter_no_change: Any = 10
    max_fun: int = 15000
    loss: Any = None
    weight_init: Any = None
    normalization: Any = None
    dropout: Any = 0.0
    residual: bool = False
    standardize: bool = False
    clip_norm: Any = None
    clip_value: Any = None
    max_norm: Any = None
    ema: Any = None
    scoring: Any = None
    callbacks: Any = ()
    backend: Any = "follow"
    dtype: Any = None
    n_jobs: Any = None

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "hidden_layer_sizes": ["array-like", AT_LEAST_ONE],
        "activation": [StrOptions(set(ACTIVATIONS)), nn.Layer, list, tuple],
        "solver": [StrOptions({"lbfgs", *OPTIMIZERS}), optim.Optimizer],
        "alpha": [NOT_NEGATIVE],
        "batch_size": [StrOptions({"auto"}), AT_LEAST_ONE],
        "learning_rate": [
            StrOptions({"constant", "invscaling", "adaptive", "cosine", "one_cycle"}),
            optim.Schedule,
        ],
        "learning_rate_init": [POSITIVE],
        "power_t": [NOT_NEGATIVE],
        "max_iter": [AT_LEAST_ONE],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [NOT_NEGATIVE],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [SHARE],
        "beta_1": [SHARE],
        "beta_2": [SHARE],
        "epsilon": [POSITIVE],
        "n_iter_no_change": [AT_LEAST_ONE, Options(Real, {np.inf})],
        "max_fun": [AT_LEAST_ONE],
        "weight_init": [None, nn.Initializer],
        "normalization": [None, StrOptions(set(NORMALIZATIONS))],
        "dropout": [SHARE, "array-like"],
        "residual": ["boolean"],
        "standardize": ["boolean"],
        "clip_norm": [None, POSITIVE],
        "clip_value": [None, POSITIVE],
        "max_norm": [None, POSITIVE],
        "ema": [None, SHARE],
        "scoring": [None, str, callable],
        "callbacks": [None, Callback, list, tuple],
        "backend": [str, backends.Backend],
        "dtype": [None, StrOptions({"float32", "float64"})],
        "n_jobs": [None, Integral],
    }
