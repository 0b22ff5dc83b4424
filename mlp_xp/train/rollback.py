"""When the loss is no longer finite: say at which step, and go back to the last good weights."""

from contextlib import closing
from math import isfinite
from typing import TYPE_CHECKING

from .inputs import finite
from .kept import Kept
from .step import Totals, untouched

if TYPE_CHECKING:
    from .plan import Plan
    from .trainer import Trainer

STEPS_BETWEEN_COPIES = 512  # so many steps at most, and an epoch, are made again; a short training copies no slots


class Diverged(ArithmeticError):
    """The loss became NaN or infinite. The trainer's weights are the last ones whose loss was finite."""

    def __init__(self, message: str, step: int) -> None:
        super().__init__(message)
        self.step = step
        """The update, counted from 1, whose batch gave the loss."""


class Rollback:
    """Keeps a copy of a state that is known to be good. Training is deterministic: from there, steps are made again.

    So a step costs nothing more, and yet the step and the last good weights are found exactly. There is one copy at a
    time. An optimizer that takes all rows at once needs none: it goes nowhere that the loss is not finite.
    """

    def __init__(self, trainer: "Trainer", plan: "Plan") -> None:
        self.trainer, self.plan = trainer, plan
        self.renew()

    def renew(self) -> None:
        """Take the state, which somebody has put in, as the one to go back to."""
        self.put_in = self.trainer.step
        self._keep()

    def _keep(self) -> None:
        trainer = self.trainer
        self.step, self.good = trainer.step, None  # the copy before is let go of before another is made
        if trainer.optimizer.full_batch:
            return
        # Slots that are as the optimizer starts them can be made anew.
        fresh = trainer.began == trainer.step and untouched(trainer.backend.xp, trainer.optimizer, trainer.state)
        with trainer.backend.scope():
            self.good = Kept(trainer, slots=not fresh)

    def look(self) -> None:
        """Fetch the loss of the epoch so far; raise Diverged if it is not finite (NaN stays in a sum)."""
        if not self._finite(self.trainer.state.totals):
            self._go_back()
        if self.trainer.step - self.step >= STEPS_BETWEEN_COPIES and self._works():
            self._keep()

    def look_at_the_end(self) -> None:
        """After the last step of an epoch nothing has used weights and buffers yet: look at them too."""
        self.look()
        if not (self.trainer.optimizer.full_batch or self._finite_weights()):
            self._go_back(bad=self.trainer.step + 1)

    def _works(self) -> bool:
        """Are the weights known to be good? Those that came of the last step have had no loss yet: take that step's."""
        if self.trainer.optimizer.full_batch:
            return True
        trainer, state = self.trainer, self.trainer.state
        if not self._finite_weights():
            return False
        totals, _ = trainer._evaluation_step(state.flat, state.buffers, self.plan.last_batch(), trainer._zero())
        return self._finite(totals)

    def _finite(self, totals: Totals) -> bool:
        return isfinite(self.trainer._number(totals.loss))

    def _finite_weights(self) -> bool:
        state = self.trainer.state
        return all(finite(self.trainer.backend.xp, each) for each in (state.flat, state.buffers) if each is not None)

    def _restore(self) -> None:
        trainer = self.trainer
        if self.good is not None:
            trainer.step, state = self.step, self.good.state()
            slots = state.slots or trainer.optimizer.start(trainer.backend.xp, state.flat)
            trainer.restore_state(state._replace(slots=slots))
        trainer.state = trainer.state._replace(totals=trainer._zero())

    def _go_back(self, bad: int | None = None) -> None:
        """Restore the last good weights; `bad` is the step that met the first bad ones, found where it is not known."""
        trainer, plan = self.trainer, self.plan
        if self.good is None:  # the step has left the weights as they were
            bad, trainer.step = trainer.step, trainer.step - 1
        elif bad is None:
            seen = trainer.step
            self._restore()
            with closing(plan.again(seen)) as steps:
                for _ in steps:
                    if not self._finite(trainer.state.totals):
                        break
            bad = trainer.step
        # The weights that step `bad` met gave the bad loss; those that the step before it met are the last good ones,
        # unless the copy is of the former: they had a finite loss with the batch before.
        self._restore()
        for _ in plan.again(bad - 2):
            pass
        epoch, index = plan.where(bad - 1)
        where = f"epoch {epoch + 1}, batch {index + 1}" + (f" of {plan.steps}" if plan.steps else "")
        kept = f"those after step {trainer.step}, the last with a finite loss"
        if bad - 1 == self.put_in:
            kept = "those from before"
        trainer._optimizer = plan.in_force(bad - 1)
        advice = "Scale the inputs"
        if not trainer.optimizer.full_batch:
            rate = trainer.optimizer.learning_rate(bad - 1 - trainer.began)
            advice = f"Lower the learning rate (it was {rate:g}), or scale the inputs"
        raise Diverged(
            f"the loss became NaN or infinite at step {bad} ({where}); the weights are {kept}. {advice}", bad
        )
