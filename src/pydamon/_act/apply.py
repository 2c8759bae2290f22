"""Apply schemes to what a monitor sees: by pydamon, or by the kernel that monitors."""

from __future__ import annotations

from typing import overload

from pydamon._act.kernel.schemes import KernelSchemes
from pydamon._act.runtime import AppliedSchemes
from pydamon._act.runtime.apply import apply as apply_here
from pydamon._model.schemes import Scheme
from pydamon._observe.kernel.monitor import KernelMonitor
from pydamon._observe.monitor import Monitor
from pydamon._observe.sampling import SamplingMonitor

__all__ = ["apply"]


@overload
def apply(mon: SamplingMonitor, *schemes: Scheme, dry_run: bool = False) -> AppliedSchemes: ...


@overload
def apply(
    mon: Monitor, *schemes: Scheme, dry_run: bool = False
) -> AppliedSchemes | KernelSchemes: ...


def apply(mon: Monitor, *schemes: Scheme, dry_run: bool = False) -> AppliedSchemes | KernelSchemes:
    """Apply schemes to what a monitor sees, as in

        with pydamon.monitor(pid) as mon, pydamon.apply(mon, scheme) as applied:
            for snapshot in applied.run("10min"):
                print(applied[0].stats)

    The kernel does that for its own monitors; it heeds no guard and calls no Python functions. For
    all others pydamon does, and verifies the effect. With *dry_run* pydamon only counts what would
    be done, whatever the watermarks say; see `AppliedScheme`. Raises `SchemeError` for what this
    machine, or this user, cannot do to these targets, and for the kernel `ProbeUnavailable` for
    what it lacks.
    """
    # The kernel counts address space, and what it would achieve it does not know.
    if isinstance(mon, KernelMonitor) and not (dry_run and mon.layout.processes):
        return KernelSchemes(mon, schemes, dry_run=dry_run)
    return apply_here(mon, *schemes, dry_run=dry_run)
