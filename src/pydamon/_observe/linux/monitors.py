"""Whether another access monitor is at work on this machine: the kernel's own DAMON.

It clears accessed bits as probes do, so that each takes from the other what it would have seen.
Only files are read here, and those for root alone: whoever may not read them is told of nobody.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

__all__ = ["ADMIN", "EXCLUSIVE", "MODULES", "is_on", "other_monitor"]

ADMIN = Path("/sys/kernel/mm/damon/admin/kdamonds")
MODULES = Path("/sys/module")
EXCLUSIVE = ("damon_reclaim", "damon_lru_sort", "damon_stat")
"""The kernel's own users of its DAMON, each of which can be switched on."""


def other_monitor(admin: Path = ADMIN, modules: Path = MODULES) -> str:
    """The name of what else clears accessed bits on this machine now; empty if nothing does."""
    for name in EXCLUSIVE:
        if is_on(modules / name):
            return name.upper()
    with suppress(OSError, ValueError):
        for number in range(int((admin / "nr_kdamonds").read_text())):
            if (admin / str(number) / "state").read_text().strip() == "on":
                return "the kernel's DAMON"
    return ""


def is_on(module: Path) -> bool:
    """Whether one of `EXCLUSIVE` is in this kernel and switched on."""
    try:
        return (module / "parameters/enabled").read_text().strip() == "Y"
    except OSError:
        return False
