"""Layers, losses, optimizers and what else is a frozen dataclass, as plain data and back: for files."""

from dataclasses import fields, is_dataclass
from types import ModuleType
from typing import Any


def to_config(thing: Any, room: ModuleType) -> Any:
    """Plain data (dict, list, number, text) that `from_config` turns back into `thing`.

    A public class of `room` goes by its name; any other by its full name, which `from_config` refuses.
    """
    if is_dataclass(thing) and not isinstance(thing, type):
        kind = type(thing)
        ours = kind.__name__ in room.__all__ and getattr(room, kind.__name__) is kind
        values = {field.name: to_config(getattr(thing, field.name), room) for field in fields(thing)}
        return {"type": kind.__name__ if ours else f"{kind.__module__}.{kind.__qualname__}", **values}
    if isinstance(thing, tuple | list):
        return [to_config(item, room) for item in thing]
    if hasattr(thing, "item"):
        thing = thing.item()  # a NumPy number
    if thing is None or isinstance(thing, bool | int | float | str):
        return thing
    raise TypeError(f"{thing!r} cannot be written to a file; hyper-parameters are numbers, text or frozen dataclasses")


def from_config(config: Any, room: ModuleType) -> Any:
    """Build what `to_config` described, from the public classes of `room` alone, so that a file runs no code."""
    if isinstance(config, list):
        return tuple(from_config(item, room) for item in config)
    if not isinstance(config, dict):
        return config
    name = config["type"]
    if name not in room.__all__:
        raise LookupError(f"{name!r} is not part of {room.__name__}")
    values = {key: from_config(value, room) for key, value in config.items() if key != "type"}
    build: Any = getattr(room, name)
    return build(*values["layers"]) if name == "Sequential" else build(**values)
