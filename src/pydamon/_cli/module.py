"""`pydamon module`: the kernel's own users of DAMON, switched and set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pydamon._cli.command import Args, Choice, argument, command, print_json
from pydamon._cli.options import json_option
from pydamon._model.errors import ProbeUnavailable, UsageError
from pydamon._model.plain import near

if TYPE_CHECKING:
    from pydamon._act.kernel import LruSortModule, ReclaimModule, StatModule
    from pydamon._act.kernel.parameters import ModuleParameters

    Module = ReclaimModule | LruSortModule | StatModule

__all__ = ["module", "module_named"]

_NAMES = ("reclaim", "lru-sort", "stat")
_VERBS = ("show", "on", "set", "off")
_PERCENTILES = (0, 50, 90, 100)
_MARKS = ("high", "mid", "low", "interval")
"""Parameters of the watermarks, which are a part of the module's."""


@command("module", usage="[OPTIONS] [MODULE [show | off | (on | set) [PARAMETER=VALUE]...]]")
@argument("name", type=Choice(_NAMES), required=False, metavar="MODULE", help=", ".join(_NAMES))
@argument(
    "verb",
    type=Choice(_VERBS),
    default="show",
    metavar="VERB",
    help="show (the default), on, set (while it is on), or off",
)
@argument("values", nargs=-1, type=click.STRING, metavar="PARAMETER=VALUE...", help="parameters")
@json_option
def module(args: Args) -> int:
    """Show, switch and set DAMON_RECLAIM, DAMON_LRU_SORT and DAMON_STAT.

    pydamon module
    pydamon module reclaim on min_age=1min quota_bytes=64M high=50%
    pydamon module reclaim set min_age=30s
    pydamon module reclaim off
    pydamon module --json

    A module stays on when pydamon ends. `off` restores the parameters of before. `on` without a
    parameter takes the kernel's default; `set` leaves all others as they are. A module that
    somebody else switched on is never changed. Parameters are those of `ReclaimParameters` and
    `LruSortParameters`; high, mid, low and interval are the watermarks of free memory.
    """
    from pydamon._act.kernel import StatModule

    names = [args.name] if args.name else list(_NAMES)
    if args.values and args.verb not in ("on", "set"):
        raise UsageError(f"{args.verb} takes no parameters: {args.values[0]}")
    if args.verb != "show":
        chosen = module_named(args.name)
        if isinstance(chosen, StatModule):
            _switch_stat(chosen, args)
        else:
            _switch(chosen, args)
    statuses = {name: _status(module_named(name)) for name in names}
    if args.json:
        print_json(statuses)
    else:
        for name, status in statuses.items():
            _show(name, status)
    return 0


def module_named(name: str) -> Module:
    """A module of this kernel's, if the kernel has it."""
    from pydamon._act.kernel import LruSortModule, ReclaimModule, StatModule

    kinds: dict[str, type[Module]] = dict(
        zip(_NAMES, (ReclaimModule, LruSortModule, StatModule), strict=True)
    )
    return kinds[name]()


def _switch_stat(chosen: StatModule, args: Args) -> None:
    if args.values or args.verb == "set":
        raise UsageError("DAMON_STAT has no parameters")
    if args.verb == "on":
        chosen.start()
    else:
        chosen.stop()


def _switch(chosen: ReclaimModule | LruSortModule, args: Args) -> None:
    if args.verb == "off":
        chosen.stop()
    elif args.verb == "on":
        chosen.start(_with(chosen.kind(), args.values))  # type: ignore[arg-type]
    elif not args.values:
        raise UsageError("set needs a parameter, as in min_age=1min")
    else:
        chosen.change(_with(chosen.parameters(), args.values))  # type: ignore[arg-type]


def _with(parameters: ModuleParameters, texts: tuple[str, ...]) -> ModuleParameters:
    """The parameters with those of the command line."""
    import attrs

    known = [str(field.alias) for field in attrs.fields(type(parameters)) if field.metadata]
    given: dict[str, Any] = {}
    marks: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.replace("-", "_")
        if not equals:
            raise UsageError(f"not a parameter and its value: {text}", hint="as in min_age=1min")
        if name in _MARKS:
            marks[name] = value
        elif name in known:
            given[name] = int(value) if value.isdecimal() else _flag(value)
        else:
            names = ", ".join((*known, *_MARKS))
            raise UsageError(f"no parameter is called {name}{near(name, known)}", hint=names)
    watermarks = attrs.evolve(parameters.watermarks, **marks)
    return attrs.evolve(parameters, **given, watermarks=watermarks)


def _flag(value: str) -> bool | str:
    """Yes or no as such, and other text as it is."""
    return {"yes": True, "no": False, "true": True, "false": False}.get(value.lower(), value)


def _status(chosen: Module) -> dict[str, Any] | None:
    """What there is to know of a module; `None` where this kernel lacks it."""
    from dataclasses import asdict

    from pydamon._act.kernel import StatModule

    try:
        status = asdict(chosen.status())
    except ProbeUnavailable:
        if chosen.available:
            raise
        return None
    if not isinstance(chosen, StatModule):
        status["parameters"] = _parameters(chosen.parameters())
    return status


def _parameters(parameters: ModuleParameters) -> dict[str, Any]:
    from attrs import fields

    watermarks = parameters.watermarks
    return {
        str(field.alias): getattr(parameters, field.name)
        for field in fields(type(parameters))
        if field.metadata
    } | {
        "high": watermarks.high_share,
        "mid": watermarks.mid_share,
        "low": watermarks.low_share,
        "interval": watermarks.interval_ns,
    }


def _show(name: str, status: dict[str, Any] | None) -> None:
    """A line for the module, one for what it counts, and one for its parameters."""
    from pydamon._cli.streams import console
    from pydamon._model.units import format_size

    label = f"DAMON_{name.upper().replace('-', '_')}"
    if status is None:
        console().print(f"{label}: this kernel has none")
        return
    state = "off"
    if status["enabled"]:
        state = "on, by pydamon" if status["ours"] else "on, not by pydamon"
    console().print(f"{label}: {state}")
    idle = status.get("idle_ms")
    if idle:
        marks = [
            f"{percent} % {_value('', idle[percent * (len(idle) - 1) // 100] * 10**6)}"
            for percent in _PERCENTILES
        ]
        console().print(f"  accessed a second: {format_size(status['bandwidth_bytes'])}")
        console().print(f"  idle for: {', '.join(marks)}")
    for part in ("counters", "parameters"):
        if values := status.get(part):
            console().print(f"  {' '.join(f'{k}={_value(k, v)}' for k, v in values.items())}")


def _value(name: str, value: Any) -> str:
    """A value as the command line takes it."""
    from pydamon._model.schemes.fields import Ns
    from pydamon._model.units import format_duration, format_size

    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{100 * value:g}%"
    if isinstance(value, Ns) or not name:
        text = format_duration(abs(value)).replace(" ", "")
        return text if value >= 0 else f"-{text}"
    return format_size(value).replace(" ", "") if "bytes" in name else str(value)
