"""How much memory programs need: against pages whose ages are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from pydamon import (
    Recording,
    RecordingError,
    Snapshot,
    Target,
)
from pydamon.analysis import Needs, NeedsPoint, needs
from tests.recordings import MIB, aged, snapshot

S = 10**9
COMB = Target(7, "comb")
OTHER = Target(8, "other")
KIB = 1024


def comb(seconds: int = 60, *, step_s: int = 1, followed_share: float = 1.0) -> list[Snapshot]:
    """256 MiB, of which one page in 16 is always in use, one in 16 every 8 s, the rest never."""
    size, tooth = 256 * MIB, 16 * MIB
    made = []
    for second in range(0, seconds + 1, step_s):
        plain = snapshot([COMB], [(0, 0, size, 0, 0)], second // step_s, window_ns=step_s * S)
        # Of the pages that are used every 8 s, an eighth each second.
        ages = [(0, 0, tooth, 0)]
        eighth = tooth // 8
        by_age: dict[int, list[int]] = {}
        for phase in range(8):
            since = (second - phase) % 8
            idle_s = min(since, second)
            by_age.setdefault(idle_s, [0, 0])[0] += eighth
        for back in range(step_s if second else 0):
            rest_s = min(8, second - back)
            by_age.setdefault(rest_s, [0, 0])[1] += eighth
        by_age.setdefault(second, [0, 0])[0] += size - 2 * tooth
        ages += [(0, idle_s * S, had, back) for idle_s, (had, back) in by_age.items()]
        made.append(aged(plain, _joined(ages), followed_share=followed_share))
    return made


def _joined(ages: Sequence[tuple[int, int, int, int]]) -> list[tuple[int, int, int, int]]:
    """Ages with one entry for each region and bucket."""
    from pydamon._model.page_ages import bucket_of

    sums: dict[tuple[int, int], tuple[int, int, int]] = {}
    for region, idle_ns, resident, returned in ages:
        bucket = int(bucket_of(np.array([idle_ns]))[0])
        _, had, back = sums.get((region, bucket), (0, 0, 0))
        sums[region, bucket] = (idle_ns, had + resident, back + returned)
    return [(region, idle, had, back) for (region, _), (idle, had, back) in sums.items()]


def at(result: Needs, idle_s: float) -> NeedsPoint:
    point = result.total.at(round(idle_s * S))
    assert point is not None
    return point


def test_a_comb() -> None:
    result = needs(Recording.from_snapshots(comb()))
    assert result.longest_ns == 60 * S
    assert result.shortest_ns == 2 * S
    assert at(result, 4).refaults_per_s == pytest.approx(512, rel=0.02)
    assert at(result, 10).refaults_per_s == 0
    assert at(result, 10).kept_bytes == pytest.approx(32 * MIB, rel=0.01)
    assert result.total.resident_bytes == 256 * MIB
    point = result.point()
    assert point is not None
    assert 8 * S < point.idle_ns < 11 * S
    assert point.refaults_per_s == 0
    assert result.point(600) != point
    assert result.total.at(S) is result.total.at(61 * S) is None


def test_a_recording_without_ages_says_what_to_do() -> None:
    with pytest.raises(RecordingError, match="no ages of pages") as caught:
        needs(Recording.from_snapshots([snapshot([COMB], [(0, 0, 4 * MIB, 1, 1)])]))
    assert "record again" in (caught.value.hint or "")
