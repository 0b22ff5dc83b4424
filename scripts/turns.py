"""Taking turns: what is measured side by side, round by round, and the tables of it."""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter, sleep
from typing import Any, Protocol

from contestants import Entrant

Turns = Generator[str, None, None]
PAUSE = 0.05
"""Seconds before a turn: the threads of the library that was on before wait busily for that long, on the same cores."""


class Measure(Protocol):
    """One of the things that the benchmark measures."""

    @property
    def total(self) -> int:
        """How many times `turns` yields."""

    def turns(self) -> Turns:
        """Says in words what comes next, then does it, and so on. What was measured so far stays when it is left."""

    def markdown(self) -> str:
        """What was measured; empty where nothing was."""

    def as_json(self) -> list[dict[str, Any]]: ...


@dataclass
class Result:
    """Seconds of a turn, for each name and round."""

    what: dict[str, Any]
    """What is measured, for the first columns of a table."""
    parts: int = 1
    """Steps, calls, ... in a turn."""
    seconds: dict[str, list[float]] = field(default_factory=dict)
    first: dict[str, float] = field(default_factory=dict)
    """The turn before the first round: it warms up, and compiles where something is compiled."""

    def part(self, name: str) -> float:
        """Seconds of one part."""
        return median(self.seconds[name]) / self.parts

    def ratio(self, name: str, base: str) -> float:
        """How many times the time of `base`; an unfinished round counts for neither."""
        return median(a / b for a, b in zip(self.seconds[name], self.seconds[base], strict=False))

    def fastest(self, names: Sequence[str]) -> str:
        return min(names, key=self.part)

    def compiling(self, name: str) -> float:
        """By how many seconds the first turn took longer than those that count."""
        return self.first[name] - median(self.seconds[name])

    @property
    def complete(self) -> bool:
        """Has every name a time?"""
        return bool(self.seconds) and all(self.seconds.values())

    def take_turns(self, turns: Mapping[str, Callable[[], object]], rounds: int) -> Turns:
        """Each once to warm up, then all of them in every round: what slows the machine down slows all of them."""
        self.seconds = {name: [] for name in turns}
        for number in range(rounds + 1):
            for name, turn in turns.items():
                yield name
                sleep(PAUSE)
                begin = perf_counter()
                turn()
                seconds = perf_counter() - begin
                if number:
                    self.seconds[name].append(seconds)
                else:
                    self.first[name] = seconds

    def as_json(self) -> dict[str, Any]:
        return self.what | {
            "parts": self.parts,
            "seconds": self.seconds,
            "first": self.first,
            "seconds_per_part": {name: self.part(name) for name in self.seconds},
        }


def present(entrants: Sequence[Entrant]) -> list[Entrant]:
    return [entrant for entrant in entrants if entrant.make is not None]


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> str:
    """The first columns hold words, the others numbers."""
    rule = ["---" if column < words else "---:" for column in range(len(header))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows))


def duration(seconds: float) -> str:
    unit, size = next(((u, s) for u, s in (("s", 1.0), ("ms", 1e-3)) if seconds >= s), ("µs", 1e-6))
    return f"{seconds / size:.3g} {unit}"


def times(results: Sequence[Result], entrants: Sequence[Entrant], cell: Callable[[float], str] = duration) -> str:
    """A row for each result, a column for each entrant."""
    rows = [
        [*map(str, result.what.values())]
        + [cell(result.part(entrant.name)) if entrant.name in result.seconds else "-" for entrant in entrants]
        for result in results
    ]
    return markdown_table([*results[0].what, *(entrant.name for entrant in entrants)], rows)


def ratios(results: Sequence[Result], entrants: Sequence[Entrant]) -> str:
    """How many times as long the peers take as each of ours, and each of ours as the floor: on the same device only.

    Where ours are several, the fastest of them is held against the fastest peer too. Empty without any peer or floor.
    """
    here = [entrant for entrant in present(entrants) if entrant.name in results[0].seconds]
    columns: dict[str, Callable[[Result], str]] = {}
    alone = sum(entrant.role == "ours" for entrant in here) == 1
    for kind in dict.fromkeys(entrant.kind for entrant in here):
        names = {role: [e.name for e in here if (e.kind, e.role) == (kind, role)] for role in ("ours", "peer", "floor")}
        for our in names["ours"]:
            short = "mlp_xp" if alone else our
            for other in names["peer"]:
                columns[f"{other} / {short}"] = _over(other, our)
            if names["peer"]:
                columns[f"fastest peer / {short}"] = _fastest(names["peer"], [our])
            for floor in names["floor"]:
                columns[f"{short} / {floor}"] = _over(our, floor)
        if len(names["ours"]) > 1 and names["peer"]:
            columns[f"fastest peer / fastest mlp_xp ({kind})"] = _fastest(names["peer"], names["ours"])
    if not columns:
        return ""
    rows = [[*map(str, result.what.values()), *(cell(result) for cell in columns.values())] for result in results]
    return markdown_table([*results[0].what, *columns], rows)


def _over(name: str, base: str) -> Callable[[Result], str]:
    return lambda result: f"{result.ratio(name, base):.2f}"


def _fastest(peers: list[str], ours: list[str]) -> Callable[[Result], str]:
    """The ratio, and whose it is."""

    def cell(result: Result) -> str:
        peer, our = result.fastest(peers), result.fastest(ours)
        whose = f"{peer} / {our}" if len(ours) > 1 else peer
        return f"{result.ratio(peer, our):.2f} ({whose})"

    return cell


def both_tables(results: Sequence[Result], entrants: Sequence[Entrant]) -> str:
    parts = [times(results, entrants), ratios(results, entrants), compiling(results)]
    return "\n\n".join(part for part in parts if part)


def compiling(results: Sequence[Result]) -> str:
    """A line on the turns before the first round, where they took more than twice as long, and a second longer."""
    longest: dict[str, float] = {}
    for result in results:
        for name, first in result.first.items():
            if result.compiling(name) > max(1, first / 2):
                longest[name] = max(longest.get(name, 0.0), result.compiling(name))
    said = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in longest.items())
    return f"Not counted: the first turn, with compiling, took longer by up to: {said}." if said else ""
