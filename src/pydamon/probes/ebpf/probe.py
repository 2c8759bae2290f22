"""The `ebpf` probe: accessed bits of single pages, read in the kernel."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from pydamon.core.errors import ProbeUnavailable, PydamonError
from pydamon.probes.base import Availability, Traits
from pydamon.probes.ebpf.session import EbpfSession
from pydamon.probes.madvise import may_advise
from pydamon.probes.process import Process

__all__ = ["EbpfProbe", "ExactProbe"]

_NEEDS = (
    "root, or CAP_BPF, CAP_PERFMON, CAP_SYS_NICE and CAP_SYS_PTRACE; kernel BTF; "
    "Linux 5.14 on x86-64"
)
_GRAIN = "a page (4 KiB, or the huge page)"


@dataclass(frozen=True, slots=True)
class EbpfProbe:
    """Samples pages in the kernel with BPF, and clears accessed bits with MADV_COLD."""

    name: str = "ebpf"
    traits: Traits = field(
        default=Traits(
            sees="reads and writes",
            grain=_GRAIN,
            needs=_NEEDS,
            side_effects="sampled pages and their neighbours count as not recently used for "
            "reclaim until they are touched again; each clear flushes TLB entries of the target",
            scans=True,
        ),
        repr=False,
    )

    def availability(self) -> Availability:
        """Load the programs and find this process's own memory with them."""
        return _availability()

    def open(self) -> EbpfSession:
        """Load the programs, with no targets yet."""
        return _open()


@dataclass(frozen=True, slots=True)
class ExactProbe:
    """Looks at every page once an aggregation: exact, and its cost grows with the target."""

    name: str = "exact"
    traits: Traits = field(
        default=Traits(
            sees="reads and writes",
            grain=_GRAIN,
            needs=_NEEDS,
            side_effects="all pages count as not recently used for reclaim until they are touched "
            "again; 2 us for each MiB and 0.06 us for each page touched, once an aggregation",
            scans=True,
            exact=True,
            min_samples=1,
        ),
        repr=False,
    )

    def availability(self) -> Availability:
        """As for the `ebpf` probe."""
        return _availability()

    def open(self) -> EbpfSession:
        """Load the programs, with no targets yet."""
        return _open()


def _availability() -> Availability:
    try:
        _open().close()
    except PydamonError as error:
        return Availability(False, str(error), error.hint)
    return Availability(True)


def _open() -> EbpfSession:
    me = Process(os.getpid())
    try:
        reason = may_advise(me.pidfd)
    finally:
        me.close()
    if reason:
        raise ProbeUnavailable(f"process_madvise: {reason}", hint="needs CAP_SYS_NICE")
    return EbpfSession()
