"""masim's configuration format."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pydamon
from pydamon.workloads import PATTERNS, Config, Pattern, Phase, Region, parse, render

NAMES = st.text("abcxyz019_./ -", min_size=1).map(str.strip).filter(bool)


@st.composite
def configs(draw: st.DrawFn) -> Config:
    names = draw(st.lists(NAMES, min_size=1, max_size=5, unique=True))
    initial = st.none() | NAMES.filter(lambda name: name != "none")
    regions = tuple(Region(n, draw(st.integers(1, 2**40)), draw(initial)) for n in names)
    patterns = st.builds(
        Pattern,
        st.sampled_from(names),
        st.booleans(),
        st.integers(1, 2**30),
        st.integers(1, 100),
        st.sampled_from(["ro", "wo", "rw"]),
    )
    phases = st.builds(
        Phase, NAMES, st.integers(1, 10**7), st.lists(patterns, max_size=4).map(tuple)
    )
    return Config(regions, tuple(draw(st.lists(phases, min_size=1, max_size=4))))


@given(configs())
def test_parse_reads_what_render_wrote(config: Config) -> None:
    assert parse(render(config)) == config


@settings(max_examples=50)  # draws line by line, which is slow
@given(configs(), st.data())
def test_comments_and_blank_lines_change_nothing(config: Config, data: st.DataObject) -> None:
    lines: list[str] = []
    for line in render(config).split("\n"):
        lines += data.draw(st.lists(st.sampled_from(["# a comment", "  #, 1, 2"]), max_size=2))
        lines += data.draw(st.sampled_from([[line], ["  " + line + "\t"]]))
        lines += [""] * data.draw(st.integers(0, 2)) if not line else []
    assert parse("\n".join(["", "# top", "", *lines])) == config


@given(st.text("ab,0159 \n#.-x") | st.text())
def test_any_text_parses_or_is_a_usage_error(text: str) -> None:
    try:
        config = parse(text)
    except pydamon.UsageError:
        return
    assert parse(render(config)) == config


def test_a_file_in_the_style_of_masim() -> None:
    text = """\
#regions
# name, length, initial data
a, 10000000, none
b, 4096, /etc/data
c, 12

#phases
initial phase
10000
a, 0, 4096, 1
b, 1, 64, 50, ro

pause
5

initial phase
20
c, 0, 4, 3, rw
"""
    assert parse(text) == Config(
        (Region("a", 10_000_000), Region("b", 4096, "/etc/data"), Region("c", 12)),
        (
            Phase(
                "initial phase",
                10_000,
                (Pattern("a", False, 4096, 1), Pattern("b", True, 64, 50, "ro")),
            ),
            Phase("pause", 5),
            Phase("initial phase", 20, (Pattern("c", False, 4, 3, "rw"),)),
        ),
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("# nothing\n\n", "is empty"),
        ("a, 10", "line 1: no phase"),
        ("a\n\np\n1", "line 1: expected `name, bytes"),
        ("a, ten\n\np\n1", "line 1: not a size in bytes: 'ten'"),
        ("a, 0\n\np\n1", "line 1: not a size"),
        ("a, -1\n\np\n1", "line 1: not a size"),
        ("a, 99999999999999999999999\n\np\n1", "line 1: not a size"),
        ("a, 1\n# x\na, 2\n\np\n1", "line 3: there are two regions named 'a'"),
        ("a, 1\n\np", "line 3: the length of phase 'p' is missing"),
        ("a, 1\n\np\nsoon", "line 4: not a length"),
        ("a, 1\n\np\n1\nb, 0, 1, 1", "line 5: there is no region 'b'"),
        ("a, 1\n\np\n1\na, 2, 1, 1", "line 5: random is 1 or 0, not '2'"),
        ("a, 1\n\np\n1\na, 0, 0, 1", "line 5: not a stride"),
        ("a, 1\n\np\n1\na, 0, 1, 1.5", "line 5: not a probability"),
        ("a, 1\n\np\n1\na, 0, 1, 1, rx", "line 5: accesses are ro, wo or rw, not 'rx'"),
        ("a, 1\n\np\n1\na, 0, 1", "line 5: expected `region, random"),
        ("a, 1\n\np\n1\na, 0, 1, 0", "line 3: no pattern of phase 'p' has a probability"),
    ],
)
def test_mistakes_name_the_file_and_the_line(text: str, words: str) -> None:
    with pytest.raises(pydamon.UsageError, match=r"^my\.cfg") as caught:
        parse(text, "my.cfg")
    assert words in str(caught.value)


@pytest.mark.parametrize("name", PATTERNS)
def test_every_shipped_workload_is_a_masim_configuration(name: str) -> None:
    assert parse(render(PATTERNS[name].config)) == PATTERNS[name].config
