"""The size of a page: the one fact of the machine that the model needs."""

from mmap import PAGESIZE as PAGE_SIZE

__all__ = ["PAGE_SIZE", "PAGE_SIZES", "SMALLEST_PAGE"]

SMALLEST_PAGE = 4096
"""Bytes of the smallest page of any processor.

The page size of recordings that name none, and the grain of addresses in figures of recordings,
whichever machine they are from.
"""
PAGE_SIZES = frozenset(SMALLEST_PAGE << bits for bits in range(9))
"""What a file may say of the machine that it is from: up to 1 MiB."""
