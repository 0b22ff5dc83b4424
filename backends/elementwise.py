"""An elementwise rule as statements on single numbers, the body of a loop: in C++ for CUDA, in Python for numba."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from .lean import lean
from .tape import Call, Number, Recorded, Recording, Untraceable, Value, leaves, record

SIGNS = {
    np.add: "+",
    np.subtract: "-",
    np.multiply: "*",
    np.true_divide: "/",
    np.negative: "-",
    np.greater: ">",
    np.greater_equal: ">=",
    np.less: "<",
    np.less_equal: "<=",
    np.equal: "==",
    np.not_equal: "!=",
}
ELEMENTS = 64
"""Of the stand-ins: any number above 1."""


@dataclass(frozen=True)
class Language:
    """How a statement is written."""

    functions: dict[Any, str]
    """{0} and {1} are the operands."""
    choice: str
    """{0} where the condition {2} holds, else {1}."""
    types: dict[str, str]
    """By the names of dtypes."""
    cast: str
    """{1} as the type {0}."""
    statement: str
    """{0}: type, {1}: name, {2}: value"""


CUDA = Language(
    functions={
        np.sqrt: "sqrt({0})",
        np.exp: "exp({0})",
        np.log: "log({0})",
        np.absolute: "fabs({0})",
        np.power: "pow({0}, {1})",
        np.square: "({0} * {0})",
        np.isnan: "({0} != {0})",
        # NaN wins, as in the standard; fmax and fmin would hide it.
        np.maximum: "({0} != {0} || {0} > {1} ? {0} : {1})",
        np.minimum: "({0} != {0} || {0} < {1} ? {0} : {1})",
    },
    choice="({2} ? {0} : {1})",
    types={"float32": "float", "float64": "double", "bool": "bool"},
    cast="(({0}){1})",
    statement="const {0} {1} = {2};",
)
NUMBA = Language(
    functions={
        np.sqrt: "np.sqrt({0})",
        np.exp: "np.exp({0})",
        np.log: "np.log({0})",
        np.absolute: "abs({0})",
        np.power: "({0} ** {1})",
        np.square: "({0} * {0})",
        np.isnan: "({0} != {0})",
        np.maximum: "({0} if {0} != {0} or {0} > {1} else {1})",
        np.minimum: "({0} if {0} != {0} or {0} < {1} else {1})",
    },
    choice="({0} if {2} else {1})",
    types={"float32": "np.float32", "float64": "np.float64", "bool": "np.bool_"},
    cast="{0}({1})",  # a Python number would make float64 of float32
    statement="{1} = {0}({2})",
)


class Loop:
    """The body of a loop over the elements of p, g, the slots and the vectors that are given.

    `arrays` and `numbers` are the names of those and of the coefficients, in the order of the rule's arguments. A rule
    that is not elementwise is `Untraceable`.
    """

    def __init__(self, rule: Callable[..., Any], arguments: tuple[Any, ...], dtype: str, language: Language) -> None:
        """arguments: (p, g, slots, coefficients, vectors), of which only the structure counts."""
        like = np.zeros(ELEMENTS, dtype)
        _, _, slots, coefficients, vectors = arguments
        some = tuple([None if vector is None else like for vector in vectors])
        stand_ins = like, like, tuple([like] * len(slots)), tuple(map(float, coefficients)), some
        recording = record(lambda *each: rule(lean, *each), stand_ins, (0, 2))
        self._language, self.type = language, language.types[dtype]
        self._names = {each.value: each.name for each in recording.inputs if isinstance(each.value, Recorded)}
        self.arrays = [each.name for each in recording.inputs if isinstance(each.value, Value)]
        self.numbers = [each.name for each in recording.inputs if isinstance(each.value, Number)]
        self.statements = [self._statement(call) for call in recording.calls]
        self.results = dict(self._results(recording))
        """The names of p and the slots that change, with those of what becomes of them."""

    def _statement(self, call: Call) -> str:
        (result,) = call.results
        kind = "float64" if isinstance(result, Number) else result.dtype.name
        if kind not in self._language.types or result.shape not in ((), (ELEMENTS,)):
            raise Untraceable(f"a rule with a result of shape {result.shape} and dtype {kind} is not elementwise")
        value = self._value(call)
        self._names[result] = f"v{result.number}"
        return self._language.statement.format(self._language.types[kind], self._names[result], value)

    def _value(self, call: Call) -> str:
        functions, cast, types = self._language.functions, self._language.cast, self._language.types
        if call.kind == "number":
            return call.infix([self._word(each) for each in call.arguments])
        if call.kind not in ("elementwise", "conversion") and call.function is not np.where:
            raise Untraceable(f"{call.function} is not elementwise")
        if call.kind == "conversion":
            x, dtype = call.arguments
            return cast.format(types[dtype.name], self._word(x))
        if call.function is np.where:
            condition, *either = call.arguments
            kind = call.results[0].dtype.name
            return self._language.choice.format(*(self._word(each, kind) for each in either), self._word(condition))
        words = [self._word(each, self._meets(call)) for each in call.arguments]
        if call.function in SIGNS:
            sign = SIGNS[call.function]
            return f"({sign}{words[0]})" if len(words) == 1 else f"({words[0]} {sign} {words[1]})"
        if call.function in functions:
            return functions[call.function].format(*words)
        raise Untraceable(f"{getattr(call.function, '__name__', call.function)} is not known to be elementwise")

    def _meets(self, call: Call) -> str | None:
        """The dtype that a Python number takes on among these arguments."""
        found = (each.dtype.name for each in call.arguments if isinstance(each, Value | np.ndarray | np.generic))
        return next((name for name in found if name != "bool"), None)

    def _word(self, thing: Any, dtype: str | None = None) -> str:
        if isinstance(thing, Value):
            return self._names[thing]
        if isinstance(thing, np.ndarray) and thing.size and (thing == thing.flat[0]).all():
            thing = thing.flat[0]  # such as zeros_like gives
        if isinstance(thing, np.ndarray) or not (isinstance(thing, Number) or isfinite(thing)):
            raise Untraceable("a rule that reads an array of its own, or infinity, is not known to be elementwise")
        word = self._names[thing] if isinstance(thing, Number) else repr(float(thing))
        return word if dtype is None else self._language.cast.format(self._language.types[dtype], word)

    def _results(self, recording: Recording) -> Iterator[tuple[str, str]]:
        donated = [each for each in recording.inputs if each.donated]
        for new, old in zip(leaves(recording.outcome), donated, strict=True):
            if not isinstance(new, Value) or (new.shape, new.dtype) != (old.value.shape, old.value.dtype):
                raise Untraceable("a rule that gives back something else than p and the slots is not elementwise")
            if new is not old.value:
                yield old.name, self._names[new]
