"""`pydamon doctor`: what works on this machine, and why the rest does not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from pydamon._cli.command import Args, command, option, print_json
from pydamon._cli.options import json_option
from pydamon._model.units import format_size

if TYPE_CHECKING:
    from pydamon._observe.probes import Availability

__all__ = ["doctor"]

_THP = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@command("doctor")
@json_option
@option(
    "--clean",
    is_flag=True,
    help="switch off the kernel's DAMON where a pydamon that was killed left it on",
)
def doctor(args: Args) -> int:
    """Say what works on this machine, why the rest does not, and what would change that.

    Only looks: nothing on the machine is changed, unless --clean finds that a pydamon which was
    killed left the kernel's DAMON on. What somebody else started is never touched.
    """
    from dataclasses import asdict

    from pydamon._observe.kernel import remove_leftover
    from pydamon._observe.probes import PROBES

    if args.clean:
        cleaned = remove_leftover()
        print("switched off what was left" if cleaned else "there is nothing of ours to remove")
        return 0
    found = {probe.name: probe.availability() for probe in PROBES}
    if args.json:
        probes = {name: asdict(here) for name, here in found.items()}
        print_json({"machine": _machine(), "probes": probes})
    else:
        _show(found)
    return 0 if any(here.works for here in found.values()) else 1


def _machine() -> dict[str, str]:
    import platform

    import psutil

    user = "root" if os.geteuid() == 0 else f"uid {os.geteuid()}"
    return {
        "kernel": f"Linux {platform.release()} on {platform.machine()}",
        "user": user,
        "memory": format_size(psutil.virtual_memory().total),
        "swap": format_size(psutil.swap_memory().total) if psutil.swap_memory().total else "none",
        "huge pages": _chosen(_THP),
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
        return str(error)
    return "in this kernel, and free: `--engine kernel` takes it"


def _modules() -> str:
    from pydamon._act.kernel import LruSortModule, ReclaimModule, StatModule
    from pydamon._model.errors import KernelError

    known = [kind() for kind in (ReclaimModule, LruSortModule, StatModule)]
    try:
        found = [f"{m.name.upper()} {'on' if m.enabled else 'off'}" for m in known if m.available]
    except KernelError:
        return "only root can see whether they are on"
    return ", ".join(found) or "not in this kernel"


def _chosen(path: Path) -> str:
    try:
        return path.read_text().partition("[")[2].partition("]")[0]
    except OSError:
        return "not in this kernel"


def _show(found: dict[str, Availability]) -> None:
    from pydamon._observe.probes import PROBES

    for name, value in _machine().items():
        print(f"{name + ':':16}{value}")
    usual = [probe.name for probe in PROBES if not probe.traits.by_name_only]
    best = next((name for name in usual if found[name].works), None)
    for probe in PROBES:
        here = found[probe.name]
        mark = "works" if here.works else "does not work here"
        chosen = ", and is what `--probe auto` takes" if probe.name == best else ""
        print(f"\nprobe {probe.name}: {mark}{chosen}")
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
