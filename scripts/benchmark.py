"""The judge of speed: mlp_xp beside scikit-learn and PyTorch, in one run, on the same nets, data and batches.

    python scripts/benchmark.py --quick
    python scripts/benchmark.py --backend cupy,torch:cuda --longer 20 --out results

Each contestant trains the same net on the same float32 rows in shuffled batches: softmax cross-entropy, ReLU, plain
SGD or Adam, no weight decay, no validation, no metrics. First the results are checked: from the same weights, over
the same batches, every contestant must reach the same weights. Then the contestants take turns, round by round, so
that a machine that slows down for a while slows all of them down. What is reported is the median over the rounds, and
as a ratio the median of the ratios within a round.

What an epoch is made of, for every contestant alike: from rows in NumPy arrays to an updated net on the device, with
the library's own checks of its input, the way to the device, the shuffle, every step, and the sum of the losses.

- mlp_xp: wall time around `Trainer.fit(epochs=1)` of a trainer that exists already.
- scikit-learn: wall time around `MLPClassifier.fit` with max_iter=1 and warm_start, so that the weights exist already:
  the checks of its input and its own loop over the batches. Early stopping is off, and no epoch is the last one.
- PyTorch: eager mode, the loop that its tutorials teach: a permutation, rows by index, zero_grad, backward, step.
- matrix products: the floor. The NumPy products that one step cannot do without, into memory that exists already:
  x W for every layer, dW = xT dy for every layer, dx = dy WT for all but the first. A GPU may well go below it.

For two classes scikit-learn trains a net with one logistic output, where the others have two: a little less work.
"""

import argparse
import datetime
import importlib.metadata
import importlib.util
import json
import math
import os
import platform
import sys
import tempfile
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Protocol

import numpy as np
from tqdm import tqdm

import mlp_xp
from mlp_xp import backends, nn, optim, train

Weights = list[np.ndarray]
"""W, b of the first layer, W, b of the second, and so on: W (in, out), b (out,)."""

FLOOR, SKLEARN = "matrix products", "scikit-learn"
OPTIMIZERS = {"SGD": 0.01, "Adam": 0.001}
"""Their learning rates."""
ROUNDS, QUICK_ROUNDS, QUICK_SHARE = 7, 2, 10
CHECK_STEPS = 3
TOLERANCE = 1e3
"""How far two results may lie apart in the check, in units of eps max|weights|: see `check`."""


@dataclass(frozen=True)
class Net:
    sizes: tuple[int, ...]
    batch: int
    steps: int
    """Batches in an epoch: so many that an epoch takes from a tenth of a second to a few seconds on two cores."""

    @property
    def rows(self) -> int:
        return self.batch * self.steps

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(in, out) of every layer."""
        return list(zip(self.sizes[:-1], self.sizes[1:], strict=True))

    def __str__(self) -> str:
        return "-".join(map(str, self.sizes))


NETS = (
    Net((2, 8, 2), batch=4, steps=2500),
    Net((30, 32, 16, 2), batch=32, steps=2000),
    Net((784, 128, 64, 10), batch=32, steps=500),
    Net((784, 128, 64, 10), batch=128, steps=150),
    Net((784, 512, 512, 10), batch=128, steps=64),
    Net((784, 1024, 1024, 10), batch=256, steps=24),
    Net((784, 2048, 2048, 10), batch=512, steps=8),
)
GROUPS = {"small": NETS[:4], "large": NETS[4:], "all": NETS}


@dataclass(frozen=True)
class Case:
    """What is trained, and how."""

    net: Net
    optimizer: str
    dtype: str = "float32"
    eps: float = 1e-8
    """Of Adam."""

    @property
    def learning_rate(self) -> float:
        return OPTIMIZERS[self.optimizer]

    def __str__(self) -> str:
        return f"{self.net}, batch {self.net.batch}, {self.optimizer}"


def make_data(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Rows around a center for each class, far enough apart to be learned and too near to be learned without error.

    A loss that reached zero would fill the gradients with denormal numbers, which are slow. Every batch holds every
    class where it is large enough to.
    """
    rng = np.random.default_rng(0)
    features, outputs = case.net.sizes[0], case.net.sizes[-1]
    y = np.arange(case.net.rows) % max(outputs, 2)
    centers = rng.standard_normal((max(outputs, 2), features)) / math.sqrt(features)
    x = rng.standard_normal((case.net.rows, features), dtype=np.float32) + centers[y]
    return x.astype(case.dtype), y


def first_weights(case: Case) -> Weights:
    rng = np.random.default_rng(1)
    weights = []
    for inputs, outputs in case.net.shapes:
        weights.append(rng.standard_normal((inputs, outputs)) * math.sqrt(2 / inputs))
        weights.append(rng.standard_normal(outputs) * 0.1)
    return [array.astype(case.dtype) for array in weights]


# The contestants


class Contestant(Protocol):
    """A net and its optimizer in some library, trained by that library's own means."""

    def epoch(self, x: np.ndarray, y: np.ndarray, shuffle: bool = True) -> None:
        """Train one epoch; come back when the device has finished."""

    def weights(self) -> Weights: ...


class Ours:
    def __init__(self, case: Case, start: Weights, backend: backends.Backend) -> None:
        layers: list[nn.Layer] = []
        for inputs, outputs in case.net.shapes:
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        # One output stands for two classes, as scikit-learn has it.
        loss = nn.SoftmaxCrossEntropy() if case.net.sizes[-1] > 1 else nn.SigmoidBinaryCrossEntropy()
        rate = case.learning_rate
        self._trainer = train.Trainer(
            nn.Sequential(*layers[:-1]),
            loss,
            optim.SGD(rate) if case.optimizer == "SGD" else optim.Adam(rate, eps=case.eps),
            backend=backend,
            dtype=case.dtype,
        )
        shaped = (array.reshape(-1, array.shape[-1]) for array in start)
        self._trainer.parameters = dict(zip(self._trainer.parameters, shaped, strict=True))
        self._batch = case.net.batch

    def epoch(self, x: np.ndarray, y: np.ndarray, shuffle: bool = True) -> None:
        self._trainer.fit(x, y, epochs=1, batch_size=self._batch, shuffle=shuffle, progress=False)
        self._trainer.backend.synchronize()

    def weights(self) -> Weights:
        return [array.squeeze(0) if array.shape[0] == 1 else array for array in self._trainer.parameters.values()]


class ScikitLearn:
    def __init__(self, case: Case, start: Weights) -> None:
        from sklearn.neural_network import MLPClassifier

        self._estimator = MLPClassifier(
            hidden_layer_sizes=case.net.sizes[1:-1],
            activation="relu",
            solver=case.optimizer.lower(),
            alpha=0.0,
            batch_size=case.net.batch,
            learning_rate_init=case.learning_rate,
            max_iter=1,
            tol=0.0,
            momentum=0.0,
            nesterovs_momentum=False,
            early_stopping=False,
            n_iter_no_change=sys.maxsize,
            epsilon=case.eps,
            warm_start=True,
        )
        # A first fit makes the arrays; later ones start from what these hold, with a fresh optimizer.
        self.epoch(*make_data(replace(case, net=replace(case.net, steps=1))))
        self._estimator.coefs_[:], self._estimator.intercepts_[:] = start[::2], start[1::2]

    def epoch(self, x: np.ndarray, y: np.ndarray, shuffle: bool = True) -> None:
        from sklearn.exceptions import ConvergenceWarning

        self._estimator.shuffle = shuffle
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # one epoch at a time is what is asked for
            warnings.filterwarnings("error", "Training interrupted", UserWarning)  # what it makes of Ctrl-C
            try:
                self._estimator.fit(x, y)
            except UserWarning:
                raise KeyboardInterrupt from None

    def weights(self) -> Weights:
        pairs = zip(self._estimator.coefs_, self._estimator.intercepts_, strict=True)
        return [array for pair in pairs for array in pair]


class PyTorch:
    def __init__(self, case: Case, start: Weights, device: str) -> None:
        import torch

        layers: list[Any] = []
        for weight, bias in zip(start[::2], start[1::2], strict=True):
            inputs, outputs = weight.shape
            linear = torch.nn.Linear(inputs, outputs, dtype=getattr(torch, case.dtype))
            with torch.no_grad():
                linear.weight.copy_(torch.from_numpy(weight.T))
                linear.bias.copy_(torch.from_numpy(bias))
            layers += [linear, torch.nn.ReLU()]
        self._device, self._batch = torch.device(device), case.net.batch
        self._model = torch.nn.Sequential(*layers[:-1]).to(self._device)
        self._loss = torch.nn.CrossEntropyLoss()
        parameters, rate = self._model.parameters(), case.learning_rate
        self._optimizer: Any = (
            torch.optim.SGD(parameters, rate)
            if case.optimizer == "SGD"
            else torch.optim.Adam(parameters, rate, eps=case.eps)
        )

    def epoch(self, x: np.ndarray, y: np.ndarray, shuffle: bool = True) -> None:
        import torch

        device, rows = self._device, len(x)
        inputs, targets = torch.from_numpy(x).to(device), torch.from_numpy(y).to(device)
        order = torch.randperm(rows, device=device) if shuffle else torch.arange(rows, device=device)
        total = torch.zeros((), device=device)
        for start in range(0, rows, self._batch):
            batch = order[start : start + self._batch]
            self._optimizer.zero_grad(set_to_none=True)
            loss = self._loss(self._model(inputs[batch]), targets[batch])
            loss.backward()
            self._optimizer.step()
            total += loss.detach()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    def weights(self) -> Weights:
        # PyTorch keeps W as (out, in).
        return [parameter.detach().cpu().numpy().T for parameter in self._model.parameters()]


class MatrixProducts:
    """The floor: no contestant, as it learns nothing."""

    def __init__(self, case: Case, start: Weights) -> None:
        batch = case.net.batch
        self._steps = case.net.steps
        values = [np.ones((batch, size), case.dtype) for size in case.net.sizes]
        self._products: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        for index, (x, dy, weight) in enumerate(zip(values[:-1], values[1:], start[::2], strict=True)):
            self._products.append((x, weight, np.empty_like(dy)))
            self._products.append((x.T, dy, np.empty_like(weight)))
            if index:
                self._products.append((dy, weight.T, np.empty_like(x)))

    def epoch(self, x: np.ndarray, y: np.ndarray, shuffle: bool = True) -> None:
        for _ in range(self._steps):
            for a, b, out in self._products:
                np.matmul(a, b, out=out)

    def weights(self) -> Weights:
        return []


@dataclass(frozen=True)
class Entrant:
    """A contestant by name, and how it is made for a case."""

    name: str
    make: Callable[[Case, Weights], Contestant] | None
    """None: not installed."""
    device: str = "CPU"
    ours: bool = False
    learns: bool = True
    has_float64: bool = True


def find_entrants(words: Sequence[str]) -> list[Entrant]:
    """The floor, our backends and the peers, each in the order of the table. `BackendError` for a word in vain."""
    chosen = [backends.select(word) for word in words]
    entrants = [Entrant(FLOOR, MatrixProducts, learns=False)]
    for backend in dict.fromkeys(chosen):
        entrants.append(_entrant_of(backend))
    entrants.append(Entrant(SKLEARN, ScikitLearn if _installed("sklearn") else None))
    if not _installed("torch"):
        return [*entrants, Entrant("PyTorch", None)]
    entrants.append(_torch_entrant("cpu", "CPU"))
    if any("cuda" in backend.word or "cupy" in backend.word or "jax:gpu" in backend.word for backend in chosen):
        import torch

        if torch.cuda.is_available():
            entrants.append(_torch_entrant("cuda", torch.cuda.get_device_name()))
    return entrants


def _entrant_of(backend: backends.Backend) -> Entrant:
    def make(case: Case, start: Weights) -> Ours:
        return Ours(case, start, backend)

    return Entrant(f"mlp_xp {backend.word}", make, backend.device_name(), ours=True, has_float64=backend.has_float64)


def _torch_entrant(device: str, name: str) -> Entrant:
    return Entrant(f"PyTorch {device}", lambda case, start: PyTorch(case, start, device), name)


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


# The check


class Mismatch(Exception):
    """Two contestants that should have trained the same net did not."""


def check(case: Case, entrants: Sequence[Entrant]) -> None:
    """Train a few batches in the given order, from the same weights, and compare with our NumPy backend.

    In float64, where rounding is far below any difference of substance. scikit-learn adds Adam's eps to sqrt(v), the
    others to the corrected sqrt(V): with an eps too small to matter both are the same formula. Adam divides each
    gradient by its own size, so that rounding in one that is nearly zero weighs as much as in any other, and sums of
    thousands of terms are rounded in their own order by each library: hence more than a few eps are allowed.
    """
    numpy = _entrant_of(backends.select("numpy"))
    exact = replace(case, dtype="float64", eps=1e-30, net=replace(case.net, steps=CHECK_STEPS))
    expected: dict[Case, Weights] = {}
    for entrant in entrants:
        if not entrant.learns or entrant.make is None or entrant.name == numpy.name:
            continue
        own = exact
        if not entrant.has_float64:
            # In float32 a gradient that is nearly zero may have either sign; a large eps makes that not matter.
            own = replace(exact, dtype="float32", eps=1e-3)
        if entrant.name == SKLEARN and case.net.sizes[-1] == 2:
            own = replace(exact, net=replace(exact.net, sizes=(*case.net.sizes[:-1], 1)))
        if own not in expected:
            expected[own] = _trained(numpy, own)
        _compare(own, entrant.name, _trained(entrant, own), numpy.name, expected[own])


def _trained(entrant: Entrant, case: Case) -> Weights:
    assert entrant.make is not None
    contestant = entrant.make(case, first_weights(case))
    contestant.epoch(*make_data(case), shuffle=False)
    return contestant.weights()


def _compare(case: Case, name: str, got: Weights, reference: str, expected: Weights) -> None:
    """max|a - b| <= c eps max|b| for every parameter: elementwise, weights that are nearly zero would decide."""
    for index, (a, b) in enumerate(zip(got, expected, strict=True)):
        difference = float(np.max(np.abs(a - b)))
        allowed = TOLERANCE * float(np.finfo(case.dtype).eps) * float(np.max(np.abs(b)))
        if not difference <= allowed:
            parameter = f"{'weight' if index % 2 == 0 else 'bias'} of layer {index // 2 + 1}"
            raise Mismatch(
                f"{case}: after {CHECK_STEPS} steps in {case.dtype} the {parameter} of {name} differs from that of "
                f"{reference} by {difference:.3g}, where {allowed:.3g} is allowed. Times of different results are "
                f"not comparable, so nothing was measured"
            )


# The measurement


@dataclass
class Result:
    """Seconds of an epoch, for each contestant and round."""

    case: Case
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def epoch(self, name: str) -> float:
        return median(self.seconds[name])

    def step(self, name: str) -> float:
        """Microseconds."""
        return self.epoch(name) / self.case.net.steps * 1e6

    def ratio(self, name: str, base: str) -> float:
        """How many times the time of `base`; an unfinished round counts for neither."""
        return median(a / b for a, b in zip(self.seconds[name], self.seconds[base], strict=False))

    @property
    def complete(self) -> bool:
        """Does every contestant have a time?"""
        return bool(self.seconds) and all(self.seconds.values())


def measure(result: Result, entrants: Sequence[Entrant], rounds: int) -> Generator[None, None, None]:
    """Warm up every contestant, then let them take turns; yields after each epoch of each."""
    case = result.case
    x, y = make_data(case)
    start = first_weights(case)
    contestants = {entrant.name: entrant.make(case, start) for entrant in entrants if entrant.make is not None}
    for contestant in contestants.values():
        contestant.epoch(x, y)
        yield
    result.seconds = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, contestant in contestants.items():
            begin = perf_counter()
            contestant.epoch(x, y)
            result.seconds[name].append(perf_counter() - begin)
            yield


def run(cases: Sequence[Case], entrants: Sequence[Entrant], rounds: int, results: list[Result]) -> None:
    """Check every case, then measure every case; `results` grows on the way, and stays when this is interrupted."""
    present = sum(entrant.make is not None for entrant in entrants)
    total = len(cases) * (1 + present * (1 + rounds))
    with tqdm(total=total, unit="epoch", disable=None, dynamic_ncols=True) as bar:
        for case in cases:
            bar.set_description(f"checking {case}")
            check(case, entrants)
            bar.update()
        for case in cases:
            bar.set_description(f"measuring {case}")
            results.append(Result(case))
            # Closed at once, so that its nets do not stay in memory beside the next ones.
            with closing(measure(results[-1], entrants, rounds)) as epochs:
                for _ in epochs:
                    bar.update()


# The report


def table(results: Sequence[Result], entrants: Sequence[Entrant]) -> str:
    """A Markdown table, a row for each case."""
    ours = [entrant for entrant in entrants if entrant.ours]
    peers = [entrant for entrant in entrants if not entrant.ours and entrant.learns]
    header = ["net", "batch", "optimizer"]
    header += [f"{entrant.name}, µs/step" for entrant in entrants]
    for our in ours:
        short = our.name if len(ours) > 1 else "mlp_xp"
        header += [f"{peer.name} / {short}" for peer in peers] + [f"{short} / {FLOOR}", f"{short}, s/epoch"]
    lines = [header, ["---", *["---:"] * (len(header) - 1)]]
    for result in results:
        net = result.case.net
        cells = [str(net), str(net.batch), result.case.optimizer]
        cells += [_step(result, entrant) for entrant in entrants]
        for our in ours:
            cells += [_ratio(result, peer, our) for peer in peers]
            cells += [f"{result.ratio(our.name, FLOOR):.2f}", f"{result.epoch(our.name):.3f}"]
        lines.append(cells)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _step(result: Result, entrant: Entrant) -> str:
    if entrant.make is None:
        return "not installed"
    microseconds = result.step(entrant.name)
    return f"{microseconds:.1f}" if microseconds < 1000 else f"{microseconds:.0f}"


def _ratio(result: Result, peer: Entrant, our: Entrant) -> str:
    return "not installed" if peer.make is None else f"{result.ratio(peer.name, our.name):.2f}"


def environment(entrants: Sequence[Entrant]) -> dict[str, Any]:
    """Where the numbers come from: without it they mean nothing."""
    packages = ("numpy", "scikit-learn", "torch", "jax", "cupy-cuda12x", "cupy-cuda13x", "cupy-rocm-7-0")
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "devices": {entrant.name: entrant.device for entrant in entrants if entrant.make is not None},
        "python": platform.python_version(),
        "packages": {"mlp_xp": mlp_xp.__version__} | {package: _version(package) for package in packages},
        "torch threads": _torch_threads(),
        "thread pools": _thread_pools(),
    }


def _processor() -> str:
    """The processor's name: Linux and macOS tell the standard library only its architecture."""
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    if sys.platform == "darwin":
        import subprocess

        asked = subprocess.run(["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True)
        if asked.returncode == 0:
            return asked.stdout.strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _torch_threads() -> int | str:
    if not _installed("torch"):
        return "not installed"
    import torch

    return torch.get_num_threads()


def _thread_pools() -> list[dict[str, Any]] | str:
    """BLAS and OpenMP libraries in this process and their threads: nobody's setting is changed."""
    if not _installed("threadpoolctl"):
        return "unknown: threadpoolctl is not installed"
    from threadpoolctl import threadpool_info

    return [{key: value for key, value in pool.items() if key != "filepath"} for pool in threadpool_info()]


def report(results: Sequence[Result], entrants: Sequence[Entrant], about: dict[str, Any]) -> str:
    """The table, and below it what is needed to read it."""
    versions = [f"{package} {version}" for package, version in about["packages"].items() if version != "not installed"]
    devices = ", ".join(sorted(set(about["devices"].values())))
    pools = about["thread pools"]
    if not isinstance(pools, str):
        names = {f"{pool['internal_api']} {pool['version'] or ''}".strip(): pool["num_threads"] for pool in pools}
        pools = ", ".join(f"{name} with {threads} threads" for name, threads in sorted(names.items()))
    lines = [
        table(results, entrants),
        "",
        f"Medians of {max(len(times) for result in results for times in result.seconds.values())} rounds; float32; "
        f"a ratio above 1 means that the first takes longer.",
        f"{about['date']}, {about['processor']}, {about['cores']} cores, {devices}; Python {about['python']}, "
        f"{', '.join(versions)}; {pools}; PyTorch's threads: {about['torch threads']}.",
    ]
    if (about["load before"] or 0) > 0.3 * (about["cores"] or 1):
        lines.append(
            f"Others were using this machine: the load was {about['load before']:.1f} before the start. Measure again "
            f"when it is idle."
        )
    if any(result.case.net.sizes[-1] == 2 for result in results):
        lines.append("For two classes scikit-learn trains one logistic output, the others two with softmax.")
    return "\n".join(lines)


def as_json(results: Sequence[Result], about: dict[str, Any]) -> str:
    cases = [
        asdict(result.case)
        | {
            "seconds": result.seconds,
            "microseconds_per_step": {name: result.step(name) for name in result.seconds},
        }
        for result in results
    ]
    return json.dumps({"environment": about, "cases": cases}, indent=2)


# The command line


def parse(arguments: Sequence[str] | None) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    nets = "\n".join(f"  {number}  {net}, batch {net.batch}" for number, net in enumerate(NETS, 1))
    parser = argparse.ArgumentParser(
        description="Measure the training speed of mlp_xp beside scikit-learn and PyTorch.",
        epilog=f"""nets:
{nets}

example:
  python scripts/benchmark.py --nets 1,3 --rounds 3 --out results

You will see a progress bar, and after about a minute a Markdown table: for each net and optimizer the microseconds
that a step takes with each library, how many times as long as mlp_xp the others take, and the time of the bare matrix
products, below which no step on the same processor can go. The folder results/ then holds it as benchmark.md, and
every single time with a description of the machine in benchmark.json. All nets take several minutes. Ctrl-C prints
what was measured so far.""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--backend", default="numpy", help="ours: one, or several with commas: cupy,torch:cuda,jax")
    parser.add_argument("--nets", help="small, large, all, or numbers from the list below: 1,3 (default: all)")
    parser.add_argument("--rounds", type=int, help=f"epochs measured of each contestant (default: {ROUNDS})")
    parser.add_argument("--longer", type=int, default=1, help="epochs of so many times the rows, for a fast device")
    parser.add_argument("--quick", action="store_true", help="small nets, few rows, two rounds: under 40 seconds")
    parser.add_argument("--out", type=Path, help="a folder for benchmark.json and benchmark.md")
    options = parser.parse_args(arguments)
    for name in ("rounds", "longer"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            parser.error(f"argument --{name}: give a whole number above 0")
    try:
        options.nets = pick_nets(options.nets or ("small" if options.quick else "all"))
    except ValueError as error:
        parser.error(f"argument --nets: {error}")
    return parser, options


def pick_nets(word: str) -> tuple[Net, ...]:
    if word in GROUPS:
        return GROUPS[word]
    numbers = [number.strip() for number in word.split(",")]
    known = [str(number) for number in range(1, len(NETS) + 1)]
    if unknown := [number for number in numbers if number not in known]:
        raise ValueError(f"{unknown[0]!r} is neither {', '.join(GROUPS)} nor a number from 1 to {len(NETS)}")
    return tuple(NETS[int(number) - 1] for number in numbers)


def require_writable(folder: Path) -> None:
    """Raise OSError now rather than after minutes of measuring."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def main(arguments: Sequence[str] | None = None) -> int:
    # JAX would otherwise take most of a GPU's memory for itself, and leave the other contestants none.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    parser, options = parse(arguments)
    try:
        entrants = find_entrants(options.backend.split(","))
        if options.out:
            require_writable(options.out)
    except backends.BackendError as error:
        parser.error(str(error))
    except OSError as error:
        parser.error(f"argument --out: {options.out} cannot be written to: {error}")

    share = QUICK_SHARE if options.quick else 1
    nets = [replace(net, steps=net.steps * options.longer // share) for net in options.nets]
    cases = [Case(net, optimizer) for net in nets for optimizer in OPTIMIZERS]
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    # Before our own work counts. Threads that wait for each other on a busy machine make any library look slow.
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    results: list[Result] = []
    interrupted = False
    try:
        run(cases, entrants, rounds, results)
    except Mismatch as error:
        print(f"the check failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        interrupted = True
        results = [result for result in results if result.complete]
        print("interrupted" if results else "interrupted before anything was measured", file=sys.stderr)
    if results:
        about = environment(entrants) | {"load before": load, "rounds": rounds, "interrupted": interrupted}
        text = report(results, entrants, about)
        print(text)
        if options.out:
            (options.out / "benchmark.md").write_text(text + "\n", encoding="utf-8")
            (options.out / "benchmark.json").write_text(as_json(results, about) + "\n", encoding="utf-8")
    return 130 if interrupted else 0


if __name__ == "__main__":
    sys.exit(main())
