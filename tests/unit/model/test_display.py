"""Names that strangers chose, made fit for a screen, a page and JSON."""

from __future__ import annotations

import json
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydamon import PydamonError
from pydamon._model.display import dump_json, printable

ANYTHING = st.text(st.characters(exclude_categories=()), max_size=20)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain name", "plain name"),
        ("a\rb\nc\td", r"a\rb\nc\td"),
        ("\x1b[31m", r"\x1b[31m"),
        ("\x9b31m", r"\x9b31m"),
        ("a\x0b\x0c\x1c\x7f\x85\u2028b", r"a\x0b\x0c\x1c\x7f\x85\u2028b"),
        ("txt.\u202egnp", r"txt.\u202egnp"),
        (b"a\xff\xfe".decode("utf-8", "surrogateescape"), r"a\xff\xfe"),
        ("\ud800", r"\ud800"),
        ("\U000e0001", r"\U000e0001"),
        ("[red]\\\"'😀", "[red]\\\"'😀"),
    ],
)
def test_what_cannot_be_shown_is_escaped(name: str, shown: str) -> None:
    assert printable(name) == shown


@given(ANYTHING)
def test_a_printable_name_fits_everywhere(name: str) -> None:
    shown = printable(name)
    assert shown.isprintable()
    assert printable(shown) == shown
    shown.encode()
    assert ElementTree.fromstring(f"<a>{escape(shown)}</a>").text == (shown or None)


@given(ANYTHING)
def test_json_has_no_lone_surrogate_and_loses_nothing_else(name: str) -> None:
    text = dump_json({"name": name})
    text.encode("ascii")
    read = json.loads(text)["name"]
    read.encode()
    if name.isascii():
        assert read == name


def test_an_error_is_one_line_whatever_the_names_in_it() -> None:
    error = PydamonError("cannot open a\nb\x1b[2J", hint="first\nsecond\r")
    assert str(error) == r"cannot open a\nb\x1b[2J"
    assert error.hint == "first\nsecond\\r"
