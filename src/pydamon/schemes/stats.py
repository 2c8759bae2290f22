"""What a scheme has done so far."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SchemeStats"]


@dataclass(slots=True)
class SchemeStats:
    """DAMON's statistics of a scheme: numbers of regions (`nr_`) and bytes (`sz_`).

    `tried` is what matched the pattern and core filters and was within the quota; `applied` is
    that for which the action is known to have happened; `qt_exceeds` counts charge windows that
    ended with all of the quota spent. Not DAMON's: `time_ns` is the CPU time that acting took,
    `rests` how often the guard made the scheme back off. In a dry run the bytes are not summed up:
    they say what would have been tried and done by now, of what is resident.
    """

    nr_tried: int = 0
    sz_tried: int = 0
    nr_applied: int = 0
    sz_applied: int = 0
    sz_ops_filter_passed: int = 0
    qt_exceeds: int = 0
    nr_snapshots: int = 0
    time_ns: int = 0
    rests: int = 0
