"""What a monitor that fell back to a coarser probe cannot see.

Private names: a monitor that falls back for this reason or that is not at hand everywhere.
"""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest

from pydamon import ProbeUnavailable
from pydamon._observe.fallback import limits_of

_NONE = ProbeUnavailable("no daemon answers", hint="root can start it")
_REFUSES = ProbeUnavailable("the daemon refuses: it is another version")


@pytest.mark.parametrize(
    ("uid", "daemon", "end"),
    [
        (0, _NONE, "; the ebpf probe can: run as root"),
        (1, _NONE, "; single pages need root, or the daemon: root can start it"),
        (1, _REFUSES, "; single pages need root; the daemon refuses: it is another version"),
    ],
)
def test_ordinary_users_are_told_of_the_daemon(
    uid: int, daemon: ProbeUnavailable, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    reasons = {"ebpf": ProbeUnavailable("not permitted", hint="run as root"), "daemon": daemon}
    mon: Any = SimpleNamespace(probe_name="refs", engine="sampling", fallback_reasons=reasons)
    assert limits_of(mon).endswith(end)
