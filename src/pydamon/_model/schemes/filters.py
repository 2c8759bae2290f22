"""What a scheme leaves alone, or is for only, whatever its access pattern says."""

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
"""Kinds that go by regions; they are asked before the others, which go by pages."""
FILTERS = (*CORE_FILTERS, "anon", "active", "memcg", "young", "hugepage_size", "unmapped")


def _kind(value: str) -> str:
    return one_of(value, FILTERS)


@frozen(field_transformer=naming)
class Filter:
    """Memory of a `kind` (or, with *matching* false, of any other kind) is allowed or rejected.

    Of several filters the first that has a say decides; where none has, memory is rejected if the
    last one allows, and else allowed. Kinds are DAMON's: `addr` (from `start` to `end`), `target`
    (the number of one, from 0), `anon` (what is not of a file), `active` (in the kernel's list of
    such pages), `memcg` (`memcg_path`, below the root of the cgroups), `young` (accessed since
    that was last cleared), `hugepage_size` (from `min_size` to `max_size`, both included), and
    `unmapped` (in no page table).
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
        needed = {"addr": ("start", "end"), "target": ("target",), "memcg": ("memcg_path",)}
        for name in needed.get(self.kind, ()):
            if getattr(self, name) is None:
                raise UsageError(f"{name}: is needed for the filter {self.kind}")
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise UsageError("start: must be below end")

    @property
    def is_core(self) -> bool:
        """Whether it goes by regions, not by pages."""
        return self.kind in CORE_FILTERS
