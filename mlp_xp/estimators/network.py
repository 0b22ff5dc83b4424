"""From the words of an estimator to the parts of a trainer: the net and the optimizer."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import sqrt
from typing import Any

from mlp_xp import nn, optim
from mlp_xp.catalogue import ACTIVATIONS, OPTIMIZERS, activation, suitable_init

NORMALIZATIONS: dict[str, Any] = {"batch": nn.BatchNorm, "layer": nn.LayerNorm, "rms": nn.RMSNorm}
SCIKIT_LEARN = ("identity", "logistic", "tanh", "relu")
"""The activations that scikit-learn has too, and whose weights start as there."""
SCIKIT_LEARN_RATES = ("constant", "invscaling", "adaptive")
"""The learning rates that scikit-learn has, and which it uses with "sgd" alone."""


def hidden_sizes(estimator: Any) -> list[int]:
    """`hidden_layer_sizes` as a list; TypeError or ValueError for one that is no whole number above 0."""
    given = estimator.hidden_layer_sizes
    sizes = list(given) if hasattr(given, "__iter__") else [given]
    if not all(hasattr(size, "__index__") and not isinstance(size, bool) for size in sizes):
        raise TypeError(f"hidden_layer_sizes must be whole numbers, got {sizes}.")
    if not all(size > 0 for size in sizes):
        raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
    return [int(size) for size in sizes]


def network(estimator: Any, inputs: int, outputs: int) -> nn.Sequential:
    """The net that the estimator's parameters describe.

    [Standardize], then for each hidden layer Linear, [normalization], activation, [Dropout], and at last Linear. With
    `residual` a hidden layer as wide as the one before it adds to what it gets.
    """
    sizes = hidden_sizes(estimator)
    activations = [activation(each) for each in _for_each(estimator, "activation", sizes)]
    rates = _for_each(estimator, "dropout", sizes)
    layers: list[nn.Layer] = [nn.Standardize(inputs)] if estimator.standardize else []
    width = inputs
    for index, (size, activate, rate) in enumerate(zip(sizes, activations, rates, strict=True)):
        block: list[nn.Layer] = [nn.Linear(width, size, **_start(estimator, activate))]
        if estimator.normalization is not None:
            block.append(NORMALIZATIONS[estimator.normalization](size))
        block.append(activate)
        block += [nn.Dropout(rate)] if rate else []
        layers += [nn.Residual(*block)] if estimator.residual and index and size == width else block
        width = size
    last = activations[-1] if activations else nn.Identity()
    return nn.Sequential(*layers, nn.Linear(width, outputs, **_start(estimator, last)))


def linear_layers(layer: nn.Layer, prefix: str = "") -> Iterator[tuple[str, nn.Linear]]:
    """Every Linear of a net with the beginning of its parameters' names, such as "0."."""
    if isinstance(layer, nn.Linear):
        yield prefix, layer
    for index, child in enumerate(getattr(layer, "layers", ())):
        yield from linear_layers(child, f"{prefix}{index}.")


def solver(estimator: Any, model: nn.Layer, steps_per_epoch: int) -> optim.Optimizer:
    """The optimizer that the estimator's parameters describe, for a fit whose epochs have so many steps."""
    given, rate = estimator.solver, estimator.learning_rate
    if (given == "lbfgs" or isinstance(given, optim.Optimizer)) and rate not in SCIKIT_LEARN_RATES:
        raise ValueError(f"learning_rate={rate!r} cannot reach solver={given!r}: give the schedule to the optimizer")
    if isinstance(given, optim.Optimizer):
        optimizer = given
    elif given == "lbfgs":
        # scikit-learn leaves SciPy's ftol at 1e7 machine epsilon.
        optimizer = optim.LBFGS(tolerance_gradient=estimator.tol, tolerance_change=1e7 * 2.0**-52)
    else:
        rate = _rate(estimator, steps_per_epoch)
        if given == "sgd":
            momentum = float(estimator.momentum)
            some = {"nesterov": estimator.nesterovs_momentum, "rate_in_velocity": True} if momentum else {}
            optimizer = optim.SGD(rate, momentum, **some)
        elif given == "adam":
            betas = estimator.beta_1, estimator.beta_2, estimator.epsilon
            optimizer = optim.Adam(rate, *betas, epsilon_hat=True)
        else:
            optimizer = OPTIMIZERS[given](rate)
    return _with_options(estimator, optimizer, model)


def is_full_batch(given: Any) -> bool:
    """Does a solver take all rows at once?"""
    return given == "lbfgs" or (isinstance(given, optim.Optimizer) and given.full_batch)


def _rate(estimator: Any, steps_per_epoch: int) -> Any:
    """The learning rate, or its schedule. "invscaling" and "adaptive" follow what happens: see `Convergence`."""
    rate, word = float(estimator.learning_rate_init), estimator.learning_rate
    steps = estimator.max_iter * steps_per_epoch
    if isinstance(word, optim.Schedule):
        return word
    if word == "cosine":
        return optim.Cosine(rate, steps)
    if word == "one_cycle":
        return optim.OneCycle(rate / 25, rate, rate / 250_000, steps)
    return rate


def _with_options(estimator: Any, optimizer: optim.Optimizer, model: nn.Layer) -> optim.Optimizer:
    options = {name: getattr(estimator, name) for name in ("clip_norm", "clip_value")}
    if estimator.max_norm is not None:
        limit = optim.MaxNorm(estimator.max_norm)
        options["constraints"] = {f"{name}weight": limit for name, _ in linear_layers(model)}
    options = {name: value for name, value in options.items() if value is not None}
    asked = [*options, *(["ema"] if estimator.ema is not None else [])]
    if asked and not isinstance(optimizer, optim.FirstOrder):
        asked = ["max_norm" if name == "constraints" else name for name in asked]
        raise ValueError(f"{', '.join(asked)} cannot be combined with solver={estimator.solver!r}; leave it out")
    if options:
        optimizer = replace(optimizer, **options)  # type: ignore[type-var]
    return optimizer if estimator.ema is None else optim.EMA(optimizer, estimator.ema)


def _for_each(estimator: Any, name: str, sizes: Sequence[int]) -> list[Any]:
    """A parameter that is one value for all hidden layers, or a sequence with one for each."""
    given = getattr(estimator, name)
    if isinstance(given, str) or not hasattr(given, "__len__"):
        return [given] * len(sizes)
    if len(given) != len(sizes):
        raise ValueError(
            f"{name}={given!r} has {len(given)} values for {len(sizes)} hidden layers; give one each, or one for all"
        )
    return list(given)


def _start(estimator: Any, activate: nn.Layer) -> dict[str, Any]:
    """How the weights and the bias of a Linear before this activation start.

    By default as scikit-learn's do before one of its activations (uniform, with Glorot's limits, and for "logistic"
    with smaller ones); before another activation as suits it.
    """
    scikit_learns = isinstance(activate, tuple(ACTIVATIONS[word] for word in SCIKIT_LEARN))
    weight: nn.Initializer
    bias: nn.Initializer
    if scikit_learns:
        weight = bias = nn.GlorotUniform(sqrt(1 / 3) if isinstance(activate, nn.Sigmoid) else 1.0)
    else:
        weight, bias = suitable_init(activate), nn.Zeros()
    if estimator.weight_init is not None:
        weight, bias = estimator.weight_init, nn.Zeros()
    return {"weight_init": weight, "bias_init": bias}
