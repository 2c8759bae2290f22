"""Durations and sizes as people type them, and back."""

from __future__ import annotations

import contextlib
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydamon._model.errors import UsageError
from pydamon._model.rates import Rate
from pydamon._model.units import (
    Share,
    format_duration,
    format_size,
    parse_address,
    parse_address_range,
    parse_duration_ns,
    parse_percent,
    parse_share,
    parse_size,
    quantities,
)


class TestParseDuration:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("5ms", 5_000_000),
            ("100 us", 100_000),
            ("100\N{MICRO SIGN}s", 100_000),
            ("100\N{GREEK SMALL LETTER MU}s", 100_000),
            ("7ns", 7),
            ("1.5s", 1_500_000_000),
            (".5s", 500_000_000),
            ("2.s", 2_000_000_000),
            (" 2min ", 120 * 10**9),
            ("2m", 120 * 10**9),
            ("1h", 3600 * 10**9),
            ("1d", 86400 * 10**9),
            ("0s", 0),
            # Beyond what a float holds exactly.
            ("9007199254740993ns", 9007199254740993),
            ("0.3us", 300),
        ],
    )
    def test_text(self, text: str, expected: int) -> None:
        assert parse_duration_ns(text) == expected

    @given(st.integers(0, 2**63 // 1000 - 1))
    def test_timedelta(self, us: int) -> None:
        assert parse_duration_ns(timedelta(microseconds=us)) == us * 1000

    @pytest.mark.parametrize(
        "text", ["", "5", "ms", "-5ms", "5 parsecs", "1e3s", "5ms 3s", "1..5s", "5_0s", "nan", "²s"]
    )
    def test_refuses(self, text: str) -> None:
        with pytest.raises(UsageError, match="not a duration") as caught:
            parse_duration_ns(text)
        assert "5ms" in caught.value.hint

    def test_refuses_negative_timedelta(self) -> None:
        with pytest.raises(UsageError, match="negative"):
            parse_duration_ns(timedelta(seconds=-1))

    @pytest.mark.parametrize("text", ["300000d", "9" * 400 + "s", timedelta.max])
    def test_refuses_what_no_column_holds(self, text: str | timedelta) -> None:
        with pytest.raises(UsageError, match="too large"):
            parse_duration_ns(text)


class TestParseSize:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("0", 0),
            ("4096", 4096),
            (4096, 4096),
            ("512B", 512),
            ("4KiB", 4096),
            ("4k", 4096),
            ("4kb", 4096),
            ("2M", 2**21),
            ("1.5 GiB", 3 * 2**29),
            ("1T", 2**40),
            ("3p", 3 * 2**50),
            ("1EiB", 2**60),
            ("9007199254740993", 9007199254740993),
        ],
    )
    def test_text(self, text: str | int, expected: int) -> None:
        assert parse_size(text) == expected

    @pytest.mark.parametrize("text", ["", "k", "-1", "4 apples", "1e9", "4KK", "4i"])
    def test_refuses(self, text: str) -> None:
        with pytest.raises(UsageError, match="not a size"):
            parse_size(text)

    def test_refuses_negative_number(self) -> None:
        with pytest.raises(UsageError, match="negative"):
            parse_size(-1)

    @pytest.mark.parametrize("value", ["8EiB", "9" * 400, 2**63])
    def test_refuses_what_no_column_holds(self, value: str | int) -> None:
        with pytest.raises(UsageError, match="too large"):
            parse_size(value)


class TestParseShare:
    @pytest.mark.parametrize(
        ("text", "expected"), [("40%", 0.4), (" 99.7 % ", 0.997), ("0%", 0), ("100%", 1)]
    )
    def test_text(self, text: str, expected: float) -> None:
        share = parse_share(text)
        assert isinstance(share, Share)
        assert share == expected

    @given(st.integers(0, 1000))
    def test_a_percentage_is_the_same_number_as_thousandths(self, thousandths: int) -> None:
        assert parse_share(f"{thousandths / 10}%") == thousandths / 1000

    @pytest.mark.parametrize("text", ["", "40", "%", "101%", "-1%", "4e1%", "40 percent", "40%%"])
    def test_refuses(self, text: str) -> None:
        with pytest.raises(UsageError, match="not a percentage from 0% to 100%"):
            parse_share(text)

    @pytest.mark.parametrize(("text", "expected"), [("2.5", 2.5), ("2.5%", 2.5), ("150", 150)])
    def test_a_percentage_may_lack_its_sign(self, text: str, expected: float) -> None:
        assert parse_percent(text) == expected


class TestParseAddress:
    @pytest.mark.parametrize(
        ("text", "expected"), [("4096", 4096), ("0x1000", 4096), ("0XfF", 255), (" 0 ", 0)]
    )
    def test_text(self, text: str, expected: int) -> None:
        assert parse_address(text) == expected

    @pytest.mark.parametrize("text", ["", "ff", "0x", "-1", "1_0", "0x1" + "0" * 16, "9" * 21])
    def test_refuses(self, text: str) -> None:
        with pytest.raises(UsageError, match="not an address"):
            parse_address(text)

    @given(st.integers(0, 2**61), st.integers(1, 2**61))
    def test_a_range_as_in_proc_maps(self, start: int, size: int) -> None:
        end = start + size
        assert parse_address_range(f"{start:x}-{end:x}") == (start, end)
        assert parse_address_range(f"{start:#x} - {end:#x}") == (start, end)

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("zz-11", "not an address range"),
            ("1000", "not an address range"),
            ("1000-", "not an address range"),
            ("20-10", "start below its end"),
            ("10-10", "start below its end"),
            ("10-" + "f" * 16, "outside what a process can map"),
        ],
    )
    def test_refuses_a_range(self, text: str, says: str) -> None:
        with pytest.raises(UsageError, match=says):
            parse_address_range(text)


class TestGrammar:
    def test_a_sum_has_several_quantities(self) -> None:
        assert quantities("2 min 5 s") == [("2", "min"), ("5", "s")]

    @pytest.mark.parametrize("number", ["", "-1", "1e3", "1..5", "5_0", "²", "1,5", "nan", "0x5"])
    def test_all_quantities_refuse_the_same_numbers(self, number: str) -> None:
        for parse, unit in (
            (parse_duration_ns, "s"),
            (parse_size, "K"),
            (parse_share, "%"),
            (parse_percent, "%"),
            (Rate.of, "Hz"),
        ):
            with pytest.raises(UsageError):
                parse(f"{number} {unit}")

    @given(st.text(max_size=20))
    def test_any_text_is_a_quantity_or_a_usage_error(self, text: str) -> None:
        for parse in (parse_duration_ns, parse_size, parse_share, Rate.of, parse_address_range):
            with contextlib.suppress(UsageError):
                parse(text)


class TestFormatDuration:
    @pytest.mark.parametrize(
        ("duration_ns", "expected"),
        [
            (0, "0 ns"),
            (7, "7 ns"),
            (999, "999 ns"),
            (999.6, "1 us"),
            (1000, "1 us"),
            (1234, "1.23 us"),
            (5_000_000, "5 ms"),
            (999_499_999, "999 ms"),
            (999_600_000, "1 s"),
            (1_250_000_000, "1.25 s"),
            (59_940_000_000, "59.9 s"),
            (59_990_000_000, "1 min"),
            (60 * 10**9, "1 min"),
            (125 * 10**9, "2 min 5 s"),
            (3599.7 * 10**9, "1 h"),
            (3660 * 10**9, "1 h 1 min"),
            (7199 * 10**9, "2 h"),
            (100 * 3600 * 10**9, "100 h"),
            (-1500, "-1.5 us"),
        ],
    )
    def test_text(self, duration_ns: float, expected: str) -> None:
        assert format_duration(duration_ns) == expected

    @given(st.integers(0, 60 * 10**9))
    def test_reads_back_to_three_digits(self, duration_ns: int) -> None:
        found = parse_duration_ns(format_duration(duration_ns))
        assert found == pytest.approx(duration_ns, rel=0.006)


class TestFormatSize:
    @pytest.mark.parametrize(
        ("size_bytes", "expected"),
        [
            (0, "0 B"),
            (512, "512 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (99.96 * 1024, "100 KiB"),
            (2**20 - 1, "1 MiB"),
            (2**20, "1 MiB"),
            (100 * 2**30, "100 GiB"),
            (2**56, "64 PiB"),
            (2**60 - 1, "1 EiB"),
            (2**72, "4096 EiB"),
            (-1536, "-1.5 KiB"),
        ],
    )
    def test_text(self, size_bytes: float, expected: str) -> None:
        assert format_size(size_bytes) == expected

    @given(st.integers(0, 2**62))
    def test_reads_back_to_two_digits(self, size_bytes: int) -> None:
        assert parse_size(format_size(size_bytes)) == pytest.approx(size_bytes, rel=0.06)
