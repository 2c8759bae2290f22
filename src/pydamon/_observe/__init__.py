"""Observing: processes, probes, sampling, and the kernel's DAMON."""
