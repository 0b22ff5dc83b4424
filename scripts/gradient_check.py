"""Is backward the derivative of forward? Any net, entry by entry, against central differences in float64."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from common import one_of, positive, run_script
from experiment import options, parsed, say_where, show

from mlp_xp import backends, nn, random
from mlp_xp.catalogue import ACTIVATIONS, INITIALIZERS, activation, suitable_init
from mlp_xp.nn.layer import Parameters
from mlp_xp.train.inspection import layers
from mlp_xp.train.json_files import write_json

# Each loss with the kind of targets that it takes
LOSSES: dict[str, tuple[nn.Loss, str]] = {
    type(loss).__name__.lower(): (loss, kind)
    for kind, losses in {
        "numbers": (nn.MeanSquaredError(), nn.MeanAbsoluteError(), nn.Huber(), nn.SmoothL1(), nn.LogCosh()),
        "shares": (nn.SigmoidBinaryCrossEntropy(), nn.SigmoidFocal()),
        "signs": (nn.Hinge(),),
        "counts": (nn.Poisson(),),
        "labels": (nn.SoftmaxCrossEntropy(), nn.SoftmaxFocal(), nn.MultiClassHinge()),
    }.items()
    for loss in losses
}

# Worked out by hand in many courses: 2-2-1 with ReLU, weights (in, out), and the loss 1/2 (y - 1)^2 at x = (1, 2)
EXAMPLE = {"0.weight": [[0.1, 0.3], [0.2, 0.4]], "0.bias": [[0, 0]], "2.weight": [[0.5], [0.6]], "2.bias": [[0]]}


def main(argv: list[str] | None = None) -> None:
    parser = options(
        f"{__doc__} Prints a line for each parameter and for the input: the largest derivative, the largest difference "
        "between the two, and how large that is in relation. You will see relative differences around 1e-9, and with "
        "--mistake N, which forgets the slope of an activation on the way back, that everything before it is wrong and "
        "everything behind it right: that is how to find the layer. The exit code is 1 where something is wrong.",
        "python scripts/gradient_check.py --layers 4 8 8 3 --activation gelu --batchnorm --mistake 1",
        "metrics.json with the table",
    )
    parser.add_argument(
        "--layers", type=positive, nargs="+", default=[4, 8, 3], metavar="N", help="from input to output"
    )
    parser.add_argument("--activation", type=one_of(ACTIVATIONS), default="tanh", metavar="NAME", help="of mlp_xp.nn")
    parser.add_argument("--loss", type=one_of(LOSSES), metavar="NAME", help=f"one of {', '.join(LOSSES)}")
    parser.add_argument("--init", type=one_of(INITIALIZERS), metavar="NAME", help="(default: as suits the activation)")
    parser.add_argument("--batchnorm", action="store_true", help="batch normalisation before every activation")
    parser.add_argument("--layernorm", action="store_true", help="layer normalisation before every activation")
    parser.add_argument("--residual", action="store_true", help="y = x + f(x) around hidden layers that keep the width")
    parser.add_argument("--dropout", type=float, default=0.0, metavar="RATE", help="after every activation")
    parser.add_argument("--rows", type=positive, default=6, metavar="N", help="in the batch")
    parser.add_argument("--entries", type=positive, default=100, metavar="N", help="of each parameter, drawn at random")
    parser.add_argument("--tolerance", type=float, default=1e-5, help="of the relative difference")
    parser.add_argument("--mistake", type=int, metavar="N", help="plant one into hidden layer N = 0, 1, ...")
    parser.add_argument("--reference", action="store_true", help="the numeric example 2-2-1, instead of all this")
    parser.set_defaults(loss="softmaxcrossentropy")
    args = parsed(parser, argv)
    if args.reference and args.mistake is not None:
        parser.error("--reference is one example as it is; leave out --mistake, or give --layers in its place")
    if len(args.layers) < 2:
        parser.error("--layers: give at least the numbers of inputs and of outputs")
    if args.mistake is not None and not 0 <= args.mistake < len(args.layers) - 2:
        parser.error(f"--mistake {args.mistake}: no such hidden layer (of {len(args.layers) - 2}, counted from 0)")
    if not args.reference and LOSSES[args.loss][1] == "labels" and args.layers[-1] == 1:
        parser.error(
            f"--layers: {args.loss} tells classes apart, and one output leaves nothing to tell: give 2 or more"
        )
    if args.mistake is not None and isinstance(activation(args.activation), nn.Identity):
        parser.error("--mistake forgets the slope of an activation, and that of the identity is 1: give another")
    backend = backends.select(args.backend)
    if not backend.has_float64:
        raise backends.BackendError(f"{backend.word} cannot compute in float64, which the check needs")
    model, arguments = example() if args.reference else drawn(args)
    checks = nn.entry_check(
        model,
        backend=backend,
        context=nn.Context(training=True, key=random.key(args.seed, 0)),
        entries=args.entries,
        seed=args.seed,
        tolerance=args.tolerance,
        **arguments,
    )
    wrong = [check.name for check in checks if not check.passed]
    header = ["parameter", "of", "shape", "compared", "largest derivative", "largest difference", "relative", ""]
    show(args, header, [line(check, dict(layers(model))) for check in checks])
    if args.out:
        write_json(args.out / "metrics.json", {"backend": backend.word, "checks": [asdict(check) for check in checks]})
    say_where(args)
    if wrong:
        raise ArithmeticError(
            f"{len(wrong)} of {len(checks)} differ by more than {args.tolerance:g}: {', '.join(wrong)}"
        )


def example() -> tuple[nn.Layer, dict[str, Any]]:
    """The numeric example: the net, and what else `entry_check` takes."""
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    parameters = {name: np.array(values, float) for name, values in EXAMPLE.items()}
    point = {"x": np.array([[1.0, 2.0]]), "target": np.array([[1.0]])}
    return model, point | {"loss": nn.MeanSquaredError(half=True), "parameters": parameters}


def drawn(args: argparse.Namespace) -> tuple[nn.Layer, dict[str, Any]]:
    """The net that the options describe, with inputs and targets drawn at random."""
    loss, kind = LOSSES[args.loss]
    rng = random.stream(args.seed, "gradient check data")
    shape = args.rows, args.layers[-1]
    target = {
        "numbers": lambda: rng.normal(size=shape),
        "shares": lambda: rng.uniform(size=shape),
        "signs": lambda: rng.choice([-1.0, 1.0], shape),
        "counts": lambda: rng.poisson(1.5, shape).astype(float),
        "labels": lambda: rng.integers(0, shape[1], args.rows, dtype=np.int32),
    }[kind]()
    return net(args), {"x": rng.normal(size=(args.rows, args.layers[0])), "loss": loss, "target": target}


def net(args: argparse.Namespace) -> nn.Sequential:
    function = activation(args.activation)
    init = INITIALIZERS[args.init]() if args.init else suitable_init(function)
    norms = [kind for kind, asked in ((nn.BatchNorm, args.batchnorm), (nn.LayerNorm, args.layernorm)) if asked]
    *hidden, (last, outputs) = pairwise(args.layers)
    model: list[nn.Layer] = []
    for number, (width, units) in enumerate(hidden):
        block: list[nn.Layer] = [nn.Linear(width, units, weight_init=init), *(norm(units) for norm in norms)]
        block.append(WithoutSlope(function) if number == args.mistake else function)
        block += [nn.Dropout(args.dropout)] if args.dropout else []
        model += [nn.Residual(*block)] if args.residual and width == units else block
    return nn.Sequential(*model, nn.Linear(last, outputs, weight_init=init))


@dataclass(frozen=True)
class WithoutSlope(nn.Layer):
    """An activation with a mistake to be found: dx = dy, as if its slope were 1."""

    function: nn.Layer

    def forward(self, xp: Any, p: Parameters, x: Any, ctx: nn.Context) -> tuple[Any, Any]:
        return self.function.forward(xp, p, x, ctx)

    def backward(self, xp: Any, p: Parameters, saved: Any, dy: Any) -> tuple[Any, Parameters]:
        return dy, self.function.gradients(xp, p, saved, dy)

    def parameters(self) -> dict[str, Any]:
        return self.function.parameters()


def line(check: nn.EntryCheck, inside: dict[str, nn.Layer]) -> Sequence[str]:
    """A line of the table, with the layer that the parameter belongs to."""
    layer = inside.get(check.name.rpartition(".")[0])
    return [
        check.name,
        "input" if layer is None else type(layer).__name__,
        " x ".join(map(str, check.shape)),
        f"{check.compared}",
        f"{check.largest:.3g}",
        f"{check.difference:.1e}",
        f"{check.error:.1e}",
        "ok" if check.passed else "WRONG",
    ]


if __name__ == "__main__":
    run_script(main)
