"""Address spaces: whose memory is watched, and where it is."""

from __future__ import annotations

from pydamon.spaces.base import Layout, Space
from pydamon.spaces.fixed import FixedSpace
from pydamon.spaces.paddr import PaddrSpace
from pydamon.spaces.vaddr import Members, VaddrSpace

__all__ = ["FixedSpace", "Layout", "Members", "PaddrSpace", "Space", "VaddrSpace"]
