"""Figures about accesses, as the kernel's DAMON_STAT has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from attrs import frozen

from pydamon.policies.base import Policy
from pydamon.schemes import Scheme

if TYPE_CHECKING:
    from pydamon.core.snapshot import Snapshot

__all__ = ["Stat"]

_PERCENTILES = (0, 1, 5, 10, 25, 50, 75, 90, 95, 99, 100)


@frozen(kw_only=True)
class Stat(Policy):
    """Show how much memory is accessed, and for how long the rest has been idle; change nothing.

    `memory_bandwidth_bytes_per_s` is an estimate: each sample that found a region accessed counts
    as one access to all of it. `idle_ms` are percentiles, by bytes, of the time since memory was
    last seen accessed: 0 for what is in use now.
    """

    name: ClassVar[str] = "stat"

    def schemes(self) -> tuple[Scheme, ...]:
        """None."""
        return ()

    def figures(self, snapshot: Snapshot) -> dict[str, object]:
        """The bandwidth, the percentiles of idle time, the working set and the interval."""
        import numpy as np  # noqa: PLC0415  (help needs no figures)

        from pydamon.core.snapshot import UNKNOWN  # noqa: PLC0415
        from pydamon.schemes.chosen import Chosen  # noqa: PLC0415

        everything = Chosen.all_of(snapshot)
        resident = np.where(
            snapshot.resident_bytes == UNKNOWN, snapshot.size, snapshot.resident_bytes
        )
        accessed = float(np.dot(resident, snapshot.nr_accesses))
        idle_ms = np.where(snapshot.nr_accesses == 0, everything.age_ns / 1e6, 0.0)
        # What targets share counts once, and what nobody has looked at yet not at all.
        counted = np.maximum(resident - snapshot.repeated_bytes - snapshot.unseen_bytes, 0)
        idle_ms, counted = idle_ms[counted > 0], counted[counted > 0]
        order = np.argsort(idle_ms)
        share = np.cumsum(counted[order]) / max(1, int(counted.sum()))
        last = len(order) - 1
        at = [min(int(np.searchsorted(share, p / 100)), last) for p in _PERCENTILES]
        return {
            "memory_bandwidth_bytes_per_s": round(accessed / (snapshot.window_ns / 1e9)),
            "idle_ms": {
                f"p{p}": round(float(idle_ms[order[i]]))
                for p, i in zip(_PERCENTILES, at, strict=True)
                if last >= 0
            },
            "working_set_bytes": snapshot.working_set(),
            "aggregation_us": round(snapshot.window_ns / 1e3),
        }
