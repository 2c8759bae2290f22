"""The page cache: which files' memory is in use though no process maps it, by cgroup."""

from pydamon._model.cache_use import IDLE_TIMES_NS, CacheReport, CgroupCache
from pydamon._observe.cache import CachedFile, CacheMonitor, cachestat

__all__ = [
    "IDLE_TIMES_NS",
    "CacheMonitor",
    "CacheReport",
    "CachedFile",
    "CgroupCache",
    "cachestat",
]
