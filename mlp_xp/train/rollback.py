"""When the loss is no longer finite: say at which step, and go back to the last good weights."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .trainer import Trainer, _Plan

STEPS_BETWEEN_COPIES = 64


class Diverged(ArithmeticError):
    """The loss became NaN or infinite. The trainer's weights are the last ones whose loss was finite."""

    def __init__(self, message: str, step: int) -> None:
        super().__init__(message)
        self.step = step
        """The update, counted from 1, whose batch gave the loss."""


class Rollback:
    """Keeps a copy of a state that is known to be good. Training is deterministic: from there, steps are made again.

    So a step costs nothing more, and yet the step and the last good weights are found exactly.
    """

    def __init__(self, trainer: "Trainer", plan: "_Plan") -> None:
        self.trainer, self.plan = trainer, plan
        self.good = self.newest = self._copy()

    def _copy(self) -> tuple[int, Any]:
        copy = self.trainer._copy
        state = self.trainer.state
        return self.trainer.step, state._replace(flat=copy(state.flat), slots=tuple(copy(slot) for slot in state.slots))

    def look(self, steps_of_epoch: int) -> None:
        """Fetch the loss so far after `steps_of_epoch` steps of this epoch; raise Diverged if it is not finite."""
        trainer = self.trainer
        finite = int(trainer._number(trainer.state.totals.finite_steps))
        if finite < steps_of_epoch:
            self._go_back(trainer.step - steps_of_epoch + finite + 1)
        if trainer.step - self.newest[0] >= STEPS_BETWEEN_COPIES:
            # A step since the newest copy had a finite loss, so those weights are good; of these it is not known yet.
            self.good, self.newest = self.newest, self._copy()

    def _go_back(self, bad: int) -> None:
        """Update number `bad` met a loss that is not finite: go back to the weights that the update before it met."""
        trainer = self.trainer
        epoch, index = divmod(bad - 1 - self.plan.first_step, self.plan.steps)
        rate = trainer.optimizer.learning_rate(bad - 1)
        trainer.step, trainer.state = self.good
        trainer.state = trainer.state._replace(totals=trainer._zero(trainer.state.flat))
        self.plan.advance_to(bad - 2)
        where = f"epoch {self.plan.first_epoch + epoch + 1}, batch {index + 1} of {self.plan.steps}"
        raise Diverged(
            f"the loss became NaN or infinite at step {bad} ({where}); the weights are those after step {trainer.step}, the last with a finite loss. "
            f"Lower the learning rate (it was {rate:g}), or scale the inputs",
            bad,
        )
