"""What holds for all pages, quotas and regions where the grain is a page.

The process and its page tables are made up, so that the tests need private names.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pydamon import AccessPattern, Quota, Scheme, Weights
from pydamon._act.runtime.pipeline import SchemePipeline
from pydamon._model.ranges import PAGE_SIZE
from tests.unit.act.pages import HUGE_PAGES, MadeUpProcess, act

_PIECES = st.lists(
    st.tuples(st.sampled_from([-1, 0, 20, 29, 30, 31, 200]), st.integers(1, 700)),
    min_size=1,
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(
    _PIECES,
    st.sets(st.integers(0, 15), max_size=6),
    st.lists(st.integers(1, 8000), max_size=5),
    st.integers(-600, 600),
    st.one_of(st.none(), st.integers(1, 3000)),
    st.sampled_from([Weights(), Weights(age=1)]),
)
def test_no_younger_page_is_advised_and_all_older_ones_if_quotas_allow(
    pieces: list[tuple[int, int]],
    huge_blocks: set[int],
    borders: list[int],
    offset: int,
    quota_pages: int | None,
    weights: Weights,
) -> None:
    ages = np.concatenate([np.full(count, age) for age, count in pieces])
    start = (1 << 30) + offset * PAGE_SIZE
    first = -(start // PAGE_SIZE) % HUGE_PAGES
    huge = []
    for block in sorted(huge_blocks):
        at = first + block * HUGE_PAGES
        if at + HUGE_PAGES <= len(ages):
            ages[at : at + HUGE_PAGES] = max(0, ages[at])  # one page has one age
            huge.append(at)
    process = MadeUpProcess(
        ages,
        start=start,
        huge=tuple(huge),
        borders=tuple(sorted({b for b in borders if b < len(ages)})),
    )
    quota = Quota(bytes=(quota_pages or 0) * PAGE_SIZE, weights=weights)
    with pytest.MonkeyPatch.context() as monkeypatch:
        process.patch(monkeypatch)
        pipeline = SchemePipeline(_scheme(quota))
        act(pipeline, process)
    advised = process.advised_pages
    old = ages >= 30
    assert not (advised & ~old).any()
    for at in huge:
        assert advised[at : at + HUGE_PAGES].sum() in (0, HUGE_PAGES)
    if quota_pages is None or quota_pages >= old.sum():
        assert (advised == old).all()
    else:
        assert advised.sum() <= quota_pages
        assert huge or advised.sum() == quota_pages


@settings(max_examples=60, deadline=None)
@given(_PIECES, st.sets(st.integers(0, 3000), min_size=2, max_size=40))
def test_many_ranges_are_read_as_each_by_itself(
    pieces: list[tuple[int, int]], ends: set[int]
) -> None:
    process = MadeUpProcess(np.concatenate([np.full(count, age) for age, count in pieces]))
    bounds = np.array(sorted(ends)[: len(ends) // 2 * 2]).reshape(-1, 2)
    ranges = process.start + bounds * PAGE_SIZE
    runs, wanted = process.memory.runs(ranges), process.runs(ranges)
    assert runs.start.tolist() == wanted.start.tolist()
    assert runs.flags.tolist() == wanted.flags.tolist()
    row, frames = process.memory.frames(ranges)
    each = [process.frames(start, end) for start, end in ranges.tolist()]
    assert frames.frame.tolist() == [frame for part in each for frame in part.frame.tolist()]
    assert np.bincount(row).tolist() == (bounds[:, 1] - bounds[:, 0]).tolist()


def _scheme(quota: Quota) -> Scheme:
    pattern = AccessPattern(max_rate=0, min_age="30s")
    return Scheme("pageout", pattern, grain="page", quota=quota)
