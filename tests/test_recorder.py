"""Looking into a net: the numbers are those of plain formulas, memory is bounded, and training is not disturbed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import assert_close

from mlp_xp import backends, nn, optim, random, train

rng = np.random.default_rng(5)
X = rng.normal(size=(120, 3))
Y = (X[:, 0] * X[:, 1] > 0).astype(np.int64)
MODEL = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
DEEP = nn.Sequential(
    nn.Standardize(3), nn.Linear(3, 8), nn.Residual(nn.Linear(8, 8), nn.Tanh(), nn.Dropout(0.2)), nn.Linear(8, 2)
)
NOISY = nn.Sequential(
    nn.GaussianNoise(optim.Cosine(0.1, 20)), nn.Linear(3, 8), nn.Dropout(optim.Cosine(0.5, 30)), nn.Linear(8, 2)
)


def new(model: nn.Layer = MODEL, backend: Any = "numpy", **more: Any) -> train.Trainer:
    more = {"optimizer": optim.SGD(0.1), "dtype": "float64", **more}
    return train.Trainer(model, nn.SoftmaxCrossEntropy(), backend=backend, **more)


def recorded(trainer: train.Trainer, recorder: train.Recorder, epochs: int = 4, **more: Any) -> train.Recording:
    trainer.fit(X, Y, epochs=epochs, batch_size=40, callbacks=[recorder], progress=False, **more)
    return recorder.recording


def weights(trainer: train.Trainer) -> np.ndarray:
    return np.concatenate([value.reshape(-1) for value in trainer.parameters.values()])


def test_inspect_gives_what_the_formulas_say(backend: backends.Backend) -> None:
    trainer = new(backend=backend)
    p = trainer.parameters
    p["0.bias"] = np.array([[0.0] * 6 + [-100.0, -100.0]])  # two units that no row reaches
    trainer.parameters = p
    first, relu, last = train.inspect(trainer, X, Y)

    z = X @ p["0.weight"] + p["0.bias"]
    h = np.maximum(z, 0)
    y = h @ p["2.weight"] + p["2.bias"]
    e = np.exp(y - y.max(1, keepdims=True))
    dy = e / e.sum(1, keepdims=True) - np.eye(2)[Y]  # of each row's own loss
    dh = dy @ p["2.weight"].T
    dz = dh * (h > 0)

    def rms(a: np.ndarray) -> float:
        return float(np.sqrt((a * a).mean()))

    for entry, out, back in ((first, z, dz), (relu, h, dh), (last, y, dy)):
        numbers = [entry[what] for what in ("mean", "std", "gradient")]
        assert_close(np.array(numbers), np.array([out.mean(), out.std(), rms(back)]), dtype=np.float64)
    assert [entry["dead"] for entry in (first, relu, last)] == [0.0, 0.25, 0.0]
    assert [entry["layer"] for entry in (first, relu, last)] == ["Linear(3, 8)", "ReLU()", "Linear(8, 2)"]
    slope = np.linalg.norm(h.T @ dy / len(X))
    expected = {"mean_abs": np.abs(p["2.weight"]).mean(), "gradient_norm": slope}
    assert last["parameters"]["2.weight"] == pytest.approx(expected, rel=1e-12)
    assert set(first["parameters"]) == {"0.weight", "0.bias"} and relu["parameters"] == {}


def test_layers_inside_layers_are_found_and_a_layer_without_gradient_is_nan() -> None:
    found = train.inspect(new(DEEP), X, Y)
    assert [entry["name"] for entry in found] == ["0", "1", "2.0", "2.1", "2.2", "3"]
    assert [entry["layer"] for entry in found][2:5] == ["Linear(8, 8)", "Tanh()", "Dropout(rate=0.2)"]
    assert np.isnan(found[0]["gradient"]) and all(np.isfinite(entry["gradient"]) for entry in found[1:])
    assert list(found[2]["parameters"]) == ["2.0.weight", "2.0.bias"] and found[0]["parameters"] == {}
    (alone,) = train.inspect(new(nn.Linear(3, 2)), X, Y)
    assert alone["name"] == "" and list(alone["parameters"]) == ["weight", "bias"]


def test_noise_and_schedules_are_those_of_the_step(backend: backends.Backend) -> None:
    expected = train.inspect(new(NOISY), X, Y)
    found = train.inspect(new(NOISY, backend), X, Y)
    for what in ("mean", "std", "gradient"):
        assert [e[what] for e in found] == pytest.approx([e[what] for e in expected], rel=1e-9, nan_ok=True)
    assert found[0]["std"] > X.std() and found[2]["dead"] < 1
    trainer = new(NOISY)
    trainer.step = 30  # both schedules have ended: nothing is drawn any more
    assert train.inspect(trainer, X, Y)[0]["std"] == pytest.approx(X.std(), rel=1e-12)


def test_one_row_has_no_dead_units() -> None:
    assert all(np.isnan(entry["dead"]) for entry in train.inspect(new(), X[:1], Y[:1]))


@pytest.mark.parametrize("model", [MODEL, DEEP, nn.Sequential(nn.Linear(3, 4), nn.BatchNorm(4), nn.Linear(4, 2))])
def test_training_is_the_same_with_a_recorder(model: nn.Layer) -> None:
    alone, watched = new(model), new(model)
    history = alone.fit(X, Y, epochs=4, batch_size=40, progress=False)
    recorded(watched, train.Recorder(every=2, snapshots=True))
    np.testing.assert_array_equal(weights(watched), weights(alone))
    assert watched.history["loss"] == history["loss"]


def test_it_looks_at_the_start_after_every_epoch_and_at_the_end() -> None:
    recording = recorded(new(), train.Recorder())
    assert recording.steps == [0, 3, 6, 9, 12] and recording.epochs == [0, 1, 2, 3, 4]
    assert recording.names == ["0", "1", "2"] and recording.snapshots == []
    assert {name: len(values) for name, values in recording.of_parameters("mean_abs").items()} == dict.fromkeys(
        ("0.weight", "0.bias", "2.weight", "2.bias"), 5
    )


def test_it_looks_after_every_so_many_updates() -> None:
    recording = recorded(new(), train.Recorder(every=5, snapshots=True))
    assert recording.steps == [0, 5, 10, 12]
    assert recording.epochs == pytest.approx([0, 5 / 3, 10 / 3, 4])
    assert [snapshot.step for snapshot in recording.snapshots] == recording.steps


def test_what_is_recorded_are_the_weights_of_that_step() -> None:
    trainer = new(optimizer=optim.EMA(optim.SGD(0.1), 0.9))
    start = trainer.parameters
    recording = recorded(trainer, train.Recorder(snapshots=True))
    first, last = recording.snapshots[0].parameters, recording.snapshots[-1].parameters
    averaged = trainer.inference_parameters
    for name, value in start.items():
        np.testing.assert_array_equal(first[name], value)
        np.testing.assert_array_equal(last[name], averaged[name])
    growth = recording.of_parameters("mean_abs")["0.weight"]
    assert growth[0] == pytest.approx(np.abs(start["0.weight"]).mean(), rel=1e-12)
    assert growth[-1] == pytest.approx(np.abs(trainer.parameters["0.weight"]).mean(), rel=1e-12)


def test_it_looks_at_so_many_rows_drawn_from_the_data() -> None:
    drawn = random.permutation(0, 0, len(X))[:30]
    assert len(set(drawn.tolist())) == 30
    recording = recorded(new(), train.Recorder(rows=30))
    for what in ("mean", "gradient"):
        seen = [entry[what] for entry in train.inspect(new(), X[drawn], Y[drawn])]
        assert [values[0] for values in recording.of_layers(what).values()] == pytest.approx(seen, rel=1e-12)


def test_a_second_fit_goes_on() -> None:
    trainer, recorder = new(), train.Recorder()
    recorded(trainer, recorder, epochs=2)
    assert recorded(trainer, recorder, epochs=2).steps == [0, 3, 6, 9, 12]


def test_memory_is_bounded() -> None:
    recording = recorded(new(), train.Recorder(every=1, snapshots=True, limit=20), epochs=100)
    assert len(recording.records) <= 21 and len(recording.snapshots) <= 129
    gaps = np.diff(recording.steps[:-1])
    assert recording.steps[0] == 0 and recording.steps[-1] == 300 and set(gaps) == {16}
    gaps = np.diff([snapshot.step for snapshot in recording.snapshots][:-1])
    assert set(gaps) == {4} and recording.snapshots[-1].step == 300


@pytest.mark.parametrize("limit", [2, 3, 7, 8])
def test_the_newest_is_never_thinned_away(limit: int) -> None:
    recording = recorded(new(), train.Recorder(every=1, limit=limit), epochs=9)
    assert recording.steps[0] == 0 and recording.steps[-1] == 27 and len(recording.steps) <= limit + 1


@pytest.mark.parametrize("first", [True, False])
def test_the_last_look_is_at_the_weights_that_fit_leaves(first: bool) -> None:
    trainer, recorder = new(optimizer=optim.SGD(3.0)), train.Recorder(snapshots=True)
    stopping = train.EarlyStopping("loss", patience=3)
    callbacks = [recorder, stopping] if first else [stopping, recorder]
    trainer.fit(X, Y, epochs=40, batch_size=40, callbacks=callbacks, progress=False)
    assert stopping.best_epoch is not None and stopping.best_epoch < trainer.epoch
    recording, left = recorder.recording, trainer.parameters
    assert recording.steps[-1] == recording.snapshots[-1].step == trainer.step
    assert len(recording.steps) == len(set(recording.steps))
    np.testing.assert_array_equal(recording.snapshots[-1].parameters["0.weight"], left["0.weight"])
    assert recording.of_parameters("mean_abs")["0.weight"][-1] == pytest.approx(np.abs(left["0.weight"]).mean())


def test_another_trainer_begins_another_recording() -> None:
    recorder = train.Recorder(snapshots=True)
    first = recorded(new(), recorder)
    second = recorded(new(seed=1), recorder, epochs=2)
    assert second is not first and first.steps == [0, 3, 6, 9, 12] and second.steps == [0, 3, 6]
    assert [snapshot.step for snapshot in second.snapshots] == [0, 3, 6]
    assert recorded(new(DEEP), recorder, epochs=1).names == ["0", "1", "2.0", "2.1", "2.2", "3"]


def test_large_nets_keep_fewer_snapshots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlp_xp.train.recorder.SNAPSHOT_BYTES", 5 * weights(new()).nbytes)
    recording = recorded(new(), train.Recorder(every=1, snapshots=True), epochs=10)
    assert len(recording.records) == 31 and 3 <= len(recording.snapshots) <= 6
    assert recording.snapshots[-1].step == 30


def test_what_a_diverged_fit_took_back_is_taken_out() -> None:
    trainer, recorder = new(optimizer=optim.SGD(1e200)), train.Recorder(every=1, snapshots=True)
    with pytest.raises(train.Diverged):
        recorded(trainer, recorder)
    assert recorder.recording.steps[-1] == trainer.step
    np.testing.assert_array_equal(
        recorder.recording.snapshots[-1].parameters["0.weight"], trainer.parameters["0.weight"]
    )


def test_a_recorder_follows_every_backend_and_sparse_rows(backend: backends.Backend) -> None:
    scipy_sparse = pytest.importorskip("scipy.sparse")
    dense = recorded(new(), train.Recorder(rows=30))
    same = recorded(new(backend=backend), train.Recorder(rows=30))
    for what in ("std", "gradient"):
        for name, values in dense.of_layers(what).items():
            assert same.of_layers(what)[name] == pytest.approx(values, rel=1e-9)
    trainer, recorder = new(backend=backend), train.Recorder(rows=30)
    trainer.fit(scipy_sparse.csr_matrix(X), Y, epochs=4, batch_size=40, callbacks=[recorder], progress=False)
    assert recorder.recording.of_layers("std")["2"] == pytest.approx(dense.of_layers("std")["2"], rel=1e-9)


def test_a_recording_survives_a_file(tmp_path: Path) -> None:
    recording = recorded(new(DEEP), train.Recorder(snapshots=True))
    recording.save(tmp_path)
    same = train.Recording.load(tmp_path)
    assert repr(same.records) == repr(recording.records)  # NaN too
    assert [s[:2] for s in same.snapshots] == [s[:2] for s in recording.snapshots]
    for one, other in zip(same.snapshots, recording.snapshots, strict=True):
        assert set(one.parameters) == set(other.parameters)
        assert all((one.parameters[name] == value).all() for name, value in other.parameters.items())
    train.Recording(recording.records).save(tmp_path)
    assert train.Recording.load(tmp_path).snapshots == []  # those of the earlier run are gone


RECORDS = """{"format": "mlp_xp recording 1", "records": [{"step": 0, "epoch": 0, "layers": []}, {"step": 1, "epoch": 1,
"layers": [{"name": NAME, "layer": "ReLU", "mean": 1, "std": 1, "dead": 0, "gradient": null, "parameters": {}}]}]}"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "recording.json is damaged"),
        ("[]", "it holds no object"),
        ('{"format": "other"}', "has the format 'other'"),
        ('{"format": "mlp_xp recording 1", "records": [{"step": 1}]}', "is damaged: KeyError 'layers'"),
        ('{"format": "mlp_xp recording 1", "records": [{"step": "x", "epoch": 0, "layers": []}]}', "json is damaged"),
        (RECORDS.replace("NAME", "7"), "a layer is named 7"),
        (RECORDS.replace("NAME", '"0"').replace("[]", "[{}]"), "json is damaged"),
        (RECORDS.replace("NAME", '"0"'), "its records are not of the same layers"),
    ],
)
def test_a_damaged_recording_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "recording.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        train.Recording.load(tmp_path)


def test_damaged_snapshots_are_named(tmp_path: Path) -> None:
    recorded(new(), train.Recorder(snapshots=True)).save(tmp_path)
    path = tmp_path / "snapshots.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"snapshots\.safetensors is damaged"):
        train.Recording.load(tmp_path)


@pytest.mark.parametrize("options", [{"every": 0}, {"rows": 0}, {"limit": 1}, {"every": 2.5}])
def test_a_senseless_recorder_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"Recorder: {next(iter(options))}=.*: give a whole number"):
        train.Recorder(**options)
