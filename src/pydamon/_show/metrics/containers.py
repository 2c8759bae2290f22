"""Metrics of containers: what pydamon sees of their processes, beside the kernel's own figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

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
        rows = _kernel_rows(containers, group, names)
        yield from _kernel_families(rows, names)
        if self.cache_read:
            yield from _cache_families(self.cache_read, rows, names)


def _labels(container: Container) -> tuple[str, ...]:
    name = container.name or container.id[:12]
    return printable(container.namespace), printable(container.pod), printable(name)


class _KernelRow(NamedTuple):
    """A cgroup of a container that has a series of its own, and the kernel's figures of it."""

    series: int
    cgroup: str
    memory: CgroupMemory


def _kernel_rows(
    containers: Sequence[Container], group: Sequence[int], names: Sequence[tuple[str, ...]]
) -> list[_KernelRow]:
    pairs = zip(group, containers, strict=True)
    own = {(n, row.cgroup) for n, row in pairs if names[n] != ("", "", OTHER)}
    rows = [(series, cgroup, cgroup_memory(cgroup)) for series, cgroup in sorted(own)]
    return [_KernelRow(series, cgroup, memory) for series, cgroup, memory in rows if memory]


def _kernel_families(
    rows: Sequence[_KernelRow], names: Sequence[tuple[str, ...]]
) -> Iterator[Metric]:
    for field, text in _KERNEL.items():
        sizes = [(row.series, getattr(row.memory, field)) for row in rows]
        yield _family(field, text, sizes, names)


def _cache_families(
    read: Mapping[str, int], rows: Sequence[_KernelRow], names: Sequence[tuple[str, ...]]
) -> Iterator[Metric]:
    """What was read of the page cache, and what nobody uses of it."""
    used = [(row.series, read.get(row.cgroup, 0)) for row in rows]
    text = "Page cache that no process maps, and that was read within a minute."
    yield _family("cache_read_bytes", text, used, names)
    # What is mapped may be shared memory, too: at least so much is idle.
    idle = [
        (row.series, max(0, row.memory.cache_bytes - row.memory.mapped_bytes - size))
        for row, (_, size) in zip(rows, used, strict=True)
    ]
    text = "Page cache that no process maps, and that was not read within a minute: at least."
    yield _family("cache_idle_bytes", text, idle, names)


def _family(
    name: str, text: str, sizes: Sequence[tuple[int, int]], names: Sequence[tuple[str, ...]]
) -> Metric:
    """The family of a figure, from the sizes of series; several of one series are added."""
    family = GaugeMetricFamily(f"pydamon_container_{name}", text, labels=_LABELS)
    sums: dict[int, int] = {}
    for series, size in sizes:
        sums[series] = sums.get(series, 0) + size
    for series, size in sums.items():
        family.add_metric(names[series], float(size))
    return family
