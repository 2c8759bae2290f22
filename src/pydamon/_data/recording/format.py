"""What a recording holds: its columns, the facts about it, and how it is compressed."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self, TypeVar

import pyarrow as pa

from pydamon._model.attrs import Attrs
from pydamon._model.errors import UsageError
from pydamon._version import installed_version

__all__ = [
    "BATCH_ROWS",
    "COLUMNS",
    "EXTRA",
    "LATER",
    "METADATA_KEY",
    "SCHEMA_VERSION",
    "RecordingInfo",
    "check_type",
    "checked",
    "compact_options",
    "file_schema",
    "info_of",
    "stream_options",
]

BATCH_ROWS = 2**16
"""Of a batch that need not be in the file this second: more would hardly compress any better."""
_LEVEL = 5
"""Of zstd: above it a second of regions takes ever more time and hardly less space."""
_COMPACT_LEVEL = 7
"""5 % less space than at 5, for half as much time again."""


def stream_options() -> pa.ipc.IpcWriteOptions:
    """How a batch a second is compressed."""
    return pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", _LEVEL), use_threads=False)


def compact_options() -> pa.ipc.IpcWriteOptions:
    """How large batches are."""
    return pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", _COMPACT_LEVEL), use_threads=False)


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
        )
    ]
)
"""One row a region of a snapshot; `docs/recording-format.md` says what each column means."""

LATER = frozenset(
    {
        *("host", "vsz_bytes", "rss_bytes", "process_started_ns"),
        *("age_ns", "resident_bytes", "unseen_bytes", "repeated_bytes"),
    }
)
"""Columns that files of earlier versions, and of other tools, may lack: see `missing_numbers`."""

EXTRA = pa.field("extra", _NAME, nullable=False)
"""A column that only recordings from other tools have: what no other column can hold, as JSON."""


def file_schema(info: RecordingInfo, columns: Sequence[str] = tuple(COLUMNS.names)) -> pa.Schema:
    """The schema of a file with these columns, with the description of the recording in it."""
    kinds = {one.name: one for one in (*COLUMNS, EXTRA)}
    return pa.schema([kinds[name] for name in columns], {METADATA_KEY: info.to_json()})


def checked(info: RecordingInfo) -> RecordingInfo:
    """The same, unless it describes what is too new to be read: then `ValueError`."""
    if info.schema_version > SCHEMA_VERSION:
        raise ValueError(f"version {info.schema_version} of the format needs a newer pydamon")
    return info


def info_of(schema: pa.Schema) -> RecordingInfo | None:
    """The description in a file's schema, if any; raises `ValueError` where it has no recording.

    A file of an earlier version lacks what came later: `LATER`. Numbers and names may be of other
    types, as other tools write them.
    """
    text = (schema.metadata or {}).get(METADATA_KEY)
    info = None if text is None else checked(RecordingInfo.from_json(text))
    for column in COLUMNS:
        count = len(schema.get_all_field_indices(column.name))
        if count > 1:
            raise ValueError(f"the column {column.name} is there twice")
        if count == 0 and column.name not in LATER:
            raise ValueError(f"the column {column.name} is missing")
        if count:
            check_type(column, schema.field(column.name).type)
    return info


def check_type(column: pa.Field, kind: pa.DataType) -> None:
    """Raise `ValueError` where values of a type cannot be those of a column."""
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
    """What holds for a recording as a whole.

    `attrs` are the attributes at the start, `probe` is what checked for accesses, `commands` the
    command line of each target, `started_ns` Unix time.
    """

    attrs: Attrs
    probe: str
    started_ns: int
    commands: tuple[tuple[str, ...], ...] = ()
    kernel: str = ""
    hostname: str = ""
    pydamon_version: str = ""
    schema_version: int = SCHEMA_VERSION

    @classmethod
    def here(
        cls,
        attrs: Attrs,
        probe: str,
        started_ns: int,
        commands: tuple[tuple[str, ...], ...] = (),
    ) -> Self:
        """The facts of a recording that starts on this machine, with this pydamon."""
        return cls(
            attrs,
            probe,
            started_ns,
            commands,
            kernel=os.uname().release,
            hostname=os.uname().nodename,
            pydamon_version=installed_version(),
        )

    def since(self, start_ns: int | None) -> Self:
        """The same for the part of the recording from *start_ns* on."""
        return replace(self, started_ns=max(self.started_ns, start_ns or 0))

    def to_json(self) -> bytes:
        """As it stands in the file."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """The inverse of `to_json`; raises `ValueError` for anything else."""
        try:
            values = json.loads(text)
            values["attrs"] = _typed(Attrs, values["attrs"])
            values["commands"] = tuple(tuple(map(str, argv)) for argv in values["commands"])
            return _typed(cls, values)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            if isinstance(error, UsageError):
                raise ValueError(f"its attributes make no sense: {error}") from error
            raise ValueError("its description cannot be read") from error


def _typed(kind: type[_T], values: dict[str, Any]) -> _T:
    """An instance of a dataclass from parsed JSON, with every number and string of its type."""
    known: dict[str, Any] = {}
    for field in fields(kind):  # type: ignore[arg-type]
        value = known[field.name] = values[field.name]
        if field.type == "int" and not (type(value) is int and 0 <= value < 2**63):
            raise ValueError(f"{field.name} is not a number")
        if field.type == "str" and not isinstance(value, str):
            raise ValueError(f"{field.name} is not a text")
    return kind(**known)
