"""CRI-O: names from the annotations of each container's bundle."""

from __future__ import annotations

from collections.abc import Mapping

from pydamon._observe.linux.containers.base import Container, hex_id, kubernetes_names
from pydamon._observe.linux.containers.storage import SYSTEM_STORAGE, stored_container
from pydamon._observe.linux.host import HostFiles, parsed, text_at

__all__ = ["Crio"]

_BUNDLES = ("/run/containers/storage", SYSTEM_STORAGE)


class Crio:
    """Containers of CRI-O, which are all of Kubernetes."""

    name = "cri-o"

    def id_in(self, path: tuple[str, ...], files: HostFiles) -> str:
        """crio-ID.scope, or crio-ID; crio-conmon-ID.scope is no container."""
        return hex_id(path[-1], "crio-")

    def names(self, container: Container, files: HostFiles) -> Mapping[str, str]:
        """The names that Kubernetes gave it."""
        for storage in _BUNDLES:
            bundle = f"{storage}/overlay-containers/{container.id}/userdata"
            config = files.json(f"{bundle}/config.json")
            annotations = config.get("annotations") if isinstance(config, dict) else None
            if names := kubernetes_names(annotations):
                return names
        row = stored_container(container.id, SYSTEM_STORAGE, files)
        metadata = parsed(text) if (text := row.get("metadata")) and isinstance(text, str) else None
        return {"pod": text_at(metadata, "pod-name"), "name": text_at(metadata, "metadata-name")}
