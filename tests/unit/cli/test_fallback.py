"""What `record` says of the probe that it fell back to.

Private names: a monitor that falls back for this reason or that is not at hand everywhere.
"""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest

from pydamon import ProbeUnavailable
from pydamon._cli.record import _limits

_REASONS = {
    "ebpf": ProbeUnavailable("not permitted", hint="run as root"),
    "daemon": ProbeUnavailable("no daemon", hint="root can start it"),
}


@pytest.mark.parametrize(
    ("uid", "end"),
    [
        (0, "the ebpf probe can: run as root"),
        (1, "the ebpf probe can: run as root; so can the daemon probe: root can start it"),
    ],
)
def test_ordinary_users_are_told_of_the_daemon(
    uid: int, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    mon: Any = SimpleNamespace(probe_name="refs", engine="sampling", fallback_reasons=_REASONS)
    assert _limits(mon).endswith(end)
