"""How a fit is cut into steps."""

from bisect import bisect_right
from collections.abc import Generator
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING, Any

from mlp_xp import random
from mlp_xp.optim import Optimizer

from .feed import Source, fed
from .rollback import Rollback
from .rows import HostRows, moved, taken
from .step import Data

if TYPE_CHECKING:
    from .trainer import Trainer


STEPS_TOGETHER, WORK_TOGETHER = 32, 1 << 33
"""So many steps are made together at most, and rows times parameters: half a second on two cores, as Ctrl-C waits."""


class Plan:
    """How one fit cuts its data into steps. Every step is a function of its number: it can be made again."""

    def __init__(self, trainer: "Trainer", data: Data, batch: int, shuffle: bool) -> None:
        self.steps = len(data.x) if isinstance(data.x, Source) else -(-data.x.shape[0] // batch)
        """In an epoch; 0 as long as that is not known: of a source that does not say, until it is through once."""
        if isinstance(data.x, HostRows) and self.steps == 1:  # every step takes all rows: they are moved once
            data = moved(trainer.backend.from_host, taken(data, slice(None)))
        self.trainer, self.data, self.batch, self.shuffle = trainer, data, batch, shuffle
        self._several: Any = getattr(trainer._training_step, "several", None)
        most = WORK_TOGETHER // (max(batch, 1) * trainer.layout.size)
        self.together = 1 << max(min(STEPS_TOGETHER, most), 1).bit_length() - 1 if self._several else 1
        """So many steps at once, where nobody looks between them: a power of two, as are the steps between looks."""
        self.first_step, self.first_epoch = trainer.step, trainer.epoch
        self._starts = [trainer.step]
        """The step at which each epoch began, where a source gives the batches: it may give more or fewer each time."""
        self._draws = trainer.model.random
        self.optimizers = [(trainer.step, trainer.optimizer)]
        """From which step on which optimizer was used: they differ where the learning rate was changed."""
        self._last: tuple[Data, int] = data, 0
        self._feed: Generator[Data] | None = None
        self.rollback = Rollback(trainer, self)

    def batches(self, epoch: int, first: int = 0, together: int = 1) -> Generator[tuple[Data, int, int]]:
        """What `advance` takes for the steps of an epoch, from number `first` on. Close it: a thread may feed it.

        together: for so many steps at once, at most.
        """
        x = self.data.x
        if isinstance(x, Source):
            order = (self.trainer.seed, epoch) if self.shuffle else None
            made = first
            for batch in self._fed(x.batches(order, first, self.trainer.model.minimum_rows)):
                yield batch, 0, 1
                made += 1
            self.steps = self.steps or made
            if len(self._starts) == epoch - self.first_epoch + 1:
                self._starts.append(self.trainer.step)
        elif self.steps == 1:
            yield from [(self.data, 0, 1)][first:]  # the order of the rows makes no difference
        elif isinstance(x, HostRows):
            order = self._order(epoch)
            starts = range(first * self.batch, len(order), self.batch)
            taking = (taken(self.data, order[start : start + self.batch]) for start in starts)
            yield from ((batch, 0, 1) for batch in self._fed(taking))
        else:
            order, full = self._order(epoch), x.shape[0] // self.batch
            shaped = order[: full * self.batch].reshape(-1, self.batch), order[full * self.batch :].reshape(1, -1)
            whole, rest = (self.data._replace(batches=self.trainer.backend.from_host(rows)) for rows in shaped)
            yield from ((whole, index, min(together, full - index)) for index in range(first, full, together))
            if first <= full < self.steps:
                yield rest, 0, 1

    def _order(self, epoch: int) -> Any:
        """The order of the rows in an epoch, on the host."""
        rows = self.data.x.shape[0]
        return random.permutation(self.trainer.seed, epoch, rows) if self.shuffle else random.identity(rows)

    def _fed(self, batches: Generator[Data]) -> Generator[Data]:
        """Batches from the host, on the device; the feed before it ends."""
        self.close()
        self._feed = fed(self.trainer.backend, batches)
        yield from self._feed

    def close(self) -> None:
        """End the thread that feeds the steps, if there is one."""
        if self._feed is not None:
            self._feed.close()

    def advance(self, data: Data, index: int, count: int) -> None:
        """Make so many steps, with batch number `index` of the data and those after it."""
        trainer = self.trainer
        self._last = data, index + count - 1
        settings = [trainer._settings(self._draws, step) for step in range(trainer.step, trainer.step + count)]
        if count == 1:
            trainer._state = trainer._training_step(trainer._state, data, index, *settings)
        else:
            trainer._state = self._several(trainer._state, data, index, settings)
        trainer.step += count

    def last_batch(self) -> Data:
        """The rows that the last step has taken."""
        data, index = self._last
        return data.batch(self.trainer.backend.xp, index)

    def sample(self, count: int) -> Data:
        """So many rows drawn from the data, the same for the same seed; all of them where there are no more.

        Of a source, the first of those that it gives.
        """
        data, backend = self.data, self.trainer.backend
        if isinstance(data.x, Source):
            first = data.x.first
            return moved(backend.from_host, Data(*(None if part is None else part[:count, ...] for part in first)))
        rows = data.x.shape[0]
        drawn = random.permutation(self.trainer.seed, 0, rows)[:count] if rows > count else random.identity(rows)
        if isinstance(data.x, HostRows):
            return moved(backend.from_host, taken(data, drawn))
        if rows <= count:
            return data
        return data._replace(batches=backend.from_host(drawn.reshape(1, -1))).batch(backend.xp, 0)

    def where(self, step: int) -> tuple[int, int]:
        """The epoch of the update after `step` updates, and its number there."""
        if not isinstance(self.data.x, Source):
            epoch, index = divmod(step - self.first_step, self.steps)
            return self.first_epoch + epoch, index
        epoch = bisect_right(self._starts, step) - 1
        return self.first_epoch + epoch, step - self._starts[epoch]

    def again(self, stop: int) -> Generator[None]:
        """Make steps again, from the trainer's current one until `stop` updates have been made; yields after each."""
        trainer = self.trainer
        while trainer.step < stop:
            begun = trainer.step
            with closing(self.batches(*self.where(begun))) as batches:
                for batch in islice(batches, stop - begun):
                    trainer._optimizer = self.in_force(trainer.step)
                    self.advance(*batch)
                    yield
            if trainer.step == begun:
                return  # a source gives fewer batches than it gave before

    def in_force(self, step: int) -> Optimizer:
        """The optimizer that makes the update after `step` updates."""
        return next(optimizer for first, optimizer in reversed(self.optimizers) if first <= step)
