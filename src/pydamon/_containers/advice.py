"""A recommendation for a container: the memory to request, and the limit."""

from __future__ import annotations

from dataclasses import dataclass

from pydamon._containers.cache import CacheUse
from pydamon._data.analysis import NeedsPoint
from pydamon._observe.linux.cgroup_memory import CgroupMemory

__all__ = ["Recommendation", "recommend"]

_MARGIN = 1.1
"""A limit is above the largest need by a tenth: a look does not see everything."""
_ROUND = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """What to request for a container, and its limit, in bytes.

    Parameters
    ----------
    request_bytes
        What it needs in the mean; without swap at least what the kernel cannot take from it.
    limit_bytes
        Its largest need in any part of the time, and a tenth more.
    need_bytes
        What it needs in the mean: processes, page cache and the kernel's part. Where there is swap,
        or idle memory is reclaimed, that is the request.
    refaults_per_s
        How many pages a second come back if only `need_bytes` are kept.
    idle_ns
        Memory that has been idle for at least so long is not needed.
    cache_bytes, cache_source
        The page cache that the need includes, and where that figure comes from.
    unreclaimable_bytes
        What the kernel cannot take from it.
    """

    request_bytes: int
    limit_bytes: int
    need_bytes: int
    refaults_per_s: float
    idle_ns: int
    cache_bytes: int
    cache_source: str
    unreclaimable_bytes: int


def recommend(
    point: NeedsPoint,
    peak_bytes: int,
    memory: CgroupMemory | None,
    cache: CacheUse | None,
) -> Recommendation:
    """The recommendation at a point of a needs curve.

    *peak_bytes* is the largest need of the processes in any part of the time.
    """
    kernel = memory or CgroupMemory()
    if cache is not None:
        cached, source = cache.used_bytes, cache.source
    else:
        # Mapped files are among the pages of processes, and mostly on the active list.
        cached = max(0, kernel.active_file_bytes - kernel.mapped_bytes)
        source = "active pages of memory.stat" if memory else ""
    beside = cached + kernel.kernel_bytes
    need = point.kept_bytes + beside
    request = max(need, kernel.unreclaimable_bytes)
    limit = max(request, _MARGIN * (max(peak_bytes, point.kept_bytes) + beside))
    if not kernel.can_swap:
        limit = max(limit, _MARGIN * kernel.unreclaimable_bytes)
    return Recommendation(
        request_bytes=_rounded(request),
        limit_bytes=_rounded(limit),
        need_bytes=need,
        refaults_per_s=point.refaults_per_s,
        idle_ns=point.idle_ns,
        cache_bytes=cached,
        cache_source=source,
        unreclaimable_bytes=kernel.unreclaimable_bytes,
    )


def _rounded(size: float) -> int:
    return -int(-size // _ROUND) * _ROUND
