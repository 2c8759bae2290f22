"""Which kdamonds run on this machine, whose they are, and how they monitor: only files are read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydamon._model.attrs import Attrs
from pydamon._model.errors import KernelError, ProbeUnavailable
from pydamon._model.units import format_duration
from pydamon._observe.kernel.files import Files
from pydamon._observe.kernel.kdamond import ADMIN
from pydamon._observe.linux.monitors import EXCLUSIVE, MODULES, is_on
from pydamon._observe.linux.procfs import PF_KTHREAD, Stat, read

__all__ = ["Monitoring", "RunningKdamond", "running_kdamonds"]

SYSFS = "sysfs"
"""The user of a kdamond that a program controls by sysfs."""
_PROC = Path("/proc")
_US = 1000
_SHOWN_PIDS = 5


@dataclass(frozen=True, slots=True)
class Monitoring:
    """How a kdamond monitors, as the files of its user say.

    Parameters
    ----------
    operations
        ``"vaddr"``, ``"fvaddr"`` or ``"paddr"``.
    pids
        The process of each target; 0 for physical memory.
    attrs
        The attributes. Where the kernel tunes the intervals, these are the ones to begin with, but
        the samples an aggregation stay the same.
    is_tuned
        Whether the kernel tunes the intervals.
    is_current
        Whether the intervals of `attrs` are those of now even if the kernel tunes them.
    address_unit
        Bytes of one unit of the kernel's addresses.
    """

    operations: str
    pids: tuple[int, ...]
    attrs: Attrs
    is_tuned: bool = False
    is_current: bool = True
    address_unit: int = 1


@dataclass(frozen=True, slots=True)
class RunningKdamond:
    """A kernel thread that monitors now.

    `user` is ``"sysfs"``, the kernel's module (such as ``"DAMON_STAT"``), or empty where nothing
    tells. `place` is the directory with its files; `monitoring` is `None` where they say nothing.
    """

    pid: int
    thread: str
    user: str
    place: Path | None = None
    monitoring: Monitoring | None = None

    def answers_to(self, name: str) -> bool:
        """Whether a person may mean this kdamond by *name*."""
        names = (str(self.pid), self.thread, self.user.lower())
        return name != "" and name.lower() in names

    def read_again(self) -> Monitoring | None:
        """How it monitors now; `None` where its files are gone or say nothing."""
        if self.place is None:
            return None
        files = Files(self.place)
        with suppress(KernelError, ProbeUnavailable):
            return _of_sysfs(files) if self.user == SYSFS else _of_module(files)
        return None

    def describe(self) -> str:
        """One line for people: who uses it, what it monitors, and how often."""
        words = [f"{self.thread} (pid {self.pid})"]
        if self.user:
            words.append(f"of {self.user}")
        monitoring = self.monitoring
        if monitoring is None:
            return " ".join([*words, "monitors, but no file says what"])
        attrs = monitoring.attrs
        intervals = (
            f"{format_duration(attrs.sampling_ns)} / {format_duration(attrs.aggregation_ns)}"
        )
        tuned = ", tuned by the kernel" if monitoring.is_tuned else ""
        pids = ", ".join(map(str, monitoring.pids[:_SHOWN_PIDS]))
        more = len(monitoring.pids) - _SHOWN_PIDS
        pids += f" and {more} more" if more > 0 else ""
        memory = "physical memory" if monitoring.operations == "paddr" else f"pid {pids}"
        regions = f"{attrs.min_regions} to {attrs.max_regions} regions"
        return f"{' '.join(words)} monitors {memory}: {intervals}{tuned}, {regions}"


def running_kdamonds(
    files: Files | None = None, modules: Path = MODULES, proc: Path = _PROC
) -> list[RunningKdamond]:
    """The kdamonds that run, by pid.

    Raises `ProbeUnavailable` where only root may know. A pid namespace hides the threads.
    """
    threads = _threads(proc)
    kdamonds = {k.pid: k for k in _of_programs(files or Files(ADMIN), threads)}
    waiting: list[str] = []
    for name in EXCLUSIVE:
        if is_on(modules / name):
            pid = _pid_of_module(Files(modules / name / "parameters"))
            if pid > 0:
                kdamonds[pid] = _module_kdamond(pid, name, modules, threads)
            else:
                waiting.append(name)
    others = [pid for pid in threads if pid not in kdamonds]
    # DAMON_STAT names its thread since Linux 7.2 only: before, it is the thread that is left over.
    if len(others) == len(waiting) == 1:
        kdamonds[others[0]] = _module_kdamond(others[0], waiting[0], modules, threads)
    else:
        kdamonds |= {pid: RunningKdamond(pid, threads[pid], "") for pid in others}
    return [kdamonds[pid] for pid in sorted(kdamonds)]


def _threads(proc: Path) -> dict[int, str]:
    """The name of every kernel thread of DAMON, by pid."""
    threads = {}
    for directory in proc.iterdir():
        if not directory.name.isdigit():
            continue
        with suppress(OSError):
            stat = Stat.of(read(f"{directory}/stat"))
            if stat and stat.flags & PF_KTHREAD and stat.comm.startswith("kdamond"):
                threads[int(directory.name)] = stat.comm
    return threads


def _of_programs(files: Files, threads: dict[int, str]) -> Iterator[RunningKdamond]:
    """The kdamonds that run by sysfs."""
    if not files.has("nr_kdamonds"):
        return
    for number in range(files.number("nr_kdamonds")):
        with suppress(KernelError, ProbeUnavailable):  # its user removes it just now
            if files.read(f"{number}/state") == "on" and (pid := files.number(f"{number}/pid")) > 0:
                place = files.root / str(number)
                name = threads.get(pid, f"kdamond.{number}")
                yield RunningKdamond(pid, name, SYSFS, place, _of_sysfs(Files(place)))


def _pid_of_module(files: Files) -> int:
    """The pid of a module's thread; 0 or less if the module does not say."""
    with suppress(KernelError, ProbeUnavailable):
        return files.number("kdamond_pid") if files.has("kdamond_pid") else 0
    return 0


def _module_kdamond(pid: int, name: str, modules: Path, threads: dict[int, str]) -> RunningKdamond:
    place = modules / name / "parameters"
    thread = threads.get(pid, "kdamond")
    try:
        monitoring = _of_module(Files(place))
    except (KernelError, ProbeUnavailable):
        monitoring = None
    return RunningKdamond(pid, thread, name.upper(), place, monitoring)


def _of_sysfs(files: Files) -> Monitoring:
    context = "contexts/0"
    path = f"{context}/monitoring_attrs"
    intervals = [f"{path}/intervals/{name}" for name in ("sample_us", "aggr_us", "update_us")]
    bounds = [f"{path}/nr_regions/{name}" for name in ("min", "max")]
    goal = f"{path}/intervals/intervals_goal/aggrs"
    is_tuned = files.has(goal) and files.number(goal) > 0
    operations = files.read(f"{context}/operations")
    pids = tuple(
        0 if operations == "paddr" else files.number(f"{target}/pid_target")
        for target in files.numbered(f"{context}/targets")
    )
    unit = f"{context}/addr_unit"
    return Monitoring(
        operations,
        pids,
        _attrs(*(files.number(name) for name in (*intervals, *bounds))),
        is_tuned,
        # They are written when the user asks for it.
        is_current=not is_tuned,
        address_unit=_unit(files, unit) if operations == "paddr" else 1,
    )


def _of_module(files: Files) -> Monitoring:
    """Physical memory, as DAMON_RECLAIM, DAMON_LRU_SORT and DAMON_STAT have it."""
    default = Attrs()
    if not files.has("aggr_interval"):
        # DAMON_STAT: DAMON's defaults, tuned. Linux 6.19 brought the file.
        attrs, is_current = default, files.has("aggr_interval_us")
        if is_current and (aggr_us := files.number("aggr_interval_us")) > 0:
            samples = default.samples_per_aggregation
            attrs = _attrs(aggr_us // samples, aggr_us, 0, default.min_regions, default.max_regions)
        return Monitoring("paddr", (0,), attrs, is_tuned=True, is_current=is_current)
    names = ("sample_interval", "aggr_interval", "min_nr_regions", "max_nr_regions")
    sample_us, aggr_us, least, most = map(files.number, names)
    tuning = "autotune_monitoring_intervals"
    is_tuned = files.has(tuning) and files.read(tuning) == "Y"
    attrs = _attrs(sample_us, aggr_us, 0, least, most)
    unit = _unit(files, "addr_unit")
    return Monitoring("paddr", (0,), attrs, is_tuned, not is_tuned, unit)


def _unit(files: Files, path: str) -> int:
    """`addr_unit`, which Linux 6.18 brought."""
    return max(1, files.number(path)) if files.has(path) else 1


def _attrs(sample_us: int, aggr_us: int, update_us: int, least: int, most: int) -> Attrs:
    """Attributes that others wrote, who may have bounds in mind that `Attrs` does not take."""
    sampling_ns = max(1, sample_us) * _US
    aggregation_ns = max(sampling_ns, aggr_us * _US)
    update_ns = max(aggregation_ns, update_us * _US, Attrs().update_ns)
    least = max(3, least)
    return Attrs(sampling_ns, aggregation_ns, update_ns, least, max(least, most))
