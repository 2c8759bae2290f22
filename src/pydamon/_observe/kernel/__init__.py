"""The kernel's own DAMON: a driver of its sysfs files, and a monitor on top.

The names stand in `__init__.pyi`, and are imported when they are used: sampling needs none.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
