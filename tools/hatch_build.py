"""Build hook: compile the BPF program for wheels and editable installs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).resolve().parent))

from bpf_build import build


class CustomBuildHook(BuildHookInterface[Any]):
    """Compiles the BPF program before hatchling collects the files of a wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile it, unless this is an sdist, which has the source only."""
        if self.target_name == "wheel":
            build()
