"""Containers: which there are, and how much memory each uses and needs.

`containers` lists them with their names, `ContainerWatch` adds up what a monitor sees by container,
and `CgroupMemory` has the kernel's own figures.
"""

from pydamon._containers.advice import Recommendation
from pydamon._containers.cache import CacheSource, CacheUse
from pydamon._containers.traced_cache import TracedCache
from pydamon._containers.use import ContainerUse, ContainerWatch
from pydamon._observe.linux.cgroup_memory import CgroupMemory, cgroup_memory
from pydamon._observe.linux.containers import Container
from pydamon._observe.targets.containers import containers

__all__ = [
    "CacheSource",
    "CacheUse",
    "CgroupMemory",
    "Container",
    "ContainerUse",
    "ContainerWatch",
    "Recommendation",
    "TracedCache",
    "cgroup_memory",
    "containers",
]
