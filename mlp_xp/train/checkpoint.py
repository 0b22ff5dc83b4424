"""Files: weights and optimizer state as named tensors (safetensors), all else as JSON in the file's metadata."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlp_xp import backends, nn, optim, train
from mlp_xp.nn.config import from_config, to_config

from .history import History
from .precision import checked_precision, dtype_name, possible

if TYPE_CHECKING:
    from .trainer import Trainer

FORMAT = "mlp_xp 1"
PARTS = ("model", "loss", "optimizer", "metrics")
ROOMS = (nn, optim, train)
"""Where the classes of a trainer's parts are found."""


def contents(trainer: "Trainer") -> tuple[dict[str, Any], dict[str, Any]]:
    """What a trainer has reached: its tensors by name, on the host, and its numbers.

    An optimizer's slots that no step has changed are left out: `rebuild` starts them anew.
    """
    tensors = trainer.parameters
    slots = () if trainer.began == trainer.step else zip(trainer.optimizer.slot_names, trainer.state.slots, strict=True)
    for name, slot in slots:
        tensors |= {f"optimizer.{name}/{parameter}": part for parameter, part in trainer.named(slot).items()}
    names = ("dtype", "seed", "l2", "precision", "compile", "step", "began", "epoch", "adapted")
    numbers = {name: getattr(trainer, name) for name in names}
    if trainer.state.scale is not None:
        numbers["loss_scale"] = trainer.backend.to_host(trainer.state.scale).tolist()
    return tensors, numbers | {"history": list(trainer.history.records)}


def rebuild(
    parts: dict[str, Any], backend: str | backends.Backend, tensors: dict[str, Any], numbers: dict[str, Any]
) -> "Trainer":
    """A trainer that has reached what `contents` gave; an optimizer whose slots are not all there starts anew.

    Its precision is "float32" where it cannot have that of the numbers.
    """
    from .trainer import Trainer

    # Older files lack the later ones.
    options = {name: numbers[name] for name in ("dtype", "seed", "l2", "precision", "compile") if name in numbers}
    backend = backends.select(backend)
    wanted, dtype = options.get("precision", "float32"), dtype_name(options["dtype"])
    options["precision"] = possible(wanted, backend, dtype, parts["optimizer"])
    trainer = Trainer(**parts, backend=backend, **options)
    trainer.parameters = {key: value for key, value in tensors.items() if "/" not in key}
    slots, began = [], numbers["began"]
    for name, fresh in zip(trainer.optimizer.slot_names, trainer.state.slots, strict=True):
        prefix = f"optimizer.{name}/"
        found = {key.removeprefix(prefix): tensors[key] for key in tensors if key.startswith(prefix)}
        slots.append(trainer.flat(found) if found else fresh)
        began = began if found else numbers["step"]
    if began == numbers["step"]:
        slots = list(trainer.state.slots)
    trainer.state = trainer.state._replace(slots=tuple(slots))
    if trainer.state.scale is not None and "loss_scale" in numbers:
        with trainer.backend.scope():
            scale = trainer.backend.from_any(numbers["loss_scale"], trainer.dtype)
            trainer.state = trainer.state._replace(scale=scale)
    trainer.step, trainer.epoch, trainer.history = numbers["step"], numbers["epoch"], History(numbers["history"])
    trainer.began = began
    if trainer.optimizer.full_batch and began == trainer.step:
        trainer.drop_slots()  # its many vectors are made when they are needed
    trainer.adapted = numbers["adapted"]
    return trainer


def save(trainer: "Trainer", path: str | Path) -> None:
    """Write the file whole or not at all: under another name first, then renamed."""
    from safetensors.numpy import save_file

    tensors, numbers = contents(trainer)
    parts = {part: to_config(getattr(trainer, part), ROOMS) for part in PARTS}
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot save to {path}: there is no folder {path.parent}")
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        save_file(tensors, unfinished, {"format": FORMAT, "trainer": json.dumps(parts | numbers)})
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def load(
    path: str | Path,
    backend: str | backends.Backend,
    dtype: str | None,
    precision: str | None,
    given: dict[str, Any],
) -> "Trainer":
    """A trainer from a file of `save`; `given` are parts that take the place of those in the file, where not None."""
    tensors, about = _read(Path(path))
    parts: dict[str, Any] = {}
    for part in PARTS:
        try:
            parts[part] = from_config(about[part], ROOMS) if given[part] is None else given[part]
        except LookupError as error:
            raise ValueError(
                f"{path}: {error}; build it yourself and pass it as Trainer.load(..., {part}=...)"
            ) from None
    about |= {"dtype": dtype_name(dtype)} if dtype else {}
    if precision is not None:
        about["precision"] = checked_precision(precision, backends.select(backend), about["dtype"], parts["optimizer"])
    try:
        return rebuild(parts, backend, tensors, about)
    except (KeyError, nn.ShapeError) as error:
        raise ValueError(f"{path} does not hold what this model and optimizer need: {error}") from None


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
