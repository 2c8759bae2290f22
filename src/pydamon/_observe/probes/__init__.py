"""Probes: ways to find out whether pages were accessed since they were last checked.

A new probe is a module here and its line in `PLACES`. This table imports nothing, because the
command line takes the names from it, and help must not wait for NumPy.
"""

__all__ = ["PLACES"]

PLACES = {
    "ebpf": "pydamon._observe.probes.ebpf.probe:EbpfProbe",
    "daemon": "pydamon._observe.probes.daemon.probe:DaemonProbe",
    "refs": "pydamon._observe.probes.refs:RefsProbe",
    "exact": "pydamon._observe.probes.ebpf.probe:exact_probe",
    "writes": "pydamon._observe.probes.writes:WritesProbe",
    "softdirty": "pydamon._observe.probes.softdirty:SoftDirtyProbe",
    "idle": "pydamon._observe.probes.idle:IdleProbe",
}
"""By name, what makes each probe of real processes, in the order in which `"auto"` tries them."""
