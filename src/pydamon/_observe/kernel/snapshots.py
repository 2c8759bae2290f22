"""An aggregation of the kernel's becomes a snapshot."""

from __future__ import annotations

import numpy as np

from pydamon._model.attrs import Attrs
from pydamon._model.snapshot import Cost, Footprint, Snapshot, Target
from pydamon._observe.kernel.passed import can_probe, passed_by_probes
from pydamon._observe.kernel.reader import Aggregation

__all__ = ["snapshot_of"]


def snapshot_of(
    aggregation: Aggregation,
    attrs: Attrs,
    window_ns: tuple[int, int],
    *,
    targets: tuple[Target, ...],
    footprints: tuple[Footprint, ...],
    cost: Cost,
    probes: tuple[str, ...] = (),
) -> Snapshot:
    """The snapshot of an aggregation that was counted with *attrs* in a window (Unix time).

    Results of targets beyond *targets* are left out. *probes* are the kinds of pages that the
    kernel probes for.
    """
    samples = attrs.samples_per_aggregation
    known = aggregation.target < len(targets)
    nr_accesses = np.minimum(aggregation.nr_accesses[known], samples)
    start, end = aggregation.start[known], aggregation.end[known]
    passed = None
    if aggregation.probe_hits is not None and can_probe(probes, samples):
        hits = aggregation.probe_hits[known]
        passed = passed_by_probes(probes, hits, samples, end - start)
    return Snapshot(
        start_ns=window_ns[0],
        end_ns=window_ns[1],
        sampling_ns=attrs.sampling_ns,
        max_nr_accesses=samples,
        targets=targets,
        target=aggregation.target[known],
        start=start,
        end=end,
        nr_accesses=nr_accesses,
        age=aggregation.age[known],
        touched_bytes=np.where(nr_accesses > 0, end - start, 0),
        unobservable_bytes=np.zeros(len(start), np.int64),
        cost=cost,
        footprints=footprints,
        age_ns=aggregation.age[known] * attrs.aggregation_ns,
        passed=passed,
    )
