"""Attributes, regions, snapshots: the algorithm, with no clock, no file and no Linux."""
