"""The pytest plugin, in runs of pytest of their own."""

from __future__ import annotations

import os

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


_UNCHECKED = """
import sys, pytest
sys.modules["memray"] = None

@pytest.mark.idle_memory("load", limit="much")
def test_no_size():
    pass

@pytest.mark.idle_memory("load", limit="1MiB")
def test_without_memray():
    pass
"""


def test_an_idle_limit_that_cannot_be_checked_is_an_error(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(_UNCHECKED)
    result = pytester.runpytest_subprocess("--strict-markers", "-p", "no:cacheprovider")
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(
        ["*not a size: 'much'", "*memray is not installed here (pip install 'pydamon?memray?')"]
    )


_IDLE_LIMITS = """
import time, numpy as np, pytest
kept = []

def load_catalogue():
    return [bytearray(4000) for _ in range(5000)]

def load_prices():
    return np.ones(16 << 17)

@pytest.fixture
def prices():
    return load_prices()

def use(array):
    end = time.monotonic() + 4
    while time.monotonic() < end:
        array.sum()
        time.sleep(0.005)

@pytest.mark.idle_memory("load_prices", limit="2MiB")
@pytest.mark.idle_memory("load_catalogue", limit="10MiB")
def test_beyond(prices):
    kept.append(load_catalogue())
    use(prices)

@pytest.mark.idle_memory("load_prices", limit="10MiB")
@pytest.mark.idle_memory("load_catalogue", limit="2MiB")
def test_within(prices):
    load_catalogue()
    use(prices[: 8 << 17])

@pytest.mark.idle_memory("load_prices", limit="4MiB")
def test_half_of_a_fixture(prices):
    use(prices[: 8 << 17])

@pytest.mark.idle_memory("load_prices", limit="1MiB")
def test_too_short(prices):
    pass
"""


@pytest.mark.live
@pytest.mark.long
def test_a_test_that_leaves_idle_memory_below_a_function_fails(pytester: pytest.Pytester) -> None:
    if os.geteuid() != 0:
        pytest.skip("ages of single pages need root")
    pytest.importorskip("memray")
    pytester.makepyfile(_IDLE_LIMITS)
    result = pytester.runpytest_subprocess("--strict-markers", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, failed=3)
    result.stdout.re_match_lines(
        [
            r"(18|19|20)(\.\d+)? MiB that load_catalogue allocated are idle for 1 s, more than the"
            r" limit of 10 MiB",
            r".*load_catalogue \(test_a_test.*:\d+\)",
            r"[5-8](\.\d+)? MiB that load_prices allocated are idle for 1 s, .* 4 MiB",
            r"the test took .*: too short to tell what is idle for 1 s",
        ]
    )


_IDLE = """
import time, numpy as np
cache = np.ones(20 << 17)
used = np.ones(10 << 17)
half_used = np.ones(12 << 17)

def test_one():
    end = time.monotonic() + 5
    while time.monotonic() < end:
        used.sum()
        half_used[6 << 17 :].sum()
        time.sleep(0.002)
"""


@pytest.mark.live
@pytest.mark.long
def test_idle_memory_is_shown_by_name(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_it=_IDLE)
    result = pytester.runpytest_subprocess("--pydamon-idle", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)
    lines = ["*idle memory (pydamon)*", "*20 MiB*ndarray  test_it.cache"]
    if os.geteuid() == 0:  # by single pages
        lines += ["*MiB*of 12 MiB*ndarray  test_it.half_used"]
    result.stdout.fnmatch_lines(lines)
    result.stdout.no_fnmatch_line("*MiB*test_it.used")
