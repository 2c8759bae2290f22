"""The words of the column `extra`, as far as pydamon could have written them."""

from __future__ import annotations

import weakref
from typing import Any

import msgspec

from pydamon._data.recording.format import EXTRA
from pydamon._data.recording.recording import Recording

__all__ = ["extras_of"]

_KINDS: dict[str, type] = {
    "record": dict,
    "tail": dict,
    "snapshot": dict,
    "region": dict,
    "with_pid": int,
    "perf": dict,
}

_last: tuple[weakref.ref[Recording], list[dict[str, Any]]] | None = None

_PERF_KINDS: dict[str, type] = {"task": str, "target_id": int, "more": str}


def extras_of(part: Recording) -> list[dict[str, Any]]:
    """What each word of it says; what no one would say in it is left out.

    Writers ask for it several times a part: what was said last is kept for as long as the part is.
    """
    global _last  # noqa: PLW0603
    if EXTRA.name not in part.table.column_names:
        return [{}]
    if _last is None or _last[0]() is not part:
        _last = weakref.ref(part), [_said(word) for word in part.names(EXTRA.name)]
    return _last[1]


def _said(word: str) -> dict[str, Any]:
    try:
        said = msgspec.json.decode(word) if word else {}
    except (msgspec.MsgspecError, RecursionError):
        return {}
    sound = _of_kinds(said, _KINDS)
    if "perf" in sound:
        perf = _of_kinds(sound["perf"], _PERF_KINDS)
        sound["perf"] = {k: v for k, v in perf.items() if "\n" not in str(v)}
    return sound


def _of_kinds(said: Any, kinds: dict[str, type]) -> dict[str, Any]:
    if not isinstance(said, dict):
        return {}
    return {k: v for k, v in said.items() if k in kinds and type(v) is kinds[k]}
