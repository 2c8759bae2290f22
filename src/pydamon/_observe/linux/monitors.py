"""Whether another access monitor is at work on this machine: the kernel's own DAMON.

It clears accessed bits as probes do, so that each of the two hides accesses from the other. The
files that are read here are for root alone: for other users there never is another monitor.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

__all__ = ["ADMIN", "EXCLUSIVE", "MODULES", "is_on", "other_monitor"]

ADMIN = Path("/sys/kernel/mm/damon/admin/kdamonds")
MODULES = Path("/sys/module")
EXCLUSIVE = ("damon_reclaim", "damon_lru_sort", "damon_stat")
"""The kernel modules that use DAMON, each of which can be switched on."""


def other_monitor(admin: Path = ADMIN, modules: Path = MODULES) -> str:
    """The name of the other monitor that clears accessed bits now; empty if there is none."""
    for name in EXCLUSIVE:
        if is_on(modules / name):
            return name.upper()
    with suppress(OSError, ValueError):
        for number in range(int((admin / "nr_kdamonds").read_text())):
            if (admin / str(number) / "state").read_text().strip() == "on":
                return "the kernel's DAMON"
    return ""


def is_on(module: Path) -> bool:
    """Whether a module of `EXCLUSIVE` is in this kernel and switched on."""
    try:
        return (module / "parameters/enabled").read_text().strip() == "Y"
    except OSError:
        return False
