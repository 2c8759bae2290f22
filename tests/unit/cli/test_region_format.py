"""`report access --format`: a line for each region, in words of the user's.

Private names: the parser of formats, which is what is tested.
"""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydamon import Target, UsageError
from pydamon._show.results.region_format import REGION_FIELDS, parse_region_format
from pydamon.analysis import RankedRegion
from tests.command_line import run_report
from tests.recordings import MIB
from tests.unit.cli.reports import printed

REGION = RankedRegion(
    Target(7, "app"), 0x1000, 0x1000 + 3 * MIB, "[heap]", "rw-p", 0.25, 1_500_000_000, MIB, 0, 55.4,
    sampling_ns=5_000_000,
)  # fmt: skip


def line(text: str) -> str:
    return parse_region_format(text).line(REGION)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("{start} {end} {size} {hz} {age}", "1000 301000 3 MiB 50 Hz 1.5 s"),
        ("{start:B} {size:KiB} {size:MiB} {size:pages} {size:B}", "4096 3072 3 768 3145728"),
        ("{rate} {rate:%} {temperature}", "25.0% 25 55"),
        ("{age:ns} {age:ms} {age:s} {age:min}", "1500000000 1500 1.5 0.025"),
        ("[{size:MiB>6}|{size:<8}|{mapping:^10}]", "[     3|3 MiB   |  [heap]  ]"),
        ("{{{pid}}} {target}/{perms}{host}", "{7} app/rw-p"),
        (r"{pid}\t{pid}\\n", "7\t7\\n"),
        ("{resident} {resident:MiB} {unseen} {unobservable} {touched}", "? ? 0 B 0 B 1 MiB"),
        ("no fields", "no fields"),
    ],
)
def test_fields_units_and_widths(text: str, shown: str) -> None:
    assert line(text) == shown


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("{sise}", "no field of a region: {sise}; did you mean size?", "fields: start, end"),
        ("{}", "no field of a region: {}", "fields: start, end"),
        ("{size.real}", "no field", "fields"),
        ("{size:ms}", "{size} has no unit 'ms'", "units: B, KiB"),
        ("{mapping:MiB}", "{mapping} has no unit 'MiB'", "units: none"),
        ("{size:>99999}", "has no unit", "a width is {size:>9}"),
        ("{size", "cannot read the format '{size'", "write a brace as {{ or }}"),
        ("{size!r}", "!r has no meaning", ""),
    ],
)
def test_mistakes_are_told(text: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_region_format(text)
    assert message in str(caught.value)
    assert hint in caught.value.hint


@given(st.text(max_size=40))
def test_any_text_is_a_format_or_a_usage_error(text: str) -> None:
    try:
        parsed = parse_region_format(text)
    except UsageError:
        return
    assert isinstance(parsed.line(REGION), str)


@given(st.text(max_size=40))
def test_doubled_braces_and_backslashes_give_the_text_itself(text: str) -> None:
    quoted = text.replace("\\", "\\\\").replace("{", "{{").replace("}", "}}")
    assert line(quoted) == text


@pytest.mark.parametrize("name", REGION_FIELDS)
def test_every_field_has_a_text_and_numbers_in_its_units(name: str) -> None:
    assert line(f"{{{name}}}") or name in ("host", "container")
    for unit in REGION_FIELDS[name].units:
        number = line(f"{{{name}:{unit}}}")
        assert number == "?" or float(number) >= 0


def test_lines_are_in_the_order_of_temperature(
    report_path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("access", report_path, "--format", "{start:B} {size:B} {temperature}")
    lines = [text.split() for text in printed(capsys, *words).splitlines()]
    regions = json.loads(printed(capsys, "access", report_path, "--json"))["regions"]
    assert [int(start) for start, _, _ in lines] == [region["start"] for region in regions]
    heat = [int(temperature) for _, _, temperature in lines]
    assert heat == sorted(heat, reverse=True)
    by_size = printed(capsys, *words, "--sort", "size,address", "--limit", "1")
    assert by_size.startswith(f"{MIB} {2 * MIB} ")


@pytest.mark.parametrize("words", [("--json",), ("--histogram", "rate")])
def test_a_format_is_for_regions_as_text(report_path: str, words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="--format is for regions as text"):
        run_report("access", report_path, "--format", "{size}", *words)
