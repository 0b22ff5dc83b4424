"""Whole steps of PyTorch as CUDA graphs: captured and replayed, they do what the step does as it is written."""

import gc
from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import ref

import numpy as np
import pytest
import torch
from cases import BATCH, LAYERS, LOSSES, OPTIMIZERS, Case
from graph_on_host import Elsewhere, GraphedOnHost, OnHost, OnShapes, Pretended
from helpers import assert_close
from torch._subclasses.fake_tensor import FakeTensorMode

from mlp_xp import backends, nn, optim, train
from mlp_xp.backends import cuda_graph
from mlp_xp.backends.cuda_graph import GRAPHS, Cuda, Graphed
from mlp_xp.train.step import Data, State, training_step, zero_totals

RNG = np.random.default_rng(0)
X, LABELS = RNG.normal(size=(18, 4)), np.arange(18) % 3
TRAINED = {name: case for name, case in LAYERS.items() if case.layer.differentiable}
NET = (nn.Linear(4, 5), nn.BatchNorm(5), nn.ReLU(), nn.Dropout(optim.Cosine(0.5, 12, 0.1)), nn.Linear(5, 3))
RATE = optim.Exponential(0.1, 0.8)


def new(backend: Any, *layers: nn.Layer, optimizer: Any = None, dtype: str = "float64", **more: Any) -> train.Trainer:
    model, loss = nn.Sequential(*(layers or NET)), nn.SoftmaxCrossEntropy()
    return train.Trainer(model, loss, optimizer or optim.Adam(0.02), backend=backend, dtype=dtype, **more)


def fit(trainer: train.Trainer, x: Any = X, y: Any = LABELS, **more: Any) -> train.Trainer:
    """Three epochs of four batches of four rows, and one of two."""
    trainer.fit(x, y, **{"epochs": 3, "batch_size": 4, "progress": False} | more)
    return trainer


def graphs(trainer: train.Trainer) -> int:
    """How many have been captured."""
    return trainer._training_step._device.graphs


def assert_same_state(found: train.Trainer, expected: train.Trainer, factor: float = 64) -> None:
    mine, theirs = ([state.flat, *state.slots, state.buffers] for state in (found.state, expected.state))
    for one, other in zip(mine, theirs, strict=True):
        if other is not None:
            assert_close(
                *(trainer.backend.to_host(each) for trainer, each in ((found, one), (expected, other))),
                factor,
                found.dtype,
            )


def assert_same_way(backend: Any, *layers: nn.Layer, x: Any = X, y: Any = LABELS, **more: Any) -> train.Trainer:
    """The graph goes the way of the step as it is written; gives the trainer with the graph."""
    found, expected = (fit(new(backend, *layers, **more, compile=compile), x, y) for compile in ("auto", False))
    assert found.fallback == "" and hasattr(found._training_step, "_graphs")
    assert not hasattr(expected._training_step, "_graphs")
    assert_same_state(found, expected)
    for name in found.history.records[0].keys() - {"seconds"}:
        np.testing.assert_allclose(
            found.history[name], expected.history[name], rtol=1e-6 if "32" in found.dtype else 1e-13
        )
    return found


RUNS: dict[str, dict[str, Any]] = {
    "Adam": {},
    "SGD, momentum, a schedule": {"optimizer": optim.SGD(RATE, momentum=0.9)},
    "an L2 penalty": {"l2": 0.1},
    "metrics": {"metrics": [train.Accuracy(), train.ConfusionMatrix(), train.LogLoss()]},
    "float32": {"dtype": "float32", "l2": 0.1, "optimizer": optim.Rprop(0.01)},
    **{each: {"dtype": "float32", "precision": each} for each in ("bf16-mixed", "fp16-mixed", "tf32")},
}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_goes_the_same_way(name: str) -> None:
    assert graphs(assert_same_way(GraphedOnHost(), **RUNS[name])) == 2  # of whole batches, and of the rest


@pytest.mark.gpu
@pytest.mark.parametrize("name", RUNS)
def test_so_it_does_on_a_gpu(get_backend: Any, name: str) -> None:
    assert_same_way(get_backend("torch:cuda"), **RUNS[name])


@pytest.mark.parametrize("name", TRAINED)
def test_every_layer(name: str) -> None:
    assert_every_layer(GraphedOnHost(), TRAINED[name])


@pytest.mark.gpu
@pytest.mark.parametrize("name", TRAINED)
def test_every_layer_on_a_gpu(get_backend: Any, name: str) -> None:
    assert_every_layer(get_backend("torch:cuda"), TRAINED[name])


def assert_every_layer(backend: Any, case: Case) -> None:
    x = np.concatenate([case.inputs(), case.inputs(2)])
    last = nn.Linear(case.layer.output_features(case.features), 3)
    assert_same_way(backend, case.layer, last, x=x, y=np.arange(len(x)) % 3)


SCHEDULED = [layer(optim.Cosine(0.5, 12, 0.1)) for layer in (nn.Dropout, nn.AlphaDropout, nn.GaussianNoise)]


@pytest.mark.parametrize("layer", SCHEDULED, ids=repr)
def test_noise_on_a_schedule(layer: nn.Layer) -> None:
    for dtype in ("float32", "float64"):
        assert_same_way(GraphedOnHost(), nn.Linear(4, 5), layer, nn.Linear(5, 3), dtype=dtype)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer(name: str) -> None:
    if not OPTIMIZERS[name].full_batch:  # whose line search asks for numbers
        assert_same_way(GraphedOnHost(), optimizer=OPTIMIZERS[name])


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss(name: str) -> None:
    case, backend = LOSSES[name], backends.select("torch")
    for weight in (None, np.arange(1.0, BATCH + 1)):
        y = np.random.default_rng(1).uniform(0.1, 0.9, (BATCH, 4))
        data = tuple(None if each is None else backend.from_host(each) for each in (y, case.target, weight))
        step = Graphed(torch, OnHost(), lambda state, data, index, settings: case.loss(backend.xp, *data))
        found = step((torch.zeros((), dtype=torch.float64), torch.zeros_like(data[0])), data, 0, ())
        assert step.reason == "" and step._graphs
        for one, other in zip(found, case.loss(backend.xp, *data), strict=True):
            assert torch.equal(one, other)


def test_a_graph_is_replayed_with_the_numbers_of_each_step() -> None:
    trainer = fit(new(GraphedOnHost(), optimizer=optim.SGD(RATE)), epochs=1, batch_size=6)
    step = trainer._training_step
    sent = step._device.sent[-3:]
    index, low, high, decay, l1, rate, *_ = zip(*sent, strict=True)
    assert index == (0, 1, 2) and len({*low, *high}) == 6 and set(decay + l1) == {0.0}
    assert rate == pytest.approx([0.1, 0.08, 0.064]) and graphs(trainer) == 1


def test_arrays_stay_in_the_dtype_of_the_parameters() -> None:
    """A number without dimensions, in double precision, makes no array double."""
    trainer = fit(new(GraphedOnHost(), dtype="float32", l2=0.1, optimizer=optim.SGD(RATE, momentum=0.9)))
    for graph in trainer._training_step._graphs.values():
        made = [each for each in graph._graph.results() if each.ndim]
        assert len(made) > 40 and torch.float64 not in {each.dtype for each in made if each is not graph._memory}


def test_it_is_captured_on_a_stream_of_its_own_after_it_has_run_there() -> None:
    cuda = Pretended()
    found = fit(new(GraphedOnHost(lambda: Cuda(cuda.torch(), "the device"))))
    expected = fit(new(GraphedOnHost(), compile=False))
    assert_same_state(found, expected)
    warm_up = ["side waits for main", "on side", "main waits for side"]
    captures = [f"capture on side, thread_local, {pool}" for pool in (None, "its memory")]
    assert cuda.said == [*warm_up * 2, captures[0], *warm_up * 2, captures[1]] and found.fallback == ""


SHAPES: dict[str, tuple[nn.Layer, optim.Optimizer]] = {
    "rectifiers, normalisation, noise": (nn.Sequential(*NET), optim.Adam()),
    "constants": (nn.Sequential(nn.Linear(4, 5), nn.Sigmoid(), nn.Linear(5, 3), nn.HardTanh()), optim.LAMB(RATE)),
    "every option": (nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)), OPTIMIZERS["SGD, every option"]),
}


@pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")
@pytest.mark.parametrize("name", SHAPES)
def test_on_a_gpu_nothing_in_it_would_be_on_the_host(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """With tensors that say that they are on a GPU, and have no numbers."""
    model, rule = SHAPES[name]
    for method in ("_check", "_distances"):
        monkeypatch.setattr(Graphed, method, lambda *_: [])
    settings = train.Trainer(model, nn.SoftmaxCrossEntropy(), rule, backend="numpy", l2=0.1)._settings(True, 0)
    device, backend, layout = OnShapes(), GraphedOnHost(), nn.Layout(model)
    backend._graphs_on = lambda: device
    with FakeTensorMode(), Elsewhere(), torch.no_grad():
        backend.device = torch.device("cuda:0")
        zeros = partial(torch.zeros, device=backend.device)
        loss, metrics = nn.SoftmaxCrossEntropy(class_weight=(0.5, 1.0, 2.0)), (train.Accuracy(), train.LogLoss())
        step: Any = training_step(backend, model, layout, loss, rule, metrics, "float32")
        flat, buffers = zeros(layout.size), zeros(layout.buffers.size) if layout.buffers.entries else None
        totals = zero_totals(backend.xp, loss, metrics, zeros(0), 3)
        state = State(flat, rule.start(backend.xp, flat), buffers, totals)
        data = Data(zeros(18, 4), zeros(18, dtype=torch.int32), None, zeros(4, 4, dtype=torch.int32))
        vectors = tuple(None if each is None else torch.zeros_like(flat) for each in settings.vectors)
        step(state, data, 1, settings._replace(vectors=vectors))
    assert step.reason == "" and set(device.places.found) == {"cuda"} and len(device.places.found) > 100


def test_the_state_stays_where_it_is_and_can_be_read_in_between() -> None:
    seen: list[Any] = []

    class Looks(train.Callback):
        def on_step(self, trainer: train.Trainer) -> None:
            seen.append((trainer.state.flat.data_ptr(), trainer.parameters["0.weight"].sum()))

    fit(new(GraphedOnHost()), callbacks=Looks())
    addresses, sums = zip(*seen, strict=True)
    assert len(set(addresses)) == 1 and len(set(sums)) == 15


def test_a_state_that_is_put_in_is_taken() -> None:
    runs = []
    for compile in ("auto", False):
        trainer = fit(new(GraphedOnHost(), compile=compile))
        kept, before = trainer.copy_state(), trainer.parameters
        fit(trainer)
        assert all(np.array_equal(trainer.named(kept.flat)[name], before[name]) for name in trainer.named(kept.flat))
        trainer.restore_state(kept)
        assert all(np.array_equal(trainer.parameters[name], before[name]) for name in before)
        fit(trainer)
        trainer.parameters = before
        runs.append(fit(trainer))
    assert_same_state(*runs)
    assert runs[0].fallback == "" and graphs(runs[0]) == 2


def test_arrays_of_a_state_may_change_places() -> None:
    def step(state: Any, data: Any, index: Any, settings: Any) -> Any:
        a, b = state
        return b, a + data

    graphed = Graphed(torch, OnHost(), step)
    one, state = torch.ones(3), (torch.zeros(3), torch.full((3,), 5.0))
    for _ in range(3):
        state = graphed(state, one, 0, ())
    assert [each.tolist() for each in state] == [[6.0] * 3, [2.0] * 3]
    state = graphed((state[1], state[0]), one, 0, ())
    assert [each.tolist() for each in state] == [[6.0] * 3, [3.0] * 3]
    view = state[0][:1].expand(3)
    assert [each.tolist() for each in graphed((state[1], view), one, 0, ())] == [[6.0] * 3, [4.0] * 3]
    state = graphed(state, torch.ones(1), 0, ())  # another graph, tried beside a step that gives what it was given
    assert [each.tolist() for each in state] == [[4.0] * 3, [7.0] * 3]
    assert graphed.reason == "" and len(graphed._graphs) == 2


def test_early_stopping_and_a_loss_that_is_not_finite_go_back_as_without_a_graph() -> None:
    runs = []
    for compile in ("auto", False):
        stopping = train.EarlyStopping(patience=2)
        trainer = new(GraphedOnHost(), optimizer=optim.Adam(0.3), compile=compile)
        fit(trainer, epochs=20, validation_data=(X, LABELS), callbacks=stopping)
        runs.append((trainer, stopping.best_epoch))
    assert runs[0][1] == runs[1][1] and runs[0][0].fallback == ""
    assert_same_state(runs[0][0], runs[1][0])

    steps = []
    for compile in ("auto", False):
        rule = optim.SGD(optim.Exponential(1.0, 1e10))
        trainer = new(GraphedOnHost(), nn.Linear(4, 3), optimizer=rule, dtype="float32", compile=compile)
        with pytest.raises(train.Diverged) as caught:
            fit(trainer)
        steps.append((caught.value.step, trainer))
    assert steps[0][0] == steps[1][0]
    assert_same_state(steps[0][1], steps[1][1])


FEEDS: dict[str, Callable[[train.Trainer], Any]] = {
    "all rows": lambda trainer: fit(trainer, batch_size=None),
    "rows with weights": lambda trainer: fit(trainer, sample_weight=np.arange(18.0)),
    "a stream": lambda trainer: fit(trainer, feed="stream"),
    "a source": lambda trainer: fit(
        trainer, lambda: iter([(X[:9], LABELS[:9]), (X[9:], LABELS[9:])]), None, batch_size="auto"
    ),
    "other data": lambda trainer: fit(fit(trainer), X[::-1].copy(), LABELS),
    "fit by fit": lambda trainer: [fit(trainer, X + i, LABELS, epochs=1) for i in range(12)],
    "rows that are written over": lambda trainer: [written_over(trainer, x) for x in (torch.asarray(X.copy()),)],
}


def written_over(trainer: train.Trainer, x: Any) -> None:
    for factor in (1.0, 2.0, 0.5):
        fit(trainer, x.mul_(factor))


@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize("name", FEEDS)
def test_whatever_the_rows_come_from(monkeypatch: pytest.MonkeyPatch, name: str, small: bool) -> None:
    if not small:  # what is read where it lies, until another comes
        monkeypatch.setattr(cuda_graph, "SMALL", 0)
    found, expected = (new(GraphedOnHost(), compile=compile) for compile in ("auto", False))
    FEEDS[name](found), FEEDS[name](expected)
    assert_same_state(found, expected)
    assert found.fallback == "" and graphs(found) <= (2 if small else 6)


def test_large_arrays_have_graphs_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graph, "SMALL", 0)
    monkeypatch.setattr(cuda_graph, "LARGE", X[:4].nbytes)  # beyond that are the rows of all batches
    found, expected = (new(GraphedOnHost(), compile=compile) for compile in ("auto", False))
    for trainer in (found, expected):
        sets = [torch.asarray(X + shift) for shift in range(3)]
        for x in (*sets, *sets):
            fit(trainer, x, epochs=2)
    assert_same_state(found, expected)
    assert found.fallback == "" and len(found._training_step._graphs) <= GRAPHS


def test_graphs_of_which_none_is_of_use_again_are_given_up() -> None:
    sizes = range(1, GRAPHS + 4)
    found, expected = (new(GraphedOnHost(), nn.Linear(4, 3), compile=compile) for compile in ("auto", False))
    for trainer in (found, expected):
        fit(trainer, [(X[:size], LABELS[:size]) for size in sizes], None, epochs=1, batch_size="auto")
    assert "every step is given arrays of other shapes" in found.fallback
    assert_same_state(found, expected)


def test_a_graph_keeps_no_data_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graph, "SMALL", 0)
    trainer, x = new(GraphedOnHost(), nn.Linear(4, 3)), torch.asarray(X)
    gone = ref(x)
    fit(trainer, x)
    kept = list(trainer._training_step._graphs.values())
    for graph in kept:
        graph._graph = None  # a tape, other than a graph of CUDA, knows tensors and not addresses
    del x
    gc.collect()
    assert gone() is None and kept


class Odd(nn.Tanh):
    """A layer whose forward does something that no graph does."""

    def __init__(self, odd: Callable[[Any, Any], Any]) -> None:
        object.__setattr__(self, "odd", odd)

    def forward(self, xp: Any, p: Any, x: Any, ctx: Any) -> Any:
        y, saved = super().forward(xp, p, x, ctx)
        return y * self.odd(xp, y), saved


CALLS = [0]


def counted(xp: Any, y: Any) -> float:
    CALLS[0] += 1
    return float(CALLS[0])


NUMBERS = "it asks for the numbers in an array"
ODD: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "a number": (lambda xp, y: float(xp.max(y)), NUMBERS),
    "a decision": (lambda xp, y: 2.0 if xp.max(y) > 0 else 1.0, NUMBERS),
    "a list": (lambda xp, y: xp.max(y).tolist(), "not permitted when stream is capturing: tolist"),
    "a count of its calls": (counted, "its graph gave other numbers than the step as it is written"),
    "constants of its own": (lambda xp, y: xp.asarray([counted(xp, y)], dtype=y.dtype), "must be a pure function"),
    "numbers of its own": (lambda xp, y: torch.rand_like(y), "its graph gave other numbers"),
    "a mask": (lambda xp, y: float(y[y > 0].shape[0] > 0), NUMBERS),
    "another device": (lambda xp, y: float(y.to("meta").ndim), "it moves arrays between devices (cpu, meta)"),
    "what waits": (lambda xp, y: float(torch.nonzero(y).shape[0] > 0), NUMBERS),
}


@pytest.mark.parametrize("name", ODD)
def test_what_cannot_be_captured_says_why(name: str) -> None:
    odd, reason = ODD[name]
    trainer = fit(new(GraphedOnHost(), nn.Linear(4, 3), Odd(odd)))
    assert reason in trainer.fallback
    if "its own" not in name and "calls" not in name:
        assert_same_state(trainer, fit(new(GraphedOnHost(), nn.Linear(4, 3), Odd(odd), compile=False)))


def test_an_error_of_the_step_is_its_own() -> None:
    def broken(xp: Any, y: Any) -> Any:
        raise ZeroDivisionError("in the layer")

    trainer = new(GraphedOnHost(), nn.Linear(4, 3), Odd(broken))
    with pytest.raises(ZeroDivisionError, match="in the layer"):
        fit(trainer)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["a number", "a decision", "what waits"])
def test_so_it_does_where_a_gpu_refuses_it(get_backend: Any, name: str) -> None:
    backend = get_backend("torch:cuda")
    trainer, plain = (fit(new(backend, nn.Linear(4, 3), Odd(ODD[name][0]), compile=how)) for how in ("auto", False))
    assert trainer.fallback
    assert_same_state(trainer, plain)
    assert_same_way(backend)  # and the device is as good as before


@pytest.mark.gpu
@pytest.mark.parametrize("name", FEEDS)
def test_whatever_the_rows_come_from_on_a_gpu(get_backend: Any, name: str) -> None:
    found, expected = (new(get_backend("torch:cuda"), compile=compile) for compile in ("auto", False))
    FEEDS[name](found), FEEDS[name](expected)
    assert_same_state(found, expected)
    assert found.fallback == ""
