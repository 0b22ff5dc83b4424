"""Initial weights side by side: the same deep net, optimizer and seeds, and only how the weights start differs."""

import argparse
from statistics import fmean

from common import one_of, run_script
from experiment import (
    PROBLEMS,
    Problem,
    cells,
    compare,
    comparison_options,
    leave,
    measured,
    parsed,
    plain,
    show,
    soonest_first,
)

from mlp_xp import nn, train
from mlp_xp.catalogue import ACTIVATIONS, INITIALIZERS, activation


def main(argv: list[str] | None = None) -> None:
    parser = comparison_options(
        f"{__doc__} Prints how much of the signal is left behind the last hidden layer before training, as a share of "
        "what the first one gives, then the training loss and the test accuracy at the end, and how many epochs it "
        "took to a given accuracy, the quickest first. With ReLU, which halves the mean square in every layer, you "
        "will see that weights which make up for it (he..., lsuv) learn first, those of half the variance late "
        "(glorot..., lecun...), and those of a sixth (faninuniform) nothing at all.",
        "python scripts/compare_initializers.py henormal glorotnormal lsuv --activation tanh --depth 20",
        INITIALIZERS,
        "initializers",
        data="spiral",
        depth=10,
        optimizer="momentum",
        lr=0.02,
        epochs=100,
    )
    parser.add_argument(
        "--activation", type=one_of(ACTIVATIONS), default="relu", metavar="NAME", help="of the hidden layers"
    )
    args = parsed(parser, argv)
    problem = PROBLEMS[args.data]()
    chosen = activation(args.activation)
    models = {
        name: plain(problem, args.depth, args.units, chosen, INITIALIZERS[name]())
        for name in args.names or INITIALIZERS
    }
    signals = {name: fmean(signal(args, problem, model)) for name, model in models.items()}
    trainers = compare(args, problem, models)
    results = {name: {"signal": signals[name]} | measured(trainers[name], args.epochs, args.reach) for name in trainers}
    order = soonest_first(results)
    header = ["initializer", "signal", "training loss", "test accuracy", f"epochs to {args.reach:.0%}"]
    show(args, header, [[name, f"{signals[name]:.2g}", *cells(results[name])] for name in order])
    leave(args, {name: results[name] for name in order}, trainers)


def signal(args: argparse.Namespace, problem: Problem, model: nn.Layer) -> list[float]:
    """For each seed, before training: the deviation of the last hidden layer's outputs over that of the first's."""
    shares = []
    for seed in range(args.seed, args.seed + args.seeds):
        trainer = train.Trainer(model, nn.SoftmaxCrossEntropy(), backend=args.backend, seed=seed)
        trainer.adapt(problem.X)  # which LSUV needs
        outputs = [layer["std"] for layer in train.inspect(trainer, problem.X, problem.y)[1::2]]
        shares.append(outputs[-1] / outputs[0])
    return shares


if __name__ == "__main__":
    run_script(main)
