"""Starting over, where processes come and go."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

__all__ = ["throttled_restarts"]

_LOOK_S = 0.5
_LONGEST_REST_S = 30.0


def throttled_restarts(
    cpu_budget_percent: Callable[[], float], is_over: Callable[[], bool]
) -> Iterator[None]:
    """Yields whenever a monitor may be started (again), until *is_over*.

    Where all processes come and go at once, starting is what costs. So that this is within the
    budget too, it rests between two starts for as long as what this thread spent since the last
    one demands: half a second at least, 30 s at most.
    """
    while not is_over():
        begin_ns, cpu_ns = time.monotonic_ns(), time.thread_time_ns()
        yield
        spent_ns = time.thread_time_ns() - cpu_ns
        now_ns = time.monotonic_ns()
        rest_s = (begin_ns + 100 * spent_ns / cpu_budget_percent() - now_ns) / 1e9
        until_ns = now_ns + int(min(max(rest_s, _LOOK_S), _LONGEST_REST_S) * 1e9)
        while not is_over() and (left_ns := until_ns - time.monotonic_ns()) > 0:
            time.sleep(min(left_ns / 1e9, _LOOK_S))
