"""The formats of recordings. A new one is a module here and its line in `FORMATS`."""

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
"""All formats. The content of a file decides which it is; the surest signs come first."""


def format_of(head: bytes) -> Format | None:
    """The format of a file that begins with *head*, of at most `HEAD_BYTES`."""
    return next((format for format in FORMATS if format.matches(head)), None)


def format_named(name: str) -> Format:
    """The format of that name; raises `UsageError` if there is none."""
    for format in FORMATS:
        if format.name == name:
            return format
    raise UsageError(f"there is no format {name!r}", hint=f"there is: {_names()}")


def format_for(path: Path) -> Format:
    """The format that the suffix of a new file asks for; raises `UsageError` if there is none."""
    suffix = "".join(path.suffixes[-2:]).lower()
    for format in FORMATS:
        if suffix.endswith(format.suffixes):
            return format
    raise UsageError(
        f"the name of {path} does not say in which format to write it",
        hint=f"name a format: {_names()}",
    )


def _names() -> str:
    return ", ".join(f"{format.name} ({format.suffixes[0]})" for format in FORMATS)
