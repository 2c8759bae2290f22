"""Schemes at work: match, filter, cool down, select within the quota, act."""

from __future__ import annotations

from pydamon._act.runtime.apply import AppliedSchemes
from pydamon._act.runtime.pipeline import SchemePipeline

__all__ = ["AppliedSchemes", "SchemePipeline"]
