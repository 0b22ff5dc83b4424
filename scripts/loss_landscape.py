"""The loss around the solution that training found, for growing depth, with and without residual connections."""

import argparse
import math

import numpy as np
from common import positive, run_script
from experiment import PROBLEMS, fit, options, parsed, plain, residual, say_where, show

from mlp_xp import nn, optim, train, viz
from mlp_xp.train.json_files import write_json

MEASURES = "loss", "median_loss", "largest_loss", "better_than_guessing"


def main(argv: list[str] | None = None) -> None:
    parser = options(
        f"{__doc__} Trains ReLU nets on three spirals, walks from their weights in two random directions "
        "(filter-normalised: a step of 1 is as long as the weights), and prints how the loss grows and on which share "
        "of the plane the net is better than guessing. You will see that with the depth this share shrinks and the "
        "walls grow by orders of magnitude, and that with residual connections both stay as they are for two layers.",
        "python scripts/loss_landscape.py --depths 2 8 32 --cells 41 --out runs/landscape",
        "metrics.json, landscapes.png with all of them on one scale, and a contour and a surface of each",
    )
    parser.add_argument("--depths", type=positive, nargs="+", default=[2, 8, 20], metavar="N", help="hidden layers")
    parser.add_argument("--units", type=positive, default=16, metavar="N", help="in each of them")
    parser.add_argument("--epochs", type=positive, default=300, metavar="N", help="passes over the training data")
    parser.add_argument("--cells", type=odd, default=25, metavar="N", help="along each direction, an odd number")
    parser.add_argument("--reach", type=above_0, default=1.0, help="how far to go in each direction")
    args = parsed(parser, argv)
    problem = PROBLEMS["spiral"]()
    guessing = math.log(problem.classes)
    landscapes: dict[str, viz.Landscape] = {}
    results: dict[str, dict[str, float | None]] = {}
    for kind in ("plain", "residual"):
        for depth in args.depths:
            size = problem, depth, args.units, nn.ReLU()
            model = plain(*size, nn.HeNormal()) if kind == "plain" else residual(*size, nn.HeNormal)
            adam = optim.Adam(0.01)
            trainer = train.Trainer(model, nn.SoftmaxCrossEntropy(), adam, backend=args.backend, seed=args.seed)
            name = f"{kind}, depth {depth}"
            if not fit(trainer, problem, args.epochs, batch_size=None):
                results[name] = dict.fromkeys(MEASURES)
                continue
            plane = viz.landscape(
                trainer,
                problem.X,
                problem.y,
                cells=args.cells,
                reach=args.reach,
                seed=args.seed,
                progress=not args.quiet,
            )
            landscapes[name] = plane
            around = float(np.median(plane.losses)), float(np.max(plane.losses))
            measured = plane.loss, *around, plane.share_below(guessing)
            results[name] = dict(zip(MEASURES, measured, strict=True))
            if args.out:
                viz.loss_contour(plane, args.out / f"contour_{kind}_{depth}.png")
                viz.loss_surface(plane, args.out / f"surface_{kind}_{depth}.png")
    header = ["net", "loss", "median around", "largest", "better than guessing"]
    show(args, header, [[name, *cells(*result.values())] for name, result in results.items()])
    if args.out:
        write_json(args.out / "metrics.json", {"seed": args.seed, "reach": args.reach, "nets": results})
        if landscapes:
            viz.loss_contour_panels(landscapes, args.out / "landscapes.png", level=guessing, columns=len(args.depths))
    say_where(args)


def cells(loss: float | None, *around: float | None) -> list[str]:
    """Text for what was measured; training that diverged left nothing to measure."""
    if loss is None:
        return ["diverged", "", "", ""]
    median, largest, share = around
    return [f"{loss:.4f}", f"{median:.3g}", f"{largest:.3g}", f"{share:.1%}"]


def odd(text: str) -> int:
    number = int(text)
    if number < 3 or number % 2 == 0:
        raise argparse.ArgumentTypeError(f"{text} is not an odd number from 3 on, so that the net is in the middle")
    return number


def above_0(text: str) -> float:
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a finite number above 0")
    return number


if __name__ == "__main__":
    run_script(main)
