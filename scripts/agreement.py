"""Before anything is timed: every contestant must come to the same weights, and to the same answers."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from contestants import SKLEARN, Contestant, Entrant, ours
from nets import Case, Weights, first_weights, make_data

CHECK_STEPS = 3
TOLERANCE = 1e3
"""How far two results may lie apart in the check, in units of eps max|weights|: see `check`."""


class Mismatch(Exception):
    """Two contestants that should have trained the same net did not."""


def check(case: Case, entrants: Sequence[Entrant]) -> None:
    """Train a few batches in the given order, from the same weights, and compare with our NumPy backend.

    In float64, where rounding is far below any difference of substance. scikit-learn adds Adam's eps to sqrt(v), the
    others to the corrected sqrt(V): with an eps too small to matter both are the same formula. Adam divides each
    gradient by its own size, so that rounding in one that is nearly zero weighs as much as in any other, and sums of
    thousands of terms are rounded in their own order by each library: hence more than a few eps are allowed.
    """
    numpy = ours("numpy")
    exact = replace(case, dtype="float64", eps=1e-30, net=replace(case.net, steps=CHECK_STEPS))
    expected: dict[Case, Weights] = {}
    for entrant in entrants:
        if entrant.role == "floor" or entrant.make is None or entrant.name == numpy.name:
            continue
        own = exact
        if not entrant.has_float64:
            # In float32 a gradient that is nearly zero may have either sign; a large eps makes that not matter.
            own = replace(exact, dtype="float32", eps=1e-3)
        if entrant.name == SKLEARN and case.net.sizes[-1] == 2:
            own = replace(exact, net=replace(exact.net, sizes=(*case.net.sizes[:-1], 1)))
        if own not in expected:
            expected[own] = trained(numpy, own)
        compare(own, entrant.name, trained(entrant, own), numpy.name, expected[own])


def trained(entrant: Entrant, case: Case) -> Weights:
    assert entrant.make is not None
    contestant = entrant.make(case, first_weights(case))
    contestant.epoch(*contestant.put(*make_data(case)), shuffle=False)
    return contestant.weights()


def compare(case: Case, name: str, got: Weights, reference: str, expected: Weights) -> None:
    """max|a - b| <= c eps max|b| for every parameter: elementwise, weights that are nearly zero would decide."""
    for index, (a, b) in enumerate(zip(got, expected, strict=True)):
        difference = float(np.max(np.abs(a - b)))
        allowed = TOLERANCE * float(np.finfo(case.dtype).eps) * float(np.max(np.abs(b)))
        if not difference <= allowed:
            parameter = f"{'weight' if index % 2 == 0 else 'bias'} of layer {index // 2 + 1}"
            raise Mismatch(
                f"{case}: after {CHECK_STEPS} steps in {case.dtype} the {parameter} of {name} differs from that of "
                f"{reference} by {difference:.3g}, where {allowed:.3g} is allowed. Times of different results are "
                f"not comparable, so nothing was measured"
            )


def check_answers(case: Case, name: str, contestant: Contestant, start: Weights, x: np.ndarray) -> None:
    """The class of every row by NumPy in float64; where two classes are nearly equal, either is right."""
    values = x.astype("float64")
    for weight, bias in zip(start[:-2:2], start[1:-2:2], strict=True):
        values = np.maximum(values @ weight.astype("float64") + bias, 0)
    outputs = values @ start[-2].astype("float64") + start[-1]
    rows = np.arange(len(x))
    short = outputs.max(1) - outputs[rows, contestant.predict(x)]
    allowed = TOLERANCE * float(np.finfo(case.dtype).eps) * float(np.abs(outputs).max())
    if not short.max() <= allowed:
        raise Mismatch(
            f"{case.net}: {name} takes class {contestant.predict(x)[short.argmax()]} for row {short.argmax()}, where "
            f"class {outputs[short.argmax()].argmax()} has the larger output by {short.max():.3g} ({allowed:.3g} is "
            f"allowed). Times of different answers are not comparable, so nothing was measured"
        )
