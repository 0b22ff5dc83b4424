"""The one place for chance: keyed by (seed, purpose, step), with no stored state.

The same key gives the same numbers on every backend, on every machine, and after a resume. Numbers for weights and
shuffles are drawn on the host, from NumPy's Philox. Dropout masks are made on the device, by hashing the index of
each element together with a key.
"""

import hashlib
import zlib
from math import pi
from typing import Any

import array_api_compat
import numpy as np

Key = tuple[Any, Any]
"""Two signed 32-bit integers. Inside a compiled step they are traced: a new key compiles nothing."""


def stream(seed: int, purpose: str, step: int = 0) -> np.random.Generator:
    """A host stream of numbers, for example `stream(seed, "shuffle", epoch)`."""
    word = int.from_bytes(hashlib.blake2b(purpose.encode(), digest_size=8).digest(), "little")
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, word, step])))


def permutation(seed: int, epoch: int, n: int) -> np.ndarray:
    """The order of `n` rows in an epoch, int32."""
    return stream(seed, "shuffle", epoch).permutation(n).astype(np.int32)


def identity(n: int) -> np.ndarray:
    """The order of `n` rows that are not shuffled, int32."""
    return np.arange(n, dtype=np.int32)


def key(seed: int, step: int) -> Key:
    """The key of a step: 64 bits hashed from the seed and the number of the step."""
    digest = hashlib.blake2b(f"{seed}/{step}".encode(), digest_size=8).digest()
    return (
        int.from_bytes(digest[:4], "little", signed=True),
        int.from_bytes(digest[4:], "little", signed=True),
    )


def bits(xp: Any, key: Key, path: int, example: Any) -> Any:
    """Uniform signed 32-bit integers, one for each element of the last two axes of `example` (or of its last one).

    `path` tells the layers of a net apart. The words of `key` may be int32 arrays of shape (K, 1, 1): then K models
    trained at once each get bits of their own, shape (K, batch, features).
    """
    shape = example.shape[-2:]
    size = 1
    for length in shape:
        size *= length
    index = xp.arange(size, dtype=xp.int32, device=array_api_compat.device(example))
    low, high = key
    return _lowbias32(_lowbias32(xp.reshape(index, shape) ^ low) ^ (high ^ path))


def threshold(xp: Any, share: Any) -> Any:
    """What a `share` of the bits lies below: an integer, or an int32 array where share is traced."""
    if isinstance(share, float):
        return min(round(share * 2**32) - 2**31, 2**31 - 1)
    return xp.astype(share * 2.0**32 - 2.0**31, xp.int32)


def normal(xp: Any, key: Key, path: int, example: Any) -> Any:
    """Standard normal numbers like `example`, one for each of the `bits` (Box and Muller, 1958)."""
    first, second = (
        xp.astype(bits(xp, key, fold(path, name), example), example.dtype) * 2.0**-32 for name in ("radius", "angle")
    )
    uniform = xp.maximum(first + 0.5, 2.0**-33)  # in (0, 1]
    return xp.sqrt(-2.0 * xp.log(uniform)) * xp.cos(second * (2 * pi))


def fold(path: int, child: str) -> int:
    """The path of a container's child, by its name, where the container stands at `path`: a signed 32-bit integer."""
    return zlib.crc32(f"{path}/{child}".encode()) - 2**31


def _lowbias32(x: Any) -> Any:
    """A bijection of 32 bits in which every bit matters (C. Wellons, "Prospecting for Hash Functions", 2018)."""
    # int32 throughout, which every library has: products wrap, and the mask makes the arithmetic shift a logical one.
    x = x ^ ((x >> 16) & 0xFFFF)
    x = x * 0x7FEB352D
    x = x ^ ((x >> 15) & 0x1FFFF)
    x = x * -0x7B935975  # 0x846CA68B as a signed number
    return x ^ ((x >> 16) & 0xFFFF)
