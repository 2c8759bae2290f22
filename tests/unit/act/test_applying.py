"""Schemes applied to made-up memory: statistics, intervals, ends; and the refusal of nonsense."""

from __future__ import annotations

import re

import pytest

import pydamon
from pydamon import Access, AccessPattern, Attrs, Filter, Phase, Quota, Scheme, Trace, Watermarks
from pydamon._model.errors import SchemeError

MIB = 1 << 20
_TRACE = Trace((Phase(10**9, (Access(0, 16 * MIB, rate_hz=1000),)),))
_RANGE = [(0, 64 * MIB)]


def _applied(
    *schemes: Scheme, duration: str = "3s", dry_run: bool = False, attrs: Attrs | None = None
) -> pydamon.Applied:
    mon = pydamon.simulate(_TRACE, _RANGE, attrs=attrs)
    with mon, pydamon.apply(mon, *schemes, dry_run=dry_run) as applied:
        for _ in applied.run(duration):
            pass
    return applied


def test_stat_counts_what_matches_and_leaves_ages_alone() -> None:
    hot = Scheme("stat", AccessPattern(min_rate="50%", min_age="1s"))
    cold = Scheme("stat", AccessPattern(max_rate="10%", min_age="1s"))
    applied = _applied(hot, cold)
    for scheme, wanted in ((applied[0], 16 * MIB), (applied[1], 48 * MIB)):
        last = sum(part.end - part.start for part in scheme.tried)
        assert last == pytest.approx(wanted, rel=0.1)
        assert scheme.stats.sz_tried == scheme.stats.sz_applied == scheme.stats.sz_ops_filter_passed
        assert scheme.stats.nr_tried >= len(scheme.tried) > 0


def test_a_function_is_called_with_regions_and_makes_them_new() -> None:
    seen: list[pydamon.SnapshotRegion] = []

    def act(region: pydamon.SnapshotRegion) -> int:
        seen.append(region)
        return region.size // 2

    applied = _applied(Scheme(act, AccessPattern(min_rate="50%", min_age="1s")))
    stats = applied[0].stats
    assert stats.sz_tried == sum(region.size for region in seen) == 2 * stats.sz_applied
    assert all(region.nr_accesses >= 10 and region.age >= 10 for region in seen)
    # After each, a second must pass until a region is old enough again.
    assert stats.sz_tried <= 3 * 17 * MIB


def test_a_dry_run_calls_nothing_and_changes_no_age() -> None:
    def act(region: pydamon.SnapshotRegion) -> None:
        raise AssertionError(region)

    applied = _applied(Scheme(act, AccessPattern(min_rate="50%")), dry_run=True)
    stats = applied[0].stats
    assert stats.sz_applied == stats.sz_tried == pytest.approx(16 * MIB, rel=0.1)  # not each time


def test_apply_intervals_and_ends() -> None:
    attrs = Attrs.of("1ms", "10ms")
    often = Scheme("stat", name="often")
    seldom = Scheme("stat", name="seldom", apply_interval="100ms")
    few = Scheme("stat", name="few", max_snapshots=7)
    applied = _applied(often, seldom, few, attrs=attrs)
    tried = {scheme.scheme.name: scheme.stats.nr_snapshots for scheme in applied.schemes}
    assert 9 <= tried["often"] / tried["seldom"] <= 11
    assert tried["few"] == 7
    assert applied[2].state.startswith("done")


def test_it_ends_when_all_schemes_are_done() -> None:
    mon = pydamon.simulate(_TRACE, _RANGE)
    with mon, pydamon.apply(mon, Scheme("stat", max_snapshots=4)) as applied:
        assert len(list(applied)) == 4


def test_without_schemes_it_goes_on() -> None:
    mon = pydamon.simulate(_TRACE, _RANGE)
    with mon, pydamon.apply(mon) as applied:
        assert len(list(applied.run("1s"))) > 5


def test_none_of_60_windows_gets_more_than_the_quota() -> None:
    def act(region: pydamon.SnapshotRegion) -> None:
        windows[-1] += region.size

    windows: list[int] = []
    quota = Quota(bytes="1M", reset="200ms")
    scheme = Scheme(act, AccessPattern(max_rate="10%"), quota=quota)
    mon = pydamon.simulate(_TRACE, _RANGE)  # an aggregation is half a window
    with mon, pydamon.apply(mon, scheme) as applied:
        while len(windows) < 60:
            windows.append(0)
            for _ in applied.run("200ms"):
                pass
    assert max(windows) == MIB
    assert sum(windows) >= 58 * MIB
    stats = applied[0].stats
    assert stats.sz_tried == sum(windows)
    assert stats.qt_exceeds == stats.sz_tried // MIB - 1  # the last window is open
    assert applied[0].effective_bytes == MIB


def test_watermarks_keep_a_scheme_off() -> None:
    marks = Watermarks(metric="free_mem_rate", high=0, mid=0, low=0)
    applied = _applied(Scheme("stat", watermarks=marks))
    assert applied[0].stats.nr_snapshots == 0
    assert applied[0].state.startswith("off")


def test_a_dry_run_shows_what_would_be_done_though_watermarks_keep_the_scheme_off() -> None:
    marks = Watermarks(metric="free_mem_rate", high="0%", mid="0%", low="0%")
    hot = Scheme("stat", AccessPattern(min_rate="50%", min_age="1s"), watermarks=marks)
    applied = _applied(hot, dry_run=True)
    assert applied[0].stats.sz_applied == pytest.approx(16 * MIB, rel=0.1)
    assert re.fullmatch(
        r"off now: \d+\.\d % of memory is free; it would act between 0 and 0 %", applied[0].state
    )


def test_a_dry_run_says_when_it_is_too_early_to_tell() -> None:
    old = Scheme("stat", AccessPattern(max_rate=0, min_age="2min"))
    (scheme,) = _applied(old, dry_run=True).schemes
    assert scheme.stats.sz_applied == 0
    assert re.search(r"too early to tell: watched for [23]\S* s, and .* 2 min$", scheme.state)


def test_a_dry_run_keeps_to_the_quota() -> None:
    quota = Quota(bytes="1M", reset="1s")
    scheme = Scheme("stat", AccessPattern(min_rate="50%"), quota=quota)
    (applied,) = _applied(scheme, dry_run=True, duration="4500ms").schemes
    assert 4 * MIB <= applied.stats.sz_applied <= 5 * MIB
    assert applied.effective_bytes == MIB


def test_a_dry_run_forgets_what_is_used_otherwise() -> None:
    idle, busy = Phase(2 * 10**9, ()), Phase(2 * 10**9, (Access(0, 64 * MIB, rate_hz=1000),))
    mon = pydamon.simulate(Trace((idle, busy)), _RANGE)
    scheme = Scheme("stat", AccessPattern(max_rate=0, min_age="500ms"))
    with mon, pydamon.apply(mon, scheme, dry_run=True) as applied:
        seen = [applied[0].stats.sz_applied for _ in applied.run("8s")]
    assert max(seen) == 64 * MIB
    assert 0 in seen[seen.index(64 * MIB) :]


def test_target_filters() -> None:
    mon = pydamon.simulate(_TRACE, _RANGE, [(1 << 40, (1 << 40) + 32 * MIB)])
    only = Scheme("stat", filters=[Filter("target", target=1, allow=True)])
    with mon, pydamon.apply(mon, only) as applied:
        next(iter(applied))
        assert sum(part.applied_bytes for part in applied[0].tried) == 32 * MIB
        assert {part.target for part in applied[0].tried} == {1}


def test_what_cannot_be_is_refused_at_once() -> None:
    with pytest.raises(SchemeError, match="only addr and target"):
        _applied(Scheme(lambda _: None, filters=[Filter("anon")]))
    with pytest.raises(SchemeError, match="no memory node 77"):
        _applied(Scheme("migrate_hot", target_node=77))
