"""CUDA graphs as far as a machine without a GPU goes: what PyTorch does on the CPU is written down, and done again."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from mlp_xp.backends.cuda_graph import Graphed
from mlp_xp.backends.on_torch import TorchBackend

aten: Any = torch.ops.aten
WAITS = {aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten.equal, aten._unique2, aten.is_nonzero}
"""Overloads of which wait for the device, and fail in a capture."""


class NoTransfer(TorchFunctionMode):
    """Refuses what copies between host and device."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(function, "__name__", "")
        from_host = name in ("asarray", "tensor", "as_tensor", "from_numpy") and not isinstance(args[0], torch.Tensor)
        to_host = name in ("cpu", "numpy", "item", "tolist", "__array__", "__bool__", "__float__", "__int__")
        by_tensor = name == "__getitem__" and any(
            isinstance(each, torch.Tensor) and each.ndim == 0 for each in tree_leaves(args[1])
        )
        moved = name == "to" and any(str(each) == "cpu" for each in (*args[1:], *(kwargs or {}).values()))
        if from_host or to_host or by_tensor or moved:
            raise RuntimeError(f"operation not permitted when stream is capturing: {name}")
        return function(*args, **(kwargs or {}))


class Tape(TorchDispatchMode):
    """A graph: what PyTorch is asked for while it is entered, with the numbers and the tensors of then."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[tuple[Any, Any, Any, Any]] = []
        self._before: list[tuple[Any, Any]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function.overloadpacket in WAITS:
            raise RuntimeError("operation not permitted when stream is capturing")
        if function._schema.is_mutable:
            self._before.append((args[0], args[0].clone()))
        given = tree_map(lambda leaf: leaf, (args, kwargs))  # lists are others than the caller's
        result = function(*args, **kwargs)
        self._calls.append((function, *given, result))
        return result

    def end(self) -> None:
        """Nothing was done, only captured."""
        for tensor, before in reversed(self._before):
            tensor.copy_(before)
        self._before = []

    def results(self) -> list[Any]:
        return [leaf for *_, results in self._calls for leaf in tree_leaves(results) if isinstance(leaf, torch.Tensor)]

    def replay(self) -> None:
        for function, args, kwargs, results in self._calls:
            again = function(*args, **kwargs)
            for old, new in zip(tree_leaves(results), tree_leaves(again), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


class OnHost:
    """Takes the place of `Cuda`."""

    def __init__(self) -> None:
        self.graphs = self.replays = 0
        self.sent: list[list[float]] = []

    def scope(self) -> Any:
        return nullcontext()

    def send(self, numbers: list[float], memory: Any) -> None:
        self.sent.append(numbers)
        memory.copy_(torch.tensor(numbers, dtype=memory.dtype))

    def warm_up(self, work: Callable[[], Any]) -> None:
        work()

    def captured(self, work: Callable[[], Any], beside: Any) -> Any:
        tape = Tape()
        try:
            with NoTransfer(), tape:
                work()
        finally:
            tape.end()
        self.graphs += 1
        return tape


class GraphedOnHost(TorchBackend):
    """PyTorch on the CPU, whose steps are captured as on a GPU."""

    def __init__(self, device: Any = OnHost) -> None:
        super().__init__()
        self._graphs_on = device

    def unable(self, arithmetic: str) -> str:
        return ""

    def build(self, make: Any, bounds: Any) -> Any:
        return Graphed(torch, self._graphs_on(), make(self))


class Pretended:
    """What `Cuda` takes of `torch.cuda`, and says so."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.CUDAGraph = lambda: SimpleNamespace(pool=lambda: "its memory")

    def torch(self) -> Any:
        def tensor(numbers: list[float], dtype: Any, pin_memory: bool) -> Any:
            assert pin_memory
            return torch.tensor(numbers, dtype=dtype)

        return SimpleNamespace(cuda=self, tensor=tensor)

    def Stream(self, device: Any) -> Any:
        return SimpleNamespace(name="side", wait_stream=lambda other: self.said.append(f"side waits for {other.name}"))

    def current_stream(self, device: Any) -> Any:
        return SimpleNamespace(name="main", wait_stream=lambda other: self.said.append(f"main waits for {other.name}"))

    def device(self, device: Any) -> Any:
        return nullcontext()

    @contextmanager
    def stream(self, stream: Any) -> Iterator[None]:
        self.said.append(f"on {stream.name}")
        yield

    @contextmanager
    def graph(self, graph: Any, **options: Any) -> Iterator[None]:
        inspect.signature(torch.cuda.graph).bind(graph, **options)
        self.said.append(f"capture on {options['stream'].name}, {options['capture_error_mode']}, {options['pool']}")
        tape = Tape()
        try:
            with NoTransfer(), tape:
                yield
        finally:
            tape.end()
        graph.replay = tape.replay


class Elsewhere(TorchFunctionMode):
    """What PyTorch without CUDA cannot do with the shapes of tensors on a GPU, by calls that it can."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is torch.Tensor.copy_:
            assert args[0].device == args[1].device or args[1].is_pinned()
            return args[0]
        if function is not torch.Tensor.__getitem__:
            return function(*args, **(kwargs or {}))
        x, index = args
        index = index if isinstance(index, tuple) else (index,)
        axis = 0
        for place, each in enumerate(index):
            if each is Ellipsis:
                axis = x.ndim - sum(other is not None for other in index[place + 1 :])
            elif each is None:
                x, axis = aten.unsqueeze(x, axis), axis + 1
            elif isinstance(each, int):
                x = aten.select(x, axis, each)
            elif isinstance(each, slice):
                x, axis = aten.slice(x, axis, each.start, each.stop), axis + 1
            else:
                assert each.device == x.device and each.ndim > 0  # without dimensions it would be fetched
                x, axis = aten.index(x, [*[None] * axis, each]), axis + each.ndim
        return x


class Places(TorchDispatchMode):
    """Notes on which devices what it sees is."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        self.found += [
            each.device.type for each in tree_leaves((args, kwargs, result)) if isinstance(each, torch.Tensor)
        ]
        return result


class OnShapes(OnHost):
    """Captures what has shapes and a device, but no numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.places = Places()

    def send(self, numbers: list[float], memory: Any) -> None:
        assert memory.device.type == "cuda" and memory.shape == (len(numbers),)

    def captured(self, work: Callable[[], Any], beside: Any) -> Any:
        with self.places:
            work()
        return SimpleNamespace(replay=lambda: None)
