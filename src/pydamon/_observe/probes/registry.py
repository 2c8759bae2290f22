"""The probes that watch real processes, and the choice of one of them by name."""

from __future__ import annotations

import os
from pkgutil import resolve_name

from pydamon._model.errors import ProbeUnavailable, UsageError
from pydamon._observe.probes import PLACES
from pydamon._observe.probes.base import Probe, Session

__all__ = ["PROBES", "open_session"]

PROBES: tuple[Probe, ...] = tuple(resolve_name(place)() for place in PLACES.values())
"""Every probe that watches real processes, in the order in which `"auto"` tries them.

`"auto"` leaves out probes that users must name (`Traits.by_name_only`).
"""


def open_session(
    name: str = "auto", *, plain: bool = False
) -> tuple[Probe, Session, dict[str, ProbeUnavailable]]:
    """Start the probe of a name, or for `"auto"` the first that works here.

    With *plain*, `"auto"` leaves out probes that cannot sample plainly.

    Also returns why each probe before it in `PROBES` does not work. Raises `UsageError` for a name
    that no probe has, and `ProbeUnavailable` if no probe works here.
    """
    candidates = [
        probe
        for probe in PROBES
        if name == probe.name or (name == "auto" and _is_automatic(probe, plain=plain))
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
    if name == "ebpf" and os.geteuid():
        hint += "; --probe daemon needs no rights where root runs `pydamon daemon`"
    raise ProbeUnavailable(f"no probe works here ({reasons})", hint=hint)


def _is_automatic(probe: Probe, *, plain: bool) -> bool:
    traits = probe.traits
    return not traits.by_name_only and not (plain and traits.by_epochs_only)
