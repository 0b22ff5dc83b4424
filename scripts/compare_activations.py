"""Activations side by side: the same net, optimizer and seeds, and only the function between the layers differs."""

from common import run_script
from experiment import PROBLEMS, cells, compare, comparison_options, leave, measured, parsed, plain, show, soonest_first

from mlp_xp.catalogue import ACTIVATIONS, activation, suitable_init

NAMES = {name: kind for name, kind in ACTIVATIONS.items() if name != "logistic"}  # which is sigmoid


def main(argv: list[str] | None = None) -> None:
    parser = comparison_options(
        f"{__doc__} Prints, for each, the training loss and the test accuracy at the end, and how many epochs it took "
        "to a given accuracy, the quickest first. On the spirals you will see that without an activation (identity) "
        "more layers are no more than one, and that those whose slope is at most 1/4 and whose outputs are not centred "
        "on 0 (sigmoid, hardsigmoid) take several times as long as others (relu, and tanh, which saturates too).",
        "python scripts/compare_activations.py relu tanh sigmoid --data digits --batch-size 64 --epochs 20",
        NAMES,
        "activations",
        data="spiral",
        depth=3,
        optimizer="adam",
        lr=0.02,
        epochs=120,
    )
    args = parsed(parser, argv)
    problem = PROBLEMS[args.data]()
    models = {
        name: plain(problem, args.depth, args.units, activation(name), suitable_init(activation(name)))
        for name in args.names or NAMES
    }
    trainers = compare(args, problem, models)
    results = {name: measured(trainers[name], args.epochs, args.reach) for name in trainers}
    order = soonest_first(results)
    header = ["activation", "training loss", "test accuracy", f"epochs to {args.reach:.0%}"]
    show(args, header, [[name, *cells(results[name])] for name in order])
    leave(args, {name: results[name] for name in order}, trainers)


if __name__ == "__main__":
    run_script(main)
