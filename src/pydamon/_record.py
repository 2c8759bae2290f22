"""Record what a monitor sees: `record` in one call, and the part that the command line shares."""

from __future__ import annotations

import logging
import os
import shlex
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from pydamon._data.recording import Recorder, RecordingInfo
from pydamon._model.errors import UsageError
from pydamon._observe.monitor import Monitor
from pydamon._observe.options import CommonOptions, MonitorOptions
from pydamon._observe.start import AUTO, monitor
from pydamon._observe.targets import Members

if TYPE_CHECKING:
    from pydamon._model.snapshot import Snapshot
    from pydamon._observe.targets.command import Child
    from pydamon._observe.targets.selection import TargetSelection

__all__ = ["profiling", "record", "recorder_for", "start_program", "tracing"]

_LOG = logging.getLogger("pydamon")


def record(
    target: int | Iterable[int] | Members | TargetSelection | str | Iterable[str],
    path: str | Path,
    *,
    duration: str | timedelta | None = None,
    force: bool = False,
    engine: str = AUTO,
    options: MonitorOptions | None = None,
    children: bool = True,
    ranges: Sequence[tuple[int, int]] | None = None,
    trace: bool = False,
    profile_hz: int = 0,
    **common: Unpack[CommonOptions],
) -> Path:
    """Monitor processes, or a program from its start, and write a recording.

    Parameters
    ----------
    target
        Processes, as `monitor` takes them; or a program to start, as a list of words or as a
        line that is split as a shell would. The program ends with the recording.
    path
        The file to write.
    duration
        How long to record, as in ``"10s"``; `None` records until the targets have exited.
    force
        Overwrite an existing file.
    engine, options, children, ranges, **common
        As for `monitor`.
    trace
        Also write the events of the kernel's DAMON, into a file beside the recording, for
        `analysis.trace`; for the kernel's engine only.
    profile_hz
        Also record which functions the processes run, as of so many samples a second on each CPU,
        for `analysis.recorded_samples`; 0 does not.

    Returns
    -------
    Path
        The file, which `read_recording`, `open_recording` and other readers take. It is complete
        even if Ctrl-C ends the recording.

    Raises
    ------
    RecordingError
        Where the file exists, or cannot be written.
    UsageError, TargetError, ProbeUnavailable
        As `monitor` does; `TargetError` also for a program that cannot be started.

    Examples
    --------
    ```python
    path = pydamon.record(["./my-program", "--fast"], "run.damon", duration="10s")
    print(pydamon.analysis.summary(pydamon.read_recording(path)).working_set)
    ```

    A file that exists is not overwritten:

    >>> import os, tempfile
    >>> import pydamon
    >>> with tempfile.NamedTemporaryFile(suffix=".damon") as file:
    ...     try:
    ...         pydamon.record(os.getppid(), file.name, duration="1s")
    ...     except pydamon.PydamonError as error:
    ...         print(type(error).__name__)
    RecordingError
    """
    command, pids = _program_or_pids(target)
    with ExitStack() as stack:
        child = stack.enter_context(start_program(command)) if command else None
        mon = stack.enter_context(
            monitor(
                child.pid if child else pids,
                engine=engine,
                options=options,
                children=children,
                ranges=ranges,
                **common,
            )
        )
        snapshots = mon.run(duration)
        if profile_hz:
            snapshots = stack.enter_context(profiling(mon, snapshots, path, profile_hz))
        write_events = stack.enter_context(tracing(mon, path, force=force)) if trace else None
        recorder = stack.enter_context(recorder_for(mon, path, force=force, command=command))
        if child:
            child.go()
        for snapshot in snapshots:
            recorder.write(snapshot)
            if write_events:
                write_events()
    return Path(path)


def start_program(command: list[str]) -> Child:
    """Start a program that waits for `Child.go`."""
    # Recordings of processes do without the import of subprocess.
    from pydamon._observe.targets.command import Child  # noqa: PLC0415

    return Child(command)


def recorder_for(
    mon: Monitor, path: str | Path, *, force: bool = False, command: Sequence[str] = ()
) -> Recorder:
    """Create the file for the snapshots of a monitor, of *command* if it was started for that."""
    commands = (tuple(command),) if command else _command_lines(mon)
    info = RecordingInfo.here(mon.attrs, mon.probe_name, time.time_ns(), commands)
    return Recorder(path, info, force=force)


@contextmanager
def profiling(
    mon: Monitor, snapshots: Iterator[Snapshot], path: str | Path, hz: int | None = None
) -> Iterator[Iterator[Snapshot]]:
    """Add to the snapshots of a monitor which functions ran.

    A warning tells of samples that are missing. Raises as `CpuSampler` does.
    """
    # Most recordings do without.
    from pydamon._observe.cpu.sampler import DEFAULT_HZ, CpuSampler  # noqa: PLC0415

    with CpuSampler(mon, DEFAULT_HZ if hz is None else hz) as sampler:
        yield map(sampler.added_to, snapshots)
        if sampler.lost:
            _LOG.warning("%s lacks samples: they came faster than they could be read", path)


@contextmanager
def tracing(mon: Monitor, path: str | Path, *, force: bool = False) -> Iterator[Callable[[], None]]:
    """Listen to the kernel's DAMON; yields what writes the events so far beside a recording.

    A warning tells of events that are missing. Raises `UsageError` for a monitor that is not the
    kernel's.
    """
    # Most recordings do without.
    from pydamon._data.recording.events import EventRecorder, new_events_beside  # noqa: PLC0415
    from pydamon._observe.kernel.tracing import KernelTracer  # noqa: PLC0415

    if mon.engine != "kernel":
        raise UsageError(
            "only the kernel's DAMON has events to trace", hint="name --engine kernel, or --join"
        )

    beside = new_events_beside(path, force=force)
    recorder: EventRecorder | None = None

    def write() -> None:
        nonlocal recorder
        if recorder is None:  # by now there is a recording to lie beside
            recorder = stack.enter_context(EventRecorder(beside, tracer.fields, force=force))
        recorder.write(tracer.read())

    with KernelTracer() as tracer, ExitStack() as stack:
        yield write
        write()
        if tracer.lost:
            _LOG.warning("%s lacks events: they came faster than they could be read", beside)


def _program_or_pids(
    target: int | Iterable[int] | Members | TargetSelection | str | Iterable[str],
) -> tuple[list[str], int | list[int] | Members | TargetSelection]:
    """The words of a program, if a program is meant; else the processes."""
    if isinstance(target, int) or callable(target):
        return [], target
    if isinstance(target, str):
        return shlex.split(target), []
    if not isinstance(target, Iterable):
        return list(target.command), [] if target.command else target
    values = list(target)
    words = [value for value in values if isinstance(value, str)]
    return words, [value for value in values if isinstance(value, int)]


def _command_lines(mon: Monitor) -> tuple[tuple[str, ...], ...]:
    """The command line of each target that is a process."""
    lines = []
    for target in mon.layout.targets:
        if not target.pid:
            continue
        try:
            line = Path(f"/proc/{target.pid}/cmdline").read_bytes()
        except OSError:
            line = b""
        words = [os.fsdecode(word) for word in line.split(b"\0")]
        # A program that writes a title over its arguments leaves the rest of them empty.
        while words and not words[-1]:
            words.pop()
        lines.append(tuple(words))
    return tuple(lines)
