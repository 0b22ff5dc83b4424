"""The judge of whole fits: MLPClassifier of mlp_xp beside that of scikit-learn, in one run, on the same data.

    python scripts/benchmark_estimators.py --quick
    python scripts/benchmark_estimators.py --out results

Each fit is `fit(X, y)` of a new estimator with the same parameters, Adam, and a fixed number of epochs (tol=0 and no
early stopping, so that none ends before): from the checks of the input to the fitted estimator. The two take turns,
round by round; the one that begins changes. The ratio is the median of the ratios within a round.

The memory is that of one fit in a process of its own: the highest resident set during the fit, less what the process
held before, with the data and the libraries loaded, and without what was free in it.
"""

import argparse
import json
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from machine import busy, environment, load, require_writable, resident, settle_memory, why_no_memory
from sklearn import neural_network
from sklearn.datasets import load_digits, make_classification
from sklearn.exceptions import ConvergenceWarning
from tqdm import tqdm

from mlp_xp import data, estimators

Data = tuple[np.ndarray, np.ndarray]
KINDS: dict[str, type] = {"mlp_xp": estimators.MLPClassifier, "scikit-learn": neural_network.MLPClassifier}
ROUNDS = 7
NEVER = 10**6
"""More epochs without progress than any fit here has."""


@dataclass(frozen=True)
class Case:
    """A data set, the hidden layers, and how many epochs are made."""

    name: str
    hidden: tuple[int, ...]
    epochs: int

    def load(self, folder: str | None) -> Data:
        return SOURCES[self.name](folder)

    def __str__(self) -> str:
        return f"{self.name} {self.hidden}"


def mnist(folder: str | None) -> Data:
    images, y, _, _ = data.mnist(folder)
    return images.reshape(len(images), -1).astype(np.float32) / 255, y


def digits(folder: str | None) -> Data:
    X, y = load_digits(return_X_y=True)
    return X / 16, y


def made(folder: str | None) -> Data:
    return make_classification(1000, 20, n_informative=10, random_state=0)


SOURCES: dict[str, Callable[[str | None], Data]] = {"MNIST": mnist, "digits": digits, "1,000 x 20": made}
CASES = (
    Case("1,000 x 20", (100,), 100),
    Case("digits", (100,), 100),
    Case("MNIST", (128, 64), 5),
    Case("MNIST", (512, 512), 2),
)
QUICK = (Case("1,000 x 20", (100,), 20), Case("digits", (100,), 10))
WARM = 1_200
"""Units of a hidden layer with more than 24,576 parameters on all of these data: updates of so many are compiled."""


@dataclass
class Result:
    case: Case
    shape: tuple[int, ...]
    """Rows and features."""
    seconds: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in KINDS})
    loss: dict[str, float] = field(default_factory=dict)
    accuracy: dict[str, float] = field(default_factory=dict)
    megabytes: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in KINDS})

    @property
    def ratio(self) -> float:
        """How many times as long scikit-learn takes."""
        ours, theirs = self.seconds.values()
        return median(b / a for a, b in zip(ours, theirs, strict=True))


def fitted(kind: str, case: Case, X: np.ndarray, y: np.ndarray) -> Any:
    estimator = KINDS[kind](case.hidden, max_iter=case.epochs, tol=0.0, n_iter_no_change=NEVER, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the last epoch is meant to be the last
        return estimator.fit(X, y)


def measure(case: Case, rounds: int, folder: str | None, bar: tqdm) -> Result:
    X, y = case.load(folder)
    result = Result(case, X.shape)
    for turn in range(rounds + 1):
        for kind in (tuple(KINDS), tuple(KINDS)[::-1])[turn % 2]:
            start = perf_counter()
            estimator = fitted(kind, case, X, y)
            seconds = perf_counter() - start
            bar.update()
            if turn == 0:  # to warm up, and to see that both learn the same
                result.loss[kind], result.accuracy[kind] = float(estimator.loss_), float(estimator.score(X, y))
                continue
            result.seconds[kind].append(seconds)
    return result


def needed_memory(kind: str, case: Case, folder: str | None) -> float:
    """Megabytes that a fit needs beyond what the process held before."""
    X, y = case.load(folder)
    # What is imported, compiled and allocated once is not the fit's; numba is, for a net of some size.
    fitted(kind, replace(case, hidden=(WARM,), epochs=8), X[:50], y[:50])
    before = settle_memory()
    fitted(kind, case, X, y)
    return (resident("VmHWM") - before) / 2**20


def measure_memory(result: Result, number: int, quick: bool, folder: str | None) -> None:
    for kind in KINDS:
        command = [sys.executable, __file__, "--memory-of", kind, str(number), *(["--quick"] if quick else [])]
        command += ["--data", folder] if folder else []
        found = subprocess.run(command, capture_output=True, text=True, check=True)
        result.megabytes[kind].append(float(found.stdout))


def table(results: Sequence[Result]) -> str:
    lines = [
        "| data, hidden layers | rows x features | epochs | mlp_xp | scikit-learn | ratio | mlp_xp | scikit-learn |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for result in results:
        seconds = (f"{median(times):.2f} s" for times in result.seconds.values())
        memory = (f"{median(values):.1f} MB" if values else "-" for values in result.megabytes.values())
        rows, features = result.shape
        cells = [result.case, f"{rows} x {features}", result.case.epochs, *seconds, f"{result.ratio:.2f}", *memory]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def report(results: Sequence[Result], about: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {about['packages'][name]}" for name in ("mlp_xp", "numpy", "scikit-learn"))
    lines = [
        table(results),
        "",
        f"Seconds of a fit, and what it needs of memory; medians of {about['rounds']} rounds; a ratio above 1 means "
        f"that scikit-learn takes longer.",
        f"{about['date']}, {about['processor']}, {about['cores']} cores; Python {about['python']}, {versions}.",
        "Final loss and accuracy on the training data, mlp_xp / scikit-learn: "
        + "; ".join(
            f"{result.case}: {_both(result.loss, '.4f')}, {_both(result.accuracy, '.4f')}" for result in results
        ),
    ]
    if warning := busy(about["load before"]):
        lines.append(warning)
    return "\n".join(lines)


def _both(values: dict[str, float], form: str) -> str:
    return " / ".join(format(value, form) for value in values.values())


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Measure whole fits of mlp_xp's MLPClassifier beside scikit-learn's: seconds and memory.",
        epilog="""example:
  python scripts/benchmark_estimators.py --out results

You will see a progress bar, and after some minutes a Markdown table with the seconds of a fit of each, how many times
as long scikit-learn takes, and the memory. The folder results/ then holds it as estimators.md, and every single time
with a description of the machine in estimators.json.""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"fits measured of each (default: {ROUNDS})")
    parser.add_argument("--quick", action="store_true", help="the small data sets, one round: some seconds")
    parser.add_argument("--data", help="folder with MNIST (default: MLP_XP_DATA, the user's cache, else downloaded)")
    parser.add_argument("--out", type=Path, help="a folder for estimators.json and estimators.md")
    parser.add_argument("--memory-of", nargs=2, metavar=("KIND", "CASE"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error("argument --rounds: give a whole number above 0")
    if options.out:
        try:
            require_writable(options.out)
        except OSError as error:
            parser.error(f"argument --out: {options.out} cannot be written to: {error}")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    cases, rounds = (QUICK, 1) if options.quick else (CASES, options.rounds)
    if options.memory_of:
        kind, number = options.memory_of
        print(needed_memory(kind, cases[int(number)], options.data))
        return 0
    before = load()
    results: list[Result] = []
    try:
        with tqdm(total=len(cases) * (rounds + 1) * len(KINDS), unit="fit", disable=None) as bar:
            for number, case in enumerate(cases):
                result = measure(case, rounds, options.data, bar)
                if not why_no_memory():
                    for _ in range(rounds):
                        measure_memory(result, number, options.quick, options.data)
                results.append(result)
    except KeyboardInterrupt:
        print("interrupted" if results else "interrupted before anything was measured", file=sys.stderr)
        if not results:
            return 130
    except FileNotFoundError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    about = environment() | {"load before": before, "rounds": rounds}
    text = report(results, about)
    print(text)
    if options.out:
        (options.out / "estimators.md").write_text(text + "\n", encoding="utf-8")
        content = {"environment": about, "cases": [asdict(result) for result in results]}
        (options.out / "estimators.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return 0 if len(results) == len(cases) else 130


if __name__ == "__main__":
    sys.exit(main())
