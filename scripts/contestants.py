"""Who takes part in the benchmark: our backends, the peers, and the floor below all of them."""

import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, Protocol

import numpy as np
from machine import installed
from nets import SLOTS, Case, Weights, make_data

from mlp_xp import backends, nn, optim, train
from mlp_xp.names import unknown

FLOOR, SKLEARN = "floor", "scikit-learn"


class Contestant(Protocol):
    """A net and its optimizer in some library, trained by that library's own means."""

    def put(self, x: np.ndarray, y: np.ndarray) -> tuple[Any, Any]:
        """The data where it trains, in its own arrays."""

    def epoch(self, x: Any, y: Any, shuffle: bool = True) -> None:
        """Train one epoch, on NumPy arrays or on what `put` made of them; come back when the device has finished."""

    def weights(self) -> Weights: ...

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The class of every row."""


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

    def put(self, x: np.ndarray, y: np.ndarray) -> tuple[Any, Any]:
        return self._trainer.backend.from_host(x), self._trainer.backend.from_host(y)

    def epoch(self, x: Any, y: Any, shuffle: bool = True) -> None:
        self._trainer.fit(x, y, epochs=1, batch_size=self._batch, shuffle=shuffle, progress=False)
        self._trainer.backend.synchronize()

    def weights(self) -> Weights:
        return [array.squeeze(0) if array.shape[0] == 1 else array for array in self._trainer.parameters.values()]

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self._trainer.predict(x).argmax(-1)


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
        # A first fit makes the arrays; the next starts from what these hold, with a fresh optimizer.
        self._train(self._estimator.fit, *make_data(replace(case, net=replace(case.net, steps=1))))
        self._estimator.coefs_[:], self._estimator.intercepts_[:] = start[::2], start[1::2]
        self._next = self._estimator.fit

    def put(self, x: np.ndarray, y: np.ndarray) -> tuple[Any, Any]:
        return x, y

    def epoch(self, x: Any, y: Any, shuffle: bool = True) -> None:
        self._estimator.shuffle = shuffle
        self._train(self._next, x, y)
        self._next = self._estimator.partial_fit  # goes on with the optimizer that is there

    @staticmethod
    def _train(fit: Callable[..., Any], x: np.ndarray, y: np.ndarray) -> None:
        from sklearn.exceptions import ConvergenceWarning

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # one epoch at a time is what is asked for
            warnings.filterwarnings("error", "Training interrupted", UserWarning)  # what it makes of Ctrl-C
            try:
                fit(x, y)
            except UserWarning:
                raise KeyboardInterrupt from None

    def weights(self) -> Weights:
        pairs = zip(self._estimator.coefs_, self._estimator.intercepts_, strict=True)
        return [array for pair in pairs for array in pair]

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self._estimator.predict(x)


class Floor:
    """What no step can do without; it learns nothing.

    The matrix products, into memory that exists already: x W for every layer, dW = xT dy for every layer,
    dx = dy WT for all but the first. Then one read and one write of what the optimizer keeps: parameters and slots.
    """

    def __init__(
        self,
        case: Case,
        start: Weights,
        library: Any = np,
        array: Callable[[np.ndarray], Any] = np.asarray,
        synchronize: Callable[[], object] = lambda: None,
    ) -> None:
        net = case.net
        self._library, self._synchronize, self._batch = library, synchronize, net.batch
        values = [array(np.ones((net.batch, size), case.dtype)) for size in net.sizes]
        self._products: list[tuple[Any, Any, Any]] = []
        for index, (x, dy, (inputs, outputs)) in enumerate(zip(values[:-1], values[1:], net.shapes, strict=True)):
            # The three results lie apart: no product reads what another one writes.
            weight, *into = (
                array(np.ones(shape, case.dtype)) for shape in ((inputs, outputs), dy.shape, (inputs, outputs))
            )
            self._products += [(x, weight, into[0]), (x.T, dy, into[1])]
            if index:
                self._products.append((dy, weight.T, array(np.ones(x.shape, case.dtype))))
        self._memory = array(np.ones(net.parameters * (1 + SLOTS[case.optimizer]), case.dtype))

    def put(self, x: np.ndarray, y: np.ndarray) -> tuple[Any, Any]:
        return x, y

    def epoch(self, x: Any, y: Any, shuffle: bool = True) -> None:
        matmul, negative = self._library.matmul, self._library.negative
        for _ in range(0, len(x), self._batch):
            for a, b, out in self._products:
                matmul(a, b, out=out)
            negative(self._memory, out=self._memory)
        self._synchronize()

    def weights(self) -> Weights:
        raise NotImplementedError("the floor learns nothing")

    def predict(self, x: np.ndarray) -> np.ndarray:
        raise NotImplementedError("the floor answers nothing")


Role = Literal["floor", "ours", "peer"]


@dataclass(frozen=True)
class Entrant:
    """A contestant by name, and how it is made for a case."""

    name: str
    role: Role
    make: Callable[[Case, Weights], Contestant] | None
    word: str = ""
    """Which of --backend or --peers names it."""
    kind: str = "CPU"
    """CPU or CUDA: ours are compared with what computes on the same."""
    device: str = "CPU"
    """In words, for people."""
    absent: str = ""
    """Why `make` is None."""
    has_float64: bool = True
    answers: bool = True
    """Does it predict in a way of its own?"""


def ours(word: str) -> Entrant:
    """One of our backends; `BackendError` for a word in vain."""
    backend = backends.select(word)
    on_cuda = any(part in backend.word for part in ("cuda", "cupy", "jax:gpu"))
    return Entrant(
        f"mlp_xp {backend.word}",
        "ours",
        lambda case, start: Ours(case, start, backend),
        word=backend.word,
        kind="CUDA" if on_cuda else "CPU",
        device=backend.device_name() if on_cuda else "CPU",
        has_float64=backend.has_float64,
    )


@dataclass(frozen=True)
class Peer:
    name: str
    needs: tuple[str, ...]
    make: Callable[[str], Callable[[Case, Weights], Contestant]]
    """For a kind of device."""
    kinds: tuple[str, ...] = ("CPU", "CUDA")
    answers: bool = True


def _torch(variant: str, kind: str) -> Callable[[Case, Weights], Contestant]:
    import torch_peers

    return partial(getattr(torch_peers, variant), device=kind.lower())


def _jax(kind: str) -> Callable[[Case, Weights], Contestant]:
    from jax_peer import JAX

    return partial(JAX, platform=kind.lower())


PEERS = {
    "sklearn": Peer(SKLEARN, ("sklearn",), lambda kind: ScikitLearn, kinds=("CPU",)),
    "torch": Peer("PyTorch", ("torch",), partial(_torch, "PyTorch")),
    "torch-fused": Peer("PyTorch fused", ("torch",), partial(_torch, "Fused"), answers=False),
    "torch-compile": Peer("PyTorch compile", ("torch",), partial(_torch, "Compiled")),
    "torch-graph": Peer("PyTorch graph", ("torch",), partial(_torch, "Graph"), kinds=("CUDA",), answers=False),
    "jax": Peer("JAX", ("jax", "optax"), _jax),
}
USUAL = ("sklearn", "torch", "torch-fused", "torch-graph", "jax")
"""All but the one that compiles for minutes."""
QUICK = ("sklearn", "torch")


def peer(word: str, kind: str) -> Entrant:
    """A peer on a kind of device, or why it is absent."""
    chosen = PEERS[word]
    name = chosen.name if kind == "CPU" else f"{chosen.name} {kind.lower()}"
    if missing := [module for module in chosen.needs if not installed(module)]:
        return Entrant(name, "peer", None, word, kind, absent=f"not installed ({', '.join(missing)})")
    device = "CPU"
    if kind == "CUDA" and "torch" in chosen.needs:
        import torch

        if not torch.cuda.is_available():
            return Entrant(name, "peer", None, word, kind, absent="this PyTorch finds no CUDA device")
        device = torch.cuda.get_device_name()
    if kind == "CUDA" and "jax" in chosen.needs:
        import jax

        try:
            device = jax.devices("cuda")[0].device_kind
        except RuntimeError:
            return Entrant(name, "peer", None, word, kind, absent="this JAX finds no CUDA device")
    return Entrant(name, "peer", chosen.make(kind), word, kind, device, answers=chosen.answers)


def floor(kind: str) -> Entrant:
    if kind == "CPU":
        return Entrant(FLOOR, "floor", Floor)
    name = f"{FLOOR} {kind.lower()}"
    if installed("cupy"):
        import cupy

        wait = cupy.cuda.Device().synchronize
        make = partial(Floor, library=cupy, array=cupy.asarray, synchronize=wait)
        return Entrant(name, "floor", make, kind=kind, device=backends.select("cupy").device_name())
    if installed("torch"):
        import torch_peers

        library, array, wait = torch_peers.floor_on_cuda()
        return Entrant(name, "floor", partial(Floor, library=library, array=array, synchronize=wait), kind=kind)
    return Entrant(name, "floor", None, kind=kind, absent="needs CuPy or PyTorch")


def find_entrants(words: Sequence[str], peers: Sequence[str]) -> list[Entrant]:
    """The floors, our backends and the peers, each in the order of the tables: where ours compute, and only there.

    `BackendError` for the word of a backend in vain, ValueError for one that is not a peer.
    """
    for word in peers:
        if word not in PEERS:
            raise ValueError(unknown("peer", word, [*PEERS, "all", "none"]))
    # JAX would otherwise take most of a GPU's memory for itself, and leave the other contestants none.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    chosen = list({entrant.name: entrant for entrant in map(ours, words)}.values())
    kinds = list(dict.fromkeys(entrant.kind for entrant in chosen))
    others = [peer(word, kind) for kind in kinds for word in dict.fromkeys(peers) if kind in PEERS[word].kinds]
    return [*map(floor, kinds), *chosen, *map(_usable, others)]


def _usable(entrant: Entrant) -> Entrant:
    """torch.compile is tried once, as it is only then known whether it works."""
    if entrant.word != "torch-compile" or entrant.make is None or entrant.kind != "CPU":
        return entrant
    import torch_peers

    reason = torch_peers.why_not_compile()
    return replace(entrant, make=None, absent=reason) if reason else entrant
