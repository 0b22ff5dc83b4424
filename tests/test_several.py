"""Several steps in one call, as JAX makes them: the training is that of one step after the other."""

from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from cases import OPTIMIZERS
from helpers import assert_close, first_and_slow

from mlp_xp import nn, optim, schedules, train
from mlp_xp.backends.several import MOST, Several
from mlp_xp.train.precision import Inside

X, LABELS = np.random.default_rng(0).normal(size=(150, 3)), np.arange(150) % 3
CHOSEN = ("Adam", "SGD, every option", "EMA")


class EveryStep(train.Callback):
    """Looks after every step, so that no two are made together."""

    def on_fit_start(self, trainer: train.Trainer, epochs: int, steps_per_epoch: int) -> None:
        self.steps: list[int] = []

    def on_step(self, trainer: train.Trainer) -> None:
        self.steps.append(trainer.step)


def trainer_of(backend: Any, optimizer: optim.Optimizer, *, hidden: int = 8, **more: Any) -> train.Trainer:
    model = nn.Sequential(nn.Linear(3, hidden), nn.BatchNorm(hidden), nn.Tanh(), nn.Dropout(0.2), nn.Linear(hidden, 3))
    metrics = (train.Accuracy(),)
    return train.Trainer(model, nn.SoftmaxCrossEntropy(), optimizer, backend=backend, metrics=metrics, l2=0.01, **more)


def calls_of(trainer: train.Trainer) -> list[int]:
    """How many steps each call makes; a list that grows."""
    calls, step = [], trainer._training_step

    class Watched:
        def __call__(self, *arguments: Any) -> Any:
            calls.append(1)
            return step(*arguments)

        def several(self, state: Any, data: Any, first: int, settings: Any) -> Any:
            calls.append(len(settings))
            return step.several(state, data, first, settings)

    trainer._training_step = Watched()
    return calls


@pytest.mark.parametrize("name", first_and_slow(CHOSEN))
def test_steps_made_together_train_as_steps_made_alone(get_backend: Any, name: str) -> None:
    together, alone = (trainer_of(get_backend("jax"), OPTIMIZERS[name], dtype="float64") for _ in range(2))
    many, one, looks = calls_of(together), calls_of(alone), EveryStep()
    together.fit(X, LABELS, epochs=2, batch_size=4, progress=False)
    alone.fit(X, LABELS, epochs=2, batch_size=4, callbacks=looks, progress=False)
    assert many == [32, 5, 1] * 2 and one == [1] * 76  # the last batch of an epoch has two rows
    assert looks.steps == [*range(1, 77)]
    for mine, theirs in zip(
        (together.state.flat, *together.state.slots), (alone.state.flat, *alone.state.slots), strict=True
    ):
        assert_close(together.backend.to_host(mine), alone.backend.to_host(theirs), dtype="float64")
    assert_close(together.history["loss"], alone.history["loss"], dtype="float64")
    assert together.history["accuracy"] == alone.history["accuracy"]


def test_each_step_has_its_own_learning_rate_and_randomness(get_backend: Any) -> None:
    """Where the rate is zero from step 20 on, the weights are those of the first 20 steps, dropout included."""
    jax, first = get_backend("jax"), 20
    longer, shorter = (trainer_of(jax, optim.SGD(schedules.MultiStep(0.5, (first,), 1e-30))) for _ in range(2))
    calls = calls_of(longer)
    longer.fit(X, LABELS, epochs=1, batch_size=4, shuffle=False, progress=False)
    shorter.fit(X[: 4 * first], LABELS[: 4 * first], epochs=1, batch_size=4, shuffle=False, progress=False)
    assert calls == [32, 5, 1] and shorter.step == first
    for name, value in shorter.parameters.items():
        if "running" not in name:
            assert_close(longer.parameters[name], value, dtype="float32")


@pytest.mark.parametrize("fixed", [False, True])
def test_numbers_take_on_the_dtype_of_the_arrays_they_meet(get_backend: Any, fixed: bool) -> None:
    """As Python numbers do: what is computed among them is in float64, and no float32 array becomes float64."""
    jax = get_backend("jax")
    tiny = 2.0**-40

    def step(state: Any, data: Any, index: Any, settings: Any) -> Any:
        number, count = settings
        x, total = state
        return x + ((1.0 + number) - 1.0) * data, total + (count + 1)

    with jax.scope():
        xp = jax.xp
        several = Several(jax._jax, jax.compile, fixed, step)
        state = xp.zeros(2, dtype=xp.float32), xp.zeros((), dtype=xp.int32)
        data = xp.ones(2, dtype=xp.float32)
        count = MOST + 3
        x, total = several.several(state, data, 0, [(tiny, index) for index in range(count)])
    assert several.reason == "" and several._call._cache_size() == (2 if fixed else 1)
    assert x.dtype == xp.float32 and total.dtype == xp.int32
    assert jax.to_host(x).tolist() == [count * tiny] * 2  # in float32, 1 + tiny would be 1
    assert int(jax.to_host(total)) == count * (count + 1) // 2


def test_what_no_loop_can_hold_is_made_step_by_step(get_backend: Any) -> None:
    """A state whose dtype changes cannot go round a loop; one that is looked at cannot be traced at all."""
    jax = get_backend("jax")

    def widens(state: Any, data: Any, index: Any, settings: Any) -> Any:
        return jax.xp.astype(state, jax.xp.float64) + data[index] * settings[0]

    def looks(state: Any, data: Any, index: Any, settings: Any) -> Any:
        return state + data[index] * settings[0] if float(data[0]) == 1 else state

    with jax.scope():
        for function, reason in ((widens, ""), (looks, "ConcretizationTypeError")):
            several = Several(jax._jax, jax.compile, False, function)
            for _ in range(2):
                state, data = jax.xp.zeros((), dtype=jax.xp.float32), jax.from_host(np.array([1.0, 10.0, 100.0]))
                found = several.several(state, data, 1, [(2.0,), (3.0,)])
                assert float(found) == 320
            assert reason in several.reason and bool(several.reason) == bool(reason)


def test_the_bar_counts_steps_that_are_made_together(get_backend: Any) -> None:
    trainer, bar, counts = trainer_of(get_backend("jax"), optim.Adam()), train.ProgressBar(), []

    class Watches(train.Callback):
        every_step = False

        def on_step(self, trainer: train.Trainer) -> None:
            counts.append(bar._bar.n if bar._bar.disable is False else trainer.step)

    calls = calls_of(trainer)
    trainer.fit(X, LABELS, epochs=1, batch_size=4, callbacks=[Watches(), bar], progress=False)
    assert calls == [32, 5, 1] and bar._step == trainer.step == 38


def test_few_steps_of_a_large_net_are_made_together(get_backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C is heard between them."""
    trainer = trainer_of(get_backend("jax"), optim.Adam())
    monkeypatch.setattr(train.plan, "WORK_TOGETHER", 15 * trainer.layout.size)
    calls = calls_of(trainer)
    trainer.fit(X, LABELS, epochs=1, batch_size=4, progress=False)
    assert calls == [2] * 18 + [1] * 2


def test_the_step_that_diverges_is_found_among_those_made_together(get_backend: Any) -> None:
    x = X.copy()
    x[4 * 20 + 1] = 1e30
    found = {}
    for callbacks in ((), [EveryStep()]):
        trainer = trainer_of(get_backend("jax"), optim.SGD(1e30))
        with pytest.raises(train.Diverged) as error:
            trainer.fit(x, LABELS, epochs=1, batch_size=4, shuffle=False, callbacks=callbacks, progress=False)
        found[bool(callbacks)] = error.value.step, trainer.step
    assert found[True] == found[False]


def test_a_step_inside_a_context_is_so_together_with_others() -> None:
    """TF32 is asked for by a context, which a compiled function needs when it is traced."""
    entered = []

    @contextmanager
    def context() -> Any:
        entered.append(1)
        yield
        entered.append(-1)

    class Step:
        reason = "none"

        def several(self, *arguments: Any) -> Any:
            assert sum(entered) == 1
            return arguments

    step = Inside(context, Step())
    assert step.several(1, 2) == (1, 2) and entered == [1, -1] and step.reason == "none"
    assert getattr(Inside(context, lambda: 0), "several", None) is None
