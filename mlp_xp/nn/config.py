"""Layers, losses, optimizers and what else is a frozen dataclass, as plain data and back: for files."""

from collections.abc import Sequence
from dataclasses import MISSING, fields, is_dataclass
from types import ModuleType
from typing import Any

from mlp_xp.names import unknown


def to_config(thing: Any, rooms: Sequence[ModuleType]) -> Any:
    """Plain data (dict, list, number, text) that `from_config` turns back into `thing`.

    A public class of one of `rooms` goes by the names of its room and its own, such as "nn.Linear"; any other by its
    full name, which `from_config` refuses.
    """
    if is_dataclass(thing) and not isinstance(thing, type):
        kind = type(thing)
        name = f"{kind.__module__}.{kind.__qualname__}"
        for room in rooms:
            if kind.__name__ in room.__all__ and getattr(room, kind.__name__) is kind:
                name = f"{_short(room)}.{kind.__name__}"
        return {"type": name} | {field.name: to_config(getattr(thing, field.name), rooms) for field in fields(thing)}
    if isinstance(thing, tuple | list):
        return [to_config(item, rooms) for item in thing]
    if hasattr(thing, "item"):
        thing = thing.item()  # a NumPy number
    if thing is None or isinstance(thing, bool | int | float | str):
        return thing
    raise TypeError(f"{thing!r} cannot be written to a file; hyper-parameters are numbers, text or frozen dataclasses")


def from_config(config: Any, rooms: Sequence[ModuleType]) -> Any:
    """Build what `to_config` described, from the public classes of `rooms` alone, so that a file runs no code."""
    if isinstance(config, list):
        return tuple(from_config(item, rooms) for item in config)
    if not isinstance(config, dict):
        return config
    room_name, _, name = config["type"].rpartition(".")
    room = next((room for room in rooms if _short(room) == room_name), None)
    if room is None:
        raise LookupError(f"{config['type']!r} is not part of mlp_xp")
    if name not in room.__all__ or not is_dataclass(getattr(room, name)):
        raise LookupError(unknown(f"class of {room.__name__}", name, room.__all__))
    values = {key: from_config(value, rooms) for key, value in config.items() if key != "type"}
    build: Any = getattr(room, name)
    return build(*values["layers"]) if "layers" in values else build(**values)


def in_short(thing: Any) -> str:
    """A layer, optimizer or the like as one would write it, without what has its default: "Linear(784, 64)"."""
    if isinstance(thing, tuple | list):
        return f"({', '.join(map(in_short, thing))}{',' if len(thing) == 1 else ''})"
    if not is_dataclass(thing) or isinstance(thing, type):
        return f"{thing:g}" if isinstance(thing, float) else repr(thing)
    written: list[str] = []
    for field in fields(thing):
        value = getattr(thing, field.name)
        if field.name == "layers":
            written += map(in_short, value)
        elif field.default is MISSING and field.default_factory is MISSING and not field.kw_only:
            written.append(in_short(value))
        elif value != field.default:
            written.append(f"{field.name}={in_short(value)}")
    return f"{type(thing).__name__}({', '.join(written)})"


def _short(room: ModuleType) -> str:
    return room.__name__.rpartition(".")[2]
