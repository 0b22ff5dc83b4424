"""What was seen inside a net while it was trained, and its weights on the way."""

from dataclasses import dataclass, field
from math import nan
from pathlib import Path
from typing import Any, NamedTuple

from .json_files import read_json, write_json

FORMAT = "mlp_xp recording 1"
FILE, SNAPSHOTS = "recording.json", "snapshots.safetensors"


class Snapshot(NamedTuple):
    """The weights after `step` updates."""

    step: int
    epoch: float
    parameters: dict[str, Any]
    """By name, as NumPy arrays: those that evaluate and predict compute with."""


@dataclass
class Recording:
    """Records in the order of training; each has step, epoch and layers, which are as `inspect` gives them."""

    records: list[dict[str, Any]] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)

    @property
    def steps(self) -> list[int]:
        return [record["step"] for record in self.records]

    @property
    def epochs(self) -> list[float]:
        """Epochs made until each record, with the share of the one under way."""
        return [record["epoch"] for record in self.records]

    @property
    def names(self) -> list[str]:
        """The layers' names, such as "0"."""
        return [layer["name"] for layer in self.records[0]["layers"]] if self.records else []

    @property
    def kinds(self) -> list[str]:
        """The layers in words, such as "Linear(784, 64)"."""
        return [layer["layer"] for layer in self.records[0]["layers"]] if self.records else []

    def of_layers(self, what: str) -> dict[str, list[float]]:
        """ "mean", "std", "dead" or "gradient" of each layer by its name, a number for each record."""
        return {
            name: [record["layers"][index][what] for record in self.records] for index, name in enumerate(self.names)
        }

    def of_parameters(self, what: str) -> dict[str, list[float]]:
        """ "mean_abs" or "gradient_norm" of each parameter by its name, a number for each record."""
        columns: dict[str, list[float]] = {}
        for record in self.records:
            for layer in record["layers"]:
                for name, numbers in layer["parameters"].items():
                    columns.setdefault(name, []).append(numbers[what])
        return columns

    def save(self, folder: str | Path) -> None:
        """Write recording.json and, where there are snapshots, snapshots.safetensors into a folder."""
        folder = Path(folder)
        write_json(folder / FILE, {"format": FORMAT, "records": self.records})
        if not self.snapshots:
            (folder / SNAPSHOTS).unlink(missing_ok=True)  # those of an earlier run
            return
        from safetensors.numpy import save_file

        tensors = {
            f"{index}/{name}": value
            for index, snapshot in enumerate(self.snapshots)
            for name, value in snapshot.parameters.items()
        }
        when = {f"{index}": f"{snapshot.step} {snapshot.epoch}" for index, snapshot in enumerate(self.snapshots)}
        save_file(tensors, folder / SNAPSHOTS, {"format": FORMAT} | when)

    @classmethod
    def load(cls, folder: str | Path, snapshots: bool = True) -> "Recording":
        """Read what `save` wrote, without the snapshots where they are not wanted.

        FileNotFoundError, or ValueError that names the file that is damaged.
        """
        path = Path(folder) / FILE
        content = read_json(path)
        try:
            if content["format"] != FORMAT:
                raise ValueError(f"{path} has the format {content['format']!r}, not {FORMAT!r}")
            records = [_with_nan(record) for record in content["records"]]
            if len({tuple((layer["name"], layer["layer"]) for layer in record["layers"]) for record in records}) > 1:
                raise ValueError(f"{path} is damaged: its records are not of the same layers")
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is damaged: {type(error).__name__} {error}") from None
        except ValueError as error:
            raise error if str(path) in str(error) else ValueError(f"{path} is damaged: {error}") from None
        return cls(records, _load_snapshots(Path(folder) / SNAPSHOTS) if snapshots else [])


def _with_nan(record: dict[str, Any]) -> dict[str, Any]:
    for layer in record["layers"]:
        if not isinstance(layer["name"], str) or not isinstance(layer["layer"], str):
            raise TypeError(f"a layer is named {layer['name']!r}: {layer['layer']!r}")
        layer |= {what: _number(layer[what]) for what in ("mean", "std", "dead", "gradient")}
        for name, numbers in layer["parameters"].items():
            layer["parameters"][name] = {what: _number(value) for what, value in numbers.items()}
    return {"step": int(record["step"]), "epoch": float(record["epoch"]), "layers": record["layers"]}


def _number(value: float | None) -> float:
    return nan if value is None else float(value)


def _load_snapshots(path: Path) -> list[Snapshot]:
    if not path.exists():
        return []
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            when = file.metadata() or {}
            parameters: list[dict[str, Any]] = [{} for _ in range(len(when) - 1)]
            for key in file.keys():  # noqa: SIM118, not a dict
                index, _, name = key.partition("/")
                parameters[int(index)][name] = file.get_tensor(key)
            moments = [when[f"{index}"].split() for index in range(len(parameters))]
            return [Snapshot(int(m[0]), float(m[1]), p) for m, p in zip(moments, parameters, strict=True)]
    except (SafetensorError, ValueError, LookupError) as error:
        raise ValueError(f"{path} is damaged or not from a recording: {error}") from None
