"""Parquet files, read in parts while a net is trained on them."""

import os
from collections.abc import Iterator, Sequence
from operator import index
from pathlib import Path
from typing import Any

import numpy as np

from mlp_xp.names import unknown

Batch = tuple[Any, ...]


class Parquet:
    """The rows of a Parquet file in batches: `trainer.fit(Parquet("train.parquet", "label"), epochs=5)`.

    target: the column of y, or several; columns: those of X in this order, where it is not all others; sample_weight: a
        column too. All are numbers.
    batch_rows: the rows of a batch; the last one of a pass may have fewer.
    window: so many row groups are read at a time, and their rows mixed. The file is never in memory as a whole.

    A shuffled pass takes the row groups in a random order and mixes the rows within each window: rows that lie far
    from each other in the file rarely meet in a batch, but where `window` is all row groups. So do not sort the file by
    class. In a fit the order depends on the trainer's seed and the epoch alone.

    Needs pyarrow: pip install "mlp-xp[parquet]".
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        target: str | Sequence[str],
        columns: Sequence[str] | None = None,
        *,
        sample_weight: str | None = None,
        batch_rows: int = 1024,
        window: int = 8,
    ) -> None:
        try:
            from pyarrow import parquet
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(f'{error}; Parquet needs it: pip install "mlp-xp[parquet]"') from None
        for name, number in (("batch_rows", batch_rows), ("window", window)):
            if isinstance(number, bool) or index(number) < 1:
                raise ValueError(f"Parquet({name}={number!r}): give a whole number of at least 1")
        self.path, self.batch_rows, self.window = Path(path), batch_rows, window
        try:
            with parquet.ParquetFile(self.path) as file:
                self.rows, self._groups = file.metadata.num_rows, file.metadata.num_row_groups
                known = file.schema_arrow.names
        except FileNotFoundError:
            raise
        except (OSError, ValueError) as error:  # pyarrow's errors are of these kinds
            raise ValueError(f"{self.path} cannot be read as a Parquet file: {error}") from error
        self.target, self.sample_weight = target if isinstance(target, str) else list(target), sample_weight
        others = [*([target] if isinstance(target, str) else self.target), *([sample_weight] if sample_weight else [])]
        self.columns = [name for name in known if name not in others] if columns is None else list(columns)
        for name in (*self.columns, *others):
            if name not in known:
                raise KeyError(f"{self.path}: {unknown('column', name, known)}")

    def __repr__(self) -> str:
        return f"Parquet({str(self.path)!r}, {self.target!r}, {self.rows} rows, batch_rows={self.batch_rows})"

    def __len__(self) -> int:
        """How many batches a pass has."""
        return -(-self.rows // self.batch_rows)

    def __iter__(self) -> Iterator[Batch]:
        """The batches in the order of the file: (X, y), or (X, y, sample_weight)."""
        return self._batches(np.arange(self._groups), None)

    def shuffled(self, generator: np.random.Generator) -> Iterator[Batch]:
        """The batches of a pass whose order the generator decides."""
        return self._batches(generator.permutation(self._groups), generator)

    def _batches(self, groups: np.ndarray, generator: np.random.Generator | None) -> Iterator[Batch]:
        from pyarrow import parquet

        rest: Batch = ()
        with parquet.ParquetFile(self.path) as file:
            for start in range(0, len(groups), self.window):
                read = [self._read(file, int(group)) for group in groups[start : start + self.window]]
                rows = tuple(map(np.concatenate, zip(*read, strict=True)))
                if generator is not None:
                    order = generator.permutation(len(rows[0]))
                    rows = tuple(part[order] for part in rows)
                if rest:
                    rows = tuple(map(np.concatenate, zip(rest, rows, strict=True)))
                whole = len(rows[0]) - len(rows[0]) % self.batch_rows
                for first in range(0, whole, self.batch_rows):
                    yield tuple(part[first : first + self.batch_rows] for part in rows)
                rest = tuple(part[whole:] for part in rows)
        if rest and len(rest[0]):
            yield rest

    def _read(self, file: Any, group: int) -> Batch:
        """The rows of a row group."""
        parts = [self.columns, self.target] + ([self.sample_weight] if self.sample_weight else [])
        names = [name for part in parts for name in ([part] if isinstance(part, str) else part)]
        try:
            table = file.read_row_group(group, columns=names)
        except (OSError, ValueError) as error:
            raise ValueError(f"{self.path}: row group {group} cannot be read: {error}") from error

        def column(name: str) -> np.ndarray:
            return table.column(name).to_numpy()

        return tuple(
            column(part) if isinstance(part, str) else np.stack([column(name) for name in part], axis=1)
            for part in parts
        )
