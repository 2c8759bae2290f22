"""Which functions ran in a window: samples of the CPU by function."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CpuUse"]


@dataclass(frozen=True, slots=True)
class CpuUse:
    """How often samples found functions of a process running in a window.

    Parameters
    ----------
    functions
        The function, the program or library that it is in, and the number of samples of each.

    Examples
    --------
    >>> from pydamon import CpuUse
    >>> CpuUse((("memcpy", "/usr/lib/libc.so.6", 3), ("main", "/usr/bin/app", 1))).samples
    4
    """

    functions: tuple[tuple[str, str, int], ...]

    @property
    def samples(self) -> int:
        """The number of all samples."""
        return sum(count for _, _, count in self.functions)
