"""How much of each region passes filters of pages: anonymous memory, active pages, a cgroup's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pydamon._model.errors import UsageError
from pydamon._model.runs import Runs

__all__ = ["KINDS", "MEMCG", "PassedBytes", "kinds_from", "memcg_path", "sums_by_run"]

KINDS = ("anon", "file", "active", "huge", "young")
"""Kinds of pages, by DAMON's names where it has one; `MEMCG` and a path is another kind."""
MEMCG = "memcg:"
"""How the kind of the pages of a cgroup begins; the path below the cgroups' root follows."""
_UNKNOWN = -1


def kinds_from(text: str | Iterable[str]) -> tuple[str, ...]:
    """The kinds in a text such as `"anon,huge"`, or in several; raises `UsageError`."""
    kinds = text.split(",") if isinstance(text, str) else list(text)
    kinds = list(dict.fromkeys(kind.strip() for kind in kinds if kind.strip()))
    for kind in kinds:
        if kind not in KINDS and not memcg_path(kind):
            raise UsageError(
                f"no kind of pages: {kind!r}",
                hint=f"choose from {', '.join(KINDS)}, {MEMCG}PATH",
            )
    return tuple(kinds)


def memcg_path(kind: str) -> str:
    """The path of the cgroup whose pages a kind means; empty for other kinds."""
    return kind.removeprefix(MEMCG) if kind.startswith(MEMCG) else ""


@dataclass(frozen=True, eq=False)
class PassedBytes:
    """How many bytes of each region of a snapshot pass a filter.

    Parameters
    ----------
    kinds
        The kind of pages that each filter lets pass: `"anon"` (anonymous memory), `"file"` (of a
        file, or shared memory), `"active"` (on one of the kernel's active lists), `"huge"` (huge
        pages), `"young"` (accessed since the accessed bit was cleared), or `"memcg:PATH"` (charged
        to a cgroup).
    size_bytes
        Bytes of each region that are in memory and of the kind: shape (kinds, regions). -1 where
        nobody has looked.

    Examples
    --------
    >>> import numpy as np
    >>> from pydamon import PassedBytes
    >>> passed = PassedBytes(("anon", "huge"), np.array([[8192, 4096], [0, -1]]))
    >>> passed.of("anon").tolist(), passed.of("file").tolist()
    ([8192, 4096], [-1, -1])
    """

    kinds: tuple[str, ...]
    size_bytes: NDArray[np.int64]

    @classmethod
    def unknown(cls, kinds: Sequence[str], regions: int) -> Self:
        """Nothing is known of so many regions."""
        return cls(tuple(kinds), np.full((len(kinds), regions), _UNKNOWN, np.int64))

    def of(self, kind: str) -> NDArray[np.int64]:
        """The bytes of each region of a kind; -1 where nobody has looked.

        Parameters
        ----------
        kind
            Any kind, also one that was not asked for.
        """
        if kind in self.kinds:
            sizes: NDArray[np.int64] = self.size_bytes[self.kinds.index(kind)]
            return sizes
        return np.full(self.size_bytes.shape[1], _UNKNOWN, np.int64)

    def pick(self, regions: NDArray[np.bool_] | NDArray[np.int64]) -> Self:
        """The bytes of some regions.

        Parameters
        ----------
        regions
            Which regions to keep.
        """
        return replace(self, size_bytes=self.size_bytes[:, regions])


def sums_by_run(passed: PassedBytes, runs: Runs) -> list[dict[str, int]]:
    """The bytes of each kind in each run of regions, without those that are not known."""
    sums = [runs.sum(of_kind).tolist() for of_kind in passed.size_bytes]
    return [
        {kind: size for kind, size in zip(passed.kinds, sizes, strict=True) if size >= 0}
        for sizes in zip(*sums, strict=True)
    ]
