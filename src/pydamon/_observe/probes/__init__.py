"""Access-check primitives: did anyone touch these pages since I last asked?"""

from __future__ import annotations

from pydamon._model.errors import ProbeUnavailable, UsageError
from pydamon._observe.probes.base import (
    Availability,
    Clock,
    Counts,
    ManyBits,
    PageBits,
    Probe,
    Session,
    Traits,
)
from pydamon._observe.probes.ebpf.probe import EbpfProbe, exact_probe
from pydamon._observe.probes.idle import IdleProbe
from pydamon._observe.probes.refs import RefsProbe
from pydamon._observe.probes.softdirty import SoftDirtyProbe
from pydamon._observe.probes.writes import WritesProbe

__all__ = [
    "PROBES",
    "Availability",
    "Clock",
    "Counts",
    "ManyBits",
    "PageBits",
    "Probe",
    "Session",
    "Traits",
    "open_session",
]

PROBES: tuple[Probe, ...] = (
    EbpfProbe(),
    RefsProbe(),
    exact_probe(),
    WritesProbe(),
    SoftDirtyProbe(),
    IdleProbe(),
)
"""Every probe that watches real processes, in the order in which `"auto"` tries them, if at all."""


def open_session(name: str = "auto") -> tuple[Probe, Session, dict[str, ProbeUnavailable]]:
    """Start the probe of that name, or for `"auto"` the best that works here.

    Also says why those before it in `PROBES` do not. Raises `UsageError` for a name that no probe
    has, and `ProbeUnavailable` where it does not work here.
    """
    candidates = [
        probe
        for probe in PROBES
        if name == probe.name or (name == "auto" and not probe.traits.by_name_only)
    ]
    if not candidates and name != "auto":
        names = ", ".join(("auto", *(probe.name for probe in PROBES)))
        raise UsageError(f"there is no probe {name!r}", hint=f"choose one of {names}")
    fallback_reasons: dict[str, ProbeUnavailable] = {}
    for probe in candidates:
        try:
            return probe, probe.open(), fallback_reasons
        except ProbeUnavailable as error:
            fallback_reasons[probe.name] = error
    reasons = "; ".join(f"{probe}: {error}" for probe, error in fallback_reasons.items())
    hint = next((error.hint for error in fallback_reasons.values() if error.hint), "")
    raise ProbeUnavailable(f"no probe works here ({reasons})", hint=hint)
