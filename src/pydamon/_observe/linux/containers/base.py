"""The seam of container runtimes: what a container is called, and who can say so."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pydamon._observe.linux.host import HostFiles, text_at

__all__ = ["Container", "Runtime", "hex_id", "kubernetes_names"]

_SHOWN_ID = 12
"""Digits of an id that are shown, as runtimes do."""
_HEX_ID = re.compile(r"(?:[0-9a-f]{64}|[0-9a-f]{32}-\d{1,20})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A container, or a systemd unit or another cgroup that stands for itself.

    Parameters
    ----------
    cgroup
        The path of its cgroup below the root of cgroups.
    id
        The id that its runtime gave it; empty for a unit or a plain cgroup.
    name
        Its name; empty where nothing on this machine says it.
    runtime
        What runs it: ``"docker"``, ``"containerd"``, ..., ``"systemd"`` for a unit, and empty for
        a plain cgroup.
    namespace, pod, pod_uid
        Of a container of Kubernetes: where it belongs. The names are empty where nothing on this
        machine says them.

    Examples
    --------
    >>> from pydamon.containers import Container
    >>> Container(cgroup="/docker/8f3c", id="8f3c", name="web", runtime="docker").label
    'web'
    """

    cgroup: str
    id: str = ""
    name: str = ""
    runtime: str = ""
    namespace: str = ""
    pod: str = ""
    pod_uid: str = ""

    @property
    def is_container(self) -> bool:
        """Whether it is a container, and no unit or plain cgroup."""
        return bool(self.id)

    @property
    def label(self) -> str:
        """What to call it: NAMESPACE/POD/NAME, or its name, its short id, or its cgroup."""
        own = self.name or self.id[:_SHOWN_ID]
        if self.pod:
            return f"{self.namespace}/{self.pod}/{own}"
        return own or self.cgroup


class Runtime(Protocol):
    """A container runtime: recognises its containers, and tells their names from its files."""

    @property
    def name(self) -> str:
        """What `Container.runtime` says."""
        ...

    def id_in(self, path: tuple[str, ...], files: HostFiles) -> str:
        """The id of the container whose cgroup has this path; empty if that is none of its."""
        ...

    def names(self, container: Container, files: HostFiles) -> Mapping[str, str]:
        """What its files say about a container: values for its name, namespace and pod."""
        ...


def hex_id(text: str, *prefixes: str) -> str:
    """The id in the name of a cgroup such as PREFIX-ID.scope; empty if there is none."""
    text = text.removesuffix(".scope")
    for prefix in prefixes:
        if text.startswith(prefix):
            text = text[len(prefix) :]
            return text if _HEX_ID.fullmatch(text) else ""
    return ""


_KUBERNETES = {
    "name": ("io.kubernetes.cri.container-name", "io.kubernetes.container.name"),
    "namespace": ("io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace"),
    "pod": ("io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"),
}
"""Annotations and labels of containerd, and of CRI-O and cri-dockerd."""
_KINDS = ("io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType")


def kubernetes_names(annotations: Any) -> dict[str, str]:
    """What the annotations or labels of a container say that Kubernetes calls it."""
    names = {
        field: next(filter(None, (text_at(annotations, key) for key in keys)), "")
        for field, keys in _KUBERNETES.items()
    }
    if any(text_at(annotations, key) == "sandbox" for key in _KINDS):
        names["name"] = "pause"
    return {field: value for field, value in names.items() if value}
