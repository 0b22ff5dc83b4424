"""Learn XOR or AND: the smallest problems that show what a hidden layer is for."""

import argparse
from pathlib import Path

import numpy as np
from common import Run, multilayer, new_trainer, options, run_script, write_json

from mlp_xp import data, nn, optim, train, viz

PROBLEMS = {"xor": data.xor, "and": data.and_gate}
# Known from a textbook run in double precision: (seed, error before the last update)
REFERENCE = {"xor": (0, 0.0081457088160997), "and": (27, 0.00048186081999576)}


def main(argv: list[str] | None = None) -> None:
    parser = options(
        __doc__ + " Prints the four outputs; with --out also draws the decision boundary.",
        "python scripts/train_xor.py --layers 4 --activation tanh --out runs/xor",
        layers=[8],
        activation="tanh",
        optimizer="adam",
        lr=0.05,
        batch_size="all",
        epochs=300,
        data="the problem: xor or and (default: xor)",
    )
    parser.add_argument(
        "--reference",
        action="store_true",
        help="train 2-2-1 sigmoid nets on XOR and AND from known weights with plain gradient descent, in float64, and "
        "compare the final errors with the known ones; only --backend, --out and --quiet matter",
    )
    args = parser.parse_args(argv)
    if args.reference:
        reference(args)
        return
    problem = args.data or "xor"
    if problem not in PROBLEMS:
        parser.error(f"--data {problem}: choose xor or and")
    X, y = PROBLEMS[problem]()
    trainer = new_trainer(args, multilayer(args, 2, 1), nn.SigmoidBinaryCrossEntropy(), len(X))
    run = Run(args, trainer, (X, y), (X, y))
    run.fit()
    finish(run, X, y, problem, threshold=0.0, output="logit")


def finish(run: Run, X: np.ndarray, y: np.ndarray, problem: str, threshold: float, output: str) -> None:
    outputs = run.trainer.predict(X)[:, 0]
    run.metrics["outputs"] = outputs.tolist()
    run.save()
    if run.out:
        run.metrics["plane_share_of_class_1"] = viz.decision_boundary(
            run.trainer.predict,
            X,
            y.astype(int),
            run.out / "decision_boundary.png",
            threshold=threshold,
            title=f"{problem.upper()} after {run.trainer.epoch} epochs",
        )
        write_json(run.out / "metrics.json", run.metrics)
    run.report()
    if not run.args.quiet:
        for row, target, value in zip(X, y[:, 0], outputs, strict=True):
            print(f"  {row[0]:.0f} {problem} {row[1]:.0f} = {target:.0f}: {output} {value:+.4f}")


def reference(args: argparse.Namespace) -> None:
    args.epochs, args.batch_size = 5001, None
    wrong = []
    for problem, (seed, known) in REFERENCE.items():
        X, y = PROBLEMS[problem]()
        model = nn.Sequential(nn.Linear(2, 2), nn.Sigmoid(), nn.Linear(2, 1), nn.Sigmoid())
        trainer = train.Trainer(
            model,
            nn.MeanSquaredError(half=True),
            optim.SGD(1.0),
            backend=args.backend,
            dtype="float64",
            seed=seed,
            metrics=[train.Accuracy(threshold=0.5)],
        )
        trainer.parameters = reference_weights(seed)
        run = Run(args, trainer, (X, y), (X, y), out=args.out and Path(args.out) / problem)
        run.fit()
        error = 2 * trainer.history["loss"][-1]  # without the 1/2, before the last update
        deviation = abs(error / known - 1)
        run.metrics |= {"error": error, "known_error": known, "relative_deviation": deviation}
        finish(run, X, y, problem, threshold=0.5, output="output")
        if not args.quiet:
            print(f"  error {error:.16g}, known {known:.16g}, relative deviation {deviation:.1e}\n")
        if not deviation < 1e-9:
            wrong.append(f"{problem}: error {error!r} instead of {known!r}")
    if wrong:
        raise ArithmeticError("the reference was not reproduced: " + "; ".join(wrong))


def reference_weights(seed: int) -> dict[str, np.ndarray]:
    """U(-1/sqrt(n), 1/sqrt(n)) from NumPy's legacy generator; row 0 belongs to a bias input of -1."""
    generator = np.random.RandomState(seed)
    weights: dict[str, np.ndarray] = {}
    for layer, (fan_in, fan_out) in (("0", (2, 2)), ("2", (2, 1))):
        drawn = generator.rand(fan_in + 1, fan_out) * 2 / np.sqrt(fan_in) - 1 / np.sqrt(fan_in)
        weights |= {f"{layer}.weight": drawn[1:], f"{layer}.bias": -drawn[:1]}
    return weights


if __name__ == "__main__":
    run_script(main)
