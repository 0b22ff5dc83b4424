"""Update rules against torch.optim step by step, and schedules against their formulas."""

from math import cos, pi
from typing import Any

import numpy as np
import pytest
from cases import OPTIMIZERS, without_case
from helpers import assert_close

from mlp_xp import backends, optim

all_optimizers = pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())


def gradient(p: np.ndarray, t: int) -> np.ndarray:
    """Of a bowl that is a hundred times as steep along its last axis as along its first, and a little noise.

    A steeper one makes Adam's path chaotic: then rounding alone drives two exact implementations apart.
    """
    return np.logspace(-2, 0, p.size) * p + 0.1 * np.sin(np.arange(p.size) * (t + 1))


def follow(backend: backends.Backend, optimizer: optim.Optimizer, steps: int, dtype: str) -> list[np.ndarray]:
    """The parameters after each step."""
    p = np.random.default_rng(0).normal(size=257)
    path = []
    with backend.scope():
        update = backend.compile(backend.fuse(optimizer.rule))
        device = backend.xp.asarray(backend.from_host(p, dtype), copy=True)
        slots = tuple(backend.xp.zeros_like(device) for _ in optimizer.slot_names)
        for t in range(steps):
            g = backend.from_host(gradient(p, t), dtype)
            device, slots = update(device, g, slots, optimizer.coefficients(t))
            p = backend.to_host(device).astype(np.float64)
            path.append(p)
    return path


def test_every_public_optimizer_has_a_case() -> None:
    assert without_case(optim, optim.Optimizer, OPTIMIZERS) == set()


@all_optimizers
def test_two_hundred_steps_are_those_of_torch_optim(optimizer: optim.Optimizer) -> None:
    torch = pytest.importorskip("torch")
    p = torch.tensor(np.random.default_rng(0).normal(size=257))
    if isinstance(optimizer, optim.Adam):
        betas = (optimizer.beta1, optimizer.beta2)
        theirs: Any = torch.optim.Adam([p], lr=optimizer.lr, betas=betas, eps=optimizer.eps)
    else:
        assert isinstance(optimizer, optim.SGD)
        theirs = torch.optim.SGD([p], optimizer.lr, momentum=optimizer.momentum, nesterov=optimizer.nesterov)
    for t, ours in enumerate(follow(backends.select("numpy"), optimizer, 200, "float64")):
        p.grad = torch.tensor(gradient(p.numpy(), t))
        theirs.step()
        assert np.abs(ours - p.numpy()).max() <= 1e-12 * np.abs(p.numpy()).max(), t


@all_optimizers
def test_every_backend_takes_the_same_steps(backend: backends.Backend, optimizer: optim.Optimizer) -> None:
    exact = follow(backends.select("numpy"), optimizer, 20, "float64")
    for ours, expected in zip(follow(backend, optimizer, 20, "float64"), exact, strict=True):
        assert_close(ours, expected, factor=64, dtype=np.float64)
    for ours, expected in zip(follow(backend, optimizer, 20, "float32"), exact, strict=True):
        assert_close(ours, expected, factor=256)


@all_optimizers
def test_a_rule_is_pure_and_leaves_zero_at_zero(optimizer: optim.Optimizer) -> None:
    p, g = np.linspace(-1, 1, 5), np.linspace(1, 2, 5)
    slots = tuple(np.zeros(5) for _ in optimizer.slot_names)
    for array in (p, g, *slots):
        array.flags.writeable = False
    new, new_slots = optimizer.rule(np, p, g, slots, optimizer.coefficients(0))
    assert len(new_slots) == len(optimizer.slot_names)
    assert (new < p).all()  # downhill, as the gradient is positive
    gap = np.zeros(3)
    still, _ = optimizer.rule(np, gap, gap, tuple(gap for _ in slots), optimizer.coefficients(0))
    assert not still.any()  # what fills the gaps of the layout must not move


def test_adams_bias_correction_is_exact_in_float32() -> None:
    # The first step of Adam is lr * sign(g) for every g; coefficients rounded to float32 would miss it by 1e-4.
    p, g = np.zeros(3, np.float32), np.array([1e-3, 1.0, -1e3], np.float32)
    adam = optim.Adam(lr=0.5, eps=1e-12)
    new, _ = adam.rule(np, p, g, (p, p), adam.coefficients(0))
    np.testing.assert_allclose(new, [-0.5, -0.5, 0.5], rtol=1e-6)


def test_a_schedule_drives_the_learning_rate() -> None:
    schedule = optim.StepDecay(0.8, every=10, factor=0.5)
    assert [optim.SGD(schedule).coefficients(t)[0] for t in (0, 9, 10, 25)] == [0.8, 0.8, 0.4, 0.2]
    assert optim.Adam(schedule).learning_rate(10) == 0.4
    assert optim.SGD(optim.Constant(0.3)).learning_rate(1000) == 0.3


def test_step_decay_is_torchs_step_lr() -> None:
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    theirs = torch.optim.lr_scheduler.StepLR(optimizer, 7, gamma=0.3)
    ours = optim.StepDecay(0.1, every=7, factor=0.3)
    for t in range(50):
        assert ours(t) == pytest.approx(theirs.get_last_lr()[0], rel=1e-12)
        optimizer.step()
        theirs.step()


def test_cosine_without_warmup_is_torchs_cosine_annealing() -> None:
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 40, eta_min=0.01)
    ours = optim.CosineWithWarmup(0.1, steps=40, final=0.01)
    for t in range(41):
        assert ours(t) == pytest.approx(theirs.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        theirs.step()


def test_cosine_warms_up_in_a_line_and_stays_at_the_end() -> None:
    schedule = optim.CosineWithWarmup(1.0, steps=30, warmup=10, final=0.1)
    assert [schedule(t) for t in range(10)] == pytest.approx([(t + 1) / 11 for t in range(10)])
    assert schedule(10) == 1.0
    assert schedule(20) == pytest.approx(0.1 + 0.9 * (1 + cos(pi / 2)) / 2)
    assert schedule(30) == schedule(10**6) == 0.1


@pytest.mark.parametrize(
    "build",
    [
        lambda: optim.SGD(momentum=1.0),
        lambda: optim.SGD(-0.1),
        lambda: optim.Adam(float("nan")),
        lambda: optim.Adam("1e-3"),  # type: ignore[arg-type]
        lambda: optim.SGD(nesterov=True),
        lambda: optim.Adam(beta2=1.0),
        lambda: optim.StepDecay(0.1, every=0),
        lambda: optim.CosineWithWarmup(0.1, steps=10, warmup=10),
    ],
)
def test_hyper_parameters_that_make_no_sense_are_refused(build: Any) -> None:
    with pytest.raises(ValueError, match=r"SGD|Adam|StepDecay|CosineWithWarmup"):
        build()
