"""What the kernel's selftests assert of monitoring, of pydamon's algorithm on made-up accesses.

See test_regions.py. The selftests (Linux 7.2, tools/testing/selftests/damon) run programs; here
the same accesses are traces on a virtual clock, for DAMON's algorithm alone (*plain*) and for
pydamon's.
"""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from pydamon import Access, Attrs, Phase, Scheme, Snapshot, Trace, apply, simulate

MIB = 1 << 20
SIZE = 10 * MIB
PLAIN = pytest.mark.parametrize("plain", [True, False], ids=["plain", "with surveys"])


def every_second(count: int) -> tuple[Trace, list[tuple[int, int]]]:
    """*count* parts of 10 MiB, of which every second one is hot, and all of their memory."""
    hot = [Access(i * SIZE, (i + 1) * SIZE, rate_hz=2000, stride=4096) for i in range(0, count, 2)]
    return Trace((Phase(10**10, tuple(hot)),)), [(0, count * SIZE)]


def numbers_of_regions(snapshots: list[Snapshot]) -> list[int]:
    return [len(snapshot) for snapshot in snapshots]


@PLAIN
def test_all_regions_that_differ_are_found(plain: bool) -> None:
    """damos_tried_regions.py: 14 parts, of 11 looks from 0.1 s on the fifth lowest has 14."""
    trace, memory = every_second(14)
    mon = simulate(trace, memory, plain=plain)
    numbers = numbers_of_regions(list(islice(mon, 11)))
    assert sorted(numbers)[4] >= 14


@PLAIN
@pytest.mark.parametrize(("count", "least", "most"), [(10, 20, 100), (15, 3, 10)])
def test_the_bounds_of_the_number_of_regions_hold(
    count: int, least: int, most: int, plain: bool
) -> None:
    """damon_nr_regions.py: whatever the real number of regions is."""
    trace, memory = every_second(count)
    attrs = Attrs(min_regions=least, max_regions=most)
    numbers = numbers_of_regions(
        list(islice(simulate(trace, memory, attrs=attrs, plain=plain), 60))
    )
    assert least <= min(numbers)
    assert max(numbers) <= most


@PLAIN
def test_bounds_that_change_hold_at_once(plain: bool) -> None:
    """damon_nr_regions.py: 14 real regions, and a maximum of 7 from 3 s on."""
    trace, memory = every_second(14)
    mon = simulate(trace, memory, plain=plain)
    snapshots = iter(mon)
    assert max(numbers_of_regions(list(islice(snapshots, 30)))) > 7
    mon.change(Attrs(min_regions=3, max_regions=7))
    numbers = numbers_of_regions(list(islice(snapshots, 30)))
    # The kernel's test waits for the next merge.
    assert max(numbers[1:]) <= 7


@PLAIN
def test_the_working_set_is_estimated_to_a_fifth(plain: bool) -> None:
    """sysfs_update_schemes_tried_regions_wss_estimation.py.

    Two parts of 10 MiB are hot for 2 s in turn. The working set is what was accessed in at least a
    quarter of the samples, and has been for 2 aggregations. Of 40 estimates, the median and the
    75th percentile are within 20 %.
    """
    phases = tuple(
        Phase(2 * 10**9, (Access(i * SIZE, (i + 1) * SIZE, rate_hz=2000, stride=4096),))
        for i in range(2)
    )
    mon = simulate(Trace(phases), [(0, 2 * SIZE)], attrs=Attrs(), plain=plain)
    estimates = [
        int(snapshot.size[(snapshot.nr_accesses >= 5) & (snapshot.age >= 2)].sum())
        for snapshot in islice(mon, 40)
    ]
    for percentile in (50, 75):
        assert np.percentile(estimates, percentile) == pytest.approx(SIZE, rel=0.2)


def test_a_shorter_apply_interval_acts_more_often() -> None:
    """damos_apply_interval.py: a tenth of the interval is at least 9 times as often.

    The kernel's test has 10 ms and 100 ms, of which the former is shorter than an aggregation.
    pydamon acts on whole aggregations only.
    """
    trace, memory = every_second(14)
    schemes = [Scheme("stat", apply_interval=interval) for interval in ("100ms", "1s")]
    mon = simulate(trace, memory)
    with apply(mon, *schemes, dry_run=True) as applied:
        list(islice(applied, 100))
        often, seldom = (scheme.stats.nr_snapshots for scheme in applied.schemes)
    assert often >= 9 * seldom
