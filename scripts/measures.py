"""Steps, growth and inference: rows made up for the purpose, every contestant in this process, in turns."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from agreement import check, check_answers
from contestants import SKLEARN, Contestant, Entrant
from nets import GROWTH, Case, Net, first_weights, make_data
from turns import Result, Turns, both_tables, compiling, present, ratios, times


@dataclass
class Steps:
    """The time of a training step: an epoch over rows that lie where they are trained with, by its number of steps."""

    cases: Sequence[Case]
    entrants: Sequence[Entrant]
    rounds: int
    results: list[Result] = field(default_factory=list)

    @property
    def total(self) -> int:
        return len(self.cases) * (1 + len(present(self.entrants)) * (1 + self.rounds))

    def turns(self) -> Turns:
        """Check every case, then measure every case."""
        for case in self.cases:
            yield f"checking {case}"
            check(case, self.entrants)
        for number, case in enumerate(self.cases):
            self.results.append(Result(self.what(number), parts=case.net.steps))
            # Closed at once, so that its nets do not stay in memory beside the next ones.
            with closing(train_in_turns(self.results[-1], case, make_data(case), self.entrants, self.rounds)) as turns:
                yield from turns

    def what(self, number: int) -> dict[str, Any]:
        """A case by its number, for the first columns."""
        case = self.cases[number]
        return {"net": str(case.net), "batch": case.net.batch, "optimizer": case.optimizer}

    @property
    def complete(self) -> list[Result]:
        return [result for result in self.results if result.complete]

    def markdown(self) -> str:
        if not self.complete:
            return ""
        lines = [both_tables(self.complete, self.entrants)]
        if any(case.net.sizes[-1] == 2 for case in self.cases) and any(e.name == SKLEARN for e in self.entrants):
            lines.append("For two classes scikit-learn trains one logistic output, the others two with softmax.")
        return "\n\n".join(lines)

    def as_json(self) -> list[dict[str, Any]]:
        return [result.as_json() for result in self.complete]


def train_in_turns(
    result: Result,
    case: Case,
    data: tuple[np.ndarray, np.ndarray],
    entrants: Sequence[Entrant],
    rounds: int,
    put: bool = True,
) -> Turns:
    """put: do the rows lie where they are trained with before the clock runs?"""
    start = first_weights(case)
    contestants = {entrant.name: entrant.make(case, start) for entrant in entrants if entrant.make is not None}
    turns = {
        name: partial(contestant.epoch, *(contestant.put(*data) if put else data))
        for name, contestant in contestants.items()
    }
    for name in result.take_turns(turns, rounds):
        yield f"{case}: {name}"


class Growth(Steps):
    """How the time of a step grows with the number of layers, their width, and the batch."""

    def __init__(
        self, entrants: Sequence[Entrant], rounds: int, growth: dict[str, list[Net]] = GROWTH, optimizer: str = "Adam"
    ) -> None:
        self.grows = [word for word, nets in growth.items() for _ in nets]
        super().__init__([Case(net, optimizer) for nets in growth.values() for net in nets], entrants, rounds)

    def what(self, number: int) -> dict[str, Any]:
        return {"grows": self.grows[number]} | super().what(number)


@dataclass
class Inference:
    """From rows in a NumPy array to their classes in one: one row, and ten thousand."""

    entrants: Sequence[Entrant]
    rounds: int
    nets: Sequence[tuple[int, ...]] = ((784, 128, 64, 10), (784, 512, 512, 10))
    calls: dict[int, int] = field(default_factory=lambda: {1: 200, 10_000: 2})
    """How many in a turn, by the number of rows."""
    results: list[Result] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.entrants = [entrant for entrant in self.entrants if entrant.role != "floor" and entrant.answers]

    @property
    def total(self) -> int:
        return len(self.nets) * len(self.calls) * (1 + len(present(self.entrants)) * (1 + self.rounds))

    def turns(self) -> Turns:
        for sizes in self.nets:
            for rows, calls in self.calls.items():
                case = Case(Net(sizes, batch=32, steps=-(-rows // 32)), "SGD")
                x, start = make_data(case)[0][:rows], first_weights(case)
                contestants = {e.name: e.make(case, start) for e in self.entrants if e.make is not None}
                yield f"checking {case.net}, {rows} rows"
                for name, contestant in contestants.items():
                    check_answers(case, name, contestant, start, x)
                self.results.append(Result({"net": str(case.net), "rows": rows}, parts=calls))
                turns = {name: partial(answer, contestant, x, calls) for name, contestant in contestants.items()}
                for name in self.results[-1].take_turns(turns, self.rounds):
                    yield f"{case.net}, {rows} rows: {name}"

    @property
    def complete(self) -> list[Result]:
        return [result for result in self.results if result.complete]

    def markdown(self) -> str:
        if not self.complete:
            return ""
        parts = [times(self.complete, self.entrants), ratios(self.complete, self.entrants), compiling(self.complete)]
        most = max(self.calls)
        if many := [result for result in self.complete if result.what["rows"] == most]:
            parts += ["Rows in a second:", times(many, self.entrants, lambda seconds: f"{most / seconds:,.0f}")]
        return "\n\n".join(part for part in parts if part)

    def as_json(self) -> list[dict[str, Any]]:
        return [result.as_json() for result in self.complete]


def answer(contestant: Contestant, x: np.ndarray, calls: int) -> None:
    for _ in range(calls):
        contestant.predict(x)
