"""Which regions match, what filters reject, and that nothing is lost or doubled by cutting."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pydamon._act.runtime.candidates import filtered, matching
from pydamon._model.ranges import PAGE_SIZE, cut_at
from pydamon._model.regions import RegionTable, reset_age
from pydamon._model.schemes import AccessPattern, Filter
from pydamon._model.snapshot import Snapshot
from tests.strategies import SAMPLES, coalesced, covered, tables
from tests.unit.act.snapshots import all_of, bytes_of, snapshot_of, snapshots

_limits = st.tuples(st.integers(0, SAMPLES), st.integers(0, SAMPLES)).map(sorted)


@given(snapshots(), _limits, st.integers(0, 500), st.integers(0, 2**24))
def test_a_region_matches_if_all_three_are_within_bounds(
    snapshot: Snapshot, rate: list[int], age: int, size: int
) -> None:
    pattern = AccessPattern(
        min_size=size, min_rate=rate[0], max_rate=rate[1], min_age=age, max_age=age + 400
    )
    bounds = pattern.bounds(SAMPLES, snapshot.sampling_ns, snapshot.window_ns)
    matched = set(matching(all_of(snapshot), bounds).region.tolist())
    for index, region in enumerate(snapshot):
        fits = region.size >= size and rate[0] <= region.nr_accesses <= rate[1]
        assert (index in matched) == (fits and age <= region.age <= age + 400)


_addresses = st.integers(0, 2**22).map(lambda page: page * PAGE_SIZE)
_addr = st.builds(
    lambda start, pages, allow, matches: Filter(
        "addr", start=start, end=start + pages * PAGE_SIZE, allow=allow, matching=matches
    ),
    _addresses,
    st.integers(1, 500),
    st.booleans(),
    st.booleans(),
)
_target = st.builds(
    lambda target, allow, matches: Filter("target", target=target, allow=allow, matching=matches),
    st.integers(0, 3),
    st.booleans(),
    st.booleans(),
)


@given(snapshots(), st.lists(st.one_of(_addr, _target), max_size=4))
def test_the_first_filter_that_concerns_a_page_decides_about_it(
    snapshot: Snapshot, filters: list[Filter]
) -> None:
    kept = bytes_of(filtered(all_of(snapshot), filters))
    assert kept == sorted(kept)
    whole = bytes_of(all_of(snapshot))
    borders = {b for rule in filters if rule.kind == "addr" for b in (rule.start, rule.end)}
    for target, start, end in whole:
        probes = {start, end - PAGE_SIZE, *(b for b in borders if b and start <= b < end)}
        for page in probes:
            is_kept = any(t == target and s <= page < e for t, s, e in kept)
            assert is_kept == _decision(filters, target, page)
    assert all(any(t == T and s >= S and e <= E for T, S, E in whole) for t, s, e in kept)


def _decision(filters: list[Filter], target: int, page: int) -> bool:
    for rule in filters:
        if rule.kind == "addr":
            is_of_kind = (rule.start or 0) <= page < (rule.end or 0)
        else:
            is_of_kind = target == rule.target
        if is_of_kind == rule.matching:
            return rule.allow
    return not filters[-1].allow if filters else True


def test_filters_of_pages_decide_about_what_others_left_open() -> None:
    snapshot = snapshot_of([(0, 100, 0, 0)])
    allow = Filter("addr", start=10 * PAGE_SIZE, end=20 * PAGE_SIZE, allow=True)
    candidates = filtered(all_of(snapshot), [allow, Filter("anon", allow=True)])
    assert candidates.size_bytes == 100 * PAGE_SIZE
    assert candidates.allowed.tolist() == [False, True, False]


@given(tables(), st.lists(_addresses, max_size=20))
def test_cutting_keeps_every_byte(table: RegionTable, borders: list[int]) -> None:
    addresses = np.array(borders, np.int64)
    cut = cut_at(table.target, table.start, table.end, {0: addresses, 2: addresses})
    assert (cut.start < cut.end).all()
    rows = list(
        zip(table.target[cut.index].tolist(), cut.start.tolist(), cut.end.tolist(), strict=True)
    )
    assert coalesced(rows) == covered(table)
    for target, start, end in rows:
        assert not any(start < border < end for border in borders if target in (0, 2))


@given(tables(), _addresses, st.integers(1, 10_000))
def test_an_age_is_reset_for_what_was_acted_on_and_nothing_else(
    table: RegionTable, start: int, pages: int
) -> None:
    table.age_ns += 1
    end = start + pages * PAGE_SIZE
    out = reset_age(table, 1, np.array([[start, end]], np.int64))
    assert covered(out) == covered(table)
    inside = (out.target == 1) & (out.start >= start) & (out.end <= end)
    assert ((out.age_ns == 0) == inside).all()
