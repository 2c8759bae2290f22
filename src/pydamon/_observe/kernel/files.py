"""Files below a directory of sysfs, and the kernel releases that brought them."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from pydamon._model.errors import KernelError, ProbeUnavailable

__all__ = ["Files", "lacks", "missing_file", "missing_word"]

P = ParamSpec("P")
T = TypeVar("T")

_PATIENCE_S = 1.0
"""The kernel's thread holds the lock of all files for a moment after a command is done."""


class Files:
    """Text files below *root*, by paths relative to it.

    Errors are `ProbeUnavailable` where this kernel or user lacks something, and `KernelError`
    where the kernel refuses something.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def has(self, path: str) -> bool:
        """Whether a file or directory is there."""
        return (self.root / path).exists()

    def read(self, path: str) -> str:
        """The text of a file, without white space around it."""
        try:
            return _patiently(self._read, path).strip()
        except OSError as error:
            raise self._explained("read", path, "", error) from None

    def number(self, path: str) -> int:
        """The number in a file."""
        text = self.read(path)
        try:
            return int(text)
        except ValueError:
            raise KernelError(f"{self.root / path} holds no number: {text!r}") from None

    def write(self, path: str, value: str | int) -> None:
        """Write a value; the kernel checks it."""
        try:
            _patiently(self._write, path, str(value))
        except OSError as error:
            raise self._explained("write", path, str(value), error) from None

    def numbered(self, path: str) -> list[str]:
        """The paths of the directories 0, 1, ... below a directory, in that order."""
        try:
            names = [entry.name for entry in os.scandir(self.root / path)]
        except OSError as error:
            raise self._explained("read", path, "", error) from None
        return [f"{path}/{name}" for name in sorted(filter(str.isdigit, names), key=int)]

    def _read(self, path: str) -> str:
        fd = os.open(self.root / path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(fd, 1 << 16).decode(errors="replace")
        finally:
            os.close(fd)

    def _write(self, path: str, text: str) -> None:
        fd = os.open(self.root / path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
        try:
            os.write(fd, f"{text}\n".encode())
        finally:
            os.close(fd)

    def _explained(self, verb: str, path: str, value: str, error: OSError) -> Exception:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return ProbeUnavailable(missing_file(path))
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) and path.endswith("nr_kdamonds"):
            why = "they are read-only here" if error.errno == errno.EROFS else "only root may"
            return ProbeUnavailable(
                f"cannot {verb} the files of the kernel's DAMON: {why}",
                hint="" if os.geteuid() == 0 else "run as root",
            )
        if error.errno == errno.EINVAL and (lacking := missing_word(value)):
            return ProbeUnavailable(lacking)
        said = f" {value!r} to" if verb == "write" else ""
        return KernelError(f"cannot {verb}{said} {self.root / path}: {error.strerror}")


def _patiently(operation: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
    """Retry an operation while the kernel itself holds the lock of the files."""
    deadline_s = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return operation(*args, **options)
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline_s:
                raise
        time.sleep(0.002)


_FILES = {
    "operations": ("sets of operations", "5.18"),
    "tried_regions": ("a look at the regions that a scheme tried", "6.2"),
    "filters": ("filters", "6.3"),
    "apply_interval_us": ("apply intervals of schemes", "6.7"),
    "goals": ("quota goals", "6.8"),
    "effective_bytes": ("the effective size of a quota", "6.9"),
    "target_nid": ("migration between memory nodes", "6.11"),
    "allow": ("filters that allow", "6.14"),
    "sz_ops_filter_passed": ("the size that filters let pass", "6.14"),
    "sz_filter_passed": ("the size that filters let pass", "6.14"),
    "intervals_goal": ("auto-tuned intervals", "6.15"),
    "refresh_ms": ("figures that refresh themselves", "6.17"),
    "addr_unit": ("units of addresses", "6.18"),
    "core_filters": ("filter directories by layer", "6.15"),
    "ops_filters": ("filter directories by layer", "6.15"),
    "nid": ("quota goals of a memory node", "6.16"),
    "dests": ("several destinations of a migration", "6.17"),
    "path": ("quota goals of a cgroup", "6.19"),
    "max_nr_snapshots": ("a limit on a scheme's snapshots", "7.0"),
    "obsolete_target": ("targets that are dropped without a restart", "6.19"),
    "goal_tuner": ("the choice of a quota tuner", "7.1"),
    "pause": ("pauses", "7.2"),
    "nr_probes": ("probes for kinds of pages", "7.2"),
    "fail_charge_num": ("a quota charge for actions that fail", "7.2"),
}
_WORDS = {
    "paddr": ("monitoring of physical memory (CONFIG_DAMON_PADDR)", "5.16"),
    "vaddr": ("monitoring of virtual memory (CONFIG_DAMON_VADDR)", "5.15"),
    "fvaddr": ("monitoring of given addresses", "5.19"),
    "lru_prio": ("the action lru_prio", "6.0"),
    "lru_deprio": ("the action lru_deprio", "6.0"),
    "anon": ("filters by kind of memory", "6.3"),
    "memcg": ("filters by cgroup", "6.3"),
    "addr": ("filters by address", "6.6"),
    "target": ("filters by target", "6.6"),
    "user_input": ("quota goals", "6.8"),
    "some_mem_psi_us": ("quota goals by memory pressure", "6.10"),
    "young": ("filters by accessed bit", "6.10"),
    "migrate_hot": ("the action migrate_hot", "6.11"),
    "migrate_cold": ("the action migrate_cold", "6.11"),
    "active": ("filters by list of active pages", "6.15"),
    "hugepage_size": ("filters by size of huge pages", "6.15"),
    "unmapped": ("filters by being mapped", "6.15"),
    "update_tuned_intervals": ("auto-tuned intervals", "6.15"),
    "node_mem_used_bp": ("quota goals of a memory node", "6.16"),
    "node_mem_free_bp": ("quota goals of a memory node", "6.16"),
    "node_memcg_used_bp": ("quota goals of a cgroup", "6.19"),
    "node_memcg_free_bp": ("quota goals of a cgroup", "6.19"),
    "active_mem_bp": ("quota goals of active memory", "7.0"),
    "inactive_mem_bp": ("quota goals of inactive memory", "7.0"),
    "temporal": ("the quota tuner temporal", "7.1"),
    "collapse": ("the action collapse", "7.2"),
    "node_eligible_mem_bp": ("quota goals of eligible memory", "7.2"),
}


def missing_file(path: str) -> str:
    """The message that a kernel lacks a file."""
    for part in reversed(path.split("/")):
        if part in _FILES:
            return lacks(*_FILES[part])
    return f"this kernel's DAMON has no {path}"


def missing_word(word: str) -> str:
    """The message that a kernel does not take a word; empty where it should take it."""
    return lacks(*_WORDS[word]) if word in _WORDS else ""


def lacks(feature: str, release: str) -> str:
    """The message that a kernel lacks a feature that a release brought."""
    return f"this kernel's DAMON lacks {feature}, which came with Linux {release}"
