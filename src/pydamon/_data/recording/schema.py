"""The content of a recording: its columns, the facts about it, and how it is compressed."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self, TypeVar

import pyarrow as pa

from pydamon._model.attrs import Attrs
from pydamon._model.errors import UsageError
from pydamon._model.page_size import PAGE_SIZE, PAGE_SIZES, SMALLEST_PAGE
from pydamon._version import installed_version

__all__ = [
    "BATCH_ROWS",
    "COLUMNS",
    "EXTRA",
    "METADATA_KEY",
    "OPTIONAL_COLUMNS",
    "SCHEMA_VERSION",
    "RecordingInfo",
    "check_type",
    "check_version",
    "compact_options",
    "file_schema",
    "info_in_schema",
    "stream_options",
]

BATCH_ROWS = 2**16
"""Rows of a batch in a compact file. Larger batches hardly compress any better."""
_STREAM_LEVEL = 5
"""Of zstd, for a batch a second: higher levels take more time and save hardly any space."""
_COMPACT_LEVEL = 7
"""Of zstd, for large batches: 5 % less space than level 5, for half as much time again."""


def stream_options() -> pa.ipc.IpcWriteOptions:
    """How a recorder compresses its batches of a second."""
    return _options(_STREAM_LEVEL)


def compact_options() -> pa.ipc.IpcWriteOptions:
    """How large batches are compressed."""
    return _options(_COMPACT_LEVEL)


def _options(level: int) -> pa.ipc.IpcWriteOptions:
    return pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", level), use_threads=False)


SCHEMA_VERSION = 1
METADATA_KEY = b"pydamon"
"""The key in the Arrow schema's metadata under which `RecordingInfo` stands, as JSON."""

_T = TypeVar("_T")
_NAME = pa.dictionary(pa.int32(), pa.string())

COLUMNS = pa.schema(
    [
        pa.field(name, kind, nullable=False)
        for name, kind in (
            ("start_ns", pa.int64()),
            ("end_ns", pa.int64()),
            ("pid", pa.int32()),
            ("target", _NAME),
            ("start", pa.int64()),
            ("end", pa.int64()),
            ("nr_accesses", pa.int32()),
            ("max_nr_accesses", pa.int32()),
            ("age", pa.int32()),
            ("touched_bytes", pa.int64()),
            ("unobservable_bytes", pa.int64()),
            ("mapping", _NAME),
            ("perms", _NAME),
            ("sampling_ns", pa.int64()),
            ("cpu_ns", pa.int64()),
            ("interruption_ns", pa.int64()),
            ("late_ticks", pa.int32()),
            ("host", _NAME),
            ("vsz_bytes", pa.int64()),
            ("rss_bytes", pa.int64()),
            ("process_started_ns", pa.int64()),
            ("age_ns", pa.int64()),
            ("resident_bytes", pa.int64()),
            ("unseen_bytes", pa.int64()),
            ("repeated_bytes", pa.int64()),
            ("access_share", pa.float32()),
            ("access_share_error", pa.float32()),
            ("accessed_within", pa.int64()),
            ("looked_ns", pa.int64()),
            ("looked_since_ns", pa.int64()),
            ("looks", pa.int32()),
            ("followed_share", pa.float32()),
            ("page_ages", _NAME),
            ("passed", _NAME),
            ("page_map", _NAME),
            ("cpu_use", _NAME),
            ("container", _NAME),
        )
    ]
)
"""Each row is a region of a snapshot; docs/reference/recording-format.md explains the columns."""

OPTIONAL_COLUMNS = frozenset(
    {
        *("host", "vsz_bytes", "rss_bytes", "process_started_ns"),
        *("age_ns", "resident_bytes", "unseen_bytes", "repeated_bytes"),
        *("access_share", "access_share_error", "accessed_within"),
        *("looked_ns", "looked_since_ns", "looks", "followed_share", "page_ages"),
        *("passed", "page_map", "cpu_use", "container"),
    }
)
"""Earlier versions and other tools may not have written these: see `rows.default_numbers`."""

EXTRA = pa.field("extra", _NAME, nullable=False)
"""A column of recordings from other tools only: JSON of whatever the other columns cannot hold."""


def file_schema(info: RecordingInfo, columns: Sequence[str] = tuple(COLUMNS.names)) -> pa.Schema:
    """The schema of a file with these columns and the description of its recording."""
    fields_by_name = {field.name: field for field in (*COLUMNS, EXTRA)}
    return pa.schema([fields_by_name[name] for name in columns], {METADATA_KEY: info.to_json()})


def check_version(info: RecordingInfo) -> RecordingInfo:
    """Return *info*; raise `ValueError` if this version of pydamon is too old to read it."""
    if info.schema_version > SCHEMA_VERSION:
        raise ValueError(f"version {info.schema_version} of the format needs a newer pydamon")
    return info


def info_in_schema(schema: pa.Schema) -> RecordingInfo | None:
    """The description in a file's schema, if it has one.

    Raises `ValueError` if the columns are not the columns of a recording. `OPTIONAL_COLUMNS` may be
    missing, and numbers and names may have other types, as other tools write them.
    """
    text = (schema.metadata or {}).get(METADATA_KEY)
    info = None if text is None else check_version(RecordingInfo.from_json(text))
    for column in COLUMNS:
        count = len(schema.get_all_field_indices(column.name))
        if count > 1:
            raise ValueError(f"the column {column.name} is there twice")
        if count == 0 and column.name not in OPTIONAL_COLUMNS:
            raise ValueError(f"the column {column.name} is missing")
        if count:
            check_type(column, schema.field(column.name).type)
    return info


def check_type(column: pa.Field, kind: pa.DataType) -> None:
    """Raise `ValueError` where values of type *kind* can never be values of *column*."""
    types = pa.types
    if types.is_dictionary(column.type):
        inner = kind.value_type if types.is_dictionary(kind) else kind
        fits = types.is_string(inner) or types.is_large_string(inner) or types.is_string_view(inner)
    else:
        fits = types.is_integer(kind) or types.is_floating(kind)
    if not fits:
        raise ValueError(f"the column {column.name} is of type {kind}, not {column.type}")


@dataclass(frozen=True, slots=True)
class RecordingInfo:
    """The facts that hold for a whole recording.

    Parameters
    ----------
    attrs
        The monitoring attributes when the recording began.
    probe
        The probe that checked for accesses.
    started_ns
        Unix time in ns at which the recorder started.
    commands
        The command line of each target, as its arguments.
    kernel, hostname, pydamon_version
        Where the recording was made, and with which version.
    page_size
        Bytes of a page on that machine: 4096 where a file does not say.
    schema_version
        The version of the file format. A reader refuses higher versions than its own.

    Examples
    --------
    >>> from pydamon import Attrs, RecordingInfo
    >>> info = RecordingInfo(Attrs(), "trace", started_ns=1_750_000_000 * 10**9)
    >>> RecordingInfo.from_json(info.to_json()) == info
    True
    """

    attrs: Attrs
    probe: str
    started_ns: int
    commands: tuple[tuple[str, ...], ...] = ()
    kernel: str = ""
    hostname: str = ""
    pydamon_version: str = ""
    schema_version: int = SCHEMA_VERSION
    page_size: int = SMALLEST_PAGE

    @classmethod
    def here(
        cls,
        attrs: Attrs,
        probe: str,
        started_ns: int,
        commands: tuple[tuple[str, ...], ...] = (),
    ) -> Self:
        """Describe a recording that starts on this machine, with this version of pydamon.

        Parameters
        ----------
        attrs, probe, started_ns, commands
            As in `RecordingInfo`.

        Returns
        -------
        RecordingInfo
            The same, with this machine's kernel release, host name and page size.
        """
        return cls(
            attrs,
            probe,
            started_ns,
            commands,
            kernel=os.uname().release,
            hostname=os.uname().nodename,
            pydamon_version=installed_version(),
            page_size=PAGE_SIZE,
        )

    def since(self, start_ns: int | None) -> Self:
        """Describe the part of the recording that begins at *start_ns* (Unix time in ns)."""
        return replace(self, started_ns=max(self.started_ns, start_ns or 0))

    def to_json(self) -> bytes:
        """Return the description as JSON, as files hold it."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """Read the JSON that `to_json` returned.

        Raises
        ------
        ValueError
            If the text is no such description.
        """
        try:
            values = {"page_size": SMALLEST_PAGE} | json.loads(text)
            values["attrs"] = _typed(Attrs, values["attrs"])
            values["commands"] = tuple(tuple(map(str, argv)) for argv in values["commands"])
            if values["page_size"] not in PAGE_SIZES:
                raise ValueError("no machine has pages of that size")
            return _typed(cls, values)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            if isinstance(error, UsageError):
                raise ValueError(f"its attributes make no sense: {error}") from error
            raise ValueError("its description cannot be read") from error


def _typed(kind: type[_T], values: dict[str, Any]) -> _T:
    """An instance of a dataclass from parsed JSON, with the types of its numbers and strings."""
    arguments: dict[str, Any] = {}
    for field in fields(kind):  # type: ignore[arg-type]
        value = arguments[field.name] = values[field.name]
        if field.type == "int" and not (type(value) is int and 0 <= value < 2**63):
            raise ValueError(f"{field.name} is not a number")
        if field.type == "str" and not isinstance(value, str):
            raise ValueError(f"{field.name} is not a text")
    return kind(**arguments)
