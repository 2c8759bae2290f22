"""containerd: names from the annotations of each container's bundle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydamon._observe.linux.containers.base import Container, hex_id, kubernetes_names
from pydamon._observe.linux.host import HostFiles, text_at

__all__ = ["Containerd"]

_TASKS = "/run/containerd/io.containerd.runtime.v2.task"


class Containerd:
    """Containers of containerd: of Kubernetes, nerdctl, or ctr."""

    name = "containerd"

    def id_in(self, path: tuple[str, ...], files: HostFiles) -> str:
        """cri-containerd-ID.scope, nerdctl-ID.scope, or NAMESPACE/ID where that is a task."""
        if identifier := hex_id(path[-1], "cri-containerd-", "nerdctl-"):
            return identifier
        if identifier := hex_id(path[-1], ""):
            return identifier if _config(identifier, files) is not None else ""
        # ctr takes any name as an id.
        is_task = len(path) == 2 and files.json(f"{_TASKS}/{path[0]}/{path[1]}/config.json")
        return path[-1] if is_task else ""

    def names(self, container: Container, files: HostFiles) -> Mapping[str, str]:
        """The names that Kubernetes or nerdctl gave it."""
        config = _config(container.id, files)
        annotations = config.get("annotations") if isinstance(config, dict) else None
        return {
            "name": text_at(annotations, "nerdctl/name"),
            **kubernetes_names(annotations),
        }


def _config(identifier: str, files: HostFiles) -> Any:
    """The configuration of a task, in whichever namespace of containerd it is."""
    for namespace in files.names(_TASKS):
        config = files.json(f"{_TASKS}/{namespace}/{identifier}/config.json")
        if config is not None:
            return config
    return None
