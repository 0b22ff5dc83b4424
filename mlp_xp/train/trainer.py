"""The one loop: it fits, evaluates and predicts on every backend."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from functools import partial
from itertools import accumulate, chain
from math import isfinite, nan, prod
from pathlib import Path
from time import perf_counter
from typing import Any

from mlp_xp import backends, random
from mlp_xp.nn import Layer, Layout, Loss, ShapeError, scheduled_numbers
from mlp_xp.nn.layout import Vector
from mlp_xp.optim import Adam, Optimizer

from . import inputs, loss_scale
from .callbacks import Callback, ProgressBar
from .feed import is_source, parts
from .full_batch import FullBatchStep
from .history import History
from .interrupt import DeferredInterrupt
from .metrics import Metric, continued, started
from .plan import Plan
from .precision import HALVES, PRECISIONS, Inside, checked_precision, dtype_name
from .step import (
    Data,
    Settings,
    State,
    Totals,
    by_batches,
    evaluation_step,
    prediction_step,
    training_step,
    zero_totals,
)

Array = Any
EVALUATION_ROWS = 4096
"""Rows in a batch of evaluate and predict: bounds their memory, and does not change what they give."""
STEPS_BETWEEN_LOOKS = 512
"""How often a long epoch is checked for a loss that is no longer finite: each look waits for the device."""


class Trainer:
    """Trains `model` to minimise `loss`.

    backend: a word for `mlp_xp.backends.select`, or what it gave; "auto" takes a GPU through CuPy where one computes.
    dtype: "float32" or "float64", of parameters and data; data of another dtype is converted.
    seed: decides the initial weights, the shuffles and the dropout masks, alike on every backend.
    metrics: measured in every epoch beside the loss, for example [train.Accuracy()].
    l2: a penalty on the weights (not on biases and scales) that is part of the loss, as scikit-learn's `alpha`:
        l2 / (2 S) sum W^2  for each batch of S rows, or of sample weights with the sum S. The loss in the history
        holds it; evaluate leaves it out.

    precision: the arithmetic of matrix products in training. "float32" is that of `dtype`. "bf16-mixed" and
        "fp16-mixed" take bfloat16 or float16 for forward and backward, but float32 for the weights that are trained
        (so that no small update is lost), the optimizer, the loss and layers that need it; fp16-mixed scales the loss
        (`loss_scale`), and a step whose gradient is not finite is skipped: the history counts them as "skipped", and
        so do schedules and bias corrections. "tf32" rounds what float32 products multiply to 11 bits, on GPUs that
        have it. BackendError where the backend cannot. evaluate, predict and `train.inspect` compute in float32.

    compile: "auto" lets the backend compile the steps, where it can and that is worth the time; `fallback` says why
        where it cannot. False runs them as they are written, for a debugger, or for a layer of your own that is no
        pure function.

    `trainer.history` has a record for each epoch, `trainer.step` and `trainer.epoch` count the updates and epochs made.
    """

    _state: Any
    """The state, as the last step has left it."""

    def __init__(
        self,
        model: Layer,
        loss: Loss,
        optimizer: Optimizer | None = None,
        *,
        backend: str | backends.Backend = "auto",
        dtype: str = "float32",
        seed: int = 0,
        metrics: Sequence[Metric] = (),
        l2: float = 0.0,
        precision: str = "float32",
        compile: str | bool = "auto",
    ) -> None:
        self._parts = checked(model, loss, optimizer or Adam(), metrics)
        self._optimizer = self._parts[2]
        self.backend = backends.select(backend)
        dtype = dtype_name(dtype)
        if dtype not in ("float32", "float64"):
            raise ValueError(f"dtype={dtype!r}: choose 'float32' or 'float64'")
        if dtype == "float64" and not self.backend.has_float64:
            raise backends.BackendError(f"{self.backend.word} cannot compute in float64; use dtype='float32'")
        self.dtype, self.seed = dtype, inputs.whole("seed", seed, at_least=0)
        self._l2 = inputs.not_negative(f"l2={l2!r}", l2)
        self._precision = checked_precision(precision, self.backend, dtype, self.optimizer)
        if compile is not False and compile != "auto":
            raise ValueError(f"compile={compile!r}: choose 'auto' or False")
        self.compile = compile
        self.layout = Layout(model)
        if not self.layout.entries:
            raise ValueError(f"{model} has no parameters to train; add a layer such as nn.Linear")
        self.history = History()
        self.step = self.epoch = 0
        self.began = 0
        """The step at which the optimizer's slots began: its schedules and corrections count from there."""
        self.stop = False
        """Set by a callback to end fit."""
        self._plan: Plan | None = None
        self._outputs = 0

        self._asked: Any = self.backend if compile else backends.Uncompiled(self.backend)
        shared = (self._asked, model, self.layout)
        xp = self.backend.xp
        with self.backend.scope():
            like = self._like = xp.zeros((0,), dtype=getattr(xp, dtype), device=self.backend.device)
            scaled = precision == "fp16-mixed"
            step: Any = FullBatchStep if self.optimizer.full_batch else training_step
            half = (PRECISIONS[precision], scaled) if PRECISIONS[precision] in HALVES else ()
            self._training_step = step(*shared, loss, self.optimizer, self.metrics, dtype, *half)
            if precision == "tf32":
                self._training_step = Inside(self.backend.tf32, self._training_step)
            self._evaluation_step = evaluation_step(*shared, loss, self.metrics, dtype)
            self._prediction_step = prediction_step(*shared, dtype)
            self._at_once = [
                (metric, self.backend.compile(partial(continued, xp, metric, loss)))
                for metric in self.metrics
                if not metric.by_batches
            ]
            self._scheduled = scheduled_numbers(model)
            self._vectors = tuple(
                None if values is None else self.layout.spread(xp, values, like)
                for values in self.optimizer.multipliers(self.layout)
            )
            flat, buffers = self._pack(self.layout.initial(seed))
            scale = loss_scale.start(xp, like) if scaled else None
            self.state = State(flat, self.optimizer.start(xp, flat), buffers, Totals(), scale)
        self.adapted = not model.adapts
        """Has `adapt` been called, where the model asks for it?"""

    # What is compiled into the steps cannot be exchanged afterwards.

    @property
    def model(self) -> Layer:
        return self._parts[0]

    @property
    def loss(self) -> Loss:
        return self._parts[1]

    @property
    def optimizer(self) -> Optimizer:
        return self._optimizer

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return self._parts[3]

    @property
    def l2(self) -> float:
        return self._l2

    @property
    def precision(self) -> str:
        return self._precision

    @property
    def loss_scale(self) -> float | None:
        """What the gradient of the next step's loss is multiplied by with precision="fp16-mixed"; else None."""
        return None if self.state.scale is None else float(self.backend.to_host(self.state.scale)[0])

    @property
    def finished(self) -> str:
        """Why an optimizer that knows when it is done (LBFGS) has ended the last fit; empty where it has not."""
        return getattr(self._training_step, "finished", "")

    @property
    def fallback(self) -> str:
        """Why the steps run as they are written although compile="auto"; empty where they do not, or none was made."""
        return getattr(self._training_step, "reason", "")

    @property
    def evaluations(self) -> int:
        """How many function values an optimizer that searches along lines (LBFGS) has taken so far; else 0."""
        return getattr(self._training_step, "evaluations", 0)

    @property
    def state(self) -> State:
        """All that a step changes, on the device."""
        if type(self._state) is not State:  # the backend keeps its vectors in pieces from step to step
            with self.backend.scope():
                self._state = self.backend.whole(self._state)
        return self._state

    @state.setter
    def state(self, state: State) -> None:
        self._state = state

    # Parameters and buffers by name, on the host

    @property
    def parameters(self) -> dict[str, Any]:
        """A copy of every parameter and buffer by its name, such as "0.weight", as NumPy arrays.

        With an optimizer that averages (EMA, SWA, Lookahead, ASGD) these are the weights that are trained;
        `inference_parameters` are the averages, with which evaluate and predict compute.
        """
        return self._named(self.state.flat)

    @parameters.setter
    def parameters(self, values: dict[str, Any]) -> None:
        """Replace all parameters and buffers; names and shapes must be those that `parameters` gives.

        The optimizer starts anew from them: its moments and averages, and the steps that its schedules count.
        """
        with self.backend.scope():
            flat, buffers = self._pack(self._fitting(values, self._entries))
            slots = self.optimizer.start(self.backend.xp, flat)
            self.state = self.state._replace(flat=flat, buffers=buffers, slots=slots)
        self.adapted, self.began = True, self.step
        if self._plan is not None:
            self._plan.rollback.renew()

    @property
    def inference_parameters(self) -> dict[str, Any]:
        """A copy of the parameters and buffers that evaluate and predict compute with, by name."""
        return self._named(self._weights)

    def named(self, flat: Array) -> dict[str, Any]:
        """A vector shaped like the parameters (or an optimizer's slot) by names, as NumPy arrays of their own."""
        with self.backend.scope():
            parts = self.layout.named(self.backend.xp, flat)
            return {name: self.backend.to_host(part).copy() for name, part in parts.items()}

    def flat(self, values: dict[str, Any]) -> Array:
        """The inverse of `named`: one vector on the device."""
        with self.backend.scope():
            beside = dict.fromkeys(entry.name for entry in self.layout.buffers.entries)
            return self._join(self.layout, self._tree(self._fitting(values, self.layout.entries), beside))

    def _named(self, flat: Array) -> dict[str, Any]:
        with self.backend.scope():
            buffers = self.layout.buffers.named(self.backend.xp, self.state.buffers)
            parts = self.layout.named(self.backend.xp, flat) | buffers
            return {entry.name: self.backend.to_host(parts[entry.name]).copy() for entry in self._entries}

    @property
    def _entries(self) -> tuple[Any, ...]:
        return *self.layout.entries, *self.layout.buffers.entries

    @property
    def _weights(self) -> Array:
        """What evaluate and predict compute with."""
        return self.optimizer.averaged(self.state.flat, self.state.slots)

    def _pack(self, values: dict[str, Any]) -> tuple[Array, Array]:
        tree = self._tree(values)
        buffers = self._join(self.layout.buffers, tree) if self.layout.buffers.entries else None
        return self._join(self.layout, tree), buffers

    def _fitting(self, values: dict[str, Any], entries: Sequence[Any]) -> dict[str, Any]:
        """The values, if they are those of the entries; KeyError or ShapeError if not."""
        expected = {entry.name: entry.parameter.shape for entry in entries}
        if set(values) != set(expected):
            raise KeyError(f"expected parameters named {sorted(expected)}, got {sorted(values)}")
        for name, shape in expected.items():
            given = tuple(getattr(values[name], "shape", ()))
            if given != shape:
                raise ShapeError(f"parameter {name!r} has shape {shape}, got {given or type(values[name]).__name__}")
        return values

    def _tree(self, values: dict[str, Any], beside: dict[str, None] | None = None) -> dict[str, Any]:
        """Values by name on the device, as the tree that the model takes; what is `beside` them is left empty."""
        moved = {name: self.backend.from_any(value, self.dtype, name) for name, value in values.items()}
        return self.layout.nest(moved | (beside or {}))

    def _join(self, vector: Vector, tree: dict[str, Any]) -> Array:
        xp = self.backend.xp
        return vector.join(xp, tree, vector.gaps(xp, self._like))

    @property
    def averages(self) -> bool:
        """Does the optimizer keep averaged weights in its slots, with which evaluate and predict compute?"""
        return self.optimizer.averaged(self.state.flat, self.state.slots) is not self.state.flat

    def copy_state(self, slots: bool = True) -> State:
        """A copy of parameters, buffers and, unless told otherwise, the optimizer's slots on the device."""
        state = self.state
        copies = tuple(self._copy(slot) for slot in state.slots) if slots else ()
        return State(self._copy(state.flat), copies, self._copy(state.buffers), Totals(), self._copy(state.scale))

    def restore_state(self, state: State) -> None:
        """Go back to what `copy_state` gave; the counters of steps and epochs go on, and slots that it lacks."""
        if len(state.slots) not in (0, len(self.state.slots)) or state.flat.shape != self.state.flat.shape:
            raise ValueError("the state is that of a trainer with another model or optimizer")
        slots = tuple(self._copy(slot) for slot in state.slots) or self.state.slots
        scale = self.state.scale if self.state.scale is None or state.scale is None else self._copy(state.scale)
        self.state = State(self._copy(state.flat), slots, self._copy(state.buffers), self.state.totals, scale)

    def drop_slots(self) -> None:
        """Let go of what the optimizer remembers, forty vectors with LBFGS: the next fit starts it anew.

        ValueError for one that averages weights (EMA), which are in its slots.
        """
        if self.averages:
            raise ValueError(f"{self.optimizer} keeps averaged weights in its slots, with which evaluate computes")
        self.state, self.began = self.state._replace(slots=()), self.step

    def _copy(self, array: Array) -> Array:
        with self.backend.scope():
            return None if array is None else self.backend.xp.asarray(array, copy=True)

    # What comes from the data

    def adapt(self, X: Any) -> None:
        """Take from the data X what the model asks for before training: `Standardize`, and weights by `LSUV`.

        The first fit does it with its data where it has not been done, if they are on the device. A sparse X is not
        taken, by fit neither: give some dense rows, `trainer.adapt(X[:n].toarray())`. All that is given here is moved
        to the device at once, and small integers become floating-point numbers meanwhile.
        """
        with self.backend.scope():
            self._adapt(inputs.features(self.backend, X, self.model, self.dtype, feed="device")[0])

    def _adapt(self, x: Array) -> None:
        self._refit(self.state.flat, inputs.at_once(x, "adapt"), before_training=True)
        self.state = self.state._replace(slots=self.optimizer.start(self.backend.xp, self.state.flat))
        self.adapted = True

    def refresh_statistics(self, X: Any) -> None:
        """Measure the running statistics of BatchNorm anew, over all of X at once and with the averaged weights.

        For SWA, whose mean of weights never saw a batch; SWA and EMA leave the statistics of the weights in training.
        """
        with self.backend.scope():
            x, _ = inputs.features(self.backend, X, self.model, self.dtype, feed="device")
            self._refit(self._weights, inputs.at_once(x, "refresh_statistics"), before_training=False)

    def _refit(self, flat: Array, x: Array, before_training: bool) -> None:
        xp = self.backend.xp
        x = xp.astype(x, flat.dtype, copy=False)
        p = self.layout.split(xp, flat, self.state.buffers)
        adapted = self.model.adapt(xp, p, x, before_training)
        if self.layout.buffers.entries:
            self.state = self.state._replace(buffers=self._join(self.layout.buffers, adapted))
        if before_training:
            self.state = self.state._replace(flat=self._join(self.layout, adapted))

    # Training

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        epochs: int = 10,
        batch_size: int | str | None = "auto",
        sample_weight: Any = None,
        validation_data: Any = None,
        shuffle: bool = True,
        feed: str = "auto",
        callbacks: Callback | Iterable[Callback] = (),
        progress: bool = True,
    ) -> History:
        """Train for `epochs` more epochs; gives the history of all epochs made so far.

        X (rows, features) and y (rows,) or (rows, outputs) are lists, data frames, NumPy arrays, or arrays of any
        library with DLPack. validation_data is (X, y) or (X, y, sample_weight). batch_size None takes all rows at once.
        `progress` shows a bar on a terminal when it takes longer than a second. With LBFGS an epoch is one iteration
        over all rows, and a fit that gets no further ends early: `finished` says why.

        feed: where X is during training; the numbers are the same. With "device" it is moved there once. With "stream"
            it stays on the host: a thread gathers the rows of the next batches and moves them while the device
            computes. "auto" streams a NumPy array that the memory of the GPU has no room for; on a CPU, a memory map
            (`numpy.load(path, mmap_mode="r")`). Shuffling only ever permutes row numbers. An array of bool, 8-bit or
            16-bit integers, such as pixels, stays one: each batch is converted in its step (see `nn.Rescale`).

        A sparse X (scipy.sparse, or what has `tocsr`) is always streamed, made dense batch by batch. Only where one
        batch takes all rows are they all moved, once. For a model that takes statistics from data (`Standardize`), call
        `adapt` before a fit that streams.

        X without y is a source of batches: `data.Parquet`, or anything that gives (X, y) or (X, y, sample_weight) each
        time it is iterated over, such as a list of tuples, a DataLoader, or a function that makes an iterator:

            def batches():
                for path in paths:
                    yield numpy.load(path), numpy.load(path.with_suffix(".labels.npy"))

            trainer.fit(batches, epochs=5)

        It is begun once more at first, to look at its first batch. The batches are trained on as they come; a source
        with a method `shuffled(generator)` gives those of an epoch in an order that the generator decides. A source can
        be the validation data too. Training can go back exactly (see below) if it gives the same in every pass.

        Ctrl-C ends it after the current step and raises KeyboardInterrupt; history, step and weights are kept (the best
        weights where EarlyStopping restores them). `Diverged` when the loss is no longer finite; the weights are then
        the last good ones. TypeError or ValueError for data that does not fit, before anything is changed.
        """
        epochs = inputs.whole("epochs", epochs)
        if feed not in inputs.FEEDS:
            raise ValueError(f"feed={feed!r}: choose one of {', '.join(map(repr, inputs.FEEDS))}")
        inputs.trainable(self.model)
        callbacks = [callbacks] if isinstance(callbacks, Callback) else callbacks
        callbacks = [*callbacks, *([ProgressBar()] if progress else [])]
        for callback in callbacks:
            if not isinstance(callback, Callback):
                raise TypeError(f"callbacks must be instances of train.Callback, got {callback!r}")
        callbacks.sort(key=lambda callback: not callback.only_looks)  # the first to start are the last to end
        with self.backend.scope(), ExitStack() as ending:
            data = self._labelled(X, y, sample_weight, feed=feed)
            validation = None if validation_data is None else self._validation(validation_data, feed)
            batch = inputs.batch_rows(batch_size, data.x, self.model, self.optimizer.full_batch)
            self._zero()  # a metric that does not fit the model is refused here, before anything is changed
            if not self.state.slots:  # it has none, or they were dropped
                self.state = self.state._replace(slots=self.optimizer.start(self.backend.xp, self.state.flat))
            if not self.adapted:
                self._adapt(data.x)
            plan = self._plan = Plan(self, data, batch, shuffle)
            ending.callback(setattr, self, "_plan", None)
            ending.callback(plan.close)
            if self.optimizer.full_batch:
                ending.callback(self._training_step.forget)
            self.stop = False
            for callback in callbacks:
                callback.on_fit_start(self, epochs, plan.steps)
                ending.callback(callback.on_fit_end, self)
            looking = [callback for callback in callbacks if type(callback).on_step is not Callback.on_step]
            with DeferredInterrupt() as interrupt:
                for _ in range(epochs):
                    record = self._fit_epoch(plan, validation, looking, interrupt)
                    if record is None:
                        break
                    for callback in callbacks:
                        callback.on_epoch_end(self, record)
                    if self.stop or self.finished:
                        break
        return self.history

    def _fit_epoch(
        self, plan: "Plan", validation: Data | None, looking: list[Callback], interrupt: DeferredInterrupt
    ) -> dict[str, float] | None:
        """One epoch and its record; None if it was left early."""
        start = perf_counter()
        learning_rate = self.learning_rate
        self.state = self.state._replace(totals=self._zero())
        on_step, looked = [callback.on_step for callback in looking], self.step
        together = 1 if any(callback.every_step for callback in looking) else plan.together
        for batch in plan.batches(self.epoch, together=together):
            plan.advance(*batch)
            for call in on_step:
                call(self)
            if interrupt.wanted or self.stop:
                plan.rollback.look_at_the_end()
                return None
            if self.step - looked >= STEPS_BETWEEN_LOOKS:
                looked = self.step
                plan.rollback.look()
        if not self.optimizer.full_batch:  # which goes nowhere that the loss is not finite: it has looked
            plan.rollback.look_at_the_end()
        means = self._means(self.state.totals)
        if not isfinite(means["loss"]):
            plan.rollback.look_at_the_end()
        record = {"epoch": self.epoch + 1, **means}
        if validation is not None:
            record |= {f"val_{name}": value for name, value in self._evaluate(validation).items()}
        self.epoch += 1
        record |= {"learning_rate": learning_rate, "seconds": perf_counter() - start}
        self.history.records.append(record)
        return record

    def _settings(self, draws: bool, step: int) -> Settings:
        """What a step is told. Python numbers: a NumPy scalar would carry its dtype into the arrays."""
        # The star: tuple(map(...)) would be shortened, which leaves one more tuple in the interpreter in every step.
        return Settings(
            random.key(self.seed, step) if draws else (0, 0),
            (*map(float, self.optimizer.coefficients(step - self.began)),),
            self._scheduled(step),
            self._vectors,
            self._l2 or None,
        )

    def scale_learning_rate(self, factor: float) -> None:
        """Multiply the learning rate by `factor` from the next step on: what a schedule by feedback does."""
        self._go_on_with(self.optimizer.scaled(inputs.not_negative(f"scale_learning_rate({factor!r})", factor)))

    @property
    def learning_rate(self) -> float:
        """That of the next step. Set it to a number to go on with that, in place of a schedule or what it was."""
        return self.optimizer.learning_rate(self.step - self.began)

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._go_on_with(self.optimizer.with_learning_rate(inputs.not_negative(f"learning_rate = {value!r}", value)))

    def _go_on_with(self, optimizer: Optimizer) -> None:
        """Take from the next step on an optimizer that differs in its learning rate alone."""
        self._optimizer = optimizer
        if self._plan is not None:
            self._plan.optimizers.append((self.step, optimizer))

    # Using it

    def evaluate(self, X: Any, y: Any = None, *, sample_weight: Any = None) -> dict[str, float]:
        """The loss and every metric over a data set, without dropout: {"loss": ..., "accuracy": ...}.

        X without y is a source of batches, see fit. A sparse X is made dense by parts, and a memory map read so.
        """
        home = inputs.home(self.backend, X, y, sample_weight)
        with self.backend.scope(), self._scope(home):
            return self._evaluate(self._labelled(X, y, sample_weight, home=home))

    def predict(self, X: Any) -> Any:
        """The model's outputs (rows, outputs), such as logits, in the library and on the device of X.

        A sparse X is made dense by parts, and answered by NumPy.
        """
        home = inputs.home(self.backend, X)
        with self.backend.scope(), self._scope(home):
            x, _ = inputs.features(home, X, self.model, self.dtype)
            weights, buffers = self._weights, self.state.buffers
            with closing(parts(self._asked, Data(x), EVALUATION_ROWS)) as batches:
                y = self._joined([self._prediction_step(weights, buffers, batch.x) for batch in batches])
            return self.backend.like(y, X)

    def save(self, path: str | Path) -> None:
        """Write model, weights, optimizer state, counters and history to a safetensors file, for `Trainer.load`."""
        from .checkpoint import save

        save(self, path)

    @staticmethod
    def load(
        path: str | Path,
        *,
        backend: str | backends.Backend = "auto",
        dtype: str | None = None,
        precision: str | None = None,
        model: Layer | None = None,
        loss: Loss | None = None,
        optimizer: Optimizer | None = None,
        metrics: Sequence[Metric] | None = None,
    ) -> "Trainer":
        """Continue from a file of `save`, on any backend; after a whole epoch, as if there had been no stop.

        model, loss, optimizer and metrics need to be given where they are not classes of mlp_xp itself. An optimizer
        given in place of the saved one goes on if its slots are in the file, and starts anew, its schedules too, if
        not. Callbacks start anew. precision is that of the file unless given, or "float32" where the backend, the
        dtype or the optimizer does not go with it.
        """
        from .checkpoint import load

        given = {"model": model, "loss": loss, "optimizer": optimizer, "metrics": metrics}
        return load(path, backend, dtype, precision, given)

    def to(self, backend: str | backends.Backend) -> "Trainer":
        """A copy that computes on another backend: in float32 where that has no float64, or not this precision."""
        rebuild, (parts, _, tensors, numbers) = self.__reduce__()
        backend = backends.select(backend)
        dtype = self.dtype if backend.has_float64 else "float32"
        return rebuild(parts, backend, tensors, numbers | {"dtype": dtype})

    def __reduce__(self) -> tuple[Any, ...]:
        """For pickle and copy: what a file holds, and the word of the backend."""
        from .checkpoint import contents, rebuild

        parts = {"model": self.model, "loss": self.loss, "optimizer": self.optimizer, "metrics": self.metrics}
        return rebuild, (parts, self.backend.word, *contents(self))

    def _scope(self, home: Any) -> AbstractContextManager[Any]:
        """Entered within that of the backend, where `home` checks what is given."""
        return nullcontext() if home == self.backend else home.scope()

    def _labelled(
        self, x: Any, y: Any, weight: Any = None, *, prefix: str = "", feed: str = "auto", home: Any = None
    ) -> Data:
        fixed = self.model, self.loss, self.dtype
        data, self._outputs = inputs.labelled(home or self.backend, x, y, weight, *fixed, prefix, feed)
        return data

    def _validation(self, data: Any, feed: str) -> Data:
        if not isinstance(data, tuple | list) and is_source(data, None):
            return self._labelled(data, None, prefix="validation ")
        if not isinstance(data, tuple | list) or len(data) not in (2, 3):
            raise TypeError(
                "validation_data must be (X, y), (X, y, sample_weight) or a source of batches; scikit-learn splits "
                "data in two"
            )
        return self._labelled(*data, prefix="validation ", feed=feed)

    def _joined(self, parts: Sequence[Array | None]) -> Array | None:
        return parts[0] if len(parts) == 1 or parts[0] is None else self.backend.xp.concat(parts, axis=0)

    def _evaluate(self, data: Data) -> dict[str, float]:
        totals, seen = self._zero(), []
        weights, buffers = self._weights, self.state.buffers
        with closing(parts(self._asked, data, EVALUATION_ROWS)) as batches:
            for batch in batches:
                totals, y = self._evaluation_step(weights, buffers, batch, totals)
                seen += [(y, batch.target, batch.weight)] if self._at_once else []
        measured = self._means(totals)
        if self._at_once:
            y, target, weight = map(self._joined, zip(*seen, strict=True))
            for metric, update in self._at_once:
                kept = started(self.backend.xp, metric, self.loss, self._like, self._outputs)
                measured[metric.name] = metric.result(tuple(self._fetch(update(kept, y, target, weight))))
        return measured

    def _means(self, totals: Totals) -> dict[str, Any]:
        """Fetch the mean loss and the metrics from the device."""
        weight, loss, *kept = self._fetch([totals.weight, totals.loss, *chain(*totals.metrics)])
        means = {"loss": float(loss) / float(weight) if weight else nan}  # no row counts
        for metric, on_device in zip(by_batches(self.metrics), totals.metrics, strict=True):
            mine, kept = kept[: len(on_device)], kept[len(on_device) :]
            means[metric.name] = metric.result(tuple(mine))
        if totals.skipped is not None:
            means["skipped"] = int(self._number(totals.skipped))
        return means

    def _fetch(self, arrays: Sequence[Array]) -> list[Any]:
        """Small arrays from the device to the host, in one transfer."""
        xp = self.backend.xp
        host = self.backend.to_host(xp.concat([xp.reshape(array, (-1,)) for array in arrays]))
        sizes = [prod(array.shape) for array in arrays]
        starts = [0, *accumulate(sizes)]
        return [
            host[start : start + size].reshape(tuple(array.shape))
            for array, start, size in zip(arrays, starts, sizes, strict=False)
        ]

    def _number(self, array: Array) -> float:
        return float(self.backend.to_host(array))

    def _zero(self) -> Totals:
        totals = zero_totals(self.backend.xp, self.loss, self.metrics, self._like, self._outputs)
        return totals if self.state.scale is None else totals._replace(skipped=self.backend.xp.zeros_like(totals.loss))


def checked(
    model: Layer, loss: Loss, optimizer: Optimizer, metrics: Sequence[Metric]
) -> tuple[Layer, Loss, Optimizer, tuple[Metric, ...]]:
    """The parts of a trainer; TypeError that names the one that is something else."""
    for name, value, kind in (("model", model, Layer), ("loss", loss, Loss), ("optimizer", optimizer, Optimizer)):
        if not isinstance(value, kind):
            raise TypeError(f"{name} must be an instance of {kind.__module__}.{kind.__name__}, got {value!r}")
    metrics = metrics if isinstance(metrics, tuple | list) else (metrics,)
    for metric in metrics:
        if not isinstance(metric, Metric):
            raise TypeError(f"metrics are instances, such as [train.Accuracy()], got {metric!r}")
    names = [metric.name for metric in metrics]
    if len(set(names)) < len(names) or "loss" in names:
        raise ValueError(f"the metrics are named {', '.join(names)}: each needs a name of its own, and not 'loss'")
    return model, loss, optimizer, tuple(metrics)
