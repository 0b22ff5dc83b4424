"""What needs a process of its own: peak memory and start-up time; and the size of what a user installs."""

import importlib.metadata
import os
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from contestants import PEERS, Entrant, ours, peer
from machine import resident, settle_memory, why_no_memory
from nets import OPTIMIZERS, Case, Net, first_weights, make_data
from turns import Result, Turns, both_tables, markdown_table, present

import mlp_xp

MEGABYTE = 2**20
MEMORY_CASES = tuple(
    Case(net, optimizer)
    for net in (
        Net((784, 128, 64, 10), batch=128, steps=8),
        Net((784, 512, 512, 10), batch=128, steps=8),
        Net((784, 2048, 2048, 10), batch=512, steps=4),
    )
    for optimizer in OPTIMIZERS
)


def child(*arguments: str) -> str:
    """What a fresh Python prints; RuntimeError with its last words where it fails."""
    found = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
    if found.returncode:
        raise RuntimeError(f"{' '.join(arguments)[:200]} failed: {found.stderr.strip()[-500:]}")
    return found.stdout


# Memory


@dataclass
class Memory:
    """The most that training takes beyond its data: resident memory, or the device's.

    The process has trained a tiny net before, so that what is imported is there. Then it makes the net, trains one
    epoch, which compiles, and another one: what counts is the highest of that, less what was held before the net was
    made. Beside it what training cannot do without: the parameters, their gradient and the optimizer's slots, and the
    activations of a batch.
    """

    entrants: Sequence[Entrant]
    rounds: int
    cases: Sequence[Case] = MEMORY_CASES
    bytes: dict[Case, dict[str, list[int]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.entrants = [entrant for entrant in self.entrants if entrant.role != "floor"]

    @property
    def measured(self) -> list[Entrant]:
        reason = why_no_memory()
        return [entrant for entrant in present(self.entrants) if entrant.kind == "CUDA" or not reason]

    @property
    def total(self) -> int:
        return self.rounds * len(self.cases) * len(self.measured)

    def turns(self) -> Turns:
        for case in self.cases:
            for _ in range(self.rounds):
                for entrant in self.measured:
                    yield f"memory, {case}: {entrant.name}"
                    found = self.bytes.setdefault(case, {}).setdefault(entrant.name, [])
                    script = str(Path(__file__).with_name("memory_of.py"))
                    numbers = map(str, (*case.net.sizes, case.net.batch, case.net.steps))
                    who = (entrant.role, entrant.word, entrant.kind)
                    found.append(int(child(script, *who, case.optimizer, *numbers)))

    def markdown(self) -> str:
        reason = why_no_memory()
        if not self.bytes:
            return reason.capitalize() + "." if reason else ""
        rows = []
        for case, found in self.bytes.items():
            cells = [str(case.net), str(case.net.batch), case.optimizer, f"{case.memory / MEGABYTE:.1f} MB"]
            for entrant in self.entrants:
                values = found.get(entrant.name)
                cells.append(
                    f"{median(values) / MEGABYTE:.1f} MB ({median(values) / case.memory:.2f})" if values else "-"
                )
            rows.append(cells)
        header = ["net", "batch", "optimizer", "needed", *(entrant.name for entrant in self.entrants)]
        return f"{markdown_table(header, rows)}\n\nIn brackets how many times what is needed."

    def as_json(self) -> list[dict[str, Any]]:
        return [
            {"net": str(case.net), "batch": case.net.batch, "optimizer": case.optimizer, "needed": case.memory}
            | {"bytes": found}
            for case, found in self.bytes.items()
        ]


def needed_memory(role: str, word: str, kind: str, case: Case) -> int:
    """Bytes that training takes beyond what this process held before: run it in a process of its own."""
    entrant = ours(word) if role == "ours" else peer(word, kind)
    assert entrant.make is not None
    # Small, and large and long enough for all that is loaded when it is used: numba with ours, which records first.
    tiny = Case(Net((case.net.sizes[0], 64, case.net.sizes[-1]), batch=32, steps=8), case.optimizer)
    start, data = first_weights(case), make_data(case)
    small, little = first_weights(tiny), make_data(tiny)
    entrant.make(tiny, small).epoch(*little)
    before = device_memory(word, peak=False) if kind == "CUDA" else settle_memory()
    contestant = entrant.make(case, start)
    contestant.epoch(*data)
    if kind == "CUDA":
        # The device holds the data too.
        return device_memory(word, peak=True) - before - sum(array.nbytes for array in data)
    settle_memory()
    contestant.epoch(*data)
    return resident("VmHWM") - before


def device_memory(word: str, peak: bool) -> int:
    """Bytes of the device that a library's arrays take, or took at most. CuPy's pool keeps what it once had."""
    if word.startswith("cupy"):
        import cupy

        pool = cupy.get_default_memory_pool()
        if not peak:
            pool.free_all_blocks()
        return pool.total_bytes()
    if word.startswith("torch"):
        import torch

        if not peak:
            torch.cuda.reset_peak_memory_stats()
        return torch.cuda.max_memory_allocated()
    import jax

    return jax.devices("cuda")[0].memory_stats()["peak_bytes_in_use" if peak else "bytes_in_use"]


# Start-up

ROWS = "import numpy as np; x, y = np.ones((4, 2), 'float32'), np.array([0, 1, 0, 1]); "
PROGRAMS = {
    "ours": (
        "from mlp_xp import nn, optim, train",
        ROWS + "from mlp_xp import nn, optim, train; net = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2)); "
        "train.Trainer(net, nn.SoftmaxCrossEntropy(), optim.SGD(.1), backend={word!r})"
        ".fit(x, y, epochs=1, batch_size=4, progress=False)",
    ),
    "sklearn": (
        "from sklearn.neural_network import MLPClassifier",
        ROWS + "from sklearn.neural_network import MLPClassifier; "
        "MLPClassifier(8, solver='sgd', batch_size=4).partial_fit(x, y, classes=[0, 1])",
    ),
    "torch": (
        "import torch",
        ROWS + "import torch; from torch import nn; net = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))"
        ".to({device!r}); optimizer = torch.optim.SGD(net.parameters(), .1); "
        "x, y = torch.from_numpy(x).to({device!r}), torch.from_numpy(y).to({device!r}); "
        "nn.functional.cross_entropy(net(x), y).backward(); optimizer.step(); net[0].weight.cpu()",
    ),
    "jax": (
        "import jax, optax",
        ROWS + "import jax, optax; normal = np.random.default_rng(0).standard_normal; "
        "forward = lambda w, x: jax.nn.relu(x @ w[0] + w[1]) @ w[2] + w[3]; "
        "loss = lambda w: optax.softmax_cross_entropy_with_integer_labels(forward(w, x), y).mean(); "
        "step = jax.jit(lambda w: jax.tree.map(lambda p, g: p - .1 * g, w, jax.grad(loss)(w))); "
        "w = [normal(s).astype('float32') for s in ((2, 8), 8, (8, 2), 2)]; jax.block_until_ready(step(w))",
    ),
}
"""What imports all that a program needs of a library, and what trains one step of 2-8-2 with it."""


@dataclass
class StartUp:
    """From the start of Python to its end, for a program that imports a library, and one that trains a step too."""

    entrants: Sequence[Entrant]
    rounds: int
    results: list[Result] = field(default_factory=list)

    def __post_init__(self) -> None:
        bare = Entrant("Python", "floor", lambda case, start: None)  # type: ignore[arg-type,return-value]
        known = [e for e in self.entrants if e.role == "ours" or (e.role == "peer" and e.word in PROGRAMS)]
        self.entrants = [bare, *known]

    @property
    def total(self) -> int:
        return 2 * (1 + self.rounds) * len(present(self.entrants))

    def turns(self) -> Turns:
        for index, what in enumerate(("import", "first step")):
            self.results.append(Result({"": what}))
            turns = {e.name: partial(child, "-c", program(e, index)) for e in present(self.entrants)}
            for name in self.results[-1].take_turns(turns, self.rounds):
                yield f"{what}: {name}"

    def markdown(self) -> str:
        complete = [result for result in self.results if result.complete]
        return both_tables(complete, self.entrants) if complete else ""

    def as_json(self) -> list[dict[str, Any]]:
        return [{"what": result.what[""], "seconds": result.seconds} for result in self.results if result.complete]


def program(entrant: Entrant, index: int) -> str:
    if entrant.role == "floor":
        return "pass"
    code = PROGRAMS["ours" if entrant.role == "ours" else entrant.word][index]
    return code.replace("{word!r}", repr(entrant.word)).replace("{device!r}", repr(entrant.kind.lower()))


# Installation


@dataclass
class Installation:
    """The files of a library and of everything that it requires, as pip has installed them here."""

    entrants: Sequence[Entrant]
    sizes: dict[str, dict[str, int]] = field(default_factory=dict)
    """Bytes of every distribution, by what is installed."""

    def __post_init__(self) -> None:
        words = [entrant.word for entrant in self.entrants if entrant.role == "ours"]
        self.wanted = {f"mlp_xp {word}": [library(word)] for word in words}
        peers = {"sklearn": "scikit-learn", "torch": "torch", "jax": "jax"}
        chosen = [e.word for e in present(self.entrants) if e.role == "peer" and e.word in peers]
        self.wanted |= {PEERS[word].name: [peers[word]] for word in dict.fromkeys(chosen)}

    @property
    def total(self) -> int:
        return len(self.wanted)

    def turns(self) -> Turns:
        for name, roots in self.wanted.items():
            yield f"size of {name}"
            ours = name.startswith("mlp_xp")
            roots = [root for root in roots if root] + (own_requirements() if ours else [])
            self.sizes[name] = {each: size_of(each) for each in sorted(required(roots))}
            if ours:
                self.sizes[name]["mlp-xp"] = own_size()

    def markdown(self) -> str:
        if not self.sizes:
            return ""
        rows = []
        for name, sizes in self.sizes.items():
            largest = sorted(sizes.items(), key=lambda item: -item[1])
            parts = ", ".join(f"{each} {size / MEGABYTE:.1f}" for each, size in largest)
            rows.append([name, f"{sum(sizes.values()) / MEGABYTE:.0f} MB", parts])
        return markdown_table(["", "installed", "of which, in MB"], rows)

    def as_json(self) -> list[dict[str, Any]]:
        return [{"name": name, "bytes": sum(sizes.values()), "of": sizes} for name, sizes in self.sizes.items()]


def library(word: str) -> str:
    """The distribution that a backend needs beyond what mlp_xp requires; empty for NumPy."""
    name = word.partition(":")[0]
    if name == "cupy":
        names = (each.metadata["Name"] for each in importlib.metadata.distributions())
        return next((each for each in names if each and each.startswith("cupy-")), "cupy")
    return {"torch": "torch", "jax": "jax", "strict": "array-api-strict"}.get(name, "")


def own_requirements() -> list[str]:
    """What mlp_xp itself requires, as its pyproject.toml says."""
    about = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    return about["project"]["dependencies"]


def required(roots: Sequence[str]) -> set[str]:
    """The names of all distributions that these requirements draw in on this machine, where they are installed."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    found: set[str] = set()
    waiting = [Requirement(root) for root in roots]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        try:
            lines = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # optional for this machine's build of what names it
        extras = wanted.extras or {""}
        needed = [Requirement(line) for line in lines]
        needed = [each for each in needed if not each.marker or any(each.marker.evaluate({"extra": e}) for e in extras)]
        waiting += [each for each in needed if canonicalize_name(each.name) not in found]
        found.add(name)
    return found


def size_of(distribution: str) -> int:
    """Bytes of its files, without Python's caches of them."""
    files = importlib.metadata.files(distribution) or []
    paths = (Path(str(file.locate())) for file in files if "__pycache__" not in file.parts)
    return sum(path.stat().st_size for path in paths if path.is_file())


def own_size() -> int:
    """Bytes of mlp_xp, of which an editable installation holds no files."""
    return sum(
        (Path(folder) / file).stat().st_size
        for top in mlp_xp.__path__
        for folder, _, files in os.walk(top, followlinks=True)
        for file in files
        if Path(folder).name != "__pycache__"
    )
