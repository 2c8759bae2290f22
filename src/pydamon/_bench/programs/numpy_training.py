"""A NumPy program. It runs as a script.

    numpy_training.py SEED

It fits a linear model by gradient descent on the first 64 MiB of a table of 256 MiB. After each
batch it reads 4 random rows of the rest. It makes at most 8 passes a second. NumPy asks for huge
pages for large tables.
"""

from __future__ import annotations

import sys
import time

import numpy as np

__all__ = ["main"]

_ROWS, _COLUMNS = 1 << 18, 128
_TRAINING = _ROWS // 4
_BATCH = 1 << 10
_BATCH_S = 0.002
_LOOKUPS = 4


def main(seed: int) -> None:
    """Train forever."""
    rng = np.random.default_rng(seed)
    table = np.empty((_ROWS, _COLUMNS))
    for first in range(0, _ROWS, _BATCH):
        table[first : first + _BATCH] = rng.standard_normal((_BATCH, _COLUMNS))
    goal = table[:_TRAINING] @ rng.standard_normal(_COLUMNS)
    weights = np.zeros(_COLUMNS)
    print("ready", flush=True)
    due_s = time.monotonic()
    while True:
        for first in range(0, _TRAINING, _BATCH):
            rows = table[first : first + _BATCH]
            error = rows @ weights - goal[first : first + _BATCH]
            weights -= 1e-4 * (rows.T @ error)
            table[rng.integers(_TRAINING, _ROWS, _LOOKUPS)].sum()
            due_s = max(due_s, time.monotonic() - 0.1) + _BATCH_S
            time.sleep(max(0, due_s - time.monotonic()))


if __name__ == "__main__":
    main(int(sys.argv[1]))
