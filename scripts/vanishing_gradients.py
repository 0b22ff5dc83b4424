"""Gradients that vanish or explode in a deep net, and what residual connections, norms and clipping do to it."""

from typing import Any

from common import positive, run_script
from experiment import PROBLEMS, Problem, bar, fit, options, parsed, plain, residual, say_where, show

from mlp_xp import nn, optim, train, viz
from mlp_xp.train.json_files import write_json

LARGE = nn.HeNormal(gain=2.0)  # each layer doubles what goes through it


def main(argv: list[str] | None = None) -> None:
    parser = options(
        f"{__doc__} Trains nets of ten hidden layers on images of digits with plain SGD, and prints the gradient dL/dy "
        "at the first hidden layer over that at the output, before and after training, and what was learned. You will "
        "see a share of less than a millionth for sigmoid, whose slope is at most 1/4, and nothing learned; that "
        "residual connections and batch normalisation bring it within a factor of ten of 1, and layer normalisation "
        "does not (what all rows have in common stays); that ReLU learns without either, and better with residual "
        "connections; that with weights twice as large as they should be training diverges, and does not with "
        "clipped gradients or batch normalisation.",
        "python scripts/vanishing_gradients.py --depth 20 --out runs/gradients",
        "metrics.json, at_start.png and after_training.png with the gradient in every layer",
    )
    parser.add_argument("--depth", type=positive, default=10, metavar="N", help="hidden layers")
    parser.add_argument("--units", type=positive, default=32, metavar="N", help="in each of them")
    parser.add_argument("--lr", type=float, default=0.05, help="learning rate of plain SGD")
    parser.add_argument("--epochs", type=positive, default=20, metavar="N", help="passes over the training data")
    args = parsed(parser, argv)
    problem = PROBLEMS["digits"]()
    start, end, results = {}, {}, {}
    for name, (model, clipping) in bar(args, list(nets(problem, args.depth, args.units).items()), "net"):
        trainer = train.Trainer(
            model,
            nn.SoftmaxCrossEntropy(),
            optim.SGD(args.lr, **clipping),
            backend=args.backend,
            seed=args.seed,
            metrics=[train.Accuracy()],
        )
        start[name] = train.inspect(trainer, problem.X, problem.y)
        finished = fit(trainer, problem, args.epochs, batch_size=64)
        end[name] = train.inspect(trainer, problem.X, problem.y)
        results[name] = {
            "share_at_start": share(start[name]),
            "share_after_training": share(end[name]) if finished else None,
            "test_accuracy": trainer.history["val_accuracy"][-1] if finished else None,
        }
    header = ["net", "first/last gradient at start", "after training", "test accuracy"]
    show(args, header, [[name, *cells(result)] for name, result in results.items()])
    if args.out:
        write_json(args.out / "metrics.json", {"depth": args.depth, "seed": args.seed, "nets": results})
        before = {name: layers for name, layers in start.items() if "clipped" not in name}  # which changes steps alone
        viz.layer_profile(before, args.out / "at_start.png")
        viz.layer_profile(end, args.out / "after_training.png")
    say_where(args)


def nets(problem: Problem, depth: int, units: int) -> dict[str, tuple[nn.Layer, dict[str, Any]]]:
    """Each net, and how its gradients are clipped."""
    size = problem, depth, units
    sigmoid, relu, glorot, he = nn.Sigmoid(), nn.ReLU(), nn.GlorotNormal(), nn.HeNormal()
    return {
        "sigmoid": (plain(*size, sigmoid, glorot), {}),
        "sigmoid, residual": (residual(*size, sigmoid, nn.GlorotNormal), {}),
        "sigmoid, batch norm": (plain(*size, sigmoid, glorot, nn.BatchNorm), {}),
        "sigmoid, layer norm": (plain(*size, sigmoid, glorot, nn.LayerNorm), {}),
        "ReLU": (plain(*size, relu, he), {}),
        "ReLU, residual": (residual(*size, relu, nn.HeNormal), {}),
        "ReLU, large weights": (plain(*size, relu, LARGE), {}),
        "ReLU, large weights, batch norm": (plain(*size, relu, LARGE, nn.BatchNorm), {}),
        "ReLU, large weights, clipped": (plain(*size, relu, LARGE), {"clip_norm": 1.0}),
    }


def share(layers: list[dict[str, Any]]) -> float:
    """The gradient at the outputs of the first layer with weights, over that at the outputs of the net."""
    return layers[0]["gradient"] / layers[-1]["gradient"]


def cells(result: dict[str, Any]) -> list[str]:
    if result["test_accuracy"] is None:
        return [f"{result['share_at_start']:.1e}", "diverged", ""]
    return [
        f"{result['share_at_start']:.1e}",
        f"{result['share_after_training']:.1e}",
        f"{result['test_accuracy']:.3f}",
    ]


if __name__ == "__main__":
    run_script(main)
