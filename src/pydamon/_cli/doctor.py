"""`pydamon doctor`: which probes work on this machine, and why the others do not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydamon._cli.command import Args, command, option, print_json
from pydamon._cli.options import json_option
from pydamon._model.units import format_size

if TYPE_CHECKING:
    from pydamon._observe.kernel import RunningKdamond
    from pydamon._observe.probes.base import Availability

__all__ = ["doctor"]

_THP = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@command("doctor")
@json_option
@option(
    "--clean",
    is_flag=True,
    help="switch off the kernel's DAMON if a killed pydamon left it on",
)
def doctor(args: Args) -> int:
    """Show which probes work here, and how to enable the others.

    The doctor changes nothing. Only --clean does: it switches off the kernel's DAMON if a killed
    pydamon left it on. It never touches monitoring that another program started.
    """
    from dataclasses import asdict

    from pydamon._observe.kernel import remove_leftover
    from pydamon._observe.probes.registry import PROBES

    if args.clean:
        cleaned = remove_leftover()
        print("switched off the kernel's DAMON" if cleaned else "pydamon left nothing to remove")
        return 0
    availability = {probe.name: probe.availability() for probe in PROBES}
    if args.json:
        probes = {name: asdict(here) for name, here in availability.items()}
        kdamonds = [_as_json(kdamond) for kdamond in _kdamonds()]
        print_json({"machine": _machine(), "kdamonds": kdamonds, "probes": probes})
    else:
        _show(availability)
    return 0 if any(here.works for here in availability.values()) else 1


def _machine() -> dict[str, str]:
    import platform

    import psutil

    user = "root" if os.geteuid() == 0 else f"uid {os.geteuid()}"
    return {
        "kernel": f"Linux {platform.release()} on {platform.machine()}",
        "user": user,
        "memory": format_size(psutil.virtual_memory().total),
        "swap": format_size(psutil.swap_memory().total) if psutil.swap_memory().total else "none",
        "huge pages": _selected_word(_THP),
        "DAMON": _damon(),
        "its modules": _modules(),
    }


def _damon() -> str:
    from pydamon._model.errors import ProbeUnavailable
    from pydamon._observe.kernel import check_free, leftover

    try:
        check_free()
    except ProbeUnavailable as error:
        if leftover():
            return f"{error}; remove it with `pydamon doctor --clean`"
        return f"{error}; {error.hint}" if error.hint else str(error)
    return "in this kernel, and free: use it with `--engine kernel`"


def _modules() -> str:
    from pydamon._act.kernel import LruSortModule, ReclaimModule, StatModule
    from pydamon._model.errors import KernelError

    modules = [kind() for kind in (ReclaimModule, LruSortModule, StatModule)]
    try:
        states = [
            f"{m.name.upper()} {'on' if m.enabled else 'off'}" for m in modules if m.available
        ]
    except KernelError:
        return "only root can see whether they are on"
    return ", ".join(states) or "not in this kernel"


def _kdamonds() -> list[RunningKdamond]:
    """The kdamonds that run, as far as this user may know."""
    from pydamon._model.errors import KernelError, ProbeUnavailable
    from pydamon._observe.kernel import running_kdamonds

    try:
        return running_kdamonds()
    except (KernelError, ProbeUnavailable):
        return []


def _as_json(kdamond: RunningKdamond) -> dict[str, Any]:
    monitoring = kdamond.monitoring
    values: dict[str, Any] = {"pid": kdamond.pid, "name": kdamond.thread, "user": kdamond.user}
    if monitoring is None:
        return values
    attrs = monitoring.attrs
    return values | {
        "operations": monitoring.operations,
        "pids": [pid for pid in monitoring.pids if pid],
        "sampling_us": attrs.sampling_ns // 1000,
        "aggregation_us": attrs.aggregation_ns // 1000,
        "update_us": attrs.update_ns // 1000,
        "min_regions": attrs.min_regions,
        "max_regions": attrs.max_regions,
        "tuned": monitoring.is_tuned,
    }


def _selected_word(path: Path) -> str:
    """Return the word in brackets: the setting in files such as `always [madvise] never`."""
    try:
        return path.read_text().partition("[")[2].partition("]")[0]
    except OSError:
        return "not in this kernel"


def _show(availability: dict[str, Availability]) -> None:
    from pydamon._observe.probes.registry import PROBES

    for name, value in _machine().items():
        print(f"{name + ':':16}{value}")
    for kdamond in _kdamonds():
        how = f"; `--join {kdamond.pid}` looks on" if kdamond.monitoring else ""
        print(f"{'kdamond:':16}{kdamond.describe()}{how}")
    automatic = [probe.name for probe in PROBES if not probe.traits.by_name_only]
    best = next((name for name in automatic if availability[name].works), None)
    for probe in PROBES:
        here = availability[probe.name]
        state = "works" if here.works else "does not work here"
        note = ", and `--probe auto` uses it" if probe.name == best else ""
        print(f"\nprobe {probe.name}: {state}{note}")
        if not here.works:
            print(f"  why:          {here.reason}")
            if here.hint:
                print(f"  what to do:   {here.hint}")
        if here.note:
            print(f"  now:          {here.note}")
        print(f"  sees:         {probe.traits.sees}")
        print(f"  to within:    {probe.traits.grain}")
        print(f"  needs:        {probe.traits.needs}")
        print(f"  side effects: {probe.traits.side_effects}")
