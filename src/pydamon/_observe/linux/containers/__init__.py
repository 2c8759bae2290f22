"""Names of containers, from files of the host: a file for each runtime, and a line in `RUNTIMES`.

No daemon is asked. What cannot be named keeps its id.
"""

from __future__ import annotations

from dataclasses import replace

from pydamon._observe.linux.containers.base import Container, Runtime, hex_id
from pydamon._observe.linux.containers.containerd import Containerd
from pydamon._observe.linux.containers.crio import Crio
from pydamon._observe.linux.containers.docker import Docker
from pydamon._observe.linux.containers.kubernetes import Kubernetes, pod_uid_in
from pydamon._observe.linux.containers.lxc import Lxc
from pydamon._observe.linux.containers.machined import Machined, unescaped
from pydamon._observe.linux.containers.oci import Crun, Runc
from pydamon._observe.linux.containers.podman import Podman
from pydamon._observe.linux.host import HostFiles

__all__ = ["RUNTIMES", "Container", "Runtime", "container_of"]

RUNTIMES: tuple[Runtime, ...] = (
    Docker(),
    Containerd(),
    Crio(),
    Podman(),
    Kubernetes(),
    Lxc(),
    Machined(),
    Runc(),
    Crun(),
)
"""Every runtime; the first that recognises a container has it."""

_FIELDS = ("name", "namespace", "pod")
_UNITS = (".service", ".scope", ".slice")


def container_of(cgroup: str, files: HostFiles) -> Container:
    """The container that a cgroup belongs to: the innermost, or else a systemd unit or itself."""
    path = tuple(part for part in cgroup.split("/") if part)
    for end in range(len(path), 0, -1):
        if container := _container_at(path[:end], files):
            return container
    for end in range(len(path), 0, -1):
        if path[end - 1].endswith(_UNITS):
            name = unescaped(path[end - 1])
            return Container(cgroup="/" + "/".join(path[:end]), name=name, runtime="systemd")
    return Container(cgroup=cgroup or "/")


def _container_at(path: tuple[str, ...], files: HostFiles) -> Container | None:
    """The container whose cgroup has exactly this path."""
    if ".." in path or "." in path:
        return None
    for runtime in RUNTIMES:
        if identifier := runtime.id_in(path, files):
            return _named("/" + "/".join(path), identifier, runtime.name, files)
    # An id below a cgroup of any name: --cgroup-parent, or a runtime that is not known here.
    identifier = hex_id(path[-1], "") or hex_id(path[-1].rpartition(":")[2], "")
    return _named("/" + "/".join(path), identifier, "unknown", files) if identifier else None


def _named(cgroup: str, identifier: str, runtime: str, files: HostFiles) -> Container:
    """Ask the runtime for names, then Kubernetes; ask all where the cgroup tells no runtime."""
    uid = pod_uid_in(cgroup)
    container = Container(cgroup=cgroup, id=identifier, runtime=runtime, pod_uid=uid)
    own = [source for source in RUNTIMES if source.name == runtime]
    is_told = own and runtime != Kubernetes.name
    others = [source for source in RUNTIMES if not is_told or source.name == Kubernetes.name]
    for source in dict.fromkeys((*own, *others)):
        if container.name and container.pod:
            break
        for field, value in source.names(container, files).items():
            if field in _FIELDS and value and not getattr(container, field):
                container = replace(container, **{field: value})
    return container
