"""Mappings, and the ranges that are made of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydamon._model.mappings import Mapping, MappingTable
from pydamon._observe.linux.procfs import Rule, parse_maps, ranges_of

PAGE = 4096

TEXT = b"""\
00400000-00452000 r-xp 00000000 08:02 173521      /usr/bin/dbus daemon
00651000-00652000 r--p 00051000 08:02 173521      /usr/bin/dbus daemon
00e03000-00e24000 rw-p 00000000 00:00 0           [heap]
7f2b00000000-7f2b04000000 ---p 00000000 00:00 0
7f2b04000000-7f2b04100000 rw-p 00000000 00:00 0
7ffc8a9d4000-7ffc8a9f5000 rw-p 00000000 00:00 0   [stack]
7ffc8a9fe000-7ffc8aa00000 r-xp 00000000 00:00 0   [vdso]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]
"""


def table(*bounds: tuple[int, int], perms: str = "rw-p") -> MappingTable:
    return MappingTable(tuple(Mapping(low, high, perms, "[anon]") for low, high in bounds))


def test_maps_are_parsed_with_their_names() -> None:
    mappings = parse_maps(TEXT).mappings
    assert mappings[1] == Mapping(
        0x651000, 0x652000, "r--p", "/usr/bin/dbus daemon", "08:02 173521", 0x51000
    )
    assert mappings[2].file == ""
    assert [m.name for m in mappings[2:6]] == ["[heap]", "[anon]", "[anon]", "[stack]"]
    assert "[vsyscall]" not in {m.name for m in mappings}


def test_nothing_mapped() -> None:
    assert parse_maps(b"").mappings == ()
    for rule in Rule:
        assert len(ranges_of(MappingTable(), rule, 10)) == 0


def test_what_cannot_be_used_is_no_memory() -> None:
    ranges = ranges_of(parse_maps(TEXT), Rule.GAPS, 10).tolist()
    assert [0x7F2B04000000, 0x7F2B04100000] in ranges
    assert all(not low <= 0x7F2B00000000 < high for low, high in ranges)
    assert all(not low <= 0x7FFC8A9FE000 < high for low, high in ranges)


def test_three_regions_are_those_of_the_kernels_own_test() -> None:
    bounds = [(10, 20), (20, 25), (200, 210), (210, 220), (300, 305), (307, 330)]
    scaled = table(*((low * PAGE, high * PAGE) for low, high in bounds))
    ranges = ranges_of(scaled, Rule.THREE, 100) // PAGE
    assert ranges.tolist() == [[10, 25], [200, 220], [300, 330]]


def test_gaps_are_left_out_as_far_as_ranges_allow() -> None:
    bounds = [(10, 20), (21, 30), (40, 50), (150, 160), (170, 180)]
    scaled = table(*((low * PAGE, high * PAGE) for low, high in bounds))
    ranges = ranges_of(scaled, Rule.GAPS, 100) // PAGE
    assert ranges.tolist() == [list(pair) for pair in bounds]
    fewer = ranges_of(scaled, Rule.GAPS, 4) // PAGE
    assert fewer.tolist() == [[10, 30], [40, 50], [150, 160], [170, 180]]


def test_every_mapping_is_a_range_of_its_own_when_asked() -> None:
    ranges = ranges_of(table((PAGE, 2 * PAGE), (2 * PAGE, 5 * PAGE)), Rule.MAPPINGS, 1)
    assert ranges.tolist() == [[PAGE, 2 * PAGE], [2 * PAGE, 5 * PAGE]]


@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(0, 50)), min_size=1, max_size=40),
    st.integers(3, 20),
    st.sampled_from([Rule.THREE, Rule.GAPS]),
)
def test_ranges_cover_every_mapping(
    steps: list[tuple[int, int]], max_ranges: int, rule: Rule
) -> None:
    bounds, at = [], 1
    for size, gap in steps:
        bounds.append((at * PAGE, (at + size) * PAGE))
        at += size + gap
    mappings = table(*bounds)
    ranges = ranges_of(mappings, rule, max_ranges)
    assert 1 <= len(ranges) <= (3 if rule is Rule.THREE else max_ranges)
    assert (ranges[:, 0] < ranges[:, 1]).all()
    assert (ranges[1:, 0] > ranges[:-1, 1]).all()
    for low, high in bounds:
        assert ((ranges[:, 0] <= low) & (high <= ranges[:, 1])).any()
    covered = {*ranges[:, 0].tolist()} <= {low for low, _ in bounds}
    assert covered


def test_runs_end_at_gaps_and_at_what_is_no_memory() -> None:
    mappings = MappingTable(
        (
            Mapping(0, PAGE, "rw-p", "[anon]"),
            Mapping(PAGE, 2 * PAGE, "r--p", "/lib/x.so"),
            Mapping(2 * PAGE, 3 * PAGE, "r--p", "[vvar]"),
            Mapping(3 * PAGE, 4 * PAGE, "rw-p", "[stack]"),
            Mapping(8 * PAGE, 9 * PAGE, "rw-p", "[anon]"),
        )
    )
    expected = [[0, 2 * PAGE], [3 * PAGE, 4 * PAGE], [8 * PAGE, 9 * PAGE]]
    assert mappings.runs.tolist() == expected
    assert MappingTable().runs.shape == (0, 2)
    assert mappings.runs.dtype == np.int64


@pytest.mark.parametrize("perms", ["---p", "---s"])
def test_runs_leave_out_what_nobody_may_touch(perms: str) -> None:
    assert len(table((0, PAGE), perms=perms).runs) == 0
