"""MNIST as it is trained: whole epochs, and the time until 98 % of the test images are recognised."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from agreement import check
from contestants import Entrant
from measures import Steps, train_in_turns
from nets import MNIST, Case, Net, first_weights
from turns import Result, Turns, duration, markdown_table, present

from mlp_xp import data

Data = tuple[np.ndarray, np.ndarray]
BATCH, GOAL, MOST_EPOCHS = 128, 0.98, 20


def mnist(folder: str | None) -> tuple[Data, Data]:
    """Training and test rows: pixels from 0 to 1 in float32."""
    images, y, test_images, test_y = data.mnist(folder)
    return (_rows(images), y.astype(np.int64)), (_rows(test_images), test_y.astype(np.int64))


def _rows(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1).astype(np.float32) / 255


def mnist_case(hidden: tuple[int, ...], rows: int) -> Case:
    return Case(Net((784, *hidden, 10), BATCH, steps=-(-rows // BATCH)), "Adam")


class Epochs(Steps):
    """An epoch over all 60,000 images, from NumPy arrays; the last batch is the smaller rest."""

    def __init__(
        self,
        entrants: Sequence[Entrant],
        rounds: int,
        folder: str | None,
        hidden: Sequence[tuple[int, ...]] = ((128, 64), (512, 512)),
    ) -> None:
        self.folder = folder
        super().__init__([mnist_case(widths, MNIST) for widths in hidden], entrants, rounds)

    def turns(self) -> Turns:
        training, _ = mnist(self.folder)
        for case in self.cases:
            yield f"checking {case}"
            check(case, self.entrants)
        for number, case in enumerate(self.cases):
            self.results.append(Result(self.what(number)))
            result, entrants, rounds = self.results[-1], self.entrants, self.rounds
            with closing(train_in_turns(result, case, training, entrants, rounds, put=False)) as turns:
                yield from turns


@dataclass
class Way:
    """What one contestant reached, epoch by epoch."""

    name: str
    round: int
    seconds: list[float] = field(default_factory=list)
    """Since the start, after each epoch and its evaluation."""
    accuracies: list[float] = field(default_factory=list)


@dataclass
class Accuracy:
    """The wall time until a new net recognises 98 % of the test images, looked at after every epoch.

    The clock runs from the making of the net: compiling and the evaluations count. All start from the same weights;
    each shuffles in its own way, and so needs its own number of epochs, one more or less.
    """

    entrants: Sequence[Entrant]
    rounds: int
    folder: str | None
    hidden: tuple[int, ...] = (512, 512)
    goal: float = GOAL
    most: int = MOST_EPOCHS
    ways: list[Way] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.entrants = [entrant for entrant in self.entrants if entrant.role != "floor"]

    @property
    def total(self) -> int:
        return self.rounds * len(present(self.entrants)) * self.most

    def turns(self) -> Turns:
        training, test = mnist(self.folder)
        case = mnist_case(self.hidden, len(training[0]))
        check(case, self.entrants)
        for number in range(self.rounds):
            for entrant in self.entrants:
                if entrant.make is None:
                    continue
                start = first_weights(case)
                way = Way(entrant.name, number)
                self.ways.append(way)
                begin = perf_counter()
                contestant = entrant.make(case, start)
                for epoch in range(self.most):
                    yield f"{entrant.name}: epoch {epoch + 1}"
                    if way.accuracies and way.accuracies[-1] >= self.goal:
                        continue  # it is there: the rest of its turns are free
                    contestant.epoch(*training)
                    way.accuracies.append(float(np.mean(contestant.predict(test[0]) == test[1])))
                    way.seconds.append(perf_counter() - begin)

    def finished(self, name: str) -> list[Way]:
        """The ways that came to the goal, or to the last epoch."""
        own = (way for way in self.ways if way.name == name and way.accuracies)
        return [way for way in own if way.accuracies[-1] >= self.goal or len(way.accuracies) == self.most]

    def markdown(self) -> str:
        rows = []
        for entrant in self.entrants:
            ways = self.finished(entrant.name)
            if not ways:
                continue
            best = max(max(way.accuracies) for way in ways)
            there = [way for way in ways if way.accuracies[-1] >= self.goal]
            reached = duration(median(way.seconds[-1] for way in there)) if there else "not reached"
            if there and len(there) < len(ways):
                reached += f" ({len(there)} of {len(ways)})"
            epochs = f"{median(len(way.accuracies) for way in ways):g}"
            an_epoch = duration(median(way.seconds[-1] / len(way.seconds) for way in ways))
            rows.append([entrant.name, reached, epochs, an_epoch, f"{best:.2%}"])
        if not rows:
            return ""
        header = ["", f"until {self.goal:.0%} of the test images", "epochs", "an epoch, looked at", "best"]
        net = f"784-{'-'.join(map(str, self.hidden))}-10, batch {BATCH}, Adam, at most {self.most} epochs."
        return f"{markdown_table(header, rows)}\n\n{net}"

    def as_json(self) -> list[dict[str, Any]]:
        return [
            {
                "name": way.name,
                "round": way.round,
                "goal": self.goal,
                "reached": way.accuracies[-1] >= self.goal,
                "seconds": way.seconds,
                "accuracies": way.accuracies,
            }
            for way in self.ways
            if way.accuracies
        ]
