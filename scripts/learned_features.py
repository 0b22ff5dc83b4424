"""What the units of the first layer look for in images, before and after training, without and with weight decay."""

import numpy as np
from common import positive, run_script
from experiment import Problem, fit, flat, options, parsed, say_where, show

from mlp_xp import data, nn, optim, train, viz
from mlp_xp.train.json_files import write_json


def main(argv: list[str] | None = None) -> None:
    parser = options(
        f"{__doc__} Draws the weights of each unit as an image, and prints the test accuracy and how alike "
        "neighbouring pixels are (their uncentred correlation): 0 for noise, near 1 for smooth shapes. You will see "
        "noise at the start, and still under what is learned without decay; weight decay takes away what no image asks "
        "for, and leaves strokes and arcs.",
        "python scripts/learned_features.py --fashion --units 100 --out runs/features",
        "metrics.json and a picture of the features at the start, without and with decay",
    )
    parser.add_argument("--data", help="folder with the IDX files (default: as train_mnist.py finds them)")
    parser.add_argument("--fashion", action="store_true", help="Fashion-MNIST instead of MNIST")
    parser.add_argument("--rows", type=positive, default=20_000, metavar="N", help="of the training set")
    parser.add_argument("--units", type=positive, default=64, metavar="N", help="in the hidden layer")
    parser.add_argument("--epochs", type=positive, default=8, metavar="N", help="passes over these rows")
    parser.add_argument("--lr", type=float, default=0.1, help="learning rate of SGD with momentum 0.9")
    parser.add_argument("--weight-decay", type=float, default=2e-3, metavar="WD", help="of the third picture")
    args = parsed(parser, argv)
    images, y, test_images, y_test = (data.fashion_mnist if args.fashion else data.mnist)(args.data)
    problem = Problem(flat(images[: args.rows]), y[: args.rows], flat(test_images), y_test)
    height, width = images.shape[1:]
    results = {}
    for name, decay, epochs in (
        ("at the start", 0.0, 0),
        ("without decay", 0.0, args.epochs),
        ("with decay", args.weight_decay, args.epochs),
    ):
        model = nn.Sequential(nn.Linear(height * width, args.units), nn.ReLU(), nn.Linear(args.units, 10))
        trainer = train.Trainer(
            model,
            nn.SoftmaxCrossEntropy(),
            optim.SGD(args.lr, momentum=0.9, weight_decay=decay),
            backend=args.backend,
            seed=args.seed,
            metrics=[train.Accuracy()],
        )
        if epochs and not fit(trainer, problem, epochs, batch_size=128):
            raise ArithmeticError(f"training {name} diverged: give a smaller --lr than {args.lr:g}")
        weight = trainer.parameters["0.weight"]
        measured = trainer.evaluate(problem.X_test, problem.y_test)
        results[name] = {
            "test_accuracy": measured["accuracy"],
            "likeness_of_neighbours": likeness(weight.T.reshape(-1, height, width)),
        }
        if args.out:
            viz.first_layer_features(weight, args.out / f"{name.replace(' ', '_')}.png", (height, width))
    rows = [[name, *(f"{value:.3f}" for value in result.values())] for name, result in results.items()]
    show(args, ["features", "test accuracy", "likeness of neighbours"], rows)
    if args.out:
        write_json(args.out / "metrics.json", {"seed": args.seed, "features": results})
    say_where(args)


def likeness(images: np.ndarray) -> float:
    """The uncentred correlation of a pixel with those beside and below it, over all images (n, height, width)."""
    products = (images[:, 1:] * images[:, :-1]).mean() + (images[:, :, 1:] * images[:, :, :-1]).mean()
    return float(products / (2 * (images**2).mean()))


if __name__ == "__main__":
    run_script(main)
