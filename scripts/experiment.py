"""What the experiments share beside common.py: options, small problems, deep nets, runs over several seeds, tables."""

import argparse
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median, pstdev
from typing import Any

import numpy as np
from common import Help, natural, one_of, positive, prepare
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tqdm import tqdm

from mlp_xp import data, nn, train, viz
from mlp_xp.catalogue import OPTIMIZERS
from mlp_xp.train.json_files import write_json


def options(description: str, example: str, out: str) -> argparse.ArgumentParser:
    """The options that every experiment has; `out` says what --out gets."""
    parser = argparse.ArgumentParser(
        description=textwrap.fill(description, 100),
        epilog=f"example:\n  {example}",
        formatter_class=Help,
    )
    parser.add_argument("--backend", default="auto", help="numpy, cupy, cupy:1, torch, torch:cuda:0, jax, ... or auto")
    parser.add_argument(
        "--seed", type=natural, default=0, help="decides whatever is drawn at random; the first of several"
    )
    parser.add_argument("--out", type=Path, help=f"folder for {out}")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    return parser


def parsed(parser: argparse.ArgumentParser, argv: list[str] | None) -> argparse.Namespace:
    """What the options say, with the folder of --out made."""
    args = parser.parse_args(argv)
    if args.out is not None:
        prepare(args.out)
    return args


# Problems


@dataclass
class Problem:
    """Rows to tell apart: (rows, features) and labels 0, 1, ... (rows,), for training and for testing."""

    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray

    @property
    def features(self) -> int:
        return self.X.shape[1]

    @property
    def classes(self) -> int:
        return int(self.y.max()) + 1


def digits() -> Problem:
    """1797 images of 8 x 8 pixels, three tenths of them for testing."""
    X, y = load_digits(return_X_y=True)
    return split(X / 16, y)


def wdbc() -> Problem:
    """569 patients with 30 features, standardised."""
    problem = split(*data.wdbc())
    mean, std = problem.X.mean(axis=0), problem.X.std(axis=0)
    return Problem((problem.X - mean) / std, problem.y, (problem.X_test - mean) / std, problem.y_test)


def mnist() -> Problem:
    """The first 5000 and the first 2000 images of 28 x 28 pixels."""
    X, y, X_test, y_test = data.mnist()
    return Problem(flat(X[:5000]), y[:5000], flat(X_test[:2000]), y_test[:2000])


def flat(images: np.ndarray) -> np.ndarray:
    """Images as rows of numbers from 0 to 1."""
    return images.reshape(len(images), -1).astype(np.float32) / 255


def split(X: np.ndarray, y: np.ndarray) -> Problem:
    """Always in the same way, so that seeds differ in the net alone."""
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.3, stratify=y, random_state=0)
    return Problem(X, y, X_test, y_test)


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "spiral": lambda: Problem(*data.spiral()),
    "digits": digits,
    "wdbc": wdbc,
    "mnist": mnist,
}


# Nets


def plain(
    problem: Problem,
    depth: int,
    units: int,
    activation: nn.Layer,
    init: nn.Initializer,
    norm: Callable[[int], nn.Layer] | None = None,
) -> nn.Sequential:
    """So many hidden layers one after another: linear, normalised where asked, activation."""
    layers: list[nn.Layer] = []
    for width in [problem.features] + [units] * (depth - 1):
        layers += [nn.Linear(width, units, weight_init=init), *([norm(units)] if norm else []), activation]
    return nn.Sequential(*layers, nn.Linear(units, problem.classes, weight_init=nn.GlorotNormal()))


def residual(
    problem: Problem, depth: int, units: int, activation: nn.Layer, init: Callable[[float], nn.Initializer]
) -> nn.Sequential:
    """The same with a connection around each hidden layer but the first:   y = x + Linear(activation(x))

    (He et al., "Identity Mappings in Deep Residual Networks", 2016). What the branches give adds up, so their weights
    start smaller by sqrt(depth).
    """
    blocks = [nn.Residual(activation, nn.Linear(units, units, weight_init=init(depth**-0.5))) for _ in range(depth - 1)]
    first, last = nn.Linear(problem.features, units), nn.Linear(units, problem.classes, weight_init=nn.GlorotNormal())
    return nn.Sequential(first, *blocks, activation, last)


# Nets side by side, several times each


def comparison_options(
    description: str, example: str, names: Mapping[str, Any], what: str, **defaults: Any
) -> argparse.ArgumentParser:
    """The options of a script that compares nets which differ in one thing."""
    parser = options(
        description,
        example,
        "metrics.json with the table, loss.png and accuracy.png with a panel for each",
    )
    parser.add_argument(
        "names",
        type=one_of(names),
        nargs="*",
        metavar="NAME",
        help=f"{what} to compare, by default all: {', '.join(names)}",
    )
    parser.add_argument(
        "--data", type=one_of(PROBLEMS), help=f"the problem: {', '.join(PROBLEMS)} (as train_mnist.py finds it)"
    )
    parser.add_argument("--depth", type=positive, metavar="N", help="hidden layers")
    parser.add_argument("--units", type=positive, default=32, metavar="N", help="in each of them")
    parser.add_argument("--optimizer", type=one_of(OPTIMIZERS), metavar="NAME", help="any of mlp_xp.optim")
    parser.add_argument("--lr", type=float, help="learning rate")
    parser.add_argument("--batch-size", type=positive, metavar="N", help="rows in a batch (default: all)")
    parser.add_argument("--epochs", type=positive, metavar="N", help="passes over the training data")
    parser.add_argument("--seeds", type=positive, default=3, metavar="N", help="runs of each, from --seed on")
    parser.add_argument("--reach", type=share, default=0.9, metavar="SHARE", help="test accuracy to be reached")
    parser.set_defaults(interrupted=False, **defaults)
    return parser


def share(text: str) -> float:
    number = float(text)
    if not 0 < number <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most 1")
    return number


def compare(
    args: argparse.Namespace, problem: Problem, models: Mapping[str, nn.Layer]
) -> dict[str, list[train.Trainer]]:
    """Train each model from the same seeds; the trainers, whose histories end where a run diverged.

    After Ctrl-C those of the runs that are done, if there are any; `leave` then ends the script.
    """
    runs = [(name, args.seed + number) for name in models for number in range(args.seeds)]
    trainers: dict[str, list[train.Trainer]] = {name: [] for name in models}
    for name, seed in bar(args, runs, "run"):
        trainer = train.Trainer(
            models[name],
            nn.SoftmaxCrossEntropy(),
            OPTIMIZERS[args.optimizer](args.lr),
            backend=args.backend,
            seed=seed,
            metrics=[train.Accuracy()],
        )
        try:
            fit(trainer, problem, args.epochs, args.batch_size)
        except KeyboardInterrupt:
            if not any(trainers.values()):
                raise
            args.interrupted = True
            break
        trainers[name].append(trainer)
    return {name: done for name, done in trainers.items() if done}


def fit(trainer: train.Trainer, problem: Problem, epochs: int, batch_size: int | None) -> bool:
    """Train, with the test set measured after every epoch to look at; gives False where the loss went to infinity."""
    if batch_size is not None:
        batch_size = min(batch_size, len(problem.X))
    test = problem.X_test, problem.y_test
    try:
        trainer.fit(problem.X, problem.y, epochs=epochs, batch_size=batch_size, validation_data=test, progress=False)
    except train.Diverged:
        return False
    return True


def measured(trainers: Sequence[train.Trainer], epochs: int, reach: float) -> dict[str, Any]:
    """What several runs of one net reached: means, and the deviation of the test accuracy."""
    finished = [trainer.history for trainer in trainers if trainer.epoch == epochs]
    accuracies = [history["val_accuracy"][-1] for history in finished]
    soonest = [first(trainer.history, reach) for trainer in trainers]
    return {
        "runs": len(trainers),
        "diverged": len(trainers) - len(finished),
        "loss": fmean(history["loss"][-1] for history in finished) if finished else None,
        "accuracy": fmean(accuracies) if finished else None,
        "accuracy_std": pstdev(accuracies) if finished else None,
        "epochs_to_reach": soonest,
    }


def first(history: train.History, reach: float) -> int | None:
    """The first epoch after which so large a share of the test set was right; None if there is none."""
    return next((record["epoch"] for record in history if record["val_accuracy"] >= reach), None)


def soonest_first(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The names, first those that reached it in the fewest epochs, then by their accuracy."""

    def key(name: str) -> tuple[float, float]:
        result = results[name]
        late = [float("inf") if epoch is None else epoch for epoch in result["epochs_to_reach"]]
        return median(late), -(result["accuracy"] or 0.0)

    return sorted(results, key=key)


def cells(result: Mapping[str, Any]) -> list[str]:
    """Loss, accuracy and epochs of `measured` as text."""
    reached = [epoch for epoch in result["epochs_to_reach"] if epoch is not None]
    some = f" ({len(reached)} of {result['runs']})" if len(reached) < result["runs"] else ""
    when = f"{median(reached):g}{some}" if reached else "never"
    if result["loss"] is None:
        return ["diverged", "", when]
    diverged = f", {result['diverged']} diverged" if result["diverged"] else ""
    return [f"{result['loss']:.4f}", f"{result['accuracy']:.3f} +- {result['accuracy_std']:.3f}{diverged}", when]


def leave(
    args: argparse.Namespace, results: Mapping[str, Any], trainers: Mapping[str, Sequence[train.Trainer]]
) -> None:
    """Write metrics.json and, of the runs that got through an epoch, the two pictures into --out.

    KeyboardInterrupt where `compare` was interrupted: what it had is then shown and written.
    """
    if args.out is not None:
        write(args, results, trainers)
    if args.interrupted:
        raise KeyboardInterrupt


def write(
    args: argparse.Namespace, results: Mapping[str, Any], trainers: Mapping[str, Sequence[train.Trainer]]
) -> None:
    given = {name: value for name, value in vars(args).items() if name not in ("out", "quiet", "names")}
    write_json(args.out / "metrics.json", {"options": given, "results": results})
    histories = {name: [trainer.history for trainer in trainers[name] if len(trainer.history)] for name in results}
    drawn = {name: each for name, each in histories.items() if each}
    pictures = (
        ("loss", "training loss", "loss.png"),
        ("val_accuracy", "test accuracy", "accuracy.png"),
    )
    for column, label, picture in pictures if drawn else ():
        viz.learning_curve_panels(drawn, args.out / picture, column, label=label)
    say_where(args)


# What is printed


def bar(args: argparse.Namespace, items: Sequence[Any], unit: str) -> Any:
    """The items, with a bar on a terminal that says how many are done."""
    return tqdm(items, unit=unit, disable=True if args.quiet else None, delay=1, leave=False)


def show(args: argparse.Namespace, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table, the first column to the left and the others to the right."""
    if args.quiet:
        return
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, *rows):
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        print("  ".join(cells).rstrip())


def say_where(args: argparse.Namespace) -> None:
    """Print where the files are."""
    if args.out and not args.quiet:
        print(f"\nwritten to {args.out}/: {', '.join(sorted(path.name for path in args.out.iterdir()))}")
