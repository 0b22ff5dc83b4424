"""What the benchmark trains: nets, their first weights, and rows to learn from."""

import math
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np

Weights = list[np.ndarray]
"""W, b of the first layer, W, b of the second, and so on: W (in, out), b (out,)."""

OPTIMIZERS = {"SGD": 0.01, "Adam": 0.001}
"""Their learning rates."""
SLOTS = {"SGD": 0, "Adam": 2}
"""Arrays as large as the parameters that each keeps between steps."""
EPOCH = 1.5e10
"""Multiplications and additions in an epoch of a net that says nothing else: a few tenths of a second on two cores."""
MNIST = 60_000
"""Its rows for training. An epoch of made-up rows has not many more: they lie in memory, for some libraries twice."""


@dataclass(frozen=True)
class Net:
    sizes: tuple[int, ...]
    batch: int
    steps: int
    """Batches in an epoch: so many that it takes from a tenth of a second to a few seconds on two cores.

    Real epochs have hundreds: what is done once in a training, such as the copy of a large net that ours goes back to
    from a loss that is not finite, is to weigh little more than there.
    """

    @property
    def rows(self) -> int:
        return self.batch * self.steps

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(in, out) of every layer."""
        return list(pairwise(self.sizes))

    @property
    def parameters(self) -> int:
        return sum((inputs + 1) * outputs for inputs, outputs in self.shapes)

    @property
    def activations(self) -> int:
        """Numbers in a batch and in what every layer makes of it."""
        return self.batch * sum(self.sizes)

    def __str__(self) -> str:
        """784-128-64-10; many layers of one width are counted: 16-100x16-10."""
        first, *hidden, last = self.sizes
        runs = [(size, len(list(run))) for size, run in groupby(hidden)]
        words = [f"{count}x{size}" if count > 2 else "-".join([str(size)] * count) for size, count in runs]
        return "-".join([str(first), *words, str(last)])


def sized(sizes: tuple[int, ...], batch: int) -> Net:
    """A net whose epochs have as many steps as make up the work of `EPOCH`: from 50, or 20 of large batches, to 500."""
    products = sum(inputs * outputs for inputs, outputs in pairwise(sizes))
    fewest = 50 if 50 * batch <= MNIST else 20
    return Net(sizes, batch, steps=min(500, max(fewest, int(EPOCH / (6 * batch * products)))))


NETS = (
    Net((2, 8, 2), batch=4, steps=2500),
    Net((30, 32, 16, 2), batch=32, steps=2000),
    Net((784, 128, 64, 10), batch=32, steps=500),
    Net((784, 128, 64, 10), batch=128, steps=150),
    Net((784, 512, 512, 10), batch=128, steps=64),
    Net((784, 512, 512, 10), batch=1024, steps=60),
    Net((784, 2048, 2048, 10), batch=512, steps=50),
    Net((16, *[16] * 100, 10), batch=32, steps=100),
)
GROUPS = {"small": NETS[:4], "large": NETS[4:7], "deep": NETS[7:], "all": NETS}

GROWTH = {
    "depth": [sized((784, *[128] * depth, 10), 128) for depth in (1, 2, 4, 8, 16, 32)],
    "width": [sized((784, width, width, 10), 128) for width in (64, 128, 256, 512, 1024, 2048)],
    "batch": [sized((784, 128, 64, 10), batch) for batch in (16, 64, 256, 1024, 4096)],
}
"""What grows, from net to net."""


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

    @property
    def memory(self) -> int:
        """Bytes that training cannot do without: parameters, their gradient, the optimizer's slots, activations."""
        numbers = self.net.parameters * (2 + SLOTS[self.optimizer]) + self.net.activations
        return numbers * np.dtype(self.dtype).itemsize

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
