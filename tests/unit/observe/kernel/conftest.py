"""What only a machine where everything is allowed can test."""

from __future__ import annotations

import os

import psutil
import pytest

from pydamon._observe.kernel.kdamond import ADMIN

FREE = os.environ.get("PYDAMON_VM") == "1" and (ADMIN / "nr_kdamonds").exists()
needs_damon = pytest.mark.skipif(
    not FREE, reason="the kernel's DAMON may be somebody's here: `make test-vm` has one of its own"
)


def kdamonds() -> int:
    """How many are set up."""
    return int((ADMIN / "nr_kdamonds").read_text())


def kernel_threads() -> int:
    """How many kdamonds run."""
    return sum(
        (process.info["name"] or "").startswith("kdamond")
        for process in psutil.process_iter(["name"])
    )
