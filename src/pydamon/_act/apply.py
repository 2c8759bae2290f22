"""Apply schemes to what a monitor sees: by pydamon, or by the kernel that monitors."""

from __future__ import annotations

from pydamon._act.applied import Applied
from pydamon._act.kernel.schemes import KernelSchemes
from pydamon._act.runtime.apply import apply as apply_here
from pydamon._model.schemes import Scheme
from pydamon._observe.monitor import Monitor

__all__ = ["apply"]


def apply(mon: Monitor, *schemes: Scheme, dry_run: bool = False) -> Applied:
    """Apply schemes to what a monitor sees.

    A monitor that runs schemes itself (the kernel's) applies them itself; it heeds no guard and
    calls no Python functions. For all other monitors pydamon acts, and verifies the effect.

    Parameters
    ----------
    mon
        The monitor. It must not be iterated over while `Applied` is.
    *schemes
        What to do, in this order.
    dry_run
        Count what would be done, whatever the watermarks say, and do nothing.

    Returns
    -------
    Applied
        Iterate over it for the snapshots; index it for the state of each scheme.

    Raises
    ------
    SchemeError
        For what this machine, or this user, cannot do to these targets.
    ProbeUnavailable
        For what the kernel's DAMON lacks.

    Examples
    --------
    Page out what was idle for a minute::

        scheme = Scheme("pageout", AccessPattern(max_rate=0, min_age="1min"))
        with pydamon.monitor(pid) as mon, pydamon.apply(mon, scheme) as applied:
            for snapshot in applied.run("10min"):
                print(applied[0].stats)

    Call a function with each hot region:

    >>> import pydamon
    >>> from pydamon import Access, AccessPattern, Phase, Scheme, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 1 << 26, rate_hz=1000),)),))
    >>> mon = pydamon.simulate(trace, [(0, 1 << 28)])
    >>> hot = []
    >>> scheme = Scheme(hot.append, AccessPattern(min_rate="50%", min_age=3))
    >>> with pydamon.apply(mon, scheme) as applied:
    ...     *_, snapshot = applied.run("2s")
    >>> pydamon.format_size(max(region.end for region in hot))
    '64 MiB'
    """
    runner = mon.scheme_runner
    # The kernel counts address space, but a dry run is about resident memory.
    if runner is not None and not (dry_run and mon.layout.processes):
        return KernelSchemes(mon, runner, schemes, dry_run=dry_run)
    return apply_here(mon, *schemes, dry_run=dry_run)
