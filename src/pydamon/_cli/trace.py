"""`pydamon trace`: what the kernel's DAMON does, event by event."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from pydamon._cli.command import Args, NewFile, command, eprint, option, print_json
from pydamon._cli.options import duration_option, force_option, json_option

if TYPE_CHECKING:
    from pydamon._model.kernel_events import KernelEvents

__all__ = ["trace"]


@command("trace")
@duration_option
@option(
    "--event",
    "events",
    multiple=True,
    metavar="NAME",
    help="this tracepoint only; repeatable (default: all but those that tell regions)",
)
@option("-o", "--out", type=NewFile(), metavar="FILE", help="write the events to a file")
@force_option
@json_option
def trace(args: Args) -> int:
    """Show what the kernel's DAMON does, whoever runs it.

    pydamon trace --duration 10s
    pydamon trace --event damos_before_apply
    pydamon trace --duration 1min --out kdamond.events

    Each event of a tracepoint is a line: which region a scheme was applied to, what a scheme has
    done so far, how large its quota is now, which sampling interval the kernel has chosen. Nothing
    is written to the kernel. `report trace` sums up a file of events.
    """
    from pydamon._cli.record import stop_at_signals
    from pydamon._data.recording.events import EventRecorder
    from pydamon._observe.kernel.tracing import KernelTracer

    count = 0
    with ExitStack() as stack:
        tracer = stack.enter_context(KernelTracer(args.events))
        stack.enter_context(stop_at_signals(tracer.stop))
        if args.out:
            recorder = EventRecorder(args.out, tracer.fields, force=args.force)
            write: Callable[[list[KernelEvents]], None] = stack.enter_context(recorder).write
        else:
            write = partial(_print, as_json=args.json)
        eprint(f"listening to {', '.join(tracer.names)}; Ctrl-C ends it")
        for batch in tracer.run(args.duration):
            count += sum(map(len, batch))
            write(batch)
    if tracer.lost:
        eprint("some events are missing: they came faster than they could be read")
    if args.out and args.json:
        print_json({"events": count, "out": str(args.out), "complete": not tracer.lost})
    elif args.out:
        eprint(f"{count} events: {args.out}")
    elif not count:
        eprint("no events: no kdamond runs, or none has reached the end of an interval yet")
    return 0


def _print(batch: list[KernelEvents], *, as_json: bool) -> None:
    """Write a line for each event, at once."""
    for events in batch:
        _print_lines(events, as_json)
    sys.stdout.flush()


def _print_lines(events: KernelEvents, as_json: bool) -> None:
    names = list(events.values)
    columns = [events.values[name].tolist() for name in names]
    heads = zip(events.time_ns.tolist(), events.kdamond.tolist(), strict=True)
    write = sys.stdout.write
    for (time_ns, kdamond), *values in zip(heads, *columns, strict=True):
        fields = dict(zip(names, values, strict=True))
        write(
            _json_line(events.name, time_ns, kdamond, fields)
            if as_json
            else _text_line(events.name, time_ns, kdamond, fields)
        )


def _json_line(name: str, time_ns: int, kdamond: int, fields: dict[str, int]) -> str:
    from pydamon._model.display import dump_json

    document = {"time_ns": time_ns, "event": name, "kdamond": kdamond, "values": fields}
    return dump_json(document) + "\n"


def _text_line(name: str, time_ns: int, kdamond: int, fields: dict[str, int]) -> str:
    clock = time.strftime("%H:%M:%S", time.localtime(time_ns // 10**9))
    text = " ".join(f"{field}={_shown(field, value)}" for field, value in fields.items())
    return f"{clock}.{time_ns % 10**9 // 1000:06} {kdamond} {name} {text}\n"


def _shown(field: str, value: int) -> str:
    return f"{value:#x}" if field in ("start", "end") else str(value)
