"""Recordings whose pages have known ages."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pydamon import Snapshot, Target
from pydamon._model.page_ages import bucket_of
from tests.recordings import MIB, aged, snapshot

__all__ = ["COMB", "comb", "joined_ages"]

S = 10**9
COMB = Target(7, "comb")


def comb(
    seconds: int = 60, *, step_s: int = 1, followed_share: float = 1.0, target: Target = COMB
) -> list[Snapshot]:
    """256 MiB, of which one page in 16 is always in use, one in 16 every 8 s, the rest never."""
    size, tooth = 256 * MIB, 16 * MIB
    made = []
    for second in range(0, seconds + 1, step_s):
        plain = snapshot([target], [(0, 0, size, 0, 0)], second // step_s, window_ns=step_s * S)
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
        made.append(aged(plain, joined_ages(ages), followed_share=followed_share))
    return made


def joined_ages(ages: Sequence[tuple[int, int, int, int]]) -> list[tuple[int, int, int, int]]:
    """Ages with one entry for each region and bucket."""
    sums: dict[tuple[int, int], tuple[int, int, int]] = {}
    for region, idle_ns, resident, returned in ages:
        bucket = int(bucket_of(np.array([idle_ns]))[0])
        _, had, back = sums.get((region, bucket), (0, 0, 0))
        sums[region, bucket] = (idle_ns, had + resident, back + returned)
    return [(region, idle, had, back) for (region, _), (idle, had, back) in sums.items()]
