"""Schemes with the grain "page": only idle pages are acted on, and all of them if quotas allow.

The process and its page tables are made up, so that the tests need private names.
"""

from __future__ import annotations

import io
import itertools
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import pydamon
from pydamon import Access, AccessPattern, Filter, Guard, Phase, Quota, Scheme, Trace, Weights
from pydamon._act.runtime.acting import PageLooks
from pydamon._act.runtime.page_grain import CELL_BYTES
from pydamon._act.runtime.pipeline import SchemePipeline
from pydamon._model.errors import UsageError
from pydamon._model.ranges import PAGE_SIZE
from pydamon.policies import Reclaim
from tests.unit.act.pages import HUGE_PAGES, MADE_UP_PID, SECOND, MadeUpProcess, act

_COMB = [0, 60, 60, 60] * 256
"""Every fourth page is in use."""


def _scheme(action: str = "pageout", min_age: str = "30s", **arguments: Any) -> Scheme:
    pattern = AccessPattern(max_rate=0, min_age=min_age, max_age=arguments.pop("max_age", None))
    return Scheme(action, pattern, grain="page", **arguments)


@pytest.fixture
def patched(monkeypatch: pytest.MonkeyPatch) -> Any:
    def patch(process: MadeUpProcess) -> MadeUpProcess:
        process.patch(monkeypatch)
        return process

    return patch


def test_of_a_comb_of_hot_pages_only_idle_runs_are_advised(patched: Any) -> None:
    process = patched(MadeUpProcess(_COMB))
    pipeline = SchemePipeline(_scheme())
    act(pipeline, process)
    assert process.advised_pages.tolist() == [age == 60 for age in _COMB]
    assert pipeline.grain == "page"
    assert pipeline.stats.nr_tried == 256
    assert pipeline.stats.sz_tried == pipeline.stats.sz_applied == 768 * PAGE_SIZE
    assert [len(rows) for rows in process.advised] == [256]  # one call


def test_tables_say_that_it_acts_on_pages(patched: Any) -> None:
    pipeline = SchemePipeline(_scheme("stat"))
    act(pipeline, patched(MadeUpProcess(_COMB)))
    console = Console(file=io.StringIO(), width=120)
    console.print(pipeline)
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().endswith("stat: on; by the ages of pages\n")


def test_a_huge_page_in_use_stays_and_an_idle_huge_page_is_taken_whole(patched: Any) -> None:
    ages = [60] * 100 + [0] * HUGE_PAGES + [60] * HUGE_PAGES + [0] * 10
    start = (1 << 30) - 100 * PAGE_SIZE
    huge = (100, 100 + HUGE_PAGES)
    # A border of regions within each huge page.
    process = patched(MadeUpProcess(ages, start=start, huge=huge, borders=(300, 800)))
    act(SchemePipeline(_scheme()), process)
    assert process.advised_pages.tolist() == [age == 60 for age in ages]


@pytest.mark.parametrize("quota_pages", [100, HUGE_PAGES - 1, HUGE_PAGES, HUGE_PAGES + 50])
def test_a_quota_never_splits_a_huge_page(patched: Any, quota_pages: int) -> None:
    ages = [60] * 80 + [0] * 432 + [60] * HUGE_PAGES + [60] * 100
    process = patched(MadeUpProcess(ages, huge=(512,)))
    pipeline = SchemePipeline(_scheme(quota=Quota(bytes=quota_pages * PAGE_SIZE)))
    for second in range(1, 13):
        act(pipeline, process)
        advised = process.advised_pages
        assert advised.sum() <= second * quota_pages
        assert advised[512 : 512 + HUGE_PAGES].sum() in (0, HUGE_PAGES)
        process.wait(1)
    fits = quota_pages >= HUGE_PAGES
    assert process.advised_pages.sum() == 180 + HUGE_PAGES * fits


def test_a_huge_page_across_the_end_of_the_monitored_memory_stays(patched: Any) -> None:
    process = MadeUpProcess([60] * (2 * HUGE_PAGES), huge=(0, HUGE_PAGES))
    process.borders = (100, 2 * HUGE_PAGES)  # the first 100 pages are not monitored
    act(SchemePipeline(_scheme()), patched(process))
    assert process.advised_pages.tolist() == [False] * HUGE_PAGES + [True] * HUGE_PAGES


def test_filters_leave_huge_pages_whole(patched: Any) -> None:
    process = patched(MadeUpProcess([60] * (2 * HUGE_PAGES), huge=(0,)))
    rule = Filter("addr", start=process.start + 5 * PAGE_SIZE, end=process.end, allow=True)
    act(SchemePipeline(_scheme(filters=[rule])), process)
    assert process.advised_pages.tolist() == [False] * HUGE_PAGES + [True] * HUGE_PAGES


def test_filters_of_pages_decide_about_idle_pages(patched: Any) -> None:
    for rule, taken in ((Filter("anon"), 0), (Filter("anon", matching=False), 768)):
        process = patched(MadeUpProcess(_COMB))
        pipeline = SchemePipeline(_scheme(filters=[rule]))
        act(pipeline, process)
        assert process.advised_pages.sum() == taken
        assert pipeline.stats.sz_tried == 768 * PAGE_SIZE
        assert pipeline.stats.sz_ops_filter_passed == taken * PAGE_SIZE


def test_a_quota_in_bytes_holds_to_the_page(patched: Any) -> None:
    process = patched(MadeUpProcess(_COMB))
    pipeline = SchemePipeline(_scheme(quota=Quota(bytes=100 * PAGE_SIZE)))
    for second in range(1, 10):
        act(pipeline, process, looks=second == 1)
        assert process.advised_pages.sum() == min(100 * second, 768)
        process.wait(1)
    assert pipeline.stats.qt_exceeds == 7


def test_bytes_that_were_tried_in_vain_may_cost_nothing(patched: Any) -> None:
    process = patched(MadeUpProcess(_COMB))
    process.keeps[:512] = True
    quota = Quota(bytes=100 * PAGE_SIZE, fail_charge=0.0)
    pipeline = SchemePipeline(_scheme(quota=quota, guard=None))
    act(pipeline, process)
    assert pipeline.stats.sz_applied == 100 * PAGE_SIZE
    assert pipeline.stats.sz_tried == (384 + 100) * PAGE_SIZE


def test_looks_that_take_all_of_the_time_quota_are_not_in_vain(patched: Any) -> None:
    process = patched(MadeUpProcess(_COMB))

    def slowly(*where: Any) -> Any:
        begin_ns = time.thread_time_ns()
        while time.thread_time_ns() - begin_ns < 2_000_000:
            pass
        return process.looks.idle(*where)

    looks = PageLooks(process.looks.young, slowly)
    pipeline = SchemePipeline(_scheme(quota=Quota(time="1ms")))
    for _ in range(60):
        pipeline.apply(process.snapshot(), {MADE_UP_PID: process.memory}, looks)
        process.wait(1)
    assert process.advised_pages.sum() == 768
    assert pipeline.stats.time_ns < 60_000_000 + 20_000_000


def test_a_maximum_age_leaves_older_pages_alone(patched: Any) -> None:
    ages = np.arange(200)
    process = patched(MadeUpProcess(ages))
    act(SchemePipeline(_scheme(max_age="90s")), process)
    assert np.flatnonzero(process.advised_pages).tolist() == list(range(30, 91))


def test_sizes_are_those_of_runs(patched: Any) -> None:
    process = patched(MadeUpProcess([0, 60, 60, 0, 60, 60, 60, 60, 0]))
    pattern = AccessPattern(max_rate=0, min_age="30s", min_size=3 * PAGE_SIZE)
    act(SchemePipeline(Scheme("pageout", pattern, grain="page")), process)
    assert np.flatnonzero(process.advised_pages).tolist() == [4, 5, 6, 7]


def test_the_oldest_pages_come_first(patched: Any) -> None:
    rng = np.random.default_rng(1)
    ages = rng.choice([40, 100, 300, 1000], 4096)
    process = patched(MadeUpProcess(ages, borders=(1000, 2000)))
    quota = Quota(bytes=1024 * PAGE_SIZE, weights=Weights(age=1))
    pipeline = SchemePipeline(_scheme(quota=quota))
    taken: list[Any] = []
    while not process.advised_pages.all():
        before = process.advised_pages
        act(pipeline, process, looks=not taken)
        taken.append(ages[process.advised_pages & ~before])
        process.wait(1)
    assert len(taken) == 4
    for pages, later in itertools.pairwise(taken):
        # Older by powers of two: 1000 s is older than 300 s, and that than 100 s.
        assert np.median(pages) >= np.median(later)
    assert set(taken[0].tolist()) <= {1000, 300}
    assert set(taken[-1].tolist()) <= {40, 100}


def test_memory_without_idle_pages_is_never_asked(patched: Any) -> None:
    ages = [0] * 2048 + [60] * 1024 + [0] * 2048 + [60] * 512
    process = patched(MadeUpProcess(ages, borders=(2048, 3072, 5120)))
    act(SchemePipeline(_scheme()), process)
    # The first question finds out whether there are ages at all.
    assert process.asked == [(0, 1, 0), (2048, 3072, 30), (5120, 5632, 30)]


def test_the_most_idle_memory_is_asked_first_until_the_quota_is_full(patched: Any) -> None:
    cell = CELL_BYTES // PAGE_SIZE
    ages = np.zeros(3 * cell, np.int64)
    ages[10:20], ages[cell : cell + 500], ages[2 * cell : 2 * cell + 100] = 60, 60, 60
    process = patched(MadeUpProcess(ages, borders=(cell, 2 * cell)))
    pipeline = SchemePipeline(_scheme(quota=Quota(bytes=550 * PAGE_SIZE)))
    act(pipeline, process)
    assert [first // cell for first, *_ in process.asked[1:]] == [1, 2]
    process.wait(1)
    act(pipeline, process, looks=False)
    assert [first // cell for first, *_ in process.asked[3:]] == [2, 0]
    process.wait(1)
    act(pipeline, process, looks=False)
    assert len(process.asked) == 5  # nothing is left until the next look


def test_pages_that_stay_are_left_alone_for_the_minimum_age(patched: Any) -> None:
    process = patched(MadeUpProcess(_COMB))
    process.keeps[:] = True
    pipeline = SchemePipeline(_scheme(guard=None))
    calls = []
    for _ in range(65):
        before = len(process.advised)
        act(pipeline, process)
        calls.append(len(process.advised) - before)
        process.wait(1)
    assert np.flatnonzero(calls).tolist() == [0, 31, 62]


@pytest.mark.parametrize("action", ["cold", "lru_deprio"])
def test_pages_rest_after_actions_that_take_nothing(patched: Any, action: str) -> None:
    process = patched(MadeUpProcess(_COMB))
    process.keeps[:] = True
    pipeline = SchemePipeline(_scheme(action))
    for _ in range(5):
        act(pipeline, process)
        process.wait(1)
    assert pipeline.stats.sz_applied == 768 * PAGE_SIZE
    assert not pipeline.resets_age  # regions keep their ages: other pages of theirs were left alone


def test_stat_counts_once_a_look(patched: Any) -> None:
    process = patched(MadeUpProcess(_COMB))
    pipeline = SchemePipeline(_scheme("stat"))
    for looks in (True, False, False, True, False):
        act(pipeline, process, looks=looks)
        process.wait(1)
    assert pipeline.stats.sz_tried == 2 * 768 * PAGE_SIZE
    assert not process.advised


@pytest.mark.parametrize("weights", [Weights(), Weights(age=1)])
def test_a_dry_run_tells_what_a_run_does(patched: Any, weights: Weights) -> None:
    rng = np.random.default_rng(2)
    ages = rng.choice([0, 10, 40, 100, 300], 4096)
    ages[512:1024], ages[1024:1536] = 0, 70
    quota = Quota(bytes=300 * PAGE_SIZE, weights=weights)
    stats = []
    for dry_run in (False, True):
        process = patched(MadeUpProcess(ages, huge=(512, 1024), borders=(700, 1800)))
        pipeline = SchemePipeline(_scheme(quota=quota), dry_run=dry_run)
        course = []
        for second in range(12):
            act(pipeline, process, looks=second % 4 == 0)
            course.append((pipeline.stats.sz_tried, pipeline.stats.sz_applied))
            process.wait(1)
        assert bool(process.advised) != dry_run
        stats.append(course)
    assert stats[0] == stats[1]


def test_a_dry_run_forgets_pages_that_are_accessed_again(patched: Any) -> None:
    process = patched(MadeUpProcess(_COMB))
    pipeline = SchemePipeline(_scheme(), dry_run=True)
    act(pipeline, process)
    assert pipeline.stats.sz_applied == 768 * PAGE_SIZE
    process.ages_s[:512] = 0
    act(pipeline, process, looks=False)
    process.wait(1)
    act(pipeline, process)
    assert pipeline.stats.sz_applied == 384 * PAGE_SIZE


def test_the_guard_watches_pages_that_were_taken(patched: Any) -> None:
    process = patched(MadeUpProcess(_COMB))
    pipeline = SchemePipeline(_scheme(guard=Guard(refaults="5%", rest="60s")))
    act(pipeline, process)
    process.ages_s[:] = 0  # all of it is asked for again
    process.wait(2)
    act(pipeline, process)
    assert pipeline.stats.rests == 1
    assert "asked for again" in pipeline.state


def test_looks_are_remembered_while_a_scheme_waits(patched: Any) -> None:
    process = patched(MadeUpProcess(_COMB))
    pipeline = SchemePipeline(_scheme(apply_interval="5s"))
    act(pipeline, process, looks=False)
    assert "nobody has looked" in pipeline.state
    process.wait(1)
    act(pipeline, process)
    assert not process.advised
    process.wait(4)
    act(pipeline, process, looks=False)
    assert process.advised_pages.sum() == 768


def test_without_ages_it_acts_on_regions_and_says_so_once(patched: Any) -> None:
    process = patched(MadeUpProcess([60] * 100))
    pipeline = SchemePipeline(_scheme("stat", min_age="0s"))
    looks = PageLooks(process.looks.young, lambda *_: None)
    for _ in range(3):
        pipeline.apply(process.snapshot(looks=False), {MADE_UP_PID: process.memory}, looks)
    assert pipeline.grain == "region"
    assert pipeline.complaints == [
        "stat: acts on regions, because this monitor keeps no ages of pages"
    ]


def test_made_up_memory_has_regions() -> None:
    trace = Trace((Phase(SECOND, (Access(0, 16 << 20, rate_hz=1000),)),))
    mon = pydamon.simulate(trace, [(0, 64 << 20)], seed=1)
    with mon, pydamon.apply(mon, _scheme("stat", min_age="1s")) as applied:
        for _ in applied.run("3s"):
            pass
        assert len(applied.complaints()) == 1
    assert applied[0].grain == "region"
    assert applied[0].stats.sz_applied > 0


def test_a_process_that_exits_is_no_mistake(patched: Any) -> None:
    process = patched(MadeUpProcess(_COMB))
    pipeline = SchemePipeline(_scheme())

    def gone(*_: Any) -> None:
        raise ProcessLookupError("gone")

    act(pipeline, process, looks=False)
    looks = PageLooks(process.looks.young, gone)
    pipeline.apply(process.snapshot(), {MADE_UP_PID: process.memory}, looks)
    assert pipeline.complaints == ["pageout: pid 7 is left alone: gone"]
    pipeline.apply(process.snapshot(), {}, looks)
    assert not pipeline.tried


def test_what_pages_cannot_do_is_refused() -> None:
    with pytest.raises(UsageError, match=r"grain: there is no 'pages'; did you mean page"):
        Scheme("pageout", grain="pages")
    with pytest.raises(UsageError, match="grain: pages have ages, but no access rates"):
        Scheme("pageout", grain="page")
    with pytest.raises(UsageError, match="grain: a function is called with regions"):
        Scheme(lambda _: None, AccessPattern(max_rate=0), grain="page")


def test_files_have_a_grain(tmp_path: Path) -> None:
    path = tmp_path / "schemes.toml"
    path.write_text('[[schemes]]\naction = "pageout"\ngrain = "page"\npattern = { max_rate = 0 }\n')
    assert pydamon.read_schemes(path)[0].grain == "page"
    path = tmp_path / "damo.json"
    path.write_text('[{"action": "pageout", "grain": "page"}]')
    with pytest.raises(UsageError, match="grain"):
        pydamon.read_damo_schemes(path)


def test_reclaim_takes_pages_unless_it_is_told_to_take_regions() -> None:
    assert Reclaim().schemes()[0].grain == "page"
    assert Reclaim(grain="region").schemes()[0].grain == "region"
