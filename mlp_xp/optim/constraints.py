"""Sets that parameters are put back into after every step.

A weight is (..., in, out): what belongs to one unit, its incoming weights, is a column, along axis -2. A table of
an Embedding is (categories, features): there the vector of a category is a row, along axis -1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from numbers import Integral, Real
from typing import Any

from .clipping import norm

Array = Any


class Constraint:
    def __call__(self, xp: Any, w: Array) -> Array:
        """The nearest parameter to w that meets the constraint."""
        raise NotImplementedError


@dataclass(frozen=True)
class MaxNorm(Constraint):
    """|w_j| <= limit for the incoming weights w_j of every unit j (Srivastava et al., 2014).

    With axis=-1 for every row: for the vector of each category of an Embedding.
    """

    limit: float = 3.0
    axis: int = -2

    def __post_init__(self) -> None:
        if not isinstance(self.limit, Real) or isinstance(self.limit, bool) or not 0 < self.limit < inf:
            raise ValueError(f"MaxNorm(limit={self.limit!r}): give a finite number above 0")
        keep_as_axis(self)

    def __call__(self, xp: Any, w: Array) -> Array:
        limit = float(self.limit)
        return w * (limit / xp.maximum(norm(xp, w, axis=self.axis), limit))


@dataclass(frozen=True)
class UnitNorm(Constraint):
    """|w_j| = 1 for the incoming weights w_j of every unit j; weights that are all zero stay so.

    With axis=-1 for every row: for the vector of each category of an Embedding. The average that EMA, SWA or ASGD
    keeps of such weights is shorter than 1.
    """

    axis: int = -2

    def __post_init__(self) -> None:
        keep_as_axis(self)

    def __call__(self, xp: Any, w: Array) -> Array:
        length = norm(xp, w, axis=self.axis)
        return w / xp.where(length > 0, length, xp.ones_like(length))


@dataclass(frozen=True)
class NonNegative(Constraint):
    """w >= 0."""

    def __call__(self, xp: Any, w: Array) -> Array:
        return xp.maximum(w, 0.0)


def keep_as_axis(constraint: Any) -> None:
    axis = constraint.axis
    if not isinstance(axis, Integral) or axis not in (-2, -1):
        raise ValueError(
            f"{type(constraint).__name__}(axis={axis!r}): give -2 for the incoming weights of each unit, or -1 for the "
            f"vector of each category of an Embedding"
        )
    object.__setattr__(constraint, "axis", int(axis))


def constrained(xp: Any, flat: Array, layout: Any, constraints: Mapping[str, Constraint | None]) -> Array:
    """The parameters in `flat` with the constraint of each, by name; None for what is free."""
    parts, done = [], 0
    for entry in layout.entries:
        constraint = constraints[entry.name]
        if constraint is not None:
            lead = flat.shape[:-1]
            w = xp.reshape(flat[..., entry.start : entry.stop], (*lead, *entry.parameter.shape))
            parts += [flat[..., done : entry.start], xp.reshape(constraint(xp, w), (*lead, -1))]
            done = entry.stop
    return xp.concat([*parts, flat[..., done:]], axis=-1) if parts else flat
