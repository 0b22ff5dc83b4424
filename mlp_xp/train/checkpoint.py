"""Files: weights and optimizer state as named tensors (safetensors), all else as JSON in the file's metadata."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlp_xp import backends, nn, optim, train
from mlp_xp.nn.config import from_config, to_config

from .history import History

if TYPE_CHECKING:
    from .trainer import Trainer

FORMAT = "mlp_xp 1"


def save(trainer: "Trainer", path: str | Path) -> None:
    """Write the file whole or not at all: under another name first, then renamed."""
    from safetensors.numpy import save_file

    tensors = trainer.parameters
    for name, slot in zip(trainer.optimizer.slot_names, trainer.state.slots, strict=True):
        tensors |= {f"optimizer.{name}/{parameter}": part for parameter, part in trainer.named(slot).items()}
    description = {
        "model": to_config(trainer.model, nn),
        "loss": to_config(trainer.loss, nn),
        "optimizer": to_config(trainer.optimizer, optim),
        "metrics": to_config(trainer.metrics, train),
        "dtype": trainer.dtype,
        "seed": trainer.seed,
        "step": trainer.step,
        "epoch": trainer.epoch,
        "history": trainer.history.records,
    }
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot save to {path}: there is no folder {path.parent}")
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        save_file(tensors, unfinished, {"format": FORMAT, "trainer": json.dumps(description)})
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def load(
    path: str | Path,
    backend: str | backends.Backend,
    dtype: str | None,
    model: nn.Layer | None,
    loss: nn.Loss | None,
    optimizer: optim.Optimizer | None,
    metrics: Sequence[train.Metric] | None,
) -> "Trainer":
    from .trainer import Trainer

    tensors, about = _read(Path(path))
    given = {"model": model, "loss": loss, "optimizer": optimizer, "metrics": metrics}
    rooms = {"model": nn, "loss": nn, "optimizer": optim, "metrics": train}
    built: dict[str, Any] = {}
    for part, value in given.items():
        try:
            built[part] = from_config(about[part], rooms[part]) if value is None else value
        except LookupError as error:
            raise ValueError(
                f"{path}: {error}; build it yourself and pass it as Trainer.load(..., {part}=...)"
            ) from None
    trainer = Trainer(**built, backend=backend, dtype=dtype or about["dtype"], seed=about["seed"])
    slots = []
    try:
        for name in trainer.optimizer.slot_names:
            prefix = f"optimizer.{name}/"
            parts = {key.removeprefix(prefix): tensors[key] for key in tensors if key.startswith(prefix)}
            if not parts and optimizer is not None:
                parts = {key: 0 * value for key, value in trainer.parameters.items()}  # another optimizer starts anew
            trainer.parameters = parts
            slots.append(trainer.state.flat)
        trainer.parameters = {key: value for key, value in tensors.items() if "/" not in key}
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path} does not hold what this model and optimizer need: {error}") from None
    trainer.state = trainer.state._replace(slots=tuple(slots))
    trainer.step, trainer.epoch, trainer.history = about["step"], about["epoch"], History(about["history"])
    return trainer


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """All tensors of a file of `save`, and its description."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, not a dict
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or not a safetensors file: {error}") from None
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path} was not written by Trainer.save (its format is {metadata.get('format')!r})")
    return tensors, json.loads(metadata["trainer"])
