"""Large vectors that a compiled step of JAX keeps in pieces: the numbers are those of whole vectors."""

from typing import Any

import numpy as np
import pytest
from cases import OPTIMIZERS
from helpers import assert_close, first_and_slow

from mlp_xp import nn, optim, train
from mlp_xp.backends import pieces

X, LABELS = np.random.default_rng(0).normal(size=(11, 3)), np.arange(11) % 3
CHOSEN = ("SGD, every option", "LAMB", "EMA")
"""A clipped norm and constraints, a rule for each parameter, an average of an elementwise rule (Adam)."""


def fitted(optimizer: optim.Optimizer, backend: Any, **more: Any) -> train.Trainer:
    model = nn.Sequential(nn.Linear(3, 70), nn.BatchNorm(70), nn.Tanh(), nn.Linear(70, 3))
    trainer = train.Trainer(model, nn.SoftmaxCrossEntropy(), optimizer, backend=backend, **more)
    trainer.fit(X, LABELS, epochs=2, batch_size=4, progress=False)
    return trainer


def assert_same(mine: train.Trainer, theirs: train.Trainer, dtype: str) -> None:
    pairs = zip((mine.state.flat, *mine.state.slots), (theirs.state.flat, *theirs.state.slots), strict=True)
    for one, other in (*pairs, (mine.state.buffers, theirs.state.buffers)):
        assert_close(mine.backend.to_host(one), theirs.backend.to_host(other), dtype=dtype)


def test_small_pieces_stay_together_and_large_ones_are_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "LARGE", 100)
    assert pieces.spans((0, 10, 20, 120, 130, 330, 530)) == tuple(
        slice(*pair) for pair in ((0, 20), (20, 120), (120, 130), (130, 330), (330, 530))
    )
    assert pieces.spans((0, 10, 20)) == (slice(0, 20),)


@pytest.mark.parametrize("name", first_and_slow(CHOSEN))
def test_a_training_in_pieces_is_that_of_whole_vectors(
    get_backend: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    jax = get_backend("jax")
    whole = fitted(OPTIMIZERS[name], jax, dtype="float64")
    assert not isinstance(whole._training_step, pieces.InPieces)
    monkeypatch.setattr(pieces, "LARGE", 128)
    cut = fitted(OPTIMIZERS[name], jax, dtype="float64")
    assert isinstance(cut._training_step, pieces.InPieces) and cut.fallback == ""
    assert_same(cut, whole, "float64")
    assert_close(cut.history["loss"], whole.history["loss"], dtype="float64")


def test_the_state_is_whole_for_whoever_looks_and_training_goes_on(
    get_backend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    class Looks(train.Callback):
        def on_step(self, trainer: train.Trainer) -> None:
            assert isinstance(trainer._state, pieces.Apart)
            seen.append(trainer.backend.to_host(trainer.state.flat).copy())
            assert trainer.state is trainer.state

    jax = get_backend("jax")
    monkeypatch.setattr(pieces, "LARGE", 128)
    looked, plain = (fitted(optim.Adam(0.02), jax) for _ in range(2))
    kept = looked.copy_state()
    looked.fit(X, LABELS, epochs=1, batch_size=4, callbacks=[Looks()], progress=False)
    plain.fit(X, LABELS, epochs=1, batch_size=4, progress=False)
    assert len(seen) == 3
    assert all(part.shape == (looked.layout.size,) for part in seen)
    assert_same(looked, plain, "float32")
    np.testing.assert_array_equal(seen[-1], looked.backend.to_host(looked.state.flat))
    looked.restore_state(kept)
    looked.step, looked.epoch = looked.step - 3, looked.epoch - 1
    looked.fit(X, LABELS, epochs=1, batch_size=4, progress=False)
    assert_same(looked, plain, "float32")


def test_a_training_that_diverges_goes_back_to_the_last_good_weights(
    get_backend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverged() -> train.Trainer:
        trainer = fitted(optim.SGD(0.1), get_backend("jax"))
        trainer.learning_rate = 1e30
        with pytest.raises(train.Diverged):
            trainer.fit(X, LABELS, epochs=1, batch_size=4, progress=False)
        return trainer

    whole = diverged()
    monkeypatch.setattr(pieces, "LARGE", 128)
    cut = diverged()
    assert cut.step == whole.step
    assert np.isfinite(cut.backend.to_host(cut.state.flat)).all()


def test_no_vector_is_put_together_in_a_step(get_backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "LARGE", 128)
    trainer = fitted(optim.Adam(0.02), get_backend("jax"))
    compiled: list[str] = []

    def watched(state: Any, data: Any, index: int, settings: Any) -> Any:
        if isinstance(state, pieces.Apart) and not compiled:
            both, numbers = step._step, np.zeros((2, len(step._step._numbers([settings])[0])))
            compiled.append(both._one._call.lower(state, data, index, settings).compile().as_text())
            compiled.append(both._call.lower(state, data, index, 2, numbers, settings).compile().as_text())
        return step(state, data, index, settings)

    step, trainer._training_step = trainer._training_step, watched
    trainer.fit(X, LABELS, epochs=1, batch_size=4, progress=False)
    assert len(compiled) == 2 and not any(f"f32[{trainer.layout.size}]" in text for text in compiled)


def test_an_array_from_the_host_starts_where_jax_computes_in_its_memory(get_backend: Any) -> None:
    get_backend("jax")
    from mlp_xp.backends.on_jax import ALIGNMENT, aligned

    given = np.arange(24.0).reshape(4, 6)
    for array in (given, given.T, given[1:, ::2], given[:0], np.float64(3), given > 3):
        for dtype in (None, "float32", "int32"):
            copy = aligned(array, dtype)
            assert copy.flags.c_contiguous and (copy.size == 0 or copy.ctypes.data % ALIGNMENT == 0)
            assert not np.shares_memory(copy, array)
            expected = np.array(array, dtype=dtype)
            assert copy.dtype == expected.dtype
            np.testing.assert_array_equal(copy, expected)
