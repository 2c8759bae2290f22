"""The pytest plugin, in runs of pytest of their own."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

_LIMITS = """
import numpy as np, pytest
held = np.ones(30 << 17)

@pytest.mark.working_set(limit="200MiB")
def test_within():
    np.ones(8 << 17)

@pytest.mark.working_set(limit="60MiB")
def test_holding_is_not_touching():
    big = np.empty(100 << 17)

@pytest.mark.working_set(limit="60MiB")
def test_beyond_with_what_stays():
    held = np.ones(100 << 17)
    globals()["kept"] = held

@pytest.mark.working_set(limit="60MiB")
def test_beyond_with_what_goes():
    np.ones(100 << 17)

@pytest.mark.working_set(limit="1KiB")
def test_fails_anyway():
    assert False

@pytest.mark.working_set(limit="much")
def test_no_size():
    pass
"""


def test_a_test_that_touches_too_much_fails(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(_LIMITS)
    result = pytester.runpytest_subprocess("--strict-markers", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=2, failed=4)
    result.stdout.re_match_lines(
        [
            r"the working set was 1[0-4]\d(\.\d+)? MiB, more than the limit of 60(\.\d+)? MiB",
            r"E\s+assert False",
            r".*not a size: 'much'",
        ]
    )


_IDLE = """
import time, numpy as np
cache = np.ones(20 << 17)
used = np.ones(10 << 17)

def test_one():
    end = time.monotonic() + 2
    while time.monotonic() < end:
        used.sum()
        time.sleep(0.002)
"""


@pytest.mark.live
@pytest.mark.long
def test_idle_memory_is_shown_by_name(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_it=_IDLE)
    result = pytester.runpytest_subprocess("--pydamon-idle", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*idle memory (pydamon)*", "*20 MiB*ndarray  test_it.cache"])
    result.stdout.no_fnmatch_line("*test_it.used")
