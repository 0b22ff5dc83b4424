"""scikit-learn's own checks of an estimator, on both and on variants of them: none is expected to fail.

A check is left out only where it needs hardware that this machine does not have.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any
from unittest import SkipTest

import pytest
from sklearn.base import clone
from sklearn.utils._array_api import NamespaceAndDevice
from sklearn.utils.estimator_checks import (
    check_array_api_input_and_values,
    check_array_api_mixed_inputs,
    check_sample_weight_equivalence_on_dense_data,
    check_sample_weight_equivalence_on_sparse_data,
    estimator_checks_generator,
)

from mlp_xp.estimators import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
    "ignore:Got `batch_size` less than 1 or larger than sample size:UserWarning",
)

FAST: dict[str, Any] = {"hidden_layer_sizes": (20,), "learning_rate_init": 0.02, "max_iter": 25}
"""Learns what the checks want to see learned."""
VARIANTS: dict[str, dict[str, Any]] = {
    "defaults": {"max_iter": 100},  # as scikit-learn checks its own
    "dropout": FAST | {"dropout": 0.2},
    "batch norm": FAST | {"normalization": "batch"},
    "lbfgs": FAST | {"solver": "lbfgs", "alpha": 1.0},  # for probabilities that can be told from 1
    "standardize": FAST | {"standardize": True},
    "torch": FAST | {"backend": "torch", "max_iter": 15},
}
MUCH: dict[str, Any] = FAST | {
    "hidden_layer_sizes": (20, 20),
    "activation": "gelu",
    "residual": True,
    "ema": 0.9,
    "max_norm": 3.0,
    "clip_norm": 1.0,
}
LABELS = (-1, *range(10), "one", "two", "three")
"""All that the checks use as classes."""
ESTIMATORS: dict[str, Any] = {
    **{f"classifier, {name}": MLPClassifier(**given) for name, given in VARIANTS.items()},
    "classifier, much at once": MLPClassifier(
        **MUCH, label_smoothing=0.1, class_weight={label: 1.0 + index % 3 for index, label in enumerate(LABELS)}
    ),
    **{f"regressor, {name}": MLPRegressor(**given) for name, given in VARIANTS.items()},
    "regressor, much at once": MLPRegressor(**MUCH, loss="huber"),
}

GPU = {"cupy": "cupy", "cuda": "torch:cuda"}
"""The backends for what a check asks for."""
RARE = {"dpnp", "xpu", "mps"}
"""What no backend is for."""


def described(check: Any) -> str:
    """The name of a check and what it is given, such as "check_array_api_input torch cpu float64"."""
    given: dict[str, Any] = {}
    while isinstance(check, partial):
        given, check = check.keywords | given, check.func
    words = []
    for key, value in given.items():
        words += value if isinstance(value, tuple) else [key if value is True else value]
    return " ".join([check.__name__, *filter(None, words)])


def parameters(checks: Iterable[tuple[str, Any, Any]]) -> list[Any]:
    """For pytest, of (the estimator's name, the estimator, a check)."""
    found = []
    for name, estimator, check in checks:
        text = described(check)
        marks = [pytest.mark.gpu] if GPU.keys() & text.split() else []
        marks += [pytest.mark.slow] if name.endswith("much at once") else []  # beyond what each option needs
        found.append(pytest.param(estimator, check, id=f"{name}: {text}", marks=marks))
    return found


def run(check: Callable[[Any], None], estimator: Any, get_backend: Any) -> None:
    """Skips where hardware is missing, and fails where the check is skipped for another reason."""
    words = set(described(check).split())
    for word in words & GPU.keys():
        get_backend(GPU[word])
    try:
        check(estimator)
    except SkipTest as reason:
        if words & RARE:
            pytest.skip(str(reason))
        pytest.fail(f"the check was skipped: {reason}")


def exchanged(estimator: Any, check: str) -> dict[str, Any]:
    """Other parameters for a check that cannot hold with these.

    scikit-learn does so for its own MLP: the checks of weights are given another solver. Ours holds with Adam.
    """
    if "sample_weight_equivalence" in check:  # a row that is there twice has two masks, and counts twice in a batch
        return {"dropout": 0.0} | ({"normalization": None} if estimator.normalization == "batch" else {})
    if "multilabel" in check or "multioutput" in check:  # where a dict for each column would be needed
        return {"class_weight": None} if hasattr(estimator, "class_weight") else {}
    return {}


@pytest.mark.parametrize(
    ("estimator", "check"),
    parameters(
        (name, instance, check)
        for name, estimator in ESTIMATORS.items()
        for instance, check in estimator_checks_generator(estimator)
    ),
)
def test_check(estimator: Any, check: Any, get_backend: Any) -> None:
    estimator = clone(estimator).set_params(**exchanged(estimator, described(check)))
    run(check, estimator, get_backend)


@pytest.mark.parametrize(
    "estimator", [MLPClassifier(max_iter=2), MLPRegressor(max_iter=2)], ids=lambda each: type(each).__name__
)
def test_the_checks_of_the_array_api_run(estimator: Any) -> None:
    ran = []
    for instance, check in estimator_checks_generator(estimator):
        text = described(check)
        if "array_api" in text and not {*GPU, *RARE} & set(text.split()):
            with suppress(SkipTest):
                check(instance)
                ran.append(text)
    assert ran == [
        "check_array_api_input numpy",
        "check_array_api_input array_api_strict CPU_DEVICE float64",
        "check_array_api_input array_api_strict device1 float32",
        "check_array_api_input torch cpu float64",
        "check_array_api_input torch cpu float32",
        "check_array_api_mixed_inputs array_api_strict device1 torch cpu",
        "check_array_api_same_namespace array_api_strict",
    ]


# With numbers that are compared: above it is their shapes, dtypes, libraries and devices.

LIBRARIES = [
    ("numpy", None, "float64"),
    ("numpy", None, "float32"),
    ("array_api_strict", "CPU_DEVICE", "float64"),
    ("array_api_strict", "device1", "float32"),
    *(
        (library, device, dtype)
        for library, device in (("torch", "cpu"), ("cupy", None), ("torch", "cuda"))
        for dtype in ("float64", "float32")
    ),
]
PAIRS = [
    (("array_api_strict", "device1"), ("torch", "cpu")),
    (("torch", "cpu"), ("array_api_strict", "device1")),
    (("torch", "cpu"), ("numpy", None)),
    (("cupy", None), ("torch", "cuda")),
    (("numpy", None), ("cupy", None)),
]
FEW: dict[str, Any] = {"hidden_layer_sizes": (8,), "max_iter": 5, "learning_rate_init": 0.01}
COMPARED = {
    f"{kind.__name__}, {name}": kind(**FEW, **given)
    for kind in (MLPClassifier, MLPRegressor)
    for name, given in {
        "lbfgs": {"solver": "lbfgs"},
        "adam": {},
        "standardize": {"standardize": True},
        "early stopping": {"early_stopping": True},
        "torch": {"backend": "torch"},
    }.items()
}


def comparisons() -> Iterator[tuple[str, Any, Any]]:
    for name, estimator in COMPARED.items():
        kind = type(estimator).__name__
        for library, device, dtype in LIBRARIES:
            given = {"array_namespace": library, "device_name": device, "dtype_name": dtype}
            yield name, estimator, partial(check_array_api_input_and_values, kind, check_sample_weight=True, **given)
        for other, home in PAIRS:
            given = {"other_ns_and_device": NamespaceAndDevice(*other), "X_ns_and_device": NamespaceAndDevice(*home)}
            yield name, estimator, partial(check_array_api_mixed_inputs, kind, check_values=True, **given)


@pytest.mark.parametrize(("estimator", "check"), parameters(comparisons()))
def test_the_numbers_are_those_of_numpy(estimator: Any, check: Any, get_backend: Any) -> None:
    run(check, estimator, get_backend)


@pytest.mark.parametrize(
    "check", [check_sample_weight_equivalence_on_dense_data, check_sample_weight_equivalence_on_sparse_data]
)
@pytest.mark.parametrize(
    "estimator",
    [MLPClassifier(solver="lbfgs"), MLPRegressor(solver="sgd", tol=1e-2, random_state=42)],
    ids=lambda each: type(each).__name__,
)
def test_a_weight_of_two_is_a_row_given_twice_with_the_parameters_that_scikit_learn_takes(
    estimator: Any, check: Any
) -> None:
    check(type(estimator).__name__, estimator)
