"""The page cache: which parts of it are read, by cgroup."""

from pydamon._observe.cache.cachestat import CachedFile, cachestat
from pydamon._observe.cache.monitor import CacheMonitor

__all__ = ["CacheMonitor", "CachedFile", "cachestat"]
