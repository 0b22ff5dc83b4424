"""What the two estimators share: a fit around `Trainer`, and what is left of it."""

import copy
from collections.abc import Callable, Iterable, Sequence
from numbers import Real
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import check_scoring
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from mlp_xp import backends, nn, optim
from mlp_xp.train import Callback, Diverged, Metric, Trainer

from .arrays import (
    HOST,
    Array,
    Rows,
    all_zero,
    checked_features,
    dtype_of,
    following,
    is_plain,
    limited_threads,
    mean_and_std,
    on_host,
    warn,
    within_reach,
)
from .convergence import Convergence
from .network import is_full_batch, linear_layers, network, solver
from .parameters import Parameters
from .tasks import UNTIL_TEARDOWN, CallbackSupportMixin, Tasks

SPARSE_SAMPLE = 4096
"""So many rows of a sparse X are made dense for weights that start from data (LSUV)."""


class MLP(CallbackSupportMixin, Parameters):
    """Around what a subclass brings: what the targets are, and the loss for them."""

    # What a subclass brings

    def _read_targets(self, X: Any, y: Any, *, new: bool, classes: Any = None, held_out: bool = False) -> Any:
        """y, checked; the classifier's as numbers of classes. With `new` it says what the problem is.

        Those to validate on are `held_out`: they need not have every class.
        """
        raise NotImplementedError

    def _new_loss(self) -> tuple[nn.Loss, int]:
        """The loss, and how many outputs the net must have for it."""
        raise NotImplementedError

    def _learn_scale(self, y: Any, weight: Any, *, new: bool) -> None:
        """Take from the training targets what is needed to scale them, or go on with what was taken."""

    def _encoded(self, y: Any) -> Any:
        """The targets as the loss takes them."""
        raise NotImplementedError

    def _original(self, y: Any) -> Any:
        """The inverse of `_read_targets`, for a scorer."""
        return y

    def _class_weights(self, y: Any) -> Any:
        """A weight for each row by its class, or None."""
        return None

    def _score_metric(self) -> Metric | None:
        """What early stopping watches by itself; None where only `score` can tell."""
        raise NotImplementedError

    # Fitting

    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, eval_set: Any = None) -> Any:
        """Train on X (rows, features) and y, from new weights unless `warm_start`.

        sample_weight: (rows,). eval_set: (X, y) or (X, y, sample_weight) to validate on: `validation_loss_curve_` is
        its loss, and early stopping watches it instead of a part of X. Everything follows X: y and the weights may be
        of any library. ConvergenceWarning when `max_iter` ends it; Ctrl-C ends it with a warning, and what was reached
        is kept.
        """
        return self._fit(X, y, sample_weight, eval_set=eval_set)

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        *,
        eval_set: Any = None,
        classes: Any = None,
        incremental: bool = False,
    ) -> Any:
        before = {name: list(value) if isinstance(value, list) else value for name, value in vars(self).items()}
        try:
            return self._fit_or_fail(X, y, sample_weight, eval_set, classes, incremental)
        except Exception:  # what failed is not a fit
            before |= {name: vars(self)[name] for name in UNTIL_TEARDOWN if hasattr(self, name)}
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    def _fit_or_fail(self, X: Any, y: Any, sample_weight: Any, eval_set: Any, classes: Any, incremental: bool) -> Any:
        self._validate_params()
        if incremental and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None")
        new = not self.__sklearn_is_fitted__() or not (self.warm_start or incremental)
        seed = check_random_state(self.random_state).randint(np.iinfo(np.int32).max)
        home = backends.of(X)
        X = checked_features(self, X, home, reset=new)
        y = self._read_targets(X, y, new=new, classes=classes)
        rows = given = Rows(X, y, self._checked_weight(X, sample_weight))
        held_out = self._validation(eval_set, home)
        if self._stops_early and held_out is None:
            rows, held_out = self._split(rows, seed)
        self._learn_scale(rows.y, rows.weight, new=new)

        loss, outputs = self._new_loss()
        model = network(self, X.shape[1], outputs)
        batch = self._batch_rows(rows.size, model)
        steps = -(-rows.size // (batch or rows.size))
        if incremental and not new:  # a schedule goes on, whatever the size of this part
            steps = getattr(self, "_steps_per_epoch", steps)
        optimizer = solver(self, model, steps)
        parts = model, loss, optimizer, self._compute_on(home)
        trainer = self._new_trainer(parts, X, seed) if new else self._continued(parts, seed, incremental)
        if not trainer.adapted:
            _adapt(trainer, rows, self.standardize)
        self.trainer_, self._home = trainer, home
        self._asked_for: Any = optimizer
        self._steps_per_epoch: int = steps
        self._train(rows, held_out, given, batch, new=new, incremental=incremental)
        _finish(trainer, X)
        return self

    def _train(
        self, rows: Rows, held_out: Rows | None, given: Rows, batch: int | None, *, new: bool, incremental: bool
    ) -> None:
        """Run the trainer on the rows, and say how it ended. `given` is what the user gave, for scikit-learn."""
        trainer, epochs = self.trainer_, 1 if incremental else self.max_iter
        score = self._validation_score(held_out) if held_out is not None and self._stops_early else None
        convergence = Convergence(self, rows.size, score, new=new, incremental=incremental)
        callbacks = [convergence, *_as_list(self.callbacks)]
        if getattr(self, "_skl_callbacks", None) or hasattr(self, "_parent_callback_ctx"):
            metadata = {} if given.weight is None else {"sample_weight": given.weight}
            callbacks.append(Tasks(self, epochs, given.X, self._original(given.y), metadata))
        X, y, weight = self._reached(rows._replace(weight=self._weights(rows)))
        interrupted = False
        try:
            with limited_threads(self.n_jobs):
                trainer.fit(
                    X,
                    y,
                    epochs=epochs,
                    batch_size=batch,
                    sample_weight=weight,
                    validation_data=None if held_out is None else self._reached(held_out),
                    shuffle=self.shuffle,
                    callbacks=callbacks,
                    progress=bool(self.verbose),
                )
        except KeyboardInterrupt:
            interrupted = True
            warn("Training interrupted by user.")
        except Diverged as error:
            raise ValueError(
                f"Solver produced non-finite parameter weights in update {error.step}. The input data may contain "
                f"large values and need to be preprocessed, for example with standardize=True; or lower the learning "
                f"rate"
            ) from error
        if interrupted or incremental or trainer.finished:
            return
        if convergence.ran_out or (not trainer.stop and self.n_iter_ == self.max_iter):
            limit = f"max_fun={self.max_fun}" if convergence.ran_out else f"Maximum iterations ({self.max_iter})"
            warn(f"Optimizer: {limit} reached and the optimization hasn't converged yet.", ConvergenceWarning)

    def _weights(self, rows: Rows) -> Any:
        """Sample weights times class weights; None where all are 1."""
        of_class = self._class_weights(rows.y)
        if of_class is None or rows.weight is None:
            return rows.weight if of_class is None else of_class
        return on_host(rows.weight) * of_class

    def _reached(self, rows: Rows) -> tuple[Any, ...]:
        """The rows as the trainer takes them."""
        parts = rows._replace(y=self._encoded(rows.y))
        return tuple(within_reach(self.trainer_.backend, part) for part in parts)

    def _compute_on(self, home: backends.Backend) -> backends.Backend:
        """The backend that computes for arrays of `home`."""
        if self.backend == "follow" or (self.backend == "auto" and home != HOST):
            return home
        return backends.select(self.backend)

    def _new_trainer(self, parts: tuple[Any, ...], X: Any, seed: int) -> Trainer:
        *_, backend = parts
        dtype = "float64" if backend.has_float64 and dtype_of(X) == "float64" else "float32"
        return self._trainer(parts, self.dtype or dtype, seed)

    def _trainer(self, parts: tuple[Any, ...], dtype: str, seed: int) -> Trainer:
        *built, backend = parts
        metric = self._score_metric() if self._stops_early and self.scoring is None else None
        metrics = () if metric is None else (metric,)
        return Trainer(*built, backend=backend, dtype=dtype, seed=seed, l2=self.alpha, metrics=metrics)

    def _continued(self, parts: tuple[Any, ...], seed: int, incremental: bool) -> Trainer:
        """A trainer that goes on from the weights of the last fit, with what the parameters say now.

        partial_fit goes on with the optimizer's state too, unless the parameters ask for another optimizer.
        """
        old, (model, loss, optimizer, backend) = self.trainer_, parts
        old = old if old.backend == backend else old.to(backend)
        same_rule = optimizer == self._asked_for
        if incremental and same_rule and (model, loss, float(self.alpha)) == (old.model, old.loss, old.l2):
            return old
        seed = old.seed if incremental else seed
        trainer = self._trainer(parts, self.dtype or old.dtype, seed)
        try:
            trainer.parameters = old.parameters
        except (KeyError, nn.ShapeError) as error:
            raise ValueError(
                f"the parameters describe another net than the one that was fitted, and {type(self).__name__} is to go "
                f"on with its weights; call fit with warm_start=False to begin anew ({error})"
            ) from None
        trainer.step, trainer.epoch, trainer.began, trainer.history = old.step, old.epoch, old.step, old.history
        if incremental and same_rule:
            slots = tuple(trainer.flat(old.named(slot)) for slot in old.state.slots)
            trainer.state, trainer.began = trainer.state._replace(slots=slots), old.began
        return trainer

    def _batch_rows(self, rows: int, model: nn.Layer) -> int | None:
        """The rows of a batch; None for all. "auto" leaves no last batch that is too small for BatchNorm."""
        least = model.minimum_rows
        if rows < least:
            raise ValueError(f"normalization='batch' takes a variance over at least {least} rows, got n_samples={rows}")
        if is_full_batch(self.solver):
            return None
        if self.batch_size != "auto":
            if self.batch_size > rows:
                warn("Got `batch_size` less than 1 or larger than sample size. It is going to be clipped")
            return min(int(self.batch_size), rows)
        return next(batch for batch in range(min(200, rows), 0, -1) if (rows % batch or batch) >= least)

    def _checked_weight(self, X: Any, weight: Any) -> Any:
        if weight is None:
            return None
        rows, weight = X.shape[0], following(X, weight)
        if isinstance(weight, Real):
            return np.full(rows, float(weight))
        if is_plain(weight):
            weight = np.asarray(weight)
            if weight.dtype.kind == "c":
                raise ValueError("Complex data not supported: sample_weight is complex")
            if weight.dtype.kind not in "biuf":
                weight = weight.astype(np.float64)  # ValueError for what are no numbers
        if weight.ndim != 1:
            raise ValueError("Sample weights must be 1D array or scalar")
        if weight.shape != (rows,):
            raise ValueError(f"sample_weight.shape == {tuple(weight.shape)}, expected ({rows},)!")
        if all_zero(weight):
            raise ValueError("Sample weights must contain at least one non-zero number: all weights are zero")
        return weight

    def _validation(self, eval_set: Any, home: backends.Backend) -> Rows | None:
        """One's own validation data, checked."""
        if eval_set is None:
            return None
        if isinstance(eval_set, list) and len(eval_set) == 1:
            (eval_set,) = eval_set
        one = isinstance(eval_set, tuple | list) and not any(isinstance(each, tuple) for each in eval_set)
        if not one or len(eval_set) not in (2, 3):
            raise ValueError("eval_set must be one data set, (X, y) or (X, y, sample_weight)")
        X, y, *weight = eval_set
        if y is None:
            raise ValueError("eval_set needs a y: give (X, y) or (X, y, sample_weight)")
        if (there := backends.of(X)) != home:
            raise ValueError(
                f"eval_set must lie where X does: X is {home.word!r}, that of eval_set is {there.word!r}; move it there"
            )
        X = checked_features(self, X, home, reset=False)
        y = self._read_targets(X, y, new=False, held_out=True)
        return Rows(X, y, self._checked_weight(X, weight[0] if weight else None))

    def _split(self, rows: Rows, seed: int) -> tuple[Rows, Rows]:
        """Set a part aside for early stopping, of each class alike where a row has one label.

        Of more than two classes, as scikit-learn does, at random where one is too rare to be divided.
        """
        stratify = rows.y if is_classifier(self) and rows.y.ndim == 1 else None
        if stratify is not None:
            _, counts = np.unique(stratify, return_counts=True)
            smaller = min(self.validation_fraction, 1 - self.validation_fraction) * rows.size
            if len(counts) > 2 and (np.min(counts) < 2 or smaller < len(counts)):
                stratify = None
        training, held_out = train_test_split(
            np.arange(rows.size), test_size=self.validation_fraction, random_state=seed, stratify=stratify
        )
        if len(held_out) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            )
        parts = rows.taken(training), rows.taken(held_out)
        if rows.weight is not None and any(all_zero(part.weight) for part in parts):
            raise ValueError(
                "the sample weights of the validation set, or of what remains, are all zero; use another random_state, "
                "or eval_set"
            )
        return parts

    def _validation_score(self, held_out: Rows) -> Callable[[dict[str, float] | None], float]:
        """The validation score, of the record of an epoch or of the weights as they are (None)."""
        metric = self._score_metric()
        if self.scoring is None and metric is not None:
            name, (X, y, weight) = metric.name, self._reached(held_out)

            def measured(record: dict[str, float] | None) -> float:
                if record is None:
                    return self.trainer_.evaluate(X, y, sample_weight=weight)[name]
                return record[f"val_{name}"]

            return measured
        # On the host: a scorer may know no other library, and labels that are text are there.
        X, y, weight = (on_host(each) for each in held_out)
        y = self._original(y)
        scorer = check_scoring(self, self.scoring)
        more = {} if weight is None else {"sample_weight": weight}

        def score(record: dict[str, float] | None) -> float:
            unnamed = self._facing(HOST)  # X has lost its names, of which a warning would be given
            unnamed.__dict__.pop("feature_names_in_", None)
            return float(scorer(unnamed, X, y, **more))

        return score

    # Using it

    @property
    def _stops_early(self) -> bool:
        """L-BFGS does not, as in scikit-learn: it says itself when it has converged."""
        return self.early_stopping and not is_full_batch(self.solver)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "trainer_")

    def _checked_like_fit(self, X: Any, method: str) -> Any:
        """X, checked; ValueError where it is of another library or on another device than the X of fit."""
        home = backends.of(X)
        if home != self._home:
            raise ValueError(
                f"Inputs passed to {type(self).__name__}.{method}() must use the same namespace and the same device as "
                f"those passed to fit(): fit() got {self._home.word!r}, this is {home.word!r}. Move the data there, or "
                f"take a copy of the estimator that works here: `estimator.to({home.word!r})`"
            )
        return checked_features(self, X, home, reset=False)

    def _outputs(self, X: Any, method: str) -> Array:
        """The outputs of the net (rows, outputs), in the library and on the device of X."""
        check_is_fitted(self)
        X = self._checked_like_fit(X, method)
        with limited_threads(self.n_jobs):
            moved = within_reach(self.trainer_.backend, X)
            outputs = self.trainer_.predict(moved)
        return outputs if moved is X else self._home.from_host(outputs)

    def to(self, backend: str | backends.Backend) -> Any:
        """A copy that takes and gives arrays of another library or device: "numpy", "cupy:0", "torch:cuda:0", "jax"."""
        check_is_fitted(self)
        home = backends.select(backend)
        moved = self._facing(home)
        moved.trainer_ = self.trainer_.to(self._compute_on(home))
        return moved

    def _facing(self, home: backends.Backend) -> Any:
        """A copy that takes and gives the arrays of `home`, and computes where this one does."""
        copied = copy.copy(self)
        copied.__dict__.update({name: list(value) for name, value in vars(self).items() if isinstance(value, list)})
        copied._home = home
        return copied

    def to_sklearn(self) -> Any:
        """scikit-learn's own estimator with these weights: it predicts the same, and needs no mlp_xp.

        Scaling (`standardize`) is worked into the weights, and averaged weights (`ema`) are taken. ValueError for what
        scikit-learn's MLP does not have, such as normalization or another activation.
        """
        from .exchange import to_sklearn

        check_is_fitted(self)
        return to_sklearn(self)

    def __sklearn_array_api_convert__(self, converter: Any) -> Any:
        """For scikit-learn's `move_estimator_to`."""
        return self.to(backends.of(converter(np.zeros(1))))

    # Fitted attributes that are read off the net

    @property
    def coefs_(self) -> list[Array]:
        """The weights (fan_in, fan_out) of each Linear layer, in the library of X; to change them, assign a list."""
        return self._of_linear_layers("weight")

    @coefs_.setter
    def coefs_(self, values: Sequence[Any]) -> None:
        self._put("weight", values)

    @property
    def intercepts_(self) -> list[Array]:
        """The bias (fan_out,) of each Linear layer, in the library of X; to change them, assign a list."""
        return self._of_linear_layers("bias")

    @intercepts_.setter
    def intercepts_(self, values: Sequence[Any]) -> None:
        self._put("bias", [np.reshape(on_host(value), (1, -1)) for value in values])

    @property
    def n_layers_(self) -> int:
        """The number of layers, the inputs among them."""
        return len(self._linear_names()) + 1

    def _linear_names(self) -> list[str]:
        if not self.__sklearn_is_fitted__():
            raise AttributeError(f"{type(self).__name__} is not fitted yet: call fit first")
        return [name for name, _ in linear_layers(self.trainer_.model)]

    def _of_linear_layers(self, which: str) -> list[Array]:
        names = self._linear_names()
        found = self.trainer_.inference_parameters
        arrays = [found[name + which] for name in names]
        arrays = [self._home.from_host(array[0] if which == "bias" else array) for array in arrays]
        for array in arrays:
            if is_plain(array):
                array.flags.writeable = False  # a change would reach no net, and nobody would notice
        return arrays

    def _put(self, which: str, values: Sequence[Any]) -> None:
        names = self._linear_names()
        if len(values) != len(names):
            raise ValueError(f"give {len(names)} arrays, one for each layer; got {len(values)}")
        found = self.trainer_.parameters
        found |= {name + which: np.asarray(on_host(value)) for name, value in zip(names, values, strict=True)}
        self.trainer_.parameters = found

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.array_api_support = True
        tags.target_tags.multi_output = True
        return tags


def is_stochastic(estimator: Any) -> bool:
    """For `available_if`: AttributeError where the solver takes all rows at once."""
    if is_full_batch(estimator.solver):
        raise AttributeError(
            f"partial_fit is only available for stochastic optimizers. {estimator.solver} is not stochastic."
        )
    return True


def _adapt(trainer: Trainer, rows: Rows, standardize: bool) -> None:
    """What the net takes from the data before training: their weights count, and a sparse X is not made dense."""
    first = next((layer for _, layer in linear_layers(trainer.model)), None)
    if first is not None and first.adapts:
        trainer.adapt(_some(rows.X, trainer))
    if standardize:
        mean, scale = mean_and_std(rows.X, rows.weight)
        trainer.parameters |= {"0.mean": mean, "0.scale": scale}


def _finish(trainer: Trainer, X: Any) -> None:
    """Statistics that averaged weights have never seen are measured; what only L-BFGS remembers is let go."""
    if isinstance(trainer.optimizer, optim.SWA) and trainer.layout.buffers.entries:
        trainer.refresh_statistics(_some(X, trainer))
    if trainer.optimizer.full_batch:
        trainer.drop_slots()


def _some(X: Any, trainer: Trainer) -> Any:
    """X for statistics of it: some rows, where it is sparse and never made dense as a whole."""
    return X[:SPARSE_SAMPLE].toarray() if hasattr(X, "tocsr") else within_reach(trainer.backend, X)


def _as_list(callbacks: Callback | Iterable[Callback] | None) -> list[Callback]:
    return [callbacks] if isinstance(callbacks, Callback) else list(callbacks or ())
