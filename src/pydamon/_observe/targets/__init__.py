"""Targets: the address spaces that are monitored, and where their memory is."""

from __future__ import annotations

from pydamon._observe.targets.base import FixedSpace, Layout, Space
from pydamon._observe.targets.physical import PaddrSpace
from pydamon._observe.targets.virtual import Members, VaddrSpace

__all__ = ["FixedSpace", "Layout", "Members", "PaddrSpace", "Space", "VaddrSpace"]
