"""Predictions and evaluations, compiled or not, are those of the present weights, in memory of their own."""

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from helpers import first_and_slow

from mlp_xp import backends, nn, optim, train
from mlp_xp.backends import query
from mlp_xp.backends.compiled import PROGRAMS
from mlp_xp.backends.program import Program
from mlp_xp.backends.query import Query, Shared

pytestmark = pytest.mark.usefixtures("recorded_at_once")
rng = np.random.default_rng(3)
X, LABELS = rng.normal(size=(40, 5)), np.arange(40) % 3
RECORDED = ("numpy", "torch")


def net(backend: Any = "numpy", *layers: nn.Layer, **more: Any) -> train.Trainer:
    model = nn.Sequential(*layers, nn.Linear(5, 8), nn.BatchNorm(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))
    options: dict[str, Any] = {"optimizer": optim.Adam(0.05), "dtype": "float64", "metrics": [train.Accuracy()], **more}
    return train.Trainer(model, nn.SoftmaxCrossEntropy(), backend=backend, **options)


def fitted(trainer: train.Trainer, epochs: int = 1) -> train.Trainer:
    trainer.fit(X, LABELS, epochs=epochs, batch_size=8, progress=False)
    return trainer


def formula(trainer: train.Trainer, x: np.ndarray, first: int = 0) -> np.ndarray:
    """What the net gives, from its parameters by name, from layer number `first` on."""
    p = trainer.inference_parameters
    affine, norm, last = (f"{first + index}." for index in (0, 1, 4))
    h = x @ p[affine + "weight"] + p[affine + "bias"]
    h = (h - p[norm + "running_mean"]) / np.sqrt(p[norm + "running_var"] + 1e-5) * p[norm + "weight"] + p[norm + "bias"]
    return np.maximum(h, 0.0) @ p[last + "weight"] + p[last + "bias"]


def assert_present(trainer: train.Trainer) -> None:
    """Every number of rows, more than once; and the loss."""
    for rows in (1, 3, 40, 1, 3):
        np.testing.assert_allclose(trainer.predict(X[:rows]), formula(trainer, X[:rows]), rtol=1e-9, atol=1e-11)
    z = formula(trainer, X)
    picked = np.log(np.exp(z).sum(-1)) - z[np.arange(40), LABELS]
    for rows in (40, 2, 40):
        found = trainer.evaluate(X[:rows], LABELS[:rows])
        assert found["loss"] == pytest.approx(picked[:rows].mean(), rel=1e-9)
        assert found["accuracy"] == pytest.approx((z.argmax(-1) == LABELS)[:rows].mean())


def programs(shared: Any) -> list[Program]:
    assert isinstance(shared, Shared)
    return [each for one in shared._idle for each in one._found.values() if isinstance(each, Program)]  # type: ignore[attr-defined]


@pytest.mark.parametrize("how", first_and_slow(["auto", False]))
def test_they_are_those_of_the_present_weights(backend: backends.Backend, how: Any) -> None:
    trainer = net(backend, compile=how)
    assert_present(trainer)
    for _ in range(2):
        fitted(trainer)
        assert_present(trainer)
    kept = trainer.copy_state()
    trainer.parameters = {name: value * 0.5 + 0.1 for name, value in trainer.parameters.items()}
    assert_present(trainer)
    trainer.restore_state(kept)
    assert_present(trainer)
    if how and backend.word in RECORDED:
        assert programs(trainer._prediction_step) and programs(trainer._evaluation_step)


def test_averaged_weights_are_taken_as_they_are_now(backend: backends.Backend) -> None:
    trainer = net(backend, optimizer=optim.EMA(optim.Adam(0.05), 0.9))
    for _ in range(3):
        assert_present(fitted(trainer))


def test_weights_with_gaps_are_not_cut_in_advance() -> None:
    trainer = net()
    assert_present(trainer)
    flat = np.repeat(trainer.state.flat, 2)[::2]
    trainer.state = trainer.state._replace(flat=flat)
    assert_present(trainer)
    flat *= 0.5
    assert_present(trainer)


def test_what_is_given_shares_no_memory(backend: backends.Backend) -> None:
    trainer = fitted(net(backend))
    x = X[:2].copy()
    first, second = trainer.predict(x), trainer.predict(x)
    expected = first.copy()
    assert not np.shares_memory(first, second)
    first[...] = 7.0
    np.testing.assert_array_equal(second, expected)
    np.testing.assert_array_equal(trainer.predict(x), expected)
    np.testing.assert_array_equal(x, X[:2])
    trainer.predict(X[2:4])
    np.testing.assert_array_equal(second, expected)


def test_threads_may_ask_at_once(backend: backends.Backend) -> None:
    trainer = fitted(net(backend))
    wanted = [trainer.predict(X[row : row + 1]) for row in range(40)]
    loss = trainer.evaluate(X[:4], LABELS[:4])

    def ask(number: int) -> None:
        row = number % 40
        np.testing.assert_array_equal(trainer.predict(X[row : row + 1]), wanted[row])
        if row % 8 == 0:
            assert trainer.evaluate(X[:4], LABELS[:4]) == loss

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(ask, range(160)))


def test_who_asks_meanwhile_has_a_program_of_its_own() -> None:
    made: list[Query] = []

    def make() -> Query:
        made.append(Query(lambda w, x: x @ w, 1))
        return made[-1]

    shared, w = Shared(make), np.eye(3)

    class Asks(np.ndarray):
        """Asks again while it is looked at."""

        @property
        def shape(self) -> Any:
            if len(made) == 1:
                np.testing.assert_array_equal(shared(w, np.ones((1, 3))), np.ones((1, 3)))
            return super().shape

    shared(w, np.zeros((1, 3)).view(Asks))
    assert len(made) == len(shared._idle) == 2


def test_the_answer_does_not_depend_on_how_often_it_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, backend: backends.Backend
) -> None:
    monkeypatch.setattr("mlp_xp.backends.compiled.EAGER_CALLS", 4)
    trainer = net(backend, dtype="float32")
    answers = [trainer.predict(X[:2]) for _ in range(8)]
    for each in answers[1:]:
        np.testing.assert_array_equal(each, answers[0])


@pytest.mark.parametrize("word", RECORDED)
def test_rare_and_large_questions_are_not_recorded(
    monkeypatch: pytest.MonkeyPatch, word: str, get_backend: Any
) -> None:
    monkeypatch.setattr("mlp_xp.backends.compiled.EAGER_CALLS", 4)
    trainer = net(get_backend(word))
    for rows in range(1, 30):
        trainer.predict(X[:rows])
    assert programs(trainer._prediction_step) == []
    for _ in range(5):
        trainer.predict(X[:1])
    assert len(programs(trainer._prediction_step)) == 1
    monkeypatch.setattr(query, "WORK", 10)
    for _ in range(9):
        np.testing.assert_allclose(trainer.predict(X[:2]), formula(trainer, X[:2]), rtol=1e-9)
    assert len(programs(trainer._prediction_step)) == 1
    assert len(trainer._prediction_step._idle[0]._found) <= PROGRAMS  # type: ignore[attr-defined]


@pytest.mark.parametrize("word", [*RECORDED, "jax"])
def test_weights_that_were_replaced_are_let_go(word: str, get_backend: Any) -> None:
    trainer = net(get_backend(word))
    for rows in (1, 2):
        trainer.predict(X[:rows])
    before = weakref.ref(trainer.state.flat)
    trainer.parameters = trainer.parameters
    trainer.predict(X[:1])
    gc.collect()
    assert before() is None


class Looks(nn.Tanh):
    """A layer that decides by the numbers in an array."""

    def forward(self, xp: Any, p: Any, x: Any, ctx: Any) -> Any:
        return super().forward(xp, p, x if float(xp.sum(x * x)) > 0 else x + 1.0, ctx)


def test_what_cannot_be_compiled_is_run_as_it_is(backend: backends.Backend) -> None:
    layers = Looks(), nn.Linear(5, 5)
    trainers = [net(backend, *layers, compile=how) for how in ("auto", False)]
    for _ in range(3):
        compiled, plain = (trainer.predict(X[:2]) for trainer in trainers)
        np.testing.assert_allclose(compiled, plain, rtol=1e-12)
        assert trainers[0].evaluate(X, LABELS) == pytest.approx(trainers[1].evaluate(X, LABELS), rel=1e-12)


def test_a_layer_of_pytorchs_functions_answers(get_backend: Any) -> None:
    backend = get_backend("torch")
    torch = pytest.importorskip("torch")

    class OwnSine(nn.Tanh):
        def forward(self, xp: Any, p: Any, x: Any, ctx: Any) -> Any:
            return torch.sin(x), x

    trainer = net(backend, OwnSine())
    for _ in range(3):
        np.testing.assert_allclose(trainer.predict(X), formula(trainer, np.sin(X), 1), rtol=1e-9)


def test_small_integers_are_converted_within(backend: backends.Backend) -> None:
    trainer, images = net(backend, nn.Rescale(1 / 255)), rng.integers(0, 256, size=(6, 5), dtype=np.uint8)
    for rows in (1, 6, 1):
        expected = trainer.predict(images[:rows].astype(np.float64))
        np.testing.assert_array_equal(trainer.predict(images[:rows]), expected)


def test_what_is_wrong_is_said_on_few_rows_too(backend: backends.Backend) -> None:
    trainer = net(backend)
    for wrong, said in (
        (np.full((1, 5), np.nan), "NaN or infinity"),
        (np.full((1, 5), np.inf), "NaN or infinity"),
        (np.ones(5), "must have shape"),
        (np.ones((1, 4)), "does not fit the model"),
        (np.ones((0, 5)), "is empty"),
    ):
        with pytest.raises(ValueError, match=said):
            trainer.predict(wrong)
    with pytest.raises(TypeError, match="not a real number"):
        trainer.predict(np.array([["a"] * 5]))
    with pytest.raises(ValueError, match="one target for each row"):
        trainer.evaluate(X[:3], LABELS[:2])
    with pytest.raises(ValueError, match="not negative"):
        trainer.evaluate(X[:3], LABELS[:3], sample_weight=np.array([1.0, -1.0, 1.0]))
    huge = np.full((1, 5), 1e308)
    trainer.predict(huge)  # its sum overflows, and each number is finite
