"""pydamon: which memory a running program really uses.

    import pydamon

    with pydamon.monitor(pid) as mon:
        for snapshot in mon.run("10s"):
            print(snapshot.working_set(), snapshot.hottest(5))

Everything that the command line does is here in a few lines; names that do not stand below are
private and may change.

The names stand in `__init__.pyi`, and are imported when they are used: a report needs no probes.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
