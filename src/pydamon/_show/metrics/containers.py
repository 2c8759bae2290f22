"""Metrics of containers: what pydamon sees of their processes, beside the kernel's own figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from prometheus_client.core import GaugeMetricFamily, Metric

from pydamon._model.display import printable
from pydamon._model.snapshot import Snapshot
from pydamon._observe.linux.cgroup_memory import CgroupMemory, cgroup_memory
from pydamon._observe.linux.containers import Container
from pydamon._observe.targets.container_table import ContainerTable
from pydamon._show.metrics.figures import OTHER, Figures, families_of, largest_groups

__all__ = ["ContainerSeries"]

_LABELS = ("namespace", "pod", "container")
_KERNEL = {
    "usage_bytes": "Memory that is charged to the container, as the kernel counts it.",
    "kubelet_bytes": "The working set as Kubernetes has it: usage without inactive page cache.",
    "cache_bytes": "Page cache that is charged to the container, mapped or not.",
    "anonymous_bytes": "Memory without a file that is charged to the container.",
    "swap_bytes": "How much memory of the container is swapped out.",
}
"""Figures of `CgroupMemory`, by their names."""


class ContainerSeries:
    """Makes the families of all containers; those without a process have no series.

    Parameters
    ----------
    most
        How many containers have series of their own.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.cache_read: Mapping[str, int] = {}
        """Page cache that was read within a minute, by cgroup; empty where that is not known."""
        self._table = ContainerTable()

    def families(self, snapshot: Snapshot, once: Figures) -> Iterator[Metric]:
        """The families; *once* has the figures of each target, shared memory in one of them.

        There are none where no process is in a container.
        """
        by_pid = self._table.of([target.pid for target in snapshot.targets])
        inside = {
            index: by_pid[target.pid]
            for index, target in enumerate(snapshot.targets)
            if target.pid in by_pid and by_pid[target.pid].is_container
        }
        if not inside:
            return
        containers = list(inside.values())
        labels = [_labels(container) for container in containers]
        figures = once.picked(list(inside))
        group, names = largest_groups(labels, figures.working_set_bytes, self._most)
        yield from families_of("container", _LABELS, figures.summed(group, len(names)), names)
        yield from _kernel_families(containers, group, names)
        if self.cache_read:
            yield _cache_family(self.cache_read, containers, group, names)


def _labels(container: Container) -> tuple[str, ...]:
    name = container.name or container.id[:12]
    return printable(container.namespace), printable(container.pod), printable(name)


def _cgroups(
    containers: Sequence[Container], group: Sequence[int], names: Sequence[tuple[str, ...]]
) -> list[tuple[int, str]]:
    """The series and the cgroup of each container that has a series of its own."""
    pairs = zip(group, containers, strict=True)
    own = {(n, row.cgroup) for n, row in pairs if names[n] != ("", "", OTHER)}
    return sorted(own)


def _cache_family(
    used: Mapping[str, int],
    containers: Sequence[Container],
    group: Sequence[int],
    names: Sequence[tuple[str, ...]],
) -> Metric:
    text = "Page cache that no process maps, and that was read within a minute."
    family = GaugeMetricFamily("pydamon_container_cache_read_bytes", text, labels=_LABELS)
    sums: dict[int, int] = {}
    for number, cgroup in _cgroups(containers, group, names):
        sums[number] = sums.get(number, 0) + used.get(cgroup, 0)
    for number, size in sums.items():
        family.add_metric(names[number], float(size))
    return family


def _kernel_families(
    containers: Sequence[Container], group: Sequence[int], names: Sequence[tuple[str, ...]]
) -> Iterator[Metric]:
    """The kernel's figures of the containers that have series of their own."""
    memory: dict[int, list[CgroupMemory]] = {}
    for number, cgroup in _cgroups(containers, group, names):
        if (counted := cgroup_memory(cgroup)) is not None:
            memory.setdefault(number, []).append(counted)
    for field, text in _KERNEL.items():
        family = GaugeMetricFamily(f"pydamon_container_{field}", text, labels=_LABELS)
        for number, several in memory.items():
            total = sum(getattr(counted, field) for counted in several)
            family.add_metric(names[number], float(total))
        yield family
