"""Adaptive regions adjustment: single cases, among them those that the kernel's tests assert."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from pydamon._model import adjust
from pydamon._model.attrs import Attrs
from pydamon._model.errors import UsageError
from pydamon._model.regions import PAGE_SIZE, Ranges, RegionTable, concatenate
from tests.strategies import COUNTERS, FRESH, table_of

NO_LIMIT = 2**60


def rows(table: RegionTable, unit: int = PAGE_SIZE) -> list[tuple[int, int]]:
    assert (table.start % unit == 0).all()
    assert (table.end % unit == 0).all()
    return list(zip((table.start // unit).tolist(), (table.end // unit).tolist(), strict=True))


def ranges_of(*bounds: tuple[int, int], unit: int = PAGE_SIZE) -> Ranges:
    return np.array(bounds, np.int64).reshape(-1, 2) * unit


class TestSizeLimit:
    @pytest.mark.parametrize(
        ("size", "min_size", "min_regions", "limit", "count"),
        [(10, 1, 10, 1, 10), (10, 1, 15, 1, 10), (10, 2, 2, 6, 2), (10, 2, 10, 2, 5)],
    )
    def test_kernel_cases(
        self, size: int, min_size: int, min_regions: int, limit: int, count: int
    ) -> None:
        limit_bytes = adjust.size_limit(size * PAGE_SIZE, min_regions, min_size * PAGE_SIZE)
        assert limit_bytes == limit * PAGE_SIZE
        table = table_of([(0, size, 0)])
        assert len(adjust.cut(table, limit_bytes)) == count

    def test_is_a_page_at_least(self) -> None:
        assert adjust.size_limit(0, 10) == PAGE_SIZE
        assert adjust.size_limit(1, 10) == PAGE_SIZE

    @pytest.mark.parametrize("min_regions", [3, 10, 100])
    def test_reaches_the_minimum_number_where_there_are_enough_pages(
        self, min_regions: int
    ) -> None:
        for pages in range(min_regions**2, min_regions**2 + 5 * min_regions):
            table = adjust.initial([ranges_of((7, 7 + pages))], min_regions)
            assert len(table) >= min_regions


class TestCut:
    def test_leaves_a_rest(self) -> None:
        table = table_of([(0, 3, 1), (10, 17, 2), (17, 20, 3)])
        out = adjust.cut(table, 3 * PAGE_SIZE)
        assert rows(out) == [(0, 3), (10, 13), (13, 16), (16, 17), (17, 20)]
        assert out.nr_accesses.tolist() == [1, 2, 2, 2, 3]

    def test_leaves_what_is_small_enough(self) -> None:
        table = table_of([(0, 3, 1)])
        assert adjust.cut(table, 3 * PAGE_SIZE) is table


class TestInitial:
    def test_cuts_evenly(self) -> None:
        table = adjust.initial([ranges_of((100, 120))], 10)
        assert rows(table) == [(n, n + 2) for n in range(100, 120, 2)]
        for name, value in FRESH.items():
            np.testing.assert_array_equal(getattr(table, name), value)

    def test_numbers_targets_by_place(self) -> None:
        table = adjust.initial([ranges_of((5, 6)), ranges_of(), ranges_of((1, 2), (3, 4))], 3)
        assert table.target.tolist() == [0, 2, 2]
        assert rows(table) == [(5, 6), (1, 2), (3, 4)]

    def test_shares_the_minimum_number_between_all_targets(self) -> None:
        table = adjust.initial([ranges_of((0, 100)), ranges_of((0, 900))], 10)
        assert np.bincount(table.target).tolist() == [1, 9]

    @pytest.mark.parametrize("ranges", [[], [ranges_of()], [ranges_of(), ranges_of()]])
    def test_of_nothing(self, ranges: list[Ranges]) -> None:
        assert len(adjust.initial(ranges, 10)) == 0

    def test_refuses_overlap(self) -> None:
        with pytest.raises(UsageError, match="overlap"):
            adjust.initial([ranges_of((0, 5), (4, 8))], 10)


@pytest.mark.parametrize(
    ("nr_accesses", "expected"), [([], 0), ([9, 1], 0), ([10], 1), ([19, 3], 1), ([20], 2)]
)
def test_threshold(nr_accesses: list[float], expected: int) -> None:
    assert adjust.threshold(np.array(nr_accesses, np.float64)) == expected


class TestAge:
    @pytest.mark.parametrize(
        ("now", "last", "alike", "expected"),
        [
            (5, 5, 0, 8),
            (5, 7, 2, 8),
            (7, 5, 2, 8),
            (5, 8, 2, 0),
            (8, 5, 2, 0),
            (0, 0, 2, 8),
            (0, 1, 2, 0),
            (1, 0, 2, 0),
            # A mean is truncated, as the kernel keeps it.
            (0, 0.9, 2, 8),
            (5, 7.9, 2, 8),
        ],
    )
    def test_rules(self, now: float, last: float, alike: int, expected: float) -> None:
        table = table_of([(0, 1, now)])
        table.last_nr_accesses[:] = last
        table.age_ns[:] = 7
        adjust.age(table, alike, 1)
        assert table.age_ns.tolist() == [expected]

    def test_of_nothing(self) -> None:
        table = RegionTable.of([], [], [])
        adjust.age(table, 0, 1)
        assert len(table.age_ns) == 0


class TestMerge:
    def test_means_are_weighted_by_size(self) -> None:
        table = table_of([(0, 100, 10), (100, 300, 20)])
        table.age_ns[:] = 9, 21
        out = adjust.merge(table, 10, NO_LIMIT)
        assert rows(out) == [(0, 300)]
        assert (int(out.nr_accesses[0]), int(out.age_ns[0])) == (16, 17)
        assert out.nr_accesses[0] == pytest.approx(float(Fraction(50, 3)))
        assert out.age_ns[0] == pytest.approx(17)

    def test_what_nobody_has_looked_at_stays_apart(self) -> None:
        table = table_of([(0, 100, 0), (100, 200, 0), (200, 300, 0)])
        table.seen[:] = 1, 0, 0
        out = adjust.merge(table, 10, NO_LIMIT)
        assert rows(out) == [(0, 100), (100, 300)]
        assert out.seen.tolist() == [1, 0]

    def test_kernel_case(self) -> None:
        start = [0, 100, 114, 122, 130, 156, 170, 184, 230]
        end = [100, 112, 122, 130, 156, 170, 184, 230, 10170]
        nr = [0, 0, 10, 10, 20, 30, 1, 2, 5]
        table = table_of(list(zip(start, end, nr, strict=True)))
        out = adjust.merge(table, 9, 9999 * PAGE_SIZE)
        assert rows(out) == [
            (0, 112),
            (114, 130),
            (130, 156),
            (156, 170),
            (170, 230),
            (230, 10170),
        ]

    def test_keeps_gaps_and_targets_apart(self) -> None:
        table = RegionTable.of([0, 0, 1], [0, 8192, 12288], [4096, 12288, 16384])
        assert len(adjust.merge(table, 20, NO_LIMIT)) == 3

    def test_fills_the_limit_and_no_more(self) -> None:
        table = table_of([(n, n + 1, 0) for n in range(8)])
        assert rows(adjust.merge(table, 0, 4 * PAGE_SIZE)) == [(0, 4), (4, 8)]
        assert rows(adjust.merge(table, 0, PAGE_SIZE)) == rows(table)

    def test_compares_with_the_mean_of_what_has_merged(self) -> None:
        # 0 and 2 become 1, which is further than 2 from 4.
        table = table_of([(0, 1, 0), (1, 2, 2), (2, 3, 4)])
        assert rows(adjust.merge(table, 2, NO_LIMIT)) == [(0, 2), (2, 3)]

    def test_joins_two_at_a_time(self) -> None:
        # Of 0, 2 and 4 the last two join first: their 3 is too far from 0.
        table = table_of([(0, 1, 10), (1, 2, 0), (2, 3, 2), (3, 4, 4)])
        out = adjust.merge(table, 2, NO_LIMIT)
        assert out.nr_accesses.tolist() == [10, 0, 3]

    def test_equal_counts_keep_their_value_exactly(self) -> None:
        table = table_of([(n * 7, n * 7 + 7, 13) for n in range(1000)])
        assert adjust.merge(table, 0, NO_LIMIT).nr_accesses.tolist() == [13]

    def test_at_the_top_of_five_level_page_tables(self) -> None:
        top = 2**56 // PAGE_SIZE
        table = table_of([(0, top // 2, 20), (top // 2, top - 1, 20), (top - 1, top, 19)])
        out = adjust.merge(table, 1, NO_LIMIT)
        assert rows(out) == [(0, top)]
        assert out.nr_accesses[0] == pytest.approx(20)

    @pytest.mark.parametrize("table", [table_of([]), table_of([(3, 4, 5)])])
    def test_of_nothing_to_merge(self, table: RegionTable) -> None:
        assert rows(adjust.merge(table, 20, NO_LIMIT)) == rows(table)

    def test_a_chain_of_single_joins_comes_to_an_end(self) -> None:
        # 3 apart each, but the mean of the first few is near enough to every next one.
        values = [10 + (2 if n % 2 else -1) for n in range(2000)]
        values[0] = 10
        table = table_of([(n, n + 1, v) for n, v in enumerate(values)])
        counts: list[int] = []
        while len(table) > 1 and len(counts) < 100:
            table = adjust.merge(table, 2, NO_LIMIT)
            counts.append(len(table))
        assert counts == sorted(counts, reverse=True)
        assert counts[-1] == 1


class TestMergeWithin:
    def test_one_pass_where_that_is_enough(self) -> None:
        table = table_of([(0, 1, 0), (1, 2, 2), (2, 3, 20)])
        out = adjust.merge_within(table, 2, NO_LIMIT, 2, 20)
        assert rows(out) == [(0, 2), (2, 3)]

    @pytest.mark.parametrize(("alike", "values"), [(0, [0, 1]), (1, [0, 8]), (1, [0, 20])])
    def test_calls_more_and_more_alike(self, alike: int, values: list[int]) -> None:
        table = table_of([(n, n + 1, v) for n, v in enumerate(values)])
        assert len(adjust.merge_within(table, alike, NO_LIMIT, 1, 20)) == 1

    def test_stops_at_the_smallest_difference_that_is_enough(self) -> None:
        table = table_of([(0, 1, 0), (1, 2, 1), (2, 3, 5), (3, 4, 20)])
        out = adjust.merge_within(table, 0, NO_LIMIT, 3, 20)
        assert rows(out) == [(0, 2), (2, 3), (3, 4)]

    def test_keeps_the_maximum_even_beyond_the_limit(self) -> None:
        pages = [3, 3, 1, 1, 3, 3]
        ends = np.cumsum(pages)
        table = table_of([(int(e - p), int(e), 0) for e, p in zip(ends, pages, strict=True)])
        out = adjust.merge_within(table, 0, 3 * PAGE_SIZE, 4, 20)
        assert len(out) == 4
        assert rows(out)[0] == (0, 3)

    def test_cannot_go_below_the_number_of_ranges(self) -> None:
        table = table_of([(0, 1, 0), (2, 3, 0), (3, 4, 20), (5, 6, 0)])
        out = adjust.merge_within(table, 0, PAGE_SIZE, 2, 20)
        assert rows(out) == [(0, 1), (2, 4), (5, 6)]


class TestSplit:
    def test_children_copy_the_counters(self) -> None:
        table = table_of([(0, 100, 11)])
        for number, name in enumerate(COUNTERS):
            getattr(table, name)[:] = number + 0.5
        out = adjust.split(table, 10, 0, np.random.default_rng(1))
        assert len(out) == 2
        assert rows(out)[0][1] % 10 == 0
        for number, name in enumerate(COUNTERS):
            assert getattr(out, name).tolist() == [number + 0.5] * 2

    def test_at_every_tenth(self) -> None:
        table = table_of([(n * 100, n * 100 + 100, 0) for n in range(1000)])
        out = adjust.split(table, 2000, 0, np.random.default_rng(1))
        left = out.size[::2] // PAGE_SIZE
        assert sorted(set(left.tolist())) == [10, 20, 30, 40, 50, 60, 70, 80, 90]
        assert np.bincount(left // 10, minlength=10)[1:].min() > 60

    @pytest.mark.parametrize(
        ("max_regions", "last_count", "expected"),
        [(20, 0, 10), (20, 5, 15), (15, 5, 10), (10, 0, 10), (9, 0, 9), (5, 0, 5), (4, 0, 5)],
    )
    def test_number_of_pieces(self, max_regions: int, last_count: int, expected: int) -> None:
        table = table_of([(n * 100, n * 100 + 100, 0) for n in range(5)])
        out = adjust.split(table, max_regions, last_count, np.random.default_rng(1))
        assert len(out) == expected

    def test_the_third_piece_is_of_the_left_one(self) -> None:
        table = table_of([(0, 1000, 0)])
        two = adjust.split(table, 100, 0, np.random.default_rng(3))
        three = adjust.split(table, 100, 1, np.random.default_rng(3))
        assert rows(three)[-1] == rows(two)[-1]

    def test_above_half_any_region_can_be_the_one(self) -> None:
        table = table_of([(n * 100, n * 100 + 100, 0) for n in range(5)])
        rng = np.random.default_rng(1)
        whole = [set(rows(table)) - set(rows(adjust.split(table, 6, 0, rng))) for _ in range(100)]
        assert set.union(*whole) == set(rows(table))

    def test_leaves_single_pages(self) -> None:
        table = table_of([(n, n + 1, 0) for n in range(5)])
        assert rows(adjust.split(table, 100, 5, np.random.default_rng(1))) == rows(table)

    def test_keeps_to_the_smallest_size(self) -> None:
        huge = 512
        table = table_of([(0, huge, 0), (huge, 4 * huge, 0)])
        rng = np.random.default_rng(1)
        for _ in range(20):
            out = adjust.split(table, 100, 2, rng, huge * PAGE_SIZE)
            assert rows(out, huge * PAGE_SIZE)[0] == (0, 1)

    def test_two_pages_part(self) -> None:
        table = table_of([(0, 2, 0)])
        rng = np.random.default_rng(1)
        splits = {tuple(rows(adjust.split(table, 10, 0, rng))) for _ in range(50)}
        assert splits == {((0, 2),), ((0, 1), (1, 2))}

    def test_of_nothing(self) -> None:
        assert len(adjust.split(table_of([]), 10, 0, np.random.default_rng(1))) == 0


class TestFit:
    def test_kernel_case(self) -> None:
        table = table_of([(4, 16, 5), (24, 32, 7)])
        table.age_ns[:] = 3, 4
        out = adjust.fit(table, [ranges_of((8, 28))])
        assert rows(out) == [(8, 16), (16, 24), (24, 28)]
        assert out.nr_accesses.tolist() == [5, 0, 7]
        assert out.age_ns.tolist() == [3, 0, 4]

    def test_keeps_each_target_to_itself(self) -> None:
        table = concatenate(
            [table_of([(0, 10, 1)], 0), table_of([(5, 15, 2)], 1), table_of([(0, 9, 3)], 2)]
        )
        out = adjust.fit(table, [ranges_of((2, 4)), ranges_of((0, 10)), ranges_of()])
        assert out.target.tolist() == [0, 1, 1]
        assert rows(out) == [(2, 4), (0, 5), (5, 10)]
        assert out.nr_accesses.tolist() == [1, 0, 2]

    def test_new_and_lost_targets(self) -> None:
        table = concatenate([table_of([(0, 10, 1)], 0), table_of([(0, 10, 2)], 1)])
        assert rows(adjust.fit(table, [ranges_of((0, 10))])) == [(0, 10)]
        out = adjust.fit(table, [ranges_of((0, 10)), ranges_of((0, 10)), ranges_of((3, 4))])
        assert out.target.tolist() == [0, 1, 2]
        assert out.nr_accesses.tolist() == [1, 2, 0]
        assert len(adjust.fit(table, [])) == 0

    def test_from_nothing(self) -> None:
        out = adjust.fit(table_of([]), [ranges_of((3, 4), (8, 9))])
        assert rows(out) == [(3, 4), (8, 9)]


def rescale(table: RegionTable, old: Attrs, new: Attrs) -> None:
    adjust.rescale_counts(table, old.samples_per_aggregation, new.samples_per_aggregation)


class TestRescale:
    OLD = Attrs(10, 1000, 10**6)

    def test_kernel_cases(self) -> None:
        # Each step starts from the same old attributes, whatever the step before was.
        table = table_of([(0, 1, 15)])
        table.last_nr_accesses[:] = 15
        for new, nr_accesses in (
            (Attrs(100, 10000, 10**6), 15),
            (Attrs(1, 1000, 10**6), 150),
            (Attrs(1, 100, 10**6), 150),
        ):
            rescale(table, self.OLD, new)
            assert table.nr_accesses.tolist() == [nr_accesses]
            assert table.last_nr_accesses.tolist() == [nr_accesses]

    @pytest.mark.parametrize(("before", "after"), [(47, 3), (49, 1), (20, 7), (3, 1000)])
    def test_full_counts_stay_full(self, before: int, after: int) -> None:
        # 47 * (3 / 47) is below 3, and would be truncated to 2.
        table = table_of([(0, 1, before)])
        table.last_nr_accesses[:] = before
        rescale(table, Attrs(1, before, 10**6), Attrs(1, after, 10**6))
        assert table.nr_accesses.tolist() == [after]
        assert table.last_nr_accesses.tolist() == [after]


class TestConcatenate:
    def test_of_nothing(self) -> None:
        assert len(concatenate([])) == 0

    def test_keeps_every_column(self) -> None:
        parts = [table_of([(0, 1, 2)]), table_of([(0, 1, 4)], target=1)]
        for part in parts:
            part.age_ns[:] = part.target + 8
        out = concatenate(parts)
        assert out.target.tolist() == [0, 1]
        assert out.nr_accesses.tolist() == [2, 4]
        assert out.age_ns.tolist() == [8, 9]
        out.check()
