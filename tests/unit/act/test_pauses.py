"""When a scheme does nothing: watermarks, the guard, and processes that refuse."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from pydamon._act import memory as refusals
from pydamon._act.actions.base import Effect
from pydamon._act.memory import Refusal, Refusals, TargetMemory
from pydamon._act.runtime import pauses
from pydamon._act.runtime.pauses import GuardState, WatermarkState
from pydamon._model.schemes import Guard, Watermarks

_S = 10**9
_MIB = 1 << 20


class _Memory:
    """A process of which some bytes are resident again, and which is alive."""

    def __init__(self, resident_bytes: int = 0) -> None:
        runs = SimpleNamespace(bytes_with=lambda _: resident_bytes)
        self.runs = lambda _: runs
        self.process = SimpleNamespace(pid=1, alive=True)


def _memory(resident_bytes: int = 0) -> TargetMemory:
    return cast(TargetMemory, _Memory(resident_bytes))


def _effect(size_bytes: int) -> Effect:
    return Effect(np.array([[0, size_bytes]], np.int64), size_bytes)


@pytest.fixture(autouse=True)
def _no_pressure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pauses, "_pressure", lambda _: None)
    monkeypatch.setattr(pauses, "stalled_ns", lambda *_: 0)


def test_the_guard_rests_where_memory_comes_back_and_twice_as_long_each_time() -> None:
    state, memory = GuardState(Guard(rest="10s"), seed=1), _memory(2 * _MIB)
    now_ns = _S
    for rest_s in (10, 20, 40):
        assert state.allows(now_ns, [memory])
        state.add(now_ns, memory, _effect(16 * _MIB))
        now_ns += _S
        assert not state.allows(now_ns, [memory])
        assert "12 % of what was taken was asked for again" in state.reason
        assert not state.allows(now_ns + rest_s * _S - 1, [memory])
        now_ns += rest_s * _S
        assert state.allows(now_ns, [memory])
        assert state.reason == ""
        now_ns += _S
    assert state.rests == 3


def test_a_rest_is_short_again_after_a_time_without_harm() -> None:
    state, memory = GuardState(Guard(rest="10s"), seed=1), _memory(2 * _MIB)
    state.add(_S, memory, _effect(16 * _MIB))
    assert not state.allows(2 * _S, [memory])
    assert state.allows(23 * _S, [memory])
    state.add(24 * _S, memory, _effect(16 * _MIB))
    assert not state.allows(25 * _S, [memory])
    assert state.allows(35 * _S, [memory])


def test_the_guard_is_content_with_few_refaults_and_with_little_memory() -> None:
    state = GuardState(Guard(), seed=1)
    for taken, back in ((16 * _MIB, _MIB), (_MIB // 2, _MIB // 2)):
        memory = _memory(back)
        state.add(0, memory, _effect(taken))
        assert state.allows(5 * _S, [memory])
        assert state.allows(20 * _S, [memory])


def test_the_guard_rests_where_tasks_stall(monkeypatch: pytest.MonkeyPatch) -> None:
    stalled = iter((0, _S // 2))
    monkeypatch.setattr(pauses, "stalled_ns", lambda *_: next(stalled))
    state, memory = GuardState(Guard(), seed=1), _memory()
    state.add(_S, memory, _effect(16 * _MIB))
    assert state.allows(_S, [memory])
    assert not state.allows(2 * _S, [memory])
    assert "stall for memory 50 % of the time" in state.reason


def test_watermarks_say_why_a_scheme_is_off() -> None:
    marks = Watermarks(metric="free_mem_rate", high="50%", mid="40%", low="20%")
    state = WatermarkState(marks, lambda: 0.906)
    assert not state.is_on(0)
    assert (state.value_text, state.on_text) == ("90.6 % of memory is free", "between 20 and 40 %")


def test_a_process_that_refuses_is_asked_again_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s, answers = 0.0, [Refusal("not yours"), Refusal("not yours"), None]
    monkeypatch.setattr(refusals, "time", cast(Any, SimpleNamespace(monotonic=lambda: now_s)))
    state, memory = Refusals("pageout", lambda _: answers.pop(0)), _memory()
    allowed = []
    for tenth in range(120):
        now_s = tenth / 10
        allowed.append(state.allows(memory))
    assert allowed == [False] * 100 + [True] * 20
    assert state.complaints == ["pageout: pid 1 is left alone: not yours"]
