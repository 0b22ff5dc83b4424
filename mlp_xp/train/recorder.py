"""Looks into a net while it is trained."""

from typing import TYPE_CHECKING, Any, ClassVar

from .callbacks import Callback
from .inputs import whole
from .inspection import inspector, layers
from .recording import Recording, Snapshot

if TYPE_CHECKING:
    from .trainer import Trainer

SNAPSHOTS = 128
SNAPSHOT_BYTES = 2**28


class Recorder(Callback):
    """Keeps what pictures of training need: mean |W|, gradients, activations and dead units of every layer.

    recorder = Recorder(); trainer.fit(..., callbacks=[recorder]); recorder.recording

    It looks at the start, at the end, and after every epoch or, where `every` is given, after that many updates. What
    it looks at are `rows` rows drawn from the training data; a look is a step forward and back on them (see `inspect`).
    With `snapshots` it keeps the weights too, on the host. What it sees at the end are the weights that fit leaves: the
    best ones where EarlyStopping restores them. Another fit of the same trainer goes on with the recording, a fit of
    another one begins a new one.

    Memory is bounded: where there would be more than `limit` records, every second one goes, and the distance between
    them doubles from then on. So it is with snapshots, of which there are at most 128, and no more than 256 MiB.
    """

    only_looks: ClassVar[bool] = True

    def __init__(self, every: int | None = None, *, snapshots: bool = False, rows: int = 256, limit: int = 256) -> None:
        self.every = None if every is None else whole("Recorder: every", every)
        self.every_step = every is not None
        self.rows, self.limit = whole("Recorder: rows", rows), whole("Recorder: limit", limit, at_least=2)
        self.snapshots = snapshots
        self.recording = Recording()
        self._distance = self._snapshot_distance = self.every or 1
        self._seen: Any = None
        """The weights of the last record, to tell whether they were restored since."""

    def on_fit_start(self, trainer: "Trainer", epochs: int, steps_per_epoch: int) -> None:
        assert trainer._plan is not None  # there is one from the start of a fit to its end
        self._sample, self._inspect = trainer._plan.sample(self.rows), inspector(trainer)
        size = sum(array.nbytes for array in trainer.inference_parameters.values()) if self.snapshots else 0
        self._most_snapshots = max(2, min(SNAPSHOTS, SNAPSHOT_BYTES // max(size, 1)))
        before = self.recording
        names = [name for name, _ in layers(trainer.model)]
        if before.records and (before.names != names or before.steps[-1] > trainer.step):
            self.recording = Recording()
            self._distance = self._snapshot_distance = self.every or 1
        self._look_if_new(trainer)

    def on_step(self, trainer: "Trainer") -> None:
        if self.every is not None:
            self._look_if_due(trainer, trainer.step)

    def on_epoch_end(self, trainer: "Trainer", record: dict[str, float]) -> None:
        if self.every is None:
            self._look_if_due(trainer, trainer.epoch)

    def on_fit_end(self, trainer: "Trainer") -> None:
        kept = self.recording
        kept.records = [record for record in kept.records if record["step"] <= trainer.step]  # it may have gone back
        kept.snapshots = [snapshot for snapshot in kept.snapshots if snapshot.step <= trainer.step]
        if trainer.state.flat is not self._seen:
            kept.records = [record for record in kept.records if record["step"] < trainer.step]
            kept.snapshots = [snapshot for snapshot in kept.snapshots if snapshot.step < trainer.step]
        self._look_if_new(trainer)
        del self._sample, self._inspect  # and the data on the device with them
        self._seen = None

    def _look_if_new(self, trainer: "Trainer") -> None:
        if trainer.step not in self.recording.steps[-1:]:
            self._record(trainer)
        if self.snapshots and trainer.step not in [snapshot.step for snapshot in self.recording.snapshots[-1:]]:
            self._snapshot(trainer)

    def _look_if_due(self, trainer: "Trainer", count: int) -> None:
        if count % self._distance == 0:
            self._record(trainer)
        if self.snapshots and count % self._snapshot_distance == 0:
            self._snapshot(trainer)

    def _record(self, trainer: "Trainer") -> None:
        with trainer.backend.scope():
            seen = self._inspect(self._sample)
        records = self.recording.records
        records.append({"step": trainer.step, "epoch": self._epoch(trainer), "layers": seen})
        self._seen = trainer.state.flat
        if len(records) > self.limit:
            self.recording.records, self._distance = every_second(records), 2 * self._distance

    def _snapshot(self, trainer: "Trainer") -> None:
        snapshots = self.recording.snapshots
        snapshots.append(Snapshot(trainer.step, self._epoch(trainer), trainer.inference_parameters))
        if len(snapshots) > self._most_snapshots:
            self.recording.snapshots, self._snapshot_distance = every_second(snapshots), 2 * self._snapshot_distance

    def _epoch(self, trainer: "Trainer") -> float:
        plan = trainer._plan
        assert plan is not None
        if not plan.steps:  # how many there are in an epoch is not known yet
            return trainer.epoch
        return plan.first_epoch + (trainer.step - plan.first_step) / plan.steps


def every_second(moments: list[Any]) -> list[Any]:
    """The first, the third and so on; and the newest."""
    return moments[:-1:2] + moments[-1:]
