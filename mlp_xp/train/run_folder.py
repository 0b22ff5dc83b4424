"""A folder that holds a run: what was trained on what, where, how it went, and what came out."""

import os
import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlp_xp import __version__
from mlp_xp.nn.config import in_short

from .json_files import write_json
from .recording import Recording
from .rows import HostRows

if TYPE_CHECKING:
    from .trainer import Trainer

FORMAT = "mlp_xp run 1"
POINTS = 2000
"""At most so many rows of training data with two features are left, to be drawn."""


def save_run(
    folder: str | Path,
    trainer: "Trainer",
    *,
    title: str = "",
    recording: Recording | None = None,
    training: tuple[Any, Any] | None = None,
    validation: tuple[Any, Any] | None = None,
    test: tuple[Any, Any] | None = None,
    configuration: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
) -> None:
    """Leave all that `mlp-xp report` shows of a run in a folder, which is made where there is none.

    training, validation and test are (X, y); in words and numbers configuration says what the trainer does not know,
    such as the batch size, data what the data are, and metrics what was measured at the end.
    The files: run.json, metrics.json, history.csv, model.safetensors; recording.json and snapshots.safetensors, see
    `Recorder`; results.safetensors with the outputs for the test set or, where there is none, for the validation set,
    and rows from all over the training set where X has two features.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    about = {
        "format": FORMAT,
        "title": title,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "configuration": configured(trainer) | dict(configuration or {}),
        "environment": environment(trainer),
        "data": _sizes(training=training, validation=validation, test=test) | dict(data or {}),
    }
    write_json(folder / "run.json", about)
    write_json(folder / "metrics.json", dict(metrics or {}))
    trainer.history.save_csv(folder / "history.csv")
    trainer.save(folder / "model.safetensors")
    (recording or Recording()).save(folder)
    outputs = ("validation", validation) if test is None else ("test", test)
    _save_results(folder / "results.safetensors", trainer, training, *outputs)


def configured(trainer: "Trainer") -> dict[str, Any]:
    """What was trained and how, in words and numbers."""
    words = {name: in_short(getattr(trainer, name)) for name in ("model", "loss", "optimizer")}
    words["metrics"] = ", ".join(map(in_short, trainer.metrics))
    numbers = {name: getattr(trainer, name) for name in ("dtype", "precision", "seed", "l2")}
    return words | numbers | {"parameters": trainer.layout.count, "epochs": trainer.epoch, "steps": trainer.step}


def environment(trainer: "Trainer") -> dict[str, Any]:
    """What it ran on."""
    library = type(trainer.state.flat).__module__.partition(".")[0]
    return {
        "backend": trainer.backend.word,
        "device": trainer.backend.device_name(),
        "mlp_xp": __version__,
        "python": platform.python_version(),
        **{name: getattr(sys.modules[name], "__version__", "") for name in ("numpy", library)},
        "platform": platform.platform(terse=True),
        "processor": _processor(),
        "cores": os.cpu_count(),
    }


def _sizes(**parts: tuple[Any, Any] | None) -> dict[str, Any]:
    given = {part: pair for part, pair in parts.items() if pair is not None}
    sizes = {f"{part} rows": len(pair[1]) for part, pair in given.items()}
    shapes = [tuple(pair[0].shape[1:]) for pair in given.values() if hasattr(pair[0], "shape")]
    return sizes | ({"features": " x ".join(map(str, shapes[0]))} if shapes else {})


def _save_results(
    path: Path, trainer: "Trainer", training: tuple[Any, Any] | None, part: str, measured: tuple[Any, Any] | None
) -> None:
    from safetensors.numpy import save_file

    def host(array: Any) -> Any:
        return trainer.backend.to_host(trainer.backend.from_any(array))

    tensors: dict[str, Any] = {}
    with trainer.backend.scope():
        if measured is not None:
            tensors[f"{part}_outputs"] = host(trainer.predict(measured[0]))
            tensors[f"{part}_target"] = host(trainer._labelled(*measured).target)
        if training is not None and getattr(training[0], "shape", ())[1:] == (2,):
            points = trainer._labelled(*training)
            some = slice(None, None, -(-points.x.shape[0] // POINTS))  # rows may be sorted by class
            x = points.x.take(some) if isinstance(points.x, HostRows) else points.x[some, ...]
            tensors |= {"train_x": host(x).astype(trainer.dtype), "train_target": host(points.target[some, ...])}
    path.unlink(missing_ok=True)  # of an earlier run
    if tensors:
        save_file({name: tensor.copy() for name, tensor in tensors.items()}, path)


def _processor() -> str:
    """The processor's name, where the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
