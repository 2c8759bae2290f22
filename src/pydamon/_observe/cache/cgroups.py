"""The cgroups of the machine: ids, paths, and the kernel's own figures of their page cache."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pydamon._observe.linux.cgroups import CGROUPS, memory_directory

__all__ = ["CacheFigures", "cache_figures", "cgroup_ids", "memory_tree"]


class CacheFigures(NamedTuple):
    """What the kernel counts itself, of a cgroup and those below it."""

    active_bytes: int
    inactive_bytes: int
    refaults: int | None
    """Pages that were read again soon after they had been dropped, since the cgroup exists."""

    @property
    def total_bytes(self) -> int:
        """File pages in memory."""
        return self.active_bytes + self.inactive_bytes


def memory_tree() -> Path:
    """The root of the cgroups that memory is charged to, with either version of cgroups."""
    return memory_directory("/") or CGROUPS


def cgroup_ids(tree: Path) -> dict[int, str]:
    """The paths of all cgroups by their ids, which are the inode numbers of directories."""
    return dict(_walk(tree))


def _walk(tree: Path) -> Iterator[tuple[int, str]]:
    for place, _, _ in os.walk(tree):
        try:
            yield Path(place).stat().st_ino, place.removeprefix(str(tree)) or "/"
        except OSError:
            continue  # removed meanwhile


def cache_figures(tree: Path, path: str) -> CacheFigures | None:
    """The figures of one cgroup; `None` if it has none, or is gone."""
    try:
        text = (tree / path.strip("/") / "memory.stat").read_text()
    except OSError:
        return None
    fields = dict(line.split() for line in text.splitlines() if line.count(" ") == 1)
    # Version 1 has figures without those of cgroups below it as well.
    prefix = "total_" if "total_active_file" in fields else ""
    try:
        refaults = fields.get(f"{prefix}workingset_refault_file")
        return CacheFigures(
            int(fields[f"{prefix}active_file"]),
            int(fields[f"{prefix}inactive_file"]),
            int(refaults) if refaults else None,
        )
    except (KeyError, ValueError):
        return None
