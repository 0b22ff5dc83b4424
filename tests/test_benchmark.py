"""The judge of speed is itself judged: it counts what it says, compares like with like, and shows what it measured."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import assert_close, first_and_slow

from mlp_xp import data

pytest.importorskip("sklearn")

Capture = pytest.CaptureFixture[str]


def case(optimizer: str = "Adam", sizes: tuple[int, ...] = (5, 7, 6, 3), batch: int = 4) -> Any:
    from nets import Case, Net

    return Case(Net(sizes, batch, steps=3), optimizer)


def entrant(word: str) -> Any:
    """A peer on the CPU, or the test is skipped where it is not installed."""
    from contestants import PEERS, peer

    for module in PEERS[word].needs:
        pytest.importorskip(module)
    return peer(word, "CPU")


compiling = pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
"""PyTorch's compiler imports what PyTorch warns of."""


@pytest.fixture
def no_cpp(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.compile traces and differentiates as ever, and leaves out what takes seconds: writing and compiling C++."""
    pytest.importorskip("torch")
    import torch_peers

    monkeypatch.setattr(torch_peers, "COMPILER", "aot_eager")


# The nets and the floor


def test_the_nets_are_named_by_their_sizes() -> None:
    from nets import NETS

    assert [str(net) for net in NETS[:3]] == ["2-8-2", "30-32-16-2", "784-128-64-10"]
    assert str(NETS[-1]) == "16-100x16-10" and len(NETS[-1].shapes) == 101
    assert NETS[1].parameters == 31 * 32 + 33 * 16 + 17 * 2


def test_epochs_are_long_and_their_rows_fit_the_memory() -> None:
    from nets import sized

    assert sized((2, 8, 2), 4).steps == 500
    assert sized((784, 2048, 2048, 10), 128).steps == 50  # what is done once in a fit is to weigh little
    assert sized((784, 2048, 2048, 10), 4096).steps == 20


def test_what_training_cannot_do_without() -> None:
    parameters, activations = 6 * 7 + 8 * 6 + 7 * 3, 4 * (5 + 7 + 6 + 3)
    assert case("SGD").memory == 4 * (2 * parameters + activations)
    assert case("Adam").memory == 4 * (4 * parameters + activations)


@pytest.mark.parametrize(("optimizer", "arrays"), [("SGD", 1), ("Adam", 3)])
def test_the_floor_is_every_product_of_a_step_and_one_pass_over_the_optimizers_memory(
    optimizer: str, arrays: int
) -> None:
    from contestants import Floor
    from nets import make_data

    calls: list[tuple[int, ...]] = []

    class Counting:
        def matmul(self, a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
            assert (*a.shape[:1], *b.shape[1:]) == out.shape and not np.shares_memory(a, out)
            calls.append((*a.shape, b.shape[1]))

        def negative(self, memory: np.ndarray, out: np.ndarray) -> None:
            assert out is memory and memory.dtype == np.float32
            calls.append(memory.shape)

    Floor(case(optimizer), [], library=Counting()).epoch(*make_data(case(optimizer)))
    forward, weights, inputs = (
        [(4, 5, 7), (4, 7, 6), (4, 6, 3)],
        [(5, 4, 7), (7, 4, 6), (6, 4, 3)],
        [(4, 6, 7), (4, 3, 6)],
    )
    parameters = 6 * 7 + 8 * 6 + 7 * 3
    assert sorted(calls) == sorted(3 * [*forward, *weights, *inputs, (arrays * parameters,)])


# Every contestant trains the same net


@compiling
@pytest.mark.usefixtures("no_cpp")
@pytest.mark.parametrize("optimizer", first_and_slow(["Adam", "SGD"]))
@pytest.mark.parametrize("word", ["sklearn", "torch", "torch-fused", "torch-compile", "jax"])
def test_every_peer_reaches_the_same_weights_and_answers(word: str, optimizer: str) -> None:
    """Over two epochs, in which the optimizer goes on, and with a last batch that is smaller."""
    from agreement import check, check_answers
    from contestants import ours
    from nets import first_weights, make_data

    chosen = entrant(word)
    check(case(optimizer), [chosen])
    exact = replace(case(optimizer), dtype="float64", eps=1e-30)
    x, y = (array[:10] for array in make_data(exact))
    reached = []
    for one in (chosen, ours("numpy")):
        assert one.make is not None
        contestant = one.make(exact, first_weights(exact))
        check_answers(exact, one.name, contestant, first_weights(exact), x)
        contestant.epoch(x, y, shuffle=False)
        contestant.epoch(*contestant.put(x, y), shuffle=False)
        reached.append(contestant.weights())
    for got, expected in zip(*reached, strict=True):
        assert_close(got, expected, 100)


@compiling
@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_so_does_what_the_compiler_makes_of_it(optimizer: str) -> None:
    from agreement import check
    from torch_peers import why_not_compile

    if reason := why_not_compile():
        pytest.skip(reason)
    check(case(optimizer), [entrant("torch-compile")])


def altered(change: Callable[[list[np.ndarray]], None]) -> Any:
    """An entrant that changes the weights that it reached."""
    from contestants import Entrant, Ours

    from mlp_xp import backends

    class Altered(Ours):
        def weights(self) -> list[np.ndarray]:
            weights = super().weights()
            change(weights)
            return weights

        def predict(self, x: np.ndarray) -> np.ndarray:
            answers = super().predict(x)
            answers[1] = (answers[1] + 1) % 3
            return answers

    return Entrant("altered", "peer", lambda case, start: Altered(case, start, backends.select("numpy")))


def test_a_wrong_weight_is_found_before_anything_is_timed() -> None:
    from agreement import Mismatch, check

    check(case(), [altered(lambda weights: None)])

    def change(weights: list[np.ndarray]) -> None:
        weights[3][2] += 1e-9

    with pytest.raises(Mismatch, match=r"5-7-6-3, batch 4, Adam: after 3 steps .* bias of layer 2 of altered differs"):
        check(case(), [altered(change)])


def test_so_is_a_wrong_answer() -> None:
    from agreement import Mismatch, check_answers
    from contestants import ours
    from nets import first_weights, make_data

    x, start = make_data(case())[0], first_weights(case())
    for one, expectation in (
        (ours("numpy"), None),
        (altered(lambda weights: None), "altered takes class . for row 1,"),
    ):
        assert one.make is not None
        contestant = one.make(case(), start)
        if expectation is None:
            check_answers(case(), one.name, contestant, start, x)
        else:
            with pytest.raises(Mismatch, match=expectation):
                check_answers(case(), one.name, contestant, start, x)


# Numbers and tables


def result() -> Any:
    from turns import Result

    seconds = {
        "floor": [1.0, 2.0, 2.0],
        "mlp_xp numpy": [2.0, 4.0, 6.0],
        "A": [4.0, 12.0, 12.0],
        "B": [3.0, 12.0, 24.0],
    }
    return Result({"net": "2-8-2"}, parts=1000, seconds=seconds, first={"A": 60.0})


def table(text: str) -> list[dict[str, str]]:
    """The rows of a Markdown table."""
    header, rule, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines())
    assert all(set(cell) <= {"-", ":"} for cell in rule)
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_a_time_is_a_median_and_a_ratio_the_median_of_the_ratios_within_a_round() -> None:
    assert result().part("mlp_xp numpy") == 4.0 / 1000
    assert result().ratio("B", "mlp_xp numpy") == 3.0  # of 1.5, 3, 4
    assert result().ratio("mlp_xp numpy", "floor") == 2.0  # of 2, 2, 3
    assert result().fastest(["A", "B"]) == "A"
    assert result().compiling("A") == 48.0


def test_the_tables_hold_times_and_ratios_to_the_fastest_peer_and_the_floor() -> None:
    from contestants import Entrant
    from turns import compiling, duration, ratios, times

    def make(case: Any, start: Any) -> Any: ...

    entrants = [Entrant("floor", "floor", make), Entrant("mlp_xp numpy", "ours", make)]
    entrants += [Entrant(name, "peer", make) for name in "AB"] + [Entrant("C", "peer", None, absent="not installed")]
    assert table(times([result()], entrants)) == [
        {"net": "2-8-2", "floor": "2 ms", "mlp_xp numpy": "4 ms", "A": "12 ms", "B": "12 ms", "C": "-"}
    ]
    assert table(ratios([result()], entrants)) == [
        {
            "net": "2-8-2",
            "A / mlp_xp": "2.00",
            "B / mlp_xp": "3.00",
            "fastest peer / mlp_xp": "2.00 (A)",
            "mlp_xp / floor": "2.00",
        }
    ]
    assert compiling([result()]).endswith("longer by up to: A 48 s.")
    assert [duration(seconds) for seconds in (1.5, 0.0123, 4.2e-05)] == ["1.5 s", "12.3 ms", "42 µs"]


def test_who_computes_on_a_gpu_is_compared_with_who_computes_there() -> None:
    from contestants import Entrant
    from turns import Result, ratios

    def make(case: Any, start: Any) -> Any: ...

    names = {"ours 1": "CPU", "ours 2": "CPU", "ours 3": "CUDA", "peer": "CPU", "peer cuda": "CUDA"}
    entrants = [Entrant(n, "ours" if "ours" in n else "peer", make, kind=kind) for n, kind in names.items()]
    seconds = {name: [number] for name, number in zip(names, (4.0, 2.0, 1.0, 6.0, 5.0), strict=True)}
    (row,) = table(ratios([Result({"net": "x"}, seconds=seconds)], entrants))
    assert row["peer / ours 1"] == "1.50" and row["peer cuda / ours 3"] == "5.00"
    assert row["fastest peer / fastest mlp_xp (CPU)"] == "3.00 (peer / ours 2)"
    assert not {"peer cuda / ours 1", "peer / ours 3", "fastest peer / fastest mlp_xp (CUDA)"} & set(row)


# The command line


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line measures two tiny nets."""
    import benchmark
    from nets import Net

    monkeypatch.setattr(benchmark, "NETS", (Net((2, 8, 2), 4, 3), Net((5, 7, 3), 8, 3)))
    monkeypatch.setitem(benchmark.GROUPS, "all", benchmark.NETS)


@pytest.mark.usefixtures("small")
def test_markdown_and_json_hold_what_was_measured(tmp_path: Path, capsys: Capture) -> None:
    from benchmark import main
    from turns import duration

    assert main(["--peers", "sklearn", "--rounds", "3", "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert (tmp_path / "benchmark.md").read_text() == shown
    written = json.loads((tmp_path / "benchmark.json").read_text())
    assert [(one["net"], one["batch"], one["optimizer"]) for one in written["steps"]] == [
        *[("2-8-2", 4, "SGD"), ("2-8-2", 4, "Adam"), ("5-7-3", 8, "SGD"), ("5-7-3", 8, "Adam")]
    ]
    first, second = (table(text) for text in re.findall(r"(?:^\|.*\n?)+", shown, re.MULTILINE))
    for one, times, ratios in zip(written["steps"], first, second, strict=True):
        assert {len(seconds) for seconds in one["seconds"].values()} == {3}
        for name in ("floor", "mlp_xp numpy", "scikit-learn"):
            assert times[name] == duration(float(np.median(one["seconds"][name])) / 3)
        each = np.array(one["seconds"]["scikit-learn"]) / np.array(one["seconds"]["mlp_xp numpy"])
        assert ratios["scikit-learn / mlp_xp"] == f"{np.median(each):.2f}"
    about = written["environment"]
    assert about["rounds"] == {"steps": 3} and not about["interrupted"]
    assert about["date"] in shown and about["processor"] in shown and "threads" in shown


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("after", [0, 14, 40], ids=["before", "within", "later"])
def test_ctrl_c_keeps_what_was_measured(
    after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    import contestants
    from benchmark import main

    epoch, calls = contestants.Ours.epoch, iter(range(1000))

    def interrupted(self: Any, *given: Any, **named: Any) -> None:
        if next(calls) == after:
            raise KeyboardInterrupt
        epoch(self, *given, **named)

    monkeypatch.setattr(contestants.Ours, "epoch", interrupted)
    assert main(["--peers", "sklearn", "--rounds", "9", "--out", str(tmp_path)]) == 130
    shown = capsys.readouterr()
    if not after:
        assert "interrupted before anything was measured" in shown.err and not shown.out
        assert not [*tmp_path.iterdir()]
        return
    written = json.loads((tmp_path / "benchmark.json").read_text())
    assert written["environment"]["interrupted"] and "Interrupted: what is missing was not measured." in shown.out
    done = [len(one["seconds"]["mlp_xp numpy"]) for one in written["steps"]]
    assert done and done[:-1] == [9] * (len(done) - 1) and sum(done) < 36


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--peers sklern", "--peers: unknown peer 'sklern'; did you mean 'sklearn'?"),
        ("--peers torch-graph", "--peers: torch-graph is for CUDA, and --backend names nothing there"),
        ("--measure step", "--measure: unknown measure 'step'; did you mean 'steps'?"),
        ("--backend numpi", "--backend: unknown backend 'numpi'; choose 'auto' or one of 'numpy'"),
        ("--nets 1,9", "--nets: '9' is neither small, large, deep, all nor a number from 1 to 8"),
        ("--rounds 0", "--rounds: give a whole number above 0"),
        ("--quick --measure epochs", "--quick: it measures steps only; leave --measure out"),
    ],
)
def test_what_it_does_not_know_is_refused_with_what_it_knows(arguments: str, said: str, capsys: Capture) -> None:
    from benchmark import main

    with pytest.raises(SystemExit) as ended:
        main(arguments.split())
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.usefixtures("small")
def test_what_is_absent_is_said_with_the_reason(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    import contestants
    from benchmark import main

    pytest.importorskip("torch")
    import torch_peers

    monkeypatch.setattr(contestants, "installed", lambda module: module != "jax")
    monkeypatch.setattr(torch_peers.shutil, "which", lambda name: None)
    monkeypatch.delenv("CXX", raising=False)
    assert main(["--peers", "torch-compile,jax", "--nets", "2", "--rounds", "1"]) == 0
    shown = capsys.readouterr().out
    assert "PyTorch compile: skipped: torch.compile needs a C++ compiler, and there is none (g++, " in shown
    assert "JAX: not installed (jax)." in shown
    assert table(re.findall(r"(?:^\|.*\n?)+", shown, re.MULTILINE)[0])[0]["JAX"] == "-"


@pytest.mark.usefixtures("small")
def test_a_failed_check_measures_nothing(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    import contestants
    from benchmark import main

    def off(weights: list[np.ndarray]) -> None:
        weights[0][0] *= 1.1

    monkeypatch.setitem(
        contestants.PEERS, "sklearn", replace(contestants.PEERS["sklearn"], make=lambda kind: altered(off).make)
    )
    assert main(["--peers", "sklearn", "--nets", "2"]) == 1
    shown = capsys.readouterr()
    assert "the check failed: 5-7-3, batch 8, SGD" in shown.err and not shown.out


def test_a_load_is_warned_of() -> None:
    from machine import busy

    assert busy(None) == busy(0.0) == ""
    assert "the load was 1000.0 before the start" in busy(1000.0)


# The other measures


def finished(measure: Any) -> str:
    """What it shows after all of its turns, of which there are as many as it said."""
    assert len([*measure.turns()]) == measure.total
    return measure.markdown()


def test_growth_says_what_grows() -> None:
    from contestants import find_entrants
    from measures import Growth
    from nets import Net

    growth = {
        "depth": [Net((3, 4, 2), 4, 2), Net((3, 4, 4, 2), 4, 2)],
        "batch": [Net((3, 4, 2), 4, 2), Net((3, 4, 2), 8, 2)],
    }
    text = finished(Growth(find_entrants(["numpy"], []), 1, growth)).split("\n\n")[0]
    assert [(row["grows"], row["net"], row["batch"]) for row in table(text)] == [
        *[("depth", "3-4-2", "4"), ("depth", "3-4-4-2", "4"), ("batch", "3-4-2", "4"), ("batch", "3-4-2", "8")]
    ]


@compiling
@pytest.mark.usefixtures("no_cpp")
def test_inference_is_latency_and_throughput() -> None:
    from contestants import find_entrants
    from measures import Inference

    entrant("jax")
    entrants = find_entrants(["numpy"], ["sklearn", "torch", "torch-fused", "torch-compile", "jax"])
    measure = Inference(entrants, 1, nets=[(6, 5, 3)], calls={1: 2, 50: 1})
    text = finished(measure)
    assert [row["rows"] for row in table(text.split("\n\n")[0])] == ["1", "50"]
    (many,) = table(text.split("Rows in a second:\n\n")[1])
    written = measure.as_json()[1]["seconds"]
    assert set(written) == {"mlp_xp numpy", "scikit-learn", "PyTorch", "PyTorch compile", "JAX"}
    for name, (seconds,) in written.items():
        assert many[name] == f"{50 / seconds:,.0f}"


@pytest.fixture
def stripes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Instead of MNIST images of a bright line each, whose place is the digit; the test images are shown brighter."""

    def images(rows: int) -> tuple[np.ndarray, np.ndarray]:
        y = np.arange(rows, dtype=np.uint8) % 10
        x = np.random.default_rng(0).integers(0, 60, (rows, 28, 28), dtype=np.uint8)
        x[np.arange(rows), 2 * y] += 150
        return x, y

    monkeypatch.setattr(data, "mnist", lambda folder: (*images(650), *images(100)))


@pytest.mark.usefixtures("stripes")
@pytest.mark.parametrize("steps", [True, False])
def test_rows_are_put_where_steps_are_measured_before_the_clock_runs(steps: bool) -> None:
    """An epoch of MNIST starts from NumPy arrays: the way to the device is a part of it."""
    from contestants import Entrant, Ours
    from measures import Steps
    from mnist_measures import Epochs

    from mlp_xp import backends

    given: list[bool] = []

    class Watched(Ours):
        def put(self, x: np.ndarray, y: np.ndarray) -> tuple[Any, Any]:
            return x.view(Put), y.view(Put)

        def epoch(self, x: Any, y: Any, shuffle: bool = True) -> None:
            given.append(isinstance(x, Put) and isinstance(y, Put))

    class Put(np.ndarray): ...

    entrant = Entrant("mlp_xp numpy", "ours", lambda case, start: Watched(case, start, backends.select("numpy")))
    measure = Steps([case("SGD")], [entrant], 2) if steps else Epochs([entrant], 2, None, hidden=[(4,)])
    assert finished(measure) and given == 3 * [steps]


@pytest.mark.usefixtures("stripes")
def test_whole_epochs_and_the_time_to_an_accuracy() -> None:
    from contestants import find_entrants
    from mnist_measures import Accuracy, Epochs

    entrants = find_entrants(["numpy"], ["sklearn"])
    (row,) = table(finished(Epochs(entrants, 1, None, hidden=[(16,)])).split("\n\n")[0])
    assert row["net"] == "784-16-10" and row["scikit-learn"].endswith("s")
    measure = Accuracy(entrants, 1, None, hidden=(64,), most=15)
    rows = table(finished(measure).split("\n\n")[0])
    for way, shown in zip(measure.as_json(), rows, strict=True):
        assert way["reached"] and way["accuracies"][-1] >= 0.98 > max(way["accuracies"][:-1])
        assert len(way["seconds"]) == len(way["accuracies"]) == int(shown["epochs"]) < 15
        assert way["seconds"] == sorted(way["seconds"])
        assert shown["best"] == f"{way['accuracies'][-1]:.2%}"
    never = Accuracy(entrants, 1, None, hidden=(4,), most=1)
    assert [row["until 98% of the test images"] for row in table(finished(never).split("\n\n")[0])] == 2 * [
        "not reached"
    ]


def test_peak_memory_is_that_of_training() -> None:
    from contestants import find_entrants
    from machine import why_no_memory
    from process_measures import Memory

    if reason := why_no_memory():
        pytest.skip(reason)
    measured = case("Adam", sizes=(784, 1024, 10), batch=32)
    measure = Memory(find_entrants(["numpy"], ["sklearn"]), 1, cases=[measured])
    (row,) = table(finished(measure).split("\n\n")[0])
    assert row["needed"] == f"{measured.memory / 2**20:.1f} MB"
    for name, (found,) in measure.as_json()[0]["bytes"].items():
        assert measured.memory < found < 4 * measured.memory
        assert row[name] == f"{found / 2**20:.1f} MB ({found / measured.memory:.2f})"


@pytest.mark.parametrize("word", ["ours", "sklearn", "torch", "jax"])
def test_the_programs_that_are_started_train(word: str) -> None:
    from contestants import ours
    from process_measures import child, program

    one = ours("numpy") if word == "ours" else entrant(word)
    assert child("-c", f"{program(one, 0)}; {program(one, 1)}; print('done')") == "done\n"


def test_start_up_is_held_against_bare_python() -> None:
    from contestants import find_entrants
    from process_measures import StartUp

    first, _, *_ = finished(StartUp(find_entrants(["numpy"], []), 1)).split("\n\n")
    assert [row[""] for row in table(first)] == ["import", "first step"]


def test_an_installation_is_a_library_with_all_that_it_requires() -> None:
    from contestants import find_entrants
    from process_measures import Installation

    measure = Installation(find_entrants(["numpy"], ["sklearn"]))
    text = finished(measure)
    ours, theirs = measure.as_json()
    assert set(ours["of"]) == {"mlp-xp", "numpy", "array-api-compat", "array-api-extra", "safetensors", "tqdm"}
    assert {"scikit-learn", "numpy", "scipy", "joblib", "threadpoolctl"} <= set(theirs["of"])
    assert all(size > 0 for one in (ours, theirs) for size in one["of"].values())
    assert [row["installed"] for row in table(text)] == [f"{one['bytes'] / 2**20:.0f} MB" for one in (ours, theirs)]
