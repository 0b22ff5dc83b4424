"""Where the rows wait for their step makes no difference: on the device, on the host, in a file, as small integers."""

import os
import pickle
import signal
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mlp_xp import backends, data, nn, optim, train
from mlp_xp.backends.cuda_replay import CAPTURING
from mlp_xp.backends.on_cupy import CuPyBackend
from mlp_xp.backends.on_numpy import NumPyBackend
from mlp_xp.backends.staging import Staging
from mlp_xp.train.feed import AHEAD, prefetched

RNG = np.random.default_rng(6)
ROWS, FEATURES, BATCH = 50, 12, 16  # the last batch has 2 rows
PIXELS = RNG.integers(0, 256, (ROWS, FEATURES), dtype=np.uint8)
X = PIXELS.astype(np.float32)
Y = (X.sum(1) > X.sum(1).mean()).astype(np.int64)
WEIGHT = RNG.uniform(0.1, 2.0, ROWS)
MODEL = nn.Sequential(
    nn.Rescale(1 / 255), nn.Linear(FEATURES, 8), nn.BatchNorm(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 2)
)
SMALL_INTEGERS = ["bool", "int8", "uint8", "int16", "uint16"]


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert not [thread for thread in threading.enumerate() if thread.name == "mlp_xp feed"]


@pytest.fixture
def mapped(tmp_path: Path) -> Callable[[np.ndarray], np.memmap]:
    """An array as a memory map of a file."""

    def save(array: np.ndarray) -> Any:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.npy"
        np.save(path, array)
        return np.load(path, mmap_mode="r")

    return save


@pytest.fixture
def streamed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the threads that copy batches to the device, one for each batch that they copy."""
    threads: list[str] = []
    original = backends.Backend.stager

    def stager(self: backends.Backend, batches: int) -> Any:
        stage = original(self, batches)
        return lambda arrays: threads.append(threading.current_thread().name) or stage(arrays)

    monkeypatch.setattr(backends.Backend, "stager", stager)
    return threads


def new(backend: Any = "numpy", model: nn.Layer = MODEL, **more: Any) -> train.Trainer:
    more = {"optimizer": optim.Adam(0.02), "metrics": [train.Accuracy(), train.RocAuc()], **more}
    return train.Trainer(model, nn.SoftmaxCrossEntropy(), backend=backend, **more)


def fit(trainer: train.Trainer, x: Any = X, epochs: int = 3, **more: Any) -> train.Trainer:
    more = {"batch_size": BATCH, "sample_weight": WEIGHT, "validation_data": (x[::-3], Y[::-3]), **more}
    trainer.fit(x, Y, epochs=epochs, progress=False, **more)
    return trainer


def weights(trainer: train.Trainer) -> np.ndarray:
    return np.concatenate([value.reshape(-1) for value in trainer.parameters.values()])


def numbers(history: train.History) -> list[dict[str, float]]:
    return [{name: value for name, value in record.items() if name != "seconds"} for record in history.records]


def assert_same(one: train.Trainer, other: train.Trainer) -> None:
    """Bit for bit."""
    assert numbers(one.history) == numbers(other.history)
    np.testing.assert_array_equal(weights(one), weights(other))


def test_where_and_as_what_rows_wait_makes_no_difference(backend: backends.Backend, streamed: list[str]) -> None:
    expected, bytes_there = fit(new(backend)), fit(new(backend), PIXELS)
    assert not streamed
    bytes_here = fit(new(backend), PIXELS, feed="stream")
    assert set(streamed) == {"mlp_xp feed"}
    assert_same(bytes_there, expected)
    assert_same(bytes_here, expected)
    assert bytes_here.evaluate(PIXELS, Y) == expected.evaluate(X, Y)
    with backend.scope():
        outputs = expected.predict(backend.from_host(PIXELS))
        np.testing.assert_array_equal(backend.to_host(outputs), expected.predict(X))


# ---- small integers ----


def test_all_kinds_of_them_do(backend: backends.Backend) -> None:
    trainer = train.Trainer(nn.Linear(FEATURES, 2), nn.SoftmaxCrossEntropy(), backend=backend)
    for dtype in SMALL_INTEGERS:
        x = PIXELS.astype(dtype)
        np.testing.assert_array_equal(trainer.predict(x), trainer.predict(x.astype(np.float64)))
        trainer.fit(x, Y, epochs=1, batch_size=25, progress=False)


def test_they_are_never_floats_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """50 MB of bytes: training, its recording, evaluation and the checks before take a few batches more."""
    pixels = np.random.default_rng(0).integers(0, 256, (64_000, 784), dtype=np.uint8)
    labels = np.arange(len(pixels)) % 10
    model = nn.Sequential(nn.Rescale(1 / 255), nn.Linear(784, 10))
    trainer = train.Trainer(model, nn.SoftmaxCrossEntropy(), optim.SGD(0.1), backend="numpy")
    monkeypatch.setattr("mlp_xp.train.trainer.EVALUATION_ROWS", 512)
    tracemalloc.start()
    for feed in ("auto", "stream"):
        trainer.fit(pixels, labels, epochs=1, batch_size=256, feed=feed, progress=False)
    trainer.evaluate(pixels, labels)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10e6


def test_what_looks_at_the_data_sees_their_floats() -> None:
    model = nn.Sequential(nn.Standardize(FEATURES), nn.Linear(FEATURES, 8), nn.BatchNorm(8), nn.Linear(8, 2))
    trainers = []
    for x in (X, PIXELS):
        recorder = train.Recorder(rows=20)
        trainers += [fit(new(model=model), x, callbacks=[recorder])]
        trainers[-1].refresh_statistics(x)
        trainers[-1].seen = train.inspect(trainers[-1], x, Y), recorder.recording.records  # type: ignore[attr-defined]
    assert_same(*trainers)
    assert repr(trainers[0].seen) == repr(trainers[1].seen)  # type: ignore[attr-defined]  # NaN is NaN


def test_categories_in_small_integers_are_checked() -> None:
    model = nn.Sequential(nn.Embedding({4: 7}, features=2), nn.Linear(FEATURES + 1, 2))
    codes = (PIXELS % 7).astype(np.uint8)
    np.testing.assert_array_equal(new(model=model).predict(codes), new(model=model).predict(codes.astype(float)))
    codes[30, 4] = 7
    with pytest.raises(ValueError, match="X: column 4 holds 7, but Embedding expects categories 0 to 6"):
        new(model=model).predict(codes)


def test_a_line_search_takes_them_too() -> None:
    assert_same(*(fit(new(optimizer=optim.LBFGS()), x, batch_size="auto") for x in (X, PIXELS)))


# ---- rows on the host ----


@pytest.mark.parametrize("options", [{"shuffle": False}, {"sample_weight": None}, {"batch_size": 10}])
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", ">i2", "int64"])
def test_a_stream_gives_what_the_device_gives(dtype: str, options: dict[str, Any]) -> None:
    x = PIXELS.astype(dtype)
    assert_same(*(fit(new(), x, feed=feed, **options) for feed in ("device", "stream")))


def test_a_memory_map_gives_the_same(mapped: Any, streamed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlp_xp.train.trainer.EVALUATION_ROWS", BATCH)
    x, expected = mapped(X.astype(np.float64)), fit(new())
    trainer = fit(new(), x)
    assert_same(trainer, expected)
    before = len(streamed)
    assert before
    assert trainer.evaluate(x, Y) == expected.evaluate(X, Y)
    np.testing.assert_array_equal(trainer.predict(x), expected.predict(X))
    assert len(streamed) > before and set(streamed) == {"mlp_xp feed"}
    assert_same(fit(new(), mapped(np.asfortranarray(X))), expected)


def test_on_the_cpu_only_a_memory_map_is_streamed_unless_asked_for(mapped: Any, streamed: list[str]) -> None:
    fit(new())
    fit(new(), mapped(X), feed="device")
    fit(new(), mapped(X) / 1.0)  # this is no map of a file any more
    assert not streamed
    fit(new(), mapped(X)[:], feed="auto")  # a part of a map is one
    assert streamed


@pytest.mark.parametrize(("free", "streams"), [(X.nbytes, True), (2 * X.nbytes, False), (X.nbytes // 2, True)])
def test_a_device_with_memory_of_its_own_is_given_what_fits(
    free: int, streams: bool, mapped: Any, streamed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NumPyBackend, "free_memory", lambda self: free, raising=False)
    for x in (X, mapped(X)):
        streamed.clear()
        assert_same(fit(new(), x), fit(new(), feed="device"))
        assert bool(streamed) is streams
    streamed.clear()
    fit(new(), PIXELS)  # takes a quarter of the memory
    assert not streamed or free < 2 * PIXELS.nbytes


def test_targets_and_metrics_of_every_kind_are_streamed() -> None:
    y = RNG.normal(size=(ROWS, 2))
    trainers = []
    for feed in ("device", "stream"):
        trainers.append(train.Trainer(MODEL, nn.MeanSquaredError(), backend="numpy", metrics=[train.R2()]))
        trainers[-1].fit(X, y, epochs=2, batch_size=BATCH, feed=feed, validation_data=(X, y), progress=False)
    assert_same(*trainers)


@pytest.mark.parametrize("optimizer", [optim.SGD(0.1), optim.LBFGS(history=5)], ids=["SGD", "LBFGS"])
def test_a_batch_of_all_rows_is_moved_once(optimizer: optim.Optimizer, streamed: list[str]) -> None:
    more = {"batch_size": None, "validation_data": None}
    trainers = [fit(new(optimizer=optimizer), feed=feed, **more) for feed in ("device", "stream")]
    assert_same(*trainers)
    assert not streamed


def test_a_streamed_fit_goes_on_after_a_stop_as_if_there_had_been_none() -> None:
    straight, stopped = fit(new(), epochs=4), fit(new(), epochs=1, feed="stream")
    assert_same(fit(pickle.loads(pickle.dumps(stopped)), feed="stream"), straight)


def test_early_stopping_restores_the_same_weights() -> None:
    stops = [train.EarlyStopping(patience=1) for _ in range(2)]
    trainers = [
        fit(new(optimizer=optim.Adam(0.5)), epochs=20, feed=feed, callbacks=[stop])
        for feed, stop in zip(("device", "stream"), stops, strict=True)
    ]
    assert trainers[0].epoch < 20 and stops[0].best_epoch == stops[1].best_epoch
    assert_same(*trainers)


def diverged(trainer: train.Trainer, *arguments: Any, **more: Any) -> str:
    with pytest.raises(train.Diverged) as error:
        trainer.fit(*arguments, epochs=3, progress=False, **more)
    return str(error.value)


RATES = [1e-3, 1e5, 1e30]
"""With which the loss is no longer finite in the second epoch, in the first, and after one step."""


@pytest.fixture(params=[512, 1], ids=["rarely", "always"])
def looks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """After how many steps a fit looks whether the loss is finite, and keeps a copy of the weights."""
    monkeypatch.setattr("mlp_xp.train.trainer.STEPS_BETWEEN_LOOKS", request.param)
    monkeypatch.setattr("mlp_xp.train.rollback.STEPS_BETWEEN_COPIES", request.param)
    return request.param


def plain(rate: float) -> train.Trainer:
    return train.Trainer(nn.Linear(FEATURES, 1), nn.MeanSquaredError(), optim.SGD(rate, momentum=0.5), backend="numpy")


@pytest.mark.parametrize("rate", RATES)
def test_a_stream_that_diverges_goes_back_to_the_same_weights(rate: float, looks: int) -> None:
    trainers = [plain(rate) for _ in range(2)]
    errors = [
        diverged(trainer, X, Y, batch_size=BATCH, feed=feed)
        for trainer, feed in zip(trainers, ("device", "stream"), strict=True)
    ]
    assert errors[0] == errors[1]
    np.testing.assert_array_equal(weights(trainers[0]), weights(trainers[1]))


def test_the_search_for_a_learning_rate_takes_a_memory_map(mapped: Any) -> None:
    searches = [train.find_learning_rate(new(), x, Y, steps=8, progress=False) for x in (X, mapped(X))]
    assert searches[0] == searches[1]


def test_the_search_for_a_learning_rate_takes_a_source() -> None:
    search = train.find_learning_rate(new(), Shuffled(), steps=8, progress=False)
    assert search == train.find_learning_rate(
        new(), X, Y, sample_weight=WEIGHT, batch_size=BATCH, steps=8, progress=False
    )


def test_the_recorder_and_inspect_see_the_same(mapped: Any) -> None:
    seen = []
    for x in (X, mapped(X)):
        recorder = train.Recorder(rows=20)
        seen.append((train.inspect(fit(new(), x, callbacks=[recorder]), x, Y), recorder.recording.records))
    assert repr(seen[0]) == repr(seen[1])  # NaN is NaN


@pytest.mark.parametrize("feed", ["stream", "auto"])
def test_what_does_not_fit_is_refused_before_anything_is_changed(feed: str, mapped: Any) -> None:
    wrong = X.astype(np.float64)
    wrong[-1, 3] = 1e300
    for x, error, message in (
        (wrong, ValueError, r"X contains NaN or infinity \(in float32\)"),
        (X[:, :3].copy(), nn.ShapeError, r"X of shape \(50, 3\) does not fit the model"),
        (X[:9].copy(), nn.ShapeError, "X has 9 rows, y has shape"),
        (1j * X, TypeError, "X has dtype complex"),
    ):
        trainer = new()
        with pytest.raises(error, match=message):
            trainer.fit(mapped(x), Y, feed=feed, progress=False)
        assert trainer.step == 0


def test_what_the_model_takes_from_data_it_takes_before_a_stream(mapped: Any) -> None:
    model = nn.Sequential(nn.Standardize(FEATURES), nn.Linear(FEATURES, 2))
    trainer = new(model=model)
    with pytest.raises(ValueError, match=r"X is read in parts: call trainer\.adapt\(some of its rows as one array\)"):
        fit(trainer, mapped(X))
    trainer.adapt(mapped(X))
    assert_same(fit(trainer, mapped(X)), fit(new(model=model)))


def test_a_feed_is_one_of_three_words() -> None:
    with pytest.raises(ValueError, match="feed='disk': choose one of 'auto', 'device', 'stream'"):
        fit(new(), feed="disk")


def test_ctrl_c_ends_the_thread_and_keeps_what_was_learned() -> None:
    class Interrupted(train.Callback):
        def on_step(self, trainer: train.Trainer) -> None:
            if trainer.step == 2:
                os.kill(os.getpid(), signal.SIGINT)

    trainer = new()
    with pytest.raises(KeyboardInterrupt):
        fit(trainer, feed="stream", callbacks=[Interrupted()])
    assert trainer.step == 2


def test_so_does_an_error_in_a_callback() -> None:
    class Broken(train.Callback):
        def on_step(self, trainer: train.Trainer) -> None:
            raise RuntimeError("no space left")

    for arguments in ((X, Y), (Shuffled(),)):
        with pytest.raises(RuntimeError, match="no space left") as error:
            new().fit(*arguments, feed="stream", callbacks=[Broken()], progress=False)
        assert error.value.__traceback__ is not None  # the frames of the fit are still there, the thread is not
        assert not [thread for thread in threading.enumerate() if thread.name == "mlp_xp feed"]


# ---- the thread ----


def test_the_thread_works_ahead_but_not_far() -> None:
    made: list[int] = []

    def items() -> Any:
        for number in range(20):
            made.append(number)
            yield number

    taken = prefetched(items())
    assert next(taken) == 0
    deadline = time.monotonic() + 10
    while len(made) < 1 + AHEAD and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.02)
    assert len(made) == 1 + AHEAD
    assert list(taken) == list(range(1, 20))


def test_its_error_comes_after_what_was_made_before_and_closing_it_ends_what_it_reads() -> None:
    closed: list[bool] = []

    def items(fails: bool) -> Any:
        try:
            yield from range(3)
            if fails:
                raise OSError("the disk is gone")
            yield from range(1000)
        finally:
            closed.append(True)

    seen = []
    with pytest.raises(OSError, match="the disk is gone"):
        for each in prefetched(items(fails=True)):
            seen.append(each)
    assert seen == [0, 1, 2] and closed == [True]
    taken = prefetched(items(fails=False))
    next(taken)
    taken.close()
    assert closed == [True, True]


# ---- sources of batches ----


class Shuffled:
    """Batches of (X, y, sample_weight) in the order in which a fit takes them from arrays."""

    def __init__(self, x: np.ndarray = X, batch: int = BATCH, known: bool = True) -> None:
        self.x, self.batch = x, batch
        if known:
            self.__class__ = type("Sized", (Shuffled,), {"__len__": lambda self: -(-ROWS // batch)})

    def __iter__(self) -> Iterator[Any]:
        return self._cut(np.arange(ROWS))

    def shuffled(self, generator: np.random.Generator) -> Iterator[Any]:
        return self._cut(generator.permutation(ROWS))

    def _cut(self, order: np.ndarray) -> Iterator[Any]:
        for start in range(0, ROWS, self.batch):
            rows = order[start : start + self.batch]
            yield self.x[rows], Y[rows], WEIGHT[rows]


def test_a_source_gives_what_the_same_batches_of_an_array_give(backend: backends.Backend) -> None:
    expected, trainer = fit(new(backend), validation_data=(X, Y, WEIGHT)), new(backend)
    trainer.fit(Shuffled(), epochs=3, validation_data=Shuffled(batch=ROWS), progress=False)
    assert_same(trainer, expected)
    assert trainer.evaluate(Shuffled(batch=ROWS)) == expected.evaluate(X, Y, sample_weight=WEIGHT)


def test_small_integers_and_memory_maps_come_from_a_source_too(mapped: Any) -> None:
    expected = fit(new(), validation_data=None)
    for x in (PIXELS, mapped(PIXELS), mapped(X)):
        trainer = new()
        trainer.fit(Shuffled(x), epochs=3, progress=False)
        assert_same(trainer, expected)


def test_whatever_can_be_iterated_again_is_a_source() -> None:
    batches = [(X[:20], Y[:20]), (X[20:], Y[20:])]
    trainers = [new() for _ in range(4)]

    def one_buffer() -> Any:  # which is filled anew for each batch
        buffer = np.empty_like(X)
        for x, y in batches:
            buffer[: len(x)] = x
            yield buffer[: len(x)], y

    class Loader:
        def __iter__(self) -> Any:
            return (list(batch) for batch in batches)

    for trainer, source in zip(trainers, (batches, lambda: iter(batches), Loader(), one_buffer), strict=True):
        trainer.fit(source, epochs=2, progress=False)
        assert trainer.step == 4
    for trainer in trainers[1:]:
        assert_same(trainer, trainers[0])
    assert trainers[0].evaluate(batches)["accuracy"] == pytest.approx(trainers[0].evaluate(X, Y)["accuracy"])


def test_a_loader_of_pytorch_is_a_source() -> None:
    torch = pytest.importorskip("torch")
    tensors = torch.utils.data.TensorDataset(torch.from_numpy(PIXELS), torch.from_numpy(Y))
    loader, expected = torch.utils.data.DataLoader(tensors, batch_size=BATCH), new()
    expected.fit(X, Y, epochs=2, batch_size=BATCH, shuffle=False, progress=False)
    trainer = new()
    trainer.fit(loader, epochs=2, progress=False)
    assert_same(trainer, expected)


def test_callbacks_learn_how_many_steps_there_are_if_the_source_knows() -> None:
    class Steps(train.Callback):
        def on_fit_start(self, trainer: train.Trainer, epochs: int, steps_per_epoch: int) -> None:
            seen.append(steps_per_epoch)

    seen: list[int] = []
    recorder = train.Recorder(every=1)
    for source in (Shuffled(), Shuffled(known=False)):
        new().fit(source, epochs=2, callbacks=[Steps(), recorder])
    assert seen == [4, 0]
    assert [record["epoch"] for record in recorder.recording.records] == [0, 0, 0, 0, 0, 1.25, 1.5, 1.75, 2.0]


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("rate", RATES)
def test_a_source_that_diverges_goes_back_to_the_same_weights(rate: float, known: bool, looks: int) -> None:
    trainers = [plain(rate) for _ in range(2)]
    expected = diverged(trainers[0], X, Y, sample_weight=WEIGHT, batch_size=BATCH)
    told = diverged(trainers[1], Shuffled(known=known))
    in_the_first_epoch = not known and looks == 1 and "epoch 1" in expected  # how many batches follow is not known
    assert told == (expected.replace(" of 4", "") if in_the_first_epoch else expected)
    np.testing.assert_array_equal(weights(trainers[0]), weights(trainers[1]))


def raising() -> Any:
    yield X[:20], Y[:20]
    yield X[20:40], Y[20:40]
    raise OSError("the disk is gone")


ONCE = iter([(X, Y)])


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ([(X, Y), (X[:, :5], Y)], nn.ShapeError, r"batch 2 of X: X of shape \(50, 5\) does not fit the model"),
        ([(X, Y), (X, Y[:7])], nn.ShapeError, r"batch 2 of X: X has 50 rows, batch 2 of X: y has shape \(7,\)"),
        ([(X, Y), (X * np.nan, Y)], ValueError, "batch 2 of X: X contains NaN"),
        ([(X, Y), (X[:1], Y[:1])], ValueError, "batch 2 of X has 1 rows, and the model needs at least 2"),
        (lambda: iter([(X, Y), X]), TypeError, "batch 2 of X is a ndarray: give"),
        ([], ValueError, "X gives no batches$"),
        (lambda: ONCE, ValueError, "X gives no batches; what it gives can be gone through only once"),
        (((X, Y) for _ in range(3)), TypeError, r"X is an iterator \(generator\), which gives its batches only once"),
        (raising, OSError, "the disk is gone"),
    ],
    ids=["features", "rows", "nan", "one row", "no pair", "empty", "used up", "generator", "error"],
)
def test_what_is_wrong_with_a_batch_is_said(source: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        new().fit(source, epochs=2, progress=False)


def test_an_error_of_the_source_says_how_far_it_came() -> None:
    with pytest.raises(OSError, match="gone") as error:
        new().fit(raising, progress=False)
    assert error.value.__notes__ == ["The last batch that X gave was number 2."]


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        ({"batch_size": 16}, ValueError, "batch_size=16: X gives batches as they are to be"),
        ({"feed": "device"}, TypeError, "leave out feed='device'"),
        ({"sample_weight": WEIGHT}, TypeError, "leave out y or sample_weight"),
        ({"validation_data": ((X, Y) for _ in "ab")}, TypeError, "validation X is an iterator"),
    ],
    ids=["batch_size", "feed", "weight", "validation"],
)
def test_options_that_a_source_leaves_no_room_for(more: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        new().fit(Shuffled(), **more)
    with pytest.raises(ValueError, match="a line search needs all rows at once, not in batches"):
        new(optimizer=optim.LBFGS()).fit(Shuffled())
    with pytest.raises(TypeError, match="inspect looks at rows all at once"):
        train.inspect(new(), Shuffled(), None)


def test_a_source_is_adapted_to_before() -> None:
    model = nn.Sequential(nn.Standardize(FEATURES), nn.Linear(FEATURES, 2))
    trainer = new(model=model)
    with pytest.raises(ValueError, match=r"trainer\.adapt\(some of its rows as one array\) first"):
        trainer.fit(Shuffled())
    trainer.adapt(X)
    trainer.fit(Shuffled(), epochs=3, progress=False)
    assert_same(trainer, fit(new(model=model), validation_data=None))


def test_rows_without_targets_are_no_source() -> None:
    for x in (X, X.tolist()):
        with pytest.raises(TypeError, match="y is None: give one target for each row"):
            new().fit(x)


# ---- Parquet ----


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    """50 rows in groups of 8, the label in the middle."""
    pyarrow, parquet = (pytest.importorskip(name) for name in ("pyarrow", "pyarrow.parquet"))
    columns = {f"x{index}": X[:, index] for index in range(6)} | {"label": Y, "weight": WEIGHT}
    columns |= {f"x{index}": X[:, index] for index in range(6, FEATURES)}
    path = tmp_path / "rows.parquet"
    parquet.write_table(pyarrow.table(columns), path, row_group_size=8)
    return path


def test_parquet_gives_the_rows_of_the_file_in_batches(parquet: Path) -> None:
    for window in (1, 3, 100):
        source = data.Parquet(parquet, "label", sample_weight="weight", batch_rows=BATCH, window=window)
        x, y, weight = map(np.concatenate, zip(*source, strict=True))
        for found, expected in ((x, X), (y, Y), (weight, WEIGHT)):
            np.testing.assert_array_equal(found, expected)
        assert [len(batch[0]) for batch in source] == [16, 16, 16, 2] and len(source) == 4
    x, y = next(iter(data.Parquet(parquet, ["x3", "weight"], ["x7", "x0"])))
    np.testing.assert_array_equal(x, X[:, [7, 0]])
    np.testing.assert_array_equal(y, np.stack([X[:, 3], WEIGHT], axis=1))


@pytest.mark.parametrize("window", [1, 3, 100])
def test_a_shuffled_pass_gives_every_row_once_and_the_same_for_the_same_generator(parquet: Path, window: int) -> None:
    source = data.Parquet(parquet, "label", sample_weight="weight", batch_rows=BATCH, window=window)

    def shuffled(seed: int) -> np.ndarray:
        batches = list(source.shuffled(np.random.default_rng(seed)))
        assert [len(batch[0]) for batch in batches] == [16, 16, 16, 2]
        return np.concatenate([np.column_stack(batch) for batch in batches])

    one, again, other = shuffled(0), shuffled(0), shuffled(1)
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)
    for rows in (one, other):
        np.testing.assert_array_equal(
            rows[np.argsort(rows[:, -1])], np.column_stack([X, Y, WEIGHT])[np.argsort(WEIGHT)]
        )


def test_a_net_is_trained_and_measured_on_it_and_goes_on_after_a_stop(parquet: Path) -> None:
    source = data.Parquet(parquet, "label", sample_weight="weight", batch_rows=BATCH, window=2)
    straight, stopped = new(), new()
    straight.fit(source, epochs=4, validation_data=source, progress=False)
    stopped.fit(source, epochs=1, validation_data=source, progress=False)
    resumed = pickle.loads(pickle.dumps(stopped))
    resumed.fit(source, epochs=3, validation_data=source, progress=False)
    assert_same(resumed, straight)
    assert straight.evaluate(source)["loss"] == pytest.approx(straight.evaluate(X, Y, sample_weight=WEIGHT)["loss"])
    in_order, expected = new(), new()
    in_order.fit(source, shuffle=False, epochs=2, progress=False)
    expected.fit(X, Y, sample_weight=WEIGHT, batch_size=BATCH, shuffle=False, epochs=2, progress=False)
    assert_same(in_order, expected)


def test_a_damaged_file_is_named(parquet: Path, tmp_path: Path) -> None:
    whole = parquet.read_bytes()
    parquet.write_bytes(whole[:40] + bytes(400) + whole[440:])
    with pytest.raises(ValueError, match=r"rows\.parquet: row group 0 cannot be read"):
        new().fit(data.Parquet(parquet, "label", batch_rows=8, window=1), shuffle=False, progress=False)
    parquet.write_bytes(whole[:-50])
    with pytest.raises(ValueError, match=r"rows\.parquet cannot be read as a Parquet file"):
        data.Parquet(parquet, "label")
    with pytest.raises(FileNotFoundError):
        data.Parquet(tmp_path / "no.parquet", "label")


def test_names_and_numbers_are_checked(parquet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyError, match="unknown column 'lable'; did you mean 'label'"):
        data.Parquet(parquet, "lable")
    with pytest.raises(ValueError, match=r"Parquet\(window=0\)"):
        data.Parquet(parquet, "label", window=0)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "mlp-xp\[parquet\]"'):
        data.Parquet(parquet, "label")


# ---- CuPy, without a GPU ----


class PretendedStream:
    """Does what it is given when it is waited for, and not before; with others, in the order that events leave."""

    def __init__(self, non_blocking: bool = True) -> None:
        assert non_blocking
        self.queue: list[Callable[[], None]] = []
        self.done = 0

    def record(self) -> Callable[[], None]:
        position = len(self.queue)
        return lambda: self.work(position)

    def wait_event(self, event: Callable[[], None]) -> None:
        self.queue.append(event)

    def synchronize(self) -> None:
        self.work(len(self.queue))

    def work(self, position: int) -> None:
        while self.done < position:
            self.done += 1
            self.queue[self.done - 1]()


class PretendedCuPy(ModuleType):
    """What Staging asks of CuPy: arrays whose copies happen late."""

    def __init__(self) -> None:
        super().__init__("cupy")
        self.computing, self.streams, self.pinned = PretendedStream(), [], 0
        device = SimpleNamespace(synchronize=self.wait_for_all)
        self.cuda = SimpleNamespace(
            get_current_stream=lambda: self.computing,
            Stream=self.stream,
            Device=lambda: device,
            alloc_pinned_memory=self.alloc_pinned_memory,
        )
        outer = self

        class Array(np.ndarray):
            def set(self, host: np.ndarray, stream: PretendedStream) -> None:
                assert host.flags.c_contiguous and (host.dtype, host.shape) == (self.dtype, self.shape)
                stream.queue.append(lambda: np.copyto(self, host))

            def copy(self) -> Any:
                made = np.full_like(self, 77)
                outer.computing.queue.append(lambda: np.copyto(made, self))
                return made

        self.kind = Array

    def wait_for_all(self) -> None:
        assert CAPTURING.locked()  # CUDA refuses it while a graph is captured
        for stream in self.streams:
            stream.synchronize()

    def stream(self, non_blocking: bool) -> PretendedStream:
        self.streams.append(PretendedStream(non_blocking))
        return self.streams[-1]

    def empty(self, shape: Any, dtype: Any) -> Any:
        return np.full(shape, 99, dtype).view(self.kind)

    def alloc_pinned_memory(self, nbytes: int) -> bytearray:
        self.pinned += 1
        return bytearray(nbytes + 512)  # CuPy's pool gives more than is asked for


def test_cupy_counts_what_its_pool_holds_unused_as_free() -> None:
    pool = SimpleNamespace(free_bytes=lambda: 3)
    device = type("Device", (nullcontext,), {"id": 0, "mem_info": (40, 100)})
    backend = object.__new__(CuPyBackend)
    backend._cupy = SimpleNamespace(
        get_default_memory_pool=lambda: pool, cuda=SimpleNamespace(Device=lambda index: device())
    )
    backend.device = device()
    assert backend.free_memory() == 43


def test_batches_are_copied_beside_the_computation_and_never_over_what_that_has_yet_to_read() -> None:
    cupy = PretendedCuPy()
    stage = Staging(cupy, batches=3)
    batches = [[X + n, PIXELS[: 40 + n % 3, ::-2], np.full(n % 2, n, bool), np.arange(n)] for n in range(20)]
    arrays = []
    for number, batch in enumerate(batches):
        arrays.append(stage([part.copy() for part in batch])())
        assert cupy.computing.done <= 4 * max(0, number - 2)  # a copy waits for what is three batches behind it
    cupy.computing.synchronize()
    for found, expected in zip(arrays, batches, strict=True):
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(np.asarray(one), other)
            assert one.dtype == other.dtype
    assert cupy.pinned <= 2 * 3  # the same memory again and again, larger where a batch is
