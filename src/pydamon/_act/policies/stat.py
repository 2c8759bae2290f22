"""Figures about accesses, as the kernel's DAMON_STAT has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from attrs import frozen

from pydamon._act.policies.base import Policy
from pydamon._model.schemes import Scheme

if TYPE_CHECKING:
    from pydamon._model.snapshot import Snapshot

__all__ = ["Stat"]

_PERCENTILES = (0, 1, 5, 10, 25, 50, 75, 90, 95, 99, 100)


@frozen(kw_only=True)
class Stat(Policy):
    """Show how much memory is accessed, and for how long the rest has been idle; change nothing.

    `memory_bandwidth_bytes_per_s` is an estimate: each access to a region counts as one to all of
    it, at most one a sampling interval. `idle_ms` are percentiles, by resident bytes, of the time
    since memory was last seen accessed: 0 for memory in use. They are those of pages where these
    have been looked at (as of the last look), and otherwise those of regions. Memory whose idle
    time is unknown is left out: `unseen_bytes` is memory that nobody has looked at yet.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> from pydamon.policies import Stat
    >>> MIB = 1 << 20
    >>> trace = Trace((Phase(10**9, (Access(0, 16 * MIB, rate_hz=1000),)),))
    >>> *_, snapshot = pydamon.simulate(trace, [(0, 64 * MIB)], seed=1).run("3s")
    >>> round(Stat().figures(snapshot)["working_set_bytes"] / MIB)
    16
    """

    name: ClassVar[str] = "stat"

    def schemes(self) -> tuple[Scheme, ...]:
        """No schemes: it only watches."""
        return ()

    def figures(self, snapshot: Snapshot) -> dict[str, object]:
        """The bandwidth, the percentiles of idle time, the working set and the interval."""
        import numpy as np  # noqa: PLC0415  (help needs no figures)

        classes = snapshot.classes.over(len(snapshot.targets))
        accessed = float(np.dot(classes.total, snapshot.access_hz))
        idle_ns, cold = classes.idle_times()
        idle_ns = np.append(np.zeros(len(snapshot), np.int64), idle_ns)
        size = np.append(classes.accessed, cold)
        order = np.argsort(idle_ns)
        order = order[size[order] > 0]
        share = np.cumsum(size[order]) / max(1, int(size.sum()))
        last = len(order) - 1
        ranks = [min(int(np.searchsorted(share, p / 100)), last) for p in _PERCENTILES]
        return {
            "memory_bandwidth_bytes_per_s": round(accessed),
            "idle_ms": {
                f"p{p}": round(float(idle_ns[order[rank]]) / 1e6)
                for p, rank in zip(_PERCENTILES, ranks, strict=True)
                if last >= 0
            },
            "working_set_bytes": snapshot.working_set(),
            "unseen_bytes": int(classes.unseen.sum()),
            "aggregation_us": round(snapshot.window_ns / 1e3),
        }
