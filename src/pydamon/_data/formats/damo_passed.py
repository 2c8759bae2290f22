"""How much of each region is of some kinds of pages, in damo's files.

One kind is the filter of a record (`scheme_filters`), which lets `sz_filter_passed` bytes of a
region pass. Several kinds are probes, each of which counts the samples that found such a page
(`probe_hits`); FILE.kdamonds names them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pydamon._data.recording.passed import passed_words
from pydamon._data.recording.recording import Recording
from pydamon._model.page_size import SMALLEST_PAGE
from pydamon._model.passed import MEMCG, PassedBytes, memcg_path

__all__ = [
    "filters_of",
    "kind_of_filters",
    "kind_of_probe",
    "probes_of",
    "region_facts",
    "words_of_hits",
    "words_of_sizes",
]

_HUGE_BYTES = 512 * SMALLEST_PAGE
_PLAIN = ("anon", "active", "young")


def kind_of_filters(filters: Any) -> str:
    """The kind of pages that a record's filters let pass; empty if it is none of pydamon's."""
    if not isinstance(filters, list) or len(filters) != 1 or not isinstance(filters[0], dict):
        return ""
    rule = filters[0]
    kind, matching = rule.get("filter_type"), rule.get("matching") is True
    # Before filters could allow, a filter let pass what does not match.
    allows = rule.get("allow", rule.get("filter_pass", False)) is True
    if kind == "anon":
        return "anon" if matching == allows else "file"
    if matching != allows:
        return ""
    if kind == "memcg" and isinstance(rule.get("memcg_path"), str):
        return f"{MEMCG}{rule['memcg_path']}" if rule["memcg_path"].strip("/") else ""
    if kind == "hugepage_size":
        return "huge"
    return kind if kind in _PLAIN else ""


def filters_of(kind: str) -> list[dict[str, Any]]:
    """The filters that let pages of a kind pass."""
    names = {"file": "anon", "huge": "hugepage_size"}
    rule: dict[str, Any] = {
        "filter_type": "memcg" if memcg_path(kind) else names.get(kind, kind),
        "matching": kind != "file",
        "allow": True,
    }
    if memcg_path(kind):
        rule["memcg_path"] = memcg_path(kind)
    if kind == "huge":
        rule["hugepage_size"] = [f"{_HUGE_BYTES} B", "max"]
    return [rule]


def kind_of_probe(probe: Any) -> str:
    """The kind of pages that a probe counts; empty if it is none of pydamon's."""
    return kind_of_filters(probe.get("filters")) if isinstance(probe, dict) else ""


def probes_of(kinds: Sequence[str]) -> list[dict[str, Any]]:
    """The probes that count pages of these kinds."""
    return [{"filters": filters_of(kind)} for kind in kinds]


def words_of_sizes(kinds: Sequence[str], sizes: NDArray[np.int64]) -> list[str]:
    """The words of the column `passed`: of each region its kind and the bytes that passed."""
    words = [""] * len(kinds)
    for kind in dict.fromkeys(filter(None, kinds)):
        rows = [row for row, of in enumerate(kinds) if of == kind]
        passed = PassedBytes((kind,), sizes[rows].reshape(1, -1))
        for row, word in zip(rows, passed_words([(passed, len(rows))]), strict=True):
            words[row] = word
    return words


def words_of_hits(
    kinds: Sequence[str],
    hits: Sequence[Sequence[Any] | None],
    samples: NDArray[np.int64],
    size: NDArray[np.int64],
) -> list[str]:
    """The same, of the hits of probes for *kinds* in so many samples; empty for other hits."""
    told = [_numbers(of_region, len(kinds)) for of_region in hits]
    shares = np.array([row or [-1] * len(kinds) for row in told], np.float64)
    shares /= np.maximum(samples, 1)[:, None]
    sizes = np.rint(np.minimum(shares, 1.0) * size[:, None]).astype(np.int64)
    passed = PassedBytes(tuple(kinds), np.where(shares < 0, -1, sizes).T)
    return passed_words([(passed, len(told))])


def _numbers(hits: Sequence[Any] | None, count: int) -> list[int] | None:
    """The hits of a region as numbers; `None` if they are not one for each probe."""
    if hits is None or len(hits) != count:
        return None
    try:
        numbers = [int(hit) for hit in hits]
    except (TypeError, ValueError, OverflowError):
        return None
    return numbers if all(0 <= number < 2**31 for number in numbers) else None


def region_facts(
    chunk: Recording, rows: NDArray[np.int64], size: NDArray[np.int64]
) -> tuple[list[str], list[str]]:
    """`probe_hits` and `sz_filter_passed` of the regions with these rows and sizes, as JSON.

    A region may be a part of its row: it has its share of the bytes.
    """
    kinds = chunk.passed_kinds
    nothing = ["[]"] * len(rows), ['"0 B"'] * len(rows)
    if not kinds:
        return nothing
    share = size / np.maximum(chunk.column("end") - chunk.column("start"), 1)[rows]
    passed = np.maximum(chunk.passed(*kinds).size_bytes, 0)[:, rows] * share
    if len(kinds) == 1:
        return nothing[0], [f'"{number} B"' for number in np.rint(passed[0]).astype(int).tolist()]
    hits = passed / np.maximum(size, 1) * chunk.column("max_nr_accesses")[rows]
    texts = [f"[{','.join(map(str, row))}]" for row in np.rint(hits).astype(int).T.tolist()]
    return texts, nothing[1]
