"""A run folder, read as far as it can be read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mlp_xp.train import History, Recording, Trainer
from mlp_xp.train.history import numbers
from mlp_xp.train.json_files import read_json
from mlp_xp.train.run_folder import configured
from mlp_xp.viz.curves import BESIDE

from .words import is_number

FILES = ("run.json", "history.csv", "metrics.json", "model.safetensors")
"""One of these makes a folder a run."""
REMEDY = "a run folder comes from train.save_run, or from --out of a training script"


@dataclass
class Run:
    """What is in a run folder; what is missing or damaged is empty here, and `problems` say so in words."""

    folder: Path
    name: str
    """Tells it from the other runs of a report."""
    about: dict[str, dict[str, Any]] = field(default_factory=dict)
    """configuration, environment and data, of run.json."""
    title: str = ""
    date: str = ""
    metrics: dict[str, Any] = field(default_factory=dict)
    history: History = field(default_factory=History)
    trainer: Trainer | None = None
    recording: Recording = field(default_factory=Recording)
    results: dict[str, np.ndarray] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    damaged: set[str] = field(default_factory=set)
    """The files that are there and cannot be read."""

    def problem(self, words: str) -> None:
        self.problems += [words] if words not in self.problems else []

    @cached_property
    def columns(self) -> list[str]:
        """The columns of the history that hold numbers, in their order; looked up once, when all is read."""
        return list(dict.fromkeys(name for record in self.history for name in numbers(record)))

    @property
    def metric_names(self) -> list[str]:
        """What was measured in every epoch, the loss first."""
        names = dict.fromkeys(name.removeprefix("val_") for name in self.columns if name not in BESIDE)
        return sorted(names, key=lambda name: name != "loss")

    def series(self, column: str) -> list[tuple[int, float]]:
        """(epoch, value) where a column holds a number."""
        pairs = ((int(record["epoch"]), record.get(column)) for record in self.history)
        return [(epoch, value) for epoch, value in pairs if is_number(value)]

    @property
    def epochs(self) -> int:
        return int(self.history.records[-1]["epoch"]) if len(self.history) else 0

    @property
    def seconds(self) -> float:
        """How long it took; NaN where nobody looked at the clock."""
        given, spent = self.metrics.get("seconds"), [seconds for _, seconds in self.series("seconds")]
        return float(given) if is_number(given) else sum(spent) if spent else float("nan")

    @property
    def tested(self) -> dict[str, float]:
        """What was measured on the test data, the loss last."""
        found = {name[5:]: x for name, x in self.metrics.items() if name.startswith("test_") and is_number(x)}
        return dict(sorted(found.items(), key=lambda pair: pair[0] == "loss"))

    @property
    def part(self) -> str:
        """What was looked at in the end: the test data or, where there are none, the validation data."""
        kept = [part for part in ("test", "validation") if f"{part}_outputs" in self.results]
        measured = {name.partition("_")[0] for name in self.metrics}
        return kept[0] if kept else "validation" if "val" in measured and "test" not in measured else "test"


def read_all(folders: Sequence[str | Path]) -> list[Run]:
    """Every run once, by names that differ; ValueError for a folder that is no run, or of which nothing can be read."""
    paths = list({Path(folder).resolve(): Path(folder) for folder in folders}.values())
    return [read(path, name) for path, name in zip(paths, distinct(paths), strict=True)]


def read(folder: str | Path, name: str = "") -> Run:
    """Read a run folder; ValueError where it is none, or where nothing in it can be read."""
    folder = Path(folder)
    check(folder)
    run = Run(folder, name or folder.resolve().name)
    part = Reader(run)
    part("history.csv", History.load_csv, "history")
    part("metrics.json", read_json, "metrics")
    part("model.safetensors", lambda path: Trainer.load(path, backend="numpy"), "trainer")
    part("results.safetensors", tensors, "results")
    if part("recording.json", lambda path: recorded(path, snapshots=False), "recording"):
        part("snapshots.safetensors", lambda path: recorded(path, snapshots=True), "recording")
    described = part("run.json", lambda path: take_in(run, read_json(path)))
    if not (folder / "run.json").exists():
        run.problems.append("run.json is missing, which says on what data and where the run was made")
    if run.trainer is not None:
        fill_in(run, run.trainer, described)
    if not (len(run.history) or run.about or run.metrics or run.trainer or run.recording.records):
        raise ValueError(f"nothing in {folder} can be read: {'; '.join(run.problems) or 'its history has no epoch'}")
    return run


def check(folder: Path) -> None:
    """ValueError that says what is missing where a folder is no run."""
    if not folder.exists():
        raise ValueError(f"there is no folder {folder}; {REMEDY}")
    if not folder.is_dir():
        raise ValueError(f"{folder} is a file; give the folder that the run was saved to")
    if not is_run(folder):
        inside = sorted(str(path) for path in folder.iterdir() if path.is_dir() and is_run(path))
        remedy = f"did you mean {', '.join(inside[:5])}?" if inside else REMEDY
        raise ValueError(f"{folder} is no run, it holds none of {', '.join(FILES)}; {remedy}")


def is_run(folder: Path) -> bool:
    return any((folder / name).is_file() for name in FILES)


class Reader:
    """Reads one file of a run after the other. A damaged one becomes a problem in words, a missing one nothing."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def __call__(self, name: str, read: Callable[[Path], Any], attribute: str = "") -> bool:
        """Put what is read into an attribute of the run; has there been something to read?"""
        path = self.run.folder / name
        if not path.exists():
            return False
        try:
            content = read(path)
        except Exception as error:  # a damaged file may fail in any way
            words = " ".join(str(error).split()).replace(f"{path}", name)
            self.run.problems.append(words if name in words else f"{name} cannot be read: {words}")
            self.run.damaged.add(name)
            return False
        if attribute:
            setattr(self.run, attribute, content)
        return True


def tensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or not a safetensors file: {error}") from None


def recorded(path: Path, snapshots: bool) -> Recording:
    recording = Recording.load(path.parent, snapshots)
    shapes = {
        tuple((layer["name"], *layer["parameters"]) for layer in record["layers"]) for record in recording.records
    }
    if len(shapes) > 1:
        raise ValueError(f"{path} is damaged: its records are of different layers")
    return recording


def take_in(run: Run, content: dict[str, Any]) -> None:
    """What run.json says. A part that is not as it should be is left out, and is a problem."""
    for name in ("title", "date"):
        if isinstance(content.get(name), str):
            setattr(run, name, content[name])
    for name in ("configuration", "environment", "data"):
        if isinstance(content.get(name), dict):
            run.about[name] = content[name]
        else:
            run.problems.append(f"run.json has no part {name!r}, which is left out")


def fill_in(run: Run, trainer: Trainer, described: bool) -> None:
    """Take from the model what other files do not tell."""
    if not described:
        run.about["configuration"] = configured(trainer)
    if not len(run.history) and len(trainer.history):
        run.history = trainer.history
        run.problems.append("the history is the one that model.safetensors holds")


def distinct(folders: Sequence[Path]) -> list[str]:
    """A name for each of different folders: its own, with as many of those above it as tell it from the others."""
    parts = [folder.resolve().parts for folder in folders]

    def name(own: tuple[str, ...]) -> str:
        others = [other for other in parts if other is not own]
        depth = next((n for n in range(1, len(own)) if all(other[-n:] != own[-n:] for other in others)), len(own))
        return "/".join(own[-depth:]) if depth < len(own) else str(Path(*own))

    return [name(own) for own in parts]
