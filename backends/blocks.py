"""An elementwise rule run over blocks that fit the cache, in place."""

from collections.abc import Callable
from typing import Any

from .fused import FusedLoop
from .program import MISS, Program, compiled
from .tape import Array, Value, record

BLOCK = 24_576
"""Elements that a rule works on at a time: a block of each operand stays in the second-level cache."""


class Blocks:
    """An update `(p, g, slots, coefficients, vectors) -> (p, slots)` that owns p and slots, see `Backend.fuse`.

    loop: takes the place of the blocks, where it can be run.
    """

    def __init__(self, xp: Any, rule: Callable[..., Any], loop: FusedLoop | None = None) -> None:
        self._xp, self._rule, self._loop = xp, rule, loop
        self._programs: dict[tuple[Any, ...], Program | None] = {}

    def __call__(self, p: Array, g: Array, slots: tuple[Array, ...], coefficients: Any, vectors: Any) -> Any:
        if p.shape[-1] <= BLOCK:
            return self._rule(self._xp, p, g, slots, coefficients, vectors)
        if isinstance(p, Value):
            p, *new = p.tape.overwrite(self._in_place, (p, *slots), (g, coefficients, vectors))
            return p, tuple(new)
        self._in_place(p, *slots, g, coefficients, vectors)
        return p, slots

    def _in_place(self, p: Array, *others: Any) -> None:
        *slots, g, coefficients, vectors = others
        if self._loop is not None and self._loop.run(p, g, tuple(slots), coefficients, vectors):
            return
        for start in range(0, p.shape[-1], BLOCK):
            cut = (..., slice(start, start + BLOCK))
            self._one(
                p[cut],
                g[cut],
                tuple([slot[cut] for slot in slots]),
                tuple(coefficients),
                tuple([None if vector is None else vector[cut] for vector in vectors]),
            )

    def _one(self, *block: Any) -> None:
        p, _, slots, *_ = block
        if p.shape not in self._programs:
            self._programs[p.shape] = self._compiled(block)
        program = self._programs[p.shape]
        if program is not None and program.run(*block) is not MISS:
            return
        p[...], new = self._rule(self._xp, *block)
        for slot, value in zip(slots, new, strict=True):
            slot[...] = value

    def _compiled(self, block: tuple[Any, ...]) -> Program | None:
        try:
            return compiled(record(lambda *arguments: self._rule(self._xp, *arguments), block, (0, 2)), bound=False)
        except Exception:  # whatever a stand-in is not fit for; an error of the rule itself shows when it is run
            return None
