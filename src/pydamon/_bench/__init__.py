"""Measures pydamon, and its peers, against exact ground truth."""
