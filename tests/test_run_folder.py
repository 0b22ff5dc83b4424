"""A run folder: everything that a report needs, and a history that can be read again."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from mlp_xp import backends, data, nn, optim, train

X, Y, X_TEST, Y_TEST = data.spiral()


def trained(backend: Any = "numpy", callbacks: Any = (), epochs: int = 3) -> train.Trainer:
    model = nn.Sequential(nn.Linear(2, 6), nn.ReLU(), nn.Linear(6, 3))
    metrics = [train.Accuracy(), train.ConfusionMatrix()]
    trainer = train.Trainer(model, nn.SoftmaxCrossEntropy(), optim.Adam(0.01), backend=backend, metrics=metrics)
    trainer.fit(X, Y, epochs=epochs, validation_data=(X_TEST, Y_TEST), callbacks=callbacks, progress=False)
    return trainer


def test_a_run_folder_holds_the_run(tmp_path: Path, backend: backends.Backend) -> None:
    recorder = train.Recorder(snapshots=True)
    trainer = trained(backend, [recorder])
    folder = tmp_path / "new" / "run"
    train.save_run(
        folder,
        trainer,
        title="spirals",
        recording=recorder.recording,
        training=(X, Y),
        test=(X_TEST, Y_TEST),
        configuration={"batch size": 32},
        data={"name": "three spirals"},
        metrics={"test_accuracy": 0.5, "nothing": float("nan")},
    )
    about = json.loads((folder / "run.json").read_text())
    assert (about["format"], about["title"]) == ("mlp_xp run 1", "spirals")
    assert about["configuration"] == {
        "model": "Sequential(Linear(2, 6), ReLU(), Linear(6, 3))",
        "loss": "SoftmaxCrossEntropy()",
        "optimizer": "Adam(lr=0.01)",
        "metrics": "Accuracy(), ConfusionMatrix()",
        "dtype": "float32",
        "precision": "float32",
        "seed": 0,
        "l2": 0.0,
        "parameters": 39,
        "epochs": 3,
        "steps": 30,
        "batch size": 32,
    }
    assert about["environment"]["backend"] == trainer.backend.word and about["environment"]["cores"] >= 1
    assert about["environment"]["numpy"] == np.__version__
    assert about["data"] == {"training rows": 300, "test rows": 300, "features": "2", "name": "three spirals"}
    assert json.loads((folder / "metrics.json").read_text()) == {"test_accuracy": 0.5, "nothing": None}
    results = load_file(folder / "results.safetensors")
    np.testing.assert_array_equal(results["test_outputs"], trainer.predict(X_TEST))
    np.testing.assert_array_equal(results["test_target"], Y_TEST)
    np.testing.assert_array_equal(results["train_x"], X)
    np.testing.assert_array_equal(results["train_target"], Y)
    assert len(train.Recording.load(folder).snapshots) == 4
    again = train.Trainer.load(folder / "model.safetensors", backend="numpy")
    np.testing.assert_allclose(again.predict(X_TEST), results["test_outputs"], atol=1e-5)


def test_without_test_data_the_outputs_are_those_for_the_validation_data(tmp_path: Path) -> None:
    trainer = trained()
    train.save_run(tmp_path, trainer, validation=(X_TEST, Y_TEST))
    about = json.loads((tmp_path / "run.json").read_text())
    assert about["data"] == {"validation rows": 300, "features": "2"}
    results = load_file(tmp_path / "results.safetensors")
    assert set(results) == {"validation_outputs", "validation_target"}
    np.testing.assert_array_equal(results["validation_outputs"], trainer.predict(X_TEST))
    train.save_run(tmp_path, trainer, training=(X, Y), validation=(X_TEST, Y_TEST), test=(X[:9], Y[:9]))
    about = json.loads((tmp_path / "run.json").read_text())
    assert about["data"] == {"training rows": 300, "validation rows": 300, "test rows": 9, "features": "2"}
    results = load_file(tmp_path / "results.safetensors")
    assert set(results) == {"test_outputs", "test_target", "train_x", "train_target"}
    np.testing.assert_array_equal(results["test_target"], Y[:9])


def test_of_many_rows_those_that_are_kept_come_from_all_over_the_data(
    tmp_path: Path, backend: backends.Backend
) -> None:
    rows = np.random.default_rng(0).normal(size=(4001, 2)).astype(np.float32)
    labels = np.arange(4001) // 1334  # sorted by class
    train.save_run(tmp_path, trained(backend, epochs=1), training=(rows, labels))
    results = load_file(tmp_path / "results.safetensors")
    np.testing.assert_array_equal(results["train_x"], rows[::3])
    np.testing.assert_array_equal(results["train_target"], labels[::3])


def test_a_run_of_little_leaves_little_and_removes_what_was_of_an_earlier_one(tmp_path: Path) -> None:
    recorder = train.Recorder(snapshots=True)
    trainer = trained(callbacks=[recorder])
    train.save_run(tmp_path, trainer, recording=recorder.recording, training=(X, Y))
    train.save_run(tmp_path, trainer)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"run.json", "metrics.json", "history.csv", "model.safetensors", "recording.json"}
    assert train.Recording.load(tmp_path).records == []


def test_a_history_is_read_again(tmp_path: Path) -> None:
    history = trained().history
    history.save_csv(tmp_path / "history.csv")
    same = train.History.load_csv(tmp_path / "history.csv")
    assert same.names == history.names
    for name in ("epoch", "loss", "val_accuracy", "seconds"):
        assert same[name] == history[name]
    assert isinstance(same["confusion_matrix"][0], str)


def test_a_line_that_was_being_written_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    for unfinished in ("2,0.4", "2,0.4,0.9", "2"):  # of 0.95, perhaps
        path.write_text(f"epoch,loss,accuracy\n1,0.5,0.9\n{unfinished}")
        assert train.History.load_csv(path).records == [{"epoch": 1, "loss": 0.5, "accuracy": 0.9}]
    path.write_bytes(b"\xef\xbb\xbfepoch,loss\r\n1,0.5\r\n")  # as a spreadsheet saves it
    assert train.History.load_csv(path).records == [{"epoch": 1, "loss": 0.5}]
    path.write_text("epoch,loss\n1,nan\n2,inf\n")
    assert [str(loss) for loss in train.History.load_csv(path)["loss"]] == ["nan", "inf"]
    path.write_text("")
    assert len(train.History.load_csv(path)) == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"loss,accuracy\n1,2\n", "line 1: there is no column 'epoch' among loss, accuracy"),
        (b"epoch,loss\n1,2,3\n2,1\n", "line 2: 3 values for 2 columns"),
        (b"epoch,loss\n\n\n1,2,3\n", "line 4: 3 values for 2 columns"),
        (b"epoch,loss\nfirst,2\n", "line 2: the epoch is no whole number: 'first'"),
        (b"epoch,loss\nnan,2\n", "line 2: the epoch is no whole number: nan"),
        (b"epoch,loss\n1.7,2\n", "line 2: the epoch is no whole number: 1.7"),
        (b"\xff\xfe\x00\x01", "is damaged"),
    ],
)
def test_a_damaged_history_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "history.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"history\.csv.*{message}"):
        train.History.load_csv(path)
