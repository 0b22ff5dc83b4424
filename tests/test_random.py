"""Chance is keyed, has no state, and is the same everywhere."""

from typing import Any

import numpy as np

from mlp_xp import backends, random


def draw(backend: backends.Backend, key: random.Key, path: int = 0, shape: tuple[int, ...] = (300, 200)) -> np.ndarray:
    with backend.scope():
        example = backend.from_host(np.zeros(shape), "float32")
        return backend.to_host(random.bits(backend.xp, key, path, example))


def test_the_bits_are_these_on_every_backend(backend: backends.Backend) -> None:
    bits = draw(backend, random.key(seed=0, step=3), random.fold(0, "2"), (5, 7))
    assert bits.dtype == np.int32
    np.testing.assert_array_equal(bits[0, :3], [-823702410, 367206471, -473985831])


def test_the_bits_are_uniform_and_independent_of_neighbours_steps_and_layers() -> None:
    numpy = backends.select("numpy")
    first = draw(numpy, random.key(0, 0))
    uniform = first.reshape(-1) / 2.0**32 + 0.5
    n = uniform.size
    assert abs(uniform.mean() - 0.5) < 4 / np.sqrt(12 * n)
    assert abs(uniform.var() - 1 / 12) < 4 / np.sqrt(180 * n)
    counts = np.histogram(uniform, 64, (0, 1))[0]
    assert ((counts - n / 64) ** 2 / (n / 64)).sum() < 63 + 4 * np.sqrt(2 * 63)  # chi squared
    others = [draw(numpy, random.key(0, 1)), draw(numpy, random.key(1, 0)), draw(numpy, random.key(0, 0), 17)]
    pairs = [(uniform[:-1], uniform[1:]), *((uniform, other.reshape(-1) / 2.0**32 + 0.5) for other in others)]
    for a, b in pairs:
        assert abs(np.corrcoef(a, b)[0, 1]) < 4 / np.sqrt(n)
    for bit in range(32):
        assert abs(((first >> bit) & 1).mean() - 0.5) < 4 * 0.5 / np.sqrt(n)


def test_keys_of_ten_thousand_steps_and_paths_of_nested_layers_all_differ() -> None:
    assert len({random.key(seed, step) for seed in range(10) for step in range(1000)}) == 10_000
    deep = [random.fold(random.fold(0, str(i)), str(j)) for i in range(30) for j in range(30)]
    assert len(set(deep)) == 900
    assert all(-(2**31) <= path < 2**31 for path in deep)


def test_streams_are_told_apart_by_each_part_of_their_key() -> None:
    def first(*key: Any) -> float:
        return random.stream(*key).random()

    assert first(0, "shuffle", 1) == first(0, "shuffle", 1)
    assert len({first(0, "a", 0), first(1, "a", 0), first(0, "b", 0), first(0, "a", 1)}) == 4


def test_a_permutation_is_one_and_differs_between_epochs_and_seeds() -> None:
    order = random.permutation(0, 0, 1000)
    assert order.dtype == np.int32
    np.testing.assert_array_equal(np.sort(order), np.arange(1000))
    np.testing.assert_array_equal(order, random.permutation(0, 0, 1000))
    assert (order != random.permutation(0, 1, 1000)).mean() > 0.9
    assert (order != random.permutation(1, 0, 1000)).mean() > 0.9
