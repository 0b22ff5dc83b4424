"""What goes on in each layer, in numbers and words: dead units, vanishing and exploding gradients, growing weights."""

from dataclasses import dataclass
from math import isfinite, log10, nan
from statistics import median

from mlp_xp.train import Recording
from mlp_xp.viz.layers import in_brief

from .findings import Finding
from .words import listed, number

MANY_DEAD, SOME_DEAD = 0.5, 0.1
"""Shares of dead units in a layer: from the first on a warning, from the second on a note."""
VANISHING, EXPLODING = 1e-3, 1e3
"""The gradient at the first layer with weights over that at the last: below the first number it vanishes, above the
second it explodes."""
GROWN = 10.0
"""So many times the start, or that part of it, is a mean |W| that is noted."""
RULES = (
    "A unit is dead where it gives the same number for every row looked at: a layer with "
    f"{SOME_DEAD:.0%} of them is noted, from {MANY_DEAD:.0%} on it is a warning. Gradients vanish where the root mean "
    f"square of dL/dy at the first layer with weights is less than 1/{1 / VANISHING:,.0f} of that at the last, and "
    f"explode where it is more than {EXPLODING:,.0f} times that (median over the records); one of 0 at the last is a "
    "warning too. Weights are noted where "
    f"mean |W| is more than {GROWN:g} times its start, or less than 1/{GROWN:g} of it."
)


@dataclass(frozen=True)
class LayerHealth:
    """One layer at the end of training; NaN for what it has not."""

    name: str
    kind: str
    dead: float
    gradient: float
    share: float
    """Its gradient over that of the last layer with weights."""
    std: float
    growth: float
    """Mean |W| over its start."""
    words: str


def called(name: str) -> str:
    """ "layer 2"; the only one has no name."""
    return f"layer {name}" if name else "the layer"


def kinds(recording: Recording) -> dict[str, str]:
    """What each layer is, in brief."""
    return dict(zip(recording.names, map(in_brief, recording.kinds), strict=True))


def judged(recording: Recording) -> list[str]:
    """The layers that learning can change: from the first with parameters on."""
    first = next(iter(weighted(recording)), None)
    return recording.names[recording.names.index(first) :] if first is not None else []


def weighted(recording: Recording) -> list[str]:
    """The layers with trainable parameters."""
    if not recording.records:
        return []
    return [layer["name"] for layer in recording.records[0]["layers"] if layer["parameters"]]


def growth(recording: Recording) -> dict[str, list[float]]:
    """Mean |W| over its start by layer, where a layer has weights that do not start at 0."""
    grown = {}
    for name, values in recording.of_parameters("mean_abs").items():
        layer, _, own = name.rpartition(".")
        if own == "weight" and values[0] > 0:
            grown[layer] = [value / values[0] for value in values]
    return grown


def ratios(recording: Recording) -> list[float]:
    """The gradient at the first layer with weights over that at the last, of each record that has both."""
    names, gradients = weighted(recording), recording.of_layers("gradient")
    if len(names) < 2:
        return []
    pairs = zip(gradients[names[0]], gradients[names[-1]], strict=True)
    return [first / last for first, last in pairs if isfinite(first) and isfinite(last) and last > 0]


def layers(recording: Recording) -> list[LayerHealth]:
    """Each layer that learning can change, at the end."""
    gradients, dead, std = (recording.of_layers(what) for what in ("gradient", "dead", "std"))
    grown, names, kind_of = growth(recording), judged(recording), kinds(recording)
    last = gradients[weighted(recording)[-1]][-1] if names else nan
    rows = []
    for name in names:
        gradient = gradients[name][-1]
        share = gradient / last if last > 0 else nan
        factor = grown[name][-1] if name in grown else 1.0
        words = [said_of_dead(dead[name][-1]), "no gradient" if gradient == 0 else "", said_of_growth(factor)]
        unknown = not all(map(isfinite, (dead[name][-1], gradient, factor)))
        said = [each for each in words if each] or ["not known" if unknown else "nothing unusual"]
        numbers = dead[name][-1], gradient, share, std[name][-1], grown[name][-1] if name in grown else nan
        rows.append(LayerHealth(name, kind_of[name], *numbers, listed(said)))
    return rows


def said_of_dead(dead: float) -> str:
    if not dead >= SOME_DEAD:
        return ""
    return f"{'many' if dead >= MANY_DEAD else 'some'} dead units"


def said_of_growth(factor: float) -> str:
    if not isfinite(factor) or 1 / GROWN <= factor <= GROWN:
        return ""
    return "weights have grown" if factor > 1 else "weights have shrunk"


def findings(recording: Recording) -> list[Finding]:
    """What there is to say of all layers together; that all is well, where all is known and nothing is unusual."""
    rows = layers(recording)
    found = [*of_dead(rows), *of_gradients(recording), *of_growth(rows)]
    if found or not rows or any(row.words != "nothing unusual" for row in rows):
        return found
    return [
        Finding("good", "Few or no dead units, gradients that reach the first layer, and weights of a steady size.")
    ]


def of_dead(rows: list[LayerHealth]) -> list[Finding]:
    found = []
    for level, low, high in (("warning", MANY_DEAD, 2.0), ("note", SOME_DEAD, MANY_DEAD)):
        layers = [row for row in rows if low <= row.dead < high]
        if layers:
            shares = listed(f"{row.dead:.0%} of the units of {called(row.name)} ({row.kind})" for row in layers)
            reason = "" if level == "note" else "; what they give no longer depends on the data, and they learn no more"
            found.append(Finding(level, f"Dead units: {shares} at the end{reason}."))
    return found


def of_gradients(recording: Recording) -> list[Finding]:
    names = weighted(recording)
    if not names:
        return []
    first, last = names[0], names[-1]
    at_last = recording.of_layers("gradient")[last]
    if at_last[-1] == 0:
        words = "at the end: it learns no more" if any(at_last) else "in all records: nothing is learned"
        return [Finding("warning", f"The gradient at {called(last)}, the last with weights, is 0 {words}.")]
    seen = ratios(recording)
    if not seen:
        return []
    middle = median(seen)
    if middle == 0:
        return [Finding("warning", f"No gradient reaches layer {first}: it does not learn.")]
    if VANISHING <= middle <= EXPLODING:
        return []
    what = "vanish" if middle < VANISHING else "explode"
    where = f"at layer {first} they are {times(middle)} those at layer {last}"
    end = f"median over training, {times(seen[-1])} them at the end"
    return [Finding("warning", f"Gradients {what} on their way back: {where} ({end}).")]


def times(ratio: float) -> str:
    """A ratio in words: "1/4,000 of" or "3.0 times"."""
    if ratio == 0 or not isfinite(ratio):
        return f"{number(ratio)} times"
    return f"1/{rounded(1 / ratio)} of" if ratio < 1 else f"{rounded(ratio)} times"


def rounded(value: float) -> str:
    """With two digits."""
    return f"{round(value, 1 - int(log10(value))):,.{0 if value >= 10 else 1}f}"


def of_growth(rows: list[LayerHealth]) -> list[Finding]:
    changed = [row for row in rows if said_of_growth(row.growth)]
    if not changed:
        return []
    sizes = listed(f"{number(row.growth)} times its start in {called(row.name)} ({row.kind})" for row in changed)
    return [Finding("note", f"The size of weights has changed much: mean |W| is {sizes}.")]
