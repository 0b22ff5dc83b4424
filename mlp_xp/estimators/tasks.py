"""scikit-learn's callbacks (from 1.9 on), such as ScoringMonitor: a fit is a task, an epoch one in it."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

from mlp_xp.train import Callback, Trainer

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # scikit-learn before 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Nothing: an older scikit-learn has no callbacks."""

    def with_callbacks(method: Callable[..., Any]) -> Callable[..., Any]:
        return method


UNTIL_TEARDOWN = ("_callback_fit_ctx", "_skl_callbacks_to_teardown")
"""What scikit-learn keeps on an estimator until its callbacks are torn down, after a fit that fails too."""


class Tasks(Callback):
    """Tells the callbacks that were given to `set_callbacks` of every epoch; one that answers True ends the fit."""

    def __init__(self, estimator: Any, epochs: int, X: Any, y: Any, metadata: dict[str, Any]) -> None:
        self.estimator, self.told = estimator, {"estimator": estimator, "X": X, "y": y, "metadata": metadata}
        self._fit = estimator._init_callback_context(max_subtasks=epochs)
        self._fit.call_on_fit_task_begin(**self.told)
        self._epoch: Any = None

    def on_fit_start(self, trainer: Trainer, epochs: int, steps_per_epoch: int) -> None:
        self._left = epochs
        self._begin()

    def _begin(self) -> None:
        self._left -= 1
        self._epoch = self._fit.subcontext(task_name="epoch")
        self._epoch.call_on_fit_task_begin(**self.told)

    def on_epoch_end(self, trainer: Trainer, record: dict[str, float]) -> None:
        if self._epoch.call_on_fit_task_end(**self.told, reconstruction_attributes=self._state):
            trainer.stop = True
        self._epoch = None
        if self._left and not (trainer.stop or trainer.finished):
            self._begin()

    def on_fit_end(self, trainer: Trainer) -> None:
        if self._epoch is not None:  # it was left early
            self._epoch.call_on_fit_task_end(**self.told, reconstruction_attributes=self._state)
        self._fit.call_on_fit_task_end(**self.told, reconstruction_attributes=self._state)

    def _state(self) -> dict[str, Any]:
        return {"trainer_": deepcopy(self.estimator.trainer_)}
