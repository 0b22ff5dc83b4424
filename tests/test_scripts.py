"""The training scripts as a user runs them: what they leave behind, and what they say when something is wrong."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import SCRIPTS

from mlp_xp import data, nn, optim, train

COMMON = {
    *("backend", "device", "dtype", "seed", "epochs", "seconds"),
    *("train_loss", "train_accuracy", "test_loss", "test_accuracy"),
}
FILES = {"metrics.json", "history.csv", "model.safetensors", "learning_curves.png"}


def run(*arguments: str, expect: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPTS / arguments[0]), *arguments[1:]]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, env=os.environ | environment)
    assert result.returncode == expect, result.stderr
    assert "Traceback" not in result.stderr
    return result


def assert_complete(out: Path, more: set[str] = set(), pictures: set[str] = set()) -> dict[str, object]:  # noqa: B006
    """The files of a run are there and hold what they should; gives the metrics."""
    assert {path.name for path in out.iterdir()} == FILES | pictures
    metrics = json.loads((out / "metrics.json").read_text())
    assert set(metrics) == COMMON | more
    with (out / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == metrics["epochs"] and {"epoch", "loss", "accuracy"} <= set(rows[0])
    for picture in {"learning_curves.png"} | pictures:
        assert (out / picture).read_bytes().startswith(b"\x89PNG") and (out / picture).stat().st_size > 10_000
    assert len(train.Trainer.load(out / "model.safetensors", backend="numpy").history) == metrics["epochs"]
    return metrics


def test_xor(tmp_path: Path) -> None:
    shown = run("train_xor.py", "--backend", "numpy", "--out", str(tmp_path / "run")).stdout
    more = {"outputs", "plane_share_of_class_1"}
    metrics = assert_complete(tmp_path / "run", more, {"decision_boundary.png"})
    assert metrics["train_accuracy"] == metrics["test_accuracy"] == 1.0
    assert "numpy (CPU), float32, 300 epochs" in shown and "1 xor 1 = 0: logit -" in shown
    model = train.Trainer.load(tmp_path / "run" / "model.safetensors", backend="numpy")
    np.testing.assert_allclose(model.predict(data.xor()[0])[:, 0], metrics["outputs"], rtol=1e-6)


def test_the_xor_reference(tmp_path: Path) -> None:
    shown = run("train_xor.py", "--reference", "--backend", "numpy", "--out", str(tmp_path)).stdout
    assert shown.count("relative deviation") == 2
    more = {"outputs", "plane_share_of_class_1", "error", "known_error", "relative_deviation"}
    for problem in ("xor", "and"):
        metrics = assert_complete(tmp_path / problem, more, {"decision_boundary.png"})
        assert float(str(metrics["relative_deviation"])) < 1e-9
        if problem == "xor":
            assert metrics["plane_share_of_class_1"] == pytest.approx(0.272, abs=5e-3)


def test_spiral_and_its_reference(tmp_path: Path) -> None:
    run("train_spiral.py", "--epochs", "300", "--backend", "numpy", "--out", str(tmp_path / "one"), "--quiet")
    metrics = assert_complete(tmp_path / "one", pictures={"decision_boundary.png"})
    assert float(str(metrics["test_accuracy"])) > 0.9
    shown = run("train_spiral.py", "--reference", "--backend", "numpy", "--out", str(tmp_path / "three")).stdout
    assert "rate 1, epoch 1000: accuracy 0.9933 / 0.9833" in shown
    for rate in ("0.2", "1", "5"):
        assert_complete(tmp_path / "three" / f"lr-{rate}", pictures={"decision_boundary.png"})
    assert (tmp_path / "three" / "learning_rates.png").stat().st_size > 10_000


def test_wdbc(tmp_path: Path) -> None:
    shown = run("train_wdbc.py", "--backend", "numpy", "--out", str(tmp_path)).stdout
    metrics = assert_complete(tmp_path, {"best_epoch", "precision", "recall", "f1", "confusion_matrix"})
    assert float(str(metrics["test_accuracy"])) > 0.93
    confusion = np.array(metrics["confusion_matrix"])
    assert confusion.sum() == 114 and np.trace(confusion) / 114 == pytest.approx(metrics["test_accuracy"])
    assert "taken for benign" in shown
    # The saved model carries its scaling: it takes a patient's numbers as they are.
    X, y = data.wdbc()
    model = train.Trainer.load(tmp_path / "model.safetensors", backend="numpy")
    assert (model.predict(X).argmax(1) == y).mean() > 0.96


def test_wdbc_is_right_for_96_of_100_patients_on_average(tmp_path: Path) -> None:
    import train_wdbc

    accuracies = []
    for seed in range(10):
        train_wdbc.main(["--backend", "numpy", "--quiet", "--seed", str(seed), "--out", str(tmp_path)])
        accuracies.append(json.loads((tmp_path / "metrics.json").read_text())["test_accuracy"])
    assert np.mean(accuracies) >= 0.96


def mnist_folder() -> str:
    folder = os.environ.get("MLP_XP_DATA")
    if not folder or not (Path(folder) / "mnist").is_dir():
        pytest.skip("needs MNIST: set MLP_XP_DATA to the folder that holds mnist/")
    return folder


def test_mnist(tmp_path: Path) -> None:
    small = ["--layers", "32", "--epochs", "1", "--batch-size", "256", "--backend", "numpy"]
    run("train_mnist.py", *small, "--data", mnist_folder(), "--out", str(tmp_path))
    metrics = assert_complete(tmp_path, {"data", "preset", "parameters", "confusion_matrix"})
    assert metrics["parameters"] == 784 * 32 + 32 + 32 * 10 + 10
    assert float(str(metrics["test_accuracy"])) > 0.85


def test_a_preset_is_a_published_net_and_other_options_change_it(tmp_path: Path) -> None:
    small = ["--layers", "24", "16", "--epochs", "1", "--backend", "numpy", "--quiet", "--data", mnist_folder()]
    run("train_mnist.py", "--preset", "dropout", *small, "--out", str(tmp_path))
    trainer = train.Trainer.load(tmp_path / "model.safetensors", backend="numpy")
    linear = [nn.Linear(784, 24), nn.Linear(24, 16)]
    hidden = [layer for each in linear for layer in (each, nn.ReLU(), nn.Dropout(0.5))]
    assert trainer.model == nn.Sequential(nn.Dropout(0.2), *hidden, nn.Linear(16, 10))
    assert trainer.optimizer == optim.Adam(optim.Cosine(0.001, 469), constraints={"*.weight": optim.MaxNorm(3.0)})
    for name, value in trainer.parameters.items():
        if name.endswith("weight"):
            assert (np.linalg.norm(value, axis=0) <= 3.0 * (1 + 1e-6)).all()


def test_options_choose_from_the_whole_catalogue(tmp_path: Path) -> None:
    chosen = ["--activation", "gelu", "--dropout", "0.1", "--optimizer", "adamw", "--schedule", "one-cycle"]
    chosen += ["--weight-decay", "0.1", "--epochs", "20"]
    run("train_wdbc.py", *chosen, "--backend", "numpy", "--quiet", "--out", str(tmp_path))
    trainer = train.Trainer.load(tmp_path / "model.safetensors", backend="numpy")
    steps = 20 * 13
    assert trainer.optimizer == optim.AdamW(optim.OneCycle(0.003 / 25, 0.003, 0.003 / 250_000, steps), weight_decay=0.1)
    assert trainer.model == nn.Sequential(
        nn.Standardize(30), nn.Linear(30, 8), nn.GELU(), nn.Dropout(0.1), nn.Linear(8, 2)
    )


@pytest.mark.parametrize("given", [None, 0.0, 0.2])
@pytest.mark.parametrize("name", ["adamw", "lamb", "adam"])
def test_a_weight_decay_is_taken_as_given_and_else_the_optimizers_own(name: str, given: float | None) -> None:
    import common

    options = [] if given is None else ["--weight-decay", str(given)]
    parser = common.options("", "", data="", optimizer=name, lr=0.01, epochs=1, batch_size=None)
    args = parser.parse_args([*options, "--backend", "numpy"])
    own = 0.0 if name == "adam" else 0.01
    trainer = common.new_trainer(args, nn.Linear(2, 1), nn.MeanSquaredError(), 4)
    assert trainer.optimizer.weight_decay == (own if given is None else given)
    assert "(default: the optimizer's own, 0.01 for adamw and lamb, else 0)" in " ".join(parser.format_help().split())
    assert own == common.OPTIMIZERS[name]().weight_decay  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--activation", "geluu"], "argument --activation: unknown name 'geluu'; did you mean 'gelu'?"),
        (["--optimizer", "adm"], "did you mean 'adam'?"),
        (["--schedule", "cosin"], "did you mean 'cosine'?"),
    ],
)
def test_a_name_that_is_not_known_is_refused_with_the_nearest_that_is(arguments: list[str], message: str) -> None:
    assert message in run("train_xor.py", *arguments, expect=2).stderr


@pytest.mark.parametrize("script", ["train_xor.py", "train_spiral.py", "train_wdbc.py", "train_mnist.py"])
def test_help_shows_every_shared_option_and_an_example(script: str) -> None:
    shown = run(script, "--help").stdout
    shared = "backend dtype layers activation dropout input-dropout optimizer lr schedule weight-decay max-norm"
    assert all(f"--{option}" in shown for option in f"{shared} batch-size epochs seed data out quiet".split())
    assert f"example:\n  python scripts/{script}" in shown


def test_the_environment_chooses_the_backend_and_quiet_is_quiet() -> None:
    assert run("train_xor.py", "--epochs", "5", MLP_XP_BACKEND="strict").stdout.startswith("strict (CPU)")
    result = run("train_xor.py", "--epochs", "5", "--quiet")
    assert result.stdout == result.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train_xor.py", "--backend", "abacus"], "error: unknown backend 'abacus'; choose 'auto' or one of"),
        (["train_xor.py", "--backend", "strict:moon"], "array-api-strict has no device 'moon'"),
        (["train_wdbc.py", "--data", "missing.csv"], "error: missing.csv"),
        (["train_wdbc.py", "--batch-size", "1000"], "batch_size=1000 is larger than the data, which has 386 rows"),
        (["train_mnist.py", "--data", "/nonexistent"], "train-images-idx3-ubyte.gz"),
        (["train_xor.py", "--optimizer", "rprop", "--schedule", "cosine"], "error: Rprop(lr=Cosine("),
        (["train_xor.py", "--out", "/proc/nowhere"], "error: cannot write to --out /proc/nowhere"),
        (["train_wdbc.py", "--lr", "1e30", "--optimizer", "sgd", "--activation", "relu"], "became NaN or infinite at"),
    ],
)
def test_what_a_user_can_mend_is_said_in_words(arguments: list[str], message: str) -> None:
    assert message in run(*arguments, expect=1).stderr


@pytest.mark.parametrize("arguments", [["--layers", "0"], ["--lr", "fast"], ["--data", "nand"], ["--epoch-count", "3"]])
def test_a_wrong_option_is_refused_with_the_usage(arguments: list[str]) -> None:
    assert "usage: train_xor.py" in run("train_xor.py", *arguments, expect=2).stderr


def test_ctrl_c_leaves_what_was_reached(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPTS / "train_xor.py"), "--epochs", "10000000", "--out", str(tmp_path)]
    process = subprocess.Popen([*command, "--backend", "numpy"], stderr=subprocess.PIPE, text=True)
    log = tmp_path / "history.csv"
    deadline = time.monotonic() + 60
    while not (log.exists() and len(log.read_text().splitlines()) > 20) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and errors.strip() == "interrupted"
    metrics = assert_complete(tmp_path, {"stopped_early"})
    assert metrics["stopped_early"] == "interrupted" and 20 <= int(str(metrics["epochs"])) < 10_000_000


def test_a_diverged_run_keeps_its_weights_and_says_so(tmp_path: Path) -> None:
    arguments = ["--lr", "1e30", "--optimizer", "sgd", "--activation", "relu", "--backend", "numpy"]
    run("train_wdbc.py", *arguments, "--out", str(tmp_path), expect=1)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert "at step 2" in metrics["stopped_early"] and np.isfinite(metrics["train_loss"])
    assert (tmp_path / "model.safetensors").exists()
