"""One flat vector for all parameters of a model, and the views of it that the layers see."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import array_api_compat

from mlp_xp import random

from .layer import Array, Layer, Parameter, Parameters

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


class Layout:
    """Where each parameter of `model` lies in one vector of `size` elements; the gaps are zero and stay zero.

    A vector with leading axes, (..., size), holds the parameters of models trained side by side.
    """

    def __init__(self, model: Layer) -> None:
        self._tree = model.parameters()
        entries = []
        start = 0
        for name, parameter in _leaves(self._tree):
            stop = start + prod(parameter.shape)
            entries.append(Entry(name, parameter, start, stop))
            start = -(-stop // ALIGNMENT) * ALIGNMENT
        self.entries = tuple(entries)
        self.size = start
        self.count = sum(entry.stop - entry.start for entry in entries)
        """The number of parameters, gaps not counted."""
        self._paths = tuple(tuple(entry.name.split(".")) for entry in entries)
        self._spans = {entry.name: (entry.start, entry.stop, entry.parameter.shape) for entry in entries}
        self._plan = self.nest(self._spans)  # so that `split` only walks and slices

    def split(self, xp: Any, flat: Array) -> Parameters:
        """The parameters as the model takes them: views of `flat` (..., size), where the library has views."""
        return _views(xp, flat, flat.shape[:-1], self._plan)

    def nest(self, named: dict[str, Array]) -> Parameters:
        """Arrays by full name as the tree that the model takes: the inverse of `named`."""
        return _nested(named, self._tree, "")

    def gaps(self, xp: Any, flat: Array) -> tuple[Array, ...]:
        """The zeros behind each parameter, in the dtype and on the device of `flat`: for `join`, made once."""
        starts = [entry.start for entry in self.entries[1:]] + [self.size]
        device = array_api_compat.device(flat)
        return tuple(
            xp.zeros((*flat.shape[:-1], start - entry.stop), dtype=flat.dtype, device=device)
            for entry, start in zip(self.entries, starts, strict=True)
        )

    def join(self, xp: Any, tree: Parameters, gaps: tuple[Array, ...]) -> Array:
        """The inverse of `split`: one vector of a tree of arrays, such as the gradients."""
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

    def named(self, xp: Any, flat: Array) -> dict[str, Array]:
        """The parameters in `flat` by their full names, such as "0.weight"."""
        lead = flat.shape[:-1]
        return {
            name: xp.reshape(flat[..., start:stop], (*lead, *shape))
            for name, (start, stop, shape) in self._spans.items()
        }

    def initial(self, seed: int) -> dict[str, Any]:
        """Initial values by full name, drawn on the host (NumPy, float64); each parameter has a stream of its own."""
        return {
            entry.name: entry.parameter.init.draw(
                random.stream(seed, f"initial {entry.name}"),
                entry.parameter.shape,
                entry.parameter.fan_in,
                entry.parameter.fan_out,
            )
            for entry in self.entries
        }


def _nested(named: dict[str, Any], tree: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {
        name: named[prefix + name] if isinstance(node, Parameter) else _nested(named, node, f"{prefix}{name}.")
        for name, node in tree.items()
    }


def _leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Parameter]]:
    for name, node in tree.items():
        if isinstance(node, Parameter):
            yield prefix + name, node
        else:
            yield from _leaves(node, f"{prefix}{name}.")


def _views(xp: Any, flat: Array, lead: tuple[int, ...], plan: dict[str, Any]) -> Parameters:
    views = {}
    for name, node in plan.items():
        if type(node) is tuple:
            start, stop, shape = node
            views[name] = xp.reshape(flat[..., start:stop], (*lead, *shape))
        else:
            views[name] = _views(xp, flat, lead, node) if node else node
    return views
