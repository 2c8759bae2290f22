"""What processes have mapped, have in memory, and use: VSZ, RSS and working set together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pydamon.analysis.courses import Courses, touched
from pydamon.analysis.folding import fold_some
from pydamon.core.snapshot import Target
from pydamon.recording import Recorded

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


def footprint(recording: Recorded) -> tuple[FootprintSeries, ...]:
    """The footprint of everything together, then of each target.

    Raises `RecordingError` where there are no snapshots.
    """
    courses = Courses(
        touched,
        lambda part: part.of_parts("vsz_bytes"),
        lambda part: part.of_parts("rss_bytes"),
    )
    fold_some(recording, courses)
    return tuple(
        FootprintSeries(one.target, one.end_ns, vsz, rss, wss)
        for one in courses.series()
        for wss, vsz, rss in [one.amounts]
    )
