"""Tell malignant from benign breast tumours (WDBC: 569 patients, 30 features), from data in the package."""

import argparse
import csv
import sys
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from common import Help, Run, multilayer, natural, new_trainer, one_of, options, prepare, run_script
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support
from sklearn.model_selection import train_test_split

from mlp_xp import data, nn, train, viz

NAMES = "benign", "malignant"
PARTS = "training.csv", "validation.csv"
COMPARED = "loss", "val_loss", "val_accuracy"
DATA = "a file in the format of the original data set (default: the one in the package)"
# Both are the binary cross-entropy: of softmax over two outputs, of a sigmoid over one.
LOSSES: dict[str, tuple[nn.Loss, int]] = {
    "categoricalcrossentropy": (nn.SoftmaxCrossEntropy(), 2),
    "binarycrossentropy": (nn.SigmoidBinaryCrossEntropy(), 1),
}


def main(argv: list[str] | None = None) -> None:
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in MODES:
        MODES[argv[0]](argv[1:])
    else:
        in_one_go(argv)


def in_one_go(argv: list[str]) -> None:
    parser = options(
        __doc__ + " Splits it into training, validation and test data, stops when the validation loss no longer falls, "
        "and prints accuracy, precision, recall and the confusion matrix of the test data. Its modes do the same step "
        "by step.",
        "python scripts/train_wdbc.py --layers 24 24 24 --activation sigmoid --out runs/wdbc\n"
        "  python scripts/train_wdbc.py split --out runs/data\n"
        "  python scripts/train_wdbc.py train --data runs/data --layer 24 24 24 --out runs/wdbc\n"
        "  python scripts/train_wdbc.py predict runs/wdbc --data runs/data/validation.csv\n"
        "  python scripts/train_wdbc.py compare runs/wdbc runs/other --out runs/compared.png",
        layers=[8],  # a few hundred patients are soon learned by heart
        activation="tanh",
        optimizer="adam",
        lr=0.003,
        batch_size=32,
        epochs=200,
        data=DATA,
    )
    parser.add_argument("mode", nargs="?", choices=MODES, help="one step by itself, with options and --help of its own")
    args = parser.parse_args(argv)
    if args.mode:
        parser.error(f"the mode comes first: train_wdbc.py {args.mode} ...")
    X, y = data.wdbc(args.data)
    X_rest, X_test, y_rest, y_test = train_test_split(X, y, test_size=0.2, stratify=y, random_state=args.seed)
    X_train, X_val, y_train, y_val = train_test_split(
        X_rest, y_rest, test_size=0.15, stratify=y_rest, random_state=args.seed
    )

    model = multilayer(args, 30, 2, standardize=True)
    trainer = new_trainer(args, model, nn.SoftmaxCrossEntropy(), len(X_train))
    run = Run(args, trainer, (X_train, y_train), (X_test, y_test), validation=(X_val, y_val), title="breast tumours")
    run.data = about(args.data, len(y_val))
    stopping = train.EarlyStopping(patience=20)
    run.fit([stopping])
    outputs = trainer.predict(X_test)
    run.metrics |= {"best_epoch": stopping.best_epoch} | scores(y_test, outputs)
    save(run, y_test, outputs)
    run.report()
    if not args.quiet:
        tell(run.metrics)


# Step by step


def split(argv: list[str]) -> None:
    parser = mode_parser("split", "Shuffle the patients and write them into two files.", "--seed 1 --out runs/data")
    parser.add_argument("--data", type=Path, help=DATA)
    parser.add_argument("--share", type=share, default=0.2, help="of the patients, for validation")
    parser.add_argument("--seed", type=natural, default=0, help="decides who is where")
    parser.add_argument("--out", type=Path, required=True, help=f"folder for {' and '.join(PARTS)}")
    args = parser.parse_args(argv)
    data.wdbc(args.data)  # which says where the file is damaged
    file = args.data or resources.files("mlp_xp.data") / "wdbc.csv"
    lines = [line for line in file.read_text().splitlines() if line.strip()]
    divisions = divided(len(lines), args.share, args.seed)
    for name, rows in zip(PARTS, divisions, strict=True):
        if not len(rows):
            parser.error(f"--share {args.share:g} of {len(lines)} patients leaves none for {name}")
    prepare(args.out)
    for name, rows in zip(PARTS, divisions, strict=True):
        (args.out / name).write_text("".join(f"{lines[row]}\n" for row in rows))
        print(f"{args.out / name}: {len(rows)} patients")


def fit(argv: list[str]) -> None:
    parser = options(
        "Train on the training data, with a line for each epoch; stop when the loss of the validation data no longer "
        "falls, and go back to the best weights. With --out leaves topology, weights and scaling in model.safetensors, "
        "the learning curves of loss and accuracy, and the ROC curve. What is measured on the validation data is a "
        "little better than on patients never seen, as it has chosen the epoch.",
        "python scripts/train_wdbc.py train --layer 24 24 24 --epochs 84 --loss categoricalCrossentropy --batch_size 8 "
        "--learning_rate 0.0314 --out runs/wdbc",
        layers=[24, 24, 24],
        activation="sigmoid",
        init="heuniform",
        optimizer="nesterov",
        lr=0.0314,
        batch_size=8,
        epochs=84,
        data=f"folder with {' and '.join(PARTS)}, from the mode split (default: the patients of the package, split in "
        "the same way by the seed)",
    )
    parser.prog += " train"
    parser.allow_abbrev = False  # a configuration file has whole names
    parser.add_argument(
        "--loss",
        type=one_of(LOSSES),
        default="categoricalcrossentropy",
        metavar="NAME",
        help="categoricalCrossentropy (softmax over two outputs) or binaryCrossentropy (a sigmoid over one)",
    )
    parser.add_argument("--patience", type=int, default=10, metavar="N", help="epochs to wait for a better one")
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="TOML, such as `layer = [24, 24, 24]`: the same "
        "options by name, of which those of the command line go before",
    )
    config = parser.parse_known_args(argv)[0].config
    args = parser.parse_args([*(written(parser, config) if config else ()), *argv])

    training, validation = parts(args.data, args.seed)
    if not args.quiet:
        print(f"x_train shape : {training[0].shape}")
        print(f"x_valid shape : {validation[0].shape}")
    loss, units = LOSSES[args.loss]
    trainer = new_trainer(args, multilayer(args, 30, units, standardize=True), loss, len(training[0]))
    run = Run(args, trainer, training, None, validation=validation, title="breast tumours")
    run.data = about(args.data, len(validation[1]))
    stopping = train.EarlyStopping(patience=args.patience)
    run.fit([stopping] if args.quiet else [stopping, Lines()], bar=False)
    outputs = trainer.predict(validation[0])
    run.metrics |= {"best_epoch": stopping.best_epoch} | scores(validation[1], outputs)
    save(run, validation[1], outputs)
    if not args.quiet:
        print(f"the best epoch was {stopping.best_epoch}: its weights are kept")
    run.report()
    if not args.quiet:
        tell(run.metrics)


class Lines(train.Callback):
    """A line for each epoch."""

    def on_fit_start(self, trainer: train.Trainer, epochs: int, steps_per_epoch: int) -> None:
        self.epochs = epochs

    def on_epoch_end(self, trainer: train.Trainer, record: dict[str, float]) -> None:
        number = str(trainer.epoch).zfill(len(str(self.epochs)))
        loss, val_loss = record["loss"], record["val_loss"]
        print(f"epoch {number}/{self.epochs} - loss: {loss:.4f} - val_loss: {val_loss:.4f}", flush=True)


def predict(argv: list[str]) -> None:
    parser = mode_parser(
        "predict",
        "Tell for patients how likely their tumour is malignant, and measure how right that is.",
        "runs/wdbc --data runs/data/validation.csv --out runs/predicted.csv",
    )
    parser.add_argument("model", type=Path, help="folder that train --out left, or its model.safetensors")
    parser.add_argument("--data", type=Path, help=DATA)
    parser.add_argument("--backend", default="auto", help="numpy, cupy, cupy:1, torch, torch:cuda:0, jax, ... or auto")
    parser.add_argument("--out", type=Path, help="file (CSV) for the diagnosis, the prediction and its probability")
    args = parser.parse_args(argv)
    X, y = data.wdbc(args.data)
    file = args.model / "model.safetensors" if args.model.is_dir() else args.model
    outputs = train.Trainer.load(file, backend=args.backend).predict(X)
    if outputs.shape[1] > 2:
        raise ValueError(f"{file} tells {outputs.shape[1]} classes apart, not two")
    z = malignant(outputs)
    found = scores(y, outputs)
    entropy = float(np.mean(np.logaddexp(0, z) - y * z))  # -y log p - (1 - y) log(1 - p) with p = sigmoid(z)
    print(f"{len(y)} patients: binary cross-entropy {entropy:.4f}, accuracy {np.mean((z > 0) == y):.4f}")
    tell(found)
    if args.out:
        with args.out.open("w", newline="") as table:
            writer = csv.writer(table)
            writer.writerow(["diagnosis", "predicted", "probability of M"])
            writer.writerows(
                ["BM"[label], "BM"[int(logit > 0)], f"{np.exp(-np.logaddexp(0, -logit)):.6f}"]
                for label, logit in zip(y, z, strict=True)
            )
        print(f"written to {args.out}")


def compare(argv: list[str]) -> None:
    parser = mode_parser(
        "compare",
        "Draw the learning curves of several models into one picture, and print the best epoch of each.",
        "runs/wdbc runs/other --out runs/compared.png",
    )
    parser.add_argument("runs", type=Path, nargs="+", help="folders that train --out left")
    parser.add_argument("--out", type=Path, required=True, help="the picture: png, svg or pdf")
    args = parser.parse_args(argv)
    histories: dict[str, train.History] = {}
    for run in args.runs:
        if not (run / "history.csv").is_file():
            raise FileNotFoundError(f"{run} holds no history.csv: give folders that train --out left")
        histories[str(run) if run.name in histories else run.name] = course(run / "history.csv")
    viz.learning_curves(histories, args.out)
    width = max(map(len, histories))
    for name, history in histories.items():
        best = min(history, key=lambda record: record.get("val_loss", record["loss"]))
        numbers = ", ".join(f"{key} {best[key]:.4f}" for key in COMPARED if key in best)
        print(f"{name:{width}}  {len(history):4} epochs, best {best['epoch']:4}: {numbers}")
    print(f"written to {args.out}")


def course(path: Path) -> train.History:
    """The history in a file, with at least an epoch, and a number wherever something is compared."""
    history = train.History.load_csv(path)
    if not len(history):
        raise ValueError(f"{path} holds no epoch: train on, or leave this run out")
    for record in history:
        for name in ("loss", *record):
            if name in COMPARED and not isinstance(record.get(name), float):
                raise ValueError(f"{path}, epoch {record['epoch']}: {name} is no number: {record.get(name)!r}")
    return history


MODES = {"split": split, "train": fit, "predict": predict, "compare": compare}


# What the modes share


def mode_parser(mode: str, description: str, example: str) -> argparse.ArgumentParser:
    command = f"train_wdbc.py {mode}"
    epilog = f"example:\n  python scripts/{command} {example}"
    return argparse.ArgumentParser(prog=command, description=description, epilog=epilog, formatter_class=Help)


def share(text: str) -> float:
    number = float(text)
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return number


def written(parser: argparse.ArgumentParser, path: Path) -> list[str]:
    """The options that a configuration file holds, as they would stand on the command line."""
    try:
        content = tomllib.loads(path.read_text())
    except FileNotFoundError:
        parser.error(f"--config {path}: there is no such file")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        parser.error(f"--config {path}: {error}")
    words: list[str] = []
    for name, value in content.items():
        option = f"--{name.replace('_', '-')}"
        if option in ("--help", "--config"):
            parser.error(f"--config {path}: {name} has its place on the command line alone")
        if isinstance(value, bool):
            words += [option] if value else []
        elif isinstance(value, int | float | str | list):
            words += [option, *map(str, value if isinstance(value, list) else [value])]
        else:
            parser.error(f"--config {path}: {name} is no number, text or list")
    unknown = parser.parse_known_args(words)[1]
    if unknown:
        parser.error(f"--config {path}: there is no option {unknown[0]}")
    return words


def divided(rows: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows for training and, a share of them rounded down, for validation, in shuffled order."""
    order = np.random.default_rng(seed).permutation(rows)
    count = int(share * rows)
    return order[count:], order[:count]


def parts(folder: str | None, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(X, y) for training and for validation."""
    if folder is not None:
        return [data.wdbc(Path(folder) / name) for name in PARTS]
    X, y = data.wdbc()
    return [(X[rows], y[rows]) for rows in divided(len(y), 0.2, seed)]


def save(run: Run, y: np.ndarray, outputs: np.ndarray) -> None:
    """What every run leaves, and two pictures of what was measured at the end: outputs for the diagnoses y."""
    run.save()
    if run.out:
        viz.confusion_matrix(run.metrics["confusion_matrix"], run.out / "confusion_matrix.png", NAMES)
        if 0 < y.sum() < len(y):  # else there is nothing to tell apart
            viz.roc_and_precision_recall(y, outputs, run.out / "roc.png", NAMES)


def about(source: str | None, validation: int) -> dict[str, Any]:
    """What run.json says of the data."""
    return {"name": source or "WDBC", "classes": ", ".join(NAMES), "validation rows": validation}


def malignant(outputs: np.ndarray) -> np.ndarray:
    """The logit z of malignant: p = sigmoid(z), which is softmax over two outputs too."""
    return outputs[:, -1] - outputs[:, 0] if outputs.shape[1] == 2 else outputs[:, 0]


def scores(y: np.ndarray, outputs: np.ndarray) -> dict[str, Any]:
    predicted = malignant(outputs) > 0
    precision, recall, f1, _ = precision_recall_fscore_support(y, predicted, average="binary", zero_division=0)
    confusion = confusion_matrix(y, predicted, labels=[0, 1])
    numbers = {"precision": float(precision), "recall": float(recall), "f1": float(f1)}
    return numbers | {"confusion_matrix": confusion.tolist()}


def tell(metrics: dict[str, Any]) -> None:
    (benign, false), (missed, found) = metrics["confusion_matrix"]
    m = metrics
    print(f"        precision {m['precision']:.4f}, recall {m['recall']:.4f}, F1 {m['f1']:.4f} (of malignant)")
    print(f"        benign    {benign:3} right, {false:2} taken for malignant")
    print(f"        malignant {found:3} right, {missed:2} taken for benign")


if __name__ == "__main__":
    run_script(main)
