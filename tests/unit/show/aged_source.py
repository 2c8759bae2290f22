"""A program whose pages have ages, for the tests of what shows them."""

from __future__ import annotations

from pydamon._model.snapshot import Snapshot
from tests.recordings import MIB, MS, aged, snapshot, target

__all__ = ["APP", "S", "moment"]

S = 10**9
APP = target(7, "app", (16 * MIB, 24 * MIB, "rw-p", "[heap]"), (64 * MIB, 72 * MIB, "r--p", "lib"))


def moment(number: int) -> Snapshot:
    """A second of 16 MiB: 4 MiB are used all the time, 1 MiB each 20 s, the rest never.

    Looks are two seconds apart.
    """
    regions = [(0, 16 * MIB, 24 * MIB, 20, 1), (0, 64 * MIB, 72 * MIB, 0, number)]
    taken = snapshot((APP,), regions, number, window_ns=S, touched=(4 * MIB, 0))
    if number % 2 == 0:
        return taken
    cold_ns = number * S
    sometimes_ns = max(50 * MS, cold_ns % (20 * S))
    returned = MIB if number > 20 and sometimes_ns < 2 * S else 0
    ages = [
        (0, 50 * MS, 4 * MIB, 0),
        (0, sometimes_ns, MIB, 0),
        (0, cold_ns, 3 * MIB, 0),
        (0, 18 * S, 0, returned),
        (1, cold_ns, 8 * MIB, 0),
    ]
    return aged(taken, ages, since_ns=taken.end_ns - 2 * S)
