"""Update rules against torch.optim step by step, or the formulas of their papers, and what they combine with."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import sin
from typing import Any

import numpy as np
import pytest
from cases import OPTIMIZERS, without_case
from helpers import assert_close

from mlp_xp import backends, nn, optim
from mlp_xp.backends import blocks, numba_loop, on_numpy
from mlp_xp.nn.config import from_config, to_config
from mlp_xp.optim.adam import momentum_products

all_optimizers = pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())

LAYOUT = nn.Layout(nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3)))
NAMES = [entry.name for entry in LAYOUT.entries]
HERE = LAYOUT.spread(np, dict.fromkeys(NAMES, 1.0), np.zeros(0))
"""1 where a parameter lies, 0 in the gaps of the layout."""
START = np.random.default_rng(0).normal(size=(3, LAYOUT.size)) * HERE
ALL = {"*": 1.0}
NUMPY = backends.select("numpy")


def gradient(p: np.ndarray, t: int) -> np.ndarray:
    """Of a bowl that is a hundred times as steep along its last axis as along its first, and a little noise.

    A steeper one makes Adam's path chaotic: then rounding alone drives two exact implementations apart.
    """
    size = p.shape[-1]
    return HERE * (np.logspace(-2, 0, size) * p + 0.1 * np.sin(np.arange(size) * (t + 1)))


def build(backend: backends.Backend, optimizer: optim.Optimizer, flat: Any) -> tuple[Any, tuple[Any, ...]]:
    """The update, and the vectors that it takes."""
    vectors = tuple(
        None if numbers is None else LAYOUT.spread(backend.xp, numbers, flat)
        for numbers in optimizer.multipliers(LAYOUT)
    )
    return optimizer.build(backend.xp, backend.fuse, LAYOUT), vectors


def follow(
    optimizer: optim.Optimizer,
    steps: int,
    backend: backends.Backend = NUMPY,
    dtype: str = "float64",
    p: np.ndarray = START[0],
    averaged: bool = False,
) -> list[np.ndarray]:
    """The parameters after each step, or their average."""
    path = []
    with backend.scope():
        flat = backend.xp.asarray(backend.from_host(p, dtype), copy=True)
        update, vectors = build(backend, optimizer, flat)
        update, slots = backend.compile(update), optimizer.start(backend.xp, flat)
        for t in range(steps):
            g = backend.from_host(gradient(p, t), dtype)
            flat, slots = update(flat, g, slots, optimizer.coefficients(t), vectors)
            p = backend.to_host(flat).astype(np.float64)
            path.append(backend.to_host(optimizer.averaged(flat, slots)).astype(np.float64) if averaged else p)
    return path


def assert_same(ours: np.ndarray, theirs: np.ndarray, error: float = 1e-12) -> None:
    assert np.abs(ours - theirs).max() <= error * np.abs(theirs).max()


def test_every_public_optimizer_has_a_case() -> None:
    abstract, has_tests_of_its_own = "FirstOrder", "LBFGS"
    assert without_case(optim, optim.Optimizer, OPTIMIZERS) == {abstract, has_tests_of_its_own}


# ---- against torch.optim ----


@pytest.fixture
def torch() -> Iterator[Any]:
    """With float64 as its default: some of its optimizers keep numbers in that, such as NAdam its product."""
    torch = pytest.importorskip("torch")
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield torch
    torch.set_default_dtype(before)


def decayed(weight_decay: float, **options: Any) -> dict[str, Any]:
    return {"weight_decay": weight_decay, "decay_multipliers": ALL, **options}


TORCH: dict[str, tuple[optim.Optimizer, dict[str, Any]]] = {
    "SGD": (optim.SGD(0.05), {"lr": 0.05}),
    "SGD, momentum": (optim.SGD(0.05, momentum=0.9), {"lr": 0.05, "momentum": 0.9}),
    "SGD, dampening": (
        optim.SGD(0.05, momentum=0.9, dampening=0.3, **decayed(0.1)),
        {"lr": 0.05, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1},
    ),
    "SGD, Nesterov": (
        optim.SGD(0.05, momentum=0.9, nesterov=True, **decayed(0.1)),
        {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    ),
    "SGD, maximize": (
        optim.SGD(0.01, momentum=0.5, **decayed(0.1, maximize=True)),
        {"lr": 0.01, "momentum": 0.5, "weight_decay": 0.1, "maximize": True},
    ),
    "Adagrad": (optim.Adagrad(0.1), {"lr": 0.1}),
    "Adagrad, options": (
        optim.Adagrad(0.1, lr_decay=0.01, initial_accumulator=0.5, eps=1e-3, **decayed(0.1, maximize=True)),
        {
            "lr": 0.1,
            "lr_decay": 0.01,
            "initial_accumulator_value": 0.5,
            "eps": 1e-3,
            "weight_decay": 0.1,
            "maximize": True,
        },
    ),
    "Adadelta": (optim.Adadelta(), {}),
    "Adadelta, options": (
        optim.Adadelta(0.5, rho=0.8, eps=1e-4, **decayed(0.1, maximize=True)),
        {"lr": 0.5, "rho": 0.8, "eps": 1e-4, "weight_decay": 0.1, "maximize": True},
    ),
    "RMSprop": (optim.RMSprop(0.02), {"lr": 0.02}),
    "RMSprop, momentum": (
        optim.RMSprop(0.01, alpha=0.95, momentum=0.5, **decayed(0.1)),
        {"lr": 0.01, "alpha": 0.95, "momentum": 0.5, "weight_decay": 0.1},
    ),
    "RMSprop, centered": (
        optim.RMSprop(0.02, eps=1e-4, centered=True, maximize=True),
        {"lr": 0.02, "eps": 1e-4, "centered": True, "maximize": True},
    ),
    "RMSprop, centered and momentum": (
        optim.RMSprop(0.02, centered=True, momentum=0.5),
        {"lr": 0.02, "centered": True, "momentum": 0.5},
    ),
    "Adam": (optim.Adam(0.02), {"lr": 0.02}),
    "Adam, options": (
        optim.Adam(0.02, beta1=0.7, beta2=0.97, eps=1e-4, **decayed(0.1, maximize=True)),
        {"lr": 0.02, "betas": (0.7, 0.97), "eps": 1e-4, "weight_decay": 0.1, "maximize": True},
    ),
    "Adam, AMSGrad": (
        optim.Adam(0.02, amsgrad=True, beta2=0.9, **decayed(0.1)),
        {"lr": 0.02, "amsgrad": True, "betas": (0.9, 0.9), "weight_decay": 0.1},
    ),
    "AdamW": (optim.AdamW(0.02, decay_multipliers=ALL), {"lr": 0.02}),
    "AdamW, AMSGrad": (
        optim.AdamW(0.02, amsgrad=True, **decayed(0.3, maximize=True)),
        {"lr": 0.02, "amsgrad": True, "weight_decay": 0.3, "maximize": True},
    ),
    "Adamax": (optim.Adamax(0.02), {"lr": 0.02}),
    "Adamax, options": (
        optim.Adamax(0.02, beta1=0.7, beta2=0.97, eps=1e-3, **decayed(0.1, maximize=True)),
        {"lr": 0.02, "betas": (0.7, 0.97), "eps": 1e-3, "weight_decay": 0.1, "maximize": True},
    ),
    "NAdam": (optim.NAdam(0.02), {"lr": 0.02}),
    "NAdam, options": (
        optim.NAdam(0.02, beta1=0.7, beta2=0.97, eps=1e-4, momentum_decay=0.1, **decayed(0.1, maximize=True)),
        {
            "lr": 0.02,
            "betas": (0.7, 0.97),
            "eps": 1e-4,
            "momentum_decay": 0.1,
            "weight_decay": 0.1,
            "maximize": True,
        },
    ),
    "NAdam, decoupled": (
        optim.NAdam(0.02, **decayed(0.3, decoupled=True)),
        {"lr": 0.02, "weight_decay": 0.3, "decoupled_weight_decay": True},
    ),
    "RAdam": (optim.RAdam(0.02), {"lr": 0.02}),
    "RAdam, options": (
        optim.RAdam(0.02, beta1=0.7, beta2=0.97, eps=1e-4, **decayed(0.1, maximize=True)),
        {"lr": 0.02, "betas": (0.7, 0.97), "eps": 1e-4, "weight_decay": 0.1, "maximize": True},
    ),
    "RAdam, decoupled": (
        optim.RAdam(0.02, **decayed(0.3, decoupled=True)),
        {"lr": 0.02, "weight_decay": 0.3, "decoupled_weight_decay": True},
    ),
    "RAdam, never rectified": (optim.RAdam(0.02, beta2=0.5), {"lr": 0.02, "betas": (0.9, 0.5)}),
    "Rprop": (optim.Rprop(), {}),
    "Rprop, options": (
        optim.Rprop(0.1, etas=(0.3, 1.5), step_sizes=(1e-3, 0.2), maximize=True),
        {"lr": 0.1, "etas": (0.3, 1.5), "step_sizes": (1e-3, 0.2), "maximize": True},
    ),
    "ASGD": (optim.ASGD(0.05), {"lr": 0.05}),
    "ASGD, options": (
        optim.ASGD(0.05, lambd=0.1, alpha=0.6, t0=50.0, **decayed(0.1, maximize=True)),
        {"lr": 0.05, "lambd": 0.1, "alpha": 0.6, "t0": 50.0, "weight_decay": 0.1, "maximize": True},
    ),
}


@pytest.mark.parametrize(("ours", "options"), TORCH.values(), ids=TORCH.keys())
def test_two_hundred_steps_are_those_of_torch_optim(torch: Any, ours: optim.Optimizer, options: dict[str, Any]) -> None:
    p = torch.tensor(START[0])
    theirs = getattr(torch.optim, type(ours).__name__)([p], **options)
    averages = follow(ours, 200, averaged=True)
    for t, (parameters, average) in enumerate(zip(follow(ours, 200), averages, strict=True)):
        p.grad = torch.tensor(gradient(p.numpy(), t))
        theirs.step()
        assert_same(parameters, p.numpy())
        assert_same(average, theirs.state[p].get("ax", p).numpy())


@pytest.mark.parametrize("name", sorted({type(ours).__name__ for ours, _ in TORCH.values()} - {"SGD"}))
def test_the_defaults_are_those_of_torch_optim(torch: Any, name: str) -> None:
    theirs = getattr(torch.optim, name)([torch.zeros(1)]).defaults
    ours = vars(getattr(optim, name)())
    ours |= {"betas": (ours.get("beta1"), ours.get("beta2")), "decoupled_weight_decay": ours["decoupled"]}
    ours |= {"initial_accumulator_value": ours.get("initial_accumulator")}
    how = {"foreach", "fused", "capturable", "differentiable"}
    assert {key: ours[key] for key in theirs if key not in how} == {
        key: value for key, value in theirs.items() if key not in how
    }


# ---- against scikit-learn ----


@dataclass(frozen=True)
class Stairs(optim.Schedule):
    """Up and down, every seven steps."""

    def __call__(self, t: int) -> float:
        return (0.05, 0.01, 0.08, 0.002)[t // 7 % 4]


@pytest.mark.parametrize(
    ("name", "options", "ours"),
    [
        ("SGD", {"momentum": 0.0, "nesterov": False}, optim.SGD(Stairs())),
        ("SGD", {"momentum": 0.9, "nesterov": False}, optim.SGD(Stairs(), momentum=0.9, rate_in_velocity=True)),
        ("SGD", {"momentum": 0.9}, optim.SGD(Stairs(), momentum=0.9, nesterov=True, rate_in_velocity=True)),
        (
            "Adam",
            {"beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-2},
            optim.Adam(0.02, beta1=0.8, beta2=0.99, eps=1e-2, epsilon_hat=True),
        ),
        ("Adam", {"epsilon": 1e-2}, optim.AdamW(0.02, eps=1e-2, epsilon_hat=True, weight_decay=0.0)),
    ],
    ids=["SGD", "SGD, momentum", "SGD, Nesterov", "Adam", "AdamW"],
)
def test_two_hundred_steps_are_those_of_scikit_learn(
    name: str, options: dict[str, Any], ours: optim.FirstOrder
) -> None:
    module = pytest.importorskip("sklearn.neural_network._stochastic_optimizers")
    p = START[0].copy()
    theirs = getattr(module, f"{name}Optimizer")([p], ours.learning_rate(0), **options)
    for t, parameters in enumerate(follow(ours, 200)):
        if name == "SGD":
            theirs.learning_rate = ours.learning_rate(t)
        theirs.update_params([p], [gradient(p, t)])
        assert_same(parameters, p)


@pytest.mark.parametrize("options", [{}, {"dampening": 0.3}, {"nesterov": True}], ids=["plain", "dampened", "nesterov"])
def test_the_rate_in_the_velocity_differs_only_where_the_learning_rate_changes(options: dict[str, Any]) -> None:
    for constant, lr in ((True, 0.05), (False, Stairs())):
        gradients = optim.SGD(lr, momentum=0.9, **options)
        steps = replace(gradients, rate_in_velocity=True)
        paths = zip(follow(gradients, 50), follow(steps, 50), strict=True)
        assert [np.abs(a - b).max() < 1e-12 for a, b in paths] == [constant or t < 7 for t in range(50)]


def test_epsilon_hat_is_added_to_the_root_of_the_largest_second_moment_too() -> None:
    p, m, v, largest = START[0], 0.0, 0.0, 0.0
    for t, ours in enumerate(follow(optim.Adam(0.02, beta2=0.9, eps=1e-2, amsgrad=True, epsilon_hat=True), 100)):
        g = gradient(p, t)
        m, v = 0.9 * m + 0.1 * g, 0.9 * v + 0.1 * g * g
        largest = np.maximum(largest, v)
        step = 0.02 * np.sqrt(1 - 0.9 ** (t + 1)) / (1 - 0.9 ** (t + 1))
        p = p - step * m / (np.sqrt(largest) + 1e-2)
        assert_same(ours, p)


# ---- against the papers ----


def test_lion_takes_the_steps_of_its_paper() -> None:
    p, m = START[0], np.zeros(LAYOUT.size)
    for t, ours in enumerate(follow(optim.Lion(0.01, beta1=0.8, beta2=0.95, **decayed(0.3)), 100)):
        g = gradient(p, t)
        p = p - 0.01 * (np.sign(0.8 * m + 0.2 * g) + 0.3 * p)
        m = 0.95 * m + 0.05 * g
        assert_same(ours, p)


def test_lamb_takes_the_steps_of_its_paper_for_each_parameter_by_itself() -> None:
    optimizer = optim.LAMB(0.02, beta1=0.8, beta2=0.95, eps=1e-3, weight_decay=0.3)
    start = START[0].copy()
    start[LAYOUT.entries[1].start : LAYOUT.entries[2].start] = 0  # a norm of zero: there is no ratio
    p, m, v = start.copy(), np.zeros(LAYOUT.size), np.zeros(LAYOUT.size)
    for t, ours in enumerate(follow(optimizer, 100, p=start)):
        g = gradient(p, t)
        for entry in LAYOUT.entries:
            at = slice(entry.start, entry.stop)
            m[at] = 0.8 * m[at] + 0.2 * g[at]
            v[at] = 0.95 * v[at] + 0.05 * g[at] ** 2
            r = m[at] / (1 - 0.8 ** (t + 1)) / (np.sqrt(v[at] / (1 - 0.95 ** (t + 1))) + 1e-3)
            u = r + (0.3 if "weight" in entry.name else 0.0) * p[at]
            size, length = np.linalg.norm(p[at]), np.linalg.norm(u)
            p[at] = p[at] - 0.02 * (size / length if size > 0 and length > 0 else 1.0) * u
        assert_same(ours, p)


def test_lookahead_takes_the_steps_of_its_paper() -> None:
    optimizer = optim.Lookahead(optim.SGD(0.05, momentum=0.9), k=4, alpha=0.3)
    path, slows = follow(optimizer, 40), follow(optimizer, 40, averaged=True)
    slow, v, t = START[0], np.zeros(LAYOUT.size), 0
    for _ in range(10):
        fast = slow
        for inner in range(4):
            assert_same(path[t - 1] if t else START[0], fast)
            v = 0.9 * v + gradient(fast, t)
            fast = fast - 0.05 * v
            if inner < 3:
                assert_same(slows[t], slow)
            t += 1
        slow = slow + 0.3 * (fast - slow)
        assert_same(path[t - 1], slow)
        np.testing.assert_array_equal(path[t - 1], slows[t - 1])


def test_an_average_leaves_the_steps_alone() -> None:
    adam = optim.Adam(0.02)
    for optimizer in (optim.EMA(adam), optim.SWA(adam), optim.EMA(optim.SWA(adam))):
        np.testing.assert_array_equal(follow(optimizer, 20), follow(adam, 20))


def test_swa_is_the_mean_of_every_third_weights_from_its_start_on() -> None:
    path = follow(optim.SGD(0.05), 60)
    for t, average in enumerate(follow(optim.SWA(optim.SGD(0.05), start_step=10, every=3), 60, averaged=True)):
        assert_same(average, path[t] if t < 10 else np.mean(path[10 : t + 1 : 3], axis=0))


def test_ema_is_the_sum_of_its_paper_with_the_first_weights_as_a_start() -> None:
    path = follow(optim.SGD(0.05), 60)
    for t, average in enumerate(follow(optim.EMA(optim.SGD(0.05), decay=0.8), 60, averaged=True)):
        shares = 0.2 * 0.8 ** np.arange(t, -1, -1)
        shares[0] = 0.8**t
        assert_same(average, shares @ np.array(path[: t + 1]))


@pytest.mark.parametrize("name", ["EMA", "SWA"])
def test_averages_are_those_of_torch(torch: Any, name: str) -> None:
    utils = torch.optim.swa_utils
    ours = optim.EMA(optim.Adam(0.02), decay=0.9) if name == "EMA" else optim.SWA(optim.Adam(0.02))
    model = torch.nn.ParameterList([torch.tensor(START[0])])
    average = utils.AveragedModel(model, avg_fn=utils.get_ema_avg_fn(0.9) if name == "EMA" else utils.get_swa_avg_fn())
    theirs = torch.optim.Adam(model, lr=0.02)
    for t, averaged in enumerate(follow(ours, 100, averaged=True)):
        model[0].grad = torch.tensor(gradient(model[0].detach().numpy(), t))
        theirs.step()
        average.update_parameters(model)
        assert_same(averaged, average.module[0].detach().numpy())


def test_the_average_of_asgd_is_of_what_the_options_made_of_the_weights() -> None:
    optimizer = optim.ASGD(0.05, t0=0.0, lr_multipliers={"0.*": 0.0}, constraints={"2.weight": optim.UnitNorm()})
    average = LAYOUT.named(np, follow(optimizer, 1, averaged=True)[0])
    np.testing.assert_array_equal(average["0.weight"], LAYOUT.named(np, START[0])["0.weight"])
    np.testing.assert_allclose(np.linalg.norm(average["2.weight"], axis=0), 1, rtol=1e-15)


def test_the_products_of_nadam_depend_on_nothing_but_the_step() -> None:
    nadam = optim.NAdam(beta1=optim.StepDecay(0.9, every=10, factor=0.99))
    upwards = [nadam.coefficients(t) for t in range(300)]
    momentum_products.cache_clear()
    assert [nadam.coefficients(t) for t in reversed(range(300))] == upwards[::-1]
    assert momentum_products.cache_info().misses <= 10  # not one for every step


# ---- on every backend ----


@all_optimizers
def test_every_backend_takes_the_same_steps(backend: backends.Backend, optimizer: optim.Optimizer) -> None:
    exact = follow(optimizer, 20)
    for ours, expected in zip(follow(optimizer, 20, backend, p=START), exact, strict=True):
        assert_close(ours[0], expected, factor=64, dtype=np.float64)  # the first of three stacked models
    for ours, expected in zip(follow(optimizer, 20, backend, "float32"), exact, strict=True):
        assert_close(ours, expected, factor=256)
        assert not (ours * (1 - HERE)).any()  # what fills the gaps of the layout must not move


@all_optimizers
def test_a_row_of_stacked_models_equals_the_single_model(optimizer: optim.Optimizer) -> None:
    for averaged in (False, True):
        stacked = follow(optimizer, 20, p=START, averaged=averaged)
        for k in range(3):
            for row, single in zip(stacked, follow(optimizer, 20, p=START[k], averaged=averaged), strict=True):
                assert_close(row[k], single, factor=8, dtype=np.float64)


@all_optimizers
def test_an_update_is_pure_and_each_result_has_a_buffer_of_its_own(optimizer: optim.Optimizer) -> None:
    p = START[0].copy()
    update, vectors = build(NUMPY, optimizer, p)
    slots = optimizer.start(NUMPY.xp, p)
    for t in range(3):
        arrays = (p, *slots)
        assert not any(np.shares_memory(a, b) for i, a in enumerate(arrays) for b in arrays[:i])
        g = gradient(p, t)
        for array in (g, *arrays, *(vector for vector in vectors if vector is not None)):
            array.flags.writeable = False
        p, slots = update(p, g, slots, optimizer.coefficients(t), vectors)
        assert len(slots) == len(optimizer.slot_names) == len(set(optimizer.slot_names))


def assert_nothing_changes(monkeypatch: pytest.MonkeyPatch, optimizer: optim.Optimizer, numba: bool) -> None:
    """In blocks, or with numba in a compiled loop, every number is what it is without."""
    if numba:
        pytest.importorskip("numba")
    whole = follow(optimizer, 20), follow(optimizer, 20, averaged=True)
    monkeypatch.setattr(on_numpy, "find_spec", lambda name: numba or None)
    monkeypatch.setattr(blocks, "BLOCK", 50)
    np.testing.assert_array_equal((follow(optimizer, 20), follow(optimizer, 20, averaged=True)), whole)


@all_optimizers
def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch, optimizer: optim.Optimizer) -> None:
    assert_nothing_changes(monkeypatch, optimizer, numba=False)


@pytest.mark.parametrize("name", ["SGD, Nesterov", "Adam", "RAdam", "Lion", "Rprop"])
def test_a_compiled_loop_changes_nothing(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert_nothing_changes(monkeypatch, OPTIMIZERS[name], numba=True)


@pytest.mark.slow
@all_optimizers
def test_that_of_no_optimizer_does(monkeypatch: pytest.MonkeyPatch, optimizer: optim.Optimizer) -> None:
    assert_nothing_changes(monkeypatch, optimizer, numba=True)


def test_a_numba_that_cannot_be_imported_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = follow(optim.Adam(0.1), 20)
    numba_loop.compiled.cache_clear()
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.setattr(on_numpy, "find_spec", lambda name: True)
    monkeypatch.setattr(blocks, "BLOCK", 50)
    with pytest.warns(RuntimeWarning, match="updates run without numba, which cannot be imported"):
        np.testing.assert_array_equal(follow(optim.Adam(0.1), 20), expected)


def test_adams_bias_correction_is_exact_in_float32() -> None:
    # The first step of Adam is lr * sign(g) for every g; coefficients rounded to float32 would miss it by 1e-4.
    p, g = np.zeros(3, np.float32), np.array([1e-3, 1.0, -1e3], np.float32)
    adam = optim.Adam(lr=0.5, eps=1e-12)
    new, _ = adam.rule(np, p, g, (p, p), adam.numbers(0))
    np.testing.assert_allclose(new, [-0.5, -0.5, 0.5], rtol=1e-6)


@all_optimizers
def test_no_update_hides_that_a_gradient_is_nan(optimizer: optim.Optimizer) -> None:
    optimizer = optimizer if isinstance(optimizer, optim.FirstOrder) else optimizer.optimizer
    p, g = START[0], gradient(START[0], 0)
    g[3] = np.nan  # a rule that takes its sign could make a zero of it
    update, vectors = build(NUMPY, optimizer, p)
    with NUMPY.scope():
        new, _ = update(p.copy(), g, optimizer.start(np, p), optimizer.coefficients(0), vectors)
    assert np.isnan(new[3])


# ---- options ----


def parts(flat: np.ndarray) -> dict[str, np.ndarray]:
    return LAYOUT.named(np, flat)


@all_optimizers
def test_a_frozen_parameter_does_not_move_a_bit(optimizer: optim.Optimizer) -> None:
    if not isinstance(optimizer, optim.FirstOrder):
        optimizer = optimizer.optimizer
    frozen = replace(optimizer, weight_decay=0.1, l1=0.1, lr_multipliers={"0.*": 0.0}, constraints={})
    before, after = parts(START[0]), parts(follow(frozen, 10)[-1])
    for name in NAMES:
        assert (before[name] == after[name]).all() == name.startswith("0."), name


@pytest.mark.parametrize("name", ["SGD", "AdamW", "Adagrad", "Adadelta", "RMSprop", "RAdam"])
def test_a_learning_rate_of_its_own_is_a_group_of_torch(torch: Any, name: str) -> None:
    ours = getattr(optim, name)(0.02, lr_multipliers={"*.bias": 3.0, "2.*": 0.5}, **decayed(0.1))
    leaf = {key: torch.tensor(value.copy()) for key, value in parts(START[0]).items()}
    rates = {"0.weight": 1.0, "0.bias": 3.0, "2.weight": 0.5, "2.bias": 0.5}  # the last pattern that matches counts
    groups = [{"params": [leaf[key]], "lr": 0.02 * rate} for key, rate in rates.items()]
    theirs = getattr(torch.optim, name)(groups, weight_decay=0.1)
    flat = START[0]
    for t, path in enumerate(follow(ours, 100)):
        for key, g in parts(gradient(flat, t)).items():
            leaf[key].grad = torch.tensor(g)
        theirs.step()
        flat = path
        for key, value in parts(path).items():
            assert_same(value, leaf[key].numpy())


@pytest.mark.parametrize("decoupled", [False, True])
def test_biases_do_not_decay_unless_asked(decoupled: bool) -> None:
    sgd = optim.SGD(0.05, momentum=0.9, decoupled=decoupled)
    without, by_custom, one, all_of_them = (
        parts(follow(optimizer, 10)[-1])
        for optimizer in (
            sgd,
            replace(sgd, weight_decay=0.1),
            replace(sgd, weight_decay=0.1, decay_multipliers={"*": 0.0, "2.bias": 1.0}),
            replace(sgd, weight_decay=0.1, decay_multipliers=ALL),
        )
    )
    for name in NAMES:
        assert (without[name] == by_custom[name]).all() == name.endswith("bias"), name
        assert (without[name] != one[name]).any() == (name == "2.bias"), name
        assert (without[name] != all_of_them[name]).any(), name


def test_half_the_decay_is_half_the_decay() -> None:
    half = optim.AdamW(0.02, weight_decay=0.2, decay_multipliers={"*": 0.5})
    assert_same(follow(half, 20)[-1], follow(optim.AdamW(0.02, **decayed(0.1)), 20)[-1])


@pytest.mark.parametrize(
    "options",
    [
        {"lr_multipliers": {"0.wieght": 0.5}},
        {"decay_multipliers": {"0.wieght": 0.5}},
        {"constraints": {"0.wieght": optim.MaxNorm()}},
    ],
    ids=lambda options: next(iter(options)),
)
def test_a_pattern_that_matches_nothing_names_the_nearest_parameter(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"{next(iter(options))}: .*'0\.wieght'; did you mean '0\.weight'\?"):
        build(NUMPY, optim.Lookahead(optim.Adam(**options)), START[0])


def test_l1_adds_its_subgradient_to_that_of_the_weights() -> None:
    weights = LAYOUT.spread(np, {name: float(name.endswith("weight")) for name in NAMES}, np.zeros(0))
    start = np.where(np.arange(LAYOUT.size) % 3 == 0, 0.0, START[0])  # at zero the subgradient is zero
    p = start
    for t, ours in enumerate(follow(optim.SGD(0.05, l1=0.2), 50, p=start)):
        p = p - 0.05 * (gradient(p, t) + 0.2 * weights * np.sign(p))
        assert_same(ours, p)


@pytest.mark.parametrize("limit", [0.3, 0.7, 1e3], ids=["always", "at times", "never"])
def test_clip_norm_is_torchs(torch: Any, limit: float) -> None:
    leaf = [torch.tensor(value.copy()) for value in parts(START[0]).values()]
    theirs, flat, clipped = torch.optim.SGD(leaf, lr=0.2), START[0], []
    for t, path in enumerate(follow(optim.SGD(0.2, clip_norm=limit), 30)):
        for tensor, g in zip(leaf, parts(gradient(flat, t)).values(), strict=True):
            tensor.grad = torch.tensor(g)
        clipped.append(float(torch.nn.utils.clip_grad_norm_(leaf, limit)) > limit)
        theirs.step()
        flat = path
        for tensor, value in zip(leaf, parts(path).values(), strict=True):
            assert_same(value, tensor.numpy())
    assert set(clipped) == {0.3: {True}, 0.7: {True, False}, 1e3: {False}}[limit]


def test_clip_value_is_torchs(torch: Any) -> None:
    p = torch.tensor(START[0])
    theirs = torch.optim.SGD([p], lr=0.05)
    for t, path in enumerate(follow(optim.SGD(0.05, clip_value=0.15), 30)):
        p.grad = torch.tensor(gradient(p.numpy(), t))
        torch.nn.utils.clip_grad_value_([p], 0.15)
        theirs.step()
        assert_same(path, p.numpy())


@pytest.mark.parametrize("lead", [(), (3,)], ids=["one model", "three stacked models"])
def test_max_norm_scales_the_incoming_weights_of_each_unit(torch: Any, lead: tuple[int, ...]) -> None:
    w = np.random.default_rng(1).normal(size=(*lead, 5, 7))
    lengths = np.sqrt((w * w).sum(-2, keepdims=True))
    limit = float(np.median(lengths))
    ours = optim.MaxNorm(limit)(NUMPY.xp, w)
    np.testing.assert_allclose(ours, np.where(lengths > limit, w * limit / lengths, w), rtol=1e-15)
    inside = np.broadcast_to(lengths <= limit, w.shape)
    np.testing.assert_array_equal(ours[inside], w[inside])
    for mine, weight in zip(ours.reshape(-1, 5, 7), w.reshape(-1, 5, 7), strict=True):
        np.testing.assert_allclose(mine, torch.renorm(torch.tensor(weight), 2, 1, limit).numpy(), rtol=1e-6)


def test_unit_norm_makes_the_incoming_weights_of_each_unit_as_long_as_one() -> None:
    w = np.random.default_rng(1).normal(size=(5, 7))
    w[:, 2] = 0
    w[:, 3] = 1e-200  # so short that its square is zero
    expected = np.stack([w[:, j] / np.linalg.norm(w[:, j]) if j not in (2, 3) else w[:, j] for j in range(7)], axis=1)
    np.testing.assert_allclose(optim.UnitNorm()(NUMPY.xp, w), expected, rtol=1e-15)


def test_constraints_are_met_after_every_step_by_the_parameters_they_name() -> None:
    free = optim.Adam(0.1)
    bound = replace(free, constraints={"0.*": optim.NonNegative(), "0.weight": optim.MaxNorm(0.5)})
    first, bound_first = parts(follow(free, 1)[0]), parts(follow(bound, 1)[0])
    np.testing.assert_array_equal(bound_first["0.weight"], optim.MaxNorm(0.5)(NUMPY.xp, first["0.weight"]))
    np.testing.assert_array_equal(bound_first["0.bias"], np.maximum(first["0.bias"], 0))
    np.testing.assert_array_equal(bound_first["2.weight"], first["2.weight"])
    for path in map(parts, follow(bound, 20)):
        assert (np.linalg.norm(path["0.weight"], axis=0) <= 0.5 * (1 + 1e-15)).all()
        assert (path["0.bias"] >= 0).all()


# ---- schedules ----


@dataclass(frozen=True)
class Wave(optim.Schedule):
    middle: float
    height: float

    def __call__(self, t: int) -> float:
        return self.middle + self.height * sin(t)


@pytest.mark.parametrize(
    "ours",
    [
        optim.SGD(Wave(0.05, 0.02), momentum=Wave(0.7, 0.2), **decayed(Wave(0.1, 0.1))),  # type: ignore[arg-type]
        optim.SGD(0.05, momentum=Wave(0.7, 0.2), dampening=Wave(0.5, 0.4)),
        optim.RMSprop(0.02, alpha=Wave(0.8, 0.1), momentum=Wave(0.5, 0.2), eps=Wave(1e-3, 1e-4)),
        optim.Adadelta(Wave(0.8, 0.1), rho=Wave(0.8, 0.1)),
        optim.Adam(0.02, beta1=Wave(0.8, 0.1), beta2=Wave(0.95, 0.04)),
        optim.AdamW(Wave(0.05, 0.02), **decayed(Wave(0.1, 0.1))),  # type: ignore[arg-type]
        optim.Adamax(0.02, beta1=Wave(0.8, 0.1), beta2=Wave(0.95, 0.04)),
        optim.NAdam(0.02, beta1=Wave(0.8, 0.1), beta2=Wave(0.95, 0.04), momentum_decay=Wave(0.1, 0.05)),
        optim.RAdam(0.02, beta1=Wave(0.8, 0.1), beta2=Wave(0.95, 0.04)),
    ],
    ids=lambda ours: type(ours).__name__,
)
def test_a_schedule_drives_every_hyper_parameter(torch: Any, ours: optim.FirstOrder) -> None:
    p = torch.tensor(START[0])
    theirs = getattr(torch.optim, type(ours).__name__)([p])
    group = theirs.param_groups[0]
    for t, path in enumerate(follow(ours, 100)):
        for name in group.keys() & vars(ours).keys():
            value = getattr(ours, name)
            group[name] = value(t) if isinstance(value, optim.Schedule) else value
        if "betas" in group:
            group["betas"] = (ours.number("beta1", t), ours.number("beta2", t))
        p.grad = torch.tensor(gradient(p.numpy(), t))
        theirs.step()
        assert_same(path, p.numpy())


def test_a_schedule_that_leaves_the_range_is_refused_with_the_step() -> None:
    adam = optim.Adam(beta1=Wave(0.5, 0.6))
    adam.coefficients(0)
    with pytest.raises(ValueError, match=r"Adam\(beta1=1\.0\d+\) at step 1: give a number .* below 1"):
        adam.coefficients(1)


def test_a_scaled_optimizer_has_that_share_of_the_learning_rate_at_every_step() -> None:
    optimizer = optim.EMA(optim.Lookahead(optim.AdamW(optim.StepDecay(0.8, every=10, factor=0.5))))
    assert [optimizer.learning_rate(t) for t in (0, 9, 10, 25)] == [0.8, 0.8, 0.4, 0.2]
    assert [optimizer.scaled(0.5).learning_rate(t) for t in (0, 9, 10, 25)] == [0.4, 0.4, 0.2, 0.1]
    assert optimizer.scaled(0.5).scaled(0.5).lr == optim.Scaled(optim.Scaled(optimizer.lr, 0.5), 0.5)


# ---- hyper-parameters ----


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: optim.SGD(-0.1), r"SGD\(lr=-0\.1\): give a finite number of at least 0, or a schedule"),
        (lambda: optim.SGD(momentum=1.0), r"SGD\(momentum=1\.0\): .* at least 0 and below 1"),
        (lambda: optim.SGD(nesterov=True), r"SGD\(nesterov=True\) needs a momentum"),
        (lambda: optim.SGD(momentum=0.9, nesterov=True, dampening=0.1), r"SGD\(nesterov=True\) .* no dampening"),
        (lambda: optim.SGD(rate_in_velocity=True), r"SGD\(rate_in_velocity=True\) needs a momentum above 0"),
        (lambda: optim.SGD(momentum=0.9, rate_in_velocity=1), r"SGD\(rate_in_velocity=1\): write True or False"),  # type: ignore[arg-type]
        (lambda: optim.Adam(epsilon_hat="x"), r"Adam\(epsilon_hat='x'\): write True or False"),  # type: ignore[arg-type]
        (lambda: optim.Adam(float("nan")), r"Adam\(lr=nan\)"),
        (lambda: optim.Adam(float("inf")), r"Adam\(lr=inf\): give a finite number"),
        (lambda: optim.Adam("1e-3"), r"Adam\(lr='1e-3'\)"),  # type: ignore[arg-type]
        (lambda: optim.Adam(True), r"Adam\(lr=True\)"),
        (lambda: optim.Adam(beta2=1.0), r"Adam\(beta2=1\.0\)"),
        (lambda: optim.AdamW(weight_decay=-1.0), r"AdamW\(weight_decay=-1\.0\)"),
        (lambda: optim.NAdam(momentum_decay=-1.0), r"NAdam\(momentum_decay=-1\.0\)"),
        (lambda: optim.Adagrad(initial_accumulator=-1.0), r"Adagrad\(initial_accumulator=-1\.0\)"),
        (lambda: optim.Adadelta(rho=1.0), r"Adadelta\(rho=1\.0\)"),
        (lambda: optim.RMSprop(alpha=-0.1), r"RMSprop\(alpha=-0\.1\)"),
        (lambda: optim.Lion(beta1=1.5), r"Lion\(beta1=1\.5\)"),
        (lambda: optim.Rprop(etas=(1.2, 0.5)), r"Rprop\(etas=\(1\.2, 0\.5\)\): give one between 0 and 1"),
        (lambda: optim.Rprop(etas=0.5), r"Rprop\(etas=0\.5\): give two numbers"),  # type: ignore[arg-type]
        (lambda: optim.Rprop(step_sizes=(0.0, 1.0)), r"Rprop\(step_sizes=\(0\.0, 1\.0\)\): give the smallest"),
        (lambda: optim.ASGD(t0=-1.0), r"ASGD\(t0=-1\.0\)"),
        (lambda: optim.LAMB(decoupled=True), r"LAMB\(decoupled=True\): .* leave that out"),
        (lambda: optim.EMA(optim.SGD(), decay=1.0), r"EMA\(decay=1\.0\)"),
        (lambda: optim.SWA(optim.SGD(), every=0), r"SWA\(every=0\): give a whole number of at least 1"),
        (lambda: optim.SWA(optim.SGD(), start_step=0.5), r"SWA\(start_step=0\.5\)"),  # type: ignore[arg-type]
        (lambda: optim.Lookahead(optim.SGD(), k=0), r"Lookahead\(k=0\)"),
        (lambda: optim.Lookahead(optim.Lookahead(optim.SGD())), r"Lookahead goes around no other that keeps 'slow'"),
        (lambda: optim.EMA(optim.SGD), r"EMA goes around an optimizer, such as optim\.Adam\(\)"),  # type: ignore[arg-type]
        (lambda: optim.Adam(clip_norm=0.0), r"Adam\(clip_norm=0\.0\): give a finite number above 0, or None"),
        (lambda: optim.Adam(clip_norm=True), r"Adam\(clip_norm=True\): give a finite number above 0, or None"),
        (lambda: optim.Adam(clip_value=-1.0), r"Adam\(clip_value=-1\.0\)"),
        (lambda: optim.Adam(l1=-1.0), r"Adam\(l1=-1\.0\)"),
        (lambda: optim.Adam(lr_multipliers={"*": -1.0}), r"Adam: lr_multipliers\['\*'\] is -1\.0"),
        (lambda: optim.Adam(decay_multipliers={"*": float("nan")}), r"Adam: decay_multipliers\['\*'\] is nan"),
        (lambda: optim.Adam(constraints={"*": 3.0}), r"Adam: constraints\['\*'\] is 3\.0"),  # type: ignore[dict-item]
        (lambda: optim.MaxNorm(0.0), r"MaxNorm\(limit=0\.0\)"),
        (
            lambda: optim.Adam(constraints=optim.MaxNorm()),
            r"Adam\(constraints=MaxNorm\(.*\{'\*\.weight': optim\.MaxNorm",
        ),  # type: ignore[arg-type]
        (lambda: optim.Adam(lr_multipliers=0.1), r"Adam\(lr_multipliers=0\.1\): .* such as \{'0\.\*': 0\.1\}"),  # type: ignore[arg-type]
        (lambda: optim.Adam(lr_multipliers="0.*"), r"Adam\(lr_multipliers='0\.\*'\): .* such as"),  # type: ignore[arg-type]
        (lambda: optim.Adam(lr_multipliers={0: 1.0}), r"Adam\(lr_multipliers=\{0: 1\.0\}\): .* such as"),  # type: ignore[dict-item]
        (lambda: optim.LBFGS(decay_multipliers=0.1), r"LBFGS\(decay_multipliers=0\.1\): .* such as"),  # type: ignore[arg-type]
        (lambda: optim.Adam(lr_multipliers={"*": True}), r"Adam: lr_multipliers\['\*'\] is True; give a finite number"),
        (lambda: optim.SGD(decoupled="x"), r"SGD\(decoupled='x'\): write True or False"),  # type: ignore[arg-type]
        (lambda: optim.SGD(momentum=0.9, nesterov="yes"), r"SGD\(nesterov='yes'\): write True or False"),  # type: ignore[arg-type]
        (lambda: optim.Adam(amsgrad=1), r"Adam\(amsgrad=1\): write True or False"),  # type: ignore[arg-type]
        (lambda: optim.SWA(optim.SGD(), every=True), r"SWA\(every=True\): give a whole number of at least 1"),
        (lambda: optim.MultiStep(0.1, 5), r"MultiStep\(milestones=5\): give a tuple of whole numbers"),  # type: ignore[arg-type]
        (lambda: optim.Chained(0.1, 3), r"Chained\(schedules=0\.1\): give a tuple of schedules"),  # type: ignore[arg-type]
        (lambda: optim.Chained((0.1, 0.2), 3), r"Chained\(milestones=3\): give a tuple of whole numbers"),  # type: ignore[arg-type]
        (
            lambda: optim.Rprop(optim.Cosine(0.1, 9)),
            r"Rprop\(lr=Cosine\(.*\)\): give a number; .* would change nothing",
        ),  # type: ignore[arg-type]
    ],
)
def test_a_hyper_parameter_that_makes_no_sense_is_refused_by_name(build: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        build()


@pytest.mark.parametrize("wrap", [lambda inner: inner, optim.EMA], ids=["alone", "inside EMA"])
def test_the_learning_rate_of_rprop_cannot_be_changed_later(wrap: Any) -> None:
    rprop = wrap(optim.Rprop())
    for change in (lambda: rprop.scaled(0.5), lambda: rprop.with_learning_rate(0.1)):
        with pytest.raises(ValueError, match=r"Rprop\(.*\): its learning rate cannot be changed"):
            change()


def test_whole_numbers_of_numpy_become_pythons() -> None:
    five = np.int64(5)
    for ours, plain in (
        (optim.SWA(optim.SGD(), start_step=five, every=five), optim.SWA(optim.SGD(), start_step=5, every=5)),  # type: ignore[arg-type]
        (optim.Lookahead(optim.SGD(), k=five), optim.Lookahead(optim.SGD(), k=5)),  # type: ignore[arg-type]
        (optim.LBFGS(history=five, max_evaluations=five), optim.LBFGS(history=5, max_evaluations=5)),  # type: ignore[arg-type]
    ):
        assert repr(ours) == repr(plain) and ours == plain


@pytest.mark.parametrize("name", [name for name, case in OPTIMIZERS.items() if "eps" in vars(case)])
def test_an_eps_of_zero_would_make_nan_of_the_gaps_and_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"\(eps=0\.0\): give a finite number of at least 1e-30"):
        replace(OPTIMIZERS[name], eps=0.0)  # type: ignore[call-arg]


FULL = optim.EMA(
    optim.Lion(
        optim.StepDecay(0.1, every=5),
        weight_decay=0.1,
        clip_norm=1.0,
        lr_multipliers={"0.*": 0.0, "*.bias": 2.0},
        decay_multipliers={"*": 1.0},
        constraints={"*.weight": optim.MaxNorm(2.0), "2.bias": optim.NonNegative()},
    )
)


@pytest.mark.parametrize("optimizer", [*OPTIMIZERS.values(), FULL], ids=[*OPTIMIZERS, "all options"])
def test_it_is_plain_data_and_back(optimizer: optim.Optimizer) -> None:
    assert from_config(json.loads(json.dumps(to_config(optimizer, [optim]))), [optim]) == optimizer
    assert eval(repr(optimizer), vars(optim)) == optimizer
    assert hash(replace(optimizer)) == hash(optimizer)  # type: ignore[type-var]


def test_only_what_differs_is_shown_of_the_options_that_all_share() -> None:
    assert repr(optim.SGD(0.1)) == ("SGD(lr=0.1, momentum=0.0, nesterov=False, dampening=0.0, rate_in_velocity=False)")
    assert "weight_decay" not in repr(optim.AdamW()) and "weight_decay=0.0" in repr(optim.AdamW(weight_decay=0.0))
    assert repr(optim.Lion(clip_norm=1.0)) == "Lion(lr=0.0001, beta1=0.9, beta2=0.99, clip_norm=1.0)"
    assert "lr_multipliers=(('0.*', 0.0),)" in repr(optim.Adam(lr_multipliers={"0.*": 0.0}))
