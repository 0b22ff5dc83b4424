"""PyTorch in the benchmark: eager, with its fused optimizer, compiled, and as a CUDA graph."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from nets import Case, Weights

COMPILER = "inductor"
"""What torch.compile hands the step to."""


class PyTorch:
    """Eager mode, the loop that its tutorials teach: a permutation, rows by index, zero_grad, backward, step."""

    fused = False
    captured = False
    """Is the step recorded, so that the optimizer must keep its count of steps on the device?"""

    def __init__(self, case: Case, start: Weights, device: str) -> None:
        self._device, self._batch = torch.device(device), case.net.batch
        self._dtype = getattr(torch, case.dtype)
        layers: list[Any] = []
        for weight, bias in zip(start[::2], start[1::2], strict=True):
            inputs, outputs = weight.shape
            linear = torch.nn.Linear(inputs, outputs, dtype=self._dtype)
            with torch.no_grad():
                linear.weight.copy_(torch.from_numpy(weight.T))
                linear.bias.copy_(torch.from_numpy(bias))
            layers += [linear, torch.nn.ReLU()]
        self._model = torch.nn.Sequential(*layers[:-1]).to(self._device)
        self._loss = torch.nn.CrossEntropyLoss()
        # None leaves the choice between its loops to PyTorch.
        options: dict[str, Any] = {"lr": case.learning_rate, "fused": True if self.fused else None}
        if case.optimizer == "Adam":
            options |= {"eps": case.eps, "capturable": self.captured}
        self._optimizer = getattr(torch.optim, case.optimizer)(self._model.parameters(), **options)

    def put(self, x: np.ndarray, y: np.ndarray) -> tuple[Any, Any]:
        return torch.from_numpy(x).to(self._device), torch.from_numpy(y).to(self._device)

    def epoch(self, x: Any, y: Any, shuffle: bool = True) -> None:
        # A compiled or recorded optimizer counts its steps in the default type, and corrects for them in that.
        with default_dtype(self._dtype):
            self._epoch(x, y, shuffle)

    def _epoch(self, x: Any, y: Any, shuffle: bool) -> None:
        device, rows = self._device, len(x)
        inputs, targets = torch.as_tensor(x, device=device), torch.as_tensor(y, device=device)
        order = torch.randperm(rows, device=device) if shuffle else torch.arange(rows, device=device)
        total = torch.zeros((), device=device)
        for start in range(0, rows, self._batch):
            batch = order[start : start + self._batch]
            total += self._step(inputs[batch], targets[batch])
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    def _step(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        self._optimizer.zero_grad(set_to_none=True)
        loss = self._loss(self._model(x), y)
        loss.backward()
        self._optimizer.step()
        return loss.detach()

    def weights(self) -> Weights:
        # PyTorch keeps W as (out, in).
        return [parameter.detach().cpu().numpy().T for parameter in self._model.parameters()]

    def predict(self, x: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return self._model(torch.from_numpy(x).to(self._device)).argmax(1).cpu().numpy()


class Fused(PyTorch):
    """The same loop; the optimizer's update is one kernel for all parameters."""

    fused = True


class Compiled(PyTorch):
    """torch.compile of forward pass, loss and backward pass as one function, and of the update.

    Its functional gradient makes one graph of both passes; `loss.backward()` would leave the compiled code in between.
    """

    def __init__(self, case: Case, start: Weights, device: str) -> None:
        super().__init__(case, start, device)
        self._named = {name: parameter.detach() for name, parameter in self._model.named_parameters()}
        # Shapes are compiled in: a batch of another size, as the last of an epoch may be, is compiled by itself.
        self._gradients = self._compile(torch.func.grad_and_value(self._value))
        self._update = self._compile(self._optimizer.step)
        self._answer = self._compile(self._model)

    @staticmethod
    def _compile(function: Any) -> Any:
        return torch.compile(function, backend=COMPILER, dynamic=False)

    def _value(self, parameters: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self._loss(torch.func.functional_call(self._model, parameters, (x,)), y)

    def _step(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        gradients, loss = self._gradients(self._named, x, y)
        for parameter, gradient in zip(self._model.parameters(), gradients.values(), strict=True):
            parameter.grad = gradient
        self._update()
        return loss

    def predict(self, x: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return self._answer(torch.from_numpy(x).to(self._device)).argmax(1).cpu().numpy()


class Graph(PyTorch):
    """A CUDA graph of the whole step, from the rows by index to the update, with the fused optimizer.

    It reads from and writes to the same memory in every replay: the data is copied there at the start of an epoch,
    the rows of a batch before every step. A batch of another size has a graph of its own.
    """

    fused = captured = True

    def __init__(self, case: Case, start: Weights, device: str) -> None:
        super().__init__(case, start, device)
        self._data: tuple[torch.Tensor, torch.Tensor] | None = None
        self._total = torch.zeros((), device=self._device)
        self._graphs: dict[int, tuple[torch.cuda.CUDAGraph, torch.Tensor]] = {}

    def _epoch(self, x: Any, y: Any, shuffle: bool) -> None:
        device, rows = self._device, len(x)
        inputs, targets = torch.as_tensor(x), torch.as_tensor(y)
        if self._data is None or self._data[0].shape != inputs.shape:
            self._data = torch.empty_like(inputs, device=device), torch.empty_like(targets, device=device)
            self._graphs.clear()
        self._data[0].copy_(inputs)
        self._data[1].copy_(targets)
        order = torch.randperm(rows, device=device) if shuffle else torch.arange(rows, device=device)
        for size in {min(self._batch, rows), rows % self._batch or self._batch} - self._graphs.keys():
            self._graphs[size] = self._capture(size, *self._data)
        self._total.zero_()
        for start in range(0, rows, self._batch):
            batch = order[start : start + self._batch]
            graph, index = self._graphs[len(batch)]
            index.copy_(batch)
            graph.replay()
        torch.cuda.synchronize(device)

    def _capture(self, size: int, inputs: torch.Tensor, targets: torch.Tensor) -> tuple[Any, torch.Tensor]:
        """Record a step of so many rows; the steps that warm it up are taken back."""
        index = torch.arange(size, device=self._device)
        before = [tensor.detach().clone() for tensor in self._tensors()]
        stream = torch.cuda.Stream(self._device)
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(stream):
            for _ in range(3):
                self._step(inputs[index], targets[index])
        torch.cuda.current_stream(self._device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._total += self._step(inputs[index], targets[index])
        with torch.no_grad():
            for number, tensor in enumerate(self._tensors()):
                # What the optimizer did not have before, it starts with zeros.
                tensor.copy_(before[number] if number < len(before) else torch.zeros_like(tensor))
        return graph, index

    def _tensors(self) -> list[torch.Tensor]:
        """The parameters, then what the optimizer keeps for them."""
        state = self._optimizer.state.values()
        return [*self._model.parameters(), *(tensor for slots in state for tensor in slots.values())]


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def why_not_compile() -> str:
    """The reason in words why torch.compile cannot be used on this machine's CPU; empty where it can."""
    wanted = os.environ.get("CXX")
    names = [wanted] if wanted else ["g++", "clang++", "c++", "cl"]
    if COMPILER == "inductor" and not any(shutil.which(name) for name in names):
        return f"skipped: torch.compile needs a C++ compiler, and there is none ({', '.join(names)})"
    try:
        torch.compile(lambda x: x + 1, backend=COMPILER)(torch.zeros(2))
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return f"skipped: torch.compile fails here with {lines[0]}"
    return ""


def floor_on_cuda() -> tuple[Any, Any, Any]:
    """matmul and negative into given memory, arrays from the host, and waiting for the device: for the floor."""
    return torch, lambda array: torch.from_numpy(array).cuda(), torch.cuda.synchronize
