"""Layers, losses, optimizers and what else is a frozen dataclass, as plain data and back: for files."""

from dataclasses import fields, is_dataclass
from types import ModuleType
from typing import Any


def to_config(thing: Any) -> Any:
    """Plain data (dict, list, number, text) that `from_config` turns back into `thing`."""
    if is_dataclass(thing) and not isinstance(thing, type):
        values = {field.name: to_config(getattr(thing, field.name)) for field in fields(thing)}
        return {"type": type(thing).__name__, **values}
    if isinstance(thing, tuple | list):
        return [to_config(item) for item in thing]
    if thing is None or isinstance(thing, bool | int | float | str):
        return thing
    raise TypeError(f"{thing!r} cannot be written to a file; hyper-parameters are numbers, text or frozen dataclasses")


def from_config(config: Any, module: ModuleType) -> Any:
    """Build what `to_config` described, from the public classes of `module` (mlp_xp's own, so a file runs no code)."""
    if isinstance(config, list):
        return tuple(from_config(item, module) for item in config)
    if not isinstance(config, dict):
        return config
    name = config["type"]
    if name not in module.__all__:
        raise LookupError(f"{name!r} is not part of {module.__name__}")
    values = {key: from_config(value, module) for key, value in config.items() if key != "type"}
    build: Any = getattr(module, name)
    return build(*values["layers"]) if name == "Sequential" else build(**values)
