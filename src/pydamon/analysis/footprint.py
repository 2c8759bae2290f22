"""What processes have mapped, have in memory, and use: VSZ, RSS and working set together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pydamon.analysis.workingset import WorkingSetSeries, working_set
from pydamon.core.errors import RecordingError
from pydamon.core.snapshot import Target
from pydamon.recording import Recording

__all__ = ["FootprintSeries", "footprint"]


@dataclass(frozen=True)
class FootprintSeries:
    """The footprint of one target, or of all together where `target` is `None`.

    All have one entry for each snapshot that the target is in: shape (snapshots,). `end_ns` is
    Unix time; `vsz_bytes` is what was mapped, `rss_bytes` what of it was in memory, as of the last
    update interval; `wss_bytes` what was accessed in the snapshot's window. VSZ and RSS are 0 where
    the recording does not know them.
    """

    target: Target | None
    end_ns: NDArray[np.int64]
    vsz_bytes: NDArray[np.int64]
    rss_bytes: NDArray[np.int64]
    wss_bytes: NDArray[np.int64]

    @property
    def known(self) -> bool:
        """Whether VSZ and RSS are known."""
        return bool(self.rss_bytes.any() or self.vsz_bytes.any())


def footprint(recording: Recording) -> tuple[FootprintSeries, ...]:
    """The footprint of everything together, then of each target.

    Raises `RecordingError` where there are no snapshots.
    """
    if len(recording) == 0:
        raise RecordingError("the recording has no snapshots")
    used = working_set(recording)
    pids, snapshots = recording.of_parts("pid"), recording.part_snapshots
    columns = [recording.of_parts(name) for name in ("vsz_bytes", "rss_bytes")]

    def series(wss: WorkingSetSeries, mine: NDArray[np.bool_]) -> FootprintSeries:
        found, place = np.unique(snapshots[mine], return_inverse=True)
        vsz, rss = (np.zeros(len(found), np.int64) for _ in columns)
        np.add.at(vsz, place, columns[0][mine])
        np.add.at(rss, place, columns[1][mine])
        return FootprintSeries(wss.target, wss.end_ns, vsz, rss, wss.size_bytes)

    every = np.ones(len(pids), np.bool_)
    return (
        series(used.total, every),
        *(series(one, pids == one.target.pid) for one in used.targets if one.target),
    )
