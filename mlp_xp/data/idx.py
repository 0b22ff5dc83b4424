"""The IDX format, in which MNIST and its relatives are published.

Layout: two zero bytes, one byte for the element type, one byte for the rank, then each dimension as a
big-endian 32-bit unsigned integer, then the elements, big-endian, last dimension fastest.
"""

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Element type code in the file -> its dtype there.
DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Read an IDX file, gzip-compressed or raw: the first bytes decide which, not the name.

    Returns a writable array in the machine's byte order, of the shape and the dtype that the file states:
    uint8, int8, int16, int32, float32 or float64.

    Raises FileNotFoundError when there is no such file, and ValueError, naming the file, what was expected
    and what was found, when it is no IDX file, is cut short, has trailing bytes, or is a damaged gzip file.
    """
    path = Path(path)
    data = _content(path)
    if len(data) < 4:
        raise _bad(path, f"an IDX header has at least 4 bytes, found {len(data)}")
    if data[:2] != b"\0\0":
        raise _bad(path, f"an IDX file begins with the bytes 00 00, found {data[:2].hex(' ')}")
    code, rank = data[2], data[3]
    if code not in DTYPES:
        known = ", ".join(f"{known:02x}" for known in DTYPES)
        raise _bad(path, f"unknown element type {code:02x} in byte 3, expected one of {known}")
    start = 4 + 4 * rank
    if len(data) < start:
        raise _bad(path, f"cut short: a header of rank {rank} has {start} bytes, found {len(data)}")

    shape = struct.unpack(f">{rank}I", data[4:start])
    dtype = np.dtype(DTYPES[code])
    expected = start + dtype.itemsize * math.prod(shape)
    if len(data) != expected:
        trouble = "cut short" if len(data) < expected else "trailing bytes"
        raise _bad(path, f"{trouble}: {dtype.name} {shape} takes {expected} bytes, found {len(data)}")
    try:
        array = np.frombuffer(data, dtype, offset=start).reshape(shape)
    except ValueError as error:  # more dimensions than NumPy has, or an empty array with absurd ones
        raise _bad(path, f"NumPy cannot hold an array of shape {shape}: {error}") from error
    return array.astype(dtype.newbyteorder("="))  # the copy is writable, a view of the bytes is not


def _content(path: Path) -> bytes:
    """The bytes of the file, decompressed if they begin as a gzip file does."""
    data = path.read_bytes()
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        return gzip.decompress(data)
    except (EOFError, OSError, zlib.error) as error:
        raise _bad(path, f"damaged gzip file of {len(data)} bytes: {error}") from error


def _bad(path: Path, trouble: str) -> ValueError:
    return ValueError(f"{path}: {trouble}. Delete the file and fetch it again, or name an IDX file")
