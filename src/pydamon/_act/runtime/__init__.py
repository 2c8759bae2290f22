"""Schemes at work: match, filter, cool down, select within the quota, act."""
