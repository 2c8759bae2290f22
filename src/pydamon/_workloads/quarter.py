"""A program with a hot part and a cold one; it is run as a script.

    quarter.py MIB [HOT_MIB]

Writes to all of MIB once, prints the address and size in bytes of the hot part and the size of the
whole, as hexadecimal numbers on one line, and then touches every page of the hot part (a quarter,
unless said otherwise) over and over, until it is ended.
"""

from __future__ import annotations

import mmap
import sys
import time

import numpy as np

__all__ = ["main"]


def main(size_bytes: int, hot_bytes: int) -> None:
    """Use memory as the module says, for ever."""
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
            # For those who measure what monitoring costs: pages touched a second.
            print(f"{rounds * len(hot) / elapsed_s:.0f}", flush=True)
            rounds, start_s = 0, time.monotonic()


if __name__ == "__main__":
    mib = int(sys.argv[1])
    main(mib << 20, (int(sys.argv[2]) << 20) if len(sys.argv) > 2 else (mib << 20) // 4)
