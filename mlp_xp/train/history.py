"""What was measured, epoch by epoch."""

import csv
import io
from collections.abc import Iterator
from numbers import Real
from pathlib import Path
from typing import Any


class History:
    """A record of each epoch: history["loss"] is a column, history.records[-1] the last epoch.

    The columns are epoch, loss, each metric, val_loss and val_<metric> where validation data was given, learning_rate
    and seconds (wall time of the epoch, validation included). All are numbers but those of a metric that is none, such
    as ConfusionMatrix.
    """

    def __init__(self, records: list[dict[str, Any]] | None = None) -> None:
        self.records: list[dict[str, Any]] = records or []

    @property
    def names(self) -> list[str]:
        """Every column, in the order of first appearance."""
        return list(dict.fromkeys(name for record in self.records for name in record))

    def __getitem__(self, name: str) -> list[Any]:
        if self.records and name not in self.names:
            raise KeyError(f"{name!r} was not recorded; there are {', '.join(self.names)}")
        return [record.get(name, float("nan")) for record in self.records]

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.records)

    def __repr__(self) -> str:
        shown = numbers(self.records[-1]) if self.records else {}
        last = ", ".join(f"{name} {value:.4g}" for name, value in shown.items())
        return f"<History of {len(self)} epochs: {last}>" if last else "<History of no epochs>"

    def save_csv(self, path: str | Path) -> None:
        """Write a line for each epoch, with a header."""
        with Path(path).open("w", newline="") as file:
            writer = csv.DictWriter(file, self.names)
            writer.writeheader()
            writer.writerows(self.records)

    @classmethod
    def load_csv(cls, path: str | Path) -> "History":
        """Read what `save_csv` or CSVLog wrote; ValueError that names the file and the line where it is damaged.

        A last line without an end was being written when the run was killed: it is left out. What is not a number, such
        as a confusion matrix, stays text.
        """
        try:
            text = Path(path).read_bytes().decode("utf-8-sig")
            reader = csv.reader(io.StringIO(text, newline=""))
            lines = [(reader.line_num, line) for line in reader if line]
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"{path} is damaged: {error}") from None
        if not lines:
            return cls()
        (_, names), *rows = lines
        if rows and not text.endswith("\n"):
            rows.pop()
        if "epoch" not in names:
            raise ValueError(f"{path}, line 1: there is no column 'epoch' among {', '.join(names)}")
        records: list[dict[str, Any]] = []
        for number, row in rows:
            if len(row) != len(names):
                raise ValueError(f"{path}, line {number}: {len(row)} values for {len(names)} columns")
            record: dict[str, Any] = {name: _value(text) for name, text in zip(names, row, strict=True) if text}
            epoch = record.get("epoch")
            if not isinstance(epoch, float) or not epoch.is_integer():
                raise ValueError(f"{path}, line {number}: the epoch is no whole number: {epoch!r}")
            records.append(record | {"epoch": int(epoch)})
        return cls(records)


def _value(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def numbers(record: dict[str, Any]) -> dict[str, Any]:
    """What can be compared, drawn and shown on a line: not a confusion matrix."""
    return {name: value for name, value in record.items() if isinstance(value, Real)}
