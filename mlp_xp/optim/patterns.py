"""Hyper-parameters that differ between parameters, and rules that look at one parameter at a time."""

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from itertools import pairwise
from math import inf
from numbers import Real
from typing import Any

from mlp_xp.names import unknown

Array = Any


def keep_as_pairs(optimizer: Any, name: str, example: str) -> tuple[tuple[str, Any], ...]:
    """Turn a mapping from patterns among the hyper-parameters into a tuple of pairs; give it."""
    given = getattr(optimizer, name)
    pairs = tuple(given.items()) if isinstance(given, Mapping) else given
    if not isinstance(pairs, tuple | list) or not all(
        isinstance(pair, tuple | list) and len(pair) == 2 and isinstance(pair[0], str) for pair in pairs
    ):
        raise TypeError(
            f"{type(optimizer).__name__}({name}={given!r}): give values by pattern of parameter names, such as "
            f"{{{example}}}"
        )
    kept = tuple(dict(pairs).items())
    object.__setattr__(optimizer, name, kept)
    return kept


def keep_as_multipliers(optimizer: Any, name: str) -> None:
    """The same for numbers, which are not negative."""
    for pattern, value in keep_as_pairs(optimizer, name, "'0.*': 0.1"):
        if not isinstance(value, Real) or isinstance(value, bool) or not 0 <= float(value) < inf:
            raise ValueError(
                f"{type(optimizer).__name__}: {name}[{pattern!r}] is {value!r}; give a finite number of at least 0"
            )


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
    spans = [(..., slice(start, stop)) for start, stop in pairwise(layout.bounds)]  # with the gaps, which are zero

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
