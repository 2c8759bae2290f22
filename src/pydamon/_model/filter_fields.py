"""The fields of `--where` filters: a module without imports, because `--help` lists them."""

from __future__ import annotations

__all__ = ["FIELDS"]

FIELDS = {
    "rate": "access rate: 50%, 0.5, or 10Hz",
    "hz": "accesses a second, also below one a window: 2",
    "access_share": "share of sampling intervals with an access, as in hz: 1%",
    "accesses": "samples that found an access: 3",
    "age": "how long the access rate has held: 2min",
    "idle": "how long it has not been accessed, 0s where it was: 30s",
    "temperature": "as in the access report, -100 to 100",
    "size": "size of the region: 4MiB",
    "touched": "how much of it was accessed: 64KiB",
    "unobservable": "how much of it could not be watched: 0",
    "unseen": "how much of it nobody has looked at yet: 0",
    "resident": "how much of it is in memory: 1MiB",
    "anon": "how much of it is anonymous memory, recorded with --passed anon: 1MiB",
    "file": "how much of it is of files, recorded with --passed file: 1MiB",
    "active": "how much of it is on an active list, recorded with --passed active: 1MiB",
    "huge": "how much of it is in huge pages, recorded with --passed huge: 2MiB",
    "young": "how much of it has its accessed bit set, recorded with --passed young: 1MiB",
    "address": "any byte of the region: 0x7f0012345000",
    "start": "first byte of the region",
    "end": "byte behind the region",
    "time": "time of the snapshot since the start of the recording: 10s",
    "mapping": "name of the mapping",
    "perms": "permissions of the mapping: rw-p",
    "target": "name of the process",
    "pid": "number of the process",
    "host": "name of the machine",
    "container": "container, systemd unit or cgroup of the process: shop/web-0/nginx",
}
"""What each field means, and an example of its unit."""
