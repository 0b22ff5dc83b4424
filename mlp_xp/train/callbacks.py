"""What may look on, and stop, while a trainer fits."""

import csv
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mlp_xp.names import unknown

from .history import numbers

if TYPE_CHECKING:
    from .trainer import Trainer


class Callback:
    """Called by `Trainer.fit`; set `trainer.stop = True` to end it after the current epoch or step."""

    only_looks: ClassVar[bool] = False
    """Does it never change anything? Then it is told of the end after those that may still restore weights."""

    every_step: bool = True
    """Is `on_step` to be called after each one? Else it is called after one or several: those are faster together."""

    def on_fit_start(self, trainer: "Trainer", epochs: int, steps_per_epoch: int) -> None:
        """`steps_per_epoch` is 0 where batches come from a source that does not say how many."""

    def on_step(self, trainer: "Trainer") -> None: ...

    def on_epoch_end(self, trainer: "Trainer", record: dict[str, float]) -> None:
        """`record` holds what the history holds of the epoch."""

    def on_fit_end(self, trainer: "Trainer") -> None:
        """Called for every `on_fit_start` that went well, after an error or Ctrl-C too."""


class ProgressBar(Callback):
    """A bar on a terminal, once a fit lasts longer than a second."""

    every_step = False

    def on_fit_start(self, trainer: "Trainer", epochs: int, steps_per_epoch: int) -> None:
        from tqdm import tqdm

        self._bar: Any = tqdm(
            total=epochs * steps_per_epoch or None, unit="step", disable=None, delay=1, dynamic_ncols=True
        )
        self._epochs, self._step = trainer.epoch + epochs, trainer.step

    def on_step(self, trainer: "Trainer") -> None:
        self._bar.update(trainer.step - self._step)
        self._step = trainer.step

    def on_epoch_end(self, trainer: "Trainer", record: dict[str, float]) -> None:
        shown = {name: f"{value:.4f}" for name, value in numbers(record).items() if name.endswith(("loss", "accuracy"))}
        self._bar.set_description(f"epoch {trainer.epoch}/{self._epochs}", refresh=False)
        self._bar.set_postfix(shown, refresh=False)

    def on_fit_end(self, trainer: "Trainer") -> None:
        self._bar.close()


class EarlyStopping(Callback):
    """Stop when `monitor` has not improved by more than `min_delta` for `patience` epochs; restore the best weights.

    `monitor` is a column of the history. Less is better for a loss; a metric says itself which way is better. With
    `restore_best` the weights at the end of a fit are those of the best epoch, also after an error or Ctrl-C. Every fit
    starts anew: what an earlier one reached is not compared.
    """

    def __init__(
        self, monitor: str = "val_loss", patience: int = 10, min_delta: float = 0.0, restore_best: bool = True
    ) -> None:
        if not isinstance(patience, int) or patience < 1:
            raise ValueError(f"EarlyStopping(patience={patience!r}): wait at least 1 epoch")
        self.monitor, self.patience, self.min_delta, self.restore_best = monitor, patience, min_delta, restore_best
        self.best_epoch: int | None = None
        self.best: float | None = None

    def on_fit_start(self, trainer: "Trainer", epochs: int, steps_per_epoch: int) -> None:
        self._sign = 1.0 if lower_is_better(trainer, self.monitor) else -1.0
        self.best_epoch = self.best = None
        self._since = trainer.epoch
        self._state: Any = None

    def on_epoch_end(self, trainer: "Trainer", record: dict[str, float]) -> None:
        value = watched(self, record)
        if isfinite(value) and (self.best is None or self._sign * (self.best - value) > self.min_delta):
            self.best, self.best_epoch, self._since = value, trainer.epoch, trainer.epoch
            if self.restore_best:
                self._state = trainer.copy_state()
        elif trainer.epoch - self._since >= self.patience:
            trainer.stop = True

    def on_fit_end(self, trainer: "Trainer") -> None:
        if self.restore_best and self._state is not None:
            trainer.restore_state(self._state)
        self._state = None


def lower_is_better(trainer: "Trainer", monitor: str) -> bool:
    """Is less of a column of the history better? So it is for the loss; a metric says itself."""
    known = {"loss": True} | {metric.name: metric.lower_is_better for metric in trainer.metrics}
    return known.get(monitor.removeprefix("val_"), False)


def watched(callback: Any, record: dict[str, float]) -> float:
    """What a callback's `monitor` measured in an epoch; KeyError or TypeError where that is no number."""
    kind, monitor = type(callback).__name__, callback.monitor
    if monitor not in record:
        raise KeyError(
            f"{kind} watches what is not measured: {unknown('column', monitor, record)}. "
            f"Pass validation_data or metrics to measure it, or another monitor"
        )
    if monitor not in numbers(record):
        raise TypeError(
            f"{kind} watches {monitor!r}, which is not a number, so that no epoch is the best; "
            f"watch one of {', '.join(numbers(record))}"
        )
    return record[monitor]


class CSVLog(Callback):
    """Write the history to a file, a line after each epoch, so that nothing is lost when a run is killed."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def on_fit_start(self, trainer: "Trainer", epochs: int, steps_per_epoch: int) -> None:
        if not self.path.parent.is_dir():
            raise FileNotFoundError(f"CSVLog cannot write {self.path}: there is no folder {self.path.parent}")
        trainer.history.save_csv(self.path)  # a path that cannot be written fails here, not after the first epoch
        self._names = trainer.history.names

    def on_epoch_end(self, trainer: "Trainer", record: dict[str, float]) -> None:
        if list(record) != self._names:
            trainer.history.save_csv(self.path)
            self._names = trainer.history.names
            return
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, self._names).writerow(record)
