"""What processes have mapped, have in memory, and use: VSZ, RSS and working set together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pydamon.analysis.courses import Amounts, TimeSeriesFold, sums, touched, unseen
from pydamon.analysis.folding import fold_some
from pydamon.core.classify import RegionClasses
from pydamon.core.snapshot import Target
from pydamon.recording import Recorded, Recording

__all__ = ["FootprintSeries", "footprint"]


@dataclass(frozen=True)
class FootprintSeries:
    """The footprint of one target, or of all together where `target` is `None`.

    All have one entry for each snapshot that the target is in: shape (snapshots,). `end_ns` is
    Unix time; `vsz_bytes` is what was mapped, `rss_bytes` what of it was in memory, as of the last
    update interval; `wss_bytes` what was accessed in the snapshot's window. VSZ and RSS are 0 where
    the recording does not know them. Of all together, memory that is known to be shared counts once
    in `rss_bytes` and `wss_bytes`; `unseen_bytes` is what nobody had looked at yet.
    """

    target: Target | None
    end_ns: NDArray[np.int64]
    vsz_bytes: NDArray[np.int64]
    rss_bytes: NDArray[np.int64]
    wss_bytes: NDArray[np.int64]
    unseen_bytes: NDArray[np.int64]

    @property
    def known(self) -> bool:
        """Whether VSZ and RSS are known."""
        return bool(self.rss_bytes.any() or self.vsz_bytes.any())


def footprint(recording: Recorded) -> tuple[FootprintSeries, ...]:
    """The footprint of everything together, then of each target.

    Raises `RecordingError` where there are no snapshots.
    """
    courses = TimeSeriesFold(touched, _vsz, _rss, unseen)
    fold_some(recording, courses)
    return tuple(
        FootprintSeries(one.target, one.end_ns, vsz, rss, wss, unknown)
        for one in courses.series()
        for wss, vsz, rss, unknown in [one.amounts]
    )


def _vsz(recording: Recording, _: RegionClasses) -> Amounts:
    vsz_bytes = recording.of_parts("vsz_bytes")
    return vsz_bytes, vsz_bytes


def _rss(recording: Recording, classes: RegionClasses) -> Amounts:
    rss_bytes = recording.of_parts("rss_bytes")
    repeated, _ = sums(recording, classes.repeated, classes.repeated)
    return rss_bytes, np.maximum(rss_bytes - repeated, 0)
