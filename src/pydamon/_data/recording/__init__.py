"""Recordings: an append-only file that survives a crash of its recorder, and one long table.

The names stand in `__init__.pyi`, and are imported when they are used: writing needs no readers.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
