"""Clearing accessed bits of ranges: with MADV_COLD, or of the whole process where that fails."""

from __future__ import annotations

import errno
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from pydamon.probes import madvise
from pydamon.probes.clear_refs import clear_refs
from pydamon.probes.process import Process

__all__ = ["clear_ranges", "may_clear"]


def clear_ranges(process: Process, ranges: NDArray[np.uint64]) -> NDArray[np.intp]:
    """Clear the accessed bits of *ranges*, (address, bytes) rows; the rows that were refused.

    process_madvise(2) finds memory through the first thread only, whatever its pidfd is of. Once
    that has left, /proc/PID/task/TID/clear_refs is what remains: it clears all of the process,
    and flushes no TLB.
    """
    if not len(ranges):
        return np.empty(0, np.intp)
    if not process.without_leader:
        refused = madvise.advise(process.pidfd, ranges, madvise.MADV_COLD)
        if not len(refused) or process.ends or not process.without_leader:
            return refused
    with suppress(OSError):
        clear_refs(process)
    return np.empty(0, np.intp)


def may_clear(process: Process) -> int:
    """The errno with which this user is refused to clear anything; 0 where that works."""
    number = madvise.refused(process.pidfd)
    if number == errno.ESRCH and not process.ends and process.without_leader:
        try:
            clear_refs(process)
        except OSError as error:
            return error.errno or 0
        return 0
    return number
