"""Probes, which find out that memory was accessed, and the types that they exchange."""

from pydamon._model.regions import RegionTable
from pydamon._model.stretches import Stretches
from pydamon._model.survival import Survival
from pydamon._observe.linux.process import Process
from pydamon._observe.probes.base import (
    Availability,
    Clock,
    Counts,
    ManyBits,
    PageBits,
    Probe,
    Session,
    Traits,
)
from pydamon._observe.probes.epochs import EpochCounts, Epochs
from pydamon._observe.probes.registry import PROBES

__all__ = [
    "PROBES",
    "Availability",
    "Clock",
    "Counts",
    "EpochCounts",
    "Epochs",
    "ManyBits",
    "PageBits",
    "Probe",
    "Process",
    "RegionTable",
    "Session",
    "Stretches",
    "Survival",
    "Traits",
]
