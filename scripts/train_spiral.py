"""Learn three intertwined spirals in the plane: what a learning rate does."""

import argparse
from typing import Any

import numpy as np
from common import Run, hint, multilayer, new_trainer, options, prepare, run_script

from mlp_xp import backends, data, nn, optim, train, viz
from mlp_xp.train.json_files import write_json

ROWS = 300

# Known accuracies of the experiment: learning rate -> {epoch: (training, test)}
REFERENCE = {
    0.2: {100: (0.6133, 0.6033), 500: (0.7767, 0.7700), 1000: (0.8767, 0.8600)},
    1.0: {100: (0.8067, 0.8067), 1000: (0.9933, 0.9833)},
    5.0: {100: (0.3333, 0.3333), 500: (0.3333, 0.3333), 1000: (0.3333, 0.3333)},
}


def main(argv: list[str] | None = None) -> None:
    parser = options(
        __doc__ + " Prints loss and accuracy; with --out also draws the classified plane, and how it came to be as a "
        "page with a slider and a play button. With --reference a rate that is too small, one that is right, and one "
        "that kills every unit, side by side.",
        "python scripts/train_spiral.py --lr 0.5 --layers 32 32 --out runs/spiral\n"
        "  python scripts/train_spiral.py --reference --out runs/rates",
        layers=[32],
        activation="relu",
        optimizer="adam",
        lr=0.02,
        batch_size="all",
        epochs=500,
        data="has no meaning here: the points are computed",
    )
    parser.add_argument(
        "--reference",
        action="store_true",
        help="train 2-10-3 from known weights with the learning rates 0.2, 1 and 5 for 1000 epochs, and compare the "
        "accuracies with the known ones; only --backend, --dtype, --out, --record and --quiet matter",
    )
    args = parser.parse_args(argv)
    if args.data:
        parser.error("--data has no meaning here: the points of the spirals are computed")
    if args.reference:
        reference(args)
        return
    run = new_run(args, new_trainer(args, multilayer(args, 2, 3), nn.SoftmaxCrossEntropy(), ROWS))
    run.fit()
    finish(run)


def new_run(args: argparse.Namespace, trainer: train.Trainer, rate: float | None = None) -> Run:
    X, y, X_test, y_test = data.spiral()
    if args.out:
        viz.require_plotly()
    out, title = (args.out, "") if rate is None else (args.out and args.out / f"lr-{rate:g}", f", rate {rate:g}")
    known = {"name": "three spirals", "classes": "0, 1, 2", "validation": "the test set"}
    test = X_test, y_test
    return Run(args, trainer, (X, y), test, validation=test, out=out, title=f"three spirals{title}", data=known)


def finish(run: Run, *, last: bool = True) -> None:
    run.save()
    if run.out:
        title = f"{run.title}, test accuracy {run.metrics['test_accuracy']:.3f}"
        viz.decision_boundary(run.trainer.predict, *run.training, run.out / "decision_boundary.png", title=title)
        recording, page = run.recorder.recording, run.out / "boundary.html"
        viz.boundary_animation(run.trainer, recording, *run.training, page, title=run.title)
    run.report(last=last)


# Three learning rates


def reference(args: argparse.Namespace) -> None:
    args.batch_size, args.no_shuffle, args.schedule = None, False, "constant"
    if args.out:
        prepare(args.out)
    runs, table, wrong = {}, {}, []
    for rate, known in REFERENCE.items():
        run = runs[rate] = new_run(args, known_net(args.backend, args.dtype, rate), rate)
        accuracies = {}
        for epoch, expected in known.items():
            args.epochs = epoch - run.trainer.epoch
            run.fit()
            reached = tuple(round(run.metrics[f"{part}_accuracy"], 4) for part in ("train", "test"))
            accuracies[epoch] = reached
            if reached != expected:
                wrong.append(f"rate {rate:g}, epoch {epoch}: {reached} instead of {expected}")
            if not args.quiet:
                print(f"rate {rate:g}, epoch {epoch:4}: accuracy {reached[0]:.4f} / {reached[1]:.4f} (train / test)")
        finish(run, last=False)
        table[f"{rate:g}"] = {**run.metrics, "accuracy_at_epoch": accuracies}
    if args.out:
        write_json(args.out / "reference.json", table)
        histories = {f"rate {rate:g}": run.trainer.history for rate, run in runs.items()}
        viz.learning_curves(histories, args.out / "learning_rates.png")
        nets = {titled(rate, run.metrics): run.trainer.predict for rate, run in runs.items()}
        viz.decision_boundary_panels(nets, *run.training, args.out / "decision_boundaries.png")
    if wrong:
        raise ArithmeticError("the reference was not reproduced: " + "; ".join(wrong))
    if args.out and not args.quiet:
        hint(*(args.out / f"lr-{rate:g}" for rate in REFERENCE))


def titled(rate: float, m: dict[str, Any]) -> str:
    return f"rate {rate:g}\naccuracy {m['train_accuracy']:.3f}, test {m['test_accuracy']:.3f}"


def known_net(backend: str | backends.Backend, dtype: str, rate: float) -> train.Trainer:
    """The 2-10-3 net of the known runs, with plain gradient descent."""
    model = nn.Sequential(nn.Linear(2, 10), nn.ReLU(), nn.Linear(10, 3))
    options: dict[str, Any] = {"backend": backend, "dtype": dtype, "metrics": [train.Accuracy()]}
    trainer = train.Trainer(model, nn.SoftmaxCrossEntropy(), optim.SGD(rate), **options)
    trainer.parameters = reference_weights()
    return trainer


def reference_weights() -> dict[str, np.ndarray]:
    """N(0, sqrt(2 / n)) from NumPy's legacy generator, biases 1."""
    generator = np.random.RandomState(1234)
    weights: dict[str, np.ndarray] = {}
    for layer, (fan_in, fan_out) in (("0", (2, 10)), ("2", (10, 3))):
        weights[f"{layer}.weight"] = generator.normal(0, np.sqrt(2 / fan_in), (fan_in, fan_out))
        weights[f"{layer}.bias"] = np.ones((1, fan_out))
    return weights


if __name__ == "__main__":
    run_script(main)
