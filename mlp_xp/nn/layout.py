"""One flat vector for all parameters of a model, and the views of it that the layers see."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import array_api_compat

from mlp_xp import random

from .layer import Array, Layer, Parameter, Parameters, leaves

ALIGNMENT = 64
"""Every parameter starts at a multiple of so many elements: aligned slices are faster on every device."""


@dataclass(frozen=True)
class Entry:
    """Where one parameter lies in the flat vector."""

    name: str
    """Such as "0.weight": the names of the layers on the way, and its own."""
    parameter: Parameter
    start: int
    stop: int


class Vector:
    """Where each of some parameters lies in one vector of `size` elements; the gaps are zero and stay zero.

    A vector with leading axes, (..., size), holds the parameters of models trained side by side.
    """

    def __init__(self, parameters: Iterable[tuple[str, Parameter]]) -> None:
        entries = []
        start = 0
        for name, parameter in parameters:
            stop = start + prod(parameter.shape)
            entries.append(Entry(name, parameter, start, stop))
            start = -(-stop // ALIGNMENT) * ALIGNMENT
        self.entries = tuple(entries)
        self.size = start
        self.bounds = (*(entry.start for entry in entries), start)
        """Where each parameter starts, and the last ends, with the gap behind it."""
        self.count = sum(entry.stop - entry.start for entry in entries)
        """The number of parameters, gaps not counted."""
        self._paths = tuple(tuple(entry.name.split(".")) for entry in entries)

    def gaps(self, xp: Any, like: Array) -> tuple[Array, ...]:
        """The zeros behind each parameter, in the dtype and on the device of `like`: for `join`, made once."""
        ends = zip(self.entries, self.bounds[1:], strict=True)
        return tuple(_full(xp, like, end - entry.stop, 0.0) for entry, end in ends)

    def join(self, xp: Any, tree: Parameters, gaps: tuple[Array, ...]) -> Array:
        """One vector of a tree of arrays, such as the gradients; `tree` may hold others beside them."""
        lead = gaps[0].shape[:-1]
        parts = []
        for path, gap in zip(self._paths, gaps, strict=True):
            array = tree
            for name in path:
                array = array[name]
            parts.append(xp.reshape(array, (*lead, -1)) if lead else array)
            if gap.shape[-1]:
                parts.append(gap)
        return xp.concat(parts, axis=-1 if lead else None)  # None flattens each part

    def spread(self, xp: Any, values: Mapping[str, float], like: Array) -> Array:
        """A vector with one number for all elements of each parameter, by name; zero in the gaps."""
        parts = []
        for entry, gap in zip(self.entries, self.gaps(xp, like), strict=True):
            parts += [_full(xp, like, entry.stop - entry.start, values[entry.name]), gap]
        return xp.concat(parts, axis=-1)

    def named(self, xp: Any, flat: Array) -> dict[str, Array]:
        """The parameters in `flat` by their full names, such as "0.weight"."""
        return {
            entry.name: xp.reshape(flat[..., entry.start : entry.stop], (*flat.shape[:-1], *entry.parameter.shape))
            for entry in self.entries
        }


class Layout(Vector):
    """Where each parameter of `model` lies in the vector that is trained; and each buffer in a vector of its own."""

    def __init__(self, model: Layer) -> None:
        self._tree = model.parameters()
        found = list(leaves(self._tree))
        super().__init__(leaf for leaf in found if leaf[1].trainable)
        self.buffers = Vector(leaf for leaf in found if not leaf[1].trainable)
        spans = {
            entry.name: (which, entry.start, entry.stop, entry.parameter.shape)
            for which, vector in enumerate((self, self.buffers))
            for entry in vector.entries
        }
        self._plan = self.nest(spans)  # so that `split` only walks and slices

    def split(self, xp: Any, flat: Array, buffers: Array | None = None) -> Parameters:
        """Parameters and buffers as the model takes them: views of `flat` (..., size), where the library has views."""
        return _views(xp, (flat, buffers), flat.shape[:-1], self._plan)

    def nest(self, named: dict[str, Any]) -> Parameters:
        """Arrays by full name, of parameters and buffers, as the tree that the model takes."""
        return _nested(named, self._tree, "")

    def initial(self, seed: int) -> dict[str, Any]:
        """Initial values by full name, drawn on the host (NumPy, float64); each parameter has a stream of its own."""
        return {
            entry.name: entry.parameter.init.draw(
                random.stream(seed, f"initial {entry.name}"),
                entry.parameter.shape,
                entry.parameter.fan_in,
                entry.parameter.fan_out,
            )
            for entry in (*self.entries, *self.buffers.entries)
        }


def updated(tree: Parameters, changes: Parameters) -> Parameters:
    """The tree with what `changes` holds in place of its own."""
    return {
        name: updated(node, changes.get(name, {})) if isinstance(node, dict) else changes.get(name, node)
        for name, node in tree.items()
    }


def _full(xp: Any, like: Array, length: int, value: float) -> Array:
    shape = (*like.shape[:-1], length)
    return xp.full(shape, value, dtype=like.dtype, device=array_api_compat.device(like))


def _nested(named: dict[str, Any], tree: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {
        name: named[prefix + name] if isinstance(node, Parameter) else _nested(named, node, f"{prefix}{name}.")
        for name, node in tree.items()
    }


def _views(xp: Any, vectors: tuple[Any, Any], lead: tuple[int, ...], plan: dict[str, Any]) -> Parameters:
    views = {}
    for name, node in plan.items():
        if type(node) is tuple:
            which, start, stop, shape = node
            views[name] = xp.reshape(vectors[which][..., start:stop], (*lead, *shape))
        else:
            views[name] = _views(xp, vectors, lead, node) if node else node
    return views
