"""The experiments as a user runs them: what they print and leave behind, and that what they claim is so."""

import json
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SCRIPTS
from test_scripts import mnist_folder, run

pytest.importorskip("matplotlib")
EXPERIMENTS = (
    *("compare_activations", "compare_initializers", "vanishing_gradients"),
    *("loss_landscape", "learned_features", "gradient_check"),
)


def experiment(name: str, *arguments: str, out: Path | None = None) -> dict[str, Any]:
    """Run a script on NumPy; gives what it left in metrics.json."""
    where = [] if out is None else ["--out", str(out)]
    import_module(name).main(["--backend", "numpy", *arguments, *where])
    return {} if out is None else json.loads((out / "metrics.json").read_text())


def left(out: Path) -> set[str]:
    """The files in a folder, of which pictures are pictures."""
    for picture in out.glob("*.png"):
        assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size > 10_000
    return {path.name for path in out.iterdir()}


def test_without_an_activation_more_layers_are_no_more_than_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    some = ["identity", "relu", "sigmoid"]
    results = experiment("compare_activations", *some, "--epochs", "50", "--seeds", "2", out=tmp_path)["results"]
    assert next(iter(results)) == "relu"  # the quickest
    assert results["relu"]["accuracy"] > 0.95 and all(epoch < 40 for epoch in results["relu"]["epochs_to_reach"])
    assert results["identity"]["accuracy"] < 0.6
    assert results["identity"]["epochs_to_reach"] == results["sigmoid"]["epochs_to_reach"] == [None, None]
    header, *rows = capsys.readouterr().out.splitlines()[:4]
    assert header.split() == ["activation", "training", "loss", "test", "accuracy", "epochs", "to", "90%"]
    assert rows[0].startswith("relu") and all(row.endswith("never") for row in rows[1:])
    assert f"{results['relu']['accuracy']:.3f} +- {results['relu']['accuracy_std']:.3f}" in rows[0]
    assert left(tmp_path) == {"metrics.json", "loss.png", "accuracy.png"}


def test_a_net_that_diverges_is_said_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wild = ["relu", "--optimizer", "sgd", "--lr", "1e20", "--epochs", "3", "--seeds", "1"]
    result = experiment("compare_activations", *wild, "--data", "wdbc", out=tmp_path)["results"]["relu"]
    assert (result["diverged"], result["loss"], result["accuracy"]) == (1, None, None)
    assert "diverged" in capsys.readouterr().out


def test_where_no_run_gets_through_an_epoch_the_table_is_shown_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wild = ["relu", "--optimizer", "sgd", "--lr", "1e30", "--epochs", "3", "--seeds", "1", "--batch-size", "20"]
    result = experiment("compare_activations", *wild, "--data", "wdbc", out=tmp_path)["results"]["relu"]
    assert (result["diverged"], result["loss"]) == (1, None)
    header, row, _, last = capsys.readouterr().out.splitlines()
    assert header.startswith("activation") and row.split() == ["relu", "diverged", "never"]
    assert last == f"written to {tmp_path}/: metrics.json"


def test_weights_that_keep_the_signal_learn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    some = ["faninuniform", "henormal", "lsuv"]
    results = experiment("compare_initializers", *some, "--epochs", "60", "--seeds", "1", out=tmp_path)["results"]
    assert list(results)[-1] == "faninuniform" and results["faninuniform"]["signal"] < 1e-2
    for name in ("henormal", "lsuv"):
        assert 0.2 < results[name]["signal"] < 5
        assert results[name]["accuracy"] > results["faninuniform"]["accuracy"] + 0.2
    assert capsys.readouterr().out.splitlines()[0].split()[:2] == ["initializer", "signal"]
    assert left(tmp_path) == {"metrics.json", "loss.png", "accuracy.png"}


def test_gradients_vanish_and_explode_and_what_helps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nets = experiment("vanishing_gradients", "--epochs", "2", out=tmp_path)["nets"]
    at_start = {name: net["share_at_start"] for name, net in nets.items()}
    assert at_start["sigmoid"] < 1e-5 and at_start["sigmoid, layer norm"] < 1e-3
    for name in ("sigmoid, residual", "sigmoid, batch norm", "ReLU", "ReLU, residual"):
        assert 0.03 < at_start[name] < 3
    assert at_start["ReLU, large weights"] > 30
    assert nets["ReLU, large weights"]["test_accuracy"] is None
    for name in ("clipped", "batch norm"):
        assert nets[f"ReLU, large weights, {name}"]["test_accuracy"] > 0.12
    assert nets["sigmoid, batch norm"]["test_accuracy"] > nets["sigmoid"]["test_accuracy"] + 0.2
    shown = capsys.readouterr().out
    assert all(name in shown for name in nets) and "diverged" in shown
    assert left(tmp_path) == {"metrics.json", "at_start.png", "after_training.png"}


def test_the_walls_around_a_deep_plain_net_are_steep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--epochs", "100", "--cells", "9", "--depths", "20", "--quiet"]
    nets = experiment("loss_landscape", *small, out=tmp_path)["nets"]
    plain, residual = nets["plain, depth 20"], nets["residual, depth 20"]
    assert max(plain["loss"], residual["loss"]) < 0.2
    assert plain["largest_loss"] > 20 * residual["largest_loss"]
    assert plain["median_loss"] > 3 * residual["median_loss"]
    assert plain["better_than_guessing"] < residual["better_than_guessing"]
    assert capsys.readouterr().out == ""
    pictures = {f"{view}_{kind}_20.png" for view in ("contour", "surface") for kind in ("plain", "residual")}
    assert left(tmp_path) == {"metrics.json", "landscapes.png"} | pictures


def test_a_net_of_the_landscapes_that_diverges_is_said_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import loss_landscape

    real = loss_landscape.fit
    finished = iter([False, True])
    monkeypatch.setattr(loss_landscape, "fit", lambda *given, **named: real(*given, **named) and next(finished))
    small = ["--epochs", "1", "--cells", "3", "--depths", "2", "--reach", "0.5"]
    nets = experiment("loss_landscape", *small, out=tmp_path)["nets"]
    assert set(nets["plain, depth 2"].values()) == {None} and None not in nets["residual, depth 2"].values()
    assert "plain, depth 2     diverged\n" in capsys.readouterr().out
    assert left(tmp_path) == {"metrics.json", "landscapes.png", "contour_residual_2.png", "surface_residual_2.png"}


def test_features_become_smooth_and_decay_takes_the_noise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--rows", "4000", "--epochs", "8", "--units", "36", "--weight-decay", "4e-3", "--data", mnist_folder()]
    features = experiment("learned_features", *small, out=tmp_path)["features"]
    start, without, decayed = (features[name]["likeness_of_neighbours"] for name in features)
    assert abs(start) < 0.05 < 0.15 < without < decayed - 0.1
    assert features["at the start"]["test_accuracy"] < 0.3 < 0.85 < features["with decay"]["test_accuracy"]
    assert "likeness of neighbours" in capsys.readouterr().out
    assert left(tmp_path) == {"metrics.json", "at_the_start.png", "without_decay.png", "with_decay.png"}


def test_likeness_is_1_for_an_even_image_and_0_for_noise() -> None:
    from learned_features import likeness

    assert likeness(np.full((2, 5, 6), 3.0)) == pytest.approx(1.0)
    assert likeness(np.indices((6, 6)).sum(0)[None] % 2 * 2.0 - 1.0) == pytest.approx(-1.0)  # a chessboard
    assert abs(likeness(np.random.default_rng(0).normal(size=(50, 28, 28)))) < 0.02


@pytest.mark.parametrize(
    "net",
    [
        [],
        ["--reference"],
        ["--layers", "3", "2", "--loss", "poisson"],
        ["--layers", "4", "5", "5", "2", "--activation", "relu", "--residual", "--layernorm", "--loss", "hinge"],
        ["--layers", "3", "4", "2", "--activation", "prelu", "--batchnorm", "--dropout", "0.3", "--seed", "1"],
    ],
    ids=" ".join,
)
def test_the_gradients_of_any_net_are_right(net: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    checks = experiment("gradient_check", *net, out=tmp_path)["checks"]
    assert all(check["passed"] and check["error"] < 1e-7 for check in checks)
    header, *rows = capsys.readouterr().out.splitlines()[: 1 + len(checks)]
    assert header.split()[0] == "parameter" and all(row.endswith("ok") for row in rows)
    assert [row.split()[0] for row in rows] == [check["name"] for check in checks]


def test_the_numeric_example_has_the_slopes_that_are_known(tmp_path: Path) -> None:
    checks = experiment("gradient_check", "--reference", out=tmp_path)["checks"]
    known = {"0.weight": 0.108, "0.bias": 0.054, "2.weight": 0.099, "2.bias": 0.09}  # the largest of each
    assert {check["name"]: check["largest"] for check in checks[1:]} == pytest.approx(known, rel=1e-10)
    assert max(check["error"] for check in checks) < 1e-11


def test_every_loss_of_the_gradient_check_takes_the_targets_that_it_gets() -> None:
    from gradient_check import LOSSES

    for loss in LOSSES:
        experiment("gradient_check", "--layers", "3", "2", "--rows", "3", "--loss", loss, "--quiet")


def test_a_mistake_is_found_and_where_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = ["--layers", "4", "6", "6", "6", "3", "--mistake", "1"]
    with pytest.raises(ArithmeticError, match=r"5 of 9 differ by more than 1e-05: x, 0\.weight, 0\.bias, 2\.weight"):
        experiment("gradient_check", *net, out=tmp_path)
    checks = json.loads((tmp_path / "metrics.json").read_text())["checks"]
    wrong = {check["name"] for check in checks if not check["passed"]}
    assert wrong == {"x", "0.weight", "0.bias", "2.weight", "2.bias"}  # what lies before the second activation
    assert all(check["error"] > 0.01 if check["name"] in wrong else check["error"] < 1e-7 for check in checks)
    assert capsys.readouterr().out.count("WRONG") == 5
    said = run("gradient_check.py", *net, "--backend", "numpy", "--quiet", expect=1).stderr
    assert said.startswith("error: 5 of 9 differ") and len(said.splitlines()) == 1


def test_the_gradient_check_runs_on_other_backends(capsys: pytest.CaptureFixture[str]) -> None:
    import_module("gradient_check").main(["--backend", "strict", "--layers", "2", "2", "--rows", "2"])
    assert capsys.readouterr().out.count("ok") == 3


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_help_says_what_one_will_see_and_has_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        import_module(name).main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert all(f"--{option}" in shown for option in ("backend", "seed", "out", "quiet"))
    assert "you will see" in " ".join(shown.split()).lower()
    assert f"example:\n  python scripts/{name}.py --" in shown.replace("relu tanh sigmoid ", "").replace(
        "henormal glorotnormal lsuv ", ""
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare_activations", "reluu"], "argument NAME: unknown name 'reluu'; did you mean 'relu'?"),
        (["compare_initializers", "--data", "digit"], "unknown name 'digit'; did you mean 'digits'?"),
        (["compare_activations", "--reach", "1.5"], "argument --reach: 1.5 is not above 0 and at most 1"),
        (["vanishing_gradients", "--depth", "0"], "argument --depth: 0 is not above 0"),
        (["gradient_check", "--layers", "4"], "--layers: give at least the numbers of inputs and of outputs"),
        (["vanishing_gradients", "--seed", "-3"], "argument --seed: -3 is below 0"),
        (["loss_landscape", "--cells", "24"], "argument --cells: 24 is not an odd number from 3 on"),
        (["loss_landscape", "--reach", "0"], "argument --reach: 0 is not a finite number above 0"),
        (["gradient_check", "--layers", "4", "1"], "--layers: softmaxcrossentropy tells classes apart"),
        (["gradient_check", "--activation", "identity", "--mistake", "0"], "--mistake forgets the slope"),
        (["gradient_check", "--reference", "--mistake", "0"], "leave out --mistake"),
        (["gradient_check", "--mistake", "1"], "--mistake 1: no such hidden layer (of 1, counted from 0)"),
    ],
)
def test_a_wrong_option_is_refused(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        experiment(*arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["learned_features", "--data", "/nonexistent"], "MNIST is not complete."),
        (["vanishing_gradients", "--out", "/proc/nowhere"], "cannot write to --out /proc/nowhere"),
    ],
)
def test_what_a_user_can_mend_is_said_in_words(arguments: list[str], message: str) -> None:
    with pytest.raises((ValueError, OSError), match=message):
        experiment(*arguments)


def test_ctrl_c_is_one_word(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPTS / "compare_activations.py"), "relu", "--epochs", "10000000"]
    process = subprocess.Popen(
        [*command, "--backend", "numpy", "--out", str(tmp_path / "made")], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "made").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)  # it has begun to train
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and errors.strip() == "interrupted"


def test_ctrl_c_shows_and_leaves_the_runs_that_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = import_module("experiment")
    fit, done = shared.fit, []

    def until_ctrl_c(*arguments: Any) -> bool:
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(fit(*arguments))
        return done[-1]

    monkeypatch.setattr(shared, "fit", until_ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        experiment("compare_activations", "relu", "tanh", "elu", "--seeds", "2", "--epochs", "5", out=tmp_path)
    results = json.loads((tmp_path / "metrics.json").read_text())["results"]
    assert {name: result["runs"] for name, result in results.items()} == {"relu": 2, "tanh": 1}
    assert left(tmp_path) == {"metrics.json", "loss.png", "accuracy.png"}
    assert "tanh" in (printed := capsys.readouterr().out) and "elu" not in printed.replace("relu", "")
