"""Docker: names from its configuration of each container."""

from __future__ import annotations

from collections.abc import Mapping

from pydamon._observe.linux.containers.base import Container, hex_id, kubernetes_names
from pydamon._observe.linux.host import HostFiles, text_at

__all__ = ["Docker"]


class Docker:
    """Containers of the Docker daemon, with either of its cgroup drivers."""

    name = "docker"

    def id_in(self, path: tuple[str, ...], files: HostFiles) -> str:
        """docker-ID.scope, docker/ID, or any ID that Docker knows."""
        if identifier := hex_id(path[-1], "docker-"):
            return identifier
        identifier = hex_id(path[-1], "")
        if not identifier or (path[-2:-1] != ("docker",) and not _config(identifier, files)):
            return ""
        return identifier

    def names(self, container: Container, files: HostFiles) -> Mapping[str, str]:
        """The name, or the names that Kubernetes gave it through cri-dockerd."""
        config = _config(container.id, files)
        own = {"name": text_at(config, "Name").removeprefix("/")}
        labels = (config.get("Config") or {}) if isinstance(config, dict) else {}
        labels = labels.get("Labels") if isinstance(labels, dict) else None
        return {**own, **kubernetes_names(labels)}


def _config(identifier: str, files: HostFiles) -> object:
    return files.json(f"/var/lib/docker/containers/{identifier}/config.v2.json")
