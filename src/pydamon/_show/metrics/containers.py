"""Metrics of containers: what pydamon sees of their processes, beside the kernel's own figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
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
        self._table = ContainerTable()

    def families(self, snapshot: Snapshot, once: Figures) -> Iterator[Metric]:
        """The families; *once* has the figures of each target, shared memory in one of them.

        There are none where no process is in a container.
        """
        by_pid = self._table.of([target.pid for target in snapshot.targets])
        rows = [by_pid.get(target.pid) for target in snapshot.targets]
        inside = [index for index, row in enumerate(rows) if row is not None and row.is_container]
        if not inside:
            return
        containers = [row for index in inside if (row := rows[index]) is not None]
        labels = [_labels(container) for container in containers]
        figures = once.picked(inside)
        group, names = largest_groups(labels, figures.working_set_bytes, self._most)
        yield from families_of("container", _LABELS, figures.summed(group, len(names)), names)
        yield from _kernel_families(containers, group, names)


def _labels(container: Container) -> tuple[str, ...]:
    name = container.name or container.id[:12]
    return printable(container.namespace), printable(container.pod), printable(name)


def _kernel_families(
    containers: Sequence[Container], group: Sequence[int], names: Sequence[tuple[str, ...]]
) -> Iterator[Metric]:
    """The kernel's figures of the containers that have series of their own."""
    cgroups = {
        (number, container.cgroup)
        for number, container in zip(group, containers, strict=True)
        if names[number] != ("", "", OTHER)
    }
    memory: dict[int, list[CgroupMemory]] = {}
    for number, cgroup in sorted(cgroups):
        if (counted := cgroup_memory(cgroup)) is not None:
            memory.setdefault(number, []).append(counted)
    for field, text in _KERNEL.items():
        family = GaugeMetricFamily(f"pydamon_container_{field}", text, labels=_LABELS)
        for number, several in memory.items():
            total = np.sum([getattr(counted, field) for counted in several])
            family.add_metric(names[number], float(total))
        yield family
