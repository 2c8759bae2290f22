"""Notebooks: results show themselves, and the cell magic shows what a cell used."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

import pydamon
from pydamon import Access, Phase, Snapshot, Trace, analysis
from pydamon._model.display import Displayable
from pydamon._show.notebook import CellUse, to_html
from tests.recordings import record

MIB = 1 << 20


@pytest.fixture(scope="module")
def shell() -> Iterator[InteractiveShell]:
    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "pydamon.notebook")
    yield shell
    InteractiveShell.clear_instance()


@pytest.fixture(scope="module")
def snapshots() -> list[Snapshot]:
    trace = Trace((Phase(10**9, (Access(0, 64 * MIB, rate_hz=1000),)),))
    return list(pydamon.simulate(trace, [(0, 256 * MIB)]).run("2s"))


def run(shell: InteractiveShell, cell: str) -> Any:
    """Run a cell."""
    return shell.run_cell(cell)  # type: ignore[no-untyped-call]


def shown(shell: InteractiveShell, value: Any) -> str:
    """The HTML that a notebook would show for a value."""
    assert shell.display_formatter is not None
    formats, _ = shell.display_formatter.format(value)  # type: ignore[no-untyped-call]
    html: str = formats["text/html"]
    return html


def test_a_snapshot_is_a_table(shell: InteractiveShell, snapshots: list[Snapshot]) -> None:
    html = shown(shell, snapshots[-1])
    assert "Working set 64" in html
    assert html.count("<tr>") > 2


def test_a_recording_is_a_picture_and_a_summary(
    shell: InteractiveShell, snapshots: list[Snapshot], tmp_path: Path
) -> None:
    recording = record(tmp_path / "r.damon", snapshots)
    html = shown(shell, recording)
    (data,) = re.findall(r'src="data:image/svg\+xml;base64,([^"]*)"', html)
    assert base64.b64decode(data).startswith(b"<svg")
    assert "<pre" in html
    for result in (analysis.working_set(recording), analysis.idle(recording)):
        assert "<pre" in shown(shell, result)
    assert shown(shell, analysis.heatmap(recording)).startswith("<img")


def test_anything_else_is_an_error() -> None:
    with pytest.raises(TypeError, match="int"):
        to_html(cast(Displayable, 3))


@pytest.mark.long
@pytest.mark.live
def test_the_magic_shows_what_a_cell_uses(shell: InteractiveShell) -> None:
    run(shell, "import time, numpy as np\nhot, idle = np.ones(1 << 20), np.ones(1 << 20)")
    cell = """%%pydamon --budget 20 --to use
end = time.monotonic() + 1.5
while time.monotonic() < end:
    hot.sum()
    time.sleep(0.001)
ran = True
"""
    with capture_output() as output:
        run(shell, cell)
    assert shell.user_ns["ran"] is True
    use = shell.user_ns["use"]
    assert isinstance(use, CellUse)
    assert use.objects["hot"].state == "hot"
    assert use.objects["idle"].state in ("untouched", "cold")
    (display,) = output.outputs
    assert "hot" in display.data["text/plain"]
    assert "<img" in display.data["text/html"]
    assert ">idle</td>" in display.data["text/html"]


@pytest.mark.live
@pytest.mark.long
def test_a_cell_that_fails_still_fails(shell: InteractiveShell) -> None:
    with capture_output():
        result = run(shell, "%%pydamon\n1 / 0")
    assert isinstance(result.error_in_exec, ZeroDivisionError)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("--what", "unrecognized arguments: --what; usage: %%pydamon [--budget"),
        ("--probe nothing", "nothing"),
        ("--budget -1", "budget"),
        ("--to 'x", "No closing quotation"),
    ],
)
def test_wrong_usage_is_a_line(shell: InteractiveShell, line: str, says: str) -> None:
    with capture_output() as output:
        result = run(shell, f"%%pydamon {line}\n1")
    assert not result.success
    (error,) = output.stderr.splitlines()
    assert error.startswith("UsageError: ")
    assert says in error
