"""runc and crun without an engine above them: the state of each container names its cgroup."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydamon._observe.linux.containers.base import Container
from pydamon._observe.linux.host import HostFiles, text_at

__all__ = ["Crun", "Runc"]


class Runc:
    """Containers that runc runs itself: its ids are names."""

    name = "runc"
    _state = "/run/runc/{}/state.json"

    def id_in(self, path: tuple[str, ...], files: HostFiles) -> str:
        """The last part of a path that the state of a container of that name has."""
        name = path[-1].removesuffix(".scope").removeprefix("runc-")
        state = files.json(self._state.format(name))
        end = "/" + "/".join(path)
        return name if any(place.endswith(end) for place in self._cgroups(state)) else ""

    def names(self, container: Container, files: HostFiles) -> Mapping[str, str]:
        """The id is the name."""
        return {"name": container.id} if container.runtime == self.name else {}

    def _cgroups(self, state: Any) -> Iterator[str]:
        paths = state.get("cgroup_paths") if isinstance(state, dict) else None
        if isinstance(paths, dict):
            yield from (text_at(paths, name) for name in paths)


class Crun(Runc):
    """Containers that crun runs itself."""

    name = "crun"
    _state = "/run/crun/{}/status"

    def _cgroups(self, state: Any) -> Iterator[str]:
        if path := text_at(state, "cgroup-path"):
            yield f"/{path.lstrip('/')}"
