"""An elementwise rule as one loop over all elements, in place."""

from collections.abc import Callable
from typing import Any

from .elementwise import Language, Loop

Launch = Callable[[list[Any], tuple[float, ...]], None]
"""(arrays, numbers), in the order in which the loop names them."""


class FusedLoop:
    """make: what compiles a loop, or gives None. There is one for each dtype, number of slots and set of vectors."""

    def __init__(self, rule: Callable[..., Any], language: Language, make: Callable[[Loop], Launch | None]) -> None:
        self._rule, self._language, self._make = rule, language, make
        self._made: dict[Any, Launch | None] = {}

    def run(self, p: Any, g: Any, slots: tuple[Any, ...], coefficients: Any, vectors: tuple[Any, ...]) -> bool:
        """Update p and the slots where they lie; False, and nothing is done, where that is not possible.

        It is where the rule is elementwise, and the arrays are of one shape and dtype and without gaps.
        """
        arrays = [p, g, *slots, *(vector for vector in vectors if vector is not None)]
        if not all((each.shape, each.dtype) == (p.shape, p.dtype) and each.flags.c_contiguous for each in arrays):
            return False
        key = p.dtype, len(slots), tuple(vector is None for vector in vectors)
        if key not in self._made:
            self._made[key] = self._compiled(p, g, slots, coefficients, vectors)
        launch = self._made[key]
        if launch is not None:
            launch(arrays, coefficients)
        return launch is not None

    def _compiled(self, *arguments: Any) -> Launch | None:
        try:
            loop = Loop(self._rule, arguments, arguments[0].dtype.name, self._language)
        except Exception:  # whatever a stand-in is not fit for; an error of the rule itself shows when it is run
            return None
        return self._make(loop)
