"""The kernel's DAMON has one user: that of others stays as it is, and ours leaves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pydamon import Attrs, KernelError, ProbeUnavailable, Scheme
from pydamon._observe.kernel import (
    Claim,
    KdamondSettings,
    KernelTarget,
    Record,
    check_free,
    leftover,
    remove_leftover,
)
from pydamon._observe.kernel import claim as owner
from tests.unit.observe.kernel.fake import FakeFiles

SETTINGS = KdamondSettings(
    "vaddr", (KernelTarget(os.getpid()),), Attrs(), schemes=(Scheme("stat"),)
)
RECORD = "kdamond.json"


@pytest.fixture
def files(tmp_path: Path) -> FakeFiles:
    return FakeFiles(tmp_path / "kdamonds")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "run"


def eventually(holds: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def test_everything_is_given_back(files: FakeFiles, state: Path) -> None:
    before = files.tree()
    for _ in range(3):
        with Claim(files, state=state) as claim:
            claim.start(SETTINGS)
            assert claim.kdamond.running
            assert Record.read(state) is not None
        assert files.tree() == before
        assert Record.read(state) is None


def test_everything_is_given_back_on_an_error(files: FakeFiles, state: Path) -> None:
    before = files.tree()
    wrong = KdamondSettings("vaddr", (KernelTarget(2**22 + 1),), Attrs())
    with pytest.raises(KernelError), Claim(files, state=state) as claim:
        claim.start(wrong)
    assert files.tree() == before
    assert Record.read(state) is None


def test_a_kdamond_that_has_ended_is_cleaned_up_too(files: FakeFiles, state: Path) -> None:
    with Claim(files, state=state) as claim:
        claim.start(SETTINGS)
        files.die()
    assert files.tree() == {"nr_kdamonds": "0\n"}


def test_a_kdamond_that_is_just_ending_is_still_ours(
    files: FakeFiles, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Claim(files, state=state) as claim:
        claim.start(SETTINGS)
        # The files still say its pid, but the process is gone.
        pid = claim.kdamond.pid
        known = owner.started_at
        monkeypatch.setattr(owner, "started_at", lambda asked: 0 if asked == pid else known(asked))
    assert files.tree() == {"nr_kdamonds": "0\n"}


@pytest.mark.parametrize("running", [True, False])
def test_somebody_elses_is_left_alone(files: FakeFiles, state: Path, running: bool) -> None:
    files.write("nr_kdamonds", 1)
    files.write("0/contexts/nr_contexts", 1)
    if running:
        files.write("0/state", "on")
    before = files.tree()
    files.written.clear()
    with pytest.raises(ProbeUnavailable, match="in use by somebody else"):
        Claim(files, state=state)
    assert leftover(files, state) is None
    assert not remove_leftover(files, state)
    assert files.tree() == before
    assert files.written == []


def test_what_somebody_else_made_of_ours_is_left_alone(files: FakeFiles, state: Path) -> None:
    claim = Claim(files, state=state)
    claim.start(SETTINGS)
    files.write("0/contexts/0/schemes/0/action", "pageout")
    before = files.tree()
    with pytest.raises(KernelError, match="somebody changed"):
        claim.close()
    assert files.tree() == before


def test_another_of_us_is_named(files: FakeFiles, state: Path) -> None:
    with Claim(files, state=state) as claim:
        claim.start(SETTINGS)
        with pytest.raises(ProbeUnavailable, match=f"another pydamon .pid {os.getpid()}"):
            Claim(files, state=state)
        assert claim.kdamond.running


def test_a_module_that_excludes_others_is_named(
    files: FakeFiles, state: Path, tmp_path: Path
) -> None:
    from pydamon._observe.kernel.claim import describe_user

    enabled = tmp_path / "modules/damon_stat/parameters/enabled"
    enabled.parent.mkdir(parents=True)
    enabled.write_text("Y\n")
    assert "DAMON_STAT" in describe_user(files, state, tmp_path / "modules")
    with pytest.raises(ProbeUnavailable) as caught:
        check_free(files, state, tmp_path / "modules")
    assert f"echo N >{enabled}" in caught.value.hint
    enabled.write_text("N\n")
    assert describe_user(files, state, tmp_path / "modules") == ""


KILLED = """
import os, sys, time
from pathlib import Path
import pydamon._observe.kernel.claim
from pydamon import Attrs, Scheme
from pydamon._observe.kernel import Claim, KernelTarget, KdamondSettings
from tests.unit.observe.kernel.fake import FakeFiles
if sys.argv[3] == "slow":
    guardian = pydamon._observe.kernel.claim._GUARDIAN
    pydamon._observe.kernel.claim._GUARDIAN = guardian.replace("rm", "sleep 1 && rm")
claim = Claim(FakeFiles(Path(sys.argv[1])), state=Path(sys.argv[2]))
settings = KdamondSettings("vaddr", (KernelTarget(os.getppid()),), schemes=(Scheme("stat"),))
claim.start(settings)
if sys.argv[3] == "unguarded":
    claim._guardian.kill()
    claim._guardian.wait()
print("on", flush=True)
time.sleep(60)
"""


def killed(files: FakeFiles, state: Path, how: str) -> None:
    """A process that has a claim, killed in the middle of it."""
    argv = [sys.executable, "-c", KILLED, str(files.root), str(state), how]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "on\n"
        process.send_signal(signal.SIGKILL)


def test_the_guardian_cleans_up_after_kill_9(files: FakeFiles, state: Path) -> None:
    killed(files, state, "guarded")
    # A real kernel would also remove the directories.
    eventually(lambda: files.read("nr_kdamonds") == "0")
    assert files.read("0/state") == "off"
    eventually(lambda: not (state / RECORD).exists())


def test_the_next_one_waits_for_the_guardian(files: FakeFiles, state: Path) -> None:
    killed(files, state, "slow")
    eventually(lambda: files.read("nr_kdamonds") == "0")
    with Claim(files, state=state) as claim:
        claim.start(SETTINGS)
        time.sleep(1.2)
        record = Record.read(state)
        assert record is not None
        assert record.owner == os.getpid()


def test_doctor_finds_what_is_left_when_the_guardian_was_killed_too(
    files: FakeFiles, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pydamon._observe.kernel.claim._PATIENCE_S", 0.2)
    killed(files, state, "unguarded")
    record = leftover(files, state)
    assert record is not None
    assert record.kdamonds[0][0] > 0
    with pytest.raises(ProbeUnavailable, match="a pydamon that was killed") as caught:
        Claim(files, state=state)
    assert "--clean" in caught.value.hint
    assert remove_leftover(files, state)
    assert files.tree() == {"nr_kdamonds": "0\n"}
    assert not remove_leftover(files, state)


def test_what_is_left_but_was_changed_is_nobodys_to_remove(files: FakeFiles, state: Path) -> None:
    killed(files, state, "unguarded")
    files.write("0/contexts/0/targets/0/pid_target", 1)
    before = files.tree()
    assert leftover(files, state) is None
    assert not remove_leftover(files, state)
    assert files.tree() == before
