"""The processes of containers, pods and systemd units, followed as they start and stop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from pydamon._model.display import printable
from pydamon._model.errors import TargetError
from pydamon._observe.linux.cgroups import cgroup_of
from pydamon._observe.linux.containers import Container
from pydamon._observe.linux.procfs import every_process
from pydamon._observe.targets.container_table import ContainerTable
from pydamon._observe.targets.remembered import Remembered
from pydamon._observe.targets.virtual import Members

__all__ = [
    "containers",
    "members_of_container",
    "members_of_containers",
    "members_of_pod",
    "members_of_unit",
]

_SHOWN = 12
"""So many candidates are listed in an error."""


def containers() -> tuple[Container, ...]:
    """List the containers that have a process now.

    Returns
    -------
    tuple of Container
        Sorted by their labels. Units of systemd and other cgroups are none.

    Examples
    --------
    >>> import pydamon
    >>> all(container.id for container in pydamon.containers.containers())
    True
    """
    return tuple(_distinct(ContainerTable().of_all().values()))


def _distinct(rows: Iterable[Container]) -> list[Container]:
    unique = {container.cgroup: container for container in rows if container.is_container}
    return sorted(unique.values(), key=lambda container: (container.label, container.id))


def members_of_containers() -> Members:
    """The processes of all containers."""
    table = ContainerTable()
    return lambda: [pid for pid, container in table.of_all().items() if container.is_container]


def members_of_container(name: str) -> Members:
    """The processes of one container, by name, by NAMESPACE/POD/NAME, or by id or part of either.

    If it stops and starts again, under another id too, its processes are members again. Raises
    `TargetError` if no container or several match.
    """
    table = ContainerTable()
    rows = _distinct(table.of_all().values())
    wanted = _only(_matching(name, rows), "container", name, rows)

    def members() -> list[int]:
        return [pid for pid, container in table.of_all().items() if _is_same(container, wanted)]

    return members


def _matching(name: str, rows: list[Container]) -> list[Container]:
    """The containers that match best: by the whole id or name before the beginning of either."""
    tests: tuple[Callable[[Container], bool], ...] = (
        lambda container: container.id == name,
        lambda container: name in (container.label, container.name),
        lambda container: container.id.startswith(name),
        lambda container: container.label.startswith(name) or container.name.startswith(name),
    )
    return next((rows_ for test in tests if (rows_ := list(filter(test, rows)))), [])


def _is_same(container: Container, wanted: Container) -> bool:
    """Whether it is the wanted container, or has taken its place after a restart."""
    if container.id and container.id == wanted.id:
        return True
    # A cgroup below that of the container may be one of another container inside it.
    if container.cgroup.startswith(f"{wanted.cgroup}/"):
        return True
    own = (container.runtime, container.namespace, container.pod, container.name)
    named = (wanted.runtime, wanted.namespace, wanted.pod, wanted.name)
    return bool(wanted.name) and own == named


def members_of_pod(name: str) -> Members:
    """The processes of a pod of Kubernetes: NAMESPACE/NAME, or NAME if only one has it.

    Raises `TargetError` if no pod or several match.
    """
    table = ContainerTable()
    rows = [row for row in _distinct(table.of_all().values()) if row.pod]
    pods = {(row.namespace, row.pod): row for row in rows}
    labels = {f"{namespace}/{pod}": (namespace, pod) for namespace, pod in pods}
    matching = [labels[name]] if name in labels else [key for key in pods if key[1] == name]
    named = [pods[key] for key in matching]
    chosen = _only(named, "pod", name, list(pods.values()), _pod_label)

    def members() -> list[int]:
        key = (chosen.namespace, chosen.pod)
        every = table.of_all().items()
        return [pid for pid, row in every if row.pod and (row.namespace, row.pod) == key]

    return members


def members_of_unit(name: str) -> Members:
    """The processes of a systemd unit, and of the units below it: a service, scope or slice.

    Without a suffix, a service is meant. Raises `TargetError` if no unit or several match.
    """
    unit = name if name.rpartition(".")[2] in ("service", "scope", "slice") else f"{name}.service"
    cgroups = Remembered(cgroup_of)
    every = cgroups.of(every_process()).values()
    paths = sorted({path for cgroup in every for path in _units_in(cgroup)})
    rows = [
        Container(cgroup=path, name=path.rpartition("/")[2], runtime="systemd") for path in paths
    ]
    named = [row for row in rows if row.name == unit or row.cgroup.strip("/") == unit.strip("/")]
    # Each user may have a manager with units of the same names; the system's is meant first.
    of_system = [row for row in named if not row.cgroup.startswith("/user.slice/")]
    chosen = _only(of_system or named, "systemd unit", name, rows, _unit_label)

    def members() -> list[int]:
        below = f"{chosen.cgroup}/"
        paths = cgroups.of(every_process()).items()
        return [pid for pid, path in paths if f"{path}/".startswith(below)]

    return members


def _units_in(cgroup: str) -> Iterator[str]:
    """The paths of the units that a cgroup belongs to."""
    parts = cgroup.split("/")
    for end, part in enumerate(parts, 1):
        if part.endswith((".service", ".scope", ".slice")):
            yield "/".join(parts[:end])


def _container_label(row: Container) -> str:
    return f"{row.label} ({row.id[:12]})" if row.id[:12] != row.label else row.label


def _pod_label(row: Container) -> str:
    return f"{row.namespace}/{row.pod}"


def _unit_label(row: Container) -> str:
    return row.cgroup.strip("/")


def _only(
    matching: list[Container],
    kind: str,
    name: str,
    rows: list[Container],
    label: Callable[[Container], str] = _container_label,
) -> Container:
    """The only one that matches; raises `TargetError` that lists the candidates."""
    if len(matching) == 1:
        return matching[0]
    if matching:
        listed = _listed(map(label, matching))
        raise TargetError(
            f"{len(matching)} {kind}s match {name!r}", hint=f"name one of them: {listed}"
        )
    listed = _listed(map(label, rows))
    raise TargetError(
        f"there is no {kind} {name!r} with a process",
        hint=f"there is: {listed}" if rows else f"no {kind} can be seen from here",
    )


def _listed(labels: Iterable[str]) -> str:
    texts = [printable(label) for label in labels]
    more = len(texts) - _SHOWN
    return ", ".join(texts[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
