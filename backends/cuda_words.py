"""NumPy's elementwise calls as expressions of CUDA's C++, in the dtypes in which NumPy would compute them."""

from collections.abc import Callable
from math import isinf, isnan
from typing import Any

import numpy as np

from .elementwise import CUDA, SIGNS
from .tape import Call, Number, Recorded, Untraceable, Value, converted, example

TYPES = {
    np.dtype(name): kind
    for name, kind in {
        "bool": "bool",
        "int8": "signed char",
        "int16": "short",
        "int32": "int",
        "int64": "long long",
        "uint8": "unsigned char",
        "uint16": "unsigned short",
        "uint32": "unsigned int",
        "uint64": "unsigned long long",
        "float32": "float",
        "float64": "double",
    }.items()
}
COMPARISONS = (np.greater, np.greater_equal, np.less, np.less_equal, np.equal, np.not_equal)
EXTREMES = {np.maximum: CUDA.functions[np.maximum], np.minimum: CUDA.functions[np.minimum]}
FLOATING = CUDA.functions | {
    np.log1p: "log1p({0})",
    np.expm1: "expm1({0})",
    np.tanh: "tanh({0})",
    np.sin: "sin({0})",
    np.cos: "cos({0})",
    np.floor: "floor({0})",
    np.ceil: "ceil({0})",
    np.rint: "rint({0})",
    np.isfinite: "({0} - {0} == 0)",
    np.isinf: "({0} == {0} && {0} - {0} != 0)",
    np.sign: "({0} > 0 ? 1 : {0} < 0 ? -1 : {0})",
    np.reciprocal: "(1 / {0})",
}
# Products and sums of integers wrap around, which C++ knows of unsigned ones alone.
WRAPPING = {np.add: "+", np.subtract: "-", np.multiply: "*"}
BITS = {np.bitwise_and: "&", np.bitwise_or: "|", np.bitwise_xor: "^", np.right_shift: ">>", np.left_shift: "<<"}
LOGIC = {np.logical_and: "({0} && {1})", np.logical_or: "({0} || {1})", np.logical_not: "(!{0})"}
OF_BOOL = LOGIC | {
    np.add: "({0} || {1})",
    np.multiply: "({0} && {1})",
    np.bitwise_and: "({0} && {1})",
    np.bitwise_or: "({0} || {1})",
    np.bitwise_xor: "({0} != {1})",
    np.invert: "(!{0})",
}


def is_known(call: Call) -> bool:
    """Can it be written?"""
    try:
        written(call, lambda each, dtype: "x")
    except (Untraceable, KeyError):
        return False
    return True


def written(call: Call, word: Callable[[Any, Any], str]) -> str:
    """The expression of an elementwise call; word(argument, dtype) is that of an argument, as this dtype."""
    (result,) = call.results
    kind = TYPES[result.dtype]
    if call.kind == "conversion" or call.function is converted:
        x = call.arguments[0]
        return word(x, result.dtype)
    if call.function is np.where:
        condition, *either = call.arguments
        one, other = (word(each, result.dtype) for each in either)
        return f"({word(condition, np.dtype(bool))} ? {one} : {other})"
    if call.kind != "elementwise" or len(call.results) != 1:
        raise Untraceable("not elementwise")
    function: Any = call.function
    *dtypes, _ = function.resolve_dtypes((*map(_asked, call.arguments), None))
    words = [word(each, dtype) for each, dtype in zip(call.arguments, dtypes, strict=True)]
    return f"(({kind}){_applied(function, words, dtypes[0])})"


def _asked(argument: Any) -> Any:
    """What NumPy chooses the dtypes of a call by."""
    if isinstance(argument, Value | np.ndarray | np.generic):
        return argument.dtype
    found = type(example(argument))
    if found not in (int, float, bool):
        raise Untraceable(f"{found.__name__} among the arguments of an elementwise call")
    return np.dtype(bool) if found is bool else found


def _applied(function: Any, words: list[str], dtype: np.dtype) -> str:
    if function in COMPARISONS:
        return f"({words[0]} {SIGNS[function]} {words[1]})"
    if dtype.kind == "b":
        return OF_BOOL[function].format(*words)
    if function in LOGIC:
        return LOGIC[function].format(*words)
    if function in EXTREMES:
        return EXTREMES[function].format(*words)
    if dtype.kind == "f":
        if function in SIGNS:
            return f"(-{words[0]})" if len(words) == 1 else f"({words[0]} {SIGNS[function]} {words[1]})"
        return FLOATING[function].format(*words)
    unsigned = TYPES[np.dtype(f"u{dtype.itemsize}")]
    if function in WRAPPING:
        return f"(({unsigned}){words[0]} {WRAPPING[function]} ({unsigned}){words[1]})"
    if function is np.square:
        return f"(({unsigned}){words[0]} * ({unsigned}){words[0]})"
    if function is np.negative:
        return f"(0 - ({unsigned}){words[0]})"
    if function is np.absolute:
        return f"({words[0]} < 0 ? 0 - ({unsigned}){words[0]} : ({unsigned}){words[0]})"
    if function is np.invert:
        return f"(~{words[0]})"
    return f"({words[0]} {BITS[function]} {words[1]})"


def literal(number: Any, dtype: np.dtype) -> str:
    """A number that is the same in every call."""
    if dtype.kind == "b":
        return "true" if number else "false"
    if dtype.kind in "iu":
        return f"(({TYPES[dtype]}){int(number)}{'ull' if dtype.kind == 'u' else 'll'})"
    number = float(dtype.type(number))
    text = "0.0 / 0.0" if isnan(number) else ("-1.0 / 0.0" if number < 0 else "1.0 / 0.0") if isinf(number) else None
    return f"(({TYPES[dtype]})({text or repr(number)}))"


def constant(thing: Any) -> Any:
    """The one number that an argument which is not recorded is, whichever call it is in; else None."""
    if isinstance(thing, Recorded):
        return None
    if isinstance(thing, np.ndarray):
        same = thing.size > 0 and (thing == thing.flat[0]).all()
        return thing.flat[0] if same else None
    return thing


NUMBERS = {int: "long long", float: "double"}
"""How the numbers that differ from call to call are passed: a coefficient that were float32 would be rounded twice."""


def number_type(number: Number) -> str:
    if type(number.example) not in NUMBERS:
        raise Untraceable(f"a number is a {type(number.example).__name__}")
    return NUMBERS[type(number.example)]
