"""pydamon: which memory a running program really uses.

    import pydamon

    with pydamon.monitor(pid) as mon:
        for snapshot in mon.run("10s"):
            print(snapshot.working_set(), snapshot.hottest(5))

Everything that the command line does is here in a few lines. Names that `__init__.pyi` does not
list are private and may change.

The names of `__init__.pyi` are imported when they are used: a report needs no probes.
"""

from typing import Any

import lazy_loader

_getattr, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    if name != "__version__":
        return _getattr(name)
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415

    try:
        return version(__name__)
    except PackageNotFoundError:
        return "unknown"
