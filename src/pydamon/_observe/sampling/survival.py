"""Sample by epochs: how long cleared pages survive without an access tells how often they have one.

The algorithm is in `pydamon._model.survival`; the probe does the clears and the looks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pydamon._model.access_patterns import Accesses, estimated_accesses
from pydamon._model.adjust import Levels
from pydamon._model.ranges import PAGE_SIZE
from pydamon._model.regions import LOOKS, RegionTable
from pydamon._model.survival import MEMORY_EPOCHS, Survival
from pydamon._observe.epoch_pace import EpochPacer
from pydamon._observe.probes.base import Counts, Session
from pydamon._observe.probes.epochs import EpochCounts, Epochs
from pydamon._observe.sampling.memory import MonitoredMemory
from pydamon._observe.sampling.samplers import Sampled, SamplePlan, Sampler
from pydamon._observe.sampling.windows import CpuMeter, Ticks

__all__ = ["SurvivalSampling"]

_STEP = 2
"""Each look comes so many times as long after the clear as the one before."""
_LAST_LOOK = 0.6
"""Looks later than this part of an epoch tell hardly more than the one at its end."""
_JITTER = 0.25
"""Epochs vary in length by this part, so that no program is in step with them."""
_AT_ONCE = 2
"""Where windows are shorter than epochs, so many epochs make new rates worth their CPU time."""
_CLEAR_ENOUGH = 0.1
"""Uncertainty of this much, on the scale of `Levels`, halves the need of more samples."""
_LEAST_NEED = 0.25
"""The least need of a region, as a part of the most: changes show everywhere."""
_OF_SMALL = 0.05
"""The least need of small regions, as a part of that of regions of the mean size. Programs have
many hot pages among idle ones: each is a region, and costs what a large one costs."""
_AT_LEAST = 1.0
"""So many blocks an epoch are watched in any case, of the whole working set by its bytes."""
_OF_MOST_BLOCKS = 0.85
"""The blocks of an epoch on average, as a part of the most."""
_USUAL, _ALWAYS = 0.5, 0.9
"""Parts of the pages, or of the epochs, that are accessed."""
_LEAST_RATE = 0.01
"""In samples: memory that is in use at all has a rate."""


class SurvivalSampling(Sampler):
    """Watches a block of pages in each region, and clears it once an epoch."""

    is_graded = True

    def __init__(
        self,
        session: Session,
        memory: MonitoredMemory,
        *,
        pacer: EpochPacer,
        epochs: Epochs,
        seed: int | None,
    ) -> None:
        super().__init__(session, memory, pacer)
        self._epoch_pacer = pacer
        self._epochs = epochs
        self._rng = np.random.default_rng(seed)
        self._look_ns = np.zeros(LOOKS)
        self._later = np.ones(LOOKS)
        """How many times as late the looks of the last epochs came as those before."""
        self._weight = 0.0
        """How many epochs `_look_ns` stands for."""
        self._watched: RegionTable | None = None
        """The regions whose epochs go on."""
        self._told = self._new = Survival.empty(LOOKS, 0)
        """The sums of these epochs that are in the evidence already, and those that are not yet."""
        self._until_ns = 0
        """When the epoch under way ends."""
        self._due_ns: list[int] = []
        """The looks that the epoch under way still needs from here, where the kernel takes none."""
        self._clearing_ns = 0
        """The CPU time of the clears in this window."""
        self._uncounted = 0
        """The epochs of these regions that nobody has looked into."""

    def sample(self, table: RegionTable, length_ns: int, plan: SamplePlan) -> Sampled:
        session, epochs = self._session, self._epochs
        if not self.goes_on(table):
            self._watch(table, plan.left_out)
        sampling = CpuMeter(session.clock)
        interrupted_ns, self._clearing_ns = epochs.interrupt_ns, 0
        start_ns = session.clock.now_ns()
        with sampling:
            count = self._run_epochs(start_ns, start_ns + length_ns, plan)
            end_ns = session.clock.now_ns()
            self._uncounted += count
            enough = self._uncounted >= (1 if plan.closes else _AT_ONCE)
            sums = epochs.counts() if enough else None
            self._uncounted = 0 if enough else self._uncounted
        if plan.closes:
            self._watched = None
        return Sampled(
            start_ns,
            end_ns,
            Ticks(count, 0),
            None if sums is None else self._counts(sums),
            sampling.cpu_ns,
            self._clearing_ns,
            epochs.interrupt_ns - interrupted_ns,
        )

    def goes_on(self, table: RegionTable) -> bool:
        return self._watched is table

    def _watch(self, table: RegionTable, left_out: NDArray[np.bool_] | None) -> None:
        self._epochs.plan(self.looks_ns)
        self._epochs.watch(table, self._shares_of(table, left_out))
        self._watched = table
        self._told = self._new = Survival.empty(LOOKS, len(table))
        self._until_ns = self._uncounted = 0

    def set_rates(self, table: RegionTable, counts: Counts) -> None:
        table.evidence = Survival.of_rows(table.evidence).followed_by(self._new, self._later).rows
        never = table.evidence[:, 0] == 0
        accesses = self._accesses(table)
        tried = counts.checks + counts.unobservable
        unsampled = never & (tried == 0) & (table.last_nr_accesses > 0)
        rates = accesses.share * self._samples
        table.nr_accesses = np.where(unsampled, table.last_nr_accesses, rates)
        table.deviation = accesses.deviation * self._samples
        table.accessed_within = accesses.within
        table.seen = np.where(tried > 0, 1.0, table.seen)
        only_sampled = (tried > 0) & np.isnan(table.touched)
        table.unobservable = np.where(
            only_sampled, counts.unobservable / np.maximum(tried, 1), table.unobservable
        )
        if counts.split_hint is not None:
            table.split_hint = counts.split_hint

    def set_known_rates(self, table: RegionTable, looked_at: NDArray[np.bool_]) -> bool:
        table.evidence[_outdated(table) & looked_at] = 0
        accesses = self._accesses(table)
        touched = np.nan_to_num(table.touched)
        rates = accesses.share * self._samples
        known = np.where(touched > 0, np.maximum(rates, _LEAST_RATE), 0.0)
        # Regions of which no exact look can tell anything keep their last rate.
        known = np.where(np.isnan(table.touched), table.last_nr_accesses, known)
        deviation, within = accesses.deviation * self._samples, accesses.within
        table.nr_accesses = np.where(looked_at, known, table.nr_accesses)
        table.deviation = np.where(looked_at, deviation, table.deviation)
        table.accessed_within = np.where(looked_at[:, None], within, table.accessed_within)
        return True

    def _accesses(self, table: RegionTable) -> Accesses:
        """How often each region is accessed: by what surveys saw where no epoch has watched it."""
        interval_ns, accesses = self._pacer.named.sampling_ns, Accesses.unknown(len(table))
        if self._look_ns[0]:
            sums = Survival.of_rows(table.evidence)
            accesses = estimated_accesses(sums, self._look_ns, interval_ns)
        unknown = np.flatnonzero(np.isnan(accesses.share))
        if len(unknown):
            window_ns = self._pacer.effective.aggregation_ns
            looks_ns = np.array([window_ns / 4, window_ns])
            shares = np.stack([table.touched_early, table.touched])[:, unknown]
            sums = Survival.of_shares(np.nan_to_num(shares))
            surveyed = estimated_accesses(sums, looks_ns, interval_ns)
            # So little is known that the mean counts: none that is hot may look warm.
            accesses.share[unknown] = surveyed.mean
            accesses.deviation[unknown] = surveyed.deviation
            told = ~np.isnan(table.touched[unknown])
            accesses.within[unknown[told]] = surveyed.within[told]
        return accesses

    def reconcile(self, table: RegionTable, counts: Counts) -> None:
        hit_share = counts.hits / np.maximum(counts.checks, 1)
        table.touched = np.where(table.touched == 0, hit_share, table.touched)
        # What was accessed in earlier windows only is idle now, however often that was.
        # A page or two are what merges and splits have left of a neighbour's.
        touched = np.nan_to_num(table.touched)
        missed = (counts.hits == 0) & (counts.checks > 0)
        idle = missed & (touched * table.size < 2 * PAGE_SIZE)
        # Where a survey saw few pages in use, samples may miss them.
        least = np.where((touched > 0) & (touched < 1 - _USUAL), _LEAST_RATE, 0.0)
        # No more of a region is accessed in an interval than in the whole window.
        most = np.maximum(np.nan_to_num(table.touched, nan=1.0), hit_share) * self._samples
        table.nr_accesses = np.where(idle, 0.0, np.clip(table.nr_accesses, least, most))
        table.accessed_within[idle] = 0

    @property
    def sample_window(self) -> float:
        return min(1.0, self._epoch_pacer.epoch_ns / self._pacer.effective.aggregation_ns)

    def _shares_of(
        self, table: RegionTable, left_out: NDArray[np.bool_] | None
    ) -> NDArray[np.float64]:
        """In which share of the epochs to watch each region.

        Memory in which nothing is accessed needs no clear, so that watching it costs next to
        nothing.
        """
        idle = (table.last_nr_accesses == 0) & (table.evidence[:, 1] > 0)
        shares = np.ones(len(table))
        shares[~idle] = self._allotted(table.take(~idle))
        if left_out is not None:
            shares[left_out] = 0.0
        # The number of blocks varies from epoch to epoch, and those beyond the most are left out.
        fitting = _OF_MOST_BLOCKS * self._epochs.most_blocks / max(1.0, shares.sum())
        shares *= min(1.0, fitting)
        in_use = float(shares[~idle].mean()) if not idle.all() else 0.0
        self._epoch_pacer.watched_share = in_use or None
        return shares

    def _allotted(self, table: RegionTable) -> NDArray[np.float64]:
        """Shares with the mean that the pace allows: more for what is uncertain, and large."""
        if not len(table):
            return np.empty(0)
        uncertain = np.nan_to_num(Levels.of(table, self._samples).slack, nan=1.0)
        need = np.maximum(uncertain / (uncertain + _CLEAR_ENOUGH), _LEAST_NEED)
        need *= np.maximum(np.sqrt(table.size / table.size.mean()), _OF_SMALL)
        need[table.evidence[:, 1] == 0] = max(1.0, float(need.max()))
        allotted = _with_mean(need, self._pacer.share)
        # However well its rate is known: that half of the working set is idle now must show soon.
        used_bytes = np.nan_to_num(table.touched) * table.size
        least = _AT_LEAST * used_bytes / max(1.0, float(used_bytes.sum()))
        known: NDArray[np.float64] = np.minimum(np.maximum(allotted, least), 1.0)
        return known

    @property
    def looks_ns(self) -> Sequence[int]:
        """When to look within an epoch: after a sampling interval, and then later and later."""
        looks = (self._pacer.named.sampling_ns * _STEP**n for n in range(LOOKS - 1))
        return [ns for ns in looks if ns <= _LAST_LOOK * self._epoch_pacer.epoch_ns]

    def _run_epochs(self, start_ns: int, end_ns: int, plan: SamplePlan) -> int:
        """Let epochs pass until a window is over; returns how many ended.

        The last one goes on after the window, unless that closes a series of windows.
        """
        clock, epochs, epoch_ns = self._session.clock, self._epochs, self._epoch_pacer.epoch_ns
        quarter_ns = start_ns + (end_ns - start_ns) // 4
        at_quarter, count = plan.at_quarter, 0
        while True:
            if not self._until_ns:
                self._begin_epoch()
            if plan.closes and end_ns - self._until_ns < epoch_ns // 2:
                self._until_ns = end_ns
            passed = True
            if at_quarter is not None and quarter_ns < min(self._until_ns, end_ns):
                self._look_until(quarter_ns)
                passed = self._timer.wait_until(quarter_ns, epoch_ns)
                at_quarter()
                at_quarter = None
            self._look_until(min(self._until_ns, end_ns))
            if self._until_ns > end_ns:  # the next window goes on with this epoch
                clock.wait_until(end_ns)
                return count
            passed = passed and self._timer.wait_until(self._until_ns, epoch_ns)
            epochs.end()
            self._until_ns = 0
            count += 1
            if plan.between_epochs is not None:
                plan.between_epochs()
            if not passed or clock.now_ns() >= end_ns:
                return count

    def _look_until(self, end_ns: int) -> None:
        """Take the looks that are due before a time, where the kernel takes none."""
        while self._due_ns and self._due_ns[0] < end_ns:
            self._session.clock.wait_until(self._due_ns.pop(0))
            self._epochs.look()

    def _begin_epoch(self) -> None:
        clock = self._session.clock
        lasts = self._rng.uniform(1 - _JITTER, 1 + _JITTER)
        self._until_ns = clock.now_ns() + int(self._epoch_pacer.epoch_ns * lasts)
        # Looks at all pages, which come between epochs, clear pages as well.
        cleared_ns = self._session.interruption_ns
        self._epochs.begin()
        self._clearing_ns += self._session.interruption_ns - cleared_ns
        armed_ns = clock.now_ns()
        by_kernel = self._epochs.paced_by_kernel
        self._due_ns = [] if by_kernel else [armed_ns + after_ns for after_ns in self.looks_ns]

    def _counts(self, counts: EpochCounts) -> Counts:
        """All epochs of these regions as samples, each watched for an epoch."""
        sums = counts.sums
        self._new, self._told = sums.less(self._told), sums
        known = (self._look_ns > 0) & (counts.look_ns > 0)
        self._later = np.where(known, counts.look_ns, 1) / np.where(known, self._look_ns, 1)
        kept = min(self._weight, max(0.0, MEMORY_EPOCHS - counts.epochs))
        self._weight = kept + counts.epochs
        if self._weight:
            self._look_ns = (self._look_ns * kept + counts.look_ns * counts.epochs) / self._weight
        share = sums.seen[-1] / np.maximum(sums.pages, 1)
        return Counts(
            hits=share * sums.epochs,
            checks=sums.epochs,
            unobservable=counts.unobservable,
            split_hint=counts.split_hint,
            lost=counts.lost,
        )


def _with_mean(need: NDArray[np.float64], mean: float) -> NDArray[np.float64]:
    """Shares up to 1, in proportion to *need*, of this mean: where one is 1, others get more."""
    falling = np.sort(need)[::-1]
    whole = np.arange(len(need))
    scale = (mean * len(need) - whole) / np.cumsum(falling[::-1])[::-1]
    fits = np.flatnonzero(scale * falling <= 1)
    if not len(fits):
        return np.ones(len(need))
    shares: NDArray[np.float64] = np.minimum(need * max(0.0, float(scale[fits[0]])), 1.0)
    return shares


def _outdated(table: RegionTable) -> NDArray[np.bool_]:
    """Where a survey sees memory in use that epochs found idle, or idle memory that was in use.

    A quarter of a survey's window is about as long as an epoch.
    """
    sums = Survival.of_rows(table.evidence)
    accessed = (sums.hit_epochs[-1] + 0.5) / (sums.epochs + 1)
    begun = (table.touched_early >= 1 - _USUAL) & (accessed < 1 - _ALWAYS)
    ended = (table.touched_early <= 1 - _ALWAYS) & (accessed > _ALWAYS)
    outdated: NDArray[np.bool_] = (begun | ended) & (sums.epochs > 0)
    return outdated
