"""`pydamon replay`: access memory as a recording says."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from threading import Event
from typing import TYPE_CHECKING, Any

from pydamon._cli.command import Args, NewFile, Parsed, command, eprint, option, print_json
from pydamon._cli.options import force_option, recording_options
from pydamon._cli.reports.heatmap import time_span
from pydamon._model.errors import TargetError, UsageError
from pydamon._model.units import format_duration, format_size, parse_percent

if TYPE_CHECKING:
    from pydamon._workloads import Running, Workload

__all__ = ["replay"]

_SHARE_OF_MEMORY = 0.9
"""More of the memory that is available is not taken."""
_CHECK_S = 0.1
_PROGRESS_S = 1.0
_SLOW = 0.8
"""Below this share of the accesses, the machine was too slow."""
_OFTEN_HZ = 400.0
"""More frequent accesses make no difference to any usual sampling interval."""


def _factor(text: str) -> float:
    """A factor of text such as `0.5` and `50%`."""
    try:
        value = parse_percent(text) / 100 if text.endswith("%") else float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise UsageError(f"not a factor: {text!r} (as in 0.5 or 50%)")
    return value


_FACTOR = Parsed(_factor, "factor")


@command("replay")
@recording_options
@option(
    "--time",
    type=Parsed(time_span),
    metavar="FROM-TO",
    help="replay this span of time after the start, as in 10s-1min (default: all)",
)
@option(
    "--speed",
    type=_FACTOR,
    default=1.0,
    metavar="X",
    help="replay so many times as fast, as in 2: with shorter phases and more frequent accesses",
)
@option(
    "--scale",
    type=_FACTOR,
    default=1.0,
    metavar="X",
    help="with so many times as much memory, as in 0.5",
)
@option(
    "-o",
    "--out",
    type=NewFile(),
    metavar="FILE",
    help="write a configuration for masim instead of accessing memory",
)
@force_option
def replay(args: Args) -> int:
    """Access memory as a recording says, to try policies on somebody else's workload.

    pydamon replay redis.damon
    pydamon replay --time 10s-1min --speed 2 --scale 0.5 redis.damon
    pydamon replay --out redis.cfg redis.damon

    A process allocates the memory that was resident, without gaps between addresses, and
    accesses it as often as was recorded, for as long as was recorded. Its pid is printed at the
    start: monitor it, or apply a policy to it. All recorded processes become one, unless --pid
    selects one of them. Ctrl-C ends it.

    masim's configurations have no access rates, so --out keeps only which memory is accessed when,
    and in which proportion.
    """
    from pydamon._cli.reports.base import new_file, open_recording
    from pydamon._data.analysis.where import never_empty
    from pydamon._workloads import from_recording, render

    recording = open_recording(args)
    if args.time is not None:
        begin_ns, end_ns = (recording.began_ns + offset_ns for offset_ns in args.time)
        recording = never_empty(recording.slice(start_ns=begin_ns, end_ns=end_ns), recording)
    workload = from_recording(recording, speed=args.speed, scale=args.scale)
    if args.out:
        comment = f"# {workload.about}, written by `pydamon replay`; masim has no access rates\n"
        new_file(args.out, args.force, (comment + render(workload.config)).encode())
        eprint(f"{_summary(workload)}: {args.out}")
        if args.json:
            print_json(_document(workload))
        return 0
    _check_memory(workload, args.scale)
    _run(workload, args)
    return 0


def _check_memory(workload: Workload, scale: float) -> None:
    """Raise `TargetError` if the workload would take too much of the memory that is available."""
    from pydamon._data.recording.arrow import free_memory

    free_bytes = free_memory()
    room_bytes = int(_SHARE_OF_MEMORY * free_bytes)
    if workload.size_bytes <= room_bytes:
        return
    fitting = scale * room_bytes / workload.size_bytes
    # Rounded down to two digits.
    digits = 1 - math.floor(math.log10(fitting))
    fitting = math.floor(fitting * 10**digits) / 10**digits
    raise TargetError(
        f"the replay needs {format_size(workload.size_bytes)}, and only "
        f"{format_size(free_bytes)} of memory are available here",
        hint=f"--scale {fitting:g} replays it with less memory; --pid, --time and --where select "
        "a part of it",
    )


def _run(workload: Workload, args: Args) -> None:
    """Run a workload until its end or a signal, and report what it does."""
    from pydamon._cli.record import stop_at_signals

    stopped = Event()
    eprint(f"{_summary(workload)}; allocating the memory")
    with stop_at_signals(stopped.set), workload.start() as running:
        begin_s = time.monotonic()
        if args.json:
            print_json({"pid": running.pid, **_document(workload, running.truth.regions)})
            sys.stdout.flush()
        eprint(f"replaying in process {running.pid}; Ctrl-C ends it")
        progress = _Progress(workload, begin_s)
        while not running.truth.ended and not stopped.wait(_CHECK_S):
            progress.show()
        progress.finish(running, stopped=stopped.is_set())


class _Progress:
    """A progress line on a terminal, and a summary at the end."""

    def __init__(self, workload: Workload, begin_s: float) -> None:
        self._workload = workload
        self._begin_s = self._shown_s = begin_s
        self._length = _format_ms(_length_ms(workload))
        self._terminal = sys.stderr.isatty()

    def show(self) -> None:
        now_s = time.monotonic()
        if self._terminal and now_s - self._shown_s >= _PROGRESS_S:
            self._shown_s = now_s
            passed_ms = 1000 * (now_s - self._begin_s)
            phases = self._workload.config.phases
            number, end_ms = 0, phases[0].duration_ms
            while end_ms < passed_ms and number + 1 < len(phases):
                number += 1
                end_ms += phases[number].duration_ms
            eprint(
                f"\r\x1b[K{_format_ms(passed_ms)} of {self._length}, "
                f"phase {number + 1} of {len(phases)}",
                end="",
            )

    def finish(self, running: Running, *, stopped: bool) -> None:
        clear = "\r\x1b[K" if self._terminal else ""
        passed_ms = 1000 * (time.monotonic() - self._begin_s)
        if not stopped and passed_ms < 0.5 * _length_ms(self._workload):
            raise TargetError(
                f"the process ended after {_format_ms(passed_ms)} of {self._length}",
                hint="the kernel may have killed it for its memory: try --scale 0.5",
            )
        eprint(f"{clear}{_format_ms(passed_ms)} of {self._length} replayed")
        share = _share_made(self._workload, running)
        if share < _SLOW:
            eprint(
                f"  this machine was too slow for {100 * (1 - share):.0f} % of the accesses; "
                "--scale or --speed below 1 asks less of it"
            )


def _share_made(workload: Workload, running: Running) -> float:
    """The share of the accesses that were made, of those that the rates ask for."""
    sizes = {region.name: region.size_bytes for region in workload.config.regions}
    wanted = made = 0.0
    for run in running.truth.phases:
        if not run.at_ns:
            continue
        passed_s = (run.at_ns[-1] - run.start_ns) / 1e9
        patterns = workload.config.phases[run.number].patterns
        for pattern, touched in zip(patterns, run.touched[-1], strict=True):
            places = math.ceil(sizes[pattern.region] / pattern.step_bytes)
            enough = passed_s * places * min(pattern.rate_hz or 0.0, _OFTEN_HZ)
            wanted += enough
            made += min(touched, enough)
    return made / wanted if wanted else 1.0


def _length_ms(workload: Workload) -> int:
    return sum(phase.duration_ms for phase in workload.config.phases)


def _format_ms(length_ms: float) -> str:
    return format_duration(round(length_ms * 1e6))


def _summary(workload: Workload) -> str:
    """The size of a workload in a line."""
    from pydamon._show.text import count

    config = workload.config
    return (
        f"{workload.about} in {count(len(config.regions), 'region')} and "
        f"{count(len(config.phases), 'phase')} of {_format_ms(_length_ms(workload))}"
    )


def _document(
    workload: Workload, addresses: Mapping[str, tuple[int, int]] | None = None
) -> dict[str, Any]:
    """Describe a workload for JSON; *addresses* has the start and end of each region that runs."""
    places = addresses or {}
    return {
        "size_bytes": workload.size_bytes,
        "duration_ns": _length_ms(workload) * 10**6,
        "regions": [
            {"name": region.name, "size_bytes": region.size_bytes}
            | ({"start": places[region.name][0]} if region.name in places else {})
            for region in workload.config.regions
        ],
        "phases": [
            {"name": phase.name, "duration_ns": phase.duration_ms * 10**6}
            for phase in workload.config.phases
        ],
    }
