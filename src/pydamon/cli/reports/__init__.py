"""The reports: one module each, and one line here."""

__all__ = ["REPORTS"]

REPORTS = {
    "summary": "pydamon.cli.reports.summary:summary",
    "access": "pydamon.cli.reports.access:access",
    "heatmap": "pydamon.cli.reports.heatmap:heatmap",
    "wss": "pydamon.cli.reports.wss:wss",
    "footprint": "pydamon.cli.reports.footprint:footprint",
    "idle": "pydamon.cli.reports.idle:idle",
    "mappings": "pydamon.cli.reports.mappings:mappings",
    "diff": "pydamon.cli.reports.diff:diff",
    "times": "pydamon.cli.reports.times:times",
    "profile": "pydamon.cli.reports.profile:profile",
    "regions": "pydamon.cli.reports.regions:regions",
}
"""Where each report is."""
