"""The kernel's own users of DAMON: DAMON_RECLAIM, DAMON_LRU_SORT and DAMON_STAT.

    module = ReclaimModule()
    print(module.status())
    module.start(ReclaimParameters(min_age="1min", quota_bytes="64M"))
    ...
    module.stop()

Each module is on or off for the whole machine, and stays on when this process ends. So /run keeps
a note of each module that pydamon switched on, with the parameters from before. A module that
somebody else switched on is never changed. Defaults and meanings are the kernel's (Linux,
Documentation/admin-guide/mm/damon/).
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from attrs import fields

from pydamon._act.kernel.parameters import (
    LruSortParameters,
    ModuleParameters,
    ReclaimParameters,
    read_parameters,
    to_files,
)
from pydamon._model.errors import KernelError, ProbeUnavailable
from pydamon._observe.kernel.claim import MODULES, STATE, describe_user, started_at
from pydamon._observe.kernel.files import Files
from pydamon._observe.kernel.kdamond import ADMIN

__all__ = [
    "LruSortModule",
    "ModuleStatus",
    "ReclaimModule",
    "StatModule",
    "StatStatus",
]

P = TypeVar("P", bound=ModuleParameters)


@dataclass(frozen=True, slots=True)
class ModuleStatus:
    """The status of DAMON_RECLAIM or DAMON_LRU_SORT.

    Attributes
    ----------
    enabled
        Whether the module is on.
    ours
        Whether a pydamon switched it on.
    kdamond
        The pid of its kernel thread.
    counters
        The kernel's counters by name.
    """

    enabled: bool
    ours: bool
    kdamond: int
    counters: dict[str, int]


class _Module:
    name: ClassVar[str]
    """The kernel's name of the module."""
    since: ClassVar[str]
    """The release that brought it."""

    def __init__(
        self, *, modules: Path = MODULES, admin: Path = ADMIN, state: Path = STATE
    ) -> None:
        self._modules, self._admin, self._state = modules, admin, state
        self._files = Files(modules / self.name / "parameters")

    @property
    def available(self) -> bool:
        """Whether this kernel has the module."""
        return self._files.has("enabled")

    @property
    def enabled(self) -> bool:
        """Whether the module is on."""
        self._require()
        return self._files.read("enabled") == "Y"

    @property
    def ours(self) -> bool:
        """Whether the module is on because this or an earlier pydamon switched it on."""
        record = self._record()
        identity = _identity(self._kdamond)
        return bool(record and self.enabled and (record["kdamond"], record["started"]) == identity)

    def stop(self) -> None:
        """Switch the module off, and restore its parameters of before.

        Raises
        ------
        KernelError
            Where somebody else switched it on.
        """
        if self.enabled:
            self._refuse_foreign()
            self._files.write("enabled", "N")
        record = self._record()
        if record:
            self._write(record["before"])
        with suppress(FileNotFoundError):
            self._path.unlink()

    def _switch_on(self, wanted: dict[str, str]) -> None:
        if self.enabled:
            raise KernelError(f"{self.name.upper()} is on already, and not by us")
        if why := describe_user(Files(self._admin), self._state, self._modules):
            raise ProbeUnavailable(f"the kernel's DAMON is {why}")
        before = {name: self._files.read(name) for name in wanted}
        try:
            self._write(wanted)
            self._files.write("enabled", "Y")
        except BaseException:
            self._write(before)
            raise
        self._state.mkdir(mode=0o755, exist_ok=True)
        pid, started = _identity(self._kdamond)
        record = {"kdamond": pid, "started": started, "before": before}
        self._path.write_text(json.dumps(record))

    def _write(self, texts: dict[str, str]) -> None:
        for name, text in texts.items():
            self._files.write(name, text)

    def _refuse_foreign(self) -> None:
        if not self.ours:
            raise KernelError(
                f"{self.name.upper()} was switched on by somebody else, and is left as it is"
            )

    def _require(self) -> None:
        if not self.available:
            name = self.name.upper()
            raise ProbeUnavailable(f"this kernel has no {name} (CONFIG_{name}, Linux {self.since})")

    def _record(self) -> dict[str, Any] | None:
        try:
            record: dict[str, Any] = json.loads(self._path.read_text())
        except (OSError, ValueError):
            return None
        return record

    @property
    def _kdamond(self) -> int:
        # DAMON_STAT has no such file.
        return self._files.number("kdamond_pid") if self._files.has("kdamond_pid") else 0

    @property
    def _path(self) -> Path:
        return self._state / f"{self.name}.json"


class _TunableModule(_Module, Generic[P]):
    kind: type[P]
    """The type of its parameters."""

    def status(self) -> ModuleStatus:
        """Return whether the module is on, and its counters.

        Raises
        ------
        ProbeUnavailable
            Where this kernel lacks the module.
        """
        self._require()
        names = sorted(path.name for path in self._files.root.iterdir())
        counters = {
            name: self._files.number(name) for name in names if name.startswith(("nr_", "bytes_"))
        }
        return ModuleStatus(self.enabled, self.ours, self._kdamond, counters)

    def parameters(self) -> P:
        """Return the parameters of now; raises `ProbeUnavailable` as `status` does."""
        self._require()
        return read_parameters(self.kind, self._files)

    def start(self, parameters: P | None = None) -> None:
        """Switch the module on; it stays on until `stop`, even when this process ends.

        Parameters
        ----------
        parameters
            What it is told; the kernel's defaults if `None`.

        Raises
        ------
        ProbeUnavailable
            Where this kernel lacks the module or a parameter, or somebody uses DAMON.
        KernelError
            Where the module is on already.
        """
        self._require()
        self._switch_on(self._texts(parameters))

    def change(self, parameters: P) -> None:
        """Give the module other parameters while it is on.

        Parameters
        ----------
        parameters
            All parameters, not only those that change.

        Raises
        ------
        KernelError
            Where somebody else switched it on.
        ProbeUnavailable
            Where this kernel lacks the module or a parameter.
        """
        self._require()
        self._refuse_foreign()
        self._write(self._texts(parameters))
        self._files.write("commit_inputs", "Y")

    def _texts(self, parameters: P | None) -> dict[str, str]:
        """The files to write; a file that this kernel lacks matters unless it has its default."""
        default = to_files(self.kind())
        since = {
            attribute.metadata["file"]: attribute.metadata["since"]
            for attribute in fields(self.kind)
            if attribute.metadata
        }
        texts = {}
        for name, text in to_files(parameters or self.kind()).items():
            if self._files.has(name):
                texts[name] = text
            elif text != default[name]:
                came = f", which came with Linux {since[name]}" if since.get(name) else ""
                raise ProbeUnavailable(f"this kernel's {self.name.upper()} has no {name}{came}")
        return texts


class ReclaimModule(_TunableModule[ReclaimParameters]):
    """DAMON_RECLAIM, which pages out idle memory (CONFIG_DAMON_RECLAIM, Linux 5.16).

    Examples
    --------
    ```python
    module = pydamon.ReclaimModule()
    module.start(pydamon.ReclaimParameters(min_age="1min", quota_bytes="64M"))
    print(module.status().counters)
    module.stop()
    ```
    """

    name = "damon_reclaim"
    since = "5.16"
    kind = ReclaimParameters


class LruSortModule(_TunableModule[LruSortParameters]):
    """DAMON_LRU_SORT, which sorts the LRU lists (CONFIG_DAMON_LRU_SORT, Linux 6.0).

    Examples
    --------
    ```python
    module = pydamon.LruSortModule()
    module.start(pydamon.LruSortParameters(cold_min_age="5min"))
    module.stop()
    ```
    """

    name = "damon_lru_sort"
    since = "6.0"
    kind = LruSortParameters


@dataclass(frozen=True, slots=True)
class StatStatus:
    """What DAMON_STAT knows about the machine's memory.

    Attributes
    ----------
    enabled, ours
        As in `ModuleStatus`.
    bandwidth_bytes
        An estimate of the bytes accessed a second.
    idle_ms
        ``idle_ms[p]`` is for how long the percentile *p* (0 to 100) of the memory has been idle;
        below 0 it is accessed, and for how long.
    """

    enabled: bool
    ours: bool
    bandwidth_bytes: int
    idle_ms: tuple[int, ...]


class StatModule(_Module):
    """DAMON_STAT, which measures idle time (CONFIG_DAMON_STAT, Linux 6.17). No parameters.

    Examples
    --------
    ```python
    module = pydamon.StatModule()
    module.start()
    print(module.status().idle_ms[50])
    module.stop()
    ```
    """

    name = "damon_stat"
    since = "6.17"

    def status(self) -> StatStatus:
        """Return whether the module is on, and what it measured.

        Raises
        ------
        ProbeUnavailable
            Where this kernel lacks the module.
        """
        enabled = self.enabled
        idle = self._files.read("memory_idle_ms_percentiles").split(",") if enabled else []
        bandwidth = self._files.number("estimated_memory_bandwidth") if enabled else 0
        return StatStatus(enabled, self.ours, bandwidth, tuple(map(int, idle)))

    def start(self) -> None:
        """Switch the module on; it stays on until `stop`, even when this process ends.

        Raises
        ------
        ProbeUnavailable
            Where this kernel lacks the module, or somebody uses DAMON.
        KernelError
            Where the module is on already.
        """
        self._require()
        self._switch_on({})


def _identity(pid: int) -> tuple[int, int]:
    """A pid with the start time of its process."""
    return pid, started_at(pid)
