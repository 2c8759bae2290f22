"""When surveys come: within their share in the long run, and sooner where they are needed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pydamon._observe.sampling.schedule import SurveySchedule

MS, SECOND = 10**6, 10**9


def settled(
    share: float = 0.0035, window_ns: int = 100 * MS, cpu_ns: int = 7 * MS
) -> tuple[SurveySchedule, int]:
    """A schedule some time after the start, and the time."""
    schedule = SurveySchedule(share)
    now_ns = 10 * SECOND
    for _ in range(2):
        schedule.survey_is_due(now_ns, window_ns)
        schedule.survey_taken(now_ns, window_ns, cpu_ns)
        now_ns += 20 * SECOND
    schedule.survey_is_due(now_ns, window_ns)
    schedule.survey_taken(now_ns, window_ns, cpu_ns)
    return schedule, now_ns


def test_the_first_survey_is_due_at_once() -> None:
    assert SurveySchedule(0.0035).survey_is_due(0, 100 * MS)


def test_the_next_one_waits_until_the_last_is_paid_for_twice() -> None:
    """Meanwhile, other exact looks get what surveys leave."""
    schedule, now_ns = settled(share=0.0035, cpu_ns=7 * MS)
    assert not schedule.survey_is_due(now_ns + 3999 * MS, 100 * MS)
    assert schedule.survey_is_due(now_ns + 4000 * MS, 100 * MS)
    assert schedule.spare_share(now_ns + 1999 * MS) == 0
    assert schedule.spare_share(now_ns + 2000 * MS) == 0.0035


def test_a_third_is_enough_where_samples_contradict_it() -> None:
    schedule, now_ns = settled(share=0.0035, cpu_ns=7 * MS)
    schedule.note_contradictions(1, 100)
    assert not schedule.survey_is_due(now_ns + 700 * MS, 100 * MS)
    schedule.note_contradictions(20, 100)
    assert not schedule.survey_is_due(now_ns + 600 * MS, 100 * MS)
    assert schedule.survey_is_due(now_ns + 700 * MS, 100 * MS)


def test_a_third_is_enough_where_windows_have_become_much_longer() -> None:
    schedule, now_ns = settled(share=0.0035, cpu_ns=7 * MS)
    assert not schedule.survey_is_due(now_ns + 700 * MS, 140 * MS)
    assert schedule.survey_is_due(now_ns + 700 * MS, 160 * MS)


def test_at_the_start_surveys_follow_the_windows_on_credit() -> None:
    schedule = SurveySchedule(0.0035)
    schedule.survey_is_due(0, 100 * MS)
    schedule.survey_taken(100 * MS, 100 * MS, 2 * MS)
    # 2 ms are little of 200 ms, but much of a window that grows from 20 to 60 ms.
    assert schedule.survey_is_due(200 * MS, 200 * MS)
    schedule.survey_taken(400 * MS, 20 * MS, 2 * MS)
    schedule.survey_is_due(400 * MS, 20 * MS)
    assert not schedule.survey_is_due(500 * MS, 60 * MS)
    assert schedule.survey_is_due(600 * MS, 60 * MS)


def test_glances_delay_surveys_and_each_other() -> None:
    schedule, now_ns = settled(share=0.0035, cpu_ns=7 * MS)
    assert schedule.glance_is_due(now_ns)
    schedule.glance_taken(now_ns, 7 * MS)
    assert not schedule.glance_is_due(now_ns + 600 * MS)
    assert schedule.glance_is_due(now_ns + 700 * MS)
    assert not schedule.survey_is_due(now_ns + 5900 * MS, 100 * MS)
    assert schedule.survey_is_due(now_ns + 6000 * MS, 100 * MS)


@given(
    st.lists(st.tuples(st.integers(1, 60), st.booleans()), min_size=20, max_size=60),
    st.sampled_from([0.001, 0.0035, 0.01]),
)
def test_surveys_stay_within_their_share(looks: list[tuple[int, bool]], share: float) -> None:
    schedule, begin_ns = settled(share)
    now_ns, spent_ns = begin_ns, 0
    for cpu_ms, contradicted in looks:
        if contradicted:
            schedule.note_contradictions(1, 1)
        while not schedule.survey_is_due(now_ns, 100 * MS):
            now_ns += 50 * MS
        schedule.survey_taken(now_ns, 100 * MS, cpu_ms * MS)
        spent_ns += cpu_ms * MS
    # Surveys that came early, and the last one, may still owe something.
    owed_ns = 3 * max(cpu_ms for cpu_ms, _ in looks) * MS
    assert spent_ns <= share * (now_ns - begin_ns) + owed_ns
