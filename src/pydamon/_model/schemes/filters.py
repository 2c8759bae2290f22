"""Filters: memory that a scheme leaves alone, or acts on only, whatever its access pattern says."""

from __future__ import annotations

from attrs import field, frozen

from pydamon._model.errors import UsageError
from pydamon._model.schemes.fields import (
    flag,
    naming,
    one_of,
    optional_count,
    optional_size,
    optional_text,
    size,
)

__all__ = ["CORE_FILTERS", "FILTERS", "Filter"]

CORE_FILTERS = ("addr", "target")
"""Kinds that decide about regions; they are asked before the others, which decide about pages."""
FILTERS = (*CORE_FILTERS, "anon", "active", "memcg", "young", "hugepage_size", "unmapped")
_NEEDED = {"addr": ("start", "end"), "target": ("target",), "memcg": ("memcg_path",)}


def _kind(value: str) -> str:
    return one_of(value, FILTERS)


@frozen(field_transformer=naming)
class Filter:
    """Allow or reject memory of a kind.

    Of several filters, the first that concerns a page decides. A page that no filter concerns is
    rejected if the last filter allows, and allowed otherwise.

    Parameters
    ----------
    kind
        One of DAMON's kinds. Two decide about regions, which are cut where a filter begins or ends:
        `"addr"` (addresses) and `"target"` (a target by its number). The others decide about pages:
        `"anon"` (not of a file), `"active"` (on one of the kernel's active lists), `"memcg"` (of a
        cgroup), `"young"` (accessed since its accessed bit was last cleared), `"hugepage_size"` and
        `"unmapped"` (in no page table).
    allow
        Whether to allow the memory; otherwise it is rejected.
    matching
        Whether the filter concerns memory of the kind, or all other memory.
    start, end
        Addresses of `"addr"`, half open.
    target
        Index of a target, from 0, for `"target"`.
    memcg_path
        Path of a cgroup below the root of the cgroups, for `"memcg"`.
    min_size, max_size
        Sizes of `"hugepage_size"`, both included: bytes, or text such as `"2M"`.

    Raises
    ------
    UsageError
        For an unknown kind, a missing parameter of the kind, and values that make no sense.

    Examples
    --------
    >>> import pydamon
    >>> leave_anon_alone = pydamon.Filter("anon")
    >>> heap_only = pydamon.Filter("addr", start=0x10000, end=0x50000, allow=True)
    >>> heap_only.is_core
    True
    """

    kind: str = field(converter=_kind)
    allow: bool = field(default=False, kw_only=True, converter=flag)
    matching: bool = field(default=True, kw_only=True, converter=flag)
    start: int | None = field(default=None, kw_only=True, converter=optional_count)
    end: int | None = field(default=None, kw_only=True, converter=optional_count)
    target: int | None = field(default=None, kw_only=True, converter=optional_count)
    memcg_path: str | None = field(default=None, kw_only=True, converter=optional_text)
    min_size_bytes: int = field(default=0, alias="min_size", kw_only=True, converter=size)
    max_size_bytes: int | None = field(
        default=None, alias="max_size", kw_only=True, converter=optional_size
    )

    def __attrs_post_init__(self) -> None:
        for name in _NEEDED.get(self.kind, ()):
            if getattr(self, name) is None:
                raise UsageError(f"{name}: is needed for the filter {self.kind}")
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise UsageError("start: must be below end")

    @property
    def is_core(self) -> bool:
        """Whether it decides about regions, not about pages."""
        return self.kind in CORE_FILTERS
