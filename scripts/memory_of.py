"""Bytes that training takes in a process of its own: `benchmark.py` starts it.

    python scripts/memory_of.py ours numpy CPU Adam 784 128 64 10 128 8

The last two numbers are the batch and the steps of an epoch, those before them the sizes of the layers.
"""

import sys

from nets import Case, Net
from process_measures import needed_memory


def main(arguments: list[str]) -> None:
    role, word, kind, optimizer, *numbers = arguments
    *sizes, batch, steps = map(int, numbers)
    print(needed_memory(role, word, kind, Case(Net(tuple(sizes), batch, steps), optimizer)))


if __name__ == "__main__":
    main(sys.argv[1:])
