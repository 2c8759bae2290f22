"""`--join` on the command line, and what `doctor` says of kdamonds that run."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pydamon import Attrs, ProbeUnavailable
from pydamon._cli.main import main
from pydamon._observe.kernel import RunningKdamond
from pydamon._observe.kernel.running import Monitoring
from pydamon._observe.monitor import PhysicalMemory, Processes, Selection
from pydamon._observe.options import MonitorOptions
from pydamon._observe.start import ENGINES

KDAMONDS = [
    RunningKdamond(
        345, "kdamond.0", "sysfs", None, Monitoring("vaddr", (12, 13), Attrs.of("10ms", "200ms"))
    ),
    RunningKdamond(
        456, "kdamond.1", "DAMON_STAT", None, Monitoring("paddr", (0,), Attrs(), is_tuned=True)
    ),
    RunningKdamond(567, "kdamond.2", ""),
]


class Asked:
    """An engine that only notes what it is asked for."""

    name = "kernel"

    def __init__(self) -> None:
        self.selection: Selection | None = None
        self.join: object = None

    def open(self, selection: Selection, options: MonitorOptions) -> Any:
        self.selection, self.join = selection, options.join
        raise ProbeUnavailable("nothing to join")


@pytest.mark.parametrize(
    ("words", "selection", "join"),
    [
        (["record", "--join"], Processes(()), True),
        (["record", "--engine", "kernel", "--join", "-d", "1s"], Processes(()), True),
        (["record", "--join", "345"], Processes(()), "345"),
        (["record", "--join=damon_stat"], Processes(()), "damon_stat"),
        (["record", "12", "--join"], Processes((12,)), True),
        (["record", "--physical", "--join"], PhysicalMemory(), True),
        (["serve", "--join"], Processes(()), True),
        (["serve", "12", "--join", "345"], Processes((12,)), "345"),
        (["export", "--join", "--listen", "0"], Processes(()), True),
        (["export", "12", "--join", "345", "--listen", "0"], Processes((12,)), "345"),
    ],
)
def test_what_is_joined(
    words: list[str],
    selection: Selection,
    join: object,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = Asked()
    monkeypatch.setitem(ENGINES, "kernel", asked)
    assert main(words) == 1
    assert "nothing to join" in capsys.readouterr().err
    assert (asked.selection, asked.join) == (selection, join)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["record", "--join", "--", "true"], "not at a new command"),
        (["serve", "--join", "--", "true"], "not at a new command"),
        (["record", "--join", "--sample", "5ms"], "sample cannot be chosen"),
        (["record", "--join", "--tune"], "goal cannot be chosen"),
        (["record", "--engine", "sampling", "--join"], "only the kernel's DAMON can be joined"),
        (["record"], "name one or more processes"),
        (["serve"], "name processes by pid"),
        (["export"], "name processes by pid"),
        (["export", "--engine", "sampling", "--join", "--listen", "0"], "can be joined"),
    ],
)
def test_what_makes_no_sense_is_refused(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 1
    assert message in capsys.readouterr().err


def test_doctor_shows_who_monitors(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pydamon._observe.kernel.running_kdamonds", lambda: KDAMONDS)
    main(["doctor"])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("kdamond:")]
    assert [line.partition(":")[2].strip() for line in lines] == [
        "kdamond.0 (pid 345) of sysfs monitors pid 12, 13: 10 ms / 200 ms, 10 to 1000 regions; "
        "`--join 345` looks on",
        "kdamond.1 (pid 456) of DAMON_STAT monitors physical memory: 5 ms / 100 ms, tuned by the "
        "kernel, 10 to 1000 regions; `--join 456` looks on",
        "kdamond.2 (pid 567) monitors, but no file says what",
    ]
    main(["doctor", "--json"])
    sysfs, stat, unknown = json.loads(capsys.readouterr().out)["kdamonds"]
    assert sysfs == {
        "pid": 345,
        "name": "kdamond.0",
        "user": "sysfs",
        "operations": "vaddr",
        "pids": [12, 13],
        "sampling_us": 10_000,
        "aggregation_us": 200_000,
        "update_us": 1_000_000,
        "min_regions": 10,
        "max_regions": 1000,
        "tuned": False,
    }
    assert (stat["pids"], stat["tuned"]) == ([], True)
    assert unknown == {"pid": 567, "name": "kdamond.2", "user": ""}


def test_doctor_says_nothing_of_what_only_root_may_know(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> None:
        raise ProbeUnavailable("only root may")

    monkeypatch.setattr("pydamon._observe.kernel.running_kdamonds", refuse)
    main(["doctor", "--json"])
    assert json.loads(capsys.readouterr().out)["kdamonds"] == []
