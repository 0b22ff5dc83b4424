"""A schedule by feedback: lower the learning rate where training no longer gets better."""

from math import inf, isfinite
from typing import TYPE_CHECKING

from .callbacks import Callback, lower_is_better, watched

if TYPE_CHECKING:
    from .trainer import Trainer


class ReduceOnPlateau(Callback):
    """Multiply the learning rate by `factor` when `monitor` has not improved for more than `patience` epochs.

    An improvement is one by more than the share `threshold` of the best value. What is watched is the column itself,
    or, with `smoothing` > 0, its moving average  s <- smoothing s + (1 - smoothing) value,  which noise does not fool.
    After a reduction `cooldown` epochs are not counted; the rate does not fall below `lowest`. Without smoothing this
    is torch.optim.lr_scheduler.ReduceLROnPlateau in its relative mode. It starts anew with every fit, but what it has
    reduced stays, also in a file.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        *,
        smoothing: float = 0.0,
        threshold: float = 1e-4,
        cooldown: int = 0,
        lowest: float = 0.0,
    ) -> None:
        for name, value, low, high in (
            ("factor", factor, 0.0, 1.0),
            ("patience", patience, 0, inf),
            ("smoothing", smoothing, 0.0, 1.0),
            ("threshold", threshold, 0.0, 1.0),
            ("cooldown", cooldown, 0, inf),
            ("lowest", lowest, 0.0, inf),
        ):
            if not isinstance(value, int | float) or not low <= value < high or (name == "factor" and value == 0):
                limits = f"at least {low:g}" if name != "factor" else "above 0"
                limits += f" and below {high:g}" if high < inf else ""
                raise ValueError(f"ReduceOnPlateau({name}={value!r}): must be a number {limits}")
        self.monitor, self.factor, self.patience, self.smoothing = monitor, factor, patience, smoothing
        self.threshold, self.cooldown, self.lowest = threshold, cooldown, lowest

    def on_fit_start(self, trainer: "Trainer", epochs: int, steps_per_epoch: int) -> None:
        trainer.optimizer.scaled(self.factor)  # an optimizer without a rate to lower says so here
        self._sign = 1.0 if lower_is_better(trainer, self.monitor) else -1.0
        self._smooth: float | None = None
        self._best = inf
        self._waited = self._resting = 0

    def on_epoch_end(self, trainer: "Trainer", record: dict[str, float]) -> None:
        value = self._sign * watched(self, record)
        if isfinite(value):
            old = value if self._smooth is None else self._smooth
            self._smooth = self.smoothing * old + (1 - self.smoothing) * value
        now = inf if self._smooth is None else self._smooth
        if now < self._best - self.threshold * abs(self._best) or self._best == inf:
            self._best, self._waited = now, 0
        else:
            self._waited += 1
        if self._resting:
            self._resting -= 1
            self._waited = 0
        if self._waited > self.patience:
            self._reduce(trainer)

    def _reduce(self, trainer: "Trainer") -> None:
        self._waited, self._resting = 0, self.cooldown
        rate = trainer.learning_rate
        if rate > self.lowest:
            trainer.scale_learning_rate(max(self.factor, self.lowest / rate))
