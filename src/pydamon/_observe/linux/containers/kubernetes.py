"""Kubernetes: pods by their cgroups, and names from the directories of their logs."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydamon._observe.linux.containers.base import Container, hex_id
from pydamon._observe.linux.host import HostFiles

__all__ = ["Kubernetes", "pod_uid_in"]

_POD = re.compile(r"(?:^|-)pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})$")
"""A pod's cgroup: kubepods-burstable-podUID.slice with _ for -, or podUID; UID of a static pod."""
_PODS = "/var/log/pods"
_CONTAINERS = "/var/log/containers"


def pod_uid_in(path: str) -> str:
    """The UID of the pod that a cgroup belongs to; empty if it is of no pod."""
    for part in path.split("/"):
        if match := _POD.search(part.removesuffix(".slice")):
            return match[1].replace("_", "-")
    return ""


class Kubernetes:
    """Containers of a pod, whatever runtime has them."""

    name = "kubernetes"

    def id_in(self, path: tuple[str, ...], files: HostFiles) -> str:
        """An ID without a prefix in the cgroup of a pod."""
        return hex_id(path[-1], "") if pod_uid_in("/".join(path)) else ""

    def names(self, container: Container, files: HostFiles) -> Mapping[str, str]:
        """The pod by its UID, and the container by its id, which names of logs have."""
        if not container.pod_uid:
            return {}
        names = _pod_names(container.pod_uid, files)
        end = f"-{container.id}.log"
        for entry in files.names(_CONTAINERS):
            fields = entry.split("_", 2)
            if entry.endswith(end) and len(fields) == 3 and entry.isprintable():
                names |= {"pod": fields[0], "namespace": fields[1]}
                names["name"] = fields[2].removesuffix(end)
        return names


def _pod_names(uid: str, files: HostFiles) -> dict[str, str]:
    """The namespace and name of a pod."""
    for entry in files.names(_PODS):
        fields = entry.split("_")
        if len(fields) == 3 and fields[2] == uid and entry.isprintable():
            return {"namespace": fields[0], "pod": fields[1]}
    return {}
