"""Ages of pages: when each page of the targets was last seen accessed."""

from __future__ import annotations
