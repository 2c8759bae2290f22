"""Whether another access monitor is at work on this machine: the kernel's own DAMON.

It clears accessed bits as probes do, so that each of the two hides accesses from the other. Its
files are for root alone; other users look for its thread, which everybody can see.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

__all__ = ["ADMIN", "EXCLUSIVE", "MODULES", "is_on", "other_monitor"]

ADMIN = Path("/sys/kernel/mm/damon/admin/kdamonds")
MODULES = Path("/sys/module")
EXCLUSIVE = ("damon_reclaim", "damon_lru_sort", "damon_stat")
"""The kernel modules that use DAMON, each of which can be switched on."""


_KERNEL_THREADS = Path("/proc/2/task/2/children")
"""The children of kthreadd, which starts the kernel's threads."""
_thread_names: dict[str, str] = {}
"""By pid: they are asked for once a second."""


def other_monitor(
    admin: Path = ADMIN, modules: Path = MODULES, threads: Path = _KERNEL_THREADS
) -> str:
    """The name of the other monitor that clears accessed bits now; empty if there is none."""
    for name in EXCLUSIVE:
        if is_on(modules / name):
            return name.upper()
    is_running = False
    with suppress(OSError, ValueError):
        try:
            is_running = any(
                (admin / str(number) / "state").read_text().strip() == "on"
                for number in range(int((admin / "nr_kdamonds").read_text()))
            )
        except PermissionError:
            is_running = _has_kdamond(threads)
    return "the kernel's DAMON" if is_running else ""


def _has_kdamond(threads: Path) -> bool:
    """Whether one of the kernel's threads is DAMON's; raises `OSError` where nobody can tell."""
    pids = threads.read_text().split()
    for gone in _thread_names.keys() - pids:
        del _thread_names[gone]
    for pid in set(pids) - _thread_names.keys():
        with suppress(OSError):  # it has ended
            _thread_names[pid] = (threads.parents[3] / pid / "comm").read_text()
    return any(name.startswith("kdamond.") for name in _thread_names.values())


def is_on(module: Path) -> bool:
    """Whether a module of `EXCLUSIVE` is in this kernel and switched on."""
    try:
        return (module / "parameters/enabled").read_text().strip() == "Y"
    except OSError:
        return False
