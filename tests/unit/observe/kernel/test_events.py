"""Samples of the tracepoint become aggregations, however they are cut into pieces."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydamon import ProbeUnavailable
from pydamon._observe.kernel.reader import cut_at, group, records, sample_dtype, without

FORMAT = """name: damon_aggregated
ID: 734
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:unsigned long target_id;\toffset:8;\tsize:8;\tsigned:0;
\tfield:unsigned int nr_regions;\toffset:16;\tsize:4;\tsigned:0;
\tfield:unsigned long start;\toffset:24;\tsize:8;\tsigned:0;
\tfield:unsigned long end;\toffset:32;\tsize:8;\tsigned:0;
\tfield:unsigned int nr_accesses;\toffset:40;\tsize:4;\tsigned:0;
\tfield:unsigned int age;\toffset:44;\tsize:4;\tsigned:0;
"""
DTYPE = sample_dtype(FORMAT)
Shape = list[list[int]]
"""The number of regions of each target, by aggregation."""
SHAPES = st.lists(st.lists(st.integers(1, 5), min_size=2, max_size=2), min_size=1, max_size=6)
LATER_NS = 10**12


def sample(at_ns: int, target: int, count: int, start: int, age: int) -> bytes:
    """One sample as the kernel writes it."""
    raw = struct.pack("=HxxiQIxxxxQQII", 734, 182, target, count, start, start + 4096, 3, age)
    head = struct.pack("=IHHqI", 9, 0, 20 + len(raw) + 4, at_ns, len(raw) + 4)
    return head + raw + b"\0" * 4


def stream(shape: Shape) -> list[bytes]:
    return [
        sample(1000 * number + 10 * target + index, target, count, 4096 * index, number)
        for number, counts in enumerate(shape)
        for target, count in enumerate(counts)
        for index in range(count)
    ]


def test_the_size_of_a_sample_is_what_the_kernel_says() -> None:
    assert DTYPE.itemsize == 72 == len(sample(1, 0, 1, 0, 0))
    with pytest.raises(ProbeUnavailable):
        sample_dtype(FORMAT.replace(" age;", " years;"))


@given(SHAPES)
def test_every_aggregation_is_found(shape: Shape) -> None:
    samples, lost = records(b"".join(stream(shape)), DTYPE)
    assert not lost
    aggregations, beyond, broken = group(samples, 2, LATER_NS)
    assert (beyond, broken) == (len(samples), 0)
    assert [len(aggregation.start) for aggregation in aggregations] == [
        sum(counts) for counts in shape
    ]
    for number, aggregation in enumerate(aggregations):
        assert (aggregation.age == number).all()
        assert np.bincount(aggregation.target, minlength=2).tolist() == shape[number]
        assert (aggregation.end - aggregation.start == 4096).all()
        assert not aggregation.lost


@given(SHAPES, st.data())
def test_pieces_do_not_matter(shape: Shape, data: st.DataObject) -> None:
    whole = stream(shape)
    at = data.draw(st.integers(0, len(whole)))
    kept, aggregations = np.zeros(0, DTYPE), []
    # Nothing has been at rest for long when the first piece is looked at.
    for piece, now_ns in ((whole[:at], 0), (whole[at:], LATER_NS)):
        new, _ = records(b"".join(piece), DTYPE)
        kept = np.concatenate([kept, new])
        more, beyond, broken = group(kept, 2, now_ns)
        assert not broken
        kept = kept[beyond:]
        aggregations += more
    assert [len(aggregation.start) for aggregation in aggregations] == [
        sum(counts) for counts in shape
    ]


@given(SHAPES, st.sets(st.integers(0, 1)))
def test_targets_that_are_forgotten_leave_their_numbers_to_others(
    shape: Shape, gone: set[int]
) -> None:
    samples, _ = records(b"".join(stream(shape)), DTYPE)
    for aggregation in group(samples, 2, LATER_NS)[0]:
        left = without(aggregation, sorted(gone))
        kept = [number for number in (0, 1) if number not in gone]
        assert set(left.target) == set(range(len(kept)))
        for now, before in enumerate(kept):
            assert (
                left.start[left.target == now] == aggregation.start[aggregation.target == before]
            ).all()


def test_what_the_kernel_had_to_leave_out_is_noticed() -> None:
    whole = stream([[3, 2], [3, 2], [3, 2]])
    lost = struct.pack("=IHHQQ", 2, 0, 24, 1, 4)
    # One sample of the second aggregation is missing.
    data = b"".join(whole[:6]) + lost + b"".join(whole[7:])
    samples, is_lost = records(data, DTYPE)
    assert is_lost
    aggregations, _, broken = group(samples, 2, LATER_NS)
    assert broken == 1
    assert [int(aggregation.age[0]) for aggregation in aggregations] == [0, 2]


def test_regions_end_where_memory_nodes_do() -> None:
    samples, _ = records(b"".join(stream([[3, 1]])), DTYPE)
    (aggregation,), _, _ = group(samples, 2, LATER_NS)
    cut = cut_at(aggregation, np.array([4096 + 1024, 8192, 1 << 40]))
    assert cut.start.tolist() == [0, 4096, 5120, 8192, 0]
    assert cut.end.tolist() == [4096, 5120, 8192, 12288, 4096]
    assert cut.target.tolist() == [0, 0, 0, 0, 1]
    assert cut.nr_accesses.tolist() == [3] * 5
