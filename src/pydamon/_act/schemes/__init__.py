"""Schemes in files: TOML as people write it, and damo's JSON and YAML.

The names stand in `__init__.pyi`, and are imported when they are used: help needs no parser.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
