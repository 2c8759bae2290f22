"""The formats of recordings. A new one is a module here and its line in `FORMATS`."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from pydamon._model.errors import UsageError

if TYPE_CHECKING:
    # The command line needs names and suffixes only, and must not wait for NumPy and Arrow.
    from pydamon._data.formats.base import BatchReader, Format, WithFilesBeside
    from pydamon._data.formats.content import Content
    from pydamon._data.formats.output import Holds
    from pydamon._data.recording import Recording, RecordingInfo

__all__ = ["FORMATS", "RegisteredFormat", "format_for", "format_named", "format_of"]


class RegisteredFormat:
    """A format whose module is imported when it is used: see `base.Format`.

    `name` is the name that people use. `suffixes` end the names of its files; new files get the
    first. `is_text` says whether it is fit for terminals and pipes. *place* is the module and the
    class.
    """

    def __init__(
        self, name: str, suffixes: tuple[str, ...], place: str, *, is_text: bool = False
    ) -> None:
        self.name = name
        self.suffixes = suffixes
        self.is_text = is_text
        self._place = place

    @cached_property
    def _format(self) -> Format:
        module, _, kind = self._place.partition(":")
        made: Format = getattr(import_module(f"{__name__}.{module}"), kind)()
        return made

    @property
    def holds(self) -> Holds | None:
        """The facts that the format can hold; `None` means all."""
        return self._format.holds

    def matches(self, head: bytes) -> bool:
        """Whether a file may have this format; *head* is its first 64 KiB, or all of it."""
        return self._format.matches(head)

    def open(self, content: Content) -> BatchReader:
        """Open a file. Raises one of `base.UNREADABLE` if it has another format."""
        return self._format.open(content)

    @property
    def beside(self) -> WithFilesBeside | None:
        """The format, if its recordings have other files beside them."""
        from pydamon._data.formats.base import WithFilesBeside  # noqa: PLC0415

        made = self._format
        return made if isinstance(made, WithFilesBeside) else None

    def write(self, file: BinaryIO, info: RecordingInfo, chunks: Iterable[Recording]) -> None:
        """Write a recording; *chunks* may be iterated over more than once."""
        self._format.write(file, info, chunks)


FORMATS = (
    RegisteredFormat("native", (".damon",), "native:Native"),
    RegisteredFormat("parquet", (".parquet", ".pq"), "parquet:Parquet"),
    RegisteredFormat("json_compressed", (".data", ".json_compressed"), "damo:DamoJsonCompressed"),
    RegisteredFormat("json", (".json",), "damo:DamoJson", is_text=True),
    RegisteredFormat("ndjson", (".ndjson", ".jsonl"), "tables:Ndjson", is_text=True),
    RegisteredFormat("csv", (".csv",), "tables:Csv", is_text=True),
    RegisteredFormat("perf_script", (".perf", ".txt"), "perf:PerfScript", is_text=True),
)
"""All formats. The content of a file decides which it is; the surest signs come first."""


def format_of(head: bytes) -> RegisteredFormat | None:
    """The format of a file that begins with *head*: 64 KiB, or all of it."""
    return next((format for format in FORMATS if format.matches(head)), None)


def format_named(name: str) -> RegisteredFormat:
    """The format of that name; raises `UsageError` if there is none."""
    for format in FORMATS:
        if format.name == name:
            return format
    raise UsageError(f"there is no format {name!r}", hint=f"there is: {_names()}")


def format_for(path: Path) -> RegisteredFormat:
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
