"""What was measured, epoch by epoch."""

import csv
from collections.abc import Iterator
from pathlib import Path


class History:
    """A record of each epoch: history["loss"] is a column, history.records[-1] the last epoch.

    The columns are epoch, loss, each metric, val_loss and val_<metric> where validation data was given, learning_rate
    and seconds (wall time of the epoch, validation included).
    """

    def __init__(self, records: list[dict[str, float]] | None = None) -> None:
        self.records: list[dict[str, float]] = records or []

    @property
    def names(self) -> list[str]:
        """Every column, in the order of first appearance."""
        return list(dict.fromkeys(name for record in self.records for name in record))

    def __getitem__(self, name: str) -> list[float]:
        if self.records and name not in self.names:
            raise KeyError(f"{name!r} was not recorded; there are {', '.join(self.names)}")
        return [record.get(name, float("nan")) for record in self.records]

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[dict[str, float]]:
        return iter(self.records)

    def __repr__(self) -> str:
        last = ", ".join(f"{name} {value:.4g}" for name, value in self.records[-1].items()) if self.records else ""
        return f"<History of {len(self)} epochs: {last}>" if last else "<History of no epochs>"

    def save_csv(self, path: str | Path) -> None:
        """Write a line for each epoch, with a header."""
        with Path(path).open("w", newline="") as file:
            writer = csv.DictWriter(file, self.names)
            writer.writeheader()
            writer.writerows(self.records)
