"""A program with a hot part and a cold part. It runs as a script.

    quarter.py MIB [HOT_MIB]

It writes to MIB of memory once, and prints a line of hexadecimal numbers: the address and the size
of the hot part, and the size of the whole (bytes). Then it writes to every page of the hot part
over and over, until its end. The hot part is a quarter by default. Once a second it prints how
many pages a second it touched.
"""

from __future__ import annotations

import mmap
import sys
import time

import numpy as np

__all__ = ["main"]


def main(size_bytes: int, hot_bytes: int) -> None:
    """Write to the hot part forever."""
    memory = mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    pages = np.frombuffer(memory, np.uint8)[:: mmap.PAGESIZE]
    pages[:] = 1
    print(f"{pages.ctypes.data:x} {hot_bytes:x} {size_bytes:x}", flush=True)
    hot = pages[: hot_bytes // mmap.PAGESIZE]
    rounds, start_s = 0, time.monotonic()
    while True:
        hot += 1
        rounds += 1
        if (elapsed_s := time.monotonic() - start_s) >= 1:
            # This rate tells how much monitoring slows the program down.
            print(f"{rounds * len(hot) / elapsed_s:.0f}", flush=True)
            rounds, start_s = 0, time.monotonic()


if __name__ == "__main__":
    mib = int(sys.argv[1])
    main(mib << 20, (int(sys.argv[2]) << 20) if len(sys.argv) > 2 else (mib << 20) // 4)
