"""How numbers are compared, and how a layer is run on a backend."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from mlp_xp import backends, nn, random
from mlp_xp.nn.layout import updated


def assert_close(actual: np.ndarray, expected: np.ndarray, factor: float = 64, dtype: Any = np.float32) -> None:
    """max|a - b| <= factor * eps * max|b|: rounding is relative to the largest number, not to each."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    bound = factor * np.finfo(dtype).eps * max(np.abs(expected).max(initial=0), np.finfo(dtype).tiny)
    assert np.abs(actual - expected).max(initial=0) <= bound


def start(layer: nn.Layer, lead: tuple[int, ...] = (), seed: int = 0) -> dict[str, np.ndarray]:
    """Parameters by name that are zero nowhere, with leading axes."""
    rng = np.random.default_rng(seed)
    return {
        name: np.broadcast_to(value, (*lead, *value.shape)) + 0.1 * rng.normal(size=(*lead, *value.shape))
        for name, value in nn.Layout(layer).initial(seed).items()
    }


def run(
    backend: backends.Backend,
    layer: nn.Layer,
    parameters: dict[str, np.ndarray],
    x: np.ndarray,
    dy: np.ndarray | None = None,
    *,
    dtype: str = "float64",
    training: bool = True,
    step: int = 0,
) -> dict[str, np.ndarray]:
    """Forward and backward as the trainer compiles them: y, dx, gradients and new buffers by name, on the host.

    Without `dy` backward starts from one that is neither zero nor constant.
    """
    xp, layout = backend.xp, nn.Layout(layer)

    def both(p: Any, x: Any, dy: Any, key: Any) -> Any:
        y, saved = layer.forward(xp, p, x, nn.Context(training, key))
        new = layer.statistics(xp, p, saved) if training else {}
        return y, updated(p, new), layer.backward(xp, p, saved, 0.7 + y * y if dy is None else dy)

    with backend.scope():
        p = layout.nest({name: backend.from_host(value, dtype) for name, value in parameters.items()})
        dy_device = None if dy is None else backend.from_host(dy, dtype)
        y, new, (dx, grads) = backend.compile(both)(p, backend.from_host(x, dtype), dy_device, random.key(3, step))
        result = {"y": y, "dx": dx} | {entry.name: at(grads, entry.name) for entry in layout.entries}
        result |= {entry.name: at(new, entry.name) for entry in layout.buffers.entries}
        return {name: backend.to_host(value) for name, value in result.items()}


def at(tree: Any, name: str) -> Any:
    """What stands in a nested dict under a dotted name."""
    for part in name.split("."):
        tree = tree[part]
    return tree


def first_and_slow(cases: Sequence[Any]) -> list[Any]:
    """Of cases that take seconds each and differ little, the first for every run, and the others before a release."""
    first, *others = cases
    return [first, *(pytest.param(each, marks=pytest.mark.slow) for each in others)]
