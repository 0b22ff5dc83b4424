"""A loop that numba has compiled, shared out among PyTorch's threads: every number is as one thread computes it."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from conftest import REQUIRED

from mlp_xp.backends import numba_loop, program, select, team
from mlp_xp.backends.denormals import control
from mlp_xp.backends.elementwise import NUMBA, Loop

pytest.importorskip("numba")
torch = pytest.importorskip("torch") if "torch" not in REQUIRED else __import__("torch")
needs_gcc = pytest.mark.skipif(team.openmp() is None, reason="this PyTorch does not compute in GCC's OpenMP threads")


def rule(xp: Any, p: Any, g: Any, slots: Any, numbers: Any, vectors: Any) -> Any:
    """What an optimizer might do: a slot, a number, a square root, a division."""
    (s,), (rate, decay) = slots, numbers
    s = decay * s + (1 - decay) * g * g
    return p - rate * g / (xp.sqrt(s) + 1e-8), (s,)


def arrays_of(size: int, dtype: str) -> list[np.ndarray]:
    rng = np.random.default_rng(size)
    return [rng.random(size).astype(dtype) for _ in range(3)]


def always() -> bool:
    return True


def loop_of(dtype: str) -> Loop:
    like = np.zeros(8, dtype)
    return Loop(rule, (like, like, (like,), (0.1, 0.9), ()), dtype, NUMBA)


@needs_gcc
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_number_is_that_of_one_thread(monkeypatch: pytest.MonkeyPatch, dtype: str, threads: int) -> None:
    monkeypatch.setattr(team, "LARGE", 2)
    shared, alone = team.launcher(always, loop_of(dtype)), numba_loop.launcher(loop_of(dtype))
    assert shared is not None and alone is not None
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for size in (1, 2, 3, 4, 1001):
            found, expected = arrays_of(size, dtype), arrays_of(size, dtype)
            shared(found, (0.1, 0.9))
            alone(expected, (0.1, 0.9))
            for one, other in zip(found, expected, strict=True):
                np.testing.assert_array_equal(one, other)
            assert not np.array_equal(found[0], arrays_of(size, dtype)[0])
    finally:
        torch.set_num_threads(before)


@needs_gcc
def test_denormal_numbers_are_zero_in_every_thread_and_only_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    if control() is None:
        pytest.skip("this processor and system leave denormal numbers as they are")
    monkeypatch.setattr(team, "LARGE", 2)
    launch = team.launcher(always, loop_of("float32"))
    assert launch is not None
    p, g, s = np.ones(64, np.float32), np.zeros(64, np.float32), np.full(64, 1e-38, np.float32)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    small = torch.full((1 << 18,), 1e-38)
    try:
        kept = small * 0.5 > 0  # PyTorch computes with as many in these threads, which are there now
        with select("torch").scope():
            launch([p, g, s], (0.1, 0.5))
        assert (s == 0).all()
        assert torch.equal(small * 0.5 > 0, kept)
    finally:
        torch.set_num_threads(before)


@needs_gcc
@pytest.mark.parametrize("products", ["PyTorch's", "NumPy's"])
def test_an_update_is_shared_out_where_products_were(monkeypatch: pytest.MonkeyPatch, products: str) -> None:
    """After a product in NumPy's threads those of PyTorch would have to wait for them."""
    from mlp_xp import nn, optim, train

    monkeypatch.setattr(team, "LARGE", 1000)
    monkeypatch.setattr(program, "LARGE", 1000 if products == "PyTorch's" else 1 << 24)
    monkeypatch.setattr(program, "SMALL", 100)
    calls, library = [], team.openmp()

    class Watched:
        def __getattr__(self, name: str) -> Any:
            return getattr(library, name)

        def GOMP_parallel(self, *arguments: Any) -> None:
            calls.append(arguments)
            library.GOMP_parallel(*arguments)

    watched = Watched()
    monkeypatch.setattr(team, "openmp", lambda: watched)
    x, y = np.random.default_rng(0).normal(size=(8, 300)), np.arange(8) % 3
    weights = {}
    for word in ("torch", "numpy"):
        model = nn.Sequential(nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 3))
        trainer = train.Trainer(model, nn.SoftmaxCrossEntropy(), optim.Adam(0.01), backend=word, dtype="float64")
        trainer.fit(x, y, epochs=3, batch_size=4, progress=False)
        weights[word] = trainer.parameters
        assert trainer.fallback == ""
        assert len(calls) == (6 if products == "PyTorch's" else 0)  # none on NumPy
    for name, value in weights["torch"].items():
        np.testing.assert_allclose(value, weights["numpy"][name], rtol=1e-10, atol=1e-12)


def test_without_that_library_a_loop_runs_in_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(team, "LARGE", 2)
    monkeypatch.setattr(team, "openmp", lambda: None)
    launch = team.launcher(always, loop_of("float64"))
    assert launch is not None
    found, expected = arrays_of(9, "float64"), arrays_of(9, "float64")
    launch(found, (0.1, 0.9))
    p, g, s = expected
    (expected[0], (expected[2],)) = rule(np, p, g, (s,), (0.1, 0.9), ())
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-14)


def test_a_process_without_pytorch_has_no_such_library() -> None:
    """So NumPy's backend never depends on what else was imported."""
    code = "from mlp_xp.backends import select, team; select('numpy'); print(team.openmp())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "None\n"
