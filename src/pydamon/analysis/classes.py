"""The bytes of a recording's regions by what is known of them: see `core.classify`."""

from __future__ import annotations

import numpy as np

from pydamon.core.classify import RegionClasses, RegionFacts, classify
from pydamon.recording import Recording

__all__ = ["classes_of"]


def classes_of(recording: Recording) -> RegionClasses:
    """The classes of all regions of a part of a recording: shape (rows,) each."""
    column = recording.column
    return classify(
        RegionFacts(
            column("end") - column("start"),
            column("nr_accesses") / column("max_nr_accesses"),
            column("age_ns"),
            column("touched_bytes"),
            column("unobservable_bytes"),
            column("resident_bytes"),
            column("unseen_bytes"),
            column("repeated_bytes"),
            np.repeat(np.arange(len(recording.part_snapshots)), np.diff(recording.part_offsets)),
            recording.of_parts("rss_bytes"),
        )
    )
