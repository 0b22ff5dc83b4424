"""What NumPy's compiler replays is what the function does, bit by bit, and it says where it cannot."""

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from cases import BATCH, LAYERS, LOSSES, METRICS, OPTIMIZERS, Case, LossCase, MetricCase

from mlp_xp import nn, optim, train
from mlp_xp.backends import blocks, compiled, on_numpy, select
from mlp_xp.backends.compiled import Compiled
from mlp_xp.backends.on_numpy import NumPyBackend
from mlp_xp.backends.program import Program
from mlp_xp.backends.tape import leaves, mapped

pytestmark = pytest.mark.usefixtures("recorded_at_once")
XP = select("numpy").xp
X, LABELS = np.random.default_rng(0).normal(size=(11, 3)), np.arange(11) % 3


@contextmanager
def as_it_is() -> Iterator[None]:
    """Nothing is compiled."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NumPyBackend, "compile", lambda self, function, donate=(): function)
        yield


def assert_the_same(make: Any, x: np.ndarray, y: np.ndarray, **more: Any) -> train.Trainer:
    """Two trainers, one recorded from the first step on, go the same way; gives that one."""
    with as_it_is():
        plain = make()
        plain.fit(x, y, epochs=4, batch_size=4, progress=False, **more)
    recorded = make()
    recorded.fit(x, y, epochs=4, batch_size=4, progress=False, **more)
    step = recorded._training_step
    assert isinstance(step, Compiled) and step.reason == ""
    mine, theirs = recorded.state, plain.state
    for one, other in zip((mine.flat, *mine.slots), (theirs.flat, *theirs.slots), strict=True):
        np.testing.assert_array_equal(one, other)
    if theirs.buffers is not None:
        np.testing.assert_array_equal(mine.buffers, theirs.buffers)
    for name in plain.history.records[0]:
        if name != "seconds":
            assert recorded.history[name] == plain.history[name]
    return recorded


def net(*layers: nn.Layer, optimizer: optim.Optimizer | None = None, **more: Any) -> train.Trainer:
    return train.Trainer(
        nn.Sequential(*layers), nn.SoftmaxCrossEntropy(), optimizer or optim.Adam(0.05), backend="numpy", **more
    )


TRAINED = {name: case for name, case in LAYERS.items() if case.layer.differentiable}


@pytest.mark.parametrize("case", TRAINED.values(), ids=TRAINED.keys())
def test_every_layer(case: Case) -> None:
    x = np.concatenate([case.inputs(), case.inputs(2)])
    width = case.layer.output_features(x.shape[1] if x.ndim == 2 else x.shape[1:])
    assert_the_same(lambda: net(case.layer, nn.Linear(width, 3)), x, np.arange(len(x)) % 3)


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def test_every_optimizer(monkeypatch: pytest.MonkeyPatch, optimizer: optim.Optimizer) -> None:
    def make() -> train.Trainer:
        return net(nn.Linear(3, 5), nn.BatchNorm(5), nn.Tanh(), nn.Linear(5, 3), optimizer=optimizer)

    assert_the_same(make, X, LABELS)
    monkeypatch.setattr(on_numpy, "find_spec", lambda name: None)
    monkeypatch.setattr(blocks, "BLOCK", 50)
    assert_the_same(make, X, LABELS)


def replay(function: Any, *calls: tuple[Any, ...], donate: tuple[int, ...] = ()) -> Compiled:
    """Call it with each of these arguments, recorded in the first; all results must be what the function gives."""
    with np.errstate(all="ignore"):
        recorded = Compiled(function, donate)
        results = []
        for arguments in calls:
            expected = function(*copied(arguments))
            found = recorded(*copied(arguments))
            for one, other in zip(leaves(found), leaves(expected), strict=True):
                np.testing.assert_array_equal(one, other)
            results.append((found, expected))
        if not donate:  # what one call gave is not touched by the next
            for found, expected in results:
                for one, other in zip(leaves(found), leaves(expected), strict=True):
                    np.testing.assert_array_equal(one, other)
    return recorded


def copied(tree: Any) -> Any:
    return mapped(tree, lambda leaf: leaf.copy() if isinstance(leaf, np.ndarray) else leaf)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("case", LOSSES.values(), ids=LOSSES.keys())
def test_every_loss(case: LossCase, weighted: bool) -> None:
    def function(y: Any, target: Any, weight: Any) -> Any:
        return case.loss(XP, y, target, weight), case.loss.mass(XP, y, target, weight)

    rng = np.random.default_rng(1)
    weight = np.arange(1.0, BATCH + 1) if weighted else None
    calls = [(rng.uniform(0.1, 0.9, (BATCH, 4)), case.target, weight) for _ in range(3)]
    assert replay(function, *calls).reason == ""


@pytest.mark.parametrize("case", METRICS.values(), ids=METRICS.keys())
def test_every_metric(case: MetricCase) -> None:
    if not case.metric.by_batches:
        return  # it is no part of a step
    rng = np.random.default_rng(1)
    columns = case.kind in ("multilabel", "numbers")
    start = case.metric.start(XP, np.zeros(0), case.outputs)

    def function(kept: Any, y: Any, target: Any, weight: Any) -> Any:
        return case.metric.update(XP, kept, y, target, weight)

    calls = []
    for _ in range(3):
        target = rng.integers(0, max(case.outputs, 2), size=(6, case.outputs) if columns else 6)
        if columns or case.outputs == 1:
            target = target.reshape(6, -1).astype(float)
        calls.append((start, rng.uniform(size=(6, case.outputs)), target, rng.uniform(size=6)))
    assert replay(function, *calls).reason == ""


def test_a_step_allocates_nothing_that_grows_with_the_net(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_numpy, "find_spec", lambda name: None)  # numba's compiler allocates much, once
    trainer = net(nn.Linear(300, 400), nn.ReLU(), nn.Linear(400, 300), nn.ReLU(), nn.Linear(300, 3))
    peaks = []

    class Watched(train.Callback):
        def on_step(self, trainer: train.Trainer) -> None:
            if trainer.step >= 4:
                peaks.append(tracemalloc.get_traced_memory()[1] - before[0])
            tracemalloc.reset_peak()
            before[0] = tracemalloc.get_traced_memory()[0]

    before, x = [0], np.random.default_rng(0).normal(size=(160, 300)).astype(np.float32)
    tracemalloc.start()
    try:
        trainer.fit(x, np.arange(160) % 3, epochs=1, batch_size=16, progress=False, callbacks=Watched())
    finally:
        tracemalloc.stop()
    assert len(peaks) == 7 and max(peaks) < 100_000 < 4 * 300 * 400  # NumPy's buffers for broadcasting take 26 KB


def test_joined_parts_are_computed_where_they_lie() -> None:
    def function(x: Any, y: Any) -> Any:
        product, total = x.mT @ y, XP.sum(y, axis=0)
        return XP.concat([product, np.zeros(3), total, np.ones(2)], axis=None) * 1.0

    rng = np.random.default_rng(0)
    recorded = replay(function, *((rng.normal(size=(4, 5)), rng.normal(size=(4, 2))) for _ in range(3)))
    (program,) = recorded._found.values()
    assert isinstance(program, Program) and "copyto" not in program.source


def test_arrays_in_a_list_are_recorded() -> None:
    assert replay(lambda x: XP.stack([x, x * 2.0]), (np.ones(3),), (np.zeros(3),)).reason == ""


def test_arrays_put_in_place_of_the_state_are_taken() -> None:
    rng = np.random.default_rng(0)

    def function(p: Any, x: Any, rate: Any) -> Any:
        half = p[2:6]
        return p - rate * XP.sum(x @ XP.reshape(half, (2, 2))), XP.max(x)

    recorded = Compiled(function, (0,))
    p, x = rng.normal(size=8), rng.normal(size=(3, 2))
    for number in range(12):
        if number in (6, 9):
            p = rng.normal(size=8)
        if number == 10:
            p = rng.normal(size=16)[::2]  # with gaps
        expected = function(p, x, 0.5 + number)
        p, largest = recorded(p, x, 0.5 + number)
        np.testing.assert_array_equal(p, expected[0])
        assert largest == expected[1]
    assert recorded.reason == "" and isinstance(next(iter(recorded._found.values())), Program)


def test_other_shapes_dtypes_and_kinds_of_arguments_have_programs_of_their_own() -> None:
    def function(x: Any, weight: Any, scale: Any) -> Any:
        return x * scale if weight is None else x * weight * scale

    ones = np.ones(3)
    calls = [(ones, None, 2.0), (ones, ones, 2.0), (np.ones(4), None, 2.0), (ones.astype("float32"), None, 3.0)]
    calls += [(ones, None, 3), *calls]
    assert len(replay(function, *calls)._found) == 5


def test_only_the_last_signatures_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "PROGRAMS", 2)
    recorded = replay(lambda x: x + x, *((np.ones(size),) for size in (1, 2, 3, 1, 2, 3)))
    assert len(recorded._found) == 2


def test_rare_calls_are_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "EAGER_CALLS", 4)
    recorded = Compiled(lambda x: x + 1.0, (0,))
    for count in range(5):
        assert not any(isinstance(each, Program) for each in recorded._found.values()), count
        recorded(np.ones(3))
    assert isinstance(recorded._found.popitem()[1], Program)
    recorded(np.ones(100_000))  # a large one is at once
    assert isinstance(recorded._found.popitem()[1], Program)


COUNT = [0]


def looks(x: Any) -> Any:
    return x * 2.0 if float(XP.sum(x)) > 0 else x


def decides(x: Any, number: Any = 1.0) -> Any:
    return x * number if number > 0 else x


def counts(x: Any) -> Any:
    COUNT[0] += 1
    return x * COUNT[0] * 1.0


def draws(x: Any) -> Any:
    return x + np.random.default_rng().normal(size=3)


def masks(x: Any) -> Any:
    return x[x > 0]


def swaps(x: Any, y: Any) -> Any:
    return y, x


@pytest.mark.parametrize(
    ("function", "arguments", "reason"),
    [
        (looks, (np.ones(3),), "asks for the numbers in an array"),
        (decides, (np.ones(3), 2.0), "numpy.greater of Python numbers"),
        (draws, (np.ones(3),), "does not do the same in every call"),
        (counts, (np.ones(3),), "does not do the same in every call"),
        (masks, (np.ones(3),), "an array as an index"),
        (swaps, (np.ones(3), np.zeros(3)), "take the place of another"),
        (lambda x: XP.asarray(x), (np.ones(3),), "asks for the numbers in an array"),
        (lambda x: np.cumsum(x, out=x), (np.ones(3),), "numpy.cumsum with out"),
        (lambda x: np.add.accumulate(x), (np.ones(3),), "numpy.add.accumulate"),
        (lambda x: np.divmod(x, 2.0)[0], (np.ones(3),), "not one array"),
        (lambda x: x.unheard_of(), (np.ones(3),), "AttributeError: 'Value' object has no attribute 'unheard_of'"),
        (lambda x: x * 2.0, ({"x": np.ones(3)},), "an argument is a dict"),
    ],
)
def test_what_cannot_be_recorded_is_run_as_it_is_and_said_why(function: Any, arguments: Any, reason: str) -> None:
    recorded = Compiled(function, tuple(range(len(arguments))))
    for _ in range(3):
        try:
            recorded(*arguments)
        except (AttributeError, TypeError):
            assert isinstance(arguments[0], dict) or "AttributeError" in reason  # that of the function itself
    assert reason in recorded.reason


def test_a_layer_that_is_not_pure_is_trained_as_it_is() -> None:
    class Sampled(nn.Tanh):
        def forward(self, xp: Any, p: Any, x: Any, ctx: Any) -> Any:
            return super().forward(xp, p, x + np.random.default_rng(len(COUNT)).normal(size=x.shape), ctx)

    COUNT.append(0)

    class Counted(nn.Tanh):
        def forward(self, xp: Any, p: Any, x: Any, ctx: Any) -> Any:
            COUNT.append(0)
            return super().forward(xp, p, x * float(len(COUNT)), ctx)

    for layer, reason in ((Sampled(), ""), (Counted(), "must be a pure function")):
        trainer = net(nn.Linear(3, 4), layer, nn.Linear(4, 3))
        trainer.fit(X, LABELS, epochs=8, batch_size=4, progress=False)
        assert reason in trainer._training_step.reason


@pytest.mark.parametrize("shape", [(64, 32), (3, 1024), (7, 5)])
def test_a_comparison_with_a_number(shape: tuple[int, int]) -> None:
    def function(p: Any, x: Any) -> Any:
        low, high = XP.maximum(x @ p, -0.25), XP.minimum(0.5, x @ p)
        return p - XP.maximum(p, 0.0), low, high, XP.maximum(low, x @ p)

    rng = np.random.default_rng(0)
    calls = []
    for _ in range(3):
        x = rng.normal(size=shape)
        x[1, 2] = np.nan
        calls.append((rng.normal(size=(shape[1], shape[1])), x))
    recorded = replay(function, *calls, donate=(0,))
    (program,) = recorded._found.values()
    assert isinstance(program, Program) and ("rows_" in program.source) == (shape != (7, 5))


def test_a_mask_is_written_as_numbers_at_once() -> None:
    """Where nothing else reads the comparison, and the numbers are floating-point ones."""

    def function(p: Any, x: Any) -> Any:
        read_twice = x < p
        return (
            p * 0.5,
            XP.astype(x > 0.0, x.dtype),
            XP.astype(XP.not_equal(x, p), x.dtype) * p,
            XP.where(read_twice, XP.astype(read_twice, x.dtype), p),
            XP.astype(x >= p, XP.int32),
        )

    rng = np.random.default_rng(0)
    calls = [(rng.normal(size=(4, 5)), rng.integers(-2, 3, size=(4, 5)) / 2) for _ in range(3)]
    calls[1][1][2, 3] = np.nan
    (program,) = replay(function, *calls, donate=(0,))._found.values()
    assert isinstance(program, Program)
    assert program.source.count("'unsafe'") == 2  # of the comparison that is read twice, and of the whole numbers
