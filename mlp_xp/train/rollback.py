"""When the loss is no longer finite: say at which step, and go back to the last good weights."""

from math import isfinite
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .plan import Plan
    from .trainer import Trainer

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

    def __init__(self, trainer: "Trainer", plan: "Plan") -> None:
        self.trainer, self.plan = trainer, plan
        self.good = self.newest = self._copy()

    def _copy(self) -> tuple[int, Any]:
        return self.trainer.step, self.trainer.copy_state()

    def renew(self) -> None:
        """Take the state, which somebody has put in, as the one to go back to."""
        self.good = self.newest = self._copy()

    def look(self) -> None:
        """Fetch the loss of the epoch so far; raise Diverged if it is not finite (NaN stays in a sum)."""
        if not self._finite():
            self._go_back()
        if self.trainer.step - self.newest[0] >= STEPS_BETWEEN_COPIES:
            # A step since the newest copy had a finite loss, so those weights are good; of these it is not known yet.
            self.good, self.newest = self.newest, self._copy()

    def look_at_the_end(self) -> None:
        """After the last step of an epoch nothing has used weights and buffers yet: look at them too."""
        self.look()
        xp, state = self.trainer.backend.xp, self.trainer.state
        if not all(bool(xp.all(xp.isfinite(each))) for each in (state.flat, state.buffers) if each is not None):
            self._go_back(bad=self.trainer.step + 1)

    def _finite(self) -> bool:
        return isfinite(self.trainer._number(self.trainer.state.totals.loss))

    def _restore(self) -> None:
        trainer = self.trainer
        trainer.step, state = self.good
        trainer.restore_state(state)
        trainer.state = trainer.state._replace(totals=trainer._zero())

    def _go_back(self, bad: int | None = None) -> None:
        """Restore the last good weights; `bad` is the step that met the first bad ones, found where it is not known."""
        trainer, plan = self.trainer, self.plan
        if bad is None:
            seen = trainer.step
            self._restore()
            for _ in plan.again(seen):
                if not self._finite():
                    break
            bad = trainer.step
        # The weights that step `bad` met gave the bad loss; those that the step before it met are the last good ones.
        self._restore()
        for _ in plan.again(bad - 2):
            pass
        epoch, index = divmod(bad - 1 - plan.first_step, plan.steps)
        where = f"epoch {plan.first_epoch + epoch + 1}, batch {index + 1} of {plan.steps}"
        kept = f"those after step {trainer.step}, the last with a finite loss"
        if bad - 1 == plan.first_step:
            kept = "those from before"
        trainer._optimizer = plan.in_force(bad - 1)
        advice = "Scale the inputs"
        if not trainer.optimizer.full_batch:
            rate = trainer.optimizer.learning_rate(bad - 1 - trainer.began)
            advice = f"Lower the learning rate (it was {rate:g}), or scale the inputs"
        raise Diverged(
            f"the loss became NaN or infinite at step {bad} ({where}); the weights are {kept}. {advice}", bad
        )
