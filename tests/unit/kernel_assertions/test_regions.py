"""What the kernel's unit tests assert of regions, of pydamon's algorithm.

Each test names the kernel's test (Linux 7.2, mm/damon/tests) whose assertion it states again, as a
property where there is one. docs/explanation/kernel-assertions.md is the list of all of them. The
names are private because the algorithm is.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from pydamon import Access, AccessPattern, Attrs, Phase, Trace, UsageError, simulate
from pydamon._model import adjust
from pydamon._model.mappings import Mapping, MappingTable
from pydamon._model.ranges import PAGE_SIZE, Ranges, subtract, union
from pydamon._model.regions import RegionTable
from pydamon._model.shares import counted_shares
from pydamon._observe.linux.procfs import Rule, ranges_of
from tests.strategies import SAMPLES, covered, ranges, table_of, tables

_seeds = st.integers(0, 2**32)


def bounds(*pairs: tuple[int, int]) -> Ranges:
    """Ranges in pages."""
    return np.array(pairs, np.int64).reshape(-1, 2) * PAGE_SIZE


def pages(table: RegionTable) -> list[tuple[int, int]]:
    """The regions in pages."""
    return [(int(s), int(e)) for s, e in (table.ranges // PAGE_SIZE).tolist()]


@given(ranges(min_size=1))
def test_a_new_region_has_no_accesses(wanted: Ranges) -> None:
    """damon_test_regions, damon_test_target: a region keeps its bounds, and starts from zero."""
    table = RegionTable.of(0, wanted[:, 0], wanted[:, 1])
    assert table.ranges.tolist() == wanted.tolist()
    assert not table.nr_accesses.any()
    assert not table.last_nr_accesses.any()
    assert not table.age_ns.any()
    assert len(table.take(np.ones(len(table), np.bool_))) == len(wanted)


@given(st.integers(1, 3), st.integers(20, 1000), _seeds)
def test_an_aggregation_counts_from_zero_and_keeps_all_memory(
    targets: int, hz: int, seed: int
) -> None:
    """damon_test_aggregate: counts start anew, and regions and targets stay."""
    trace = Trace((Phase(10**9, (Access(0, 64 * PAGE_SIZE, rate_hz=hz),)),))
    memory = [[(0, 128 * PAGE_SIZE)]] * targets
    mon = simulate(trace, *memory, attrs=Attrs(), plain=True, seed=seed)
    for snapshot in mon.run("1s"):
        assert len(snapshot.targets) == targets
        assert snapshot.nr_accesses.max() <= snapshot.max_nr_accesses == 20
        for target in range(targets):
            mine = snapshot.target == target
            assert snapshot.size[mine].sum() == 128 * PAGE_SIZE


def test_a_split_copies_the_counters() -> None:
    """damon_test_split_at: 0-100 at 25, with 42 accesses, 15 before, and an age of 10."""
    table = table_of([(0, 100, 42)])
    table.last_nr_accesses[:], table.age_ns[:] = 15, 10
    table.split_hint[:] = 25 * PAGE_SIZE
    out = adjust.split(table, 10, 0, np.random.default_rng(0))
    assert pages(out) == [(0, 25), (25, 100)]
    for name, value in (("nr_accesses", 42), ("last_nr_accesses", 15), ("age_ns", 10)):
        assert getattr(out, name).tolist() == [value, value]


def test_a_merge_keeps_means_by_size() -> None:
    """damon_test_merge_two: 10 accesses and age 9, with 20 and 21 of twice the size: 16 and 17."""
    table = table_of([(0, 100, 10), (100, 300, 20)])
    table.age_ns[:] = 9, 21
    out = adjust.merge(table, 10, 2**60)
    assert pages(out) == [(0, 300)]
    # Means are real numbers here; snapshots truncate them.
    assert (int(out.nr_accesses[0]), int(out.age_ns[0])) == (16, 17)


def test_neighbours_merge_where_they_are_alike_and_adjacent() -> None:
    """damon_test_merge_regions_of: nine regions become six; a hole and a limit stay."""
    starts = (0, 100, 114, 122, 130, 156, 170, 184, 230)
    ends = (100, 112, 122, 130, 156, 170, 184, 230, 10170)
    counts = (0, 0, 10, 10, 20, 30, 1, 2, 5)
    out = adjust.merge(table_of(list(zip(starts, ends, counts, strict=True))), 9, 9999 * PAGE_SIZE)
    left = [(0, 112), (114, 130), (130, 156), (156, 170), (170, 230), (230, 10170)]
    assert pages(out) == left


@given(tables(max_targets=1), st.integers(3, 60), _seeds, st.sampled_from([1, 5]))
def test_a_region_becomes_three_at_most(
    table: RegionTable, max_regions: int, seed: int, min_pages: int
) -> None:
    """damon_test_split_regions_of: no more pieces than asked for, in multiples of a size."""
    min_size = min_pages * PAGE_SIZE
    rng = np.random.default_rng(seed)
    out = adjust.split(table, max_regions, len(table), rng, min_size)
    assert len(out) <= max(len(table), min(3 * len(table), max_regions))
    assert covered(out) == covered(table)
    inner = np.setdiff1d(out.start, table.start)
    parents = table.start[np.searchsorted(table.start, inner, side="right") - 1]
    assert ((inner - parents) % min_size == 0).all()


@given(st.integers(751, 1499), _seeds)
@example(760, 0)
def test_above_half_of_the_maximum_splits_go_on(count: int, seed: int) -> None:
    """damon_test_split_above_half_progresses: 760 regions of at most 1,500 become more."""
    rows = [(100 * i, 100 * i + 100, 0 if i % 2 else 100) for i in range(count)]
    table = table_of(rows)  # type: ignore[arg-type]
    out = adjust.split(table, 1500, count - 1, np.random.default_rng(seed))
    assert count < len(out) <= 1500


@given(tables(), _seeds)
def test_a_random_border_lies_within_the_region(table: RegionTable, seed: int) -> None:
    """damon_test_rand: random numbers stay within their bounds: 1 to 9 tenths of a region."""
    out = adjust.split(table, 10**6, 0, np.random.default_rng(seed))
    assert (out.size > 0).all()
    assert set(covered(out)) == set(covered(table))
    row = out.at(table.target, table.start)
    shares = out.size[row] / table.size
    assert (shares <= 0.9).all() or (table.size[shares > 0.9] < 10 * PAGE_SIZE).all()


_OLD_AND_NEW = [
    # damon_test_set_regions
    ([], [(5, 15), (15, 25)], [(5, 15), (15, 25)]),
    ([(4, 16), (24, 32)], [(18, 23)], [(18, 23)]),
    ([(4, 16), (24, 32)], [(8, 28)], [(8, 16), (16, 24), (24, 28)]),
    ([(0, 4), (4, 17)], [(0, 15), (25, 40)], [(0, 4), (4, 15), (25, 40)]),
    ([(0, 4), (42, 52)], [(0, 15), (25, 40), (44, 50)], [(0, 15), (25, 40), (44, 50)]),
]
_BEFORE = [(10, 20), (20, 30), (50, 55), (55, 57), (57, 59), (70, 80), (80, 90), (90, 100)]
_APPLIED = [
    # damon_test_apply_three_regions1 to 4
    (
        [(5, 27), (45, 55), (73, 104)],
        [(5, 20), (20, 27), (45, 55), (73, 80), (80, 90), (90, 104)],
    ),
    (
        [(5, 27), (56, 57), (65, 104)],
        [(5, 20), (20, 27), (56, 57), (65, 80), (80, 90), (90, 104)],
    ),
    (
        [(5, 27), (61, 63), (65, 104)],
        [(5, 20), (20, 27), (61, 63), (65, 80), (80, 90), (90, 104)],
    ),
    ([(5, 7), (30, 32), (65, 68)], [(5, 7), (30, 32), (65, 68)]),
]
Pairs = list[tuple[int, int]]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [*_OLD_AND_NEW, *((_BEFORE, new, expected) for new, expected in _APPLIED)],
)
def test_regions_follow_the_mappings(old: Pairs, new: Pairs, expected: Pairs) -> None:
    """damon_test_set_regions, damon_test_apply_three_regions1 to 4.

    The kernel's borders are ours, too. Ours has more: memory that is new is a region of its own,
    where the kernel stretches a neighbour, whose age and accesses the new memory then seems to
    have.
    """
    table = table_of([(start, end, 7) for start, end in old])
    table.age_ns[:] = 5
    out = adjust.fit(table, [bounds(*new)])
    assert union(out.ranges).tolist() == union(bounds(*expected)).tolist()
    edges = {edge for pair in expected for edge in pair}
    assert edges <= {edge for pair in pages(out) for edge in pair}
    fresh = subtract(bounds(*new), bounds(*old))
    for start, end, count, age in zip(out.start, out.end, out.nr_accesses, out.age_ns, strict=True):
        is_fresh = bool(((fresh[:, 0] <= start) & (end <= fresh[:, 1])).any())
        assert (count, age) == ((0, 0) if is_fresh else (7, 5))


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(1, 50)), min_size=1, max_size=12),
    st.integers(0, 100),
)
def test_three_regions_leave_out_the_two_largest_gaps(
    steps: list[tuple[int, int]], first: int
) -> None:
    """damon_test_three_regions_in_vmas."""
    mapped: Pairs = []
    at = first
    for gap, size in steps:
        mapped.append((at + gap, at + gap + size))
        at += gap + size
    assert_three_regions(mapped)


def test_the_kernels_three_regions() -> None:
    """damon_test_three_regions_in_vmas, the kernel's figures."""
    mapped = [(10, 20), (20, 25), (200, 210), (210, 220), (300, 305), (307, 330)]
    assert assert_three_regions(mapped) == [(10, 25), (200, 220), (300, 330)]


def assert_three_regions(mapped: Pairs) -> Pairs:
    """Check the rule of three, and return its regions in pages."""
    mappings = [Mapping(s * PAGE_SIZE, e * PAGE_SIZE, "rw-p", "") for s, e in mapped]
    three = ranges_of(MappingTable(tuple(mappings)), Rule.THREE, 1000)
    whole = bounds(*mapped)
    assert len(subtract(whole, three)) == 0
    assert (three[0, 0], three[-1, 1]) == (whole[0, 0], whole[-1, 1])
    gaps = sorted((whole[1:, 0] - whole[:-1, 1]).tolist(), reverse=True)
    left_out = sorted((three[1:, 0] - three[:-1, 1]).tolist(), reverse=True)
    assert left_out == [gap for gap in gaps[:2] if gap]
    return [(int(s), int(e)) for s, e in (three // PAGE_SIZE).tolist()]


@pytest.mark.parametrize(
    ("start", "end", "pieces"), [(0, 100, 10), (5, 59, 5), (4, 6, 1), (0, 3, 2)]
)
def test_a_range_is_cut_evenly(start: int, end: int, pieces: int) -> None:
    """damon_test_split_evenly: so many pieces. Ours leave the last one smaller, not larger."""
    out = adjust.initial([bounds((start, end))], pieces)
    assert len(out) == pieces
    assert covered(out) == covered(table_of([(start, end, 0)]))
    assert len(set(out.size[:-1].tolist())) <= 1
    assert out.size[-1] <= out.size[0]


def test_what_cannot_be_cut_stays() -> None:
    """damon_test_split_evenly: one page stays one region, and 0 pieces are refused."""
    assert pages(adjust.initial([bounds((5, 6))], 2)) == [(5, 6)]
    with pytest.raises(UsageError):
        Attrs(min_regions=0)


@pytest.mark.parametrize(
    ("size", "min_size", "min_regions", "limit", "count"),
    [(10, 1, 10, 1, 10), (10, 1, 15, 1, 10), (10, 2, 2, 6, 2), (10, 2, 10, 2, 5)],
)
def test_the_minimum_number_of_regions_is_kept(
    size: int, min_size: int, min_regions: int, limit: int, count: int
) -> None:
    """damon_test_apply_min_nr_regions: the largest size of a region, and how many there are."""
    limit_bytes = adjust.size_limit(size * PAGE_SIZE, min_regions, min_size * PAGE_SIZE)
    assert limit_bytes == limit * PAGE_SIZE
    assert len(adjust.cut(table_of([(0, size, 0)]), limit_bytes)) == count


def test_rates_and_ages_stay_when_intervals_change() -> None:
    """damon_test_update_monitoring_result: 15 accesses and age 20 at 10 / 1,000 us.

    The kernel's test counts each change from the first intervals; here each follows the last one.
    """
    table = table_of([(3, 7, 15)])
    table.age_ns[:] = 20 * 1000
    samples = 1000 // 10
    for sample, aggregation, accesses, age in (
        (100, 10_000, 15, 2),
        (1, 1000, 150, 20),
        (1, 100, 15, 200),
    ):
        adjust.rescale_counts(table, samples, aggregation // sample)
        samples = aggregation // sample
        # The age is a time: it does not change, and nothing of it is lost on the way.
        assert (table.nr_accesses[0], table.age_ns[0] // aggregation) == (accesses, age)


@given(
    st.integers(0, SAMPLES),
    st.lists(st.integers(1, 10**4), min_size=1, max_size=6),
)
def test_any_change_of_samples_can_be_undone(accesses: int, changes: list[int]) -> None:
    """damon_test_update_monitoring_result, as a property: shares stay what they were."""
    table = table_of([(0, 1, accesses)])
    table.last_nr_accesses[:] = accesses
    before = SAMPLES
    for samples in (*changes, SAMPLES):
        adjust.rescale_counts(table, before, samples)
        before = samples
        for counts in (table.nr_accesses, table.last_nr_accesses):
            assert counts[0] / samples == pytest.approx(accesses / SAMPLES)


@pytest.mark.parametrize(
    "wrong", [{"min_regions": 1}, {"max_regions": 9}, {"aggregation_ns": 4_999_000}]
)
def test_attributes_that_make_no_sense_are_refused(wrong: dict[str, int]) -> None:
    """damon_test_set_attrs."""
    assert Attrs(min_regions=10, max_regions=1000).samples_per_aggregation == 20
    with pytest.raises(UsageError):
        Attrs(**wrong)


@given(st.integers(1, 10**7), st.integers(1, 2**40), st.integers(0, 2**31 - 1))
@example(interval_us=10, samples=2**32, accesses=123)
def test_very_long_aggregations_overflow_nothing(
    interval_us: int, samples: int, accesses: int
) -> None:
    """damon_test_nr_accesses_to_accesses_bp: as many samples as do not fit into 32 bits."""
    aggregation_us = min(interval_us * samples, 2**62 // 1000)
    assume(aggregation_us >= interval_us)
    attrs = Attrs(interval_us * 1000, aggregation_us * 1000, aggregation_us * 1000)
    most = attrs.samples_per_aggregation
    assert most == aggregation_us // interval_us
    share = counted_shares(np.array([min(accesses, most)]), np.array([most]))[0]
    assert 0 <= share <= 1
    assert share == pytest.approx(min(accesses, most) / most)
    bounds = AccessPattern(min_rate="50%").bounds(most, attrs.sampling_ns, attrs.aggregation_ns)
    assert most / 2 <= bounds.min_nr_accesses <= most / 2 + 1
