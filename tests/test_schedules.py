"""Schedules step by step against torch.optim.lr_scheduler, or where PyTorch has none against the published formula."""

import math
from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from cases import without_case

from mlp_xp import optim
from mlp_xp.nn.config import from_config, to_config
from mlp_xp.optim import (
    Chained,
    Constant,
    Cosine,
    CosineRestarts,
    CosLog,
    Exponential,
    FlatThenCosine,
    InverseSqrt,
    MultiStep,
    OneCycle,
    Polynomial,
    Scaled,
    StepDecay,
    Warmup,
)
from mlp_xp.schedules import at

LR = 0.3
"""The learning rate that the schedulers of PyTorch start from."""


@dataclass
class Torch:
    """A schedule, and how PyTorch builds the same from (torch.optim.lr_scheduler, optimizer) for `steps` steps."""

    schedule: optim.Schedule
    build: Callable[[Any, Any], Any]
    steps: int = 60
    of: str = "lr"


@dataclass
class Formula:
    """A schedule, and the published formula."""

    schedule: optim.Schedule
    formula: Callable[[int], float]


TORCH = {
    "Constant": Torch(Constant(LR), lambda lrs, o: lrs.ConstantLR(o, factor=1.0)),
    "StepDecay": Torch(StepDecay(LR, every=7, factor=0.4), lambda lrs, o: lrs.StepLR(o, 7, 0.4)),
    "MultiStep": Torch(MultiStep(LR, (5, 9, 30), factor=0.5), lambda lrs, o: lrs.MultiStepLR(o, [5, 9, 30], 0.5)),
    "Exponential": Torch(Exponential(LR, 0.93), lambda lrs, o: lrs.ExponentialLR(o, 0.93)),
    "Exponential, rising": Torch(Exponential(LR, 1.1), lambda lrs, o: lrs.ExponentialLR(o, 1.1)),
    "Polynomial": Torch(Polynomial(LR, 25, power=2.5), lambda lrs, o: lrs.PolynomialLR(o, 25, 2.5)),
    "Polynomial, a line upwards": Torch(
        Polynomial(0.2 * LR, 25, final=LR), lambda lrs, o: lrs.LinearLR(o, start_factor=0.2, total_iters=25)
    ),
    "Polynomial, a line downwards": Torch(
        Polynomial(LR, 25, final=0.1 * LR), lambda lrs, o: lrs.LinearLR(o, 1.0, end_factor=0.1, total_iters=25)
    ),
    # After its end that of PyTorch goes up again.
    "Cosine": Torch(Cosine(LR, 40, final=0.01), lambda lrs, o: lrs.CosineAnnealingLR(o, 40, 0.01), steps=41),
    "CosineRestarts": Torch(
        CosineRestarts(LR, 9, final=0.01), lambda lrs, o: lrs.CosineAnnealingWarmRestarts(o, 9, 1, 0.01)
    ),
    "CosineRestarts, growing": Torch(
        CosineRestarts(LR, 5, growth=3), lambda lrs, o: lrs.CosineAnnealingWarmRestarts(o, 5, 3), steps=300
    ),
    "FlatThenCosine": Torch(
        FlatThenCosine(LR, 50, flat=0.4, final=0.02),
        lambda lrs, o: lrs.SequentialLR(
            o, [lrs.ConstantLR(o, factor=1.0), lrs.CosineAnnealingLR(o, 30, 0.02)], milestones=[20]
        ),
        steps=51,
    ),
    "OneCycle": Torch(
        OneCycle(LR / 25, LR, LR / 25e4, steps=60), lambda lrs, o: lrs.OneCycleLR(o, LR, 60, cycle_momentum=True)
    ),
    "OneCycle of the momentum": Torch(
        OneCycle(0.95, 0.85, 0.95, steps=60), lambda lrs, o: lrs.OneCycleLR(o, LR, 60), of="momentum"
    ),
    "OneCycle, linear": Torch(
        OneCycle(LR / 10, LR, LR / 1000, steps=47, rise=0.4, anneal="linear"),
        lambda lrs, o: lrs.OneCycleLR(
            o, LR, 47, pct_start=0.4, anneal_strategy="linear", div_factor=10, final_div_factor=100
        ),
        steps=47,
    ),
    "OneCycle, three phases": Torch(
        OneCycle(LR / 25, LR, LR / 25e4, steps=60, rise=0.35, three_phase=True),
        lambda lrs, o: lrs.OneCycleLR(o, LR, 60, pct_start=0.35, three_phase=True),
    ),
    "OneCycle of the momentum, three phases": Torch(
        OneCycle(0.95, 0.85, 0.95, steps=60, rise=0.35, three_phase=True),
        lambda lrs, o: lrs.OneCycleLR(o, LR, 60, pct_start=0.35, three_phase=True),
        of="momentum",
    ),
    "Warmup": Torch(
        Warmup(Cosine(LR, 30), 10, start=0.25),
        lambda lrs, o: lrs.SequentialLR(
            o, [lrs.LinearLR(o, 0.25, total_iters=10), lrs.CosineAnnealingLR(o, 30)], milestones=[10]
        ),
        steps=40,
    ),
    "Warmup of a number": Torch(Warmup(LR, 20, start=0.1), lambda lrs, o: lrs.LinearLR(o, 0.1, total_iters=20)),
    "Chained": Torch(
        Chained((0.5 * LR, Exponential(LR, 0.9), StepDecay(LR, 5)), (6, 20)),
        lambda lrs, o: lrs.SequentialLR(
            o, [lrs.ConstantLR(o, 0.5, 100), lrs.ExponentialLR(o, 0.9), lrs.StepLR(o, 5)], milestones=[6, 20]
        ),
    ),
    "Scaled": Torch(
        Scaled(Exponential(LR, 0.97), StepDecay(1.0, 10, 0.5)),
        lambda lrs, o: lrs.ChainedScheduler([lrs.ExponentialLR(o, 0.97), lrs.StepLR(o, 10, 0.5)]),
    ),
    "Scaled, a number": Torch(Scaled(LR, 0.2), lambda lrs, o: lrs.ConstantLR(o, 0.2, 100)),
}

# Vaswani et al. (2017), section 5.3, with d_model = 512 and warmup_steps = 30; steps count from 1 there.
# Holzmüller et al. (2024), appendix: t is the share of the training that is done.
FORMULAS = {
    "InverseSqrt": Formula(
        InverseSqrt(512**-0.5 * 30**-0.5, warmup=30),
        lambda t: 512**-0.5 * min((t + 1) ** -0.5, (t + 1) * 30**-1.5),
    ),
    "FlatThenCosine, as flat_cos": Formula(
        FlatThenCosine(0.1, 80), lambda t: 0.1 * 0.5 * (1 + np.cos(np.pi * (max(1, 2 * min(t / 80, 1)) - 1)))
    ),
    "CosLog, as coslog_4": Formula(
        CosLog(0.1, 80), lambda t: 0.1 * 0.5 * (1 - np.cos(2 * np.pi * np.log2(1 + 15 * min(t / 80, 1))))
    ),
    "Warmup, no update lost": Formula(
        Warmup(Cosine(1.0, 20, final=0.1), 10),
        lambda t: (t + 1) / 11 if t < 10 else 0.1 + 0.9 * (1 + np.cos(np.pi * min(t - 10, 20) / 20)) / 2,
    ),
}

SCHEDULES = {name: case.schedule for cases in (TORCH, FORMULAS) for name, case in cases.items()}
all_schedules = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES.keys())


def test_every_public_schedule_has_a_case() -> None:
    assert without_case(optim, optim.Schedule, SCHEDULES) == set()


@pytest.mark.parametrize("case", TORCH.values(), ids=TORCH.keys())
def test_every_step_is_that_of_pytorch(case: Torch) -> None:
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=LR, momentum=0.5)
    theirs = case.build(torch.optim.lr_scheduler, optimizer)
    for t in range(case.steps):
        assert case.schedule(t) == pytest.approx(optimizer.param_groups[0][case.of], rel=1e-10, abs=1e-16), t
        optimizer.step()
        if t < case.steps - 1:
            theirs.step()


@pytest.mark.parametrize("case", FORMULAS.values(), ids=FORMULAS.keys())
def test_every_step_is_that_of_the_formula(case: Formula) -> None:
    for t in range(120):
        assert case.schedule(t) == pytest.approx(case.formula(t), rel=1e-12, abs=1e-15), t


@pytest.mark.parametrize(
    ("schedule", "first", "end", "final"),
    [
        (MultiStep(0.3, (4, 8), 0.5), 0.3, 8, 0.075),
        (Polynomial(0.3, 10, power=3, final=0.01), 0.3, 10, 0.01),
        (Cosine(0.3, 10, final=0.01), 0.3, 10, 0.01),
        (Cosine(0.01, 10, final=0.3), 0.01, 10, 0.3),
        (FlatThenCosine(0.3, 10, flat=0.7, final=0.01), 0.3, 10, 0.01),
        (FlatThenCosine(0.3, 10, flat=0.0), 0.3, 10, 0.0),
        (CosLog(0.3, 10), 0.0, 10, 0.0),
        (OneCycle(0.012, 0.3, 1e-6, steps=11), 0.012, 10, 1e-6),
        (OneCycle(0.95, 0.85, 0.9, steps=20, anneal="linear", three_phase=True), 0.95, 19, 0.9),
        (Warmup(Cosine(0.3, 10, final=0.01), 5, start=0.1), 0.03, 15, 0.01),
        (Chained((Cosine(0.3, 10), Polynomial(0.2, 10, final=0.1)), (12,)), 0.3, 22, 0.1),
        (Scaled(Cosine(0.3, 10, final=0.1), 2), 0.6, 10, 0.2),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, optim.Schedule) else None,
)
def test_it_begins_and_ends_exactly_and_stays_there(
    schedule: optim.Schedule, first: float, end: int, final: float
) -> None:
    assert schedule(0) == first
    assert schedule(end) == schedule(end + 1) == schedule(10 * end) == schedule(10**9) == final
    assert schedule(end - 1) != final


def test_the_peak_of_a_cycle_and_the_waves_of_cos_log_are_where_they_should_be() -> None:
    cycle = OneCycle(0.1, 0.8, 0.0, steps=50, rise=0.2)
    assert cycle(9) == max(cycle(t) for t in range(50)) == 0.8
    waves = CosLog(0.4, steps=1500, cycles=4)
    zeros = [t for t in range(1501) if waves(t) < 1e-20]
    assert zeros == [0, 100, 300, 700, 1500]
    for left, right in pairwise(zeros):
        assert max(waves(t) for t in range(left, right)) == pytest.approx(0.4, rel=1e-3)


def test_restarts_begin_anew_forever() -> None:
    same, growing = CosineRestarts(0.3, 10, final=0.1), CosineRestarts(0.3, 10, growth=2)
    assert [t for t in range(1, 100) if same(t) == 0.3] == list(range(10, 100, 10))
    assert [t for t in range(1, 700) if growing(t) == 0.3] == [10, 30, 70, 150, 310, 630]
    assert same(10**12) == 0.3
    assert growing(10 * (2**50 - 1)) == 0.3


@all_schedules
def test_it_is_a_pure_function_that_gives_a_python_number_at_any_step(schedule: optim.Schedule) -> None:
    steps = [*range(150), 10**4]
    first = [schedule(t) for t in steps]
    assert all(type(value) is float and value >= 0 for value in first)
    assert [schedule(t) for t in reversed(steps)] == first[::-1]
    name = fields(schedule)[0].name  # type: ignore[arg-type]
    with pytest.raises(FrozenInstanceError):
        setattr(schedule, name, 1.0)


@all_schedules
def test_it_is_plain_data_and_back(schedule: optim.Schedule) -> None:
    again = from_config(to_config(schedule, [optim]), [optim])
    assert again == schedule and hash(again) == hash(schedule)
    assert [again(t) for t in range(50)] == [schedule(t) for t in range(50)]


def test_numbers_of_numpy_and_lists_become_pythons() -> None:
    rounded = Cosine(np.float32(0.1), np.int64(9))  # type: ignore[arg-type]
    assert type(rounded.value) is float and type(rounded.steps) is int and type(rounded(3)) is float
    chain: Any = Chained([1, Scaled(np.float32(0.5), 2)], [np.int32(4)])  # type: ignore[arg-type]
    assert chain == Chained((1.0, Scaled(0.5, 2.0)), (4,)) and len({chain, Chained((1.0, Scaled(0.5, 2.0)), (4,))}) == 1
    assert MultiStep(0.1, [3, 5]) == MultiStep(0.1, (3, 5))  # type: ignore[arg-type]


def test_growth_without_end_is_infinite_and_no_error() -> None:
    assert Exponential(1e-7, 1.5)(10**5) == StepDecay(1.0, 1, factor=2)(10**5) == math.inf


def test_schedules_are_nested_at_will() -> None:
    cycle = Chained((Warmup(Cosine(1.0, 8), 2), 0.25, Scaled(Polynomial(1.0, 4), 0.5)), (10, 12))
    expected = [1 / 3, 2 / 3, *(Cosine(1.0, 8)(t) for t in range(8)), 0.25, 0.25, 0.5, 0.375, 0.25, 0.125, 0.0, 0.0]
    assert [cycle(t) for t in range(18)] == pytest.approx(expected, rel=1e-15)


def test_a_number_is_a_schedule_that_does_not_change() -> None:
    assert at(0.1, 10) == at(Constant(0.1), 10) == 0.1
    assert at(Polynomial(0.1, 20), 10) == 0.05


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Constant(math.nan), "Constant(value=nan)"),
        (lambda: Constant("0.1"), "Constant(value='0.1')"),  # type: ignore[arg-type]
        (lambda: StepDecay(math.inf, 10), "StepDecay(value=inf)"),
        (lambda: StepDecay(0.1, every=0), "StepDecay(every=0)"),
        (lambda: StepDecay(0.1, 10, factor=-0.5), "StepDecay(factor=-0.5)"),
        (lambda: MultiStep(0.1, (5, 5)), "MultiStep(milestones=(5, 5))"),
        (lambda: MultiStep(0.1, (0, 5)), "MultiStep(milestones=(0, 5))"),
        (lambda: MultiStep(0.1, (1.5,)), "MultiStep(milestones=(1.5,))"),  # type: ignore[arg-type]
        (lambda: MultiStep(0.1, (5,), factor=-1.0), "MultiStep(factor=-1.0)"),
        (lambda: Exponential(0.1, -0.9), "Exponential(factor=-0.9)"),
        (lambda: Polynomial(0.1, 10, power=0), "Polynomial(power=0.0)"),
        (lambda: Polynomial(0.1, -1), "Polynomial(steps=-1)"),
        (lambda: Cosine(0.1, 10.5), "Cosine(steps=10.5)"),  # type: ignore[arg-type]
        (lambda: Cosine(0.1, 10, final=math.nan), "Cosine(final=nan)"),
        (lambda: CosineRestarts(0.1, 10, growth=0), "CosineRestarts(growth=0)"),
        (lambda: FlatThenCosine(0.1, 10, flat=1.0), "FlatThenCosine(flat=1.0)"),
        (lambda: FlatThenCosine(0.1, 10, flat=-0.1), "FlatThenCosine(flat=-0.1)"),
        (lambda: CosLog(0.1, 10, cycles=0), "CosLog(cycles=0)"),
        (lambda: InverseSqrt(0.1, 0), "InverseSqrt(warmup=0)"),
        (lambda: OneCycle(0.1, 1.0, 0.0, steps=10, rise=0.1), "OneCycle(steps=10, rise=0.1, three_phase=False)"),
        (lambda: OneCycle(0.1, 1.0, 0.0, steps=10, rise=1.0), "OneCycle(steps=10, rise=1.0, three_phase=False)"),
        (
            lambda: OneCycle(0.1, 1.0, 0.0, steps=10, rise=0.6, three_phase=True),
            "OneCycle(steps=10, rise=0.6, three_phase=True)",
        ),
        (lambda: OneCycle(0.1, 1.0, 0.0, steps=10, anneal="sine"), "OneCycle(anneal='sine')"),
        (lambda: Warmup(Constant(0.1), 0), "Warmup(steps=0)"),
        (lambda: Warmup(None, 5), "Warmup(schedule=None)"),  # type: ignore[arg-type]
        (lambda: Warmup(0.1, 5, start=math.inf), "Warmup(start=inf)"),
        (lambda: Chained((0.1, 0.2), ()), "Chained: 2 schedules need 1 milestones, not 0"),
        (lambda: Chained((0.1, 0.2, 0.3), (5, 4)), "Chained(milestones=(5, 4))"),
        (lambda: Chained((0.1, "x"), (5,)), "Chained(schedules='x')"),  # type: ignore[arg-type]
        (lambda: Scaled(0.1, math.nan), "Scaled(factor=nan)"),
        (lambda: Scaled([0.1], 2.0), "Scaled(value=[0.1])"),  # type: ignore[arg-type]
    ],
)
def test_what_makes_no_sense_is_refused(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        build()
    assert str(caught.value).startswith(message)
