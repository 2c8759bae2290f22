"""Policies, ready uses of schemes: one file each, and one line of registration (`config._TYPES`).

The names stand in `__init__.pyi`, and are imported when they are used: help needs no service.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
