"""The `ebpf` probe: accessed bits of single pages, read in the kernel."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace

from pydamon._model.errors import ProbeUnavailable, PydamonError
from pydamon._observe.linux.madvise import may_advise
from pydamon._observe.linux.process import Process
from pydamon._observe.probes.base import PAGE_GRAIN, Availability, Traits
from pydamon._observe.probes.ebpf.session import EbpfSession

__all__ = ["EbpfProbe", "exact_probe"]


_SAMPLING = Traits(
    sees="reads and writes",
    grain=PAGE_GRAIN,
    needs="root, or CAP_BPF, CAP_PERFMON, CAP_SYS_NICE and CAP_SYS_PTRACE; kernel BTF; "
    "Linux 5.14 on x86-64 or arm64",
    side_effects="sampled pages and their neighbours count as not recently used for "
    "reclaim until they are touched again; each clear flushes TLB entries of the target",
    scans=True,
)


@dataclass(frozen=True, slots=True)
class EbpfProbe:
    """Reads accessed bits of pages in the kernel with BPF, and clears them with MADV_COLD."""

    name: str = "ebpf"
    traits: Traits = field(default=_SAMPLING, repr=False)

    def availability(self) -> Availability:
        """Load the programs, and find this process's own memory with them."""
        try:
            with self.open() as session:
                session.set_targets([], [])
                return Availability(True, note=session.read_back.note)
        except PydamonError as error:
            return Availability(False, str(error), error.hint)

    def open(self) -> EbpfSession:
        """Load the programs, with no targets yet."""
        me = Process(os.getpid())
        try:
            reason = may_advise(me.pidfd)
        finally:
            me.close()
        if reason:
            raise ProbeUnavailable(f"process_madvise: {reason}", hint="needs CAP_SYS_NICE")
        return EbpfSession()


def exact_probe() -> EbpfProbe:
    """The `exact` probe: the same, but it looks at every page in every aggregation."""
    side_effects = (
        "all pages count as not recently used for reclaim until they are touched again; 2 us for "
        "each MiB and 0.06 us for each page touched, once an aggregation"
    )
    return EbpfProbe(
        "exact", replace(_SAMPLING, side_effects=side_effects, exact=True, min_samples=1)
    )
