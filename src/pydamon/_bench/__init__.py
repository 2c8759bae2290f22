"""Benchmarks of pydamon and other monitors, against ground truth."""
