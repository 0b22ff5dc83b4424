"""Learn XOR or AND: the smallest problems that show what a hidden layer is for."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from common import Run, hint, multilayer, new_trainer, options, positive, prepare, run_script

from mlp_xp import backends, catalogue, data, nn, optim, train, viz
from mlp_xp.train.json_files import write_json

PROBLEMS = {"xor": data.xor, "and": data.and_gate}
# Known from a textbook run in double precision: (seed, error before the last update)
REFERENCE = {"xor": (0, 0.0081457088160997), "and": (27, 0.00048186081999576)}
# Hidden units -> (learning rate, epochs): which nets solve XOR from many seeds
TRIALS = {2: (0.01, 1000), 4: (0.1, 5000), 8: (0.1, 5000)}


def main(argv: list[str] | None = None) -> None:
    parser = options(
        __doc__
        + " Prints the four outputs; with --out also draws the net with its weights, the decision boundary, and "
        "how it moved there as a page with a slider and a play button.",
        "python scripts/train_xor.py --layers 4 --activation tanh --out runs/xor\n"
        "  python scripts/train_xor.py --reference --out runs/xor\n"
        "  python scripts/train_xor.py --seeds 20",
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
        "compare the final errors with the known ones; only --backend, --out, --record (default: 50) and --quiet "
        "matter",
    )
    parser.add_argument(
        "--seeds",
        type=positive,
        metavar="N",
        help="train nets with 2, 4 and 8 hidden units on XOR from N seeds each, by plain gradient descent on the "
        "squared error, and count how many solve it; only --backend, --out and --quiet matter",
    )
    args = parser.parse_args(argv)
    if args.reference:
        reference(args)
        return
    if args.seeds:
        many(args)
        return
    problem = args.data or "xor"
    if problem not in PROBLEMS:
        parser.error(f"--data {problem}: choose xor or and")
    rows = len(PROBLEMS[problem]()[0])
    run = new_run(args, new_trainer(args, multilayer(args, 2, 1), nn.SigmoidBinaryCrossEntropy(), rows), problem)
    run.fit()
    finish(run, problem, threshold=0.0, output="logit")


def new_run(args: argparse.Namespace, trainer: train.Trainer, problem: str, out: Path | None = None) -> Run:
    known = {"name": problem.upper(), "test data": "the training data"}
    if out or args.out:
        viz.require_plotly()
    return Run(args, trainer, PROBLEMS[problem](), PROBLEMS[problem](), out=out, title=problem.upper(), data=known)


def finish(run: Run, problem: str, threshold: float, output: str, *, last: bool = True) -> None:
    X, y = run.training
    outputs = run.trainer.predict(X)[:, 0]
    run.metrics["outputs"] = outputs.tolist()
    if run.out:
        plane: dict[str, Any] = {"threshold": threshold, "title": problem.upper()}
        drawn = run.out / "decision_boundary.png"
        run.metrics["plane_share_of_class_1"] = viz.decision_boundary(run.trainer.predict, X, y, drawn, **plane)
        viz.network_diagram(run.trainer.model, run.out / "network.png", run.trainer.parameters)
        viz.boundary_animation(run.trainer, run.recorder.recording, X, y, run.out / "boundary.html", **plane)
    run.save()
    run.report(last=last)
    if not run.args.quiet:
        for row, target, value in zip(X, y[:, 0], outputs, strict=True):
            print(f"  {row[0]:.0f} {problem} {row[1]:.0f} = {target:.0f}: {output} {value:+.4f}")


# The known run


def reference(args: argparse.Namespace) -> None:
    args.epochs, args.batch_size, args.no_shuffle, args.schedule = 5001, None, False, "constant"
    args.record = args.record or 50
    wrong, runs = [], []
    for problem, (seed, known) in REFERENCE.items():
        run = new_run(args, known_net(args.backend, seed), problem, args.out and args.out / problem)
        run.fit()
        error = 2 * run.trainer.history["loss"][-1]  # without the 1/2, before the last update
        deviation = abs(error / known - 1)
        run.metrics |= {"error": error, "known_error": known, "relative_deviation": deviation}
        finish(run, problem, threshold=0.5, output="output", last=False)
        runs += [run.out] if run.out else []
        if not args.quiet:
            print(f"  error {error:.16g}, known {known:.16g}, relative deviation {deviation:.1e}\n")
        if not deviation < 1e-9:
            wrong.append(f"{problem}: error {error!r} instead of {known!r}")
    if wrong:
        raise ArithmeticError("the reference was not reproduced: " + "; ".join(wrong))
    if runs and not args.quiet:
        hint(*runs)


def known_net(backend: str | backends.Backend, seed: int) -> train.Trainer:
    """The 2-2-1 net of the known runs: sigmoid units, the sum of half squares, rate 1, in double precision."""
    trainer = train.Trainer(
        nn.Sequential(nn.Linear(2, 2), nn.Sigmoid(), nn.Linear(2, 1), nn.Sigmoid()),
        nn.MeanSquaredError(half=True),
        optim.SGD(1.0),
        backend=backend,
        dtype="float64",
        seed=seed,
        metrics=[train.Accuracy(threshold=0.5)],
    )
    trainer.parameters = reference_weights(seed)
    return trainer


def reference_weights(seed: int) -> dict[str, np.ndarray]:
    """U(-1/sqrt(n), 1/sqrt(n)) from NumPy's legacy generator; row 0 belongs to a bias input of -1."""
    generator = np.random.RandomState(seed)
    weights: dict[str, np.ndarray] = {}
    for layer, (fan_in, fan_out) in (("0", (2, 2)), ("2", (2, 1))):
        drawn = generator.rand(fan_in + 1, fan_out) * 2 / np.sqrt(fan_in) - 1 / np.sqrt(fan_in)
        weights |= {f"{layer}.weight": drawn[1:], f"{layer}.bias": -drawn[:1]}
    return weights


# From many seeds


def many(args: argparse.Namespace) -> None:
    if args.out:
        prepare(args.out)
    say = (lambda text: None) if args.quiet else print
    activations = ("relu", "sigmoid", "tanh")
    say(f"XOR solved, of {args.seeds} nets each; linear output, half the mean squared error, all rows at once")
    say("hidden  rate  epochs  " + "  ".join(f"{name:>7}" for name in activations))
    table: dict[str, dict[str, int]] = {}
    for hidden, (rate, epochs) in TRIALS.items():
        solved = {name: count_solved(args.backend, hidden, name, rate, epochs, args.seeds) for name in activations}
        table[f"hidden {hidden}, rate {rate:g}, {epochs} epochs"] = solved
        say(f"{hidden:6}  {rate:4g}  {epochs:6}  " + "  ".join(f"{count:7}" for count in solved.values()))
    if args.out:
        write_json(args.out / "solved.json", {"seeds": args.seeds, "solved": table})
        say(f"written to {args.out / 'solved.json'}")


def count_solved(word: str, hidden: int, activation: str, rate: float, epochs: int, seeds: int) -> int:
    """How many nets of the seeds 0, 1, ... solve XOR. They are trained side by side, as the rows of one array."""
    backend = backends.select(word)
    xp, dtype = backend.xp, "float32"
    model = nn.Sequential(nn.Linear(2, hidden), catalogue.activation(activation), nn.Linear(hidden, 1))
    layout, loss = nn.Layout(model), nn.MeanSquaredError(half=True)
    starts = [layout.initial(seed) for seed in range(seeds)]
    with backend.scope():
        x, target = (backend.from_host(array, dtype) for array in data.xor())
        stacked = {name: backend.from_host(np.stack([start[name] for start in starts]), dtype) for name in starts[0]}
        gaps = layout.gaps(xp, xp.zeros((seeds, 0), dtype=x.dtype, device=backend.device))
        flat = layout.join(xp, layout.nest(stacked), gaps)

        def descend(flat: Any) -> Any:
            p = layout.split(xp, flat)
            y, saved = model.forward(xp, p, x, nn.Context(training=True))
            _, dy = loss(xp, y, target)
            return flat - rate * layout.join(xp, model.gradients(xp, p, saved, dy), gaps)

        step = backend.compile(descend)
        for _ in range(epochs):
            flat = step(flat)
        y, _ = model.forward(xp, layout.split(xp, flat), x, nn.Context())
        right = (backend.to_host(y) > 0.5) == (backend.to_host(target) > 0.5)  # (seeds, 4, 1)
    return int(right.all(axis=(1, 2)).sum())


if __name__ == "__main__":
    run_script(main)
