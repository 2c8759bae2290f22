"""A service of the kernel's: it runs the kdamonds of a whole configuration, and reports on each."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pydamon._act.apply import counting
from pydamon._act.kernel.kdamonds import Kdamonds
from pydamon._act.policies.service import quota_status
from pydamon._model.errors import UsageError
from pydamon._model.schemes import Scheme, SchemeStats
from pydamon._observe.kernel import KdamondSettings

__all__ = ["KernelService"]

_STATUS_NS = 10**9
_PAUSE_S = 0.1
_NAME = "kdamond"


class KernelService:
    """Runs kdamonds until they end, until `stop`, or for *duration_ns*.

    With *dry_run* schemes only count. *load* returns the settings, again after `reload`. *report*
    is called with the status of each kdamond, by name, about once a second.
    """

    def __init__(
        self,
        name: str,
        load: Callable[[], Sequence[KdamondSettings]],
        *,
        dry_run: bool = False,
        duration_ns: int | None = None,
        report: Callable[[dict[str, dict[str, Any]]], None] = lambda _: None,
        complain: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._name = name
        self._load = load
        self._dry_run = dry_run
        self._end_ns = None if duration_ns is None else time.monotonic_ns() + duration_ns
        self._report = report
        self._complain = complain
        self._started_ns = time.time_ns()
        self._stopping = self._reloading = False
        self.settings = self._loaded()
        """The settings of each kdamond."""

    @property
    def names(self) -> tuple[str, ...]:
        """What `pydamon status` calls each kdamond."""
        return tuple(f"{self._name}.{_NAME}{number}" for number in range(len(self.settings)))

    def stop(self) -> None:
        """End soon; safe in a signal handler."""
        self._stopping = True

    def reload(self) -> None:
        """Read the configuration again soon; safe in a signal handler."""
        self._reloading = True

    def run(self) -> None:
        """Run the kdamonds; raises as `Kdamonds` does."""
        shown_ns = 0
        with Kdamonds(self.settings) as kdamonds:
            while not self._is_over(kdamonds):
                if self._reloading:
                    self._change(kdamonds)
                if time.monotonic_ns() - shown_ns >= _STATUS_NS:
                    shown_ns = time.monotonic_ns()
                    self._report(self._statuses(kdamonds))
                time.sleep(_PAUSE_S)
            self._report(self._statuses(kdamonds))

    def _loaded(self) -> tuple[KdamondSettings, ...]:
        settings = tuple(self._load())
        if not self._dry_run:
            return settings
        return tuple(replace(each, schemes=tuple(map(counting, each.schemes))) for each in settings)

    def _is_over(self, kdamonds: Kdamonds) -> bool:
        late = self._end_ns is not None and time.monotonic_ns() >= self._end_ns
        return self._stopping or late or not any(kdamonds.running)

    def _change(self, kdamonds: Kdamonds) -> None:
        self._reloading = False
        try:
            settings = self._loaded()
        except UsageError as error:
            self._complain(f"the configuration stays as it was: {error}")
            return
        if len(settings) != len(self.settings):
            self._complain("the number of kdamonds cannot be changed: start the service again")
            return
        for number, (new, old) in enumerate(zip(settings, self.settings, strict=True)):
            if new != old:
                kdamonds.change(number, new)
        self.settings = settings
        self._complain("the configuration was read again")

    def _statuses(self, kdamonds: Kdamonds) -> dict[str, dict[str, Any]]:
        columns = zip(
            self.names, kdamonds.settings, kdamonds.stats(), kdamonds.running, strict=True
        )
        return {
            name: self._status(name, settings, stats, is_on)
            for name, settings, stats, is_on in columns
        }

    def _status(
        self,
        name: str,
        settings: KdamondSettings,
        stats: Sequence[tuple[SchemeStats, int]],
        is_on: bool,
    ) -> dict[str, Any]:
        is_physical = settings.operations == "paddr"
        told = [*stats, *[(SchemeStats(), 0)] * (len(settings.schemes) - len(stats))]
        return {
            "name": name,
            "policy": None,
            "dry_run": self._dry_run,
            "running_ns": time.time_ns() - self._started_ns,
            "cpu_percent": None,
            "engine": "kernel",
            "probe": "kernel",
            "sampling_us": settings.attrs.sampling_ns // 1000,
            "aggregation_us": settings.attrs.aggregation_ns // 1000,
            "targets": [
                {"pid": target.pid, "name": "physical memory" if is_physical else _name(target.pid)}
                for target in settings.targets
            ],
            "figures": {},
            "schemes": [
                _scheme(scheme, *of_scheme, is_on)
                for scheme, of_scheme in zip(settings.schemes, told, strict=True)
            ],
        }


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except OSError:
        return ""


def _scheme(
    scheme: Scheme, stats: SchemeStats, effective_bytes: int, is_on: bool
) -> dict[str, Any]:
    return {
        "name": scheme.label,
        "state": "in the kernel's hands" if is_on else "ended",
        "grain": "region",
        "effective_bytes": effective_bytes if scheme.quota.limits else None,
        "quota": quota_status(scheme.quota),
        **asdict(stats),
    }
