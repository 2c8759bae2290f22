"""Owners of memory: which stack, table or heap held which addresses, and what can tell."""

from pydamon._model.owners import (
    ALWAYS_NS,
    FOREVER_NS,
    MemoryView,
    OwnedInterval,
    OwnedRanges,
    Owners,
)
from pydamon._owners import PROVIDERS, Provider

__all__ = [
    "ALWAYS_NS",
    "FOREVER_NS",
    "PROVIDERS",
    "MemoryView",
    "OwnedInterval",
    "OwnedRanges",
    "Owners",
    "Provider",
]
