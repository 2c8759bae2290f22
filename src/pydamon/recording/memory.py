"""How much memory this process may still take."""

from __future__ import annotations

import re
import resource
from contextlib import suppress
from pathlib import Path

__all__ = ["free_memory"]

_CGROUP = Path("/sys/fs/cgroup")
_CACHE = re.compile(r"^(?:in)?active_file (\d+)$", re.MULTILINE)


def free_memory() -> int:
    """Bytes that the machine, the container and the process's own limit all leave.

    What cannot be found out does not limit it.
    """
    left = [2**63 - 1]
    with suppress(OSError, ValueError, IndexError):
        _, _, available = Path("/proc/meminfo").read_text().partition("MemAvailable:")
        left.append(1024 * int(available.split()[0]))
    with suppress(OSError, ValueError):
        most = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text())
        # The page cache counts as used, and is given back where memory is asked for.
        cached = sum(map(int, _CACHE.findall((_CGROUP / "memory.stat").read_text())))
        left.append(most - used + cached)
    with suppress(OSError, ValueError, IndexError):
        most = resource.getrlimit(resource.RLIMIT_AS)[0]
        if most != resource.RLIM_INFINITY:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            left.append(most - pages * resource.getpagesize())
    return min(left)
