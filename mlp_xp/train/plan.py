"""How a fit is cut into steps."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mlp_xp import random
from mlp_xp.optim import Optimizer

from .rollback import Rollback
from .rows import SparseRows, dense_batch
from .step import Data

if TYPE_CHECKING:
    from .trainer import Trainer


class Plan:
    """How one fit cuts its data into steps. Every step is a function of its number: it can be made again."""

    def __init__(self, trainer: "Trainer", data: Data, batch: int, shuffle: bool) -> None:
        self.steps = -(-data.x.shape[0] // batch)
        self._sparse = isinstance(data.x, SparseRows)
        if self._sparse and self.steps == 1:  # every step takes all rows: they are made dense once
            data, self._sparse = dense_batch(trainer.backend, data, 0), False
        self.trainer, self.data, self.batch, self.shuffle = trainer, data, batch, shuffle
        self.first_step, self.first_epoch = trainer.step, trainer.epoch
        self._draws = trainer.model.random
        self.optimizers = [(trainer.step, trainer.optimizer)]
        """From which step on which optimizer was used: they differ where the learning rate was changed."""
        self._last: tuple[tuple[Data, Data], int] = (data, data), 0
        self.rollback = Rollback(trainer, self)

    def ordered(self, epoch: int) -> tuple[Data, Data]:
        """The data with the rows of each full batch of an epoch; and the same for the last batch if it is smaller."""
        if self.steps == 1:
            return self.data, self.data  # the order of the rows makes no difference
        trainer, rows = self.trainer, self.data.x.shape[0]
        full = rows - rows % self.batch
        order = random.permutation(trainer.seed, epoch, rows) if self.shuffle else random.identity(rows)
        shaped = order[:full].reshape(-1, self.batch), order[full:].reshape(1, -1)
        if not self._sparse:  # whose rows are looked up on the host
            shaped = tuple(map(trainer.backend.from_host, shaped))
        first, last = (self.data._replace(batches=batches) for batches in shaped)
        return first, last

    def advance(self, ordered: tuple[Data, Data], index: int) -> None:
        """Make step `index` of an epoch whose data is `ordered`."""
        trainer = self.trainer
        self._last = ordered, index
        data, index = self._batch(ordered, index)
        trainer.state = trainer._training_step(trainer.state, data, index, trainer._settings(self._draws))
        trainer.step += 1

    def last_batch(self) -> Data:
        """The rows that the last step has taken."""
        data, index = self._batch(*self._last)
        return data.batch(self.trainer.backend.xp, index)

    def _batch(self, ordered: tuple[Data, Data], index: int) -> tuple[Data, int]:
        """Data with the batch of step `index`, and its number there; of sparse rows those of the batch alone."""
        smaller = index == self.data.x.shape[0] // self.batch
        data, index = (ordered[1], 0) if smaller else (ordered[0], index)
        return (dense_batch(self.trainer.backend, data, index), 0) if self._sparse else (data, index)

    def sample(self, count: int) -> Data:
        """So many rows drawn from the data, the same for the same seed; all of them where there are no more."""
        rows = self.data.x.shape[0]
        if rows <= count and not self._sparse:
            return self.data
        backend = self.trainer.backend
        drawn = random.permutation(self.trainer.seed, 0, rows)[:count].reshape(1, -1)
        if self._sparse:
            return dense_batch(backend, self.data._replace(batches=drawn), 0)
        return self.data._replace(batches=backend.from_host(drawn)).batch(backend.xp, 0)

    def again(self, stop: int) -> Iterator[None]:
        """Make steps again, from the trainer's current one until `stop` updates have been made; yields after each."""
        ordered_epoch, data = -1, (self.data, self.data)
        while self.trainer.step < stop:
            epoch, index = divmod(self.trainer.step - self.first_step, self.steps)
            if epoch != ordered_epoch:
                ordered_epoch, data = epoch, self.ordered(self.first_epoch + epoch)
            self.trainer._optimizer = self.in_force(self.trainer.step)
            self.advance(data, index)
            yield

    def in_force(self, step: int) -> Optimizer:
        """The optimizer that makes the update after `step` updates."""
        return next(optimizer for first, optimizer in reversed(self.optimizers) if first <= step)
