"""What a monitor that fell back to a coarser probe cannot see, and what a better one needs."""

from __future__ import annotations

import os

from pydamon._observe.linux.page_tables import are_known
from pydamon._observe.monitor import Monitor

__all__ = ["fallback_note", "limits_of"]


def limits_of(mon: Monitor) -> str:
    """A sentence about the limits of a fallback; empty where single pages are looked at as by root.

    Ordinary users read how they get single pages, too: by the daemon, or why that refuses.
    """
    if mon.probe_name == "refs":
        limits = "it counts the bytes in use of each mapping, but not where in the mapping they are"
    elif mon.probe_name == "daemon":
        return "this user may not read page tables: root's `pydamon daemon` looks at single pages"
    elif mon.engine == "kernel":
        limits = "it approximates the borders of regions, and cannot see single pages"
    else:
        return ""
    why, daemon = (mon.fallback_reasons.get(name) for name in ("ebpf", "daemon"))
    if why is None:
        return limits
    # Where root's own probe fails, the daemon's would, too.
    if daemon is None or not os.geteuid() or not are_known():
        return f"{limits}; the ebpf probe can: {why.hint or why}"
    need = f", or the daemon: {daemon.hint}" if daemon.hint else f"; {daemon}"
    return f"{limits}; single pages need root{need}"


def fallback_note(mon: Monitor) -> str:
    """The same where nobody asked for that probe or engine: a better one does not work here."""
    return limits_of(mon) if mon.fallback_reasons else ""
