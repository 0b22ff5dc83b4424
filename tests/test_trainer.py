"""The one loop: the same on every backend, exact over a stop, and nothing lost when something goes wrong."""

import copy
import os
import pickle
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import assert_close, first_and_slow

from mlp_xp import backends, nn, optim, train
from mlp_xp.backends.on_numpy import NumPyBackend
from mlp_xp.train import checkpoint, kept, rollback

pytestmark = pytest.mark.usefixtures("recorded_at_once")
MODEL = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Dropout(0.1), nn.Linear(16, 2))
rng = np.random.default_rng(11)
X = rng.normal(size=(90, 3))
Y = (X[:, 0] * X[:, 1] > 0).astype(np.int64)
X_VAL = rng.normal(size=(30, 3))
Y_VAL = (X_VAL[:, 0] * X_VAL[:, 1] > 0).astype(np.int64)


def new(backend: Any = "numpy", model: nn.Layer = MODEL, **more: Any) -> train.Trainer:
    more = {"optimizer": optim.Adam(0.01), "metrics": [train.Accuracy()], "dtype": "float64", **more}
    return train.Trainer(model, nn.SoftmaxCrossEntropy(), backend=backend, **more)


def fit(trainer: train.Trainer, epochs: int = 3, **more: Any) -> train.History:
    more = {"batch_size": 32, "validation_data": (X_VAL, Y_VAL), "progress": False, **more}
    return trainer.fit(X, Y, epochs=epochs, **more)


def weights(trainer: train.Trainer) -> np.ndarray:
    return np.concatenate([value.reshape(-1) for value in trainer.parameters.values()])


def test_training_is_the_same_on_every_backend(backend: backends.Backend) -> None:
    """Initial weights, shuffles, dropout masks, updates, validation: float64 to rounding, float32 closely."""
    reference, same = new(), new(backend)
    np.testing.assert_array_equal(weights(same), weights(reference))
    expected, history = fit(reference), fit(same)
    assert_close(weights(same), weights(reference), factor=1000, dtype=np.float64)
    for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
        assert history[name] == pytest.approx(expected[name], rel=1e-11)
    single = new(backend, dtype="float32")
    fit(single)
    assert_close(weights(single), weights(reference), factor=1000)


def test_it_learns(backend: backends.Backend) -> None:
    history = fit(new(backend, dtype="float32"), epochs=200)
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    assert history["val_accuracy"][-1] > 0.85


def test_the_partial_last_batch_is_trained_on() -> None:
    trainer = new(model=nn.Linear(3, 2), optimizer=optim.SGD(1.0))
    fit(trainer, epochs=1, shuffle=False, batch_size=32)
    assert trainer.step == 3
    by_hand = new(model=nn.Linear(3, 2), optimizer=optim.SGD(1.0))
    for rows in (slice(0, 32), slice(32, 64), slice(64, 90)):
        by_hand.fit(X[rows], Y[rows], epochs=1, batch_size=None)
    np.testing.assert_array_equal(weights(trainer), weights(by_hand))


def test_an_epoch_visits_every_row_once_in_another_order_each_time() -> None:
    trainer = new()
    step = trainer._training_step
    seen: list[int] = []

    def watched(state: Any, data: Any, index: Any, *rest: Any) -> Any:
        seen.extend(int(row) for row in data.batches[index])
        return step(state, data, index, *rest)

    trainer._training_step = watched
    fit(trainer, epochs=2)
    first, second = seen[:90], seen[90:]
    assert sorted(first) == sorted(second) == list(range(90))
    assert first != second and first != sorted(first)


def test_history_holds_every_measure_of_every_epoch() -> None:
    history = fit(new(), epochs=4)
    assert history.names == ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds"]
    assert history["epoch"] == [1, 2, 3, 4] and len(history) == 4
    assert all(seconds > 0 for seconds in history["seconds"])
    assert history["learning_rate"] == [0.01] * 4
    with pytest.raises(KeyError, match="'recall' was not recorded; there are epoch, loss"):
        history["recall"]


def test_the_recorded_loss_and_accuracy_are_means_over_the_rows() -> None:
    # With a learning rate of 0 every batch sees the same weights: the epoch's mean is that of the whole set.
    trainer = new(model=nn.Linear(3, 2), optimizer=optim.SGD(0.0))
    weight = rng.uniform(0, 2, 90)
    history = fit(trainer, epochs=1, sample_weight=weight, batch_size=32)
    whole = trainer.evaluate(X, Y, sample_weight=weight)
    right = trainer.predict(X).argmax(1) == Y
    assert history["loss"][0] == pytest.approx(whole["loss"], rel=1e-12)
    assert history["accuracy"][0] == pytest.approx(whole["accuracy"], rel=1e-12)
    assert whole["accuracy"] == pytest.approx((weight * right).sum() / weight.sum(), rel=1e-12)
    assert trainer.evaluate(X, Y)["accuracy"] == right.mean()


def test_sample_weights_count_like_repeated_rows(backend: backends.Backend) -> None:
    weight = rng.integers(0, 3, 90)
    weighted, repeated = (new(backend, nn.Linear(3, 2), optimizer=optim.SGD(0.5)) for _ in range(2))
    weighted.fit(X, Y, epochs=5, batch_size=None, sample_weight=weight, progress=False)
    repeated.fit(np.repeat(X, weight, 0), np.repeat(Y, weight), epochs=5, batch_size=None, progress=False)
    assert_close(weights(weighted), weights(repeated), factor=100, dtype=np.float64)


def test_evaluate_and_predict_in_chunks_give_what_one_batch_gives(
    backend: backends.Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = new(backend)
    whole, outputs = trainer.evaluate(X, Y, sample_weight=np.arange(90)), trainer.predict(X)
    monkeypatch.setattr("mlp_xp.train.trainer.EVALUATION_ROWS", 40)
    assert trainer.evaluate(X, Y, sample_weight=np.arange(90)) == pytest.approx(whole, rel=1e-12)
    assert_close(trainer.predict(X), outputs, factor=8, dtype=np.float64)


def test_predict_answers_in_the_library_and_on_the_device_of_what_it_is_given(get_backend: Any) -> None:
    trainer = new()
    expected = trainer.predict(X)
    for word in ("torch", "jax", "strict", "strict:device1"):
        other = get_backend(word)
        with other.scope():
            answer = new(other).predict(other.from_host(X))
            assert other.owns(answer)
            assert_close(other.to_host(answer), expected, factor=16, dtype=np.float64)
        assert isinstance(new(other).predict(X), np.ndarray)
    torch = get_backend("torch")
    assert torch.owns(trainer.predict(torch.from_host(X)))  # a NumPy model, asked with a tensor
    np.testing.assert_array_equal(trainer.predict(X.tolist()), expected)


def test_later_epochs_and_new_learning_rates_compile_nothing(get_backend: Any) -> None:
    traced = []

    class Traced(nn.Tanh):
        def forward(self, xp: Any, p: Any, x: Any, ctx: Any) -> Any:
            traced.append(ctx.training)  # Python runs only while JAX traces
            return super().forward(xp, p, x, ctx)

    model = nn.Sequential(nn.Linear(3, 4), Traced(), nn.Dropout(0.1), nn.Linear(4, 2))
    trainer = new(get_backend("jax"), model, optimizer=optim.Adam(optim.StepDecay(0.1, every=1, factor=0.9)))
    fit(trainer, epochs=1)
    assert traced.count(True) == 2  # a full batch and the smaller last one
    fit(trainer, epochs=3)
    assert len(traced) == 3 and traced.count(False) == 1


# Stop and go on


def test_a_saved_trainer_continues_as_if_it_had_not_stopped(backend: backends.Backend, tmp_path: Path) -> None:
    straight, stopped = new(backend, seed=4), new(backend, seed=4)
    fit(straight, epochs=5)
    fit(stopped, epochs=2)
    stopped.save(tmp_path / "model.safetensors")
    resumed = train.Trainer.load(tmp_path / "model.safetensors", backend=backend)
    fit(resumed, epochs=3)
    np.testing.assert_array_equal(weights(resumed), weights(straight))
    assert resumed.step == straight.step and resumed.epoch == 5
    for name in ("epoch", "loss", "val_loss", "accuracy"):
        assert resumed.history[name] == straight.history[name]


def test_a_file_of_one_backend_is_loaded_on_another(backend: backends.Backend, tmp_path: Path) -> None:
    first = new("numpy", optimizer=optim.SGD(optim.StepDecay(0.1, every=4), momentum=0.9, nesterov=True))
    fit(first, epochs=2)
    first.save(tmp_path / "a.safetensors")
    second = train.Trainer.load(tmp_path / "a.safetensors", backend=backend)
    assert (second.model, second.loss, second.optimizer) == (first.model, first.loss, first.optimizer)
    second.save(tmp_path / "b.safetensors")
    third = train.Trainer.load(tmp_path / "b.safetensors", backend="numpy")
    np.testing.assert_array_equal(weights(third), weights(first))
    fit(first, epochs=1)
    fit(second, epochs=1)
    assert_close(weights(second), weights(first), factor=100, dtype=np.float64)


def test_the_file_holds_named_tensors_that_safetensors_reads(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    trainer = new()
    fit(trainer)
    trainer.save(tmp_path / "model.safetensors")
    tensors = load_file(tmp_path / "model.safetensors")
    for name, value in trainer.parameters.items():
        np.testing.assert_array_equal(tensors[name], value)
    assert {"optimizer.m/0.weight", "optimizer.v/3.bias"} < set(tensors)
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]  # no unfinished file is left


def test_a_save_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, path = new(), tmp_path / "model.safetensors"
    trainer.save(path)
    before = path.read_bytes()

    def full(_: Any, file: Path, __: Any) -> None:
        Path(file).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("safetensors.numpy.save_file", full)
    with pytest.raises(OSError, match="disk full"):
        trainer.save(path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_files_that_cannot_be_loaded_say_why(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    with pytest.raises(FileNotFoundError, match="there is no file"):
        train.Trainer.load(tmp_path / "missing")
    (tmp_path / "damaged").write_bytes(b"not a tensor in sight")
    with pytest.raises(ValueError, match="damaged or not a safetensors file"):
        train.Trainer.load(tmp_path / "damaged")
    save_file({"w": np.zeros(3)}, tmp_path / "foreign")
    with pytest.raises(ValueError, match=r"was not written by Trainer\.save"):
        train.Trainer.load(tmp_path / "foreign")
    new().save(tmp_path / "model")
    with pytest.raises(ValueError, match="does not hold what this model and optimizer need"):
        train.Trainer.load(tmp_path / "model", model=nn.Linear(3, 2))


@pytest.mark.parametrize("word", ["numpy", "strict:device1", "torch", "jax"])
def test_a_trainer_is_pickled_and_copied_whole(get_backend: Any, word: str) -> None:
    trainer = new(get_backend(word))
    fit(trainer, epochs=2)
    twins = [pickle.loads(pickle.dumps(trainer)), copy.deepcopy(trainer)]
    fit(trainer, epochs=1)
    for twin in twins:
        assert twin.backend.word == trainer.backend.word
        fit(twin, epochs=1)
        np.testing.assert_array_equal(weights(twin), weights(trainer))
        assert twin.history["loss"] == trainer.history["loss"]


def test_another_optimizer_starts_anew_on_loaded_weights(tmp_path: Path) -> None:
    new().save(tmp_path / "model")
    loaded = train.Trainer.load(tmp_path / "model", backend="numpy", optimizer=optim.SGD(0.1, momentum=0.9))
    assert not np.asarray(loaded.state.slots[0]).any()
    np.testing.assert_array_equal(weights(loaded), weights(new()))


def test_a_save_into_a_missing_folder_names_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*missing"):
        new().save(tmp_path / "missing" / "model")


def test_what_is_compiled_cannot_be_exchanged() -> None:
    with pytest.raises(AttributeError):
        new().optimizer = optim.SGD()  # type: ignore[misc]


def test_numbers_of_numpy_are_as_good_as_pythons(backend: backends.Backend, tmp_path: Path) -> None:
    """A grid search passes NumPy scalars: they must not carry their dtype into the net, nor stop a save."""

    def build(number: Any, whole: Any) -> train.Trainer:
        model = nn.Sequential(
            nn.Linear(whole(3), whole(8)), nn.Sigmoid(number(2)), nn.Dropout(number(0.25)), nn.Linear(8, 2)
        )
        return new(backend, model, optimizer=optim.Adam(number(0.01)), dtype="float32", seed=whole(3))

    plain, scalars = build(float, int), build(np.float64, np.int64)
    fit(plain)
    fit(scalars, epochs=np.int64(3), batch_size=np.int64(32))
    assert {value.dtype.name for value in scalars.parameters.values()} == {"float32"}
    assert "float32" in str(scalars.state.flat.dtype)
    np.testing.assert_array_equal(weights(scalars), weights(plain))
    scalars.save(tmp_path / "model")
    np.testing.assert_array_equal(weights(train.Trainer.load(tmp_path / "model")), weights(plain))


def test_rows_that_lie_scattered_in_memory_are_laid_out_once() -> None:
    from mlp_xp.train.inputs import labelled

    given = backends.select("numpy"), np.asfortranarray(X), Y, None, MODEL, nn.SoftmaxCrossEntropy(), "float64"
    data, _ = labelled(*given)
    assert data.x.flags.c_contiguous


class Doubled(nn.Identity):
    """A layer of a user's own."""


class ReLU(nn.ReLU):
    """And one that has the name of one of ours."""


@pytest.mark.parametrize("own", [Doubled(), ReLU()])
def test_a_layer_of_ones_own_is_passed_to_load(tmp_path: Path, own: nn.Layer) -> None:
    model = nn.Sequential(nn.Linear(3, 2), own)
    new(model=model).save(tmp_path / "model")
    message = r"'test_trainer\.(Doubled|ReLU)' is not part of mlp_xp.*Trainer\.load\(\.\.\., model="
    with pytest.raises(ValueError, match=message):
        train.Trainer.load(tmp_path / "model")
    assert train.Trainer.load(tmp_path / "model", model=model).model == model


# Callbacks


def test_early_stopping_restores_the_best_weights(backend: backends.Backend) -> None:
    kept: dict[int, np.ndarray] = {}

    class Keep(train.Callback):
        def on_epoch_end(self, trainer: train.Trainer, record: dict[str, float]) -> None:
            kept[trainer.epoch] = weights(trainer)

    trainer, stopping = new(backend, optimizer=optim.Adam(0.1)), train.EarlyStopping(patience=4)
    history = fit(trainer, epochs=200, callbacks=[stopping, Keep()])
    best = int(np.argmin(history["val_loss"])) + 1
    assert stopping.best_epoch == best and stopping.best == min(history["val_loss"])
    assert len(history) == best + 4 < 200
    np.testing.assert_array_equal(weights(trainer), kept[best])
    assert trainer.evaluate(X_VAL, Y_VAL)["loss"] == pytest.approx(stopping.best, rel=1e-12)


def test_early_stopping_asks_the_metric_which_way_is_better() -> None:
    trainer = train.Trainer(nn.Linear(3, 1), nn.MeanSquaredError(), optim.Adam(0.1), metrics=[train.MAE()])
    stopping = train.EarlyStopping("mae", patience=3)
    history = trainer.fit(X, X @ [1.0, 2.0, 3.0], epochs=30, callbacks=[stopping], progress=False)
    assert stopping.best == min(history["mae"]) < 0.5 * history["mae"][0]


def test_early_stopping_never_keeps_weights_whose_loss_is_not_a_number() -> None:
    class Spoiled(train.Callback):
        def on_epoch_end(self, trainer: train.Trainer, record: dict[str, float]) -> None:
            record["val_loss"] = float("nan") if trainer.epoch != 2 else 1.0

    stopping = train.EarlyStopping(patience=3)
    fit(new(), epochs=20, callbacks=[Spoiled(), stopping])
    assert (stopping.best_epoch, stopping.best) == (2, 1.0)
    never = train.EarlyStopping(patience=3)
    trainer = train.Trainer(nn.Linear(3, 1), nn.MeanSquaredError(), optim.SGD(1e38))
    with pytest.raises(train.Diverged):
        trainer.fit(X, X[:, 0], batch_size=None, validation_data=(X, X[:, 0]), callbacks=[never], progress=False)
    assert np.isfinite(weights(trainer)).all()


def test_early_stopping_watches_a_metric_upwards_and_names_what_it_cannot_watch() -> None:
    stopping = train.EarlyStopping("val_accuracy", patience=3)
    history = fit(new(), epochs=100, callbacks=[stopping])
    assert stopping.best == max(history["val_accuracy"])
    with pytest.raises(KeyError, match="not measured: unknown column 'val_loss'; did you mean 'loss'"):
        fit(new(), callbacks=[train.EarlyStopping()], validation_data=None)
    with pytest.raises(ValueError, match="at least 1 epoch"):
        train.EarlyStopping(patience=0)


def test_the_csv_log_is_the_history_line_by_line(tmp_path: Path) -> None:
    path, lengths = tmp_path / "log.csv", []

    class Count(train.Callback):
        def on_epoch_end(self, trainer: train.Trainer, record: dict[str, float]) -> None:
            lengths.append(len(path.read_text().splitlines()))

    trainer = new()
    fit(trainer, epochs=2, callbacks=[train.CSVLog(path), Count()])
    fit(trainer, epochs=2, callbacks=[train.CSVLog(path), Count()])
    assert lengths == [2, 3, 4, 5]  # written at every epoch; a second fit goes on
    trainer.history.save_csv(tmp_path / "history.csv")
    assert path.read_text() == (tmp_path / "history.csv").read_text()
    fit(trainer, epochs=1, validation_data=None, callbacks=[train.CSVLog(path)])
    table = np.genfromtxt(path, delimiter=",", names=True)
    np.testing.assert_array_equal(table["loss"], trainer.history["loss"])


def test_a_log_that_cannot_be_written_fails_before_training(tmp_path: Path) -> None:
    trainer = new()
    with pytest.raises(FileNotFoundError):
        fit(trainer, callbacks=[train.CSVLog(tmp_path / "missing" / "log.csv")])
    assert trainer.step == 0


def test_callbacks_are_told_the_end_whatever_happens() -> None:
    ended = []

    class Failing(train.Callback):
        def on_epoch_end(self, trainer: train.Trainer, record: dict[str, float]) -> None:
            raise RuntimeError("no more")

        def on_fit_end(self, trainer: train.Trainer) -> None:
            ended.append(trainer.epoch)

    with pytest.raises(RuntimeError, match="no more"):
        fit(new(), callbacks=[Failing()])
    assert ended == [1]


def test_the_first_error_is_told_and_only_what_started_is_ended() -> None:
    ended = []

    class Named(train.Callback):
        def __init__(self, name: str, fail: bool = False) -> None:
            self.name, self.fail = name, fail

        def on_fit_start(self, trainer: train.Trainer, epochs: int, steps_per_epoch: int) -> None:
            if self.fail:
                raise RuntimeError(f"{self.name} cannot start")

        def on_fit_end(self, trainer: train.Trainer) -> None:
            ended.append(self.name)

    with pytest.raises(RuntimeError, match="second cannot start"):
        fit(new(), callbacks=[Named("first"), Named("second", fail=True), Named("third")])
    assert ended == ["first"]


def test_a_progress_bar_counts_every_step_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import tqdm

    class Visible(tqdm.tqdm):  # type: ignore[type-arg]
        def __init__(self, **options: Any) -> None:
            super().__init__(**(options | {"disable": False, "delay": 0, "mininterval": 0}))

    monkeypatch.setattr(tqdm, "tqdm", Visible)
    fit(new(), epochs=2, progress=True)
    shown = capsys.readouterr().err
    assert "6/6" in shown and "epoch 2/2" in shown and "val_accuracy=" in shown


# Ctrl-C, and a loss that is no longer finite


def test_ctrl_c_finishes_the_step_and_keeps_everything() -> None:
    interrupted, straight = new(), new()
    step = interrupted._training_step

    def pressed_during_the_fifth(*args: Any) -> Any:
        if interrupted.step == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return step(*args)

    interrupted._training_step = pressed_during_the_fifth
    with pytest.raises(KeyboardInterrupt):
        fit(interrupted, epochs=10)
    assert (interrupted.step, interrupted.epoch, len(interrupted.history)) == (5, 1, 1)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    class Stop(train.Callback):
        def on_step(self, trainer: train.Trainer) -> None:
            trainer.stop = trainer.step == 5

    fit(straight, epochs=10, callbacks=[Stop()])
    np.testing.assert_array_equal(weights(interrupted), weights(straight))


def test_a_second_ctrl_c_acts_at_once() -> None:
    class Impatient(train.Callback):
        def on_step(self, trainer: train.Trainer) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            raise AssertionError("not reached")

    with pytest.raises(KeyboardInterrupt):
        fit(new(), callbacks=[Impatient()])


@pytest.mark.parametrize("bad_row", [0, 40, 200, 511, 512, 513, 1999])  # 512 follows upon a look and a copy
def test_a_loss_that_is_not_finite_is_found_at_its_step_and_rolled_back(
    backend: backends.Backend, bad_row: int
) -> None:
    """One row holds a target so large that its loss overflows: the step is known, and so are the last good weights."""
    x, y = np.ones((2000, 1)), np.zeros(2000)
    y[bad_row] = 1e200

    def linear() -> train.Trainer:
        return train.Trainer(
            nn.Linear(1, 1), nn.MeanSquaredError(), optim.SGD(0.01, momentum=0.5), backend=backend, dtype="float64"
        )

    trainer = linear()
    with pytest.raises(
        train.Diverged, match=rf"at step {bad_row + 1} \(epoch 1, batch {bad_row + 1} of 2000\)"
    ) as found:
        trainer.fit(x, y, epochs=2, batch_size=1, shuffle=False, progress=False)
    assert found.value.step == bad_row + 1
    good = linear()
    # The weights that step `bad_row` met are the last that had a loss in training; those of a copy were tried beside.
    steps = bad_row if bad_row == 512 else max(bad_row - 1, 0)
    if steps:
        good.fit(x[:steps], y[:steps], epochs=1, batch_size=1, shuffle=False, progress=False)
    assert trainer.step == steps
    np.testing.assert_array_equal(weights(trainer), weights(good))


def test_weights_that_no_longer_work_are_not_copied_to_go_back_to(backend: backends.Backend) -> None:
    """The step before the look makes weights that are finite, but whose loss is not."""
    x, y = np.ones((600, 1)), np.zeros(600)
    y[511] = 1e153

    class Blow(train.Callback):
        def on_step(self, trainer: train.Trainer) -> None:
            if trainer.step == 511:
                trainer.learning_rate = 1e3

    trainer, good = (
        train.Trainer(nn.Linear(1, 1), nn.MeanSquaredError(), optim.SGD(0.01), backend=backend, dtype="float64")
        for _ in range(2)
    )
    with pytest.raises(train.Diverged, match=r"at step 513 .* those after step 511, the last with a finite loss"):
        trainer.fit(x, y, epochs=1, batch_size=1, shuffle=False, callbacks=Blow(), progress=False)
    good.fit(x[:511], y[:511], epochs=1, batch_size=1, shuffle=False, progress=False)
    np.testing.assert_array_equal(weights(trainer), weights(good))


def test_there_is_one_copy_to_go_back_to_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    original, made = rollback.Kept, []

    def watched(trainer: train.Trainer, slots: bool) -> Any:
        if trainer._plan is not None:
            assert trainer._plan.rollback.good is None
        made.append((trainer.step, slots))
        return original(trainer, slots)

    monkeypatch.setattr(rollback, "Kept", watched)
    trainer = train.Trainer(nn.Linear(1, 1), nn.MeanSquaredError(), optim.Adam(), backend="numpy")
    trainer.fit(np.ones((600, 1)), np.zeros(600), epochs=2, batch_size=1, progress=False)
    # At the start of the fit the slots can be made anew and only the parameters are kept.
    assert made == [(0, False), (512, True), (1112, True)]  # the looks at 600 and 1200 come too soon for another


def no_room(**_: Any) -> Any:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("room", [True, False])
def test_a_large_copy_lies_in_a_file_where_there_is_room(
    monkeypatch: pytest.MonkeyPatch, backend: backends.Backend, room: bool
) -> None:
    def new() -> train.Trainer:
        model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm(3), nn.Linear(3, 1))
        trainer = train.Trainer(model, nn.MeanSquaredError(), optim.Adam(), backend=backend)
        trainer.fit(np.eye(2), np.ones(2), epochs=3, progress=False)
        return trainer

    trainer, expected = new(), new().copy_state()
    monkeypatch.setattr(kept, "IN_MEMORY", 0)
    if not room:
        monkeypatch.setattr(kept.tempfile, "TemporaryFile", no_room)
    with backend.scope():
        copy = kept.Kept(trainer, slots=True)
    assert (copy._file is not None, bool(copy._arrays)) == (room, not room)
    trainer.fit(np.eye(2), np.ones(2), epochs=3, progress=False)
    host = backend.to_host
    with backend.scope():
        for _ in range(2):  # it can be gone back to more than once
            state = copy.state()
            for one, other in zip(
                (state.flat, state.buffers, *state.slots),
                (expected.flat, expected.buffers, *expected.slots),
                strict=True,
            ):
                np.testing.assert_array_equal(host(one), host(other))


def test_parameters_put_in_that_do_not_work_are_not_called_good() -> None:
    class Spoil(train.Callback):
        def on_epoch_end(self, trainer: train.Trainer, record: dict[str, float]) -> None:
            trainer.parameters = {name: np.full_like(value, 1e30) for name, value in trainer.parameters.items()}

    trainer = train.Trainer(nn.Linear(3, 1), nn.MeanSquaredError(), optim.SGD(0.01), backend="numpy")
    with pytest.raises(train.Diverged, match=r"at step 3 \(epoch 2, batch 1 of 2\); the weights are those from before"):
        trainer.fit(X, X[:, 0], epochs=3, batch_size=45, callbacks=Spoil(), progress=False)
    assert trainer.step == 2


def test_a_diverging_net_says_so_and_keeps_weights_that_work(backend: backends.Backend) -> None:
    trainer = train.Trainer(nn.Linear(3, 1), nn.MeanSquaredError(), optim.SGD(5.0), backend=backend)
    with pytest.raises(train.Diverged, match="Lower the learning rate \\(it was 5\\)"):
        trainer.fit(X, X @ [1.0, 2.0, 3.0], epochs=100, batch_size=30, progress=False)
    assert trainer.step > 10  # it did not blow up at once
    assert np.isfinite(weights(trainer)).all()
    assert np.isfinite(trainer.evaluate(X, X @ [1.0, 2.0, 3.0])["loss"])
    assert len(trainer.history) == trainer.epoch > 1


def test_weights_spoiled_by_the_very_last_update_are_found(backend: backends.Backend) -> None:
    trainer = train.Trainer(nn.Linear(3, 1), nn.MeanSquaredError(), optim.SGD(1e38), backend=backend)
    before = weights(trainer)
    with pytest.raises(train.Diverged, match=r"at step 2 .*the last with a finite loss"):
        trainer.fit(X, 100 * X[:, 0], epochs=1, batch_size=None, progress=False)
    np.testing.assert_array_equal(weights(trainer), before)


# Bad input


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"X": np.where(X > 2, np.nan, X)}, ValueError, "X contains NaN or infinity"),
        ({"X": X * np.inf}, ValueError, "X contains NaN or infinity"),
        ({"X": X[:0], "y": Y[:0]}, ValueError, r"X is empty: shape \(0, 3\)"),
        ({"X": X.astype(object)}, TypeError, "X has dtype object.*convert it"),
        ({"X": [["a", "b", "c"]] * 90}, TypeError, "X has dtype .*U1.*convert it"),
        ({"X": [[1.0], [1.0, 2.0]]}, TypeError, "X cannot be read as an array"),
        ({"X": X + 1j}, TypeError, "X has dtype complex128"),
        ({"X": X[:, 0]}, nn.ShapeError, r"X must have shape \(rows, features\), got \(90,\).*reshape"),
        ({"X": X[:, :2]}, nn.ShapeError, r"layer 0: Linear\(3, 16\) expects 3 features, got 2"),
        ({"y": Y[:-1]}, nn.ShapeError, r"X has 90 rows, y has shape \(89,\)"),
        ({"y": Y + 1}, ValueError, "labels run from 1 to 2.*must be 0 to 1"),
        ({"y": Y + 0.5}, TypeError, "integer class labels, got dtype .*float64"),
        ({"y": np.array(["yes", "no"] * 45)}, TypeError, "y has dtype .*U3"),
        ({"batch_size": 91}, ValueError, "batch_size=91 is larger than the data, which has 90 rows"),
        ({"batch_size": 0}, ValueError, "batch_size=0: give a whole number of at least 1"),
        ({"batch_size": 2.5}, ValueError, "batch_size=2.5"),
        ({"epochs": 0}, ValueError, "epochs=0"),
        ({"sample_weight": np.arange(90) - 1.0}, ValueError, "sample_weight must be finite, not negative"),
        ({"sample_weight": np.zeros(90)}, ValueError, "not all zero"),
        ({"sample_weight": np.ones(3)}, nn.ShapeError, r"sample_weight must have shape \(90,\)"),
        ({"epochs": True}, ValueError, "epochs=True: give a whole number"),
        ({"y": None}, TypeError, "y is None"),
        ({"y": Y + 2**32}, ValueError, "labels run from 4294967296"),
        ({"X": np.ma.masked_greater(X, 1)}, ValueError, "X has masked entries"),
        ({"callbacks": [train.EarlyStopping]}, TypeError, "callbacks must be instances"),
        ({"validation_data": 0.2}, TypeError, r"validation_data must be \(X, y\)"),
        ({"validation_data": (X_VAL[:, :2], Y_VAL)}, nn.ShapeError, "validation X of shape .* does not fit"),
        ({"validation_data": (X_VAL, Y_VAL + 7)}, ValueError, "labels run from 7 to 8"),
    ],
)
def test_bad_input_is_named_and_nothing_is_changed(
    backend: backends.Backend, change: dict[str, Any], error: type[Exception], message: str
) -> None:
    trainer = new(backend)
    before = weights(trainer)
    with pytest.raises(error, match=message):
        trainer.fit(**({"X": X, "y": Y, "epochs": 1, "batch_size": 32, "progress": False} | change))
    np.testing.assert_array_equal(weights(trainer), before)
    assert trainer.step == 0 and len(trainer.history) == 0


@pytest.mark.parametrize("bad", [(np.nan,), (np.inf,), (-np.inf,), (np.inf, -np.inf)])
def test_what_is_not_finite_is_found_and_huge_numbers_are_taken(
    backend: backends.Backend, bad: tuple[float, ...]
) -> None:
    trainer = new(backend)
    huge = np.full((90, 3), 1e38, np.float32)  # whose sum is infinite
    assert tuple(trainer.predict(huge).shape) == (90, 2)
    for x in (X.astype(np.float32), huge):
        x = x.copy()
        x[-len(bad) :, 1] = bad
        with pytest.raises(ValueError, match="X contains NaN or infinity"):
            trainer.predict(x)


def test_data_on_another_device_is_not_moved_silently(get_backend: Any) -> None:
    here, there = get_backend("strict:device1"), get_backend("strict").xp
    elsewhere = there.asarray(X, device=there.Device("device2"))
    with pytest.raises(backends.DeviceError, match=r"X .*device2"):
        new(here).fit(elsewhere, Y, epochs=1)
    with pytest.raises(backends.DeviceError, match=r"y .*device2"):
        new(here).fit(X, there.asarray(Y, device=there.Device("device2")), epochs=1)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: new(model=nn.Tanh()), ValueError, r"Tanh\(\) has no parameters to train"),
        (lambda: train.Trainer(nn.Linear, nn.MeanSquaredError()), TypeError, "model must be an instance"),  # type: ignore[arg-type]
        (lambda: train.Trainer(MODEL, nn.MeanSquaredError), TypeError, "loss must be an instance"),  # type: ignore[arg-type]
        (lambda: train.Trainer(MODEL, nn.MeanSquaredError(), 0.1), TypeError, "optimizer must be an"),  # type: ignore[arg-type]
        (lambda: new(metrics=["accuracy"]), TypeError, r"metrics are instances, such as \[train\.Accuracy\(\)\]"),
        (lambda: new(metrics=[train.Accuracy(), train.Accuracy(0.5)]), ValueError, "a name of its own"),
        (lambda: new(seed=-1), ValueError, "seed=-1: give a whole number of at least 0"),
        (lambda: new(seed=None), ValueError, "seed=None"),
        (lambda: new(None), backends.BackendError, "chosen by a word"),
        (lambda: new(dtype="float16"), ValueError, "choose 'float32' or 'float64'"),
        (lambda: new("strict:no_float64"), backends.BackendError, "cannot compute in float64"),
        (lambda: new("abacus"), backends.BackendError, "unknown backend 'abacus'"),
    ],
)
def test_a_trainer_that_makes_no_sense_is_refused(build: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        build()


def test_parameters_are_set_by_name_and_shape() -> None:
    trainer = new()
    values = trainer.parameters
    values["0.weight"][...] = 1.0
    assert not (trainer.parameters["0.weight"] == 1.0).any()  # a copy was given
    trainer.parameters = values
    assert (trainer.parameters["0.weight"] == 1.0).all()
    with pytest.raises(KeyError, match="expected parameters named"):
        trainer.parameters = {"weight": values["0.weight"]}
    with pytest.raises(ValueError, match=r"parameter '0\.bias' has shape \(1, 16\), got \(16,\)"):
        trainer.parameters = values | {"0.bias": np.zeros(16)}


# Optimizers that start anew, and averages


@pytest.mark.parametrize("wrapper", [optim.EMA, optim.SWA, optim.Lookahead])
def test_an_average_put_around_a_trained_optimizer_starts_from_the_trained_weights(
    tmp_path: Path, wrapper: Any
) -> None:
    trainer = new()
    fit(trainer, epochs=10)
    trainer.save(tmp_path / "model")
    loaded = train.Trainer.load(tmp_path / "model", backend="numpy", optimizer=wrapper(trainer.optimizer))
    np.testing.assert_array_equal(loaded.predict(X), trainer.predict(X))
    assert (loaded.step, loaded.began) == (trainer.step, trainer.step)
    fit(loaded, epochs=1)
    assert loaded.evaluate(X, Y)["loss"] < 1.2 * trainer.evaluate(X, Y)["loss"]


def test_another_optimizer_starts_anew_with_its_corrections_and_schedules(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 2))
    trainer = new(model=model, optimizer=optim.SGD(0.1))
    fit(trainer, epochs=10)
    trainer.save(tmp_path / "model")
    other = optim.Adam(optim.Warmup(optim.Constant(0.01), 10))
    loaded = train.Trainer.load(tmp_path / "model", backend="numpy", optimizer=other)
    fresh = new(model=model, optimizer=other)
    fresh.parameters = trainer.parameters
    for each in (loaded, fresh):
        each.fit(X, Y, epochs=5, batch_size=None, progress=False)
    for name, value in fresh.parameters.items():
        np.testing.assert_array_equal(loaded.parameters[name], value)
    assert loaded.history["learning_rate"][-5:] == fresh.history["learning_rate"]
    loaded.save(tmp_path / "again")
    again = train.Trainer.load(tmp_path / "again", backend="numpy")
    for each in (loaded, again):
        each.fit(X, Y, epochs=2, batch_size=None, progress=False)
    np.testing.assert_array_equal(again.predict(X), loaded.predict(X))


@pytest.mark.parametrize("wrapper", [optim.EMA, optim.SWA, optim.Lookahead])
def test_parameters_put_in_by_hand_reach_predict_and_restart_the_averages(wrapper: Any) -> None:
    trainer = new(optimizer=wrapper(optim.Adam(0.01)))
    fit(trainer, epochs=3)
    trainer.parameters = {name: np.zeros_like(value) for name, value in trainer.parameters.items()}
    np.testing.assert_array_equal(trainer.predict(X), np.zeros((len(X), 2)))
    fit(trainer, epochs=3)
    assert 0 < max(np.abs(value).max() for value in trainer.inference_parameters.values()) < 0.2


def test_nothing_is_changed_by_a_fit_that_is_refused() -> None:
    model = nn.Sequential(nn.Standardize(3), nn.Linear(3, 1))
    for wrong in ({"batch_size": 10**6}, {"metrics": [train.TopKAccuracy(1)]}):
        metrics = wrong.pop("metrics", [])
        trainer = train.Trainer(model, nn.MeanSquaredError(), backend="numpy", metrics=metrics)
        before = trainer.parameters
        with pytest.raises(ValueError, match=r"larger than the data|has one output"):
            trainer.fit(X, X[:, 0], progress=False, **wrong)
        assert not trainer.adapted
        np.testing.assert_array_equal(trainer.parameters["0.mean"], before["0.mean"])


def test_rows_that_do_not_count_have_no_mean_loss() -> None:
    loss = nn.SoftmaxCrossEntropy(class_weight=(0.0, 1.0))
    trainer = train.Trainer(nn.Linear(3, 2), loss, backend="numpy")
    assert np.isnan(trainer.evaluate(X, np.zeros(len(X), int))["loss"])


class Blow(train.Callback):
    """Makes the weights infinite within an epoch, and stops."""

    def on_step(self, trainer: train.Trainer) -> None:
        if trainer.step == 5:
            trainer.scale_learning_rate(1e300)
        trainer.stop = trainer.step == 6


def test_a_fit_that_is_stopped_does_not_leave_weights_that_are_not_numbers() -> None:
    trainer = train.Trainer(nn.Linear(3, 1), nn.MeanSquaredError(), optim.SGD(0.01), backend="numpy")
    with pytest.raises(train.Diverged):
        trainer.fit(X, X[:, 0], epochs=4, batch_size=45, callbacks=[Blow()], progress=False)
    assert np.isfinite(weights(trainer)).all() and trainer.step == 5


def test_a_rate_that_is_scaled_where_training_blows_up_does_not_hide_the_last_good_weights() -> None:
    x, y = np.full((4, 1), 1e3), np.zeros((4, 1))
    trainer = train.Trainer(nn.Linear(1, 1), nn.MeanSquaredError(), optim.SGD(1e30), backend="numpy", dtype="float64")
    plateau = train.ReduceOnPlateau("loss", factor=0.9, patience=0)
    with pytest.raises(train.Diverged):
        trainer.fit(x, y, epochs=50, batch_size=None, callbacks=[plateau], progress=False)
    assert np.isfinite(trainer.evaluate(x, y)["loss"])


class Rates(train.Callback):
    """Sets the learning rate of the next epoch; 1e80 in place of the last."""

    def __init__(self, rates: list[float]) -> None:
        self.rates = rates

    def on_epoch_end(self, trainer: train.Trainer, record: dict[str, float]) -> None:
        trainer.learning_rate = self.rates[trainer.epoch]


@pytest.mark.parametrize(
    "wrap", [lambda lr: optim.Adam(lr), lambda lr: optim.EMA(optim.SGD(lr, momentum=0.9))], ids=["Adam", "EMA"]
)
def test_a_learning_rate_that_is_set_is_that_of_the_next_step(
    backend: backends.Backend, tmp_path: Path, wrap: Any
) -> None:
    rates = [0.1, 0.03, 0.2, 0.01]
    trainer = new(backend, optimizer=wrap(0.1))
    fit(trainer, epochs=3, callbacks=Rates(rates))
    scheduled = new(backend, optimizer=wrap(optim.Chained(tuple(rates[:3]), (3, 6))))
    fit(scheduled, epochs=3)
    np.testing.assert_array_equal(weights(trainer), weights(scheduled))
    assert trainer.history["learning_rate"] == rates[:3]
    assert trainer.optimizer == wrap(0.01) and trainer.learning_rate == 0.01  # for what comes after
    trainer.save(tmp_path / "model")
    twins = train.Trainer.load(tmp_path / "model", backend=backend), pickle.loads(pickle.dumps(new(optimizer=wrap(1))))
    twins[1].learning_rate = np.float64(0.01)
    assert [twin.optimizer for twin in twins] == [wrap(0.01)] * 2
    assert type(twins[1].learning_rate) is float


def test_set_learning_rates_are_set_again_on_the_way_back_to_the_last_good_weights() -> None:
    rates = [0.1, 0.3, 0.05, 1e200, 0.1]
    trainer, same = (
        train.Trainer(nn.Linear(3, 1), nn.MeanSquaredError(), optim.SGD(0.1), backend="numpy", dtype="float64")
        for _ in range(2)
    )
    with pytest.raises(train.Diverged) as error:
        fit(trainer, epochs=5, callbacks=Rates(rates))
    assert error.value.step == 11 and trainer.step == 9  # 3 steps an epoch; the first with 1e200 gave bad weights
    assert trainer.learning_rate == 1e200
    fit(same, epochs=3, callbacks=Rates(rates))
    np.testing.assert_array_equal(weights(trainer), weights(same))


def test_learning_rates_that_cannot_be_are_refused() -> None:
    for rate in (-1.0, float("nan"), float("inf"), True, optim.Cosine(0.1, 5)):
        with pytest.raises(ValueError, match=r"learning_rate = .*: give a finite number of at least 0"):
            new().learning_rate = rate  # type: ignore[assignment]
    with pytest.raises(ValueError, match="its learning rate cannot be changed"):
        new(optimizer=optim.Rprop()).learning_rate = 0.1


def test_buffers_that_overflow_are_found_too() -> None:
    model = nn.Sequential(nn.BatchNorm(3), nn.Linear(3, 2))
    trainer = train.Trainer(model, nn.SoftmaxCrossEntropy(), backend="numpy")
    with pytest.raises(train.Diverged):
        trainer.fit(X * [1, 1e25, 1], Y, progress=False)


@pytest.mark.parametrize(
    "optimizer",
    [optim.Adam(), optim.EMA(optim.SGD(0.1, momentum=0.9)), optim.SWA(optim.SGD(0.1)), optim.Lookahead(optim.Adam())],
    ids=lambda optimizer: type(optimizer).__name__,
)
def test_slots_that_no_step_has_changed_are_not_written(
    backend: backends.Backend, tmp_path: Path, optimizer: optim.Optimizer
) -> None:
    trainer = new(backend, optimizer=optimizer)
    fit(trainer)
    trainer.parameters = trainer.parameters
    tensors, _ = checkpoint.contents(trainer)
    assert set(tensors) == set(trainer.parameters)
    trainer.save(tmp_path / "model")
    twin = train.Trainer.load(tmp_path / "model", backend=backend)
    elsewhere = pickle.loads(pickle.dumps(trainer.to("numpy")))
    for each in (trainer, twin, elsewhere):
        fit(each)
        assert len(checkpoint.contents(each)[0]) == len(tensors) + len(optimizer.slot_names) * len(
            trainer.layout.entries
        )
    expected, _ = checkpoint.contents(trainer)
    for name, tensor in checkpoint.contents(twin)[0].items():
        np.testing.assert_array_equal(tensor, expected[name], err_msg=name)
    assert_close(weights(elsewhere), weights(trainer), factor=1000, dtype=np.float64)


def test_a_state_of_another_optimizer_is_refused() -> None:
    with pytest.raises(ValueError, match="another model or optimizer"):
        new(optimizer=optim.SGD(0.1)).restore_state(new(optimizer=optim.Adam()).copy_state())


def test_a_single_callback_needs_no_list_and_a_negative_factor_is_refused(tmp_path: Path) -> None:
    trainer = new()
    fit(trainer, callbacks=train.EarlyStopping("loss"))
    with pytest.raises(ValueError, match="finite number of at least 0"):
        trainer.scale_learning_rate(-1.0)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        fit(trainer, callbacks=train.CSVLog(tmp_path / "none" / "log.csv"))


class Scaled(nn.Tanh):
    """Looks at the numbers in an array, as no compiled step can."""

    def forward(self, xp: Any, p: Any, x: Any, ctx: Any) -> Any:
        y, saved = super().forward(xp, p, x, ctx)
        return (y * 0.5 if float(xp.sum(y)) > 0 else y), saved


LOOKING = nn.Sequential(nn.Linear(3, 4), Scaled(), nn.Linear(4, 2))


@pytest.mark.parametrize("word", first_and_slow(["numpy", "jax"]))
def test_a_step_that_cannot_be_compiled_runs_as_it_is_and_says_why(get_backend: Any, word: str) -> None:
    backend = get_backend(word)
    trainer, plain = new(backend, LOOKING), new(backend, LOOKING, compile=False)
    assert trainer.fallback == plain.fallback == ""
    for each in (trainer, plain):
        fit(each, epochs=4)
    assert trainer.fallback and plain.fallback == ""
    np.testing.assert_array_equal(weights(trainer), weights(plain))
    assert trainer.predict(X).shape == (90, 2)


@pytest.mark.parametrize("optimizer", [optim.Adam(), optim.LBFGS()])
def test_a_trainer_may_leave_its_steps_as_they_are(monkeypatch: pytest.MonkeyPatch, optimizer: optim.Optimizer) -> None:
    monkeypatch.setattr(NumPyBackend, "compile", lambda *_, **__: pytest.fail("it compiles"))
    trainer = new(optimizer=optimizer, compile=False)
    fit(trainer, batch_size=None)
    for again in (copy.deepcopy(trainer), trainer.to("numpy")):
        assert again.compile is False
        fit(again, batch_size=None)
    with pytest.raises(ValueError, match="compile=True: choose 'auto' or False"):
        new(compile=True)
