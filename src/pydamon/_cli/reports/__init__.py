"""The reports: a module for each report, and a line here."""

__all__ = ["REPORTS"]

REPORTS = {
    "summary": "pydamon._cli.reports.summary:summary",
    "access": "pydamon._cli.reports.access:access",
    "heatmap": "pydamon._cli.reports.heatmap:heatmap",
    "wss": "pydamon._cli.reports.wss:wss",
    "footprint": "pydamon._cli.reports.footprint:footprint",
    "idle": "pydamon._cli.reports.idle:idle",
    "mappings": "pydamon._cli.reports.mappings:mappings",
    "diff": "pydamon._cli.reports.diff:diff",
    "times": "pydamon._cli.reports.times:times",
    "profile": "pydamon._cli.reports.profile:profile",
    "regions": "pydamon._cli.reports.regions:regions",
}
"""The place of each report, in the order of the help text."""
