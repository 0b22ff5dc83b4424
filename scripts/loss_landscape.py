"""The loss around the solution that training found, for growing depth, with and without residual connections."""

import math

import numpy as np
from common import positive, run_script
from experiment import PROBLEMS, fit, options, parsed, plain, residual, show

from mlp_xp import nn, optim, train, viz
from mlp_xp.train.json_files import write_json


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
    parser.add_argument("--cells", type=positive, default=25, metavar="N", help="along each direction, an odd number")
    parser.add_argument("--reach", type=float, default=1.0, help="how far to go in each direction")
    args = parsed(parser, argv)
    problem = PROBLEMS["spiral"]()
    guessing = math.log(problem.classes)
    landscapes, results, rows = {}, {}, []
    for kind in ("plain", "residual"):
        for depth in args.depths:
            size = problem, depth, args.units, nn.ReLU()
            model = plain(*size, nn.HeNormal()) if kind == "plain" else residual(*size, nn.HeNormal)
            adam = optim.Adam(0.01)
            trainer = train.Trainer(model, nn.SoftmaxCrossEntropy(), adam, backend=args.backend, seed=args.seed)
            fit(trainer, problem, args.epochs, batch_size=None)
            plane = viz.landscape(
                trainer,
                problem.X,
                problem.y,
                cells=args.cells,
                reach=args.reach,
                seed=args.seed,
                progress=not args.quiet,
            )
            name = f"{kind}, depth {depth}"
            landscapes[name] = plane
            results[name] = {
                "loss": plane.loss,
                "median_loss": float(np.median(plane.losses)),
                "largest_loss": float(np.max(plane.losses)),
                "better_than_guessing": float((plane.losses < guessing).mean()),
            }
            loss, *around, share = results[name].values()
            rows.append([name, f"{loss:.4f}", *(f"{value:.3g}" for value in around), f"{share:.1%}"])
            if args.out:
                viz.loss_contour(plane, args.out / f"contour_{kind}_{depth}.png")
                viz.loss_surface(plane, args.out / f"surface_{kind}_{depth}.png")
    if args.out:
        write_json(args.out / "metrics.json", {"seed": args.seed, "reach": args.reach, "nets": results})
        viz.loss_contour_panels(landscapes, args.out / "landscapes.png", level=guessing, columns=len(args.depths))
    show(args, ["net", "loss", "median around", "largest", "better than guessing"], rows)


if __name__ == "__main__":
    run_script(main)
