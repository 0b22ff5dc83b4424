"""Long vectors in pieces while a compiled step owns them, for XLA.

It copies each slice of a vector that it multiplies with, and puts a gradient together number by number. Large pieces
that are arrays of their own are multiplied with, and updated, where they lie.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from .tape import Array

LARGE = 1 << 14
"""From so many elements on a piece is an array of its own. Small ones stay together: each array costs every call."""


class Pieces(NamedTuple):
    """A vector: its pieces, cut along the last axis."""

    parts: tuple[Array, ...]


class Apart(NamedTuple):
    """A tree of arrays whose long vectors are in pieces."""

    tree: Any


def spans(bounds: Sequence[int]) -> tuple[slice, ...]:
    """Slices of a vector that may be cut at the bounds, from 0 to its size: the large ones, and what lies between."""
    cuts = {bounds[0], bounds[-1]}
    for pair in pairwise(bounds):
        if pair[1] - pair[0] >= LARGE:
            cuts.update(pair)
    return tuple(slice(*pair) for pair in pairwise(sorted(cuts)))


class Cutter:
    """Cuts vectors of one length, and puts them together; other arrays of a tree stay as they are."""

    def __init__(self, jax: Any, bounds: Sequence[int]) -> None:
        self.spans, self._size = spans(bounds), bounds[-1]
        self._map, self._cut = jax.tree.map, jax.jit(self._pieces)

    def piece(self, tree: Any, span: slice) -> Any:
        return self._map(lambda leaf: leaf[..., span] if self._is_long(leaf) else leaf, tree)

    def apart(self, tree: Any) -> Apart:
        return Apart(self._map(lambda leaf: self._pieces(leaf) if self._is_long(leaf) else leaf, tree))

    def take_apart(self, tree: Any) -> Apart:
        """The same, and each vector is given up when it is cut: memory is not needed for all of them twice."""

        def cut(leaf: Any) -> Any:
            if not self._is_long(leaf):
                return leaf
            pieces = self._cut(leaf)
            leaf.delete()
            return pieces

        return Apart(self._map(cut, tree))

    def fused(self, xp: Any, rule: Callable[..., Any]) -> Callable[..., Any]:
        """An elementwise rule, on each piece by itself: what is cut afterwards was never put together."""

        def update(*arguments: Any) -> Any:
            results = [rule(xp, *self.piece(arguments, span)) for span in self.spans]
            return self._map(lambda *parts: xp.concat(parts, axis=-1), *results)

        return update

    def _is_long(self, leaf: Any) -> bool:
        return getattr(leaf, "shape", ())[-1:] == (self._size,)

    def _pieces(self, vector: Array) -> Pieces:
        return Pieces(tuple(vector[..., span] for span in self.spans))


class Joiner:
    """Puts what is apart together again."""

    def __init__(self, jax: Any) -> None:
        self._map, self._concat = jax.tree.map, jax.jit(lambda parts: jax.numpy.concat(parts, axis=-1))

    def whole(self, given: Apart) -> Any:
        return self._joined(given, lambda leaf: self._concat(leaf.parts))

    def put_together(self, given: Apart) -> Any:
        """The same, and the pieces are given up."""

        def joined(leaf: Pieces) -> Array:
            vector = self._concat(leaf.parts)
            for part in leaf.parts:
                part.delete()
            return vector

        return self._joined(given, joined)

    def _joined(self, given: Apart, join: Callable[[Pieces], Array]) -> Any:
        return self._map(lambda leaf: join(leaf) if is_cut(leaf) else leaf, given.tree, is_leaf=is_cut)


def is_cut(leaf: Any) -> bool:
    return isinstance(leaf, Pieces)


class InPieces:
    """A step `function(state, ...) -> state`, whose state stays in pieces from call to call.

    compiled: gives what runs it, and several of it, fast.
    """

    def __init__(
        self, cutter: Cutter, joiner: Joiner, compiled: Callable[[Any], Any], function: Callable[..., Any]
    ) -> None:
        def step(state: Apart, *arguments: Any) -> Apart:
            return cutter.apart(function(joiner.whole(state), *arguments))

        self._take_apart, self._step = cutter.take_apart, compiled(step)

    @property
    def reason(self) -> str:
        return self._step.reason

    def __call__(self, state: Any, *arguments: Any) -> Apart:
        return self._step(self._apart(state), *arguments)

    def several(self, state: Any, *arguments: Any) -> Apart:
        return self._step.several(self._apart(state), *arguments)

    def _apart(self, state: Any) -> Apart:
        return state if type(state) is Apart else self._take_apart(state)
