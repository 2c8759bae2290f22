"""Two recordings side by side: what became hotter, what colder, what is new."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pydamon.analysis.mappings import Bytes, MappingHeat, together
from pydamon.analysis.summary import Summaries, Summary
from pydamon.recording import Recorded

__all__ = ["Diff", "MappingDiff", "diff"]


@dataclass(frozen=True, slots=True)
class MappingDiff:
    """All mappings of one name in the processes of one name, in two recordings.

    Sizes are zeros, and rates (0 to 1) 0, where there is no such mapping.
    """

    target_name: str
    name: str
    before: Bytes
    after: Bytes
    rate_before: float
    rate_after: float


@dataclass(frozen=True)
class Diff:
    """What two recordings say; `mappings` are sorted by the change of hot bytes, largest first."""

    before: Summary
    after: Summary
    mappings: tuple[MappingDiff, ...]


def diff(before: Recorded, after: Recorded, idle_ns: int | None = None) -> Diff:
    """Compare two recordings, which may be of different processes, kernels or machines.

    Processes are matched by name and memory by the name of the mapping, since pids and addresses
    differ from run to run. *idle_ns* is as for `summary`; by default what fits the shorter of the
    two. Raises `RecordingError` where one has no snapshots.
    """
    one, other = Summaries(before, idle_ns), Summaries(after, idle_ns)
    shorter_ns = min(one.idle_ns, other.idle_ns)
    first, second = one.summary(shorter_ns), other.summary(shorter_ns)
    old, new = _by_name(first.mappings), _by_name(second.mappings)
    found = []
    for key in dict.fromkeys([*old, *new]):
        (size_before, rate_before), (size_after, rate_after) = (
            together(each.get(key, ())) for each in (old, new)
        )
        found.append(MappingDiff(*key, size_before, size_after, rate_before, rate_after))
    found.sort(key=lambda one: (-abs(one.after.hot - one.before.hot), -_moved(one)))
    return Diff(first, second, tuple(found))


def _by_name(found: Iterable[MappingHeat]) -> dict[tuple[str, str], list[MappingHeat]]:
    named: dict[tuple[str, str], list[MappingHeat]] = {}
    for one in found:
        named.setdefault((one.target.name, one.name), []).append(one)
    return named


def _moved(one: MappingDiff) -> float:
    return abs(one.after.total - one.before.total)
