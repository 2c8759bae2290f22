"""Schemes (DAMOS): what to do with memory that is accessed in a certain way.

The names stand in `__init__.pyi`, and are imported when they are used: help needs no actions.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
