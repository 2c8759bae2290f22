"""What holds of adaptive regions adjustment whatever the regions are."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pydamon._model import adjust
from pydamon._model.attrs import Attrs
from pydamon._model.regions import PAGE_SIZE, Ranges, RegionTable
from tests.strategies import COUNTERS, FRESH, SAMPLES, coalesced, covered, ranges, tables

_limits = st.integers(1, 2**23).map(lambda pages: pages * PAGE_SIZE) | st.just(2**62)
_alike = st.integers(0, SAMPLES)
_seeds = st.integers(0, 2**32)
_min_sizes = st.sampled_from([PAGE_SIZE, 512 * PAGE_SIZE])


def assert_sound(table: RegionTable) -> None:
    table.check()
    assert (table.start % PAGE_SIZE == 0).all()
    assert (table.end % PAGE_SIZE == 0).all()


def assert_keeps_the_target(before: RegionTable, after: RegionTable) -> None:
    assert_sound(after)
    assert covered(after) == covered(before)


def of_each_old_region(before: RegionTable, after: RegionTable) -> list[int]:
    """For each region of *before* the region of *after* in which it begins."""
    return [
        next(
            index
            for index in range(len(after))
            if after.target[index] == target and after.start[index] <= start < after.end[index]
        )
        for target, start in zip(before.target, before.start, strict=True)
    ]


def assert_means_are_kept(before: RegionTable, after: RegionTable) -> None:
    part_of = np.array(of_each_old_region(before, after), np.intp)
    weight = before.size.astype(np.float64)
    for name in COUNTERS:
        sums = np.zeros(len(after))
        np.add.at(sums, part_of, getattr(before, name) * weight)
        np.testing.assert_allclose(getattr(after, name), sums / after.size, rtol=1e-12)


def mergeable(table: RegionTable, alike: float, limit: int) -> int:
    """How many neighbours could merge."""
    near = np.abs(np.diff(table.nr_accesses)) <= alike
    small = table.size[:-1] + table.size[1:] <= limit
    return int((near & small & table.adjacent()).sum())


def can_become_one(run: RegionTable, alike: int, limit: int) -> bool:
    """Whether there is an order in which all of *run* may merge, two neighbours at a time."""
    size = [int(s) for s in run.size // PAGE_SIZE]
    accesses = [int(n) * s for n, s in zip(run.nr_accesses, size, strict=True)]

    def mean(first: int, end: int) -> Fraction:
        return Fraction(sum(accesses[first:end]), sum(size[first:end]))

    @cache
    def possible(first: int, end: int) -> bool:
        if end - first == 1:
            return True
        if sum(size[first:end]) * PAGE_SIZE > limit:
            return False
        return any(
            abs(mean(first, middle) - mean(middle, end)) <= alike + 1e-9
            and possible(first, middle)
            and possible(middle, end)
            for middle in range(first + 1, end)
        )

    return possible(0, len(run))


@given(tables(), _alike, _limits)
def test_merge(table: RegionTable, alike: int, limit: int) -> None:
    out = adjust.merge(table, alike, limit)
    assert_keeps_the_target(table, out)
    assert_means_are_kept(table, out)
    # A mean is a rounded number: what is barely too far apart must not count against it.
    assert mergeable(out, alike - 1e-9, limit) == 0
    part_of = np.array(of_each_old_region(table, out), np.intp)
    for index in range(len(out)):
        run = np.flatnonzero(part_of == index)
        assert can_become_one(table.take(run), alike, limit)


@given(tables(), _limits)
def test_merge_of_equals_only_changes_no_rate(table: RegionTable, limit: int) -> None:
    out = adjust.merge(table, 0, limit)
    part_of = of_each_old_region(table, out)
    assert out.nr_accesses[part_of].tolist() == table.nr_accesses.tolist()
    assert mergeable(out, 0, limit) == 0


@given(tables(), _alike, _limits, st.integers(3, 30))
def test_merge_within(table: RegionTable, alike: int, limit: int, max_regions: int) -> None:
    out = adjust.merge_within(table, alike, limit, max_regions, SAMPLES)
    assert_keeps_the_target(table, out)
    assert_means_are_kept(table, out)
    assert len(out) <= max(max_regions, len(covered(table)))
    merged = adjust.merge(table, alike, limit)
    assert len(out) <= len(merged)
    if len(merged) <= max_regions:
        assert out.end.tolist() == merged.end.tolist()
    if (out.size > limit).sum() > (table.size > limit).sum():
        assert len(out) == max(max_regions, len(covered(table)))


@given(tables(), st.integers(1, 100))
def test_cut(table: RegionTable, pieces: int) -> None:
    limit = adjust.size_limit(int(table.size.sum()), pieces)
    out = adjust.cut(table, limit)
    assert_keeps_the_target(table, out)
    assert (out.size <= limit).all()
    assert len(out) == sum(-(-size // limit) for size in table.size.tolist())
    assert_copies(table, out)


def assert_copies(before: RegionTable, after: RegionTable) -> None:
    """Every region of *after* has the counters of the one that it was a part of."""
    parent = of_each_old_region(after, before)
    for name in COUNTERS:
        assert getattr(after, name).tolist() == getattr(before, name)[parent].tolist()


@given(tables(), st.integers(3, 200), st.booleans(), _seeds, _min_sizes)
def test_split(table: RegionTable, max_regions: int, stuck: bool, seed: int, min_size: int) -> None:
    last_count = len(table) if stuck else len(table) - 1
    out = adjust.split(table, max_regions, last_count, np.random.default_rng(seed), min_size)
    assert_keeps_the_target(table, out)
    assert_copies(table, out)
    assert len(table) <= len(out) <= max(max_regions, len(table))
    # Only the last piece of a region may be smaller than the smallest size, or no multiple of it.
    is_last = np.isin(out.end, table.end)
    assert (out.size[~is_last] % min_size == 0).all()
    pieces = np.bincount(of_each_old_region(out, table), minlength=len(table))
    assert pieces.max(initial=0) <= (3 if stuck else 2)
    if len(table) <= max_regions // 2:
        splittable = table.size >= 10 * min_size
        assert (pieces[splittable] >= 2).all()


@given(tables(), st.integers(3, 200), _seeds)
def test_a_seed_makes_a_split_repeatable(table: RegionTable, max_regions: int, seed: int) -> None:
    once, again = (
        adjust.split(table, max_regions, len(table), np.random.default_rng(seed)) for _ in range(2)
    )
    assert once.start.tolist() == again.start.tolist()


@given(tables(max_targets=3), st.lists(ranges(), max_size=4))
def test_fit(table: RegionTable, wanted: list[Ranges]) -> None:
    out = adjust.fit(table, wanted)
    assert_sound(out)
    assert covered(out) == coalesced(
        (target, start, end) for target, each in enumerate(wanted) for start, end in each.tolist()
    )
    assert_looks_up(table, out)


@given(tables(), st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), max_size=30))
def test_fit_to_moved_borders(table: RegionTable, moves: list[tuple[int, int]]) -> None:
    """As after a heap has grown and a mapping has lost its end: most of the old still holds."""
    moves += [(0, 0)] * (len(table) - len(moves))
    wanted: list[list[tuple[int, int]]] = [[], [], []]
    for target, start, end, (left, right) in zip(
        table.target.tolist(), table.start.tolist(), table.end.tolist(), moves, strict=False
    ):
        floor = wanted[target][-1][1] if wanted[target] else 0
        moved = max(floor, start + left * PAGE_SIZE), end + right * PAGE_SIZE
        if moved[0] < moved[1]:
            wanted[target].append(moved)
    out = adjust.fit(table, [np.array(each, np.int64).reshape(-1, 2) for each in wanted])
    assert_sound(out)
    assert covered(out) == coalesced(
        (target, *each) for target in range(3) for each in wanted[target]
    )
    assert_looks_up(table, out)


def assert_looks_up(before: RegionTable, after: RegionTable) -> None:
    """Each region of *after* lies in one of *before* and has its counters, or else is new."""
    for index in range(len(after)):
        target, start, end = after.target[index], after.start[index], after.end[index]
        meets = np.flatnonzero(
            (before.target == target) & (before.start < end) & (before.end > start)
        )
        assert len(meets) <= 1
        if len(meets):
            assert before.start[meets[0]] <= start < end <= before.end[meets[0]]
        for name in COUNTERS:
            expected = getattr(before, name)[meets[0]] if len(meets) else FRESH[name]
            np.testing.assert_equal(getattr(after, name)[index], expected)


@given(tables())
def test_fit_to_the_same_ranges_changes_nothing(table: RegionTable) -> None:
    same: list[Ranges] = [
        np.column_stack([table.start, table.end])[table.target == target]
        for target in range(int(table.target.max(initial=-1)) + 1)
    ]
    out = adjust.fit(table, same)
    for name in ("target", "start", "end", *COUNTERS):
        assert getattr(out, name).tolist() == getattr(table, name).tolist()


@given(st.lists(ranges(), max_size=4), st.integers(3, 200))
def test_initial(wanted: list[Ranges], min_regions: int) -> None:
    table = adjust.initial(wanted, min_regions)
    assert_sound(table)
    assert covered(table) == coalesced(
        (target, start, end) for target, each in enumerate(wanted) for start, end in each.tolist()
    )
    pages = int(table.size.sum()) // PAGE_SIZE
    if pages >= min_regions**2:
        assert len(table) >= min_regions
    assert len(table) <= min_regions + sum(len(each) for each in wanted)


@given(tables(), st.sampled_from(["age_ns", "last_nr_accesses", "touched"]))
def test_age_and_rescale_leave_the_ranges(table: RegionTable, column: str) -> None:
    ranges_before = covered(table)
    before = getattr(table, column).copy()
    adjust.age(table, adjust.threshold(table.nr_accesses), 1)
    if column == "age_ns":
        assert ((table.age_ns == 0) | (table.age_ns == before + 1)).all()
    else:
        assert getattr(table, column).tolist() == before.tolist()
    adjust.rescale_counts(table, 20, 1000)
    assert covered(table) == ranges_before


class TestManyAggregations:
    """The order of an aggregation, over regions that are accessed at random."""

    def run(
        self,
        wanted: list[Ranges],
        attrs: Attrs,
        seed: int,
        accesses: Callable[[np.random.Generator, RegionTable], NDArray[np.int64]],
        aggregations: int = 60,
    ) -> list[list[tuple[int, ...]]]:
        rng = np.random.default_rng(seed)
        table = adjust.initial(wanted, attrs.min_regions)
        total = int(table.size.sum())
        target = covered(table)
        limit = adjust.size_limit(total, attrs.min_regions)
        least = min(attrs.min_regions, -(-total // limit))
        most = max(attrs.max_regions, len(target))
        last_count, history = 0, []
        for _ in range(aggregations):
            table.nr_accesses = accesses(rng, table).astype(np.float64)
            alike = adjust.threshold(table.nr_accesses)
            adjust.age(table, alike, 1)
            table = adjust.merge_within(table, alike, limit, attrs.max_regions, SAMPLES)
            assert_sound(table)
            assert covered(table) == target
            assert least <= len(table) <= most
            history.append([tuple(row) for row in np.column_stack([table.start, table.age_ns])])
            table.last_nr_accesses = table.nr_accesses
            table.nr_accesses = np.zeros(len(table))
            count = len(table)
            table = adjust.split(table, attrs.max_regions, last_count, rng)
            last_count = count
            assert_sound(table)
            assert covered(table) == target
            assert least <= len(table) <= most
        return history

    @given(
        st.lists(ranges(), min_size=1, max_size=3),
        st.integers(3, 40),
        st.integers(0, 80),
        _seeds,
        st.sampled_from([0, 1, SAMPLES]),
    )
    def test_stay_within_the_bounds(
        self, wanted: list[Ranges], min_regions: int, more: int, seed: int, highest: int
    ) -> None:
        attrs = Attrs(min_regions=min_regions, max_regions=min_regions + more)
        self.run(wanted, attrs, seed, lambda rng, t: rng.integers(0, highest + 1, len(t)), 25)

    @pytest.mark.parametrize(("min_regions", "max_regions"), [(20, 100), (3, 10), (10, 1000)])
    def test_bounds_that_the_kernel_tests(self, min_regions: int, max_regions: int) -> None:
        """Every second of 14 pieces of 10 MiB is hot, more or fewer pieces than regions allowed."""
        mib = 2**20
        attrs = Attrs(min_regions=min_regions, max_regions=max_regions)
        history = self.run(
            [np.array([[0, 140 * mib]])],
            attrs,
            1,
            lambda rng, t: np.where(
                (t.start + rng.random(len(t)) * t.size) // (10 * mib) % 2 == 0, SAMPLES, 0
            ),
        )
        if max_regions > 2 * 14:
            assert len(history[-1]) >= 14

    def test_find_the_borders_of_what_is_hot(self) -> None:
        mib = 2**20

        def accesses(rng: np.random.Generator, table: RegionTable) -> NDArray[np.int64]:
            share = np.clip(
                np.minimum(table.end, 60 * mib) - np.maximum(table.start, 40 * mib), 0, None
            )
            hits: NDArray[np.int64] = rng.binomial(SAMPLES, share / table.size)
            return hits

        history = self.run([np.array([[0, 100 * mib]])], Attrs(), 1, accesses, 100)
        starts = np.array([row[0] for row in history[-1]])
        for border in (40 * mib, 60 * mib):
            assert np.abs(starts - border).min() < mib

    def test_a_seed_makes_them_repeatable(self) -> None:
        wanted: list[Ranges] = [np.array([[0, 1000]]) * PAGE_SIZE]

        def once(seed: int) -> list[list[tuple[int, ...]]]:
            return self.run(
                wanted, Attrs(), seed, lambda rng, t: rng.integers(0, SAMPLES + 1, len(t))
            )

        assert once(7) == once(7)
        assert once(7) != once(8)
