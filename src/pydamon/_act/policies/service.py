"""A service: applies schemes in the foreground, and reports its status."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import Any

from attrs import evolve

from pydamon._act.applied import Applied, AppliedScheme
from pydamon._act.apply import apply
from pydamon._act.policies.config import Config
from pydamon._model.carried_ages import CarriedAges
from pydamon._model.closing import Closing
from pydamon._model.errors import ProbeUnavailable, PydamonError, TargetError
from pydamon._model.schemes import Quota
from pydamon._model.snapshot import Snapshot
from pydamon._observe.fallback import fallback_note
from pydamon._observe.monitor import Monitor
from pydamon._observe.start import monitor, throttled_restarts
from pydamon._observe.targets import Members
from pydamon._observe.targets.command import Child
from pydamon._observe.targets.selection import TargetSelection

__all__ = ["Service", "quota_status"]

_STATUS_NS = 10**9


class Service(Closing):
    """Does what a configuration says, until its targets are gone.

    For a group, such as a cgroup or a user, it waits for processes to come.

    Parameters
    ----------
    load
        Returns the configuration; called again after `reload`.
    dry_run
        Count what would be done, and do nothing.
    duration_ns
        End after this time at the latest, and end the command, if there is one.
    report
        Called with the status about once a second.
    complain
        Called with sentences for people, each once: processes that cannot be acted on, and a new
        configuration that is wrong or cannot be applied, after which the old one stays.

    Raises
    ------
    UsageError, TargetError
        From *load*, and for a cgroup, user or container that does not exist.

    Examples
    --------
    Reclaim the idle memory of a user's processes for an hour:

    ```python
    config = load_config("reclaim.toml", POLICIES)
    with Service(lambda: config, duration_ns=3600 * 10**9, report=print) as service:
        service.run()
    ```
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
        self._current = _CurrentConfig(load, complain)
        self._dry_run = dry_run
        self.report = report
        """Called with the status."""
        self._end_ns = None if duration_ns is None else time.monotonic_ns() + duration_ns
        self._complain = complain
        self._started_ns = time.time_ns()
        self._measured_since: tuple[int, int] | None = None
        """Time and CPU time at the first snapshot: the cost of starting is no rate."""
        self._stopping = self._reloading = False
        self._mon: Monitor | None = None
        self._applied: Applied | None = None
        self._child: Child | None = None
        self._snapshot: Snapshot | None = None
        self._ages = CarriedAges()
        self._initial_rss_bytes = 0
        self._told: set[str] = set()
        self.exit_code = 0
        """The exit code of the command, if there is one."""

    @property
    def config(self) -> Config:
        """The configuration in use."""
        return self._current.config

    def stop(self) -> None:
        """End soon; safe in a signal handler."""
        self._stopping = True
        if self._mon is not None:
            self._mon.stop()

    def reload(self) -> None:
        """Load the configuration again soon; safe in a signal handler."""
        self._reloading = True

    def run(self) -> None:
        """Apply the schemes until the end.

        Raises
        ------
        TargetError, ProbeUnavailable, SchemeError
            As `monitor` and `apply` do.
        """
        if self.config.target.command:
            self._child = Child(self.config.target.command)
        for _ in throttled_restarts(self._budget_percent, self._is_over):
            if self._reloading:
                self._reload()
            members = self._current.members
            if members is not None and not any(True for _ in members()):
                self._applied = self._snapshot = None
                self.report(self.status())
            elif not self._watch_once(members):
                break
        self.close()

    def close(self) -> None:
        """End the command, if it still runs."""
        if self._child is not None:
            self.exit_code = self._child.end()
            self._child = None  # a second end would not know the exit code

    def status(self) -> dict[str, Any]:
        """Return what the service is doing, as plain data."""
        mon, policy = self._mon, self.config.policy
        schemes = self._applied.schemes if self._applied is not None else ()
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
            "schemes": [_scheme_status(scheme) for scheme in schemes],
        }

    def _budget_percent(self) -> float:
        return self.config.monitoring.cpu_budget_percent

    def _cpu_percent(self) -> float | None:
        """The cost of monitoring and acting; `None` until it can be told."""
        if self._measured_since is None:
            return None
        wall_ns = time.monotonic_ns() - self._measured_since[0]
        cpu_ns = time.process_time_ns() - self._measured_since[1]
        if self._mon is not None:
            cpu_ns += self._mon.kdamond_cpu_ns
        return round(100 * cpu_ns / wall_ns, 2) if wall_ns >= _STATUS_NS else None

    def _figures(self) -> dict[str, object]:
        """Figures of the policy and of resident memory, whoever acts."""
        if self._snapshot is None:
            return {}
        policy = self.config.policy
        footprints = self._snapshot.footprints
        snapshot = self._ages.add(self._snapshot)
        return (policy.figures(snapshot) if policy else {}) | {
            "resident_bytes": sum(footprint.rss_bytes for footprint in footprints),
            "resident_at_first_bytes": self._initial_rss_bytes,
        }

    def _watch_once(self, members: Members | None) -> bool:
        """Monitor until the targets are gone; return whether to start again."""
        try:
            with self._monitoring(members) as mon:
                if self._child is not None:
                    self._child.go()
                needs_other_monitor = self._watch(mon)
        except PydamonError as error:
            if self._current.go_back(error):
                return True
            if members is None or not self._survives(error):
                raise
            return True
        return members is not None or needs_other_monitor

    def _survives(self, error: PydamonError) -> bool:
        """Whether a group is watched on after an error with one of its processes."""
        if isinstance(error, TargetError):
            return True  # the processes were gone before they could be watched
        # After a first snapshot nothing is wrong with this machine.
        if self._measured_since is None or isinstance(error, ProbeUnavailable):
            return False
        self._tell_once(str(error))
        return True

    def _tell_once(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._complain(text)

    @contextmanager
    def _monitoring(self, members: Members | None) -> Iterator[Monitor]:
        target, monitoring = self.config.target, self.config.monitoring
        pids = [self._child.pid] if self._child is not None else list(target.pids)
        with monitor(
            members or pids,
            engine=monitoring.engine,
            options=monitoring.options,
            children=target.children,
        ) as self._mon:
            if note := fallback_note(self._mon):
                self._tell_once(note)
            yield self._mon
            self.report(self.status())
        self._mon = None

    def _watch(self, mon: Monitor) -> bool:
        """Apply the schemes until the monitor ends; return whether another one is needed then."""
        shown_ns = 0
        processes = mon.layout.processes
        self._initial_rss_bytes = sum(process.footprint().rss_bytes for process in processes)
        with ExitStack() as stack:
            applied = self._apply(mon, stack)
            for snapshot in self._snapshots(mon):
                self._act_on(applied, snapshot)
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
                    self._current.go_back(error)
        return False

    def _act_on(self, applied: Applied, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        if snapshot.page_ages is not None:
            self._ages.add(snapshot)
        if self._measured_since is None:
            self._measured_since = time.monotonic_ns(), time.process_time_ns()
        applied.act_on(snapshot)
        for text in applied.complaints():
            self._tell_once(text)

    def _snapshots(self, mon: Monitor) -> Iterator[Snapshot]:
        """The snapshots of a monitor until the time is up."""
        if self._end_ns is None:
            return iter(mon)
        left_ns = self._end_ns - time.monotonic_ns()
        return mon.run(f"{left_ns}ns") if left_ns > 0 else iter(())

    def _is_over(self) -> bool:
        late = self._end_ns is not None and time.monotonic_ns() >= self._end_ns
        return self._stopping or late

    def _apply(self, mon: Monitor, stack: ExitStack) -> Applied:
        """Apply the configured schemes in place of those that *stack* closes."""
        self._applied = applied = self._applied_to(mon)
        stack.close()
        stack.push(applied)
        self._current.accept()
        return applied

    def _applied_to(self, mon: Monitor) -> Applied:
        schemes = self.config.schemes
        try:
            return apply(mon, *schemes, dry_run=self._dry_run)
        except ProbeUnavailable as error:
            # For a policy's own quotas this is no loss: less is done than they allow, never more.
            full = tuple(evolve(s, quota=evolve(s.quota, fail_charge=1.0)) for s in schemes)
            if self.config.policy is None or full == schemes:
                raise
            applied = apply(mon, *full, dry_run=self._dry_run)
            self._complain(f"what fails counts for the quota, too: {error}")
            return applied

    def _reload(self) -> bool:
        """Load the configuration again; return whether it is another one now."""
        self._reloading = False
        return self._current.reload()


class _CurrentConfig:
    """The configuration in use, with a way back while a new one has not been applied yet."""

    def __init__(self, load: Callable[[], Config], complain: Callable[[str], None]) -> None:
        self._load = load
        self._complain = complain
        self.config = load()
        self.members = _members(self.config.target)
        """Lists the pids of a group that comes and goes; `None` where no group is meant."""
        self._before: tuple[Config, Members | None] | None = None

    def reload(self) -> bool:
        """Load again; return whether there is another configuration now."""
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
        self._before = self.config, self.members
        self.config, self.members = config, members
        return True

    def accept(self) -> None:
        """Give up the way back: the configuration works."""
        self._before = None

    def go_back(self, error: PydamonError) -> bool:
        """Go back to the configuration that worked; return whether there is one."""
        if self._before is None:
            return False
        self._complain(f"the configuration stays as it was: {error}")
        (self.config, self.members), self._before = self._before, None
        return True


def _scheme_status(scheme: AppliedScheme) -> dict[str, Any]:
    quota = scheme.scheme.quota
    return {
        "name": scheme.scheme.label,
        "state": scheme.state,
        "grain": scheme.grain,
        "effective_bytes": scheme.effective_bytes,
        "quota": quota_status(quota),
        **asdict(scheme.stats),
    }


def quota_status(quota: Quota) -> dict[str, Any]:
    """The limits of a quota, as a status has them."""
    return {
        "bytes": quota.size_bytes,
        "time_ns": int(quota.time_ns),
        "reset_ns": int(quota.reset_ns),
        "goals": [goal.metric for goal in quota.goals],
    }


def _members(target: TargetSelection) -> Members | None:
    return target.members() if target.is_group else None
