"""The size of a page: the one fact of the machine that the model needs."""

from mmap import PAGESIZE as PAGE_SIZE

__all__ = ["PAGE_SIZE", "SMALLEST_PAGE"]

SMALLEST_PAGE = 4096
"""Bytes of the smallest page of any processor.

The page size of recordings that name none, and the grain of addresses in figures of recordings,
whichever machine they are from.
"""
