"""A program that queries a mapped sqlite3 database of 190 MiB. It runs as a script.

    sqlite_queries.py SEED

9 of 10 queries are for the same 5,000 rows, and one in a thousand is an update. It makes at most
10,000 queries a second.
"""

from __future__ import annotations

import random
import signal
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

__all__ = ["main"]

_ROWS, _HOT = 200_000, 5_000
_BATCH = 50
_BATCH_S = 0.005
_SETTINGS = "mmap_size = 536870912", "journal_mode = wal", "synchronous = off"


def main(seed: int) -> None:
    """Query forever."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="pydamon-") as directory:
        database = sqlite3.connect(Path(directory, "rows.db"))
        for setting in _SETTINGS:
            database.execute(f"pragma {setting}")
        database.execute("create table rows (id integer primary key, text text)")
        rows = ((number, "x" * 900) for number in range(_ROWS))
        database.executemany("insert into rows values (?, ?)", rows)
        database.commit()
        database.execute("pragma wal_checkpoint(truncate)")
        # This maps the whole database, as in a program that has run for long.
        database.execute("select sum(length(text)) from rows").fetchone()
        print("ready", flush=True)
        due_s = time.monotonic()
        while True:
            for _ in range(_BATCH):
                row = int(rng.random() * (_HOT if rng.random() < 0.9 else _ROWS))
                database.execute("select length(text) from rows where id = ?", (row,)).fetchone()
            if rng.random() < _BATCH / 1000:
                database.execute("update rows set text = ? where id = ?", ("y" * 900, row))
                database.commit()
            due_s = max(due_s, time.monotonic() - 0.1) + _BATCH_S
            time.sleep(max(0, due_s - time.monotonic()))


if __name__ == "__main__":
    # An exit by SIGTERM removes the database, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    main(int(sys.argv[1]))
