"""Two recordings compared by owner; owners beside recordings are written by a private module."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import pydamon
from pydamon import Access, Phase, Trace, UsageError
from pydamon._owners.store import owners_file, write_owners
from pydamon.owners import OwnedInterval, Owners
from tests.command_line import run_report
from tests.unit.cli.reports import printed

MIB, S = 1 << 20, 10**9
USED = 16 * MIB


def recorded(path: Path, line: int, loaded_mib: int) -> str:
    """A program that uses 16 MiB, and loads more in a line of its code that it does not use."""
    trace = Trace((Phase(S, (Access(0, USED, rate_hz=200),)),))
    monitor = pydamon.simulate(trace, [(0, 96 * MIB)], page_map="5s")
    pydamon.write_recording(path, pydamon.Recording.from_snapshots(monitor.run("25s")))
    owners = Owners.of(
        [
            OwnedInterval(("main (app.py:1)", "serve (app.py:20)"), 0, USED),
            OwnedInterval(
                ("main (app.py:1)", f"load (app.py:{line})"), USED, USED + loaded_mib * MIB
            ),
        ]
    )
    write_owners(owners_file(path, "proc"), [owners])
    return str(path)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("diff")
    before = recorded(folder / "before.damon", line=30, loaded_mib=8)
    return before, recorded(folder / "after.damon", line=34, loaded_mib=24)


def test_owners_are_the_same_though_their_lines_moved(
    recordings: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("diff", *recordings, "--by", "owner")
    document = json.loads(printed(capsys, *words, "--json"))
    sizes = {
        use["path"][-1]: (use["before"]["idle_bytes"], use["after"]["idle_bytes"])
        for use in document["owners"]
    }
    assert sizes == {"load (app.py)": (8 * MIB, 24 * MIB), "serve (app.py:20)": (0, 0)}
    assert document["after"]["idle_bytes"] == 24 * MIB
    text = printed(capsys, *words)
    assert "8 MiB  24 MiB  +16 MiB    +16 MiB  load (app.py) < main" in text
    assert "serve" not in text


def test_an_earlier_report_is_compared_in_the_same_way(
    recordings: tuple[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    before = tmp_path / "before.json"
    before.write_text(printed(capsys, "owners", recordings[0], "--json"))
    assert "+16 MiB" in printed(capsys, "owners", recordings[1], "--against", str(before))
    before.write_text('{"owners": [{"path": "a"}], "time_ns": 1, "idle_ns": [], "by_page": 1}')
    with pytest.raises(UsageError, match="is no report of owners"):
        run_report("owners", recordings[1], "--against", str(before))


def test_sources_that_do_not_fit_two_recordings_are_refused(recordings: tuple[str, str]) -> None:
    with pytest.raises(UsageError, match="named 1 times"):
        run_report("diff", *recordings, "--by", "owner", "--memray", "a")
    with pytest.raises(UsageError, match="are for --by owner"):
        run_report("diff", *recordings, "--memray", "a", "--memray", "b")
    with pytest.raises(UsageError, match="--where"):
        run_report("diff", *recordings, "--by", "owner", "--where", "size > 1MiB")
