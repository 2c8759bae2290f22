"""A service: applies schemes in the foreground, and tells others its status."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
from attrs import asdict as attrs_asdict
from attrs import evolve

from pydamon._act.apply import apply
from pydamon._act.kernel import KernelSchemes
from pydamon._act.policies.config import Config, TargetSelection
from pydamon._act.runtime import AppliedSchemes
from pydamon._model.closing import Closing
from pydamon._model.errors import ProbeUnavailable, PydamonError, TargetError, UsageError
from pydamon._model.schemes import Quota
from pydamon._model.snapshot import Snapshot
from pydamon._observe.kernel import KernelMonitor
from pydamon._observe.monitor import Monitor
from pydamon._observe.start import monitor, throttled_restarts
from pydamon._observe.targets import Child, Members
from pydamon._observe.targets.members import members_of_cgroup, members_of_user

__all__ = ["Service", "StatusFile", "read_statuses", "status_directory"]


def status_directory() -> Path:
    """Where status files are: /run/pydamon for root, else where only the user can write."""
    if os.geteuid() == 0:
        return Path("/run/pydamon")
    own = os.environ.get("XDG_RUNTIME_DIR") or os.path.expanduser("~/.cache")  # noqa: PTH111
    return Path(own, "pydamon")


class StatusFile(Closing):
    """The file that tells what a service is doing; it is gone when the service ends.

    Raises `UsageError` if a service of that name runs already.
    """

    def __init__(self, name: str, directory: Path | None = None) -> None:
        directory = directory or status_directory()
        self.path = directory / f"{name}.json"
        if (old := _read(self.path)) is not None:
            raise UsageError(
                f"a service named {name} is running already, as pid {old['pid']}",
                hint="end it first, or give this one another name",
            )
        self._created = psutil.Process().create_time()
        self._works = True

    def write(self, status: dict[str, Any]) -> None:
        """Replace the file at once, so that nobody reads half of it."""
        if not self._works:
            return
        text = json.dumps({"pid": os.getpid(), "created": self._created, **status})
        part = self.path.with_suffix(".part")
        try:
            self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            part.write_text(text)
            part.replace(self.path)
        except OSError:
            self._works = False  # nobody can be told, which is no reason to stop

    def close(self) -> None:
        """Remove it."""
        with suppress(OSError):  # it may be where this user may not even look
            self.path.unlink()


def read_statuses(directory: Path | None = None) -> dict[str, dict[str, Any]]:
    """What the services that run now have written last, by name."""
    paths = sorted((directory or status_directory()).glob("*.json"))
    found = ((path.stem, _read(path)) for path in paths)
    return {name: status for name, status in found if status is not None}


def _read(path: Path) -> dict[str, Any] | None:
    """A status, if whoever wrote it still runs."""
    try:
        status: dict[str, Any] = json.loads(path.read_bytes())
        if psutil.Process(status["pid"]).create_time() == status["created"]:
            return status
    except (OSError, ValueError, KeyError, TypeError, RecursionError, psutil.Error):
        pass
    return None


_STATUS_NS = 10**9


class Service(Closing):
    """Does what a configuration says; `run` returns when the targets are gone, or after `stop`.

    For a cgroup or a user it waits for processes to come. *load* is asked for the configuration
    again after `reload`; if that is wrong, or cannot be done, *complain* is told so and it goes on
    as before. *complain* is told, too, once each, which processes cannot be acted on. *report* gets
    the status about once a second. It ends after *duration_ns* at the latest, and with it the
    command. Raises what `monitor` and `apply` raise.
    """

    def __init__(
        self,
        load: Callable[[], Config],
        *,
        dry_run: bool = False,
        duration_ns: int | None = None,
        report: Callable[[dict[str, Any]], None] = lambda _: None,
        complain: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.config = load()
        self._members = _members(self.config.target)
        self._load = load
        self._dry_run = dry_run
        self.report = report
        """Called with the status."""
        self._end_ns = None if duration_ns is None else time.monotonic_ns() + duration_ns
        self._complain = complain
        self._started_ns = time.time_ns()
        self._since: tuple[int, int] | None = None
        """Time and CPU time when the first snapshot was there: what starting cost is no rate."""
        self._stopping = self._reloading = False
        self._before: tuple[Config, Members | None] | None = None
        """What to go back to if the configuration that is new turns out not to work."""
        self._mon: Monitor | None = None
        self._applied: AppliedSchemes | KernelSchemes | None = None
        self._child: Child | None = None
        self._snapshot: Snapshot | None = None
        self._resident_bytes = 0
        """Of all targets, when their watch began."""
        self._told: set[str] = set()
        self.exit_code = 0
        """That of the command, where there is one."""

    def stop(self) -> None:
        """End soon; safe in a signal handler."""
        self._stopping = True
        if self._mon is not None:
            self._mon.stop()

    def reload(self) -> None:
        """Read the configuration again, soon; safe in a signal handler."""
        self._reloading = True

    def run(self) -> None:
        """Apply the schemes until the end."""
        if self.config.target.command:
            self._child = Child(self.config.target.command)
        for _ in throttled_restarts(
            lambda: self.config.monitoring.cpu_budget_percent, self._is_over
        ):
            if self._reloading:
                self._reload()
            members, again = self._members, False
            if members is not None and not any(True for _ in members()):
                self._applied = self._snapshot = None
                self.report(self.status())
                continue
            try:
                with self._monitoring(members) as mon:
                    if self._child is not None:
                        self._child.go()
                    again = self._watch(mon)
            except PydamonError as error:
                if self._before is not None:
                    self._go_back(error)
                    continue
                if members is None or not self._may_go_on(error):
                    raise
                continue
            if members is None and not again:
                break
        self.close()

    def close(self) -> None:
        """End the command, if it still runs."""
        if self._child is not None:
            self.exit_code = self._child.end()
            self._child = None  # its exit code is that of the first time

    def _may_go_on(self, error: PydamonError) -> bool:
        """Whether a group is watched on: what one of its processes did is not the end of it."""
        if isinstance(error, TargetError):
            return True  # they were gone again before they could be watched
        # After a first snapshot nothing is wrong with this machine.
        if self._since is None or isinstance(error, ProbeUnavailable):
            return False
        self._tell_once(str(error))
        return True

    def _tell_once(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._complain(text)

    def status(self) -> dict[str, Any]:
        """What it is doing, as plain data."""
        mon, policy = self._mon, self.config.policy
        return {
            "name": self.config.name,
            "policy": policy.name if policy is not None else None,
            "dry_run": self._dry_run,
            "running_ns": time.time_ns() - self._started_ns,
            "cpu_percent": self._cpu_percent(),
            "engine": self.config.monitoring.engine,
            "probe": mon.probe_name if mon else None,
            "sampling_us": mon.attrs.sampling_ns // 1000 if mon else None,
            "aggregation_us": mon.attrs.aggregation_ns // 1000 if mon else None,
            "targets": [{"pid": t.pid, "name": t.name} for t in mon.layout.targets] if mon else [],
            "figures": self._figures(),
            "schemes": [
                {
                    "name": one.scheme.label,
                    "state": one.state,
                    "effective_bytes": one.effective_bytes,
                    "quota": _quota(one.scheme.quota),
                    **asdict(one.stats),
                }
                for one in (self._applied.schemes if self._applied else ())
            ],
        }

    def _cpu_percent(self) -> float | None:
        """What monitoring and acting cost; `None` where that was too short to tell."""
        if self._since is None:
            return None
        wall_ns = time.monotonic_ns() - self._since[0]
        cpu_ns = time.process_time_ns() - self._since[1]
        if isinstance(self._mon, KernelMonitor):
            cpu_ns += self._mon.kdamond_cpu_ns
        return round(100 * cpu_ns / wall_ns, 2) if wall_ns >= _STATUS_NS else None

    def _figures(self) -> dict[str, object]:
        """What is known besides what the schemes did: all of it is seen, whoever acts."""
        if self._snapshot is None:
            return {}
        policy = self.config.policy
        return (policy.figures(self._snapshot) if policy else {}) | {
            "resident_bytes": sum(one.rss_bytes for one in self._snapshot.footprints),
            "resident_at_first_bytes": self._resident_bytes,
        }

    @contextmanager
    def _monitoring(self, members: Members | None) -> Iterator[Monitor]:
        target = self.config.target
        pids = [self._child.pid] if self._child is not None else list(target.pids)
        options = attrs_asdict(self.config.monitoring)
        with monitor(members or pids, children=target.children, **options) as self._mon:
            yield self._mon
            self.report(self.status())
        self._mon = None

    def _watch(self, mon: Monitor) -> bool:
        """Apply the schemes to a monitor until it ends; whether another one is needed then."""
        shown_ns = 0
        processes = mon.layout.processes
        self._resident_bytes = sum(process.footprint().rss_bytes for process in processes)
        with ExitStack() as stack:
            applied = self._apply(mon, stack)
            for snapshot in self._snapshots(mon):
                self._snapshot = snapshot
                if self._since is None:
                    self._since = time.monotonic_ns(), time.process_time_ns()
                applied.act_on(snapshot)
                for text in applied.complaints():
                    self._tell_once(text)
                if time.monotonic_ns() - shown_ns >= _STATUS_NS:
                    shown_ns = time.monotonic_ns()
                    self.report(self.status())
                if applied.done or self._is_over():
                    self._stopping = True
                    break
                old = self.config
                if not (self._reloading and self._reload()):
                    continue
                new = self.config
                if (old.target, old.monitoring) != (new.target, new.monitoring):
                    return True
                try:
                    applied = self._apply(mon, stack)
                except PydamonError as error:
                    self._go_back(error)
        return False

    def _snapshots(self, mon: Monitor) -> Iterator[Snapshot]:
        """Those of a monitor, until the time is up."""
        if self._end_ns is None:
            return iter(mon)
        left_ns = self._end_ns - time.monotonic_ns()
        return mon.run(f"{left_ns}ns") if left_ns > 0 else iter(())

    def _is_over(self) -> bool:
        late = self._end_ns is not None and time.monotonic_ns() >= self._end_ns
        return self._stopping or late

    def _apply(self, mon: Monitor, stack: ExitStack) -> AppliedSchemes | KernelSchemes:
        """Apply the schemes that are configured now, instead of those that *stack* closes."""
        self._applied = applied = self._applied_to(mon)
        stack.close()
        stack.push(applied)
        self._before = None
        return applied

    def _go_back(self, error: PydamonError) -> None:
        """Go on as before the configuration was read again."""
        assert self._before is not None
        self._complain(f"the configuration stays as it was: {error}")
        (self.config, self._members), self._before = self._before, None

    def _applied_to(self, mon: Monitor) -> AppliedSchemes | KernelSchemes:
        schemes = self.config.schemes
        try:
            return apply(mon, *schemes, dry_run=self._dry_run)
        except ProbeUnavailable as error:
            # Of a policy's own quotas this is no loss: less is done than they allow, never more.
            full = [evolve(one, quota=evolve(one.quota, fail_charge=1.0)) for one in schemes]
            if self.config.policy is None or full == list(schemes):
                raise
            applied = apply(mon, *full, dry_run=self._dry_run)
            self._complain(f"what fails counts for the quota, too: {error}")
            return applied

    def _reload(self) -> bool:
        """Read the configuration again; whether it is another one now."""
        self._reloading = False
        try:
            config = self._load()
            members = _members(config.target)
        except PydamonError as error:
            self._complain(f"the configuration stays as it was: {error}")
            return False
        if config.target.command != self.config.target.command or config.name != self.config.name:
            self._complain("the command and the name cannot be changed: start the service again")
            return False
        if config == self.config:
            self._complain("the configuration was read again, and is the same")
            return False
        self._complain("the configuration was read again")
        self._before = self.config, self._members
        self.config, self._members = config, members
        return True


def _quota(quota: Quota) -> dict[str, Any]:
    return {
        "bytes": quota.size_bytes,
        "time_ns": int(quota.time_ns),
        "reset_ns": int(quota.reset_ns),
        "goals": [goal.metric for goal in quota.goals],
    }


def _members(target: TargetSelection) -> Members | None:
    """Who is in a group that comes and goes; `None` where no group is meant."""
    if target.cgroup:
        return members_of_cgroup(target.cgroup)
    return members_of_user(target.user) if target.user else None
