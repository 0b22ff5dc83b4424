"""What the training scripts share: their options, how they are run, and what they leave in --out."""

import argparse
import shlex
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from mlp_xp import backends, nn, optim, train, viz
from mlp_xp.catalogue import ACTIVATIONS, INITIALIZERS, OPTIMIZERS, activation, suitable_init
from mlp_xp.names import unknown

SCHEDULES: dict[str, Callable[[float, int], optim.Schedule | float]] = {
    "constant": lambda lr, steps: lr,
    "cosine": lambda lr, steps: optim.Cosine(lr, steps),
    "flat-cosine": lambda lr, steps: optim.FlatThenCosine(lr, steps),
    "one-cycle": lambda lr, steps: optim.OneCycle(lr / 25, lr, lr / 250_000, steps),
}


class Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Show the defaults where there are any, and leave the example on lines of its own."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None or action.default is False else super()._get_help_string(action)


def options(description: str, example: str, **defaults: Any) -> argparse.ArgumentParser:
    """The options of every training script, with the defaults of one; `data` says what --data is there."""
    parser = argparse.ArgumentParser(
        description=textwrap.fill(description, 100),
        epilog=f"example:\n  {example}",
        formatter_class=Help,
    )
    parser.add_argument("--backend", default="auto", help="numpy, cupy, cupy:1, torch, torch:cuda:0, jax, ... or auto")
    parser.add_argument("--dtype", default="float32", choices=("float32", "float64"), help="of weights and data")
    parser.add_argument(
        "--precision",
        default="float32",
        choices=("float32", "tf32", "bf16-mixed", "fp16-mixed"),
        help="of matrix products in training: 16 bits with weights in float32, where the backend can",
    )
    parser.add_argument("--layers", "--layer", type=positive, nargs="*", metavar="N", help="units in each hidden layer")
    parser.add_argument(
        "--activation",
        type=one_of(ACTIVATIONS),
        metavar="NAME",
        help="of the hidden layers, any of mlp_xp.nn, such as gelu",
    )
    parser.add_argument(
        "--init",
        type=one_of(INITIALIZERS),
        metavar="NAME",
        help="how the weights start, such as glorotnormal; where none is given, as suits the activation",
    )
    parser.add_argument("--bias", type=float, default=0.0, help="at which the biases start")
    parser.add_argument("--dropout", type=float, default=0.0, metavar="RATE", help="after every hidden layer")
    parser.add_argument("--input-dropout", type=float, default=0.0, metavar="RATE", help="of the inputs")
    parser.add_argument(
        "--optimizer",
        type=one_of(OPTIMIZERS),
        metavar="NAME",
        help="any of mlp_xp.optim, such as adamw; momentum and nesterov are SGD with 0.9",
    )
    parser.add_argument("--lr", "--learning-rate", "--learning_rate", type=float, help="learning rate")
    parser.add_argument(
        "--schedule",
        type=one_of(SCHEDULES),
        default="constant",
        metavar="NAME",
        help=f"of the learning rate over all epochs: {', '.join(SCHEDULES)}",
    )
    parser.add_argument(
        "--weight-decay",
        type=float,
        metavar="WD",
        help="of the weights, not the biases (default: the optimizer's own, 0.01 for adamw and lamb, else 0)",
    )
    parser.add_argument(
        "--max-norm", type=float, metavar="NORM", help="of the incoming weights of each unit, met after every step"
    )
    parser.add_argument("--batch-size", "--batch_size", type=batch_size, help="rows in a batch, or 'all'")
    parser.add_argument("--no-shuffle", action="store_true", help="take the rows in their order in every epoch")
    parser.add_argument("--epochs", type=positive, help="passes over the training data")
    parser.add_argument("--seed", type=natural, default=0, help="decides weights, shuffles and splits")
    parser.add_argument("--data", help=defaults.pop("data"))
    parser.add_argument(
        "--out", type=Path, help="folder for all that `mlp-xp report` shows of the run, and for pictures"
    )
    parser.add_argument(
        "--record",
        type=positive,
        metavar="N",
        help="with --out, look into the net every N updates (default: after every epoch)",
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    parser.set_defaults(**defaults)
    return parser


def one_of(known: Mapping[str, Any]) -> Callable[[str], str]:
    """The type of an option that takes a name: one that is not known is refused with the nearest that is."""

    def name(text: str) -> str:
        if text.lower() not in known:
            raise argparse.ArgumentTypeError(unknown("name", text, sorted(known)))
        return text.lower()

    return name


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number


def natural(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return number


def batch_size(text: str) -> int | None:
    return None if text == "all" else positive(text)


def multilayer(args: argparse.Namespace, inputs: int, outputs: int, *, standardize: bool = False) -> nn.Sequential:
    """Linear layers with the activation and dropout between them, as the options say; weights start as suits both."""
    init = INITIALIZERS[args.init]() if args.init else suitable_init(activation(args.activation))
    start: dict[str, Any] = {"weight_init": init} | ({"bias_init": nn.Constant(args.bias)} if args.bias else {})
    layers: list[nn.Layer] = [nn.Standardize(inputs)] if standardize else []
    layers += [nn.Dropout(args.input_dropout)] if args.input_dropout else []
    width = inputs
    for units in args.layers:
        layers += [nn.Linear(width, units, **start), activation(args.activation)]
        layers += [nn.Dropout(args.dropout)] if args.dropout else []
        width = units
    return nn.Sequential(*layers, nn.Linear(width, outputs, **start))


def new_trainer(args: argparse.Namespace, model: nn.Layer, loss: nn.Loss, rows: int) -> train.Trainer:
    """A trainer for a training set of so many rows, with what the options say."""
    steps = args.epochs * -(-rows // (args.batch_size or rows))
    more: dict[str, Any] = {} if args.weight_decay is None else {"weight_decay": args.weight_decay}
    if args.max_norm is not None:
        more["constraints"] = {"*.weight": optim.MaxNorm(args.max_norm)}
    return train.Trainer(
        model,
        loss,
        OPTIMIZERS[args.optimizer](SCHEDULES[args.schedule](args.lr, steps), **more),
        backend=args.backend,
        dtype=args.dtype,
        precision=args.precision,
        seed=args.seed,
        metrics=[train.Accuracy()],
    )


@dataclass
class Run:
    """One training run: the trainer, its data, what is recorded on the way, and what it measured.

    data says in words and numbers what the training, test and validation data are. Without test data, the validation
    data is measured at the end.
    """

    args: argparse.Namespace
    trainer: train.Trainer
    training: tuple[Any, Any]
    test: tuple[Any, Any] | None
    validation: tuple[Any, Any] | None = None
    out: Path | None = None
    title: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    recorder: train.Recorder = field(init=False)

    def __post_init__(self) -> None:
        self.out = self.out or self.args.out
        if self.out is not None:
            prepare(self.out)
        # The weights on the way are drawn where the data has two features.
        self.recorder = train.Recorder(self.args.record, snapshots=self.training[0].shape[1:] == (2,))

    @property
    def measured(self) -> dict[str, tuple[Any, Any]]:
        """The data that is measured at the end, by what it is called."""
        parts = {"train": self.training, "test": self.test}
        if self.test is None:
            parts = {"train": self.training, "val": self.validation}
        return {part: data for part, data in parts.items() if data is not None}

    def fit(self, callbacks: Sequence[train.Callback] = (), *, bar: bool = True) -> None:
        """Train, then measure. Ctrl-C and a diverged loss keep what was reached."""
        args, trainer = self.args, self.trainer
        looking_on = [train.CSVLog(self.out / "history.csv"), self.recorder] if self.out else []
        start = perf_counter()
        failure: BaseException | None = None
        try:
            trainer.fit(
                *self.training,
                epochs=args.epochs,
                batch_size=args.batch_size,
                validation_data=self.validation,
                shuffle=not args.no_shuffle,
                callbacks=[*looking_on, *callbacks],
                progress=bar and not args.quiet,
            )
        except (KeyboardInterrupt, train.Diverged) as stopped:
            failure = stopped
        self.seconds += perf_counter() - start
        self.metrics = {
            "backend": trainer.backend.word,
            "device": trainer.backend.device_name(),
            "dtype": trainer.dtype,
            "seed": trainer.seed,
            "epochs": trainer.epoch,
            "seconds": self.seconds,
        } | {
            f"{part}_{name}": value
            for part, data in self.measured.items()
            for name, value in trainer.evaluate(*data).items()
        }
        if failure is not None:
            self.metrics["stopped_early"] = str(failure) or "interrupted"
            self.save()
            raise failure

    @property
    def chosen(self) -> dict[str, Any]:
        """What run.json says beside the trainer's own settings of how it was trained."""
        args = self.args
        words = {"batch size": args.batch_size or "all", "shuffle": not args.no_shuffle, "schedule": args.schedule}
        preset = getattr(args, "preset", None)
        return words | ({"preset": preset} if preset else {})

    def save(self) -> None:
        """Leave all that `mlp-xp report` shows, the learning curves, and what was seen inside the net, in --out."""
        if self.out is None:
            return
        train.save_run(
            self.out,
            self.trainer,
            title=self.title,
            recording=self.recorder.recording,
            training=self.training,
            validation=self.validation,
            test=self.test,
            data=self.data,
            metrics=self.metrics,
            configuration=self.chosen,
        )
        if len(self.trainer.history):
            viz.learning_curves(self.trainer.history, self.out / "learning_curves.png")
        if self.recorder.recording.records:
            viz.layer_statistics(self.recorder.recording, self.out / "layer_statistics.png")

    def report(self, *, last: bool = True) -> None:
        """Print the numbers, where the files are and, unless more runs follow, how to look at them."""
        if self.args.quiet:
            return
        m = self.metrics
        precision = m["dtype"] if self.trainer.precision == "float32" else self.trainer.precision
        print(f"{m['backend']} ({m['device']}), {precision}, {m['epochs']} epochs in {m['seconds']:.2f} s")
        for part in self.measured:
            print(f"{part:>6}: loss {m[f'{part}_loss']:.6f}, accuracy {m[f'{part}_accuracy']:.4f}")
        if self.out:
            print(f"written to {self.out}/: {', '.join(sorted(path.name for path in self.out.iterdir()))}")
            if last:
                hint(self.out)


def hint(*runs: Path) -> None:
    """Print the command that shows the runs in these folders."""
    print(f"look at {'it' if len(runs) == 1 else 'them'}: mlp-xp report {shlex.join(map(str, runs))}")


def prepare(out: Path) -> None:
    """Make sure, before training, that files can be written to the folder and pictures can be drawn."""
    viz.require_matplotlib()
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OSError(f"cannot write to --out {out}: {error.strerror}; choose a folder you may write to") from None


def run_script(main: Callable[[list[str] | None], None]) -> None:
    """Run a script's main: what a user can mend is said in one line, without a traceback."""
    try:
        main(None)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)  # the shell's word for Ctrl-C
    except (backends.BackendError, ValueError, TypeError, OSError, ImportError, ArithmeticError) as error:
        sys.exit(f"error: {error}")
