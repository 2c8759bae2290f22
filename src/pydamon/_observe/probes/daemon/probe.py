"""The `daemon` probe: what `ebpf` sees, for ordinary users and their own processes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from pydamon._model.errors import ProbeUnavailable
from pydamon._observe.linux.page_tables import refuse_unless_known
from pydamon._observe.probes.base import Availability, Traits
from pydamon._observe.probes.daemon.client import Connection, DaemonClock, socket_path
from pydamon._observe.probes.daemon.session import DaemonSession
from pydamon._observe.probes.ebpf.probe import EbpfProbe

__all__ = ["DaemonProbe"]

_TRAITS = replace(
    EbpfProbe().traits,
    needs="a process of the same user, and the daemon, which root starts: `pydamon daemon`; "
    "Linux 6.1 on x86-64 or arm64",
    by_epochs_only=True,
)


@dataclass(frozen=True, slots=True)
class DaemonProbe:
    """Asks root's daemon to read accessed bits of this user's own processes."""

    name: str = "daemon"
    traits: Traits = field(default=_TRAITS, repr=False)

    def availability(self) -> Availability:
        """Ask the daemon whether it serves this user."""
        try:
            refuse_unless_known()
            Connection(DaemonClock()).close()
        except ProbeUnavailable as error:
            return Availability(False, str(error), error.hint)
        return Availability(True, note=f"the daemon at {socket_path()} looks for this user")

    def open(self) -> DaemonSession:
        """Start a session without targets."""
        refuse_unless_known()
        return DaemonSession()
