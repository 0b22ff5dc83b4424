"""Hyper-parameters that differ between parameters, and rules that look at one parameter at a time."""

from collections.abc import Callable
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import Any

from mlp_xp.names import unknown

Array = Any


def by_pattern(what: str, patterns: Any, layout: Any, default: Callable[[Any], Any]) -> dict[str, Any]:
    """The value for each parameter of `layout`, by name: that of the last pattern that matches, or the default.

    `patterns` are pairs. A pattern that matches no parameter is a ValueError.
    """
    values = {entry.name: default(entry.parameter) for entry in layout.entries}
    for pattern, value in patterns:
        matching = [name for name in values if fnmatchcase(name, pattern)]
        if not matching:
            raise ValueError(f"{what}: " + unknown("parameter", pattern, values))
        values |= dict.fromkeys(matching, value)
    return values


def each_parameter(xp: Any, layout: Any, rule: Callable[..., Any]) -> Callable[..., Any]:
    """Apply a rule to each parameter by itself, for those that take a norm of it."""
    bounds = [entry.start for entry in layout.entries] + [layout.size]  # with the gaps, which are zero
    spans = [(..., slice(start, stop)) for start, stop in pairwise(bounds)]

    def update(p: Array, g: Array, slots: Any, coefficients: Any, vectors: Any) -> Any:
        results = [
            rule(
                xp,
                p[span],
                g[span],
                tuple(slot[span] for slot in slots),
                coefficients,
                tuple(None if vector is None else vector[span] for vector in vectors),
            )
            for span in spans
        ]
        new = [xp.concat([slots[i] for _, slots in results], axis=-1) for i in range(len(slots))]
        return xp.concat([p for p, _ in results], axis=-1), tuple(new)

    return update
