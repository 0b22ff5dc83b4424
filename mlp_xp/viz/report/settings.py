"""Configuration, environment and data of runs, in words."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from .run import Run
from .words import NONE, listed, number


@dataclass(frozen=True)
class Setting:
    name: str
    values: list[str]

    @property
    def long(self) -> bool:
        return max(map(len, self.values)) > 40

    @property
    def differs(self) -> bool:
        return len(set(self.values)) > 1


def settings(runs: Sequence[Run]) -> list[tuple[str, list[Setting]]]:
    """Configuration, environment and data: what they are in each run."""
    sections = []
    for part in ("configuration", "environment", "data"):
        found = [run.about.get(part, {}) for run in runs]
        names = dict.fromkeys(name for each in found for name in each)
        rows = [Setting(name, told_apart([each.get(name) for each in found])) for name in names]
        sections += [(part.capitalize(), rows)] if rows else []
    return sections


def told_apart(values: Sequence[Any]) -> list[str]:
    """Values of one name as text, with all digits where the usual ones do not tell them apart."""
    texts = [shown(value) for value in values]
    pairs = combinations(zip(values, texts, strict=True), 2)
    hidden = any(one != other and said == same for (one, said), (other, same) in pairs)
    return [shown(value, exactly) for value in values] if hidden else texts


def shown(value: Any, say: Callable[[Any], str] = number) -> str:
    """A value of run.json as text."""
    if isinstance(value, list):
        return listed(shown(each, say) for each in value) if value else NONE
    if isinstance(value, dict):
        return ", ".join(f"{key} {shown(each, say)}" for key, each in value.items()) or NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    return chain(value) or NONE if isinstance(value, str) else say(value)


def exactly(value: Any) -> str:
    return number(value) if value is None else str(value)


def chain(text: str) -> str:
    """ "Sequential(Linear(2, 8), ReLU(), Linear(8, 1))" as "Linear(2, 8) → ReLU → Linear(8, 1)"; else as is."""
    kind, _, inside = text.partition("(")
    if kind != "Sequential" or not text.endswith(")"):
        return text
    layers, depth = [""], 0
    for letter in inside[:-1]:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            layers.append("")
        else:
            layers[-1] += letter
    return " → ".join(layer.strip().removesuffix("()") for layer in layers)
