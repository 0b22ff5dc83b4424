"""The judge of speed: mlp_xp beside scikit-learn, PyTorch and JAX, in one run, on the same nets, data and batches.

    python scripts/benchmark.py --quick
    python scripts/benchmark.py --measure all --out results
    python scripts/benchmark.py --backend cupy,torch:cuda,jax --longer 20 --out results

Each contestant trains the same net on the same float32 rows in shuffled batches: softmax cross-entropy, ReLU, plain
SGD or Adam, no weight decay, no validation, no metrics. First the results are checked: from the same weights, over
the same batches, every contestant must reach the same weights. Then the contestants take turns, round by round, so
that a machine that slows down for a while slows all of them down. What is reported is the median over the rounds, and
as a ratio the median of the ratios within a round.

What is timed, for every contestant alike, is an epoch: the library's own checks of its input, the shuffle, every step,
and the sum of the losses, until the net on the device is the new one. For the time of a step the rows lie on the device
already, in the library's own arrays; an epoch of MNIST starts from NumPy arrays, and the way to the device counts.

- mlp_xp: wall time around `Trainer.fit(epochs=1)` of a trainer that exists already, and has compiled what it compiles.
- scikit-learn: wall time around `MLPClassifier.partial_fit`: the checks of its input and its own loop over the batches.
- PyTorch: eager mode, the loop that its tutorials teach: a permutation, rows by index, zero_grad, backward, step.
  "fused": the same with its fused optimizer. "compile": torch.compile of forward pass, loss and backward pass as one
  function, and of the update. "graph": the whole step as a CUDA graph, with the fused optimizer.
- JAX: one function for the whole step under jit, with value_and_grad and optax, and donated buffers; matrix products
  in full float32.
- the floor: the NumPy matrix products that one step cannot do without, into memory that exists already (x W for every
  layer, dW = xT dy for every layer, dx = dy WT for all but the first), and one read and write of the optimizer's
  memory, parameters and slots. On CUDA the same through CuPy or PyTorch.

Who computes on a GPU is compared with who computes there. For two classes scikit-learn trains a net with one logistic
output, where the others have two: a little less work.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from agreement import Mismatch
from contestants import PEERS, QUICK, USUAL, Entrant, find_entrants
from machine import busy, environment, in_words, installed, load, require_writable
from measures import Growth, Inference, Steps
from mnist_measures import Accuracy, Epochs
from nets import GROUPS, NETS, OPTIMIZERS, Case, Net
from process_measures import Installation, Memory, StartUp
from tqdm import tqdm
from turns import Measure

from mlp_xp import backends
from mlp_xp.names import unknown

ROUNDS, QUICK_ROUNDS, QUICK_SHARE = 7, 2, 10

Make = Callable[[argparse.Namespace, list[Entrant]], Measure]
MEASURES: dict[str, tuple[str, int, Make]] = {
    "steps": ("Steps", ROUNDS, lambda given, entrants: Steps(cases(given), entrants, given.rounds)),
    "epochs": ("Whole epochs of MNIST", 3, lambda given, entrants: Epochs(entrants, given.rounds, given.data)),
    "accuracy": ("Time to 98 % on MNIST", 1, lambda given, entrants: Accuracy(entrants, given.rounds, given.data)),
    "inference": ("Inference", ROUNDS, lambda given, entrants: Inference(entrants, given.rounds)),
    "growth": ("Growth of a step", 3, lambda given, entrants: Growth(entrants, given.rounds)),
    "memory": ("Peak memory of training", 1, lambda given, entrants: Memory(entrants, given.rounds)),
    "startup": ("Import and start-up", 3, lambda given, entrants: StartUp(entrants, given.rounds)),
    "installation": ("Size of the installation", 1, lambda given, entrants: Installation(entrants)),
}
"""Title, usual rounds, and how each is made from the options."""


def cases(given: argparse.Namespace) -> list[Case]:
    share = QUICK_SHARE if given.quick else 1
    nets = [replace(net, steps=max(1, net.steps * given.longer // share)) for net in given.nets]
    return [Case(net, optimizer) for net in nets for optimizer in OPTIMIZERS]


def run(measure: Measure) -> None:
    """One measure from start to end, with a bar."""
    with tqdm(total=measure.total, disable=None, dynamic_ncols=True) as bar, closing(measure.turns()) as turns:
        for number, what in enumerate(turns):
            bar.set_description(what, refresh=False)
            bar.update(number - bar.n)
            bar.refresh()
        bar.update(measure.total - bar.n)


def report(measures: dict[str, Measure], entrants: Sequence[Entrant], about: dict[str, Any]) -> str:
    """The tables of all that was measured, and below what is needed to read them."""
    parts = [f"## {MEASURES[word][0]}\n\n{text}" for word, measure in measures.items() if (text := measure.markdown())]
    rounds = ", ".join(f"{MEASURES[word][0]}: {count}" for word, count in about["rounds"].items())
    lines = [
        f"Medians of so many rounds: {rounds}; float32; a ratio a / b above 1 means that a takes longer.",
        *(f"{entrant.name}: {entrant.absent}." for entrant in entrants if entrant.absent),
        in_words(about),
        busy(about["load before"]),
        "Interrupted: what is missing was not measured." if about["interrupted"] else "",
    ]
    return "\n\n".join([*parts, "\n".join(line for line in lines if line)])


def as_json(measures: dict[str, Measure], about: dict[str, Any]) -> str:
    found = {word: content for word, measure in measures.items() if (content := measure.as_json())}
    return json.dumps({"environment": about} | found, indent=2)


# The command line


def parse(arguments: Sequence[str] | None) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    nets = "\n".join(f"  {number}  {net}, batch {net.batch}" for number, net in enumerate(NETS, 1))
    kinds = "\n".join(
        f"  {word:13} {title}, {'once' if rounds == 1 else f'{rounds} rounds'}"
        for word, (title, rounds, _) in MEASURES.items()
    )
    parser = argparse.ArgumentParser(
        description="Measure the speed of mlp_xp beside scikit-learn, PyTorch and JAX.",
        epilog=f"""nets:
{nets}

measures:
{kinds}

example:
  python scripts/benchmark.py --nets 1,3 --rounds 3 --out results

You will see a progress bar, and after about a minute two Markdown tables: for each net and optimizer the time that a
step takes with each library, and how many times as long as mlp_xp the others take, the fastest of them, and mlp_xp
itself beside the floor: the bare matrix products and one pass over the optimizer's memory, below which no step on the
same processor can go. The folder results/ then holds them as benchmark.md, and every single time with a description of
the machine in benchmark.json. All nets take several minutes, --measure all about an hour. PyTorch's compiler takes
minutes of its own: --peers all has it too. Ctrl-C prints and writes what was measured so far.""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--backend", default="numpy", help="ours: one, or several with commas: cupy,torch:cuda,jax")
    parser.add_argument("--peers", help=f"{', '.join(PEERS)}, all or none (default: {','.join(USUAL)})")
    parser.add_argument("--measure", default="steps", help="one or several with commas, or all (default: steps)")
    parser.add_argument("--nets", help="of steps: small, large, deep, all, or numbers from below: 1,3 (default: all)")
    parser.add_argument("--rounds", type=int, help="turns measured of each contestant (default: see below)")
    parser.add_argument("--longer", type=int, default=1, help="epochs of so many times the steps, for a fast device")
    parser.add_argument(
        "--quick", action="store_true", help="steps of small nets, few rows, few peers, two rounds: under a minute"
    )
    parser.add_argument("--data", help="folder with MNIST (default: MLP_XP_DATA, the user's cache, else downloaded)")
    parser.add_argument("--out", type=Path, help="a folder for benchmark.json and benchmark.md")
    given = parser.parse_args(arguments)
    for name in ("rounds", "longer"):
        if getattr(given, name) is not None and getattr(given, name) < 1:
            parser.error(f"argument --{name}: give a whole number above 0")
    try:
        given.nets = pick_nets(given.nets or ("small" if given.quick else "all"))
    except ValueError as error:
        parser.error(f"argument --nets: {error}")
    given.measure = list(MEASURES) if given.measure == "all" else words(given.measure)
    for word in given.measure:
        if word not in MEASURES:
            parser.error(f"argument --measure: {unknown('measure', word, [*MEASURES, 'all'])}")
    if given.quick and given.measure != ["steps"]:
        parser.error("argument --quick: it measures steps only; leave --measure out")
    if "installation" in given.measure and not installed("packaging"):
        parser.error("argument --measure: installation needs packaging; install it: pip install packaging")
    return parser, given


def words(text: str) -> list[str]:
    return list(dict.fromkeys(word.strip() for word in text.split(",")))


def pick_peers(text: str | None, quick: bool) -> Sequence[str]:
    if text is None:
        return QUICK if quick else USUAL
    return {"all": list(PEERS), "none": []}.get(text, words(text))


def pick_nets(word: str) -> tuple[Net, ...]:
    if word in GROUPS:
        return GROUPS[word]
    numbers = words(word)
    known = [str(number) for number in range(1, len(NETS) + 1)]
    if wrong := [number for number in numbers if number not in known]:
        raise ValueError(f"{wrong[0]!r} is neither {', '.join(GROUPS)} nor a number from 1 to {len(NETS)}")
    return tuple(NETS[int(number) - 1] for number in numbers)


def main(arguments: Sequence[str] | None = None) -> int:
    parser, given = parse(arguments)
    before = load()  # before our own work counts
    try:
        entrants = find_entrants(words(given.backend), pick_peers(given.peers, given.quick))
    except backends.BackendError as error:
        parser.error(f"argument --backend: {error}")
    except ValueError as error:
        parser.error(f"argument --peers: {error}")
    if given.peers not in (None, "all", "none"):
        here = {entrant.word for entrant in entrants}
        for word in (word for word in words(given.peers) if word not in here):
            parser.error(f"argument --peers: {word} is for {PEERS[word].kinds[0]}, and --backend names nothing there")
    try:
        if given.out:
            require_writable(given.out)
    except OSError as error:
        parser.error(f"argument --out: {given.out} cannot be written to: {error}")
    if warning := busy(before):
        print(f"warning: {warning}", file=sys.stderr)

    chosen, measures, rounds = given.rounds, dict[str, Measure](), dict[str, int]()
    failure = ""
    interrupted = False
    try:
        for word in given.measure:
            _, usual, make = MEASURES[word]
            given.rounds = rounds[word] = chosen or (QUICK_ROUNDS if given.quick else usual)
            measures[word] = make(given, entrants)
            run(measures[word])
    except Mismatch as error:
        failure = f"the check failed: {error}"
    except (OSError, RuntimeError) as error:  # no MNIST, or a process of its own that failed
        failure = f"error: {error}"
    except KeyboardInterrupt:
        interrupted = True
    measured = any(measure.as_json() for measure in measures.values())
    if interrupted:
        print("interrupted" if measured else "interrupted before anything was measured", file=sys.stderr)
    if measured:
        devices = sorted({entrant.device for entrant in entrants if entrant.make is not None})
        about = environment() | {"devices": devices, "load before": before, "rounds": rounds}
        about |= {"absent": {entrant.name: entrant.absent for entrant in entrants if entrant.absent}}
        about |= {"interrupted": interrupted or bool(failure)}
        text = report(measures, entrants, about)
        print(text)
        if given.out:
            (given.out / "benchmark.md").write_text(text + "\n", encoding="utf-8")
            (given.out / "benchmark.json").write_text(as_json(measures, about) + "\n", encoding="utf-8")
    if failure:
        print(failure, file=sys.stderr)
        return 1
    return 130 if interrupted else 0


if __name__ == "__main__":
    sys.exit(main())
