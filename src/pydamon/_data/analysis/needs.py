"""How much memory programs need: what idles for how long, and how much of it comes back."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pydamon._data.analysis.folding import fold
from pydamon._data.analysis.look_sums import Looks, LookSums, Slots, TargetSums
from pydamon._data.analysis.needs_curve import Needs, NeedsCurve, Periods, value_at
from pydamon._data.recording import AnyRecording, Recording
from pydamon._data.recording.coverage import TargetNumbers
from pydamon._model.errors import RecordingError, UsageError
from pydamon._model.page_ages import BLOCK_PAGES, IDLE_EDGES_NS
from pydamon._model.page_size import PAGE_SIZE
from pydamon._model.snapshot import Snapshot, Target

__all__ = ["PER", "NeedsOfSnapshots", "needs"]

PER = ("process", "container")
"""What can have a curve of its own."""

_MINUTE_NS = 60 * 10**9
_HOUR_NS = 60 * _MINUTE_NS
_PERIODS = 10
_LEAST_LOOKS = 4
"""Looks in a period, at least."""
_WHY_NO_AGES = {
    "damo": ": DAMON tells of regions, not of pages",
    "kernel": ": DAMON tells of regions, not of pages",
    "refs": ": the refs probe sees whole mappings, not pages",
}
"""By the probe of the recording; the others see pages, but may not have had the time."""


def needs(recording: AnyRecording, *, per: str = "process") -> Needs:
    """Compute how much memory programs need, from the ages of their pages.

    For each idle time T: how much memory is left without the pages that have been idle for at least
    T, and how many pages a second are used again after an idle time of at least T.

    Parameters
    ----------
    recording
        The recording.
    per
        What has a curve of its own: ``"process"``, or ``"container"`` for all processes of a
        container, or of a systemd unit or cgroup, together.

    Returns
    -------
    Needs
        The curve of each target and of all together, over idle times.

    Raises
    ------
    RecordingError
        If the recording has no ages of pages.
    UsageError
        If *per* is another word.

    Notes
    -----
    These are the cold-age histogram and the promotion histogram of "Software-defined far memory in
    warehouse-scale computers" (ASPLOS 2019), whose authors tolerate promotions of 0.2 % of the
    working set a minute.

    Figures are means over the looks at all pages, weighted by the time since the look before. The
    figures for T come from those looks at which the pages of a target had been watched for at least
    T, since nothing is known about longer idle times then; so a longer T has fewer looks. Where
    these looks would let a curve turn, it stays level.

    A page that is used several times between two looks comes back once at most.

    Memory that processes share, by mapping the same file or since a fork, counts in the curve of
    one of them only where several are taken together.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 64 << 20, rate_hz=100),)),))
    >>> monitor = pydamon.simulate(trace, [(0, 256 << 20)])
    >>> recording = pydamon.Recording.from_snapshots(monitor.run("1s"))
    >>> try:
    ...     pydamon.analysis.needs(recording)
    ... except pydamon.RecordingError as error:
    ...     print(error)
    the recording has no ages of pages, so nobody can tell what comes back
    """
    if per not in PER:
        raise UsageError(f"needs are not per {per!r}", hint=f"choose from {', '.join(PER)}")
    sums = _RecordingNeeds()
    fold(recording if isinstance(recording, Recording) else recording.sorted(), sums)
    if not sums.looks.looks:
        raise RecordingError(
            "the recording has no ages of pages, so nobody can tell what comes back"
            f"{_WHY_NO_AGES.get(recording.info.probe, '')}",
            hint="record again for a minute or longer, with a probe that looks at single pages: "
            "as root, with BPF (see `pydamon doctor`)",
        )
    return _result(
        sums.looks,
        sums.numbers.targets,
        recording.info.page_size,
        by_container=per == "container",
    )


class _RecordingNeeds:
    """The looks of a recording, as a fold over its chunks in the order of time."""

    def __init__(self) -> None:
        self.looks = LookSums()
        self.numbers = TargetNumbers()

    def add(self, chunk: Recording) -> None:
        for looks in Looks.of_chunk(chunk, self.numbers.per_target(chunk)):
            self.looks.add(looks)


class NeedsOfSnapshots:
    """The same as `needs` while memory is being monitored, snapshot by snapshot.

    Parameters
    ----------
    page_size
        Bytes of a page on the machine that is monitored; default: this machine's.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 64 << 20, rate_hz=100),)),))
    >>> so_far = pydamon.analysis.NeedsOfSnapshots()
    >>> for snapshot in pydamon.simulate(trace, [(0, 256 << 20)]).run("1s"):
    ...     so_far.add(snapshot)
    >>> so_far.result().watched_ns >= 0
    True
    """

    def __init__(self, page_size: int = PAGE_SIZE) -> None:
        self._page_size = page_size
        self._looks = LookSums()
        self._targets: dict[tuple[str, int, int, str], tuple[int, Target]] = {}

    def add(self, snapshot: Snapshot) -> None:
        """Take the next snapshot into account; most of them have no ages."""
        if snapshot.page_ages is None:
            return
        numbers = np.empty(len(snapshot.targets), np.int64)
        for index, target in enumerate(snapshot.targets):
            number, _ = self._targets.get(target.key, (len(self._targets), target))
            self._targets[target.key] = (number, target)
            numbers[index] = number
        looks = Looks.of_snapshot(snapshot, numbers)
        if looks is not None:
            self._looks.add(looks)

    def result(self) -> Needs:
        """The needs so far; without points as long as there were too few looks."""
        targets = tuple(target for _, target in self._targets.values())
        return _result(self._looks, targets, self._page_size)


class _Edges(NamedTuple):
    """A curve at each of `IDLE_EDGES_NS`, and what stands above it."""

    time_ns: float
    resident_bytes: float
    longest_ns: int
    kept_bytes: NDArray[np.float64]
    refaults_per_s: NDArray[np.float64]
    kept_variance: NDArray[np.float64]
    refaults_variance: NDArray[np.float64]


def _result(
    looks: LookSums, targets: tuple[Target, ...], page_size: int, *, by_container: bool = False
) -> Needs:
    numbers = range(len(targets))
    own = [looks.of_target(number) for number in numbers]
    edges = [_edges(sums, page_size) for sums in own]
    for_sums = edges
    if len(targets) > 1:
        for_sums = [_edges(looks.of_target(number, for_sums=True), page_size) for number in numbers]
    time_ns = sum(sums.time_ns for sums in own)
    distance_ns = looks.distance_ns
    followed_ns = sum(sums.followed_ns for sums in own)
    parts = list(zip(targets, edges, strict=True))
    if by_container:
        parts = _by_container(targets, for_sums, looks.watched_ns)
    return Needs(
        _curve(None, _together(for_sums, looks.watched_ns), 2 * distance_ns, page_size),
        tuple(_curve(target, of_target, 2 * distance_ns, page_size) for target, of_target in parts),
        looks.watched_ns,
        distance_ns,
        followed_ns / time_ns if time_ns else 1.0,
        _periods(looks.slots(), looks.first_ns, looks.watched_ns, distance_ns, page_size),
    )


def _by_container(
    targets: tuple[Target, ...], for_sums: list[_Edges], watched_ns: int
) -> list[tuple[Target, _Edges]]:
    """The curves of the processes of each container together; its target has no pid."""
    groups: dict[tuple[str, str], list[_Edges]] = {}
    for target, of_target in zip(targets, for_sums, strict=True):
        groups.setdefault((target.host, target.container or "/"), []).append(of_target)
    return [
        (Target(0, name, host=host, container=name), _together(group, watched_ns))
        for (host, name), group in groups.items()
    ]


def _edges(sums: TargetSums, page_size: int) -> _Edges:
    """The curve of one target: all is kept at idle times that are longer than all known."""
    time_ns = max(sums.time_ns, 1.0)
    resident = sums.resident_bytes_ns / time_ns
    known = sums.told_ns > 0
    idle = np.where(known, sums.idle_bytes_ns / np.maximum(sums.told_resident_bytes_ns, 1.0), 0.0)
    kept_share = np.maximum.accumulate(1 - np.clip(idle, 0, 1))
    pages_per_ns = sums.returned_bytes / page_size / np.maximum(sums.told_ns, 1.0)
    refaults = np.minimum.accumulate(np.where(known, pages_per_ns * 1e9, 0.0))
    # Blocks are followed as a whole, the same at every look: errors do not cancel.
    followed = min(1.0, sums.followed_ns / time_ns)
    variance = (1 - followed) / max(1.0, followed * resident / (BLOCK_PAGES * page_size))
    pages = resident / page_size
    looks_per_s = sums.looks * 1e9 / time_ns
    returned_share = np.clip(refaults / max(pages * looks_per_s, 1e-9), 0, 1)
    # A page that returns after T comes back at most once in T.
    most = np.clip(1e9 / max(looks_per_s, 1e-9) / IDLE_EDGES_NS, returned_share, 1)
    return _Edges(
        sums.time_ns,
        resident,
        sums.longest_ns,
        kept_share * resident,
        refaults,
        variance * kept_share * (1 - kept_share) * resident**2,
        variance * returned_share * (most - returned_share) * (pages * looks_per_s) ** 2,
    )


def _together(targets: list[_Edges], watched_ns: int) -> _Edges:
    """The sum over targets, each weighted by the time for which it was watched."""
    weights = [each.time_ns / max(watched_ns, 1) for each in targets]

    def total(name: str, power: int = 1) -> NDArray[np.float64]:
        added = np.zeros(len(IDLE_EDGES_NS))
        for weight, each in zip(weights, targets, strict=True):
            added += weight**power * getattr(each, name)
        return added

    return _Edges(
        watched_ns,
        float(total("resident_bytes")[0]),
        max((each.longest_ns for each in targets), default=0),
        total("kept_bytes"),
        total("refaults_per_s"),
        total("kept_variance", 2),
        total("refaults_variance", 2),
    )


def _curve(target: Target | None, edges: _Edges, shortest_ns: int, page_size: int) -> NeedsCurve:
    times_ns = IDLE_EDGES_NS
    known = (times_ns >= shortest_ns) & (times_ns <= edges.longest_ns)
    idle_ns, kept = times_ns[known], edges.kept_bytes[known]
    return NeedsCurve(
        target,
        round(edges.resident_bytes),
        round(value_at(_MINUTE_NS, idle_ns, kept) if len(kept) else edges.resident_bytes),
        shortest_ns,
        edges.longest_ns,
        idle_ns,
        kept.round().astype(np.int64),
        edges.refaults_per_s[known],
        np.sqrt(edges.kept_variance[known]).round().astype(np.int64),
        np.sqrt(edges.refaults_variance[known]),
        page_size,
    )


def _periods(
    slots: Slots, first_ns: int, watched_ns: int, distance_ns: int, page_size: int
) -> Periods:
    """Parts of the recording of an hour, or a tenth of it if that is shorter."""
    period_ns = max(min(_HOUR_NS, watched_ns // _PERIODS), _LEAST_LOOKS * distance_ns, 1)
    period_ns = -(-period_ns // slots.slot_ns) * slots.slot_ns
    empty = np.zeros((0, len(IDLE_EDGES_NS)))
    if not len(slots.begin_ns):
        return Periods(period_ns, np.zeros(0, np.int64), empty, empty)
    number = (slots.begin_ns - slots.begin_ns[0]) // period_ns
    numbers, heads = np.unique(number, return_index=True)
    # A slot that begins too early does not tell which pages have been idle for long.
    told = slots.begin_ns[:, None] >= first_ns + IDLE_EDGES_NS
    time_ns = np.add.reduceat(np.where(told, slots.time_ns[:, None], 0.0), heads)
    kept = np.where(told, slots.resident_bytes_ns[:, None] - slots.idle_bytes_ns, 0.0)
    returned = np.where(told, slots.returned_bytes / page_size * 1e9, 0.0)
    # Periods at the ends, or beside a pause, stand for too little time to be compared.
    whole = time_ns >= period_ns / 2
    means = [
        np.divide(
            np.add.reduceat(sums, heads), time_ns, out=np.full(time_ns.shape, np.nan), where=whole
        )
        for sums in (kept, returned)
    ]
    return Periods(period_ns, slots.begin_ns[0] + numbers * period_ns, means[0], means[1])
