"""The formats of recordings, and how a file's is found out."""

from __future__ import annotations

from pathlib import Path

from pydamon._data.formats.base import Format
from pydamon._data.formats.content import HEAD_BYTES
from pydamon._data.formats.damo import DamoJson, DamoJsonCompressed
from pydamon._data.formats.native import Native
from pydamon._data.formats.parquet import Parquet
from pydamon._data.formats.perf import PerfScript
from pydamon._data.formats.tables import Csv, Ndjson
from pydamon._model.errors import UsageError

__all__ = ["FORMATS", "HEAD_BYTES", "format_for", "format_named", "format_of"]

FORMATS: tuple[Format, ...] = (
    Native(),
    Parquet(),
    DamoJsonCompressed(),
    DamoJson(),
    Ndjson(),
    Csv(),
    PerfScript(),
)
"""Every format, those with the surest signs first."""


def format_of(head: bytes) -> Format | None:
    """The format of a file that begins with *head*, of at most `HEAD_BYTES`."""
    return next((one for one in FORMATS if one.matches(head)), None)


def format_named(name: str) -> Format:
    """The format of that name; raises `UsageError` for another."""
    for one in FORMATS:
        if one.name == name:
            return one
    raise UsageError(f"there is no format {name!r}", hint=f"there is: {_names()}")


def format_for(path: Path) -> Format:
    """The format that a file to be written asks for by its suffix; raises `UsageError`."""
    suffix = "".join(path.suffixes[-2:]).lower()
    for one in FORMATS:
        if suffix.endswith(one.suffixes):
            return one
    raise UsageError(
        f"the name of {path} does not say in which format to write it",
        hint=f"name a format: {_names()}",
    )


def _names() -> str:
    return ", ".join(f"{one.name} ({one.suffixes[0]})" for one in FORMATS)
