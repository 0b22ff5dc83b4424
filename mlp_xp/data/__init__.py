"""Data sets and readers. All work on the host and return NumPy arrays.

`xor`, `and_gate` and `spiral` are generated, `wdbc` is embedded, `mnist` and `fashion_mnist` are found on
disk or downloaded, and `read_idx` reads any file in their format. `Parquet` gives a file in batches, to train on.
"""

from .idx import read_idx
from .images import fashion_mnist, mnist
from .parquet import Parquet
from .toy import and_gate, spiral, xor
from .wdbc import FEATURES, wdbc

__all__ = ["FEATURES", "Parquet", "and_gate", "fashion_mnist", "mnist", "read_idx", "spiral", "wdbc", "xor"]
