"""What is shared out among threads is all of it, once."""

import numpy as np
import pytest

from mlp_xp import nn, optim
from mlp_xp.backends import blocks, numba_loop, select
from mlp_xp.backends.on_numpy import NumPyBackend

numba = pytest.importorskip("numba")


@pytest.mark.parametrize("cores", [1, 2, 3, 16])
@pytest.mark.parametrize("size", [1, 63, 64, 65, 1000, 4096])
def test_every_element_is_taken_once(monkeypatch: pytest.MonkeyPatch, size: int, cores: int) -> None:
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", cores)
    seen = np.zeros(size, int)
    parts = []

    def work(start: int, stop: int) -> None:
        seen[start:stop] += 1
        parts.append((start, stop))

    numba_loop.in_threads(work, size)
    assert (seen == 1).all() and len(parts) <= cores
    assert all(start % numba_loop.LINE == 0 for start, _ in parts)


def test_an_update_in_threads_is_that_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    adam, xp = optim.Adam(0.01, weight_decay=0.1), select("numpy").xp
    layout = nn.Layout(nn.Linear(200, 300))
    assert layout.size > blocks.BLOCK
    states = []
    for threaded in (0, 1 << 60):
        monkeypatch.setattr(NumPyBackend, "threaded", threaded)
        rng = np.random.default_rng(0)
        p = rng.normal(size=layout.size).astype(np.float32)
        slots, update = adam.start(xp, p), adam.build(xp, NumPyBackend().fuse, layout)
        vectors = tuple(None if each is None else layout.spread(xp, each, p) for each in adam.multipliers(layout))
        for step in range(3):
            g = rng.normal(size=layout.size).astype(np.float32)
            p, slots = update(p, g, slots, tuple(map(float, adam.coefficients(step))), vectors)
        states.append([p, *slots])
    for one, other in zip(*states, strict=True):
        np.testing.assert_array_equal(one, other)
