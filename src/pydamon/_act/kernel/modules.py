"""The kernel's own users of DAMON: DAMON_RECLAIM, DAMON_LRU_SORT and DAMON_STAT.

    module = ReclaimModule()
    print(module.status())
    module.start(ReclaimParameters(min_age="1min", quota_bytes="64M"))
    ...
    module.stop()

Each is on or off for the whole machine, and goes on when this process is gone; so it is written
down in /run which of them we switched on, and what its parameters were before. What somebody else
switched on is never changed. Defaults and meanings are the kernel's (Linux,
Documentation/admin-guide/mm/damon/).
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from attrs import fields

from pydamon._act.kernel.parameters import LruSortParameters, ModuleParameters, ReclaimParameters
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
    """Whether a module is on, since when that is our doing, and its counters by their names."""

    enabled: bool
    ours: bool
    kdamond: int
    counters: dict[str, int]


class _Module:
    name: ClassVar[str]
    since: ClassVar[str]

    def __init__(
        self, *, modules: Path = MODULES, admin: Path = ADMIN, state: Path = STATE
    ) -> None:
        self._modules, self._admin, self._state = modules, admin, state
        self._files = Files(modules / self.name / "parameters")

    @property
    def available(self) -> bool:
        """Whether this kernel has it."""
        return self._files.has("enabled")

    @property
    def enabled(self) -> bool:
        """Whether it is on."""
        self._needed()
        return self._files.read("enabled") == "Y"

    @property
    def ours(self) -> bool:
        """Whether it is on because we, or an earlier pydamon, switched it on."""
        record = self._record()
        pid = self._kdamond
        return bool(
            record and self.enabled and (record["kdamond"], record["started"]) == _identity(pid)
        )

    def stop(self) -> None:
        """Switch it off, and give its parameters the values that they had before.

        Raises `KernelError` where somebody else switched it on.
        """
        if self.enabled:
            self._refuse_foreign()
            self._files.write("enabled", "N")
        record = self._record()
        for name, text in (record or {"before": {}})["before"].items():
            self._files.write(name, text)
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

    def _write(self, values: dict[str, str]) -> None:
        for name, text in values.items():
            self._files.write(name, text)

    def _refuse_foreign(self) -> None:
        if not self.ours:
            raise KernelError(
                f"{self.name.upper()} was switched on by somebody else, and is left as it is"
            )

    def _needed(self) -> None:
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
        # DAMON_STAT does not say.
        return self._files.number("kdamond_pid") if self._files.has("kdamond_pid") else 0

    @property
    def _path(self) -> Path:
        return self._state / f"{self.name}.json"


class _TunableModule(_Module, Generic[P]):
    kind: type[P]

    def status(self) -> ModuleStatus:
        """Whether it is on, and what it has done."""
        self._needed()
        names = [path.name for path in self._files.root.iterdir()]
        counters = {
            name: self._files.number(name)
            for name in sorted(names)
            if name.startswith(("nr_", "bytes_"))
        }
        return ModuleStatus(self.enabled, self.ours, self._kdamond, counters)

    def parameters(self) -> P:
        """What it is told now."""
        self._needed()
        return self.kind.of_files(self._files)

    def start(self, parameters: P | None = None) -> None:
        """Switch it on; it stays on until `stop`.

        Raises `ProbeUnavailable` where this kernel lacks it or somebody uses DAMON, and
        `KernelError` where it is on already.
        """
        self._needed()
        self._switch_on(self._wanted(parameters))

    def change(self, parameters: P) -> None:
        """Give it other parameters while it is on; raises `KernelError` where it is not ours."""
        self._needed()
        self._refuse_foreign()
        self._write(self._wanted(parameters))
        self._files.write("commit_inputs", "Y")

    def _wanted(self, parameters: P | None) -> dict[str, str]:
        parameters = parameters or self.kind()
        default = self.kind().as_files()
        since = {
            one.metadata["file"]: one.metadata["since"] for one in fields(self.kind) if one.metadata
        }
        wanted = {}
        for name, text in parameters.as_files().items():
            if self._files.has(name):
                wanted[name] = text
            elif text != default[name]:
                came = f", which came with Linux {since[name]}" if since.get(name) else ""
                raise ProbeUnavailable(f"this kernel's {self.name.upper()} has no {name}{came}")
        return wanted


class ReclaimModule(_TunableModule[ReclaimParameters]):
    """DAMON_RECLAIM (CONFIG_DAMON_RECLAIM, Linux 5.16)."""

    name = "damon_reclaim"
    since = "5.16"
    kind = ReclaimParameters


class LruSortModule(_TunableModule[LruSortParameters]):
    """DAMON_LRU_SORT (CONFIG_DAMON_LRU_SORT, Linux 6.0)."""

    name = "damon_lru_sort"
    since = "6.0"
    kind = LruSortParameters


@dataclass(frozen=True, slots=True)
class StatStatus:
    """What DAMON_STAT knows of the machine's memory.

    `bandwidth_bytes` is estimated to be accessed a second. `idle_ms[i]` is for how long the
    percentile *i* (0 to 100) of the memory has been idle; below 0 it is accessed, and for how long.
    """

    enabled: bool
    ours: bool
    bandwidth_bytes: int
    idle_ms: tuple[int, ...]


class StatModule(_Module):
    """DAMON_STAT (CONFIG_DAMON_STAT, Linux 6.17): has no parameters."""

    name = "damon_stat"
    since = "6.17"

    def status(self) -> StatStatus:
        """Whether it is on, and what it has found out."""
        enabled = self.enabled
        idle = self._files.read("memory_idle_ms_percentiles").split(",") if enabled else []
        bandwidth = self._files.number("estimated_memory_bandwidth") if enabled else 0
        return StatStatus(enabled, self.ours, bandwidth, tuple(map(int, idle)))

    def start(self) -> None:
        """Switch it on; it stays on until `stop`."""
        self._needed()
        self._switch_on({})


def _identity(pid: int) -> tuple[int, int]:
    """A pid with its start time."""
    return pid, started_at(pid)
