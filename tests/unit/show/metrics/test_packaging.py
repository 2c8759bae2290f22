"""The dashboard and the rules ask for metrics and labels that exist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, ProcessCollector

from pydamon._observe.targets.container_table import ContainerTable
from pydamon._show.metrics import Metrics
from pydamon.containers import CgroupMemory, Container
from tests.unit.show.metrics.test_metrics import snapshot_of

_PACKAGING = Path(__file__).parents[4] / "packaging"
_METRIC = re.compile(r"(?<![\w:])(pydamon_\w+|process_\w+)(?:\{([^}]*)\})?")


def _dashboard() -> Iterator[str]:
    dashboard = json.loads((_PACKAGING / "grafana/pydamon.json").read_text())
    for panel in dashboard["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    variables = dashboard["templating"]["list"]
    yield from (variable["definition"] for variable in variables if "definition" in variable)


def _rules() -> Iterator[str]:
    text = (_PACKAGING / "prometheus/pydamon.rules.yml").read_text()
    rules = re.findall(r"expr: >-\n((?: {10}.*\n)+)", text)
    assert len(rules) == text.count("expr:")
    yield from rules


@pytest.mark.parametrize("query", [*_dashboard(), *_rules()])
def test_a_query_finds_something(query: str, monkeypatch: pytest.MonkeyPatch) -> None:
    row = Container(cgroup="/a", id="a", name="web", namespace="shop", pod="web-0")
    monkeypatch.setattr(ContainerTable, "of", lambda _, pids: dict.fromkeys(pids, row))
    monkeypatch.setattr("pydamon._show.metrics.containers.cgroup_memory", lambda _: CgroupMemory())
    metrics = Metrics(cpu_budget_percent=1)
    metrics.update(snapshot_of([(1, "x"), (2, "y")]))
    metrics.update_cache({"/a": 1})
    registry = CollectorRegistry()
    registry.register(metrics)
    ProcessCollector(registry=registry)
    families = [(family, family.samples) for family in registry.collect()]
    names = {sample.name for _, samples in families for sample in samples}
    labels = {
        (sample.name, label)
        for _, samples in families
        for sample in samples
        for label in sample.labels
    }
    # Without a service there is no sample of it.
    names |= {f"{family.name}_total" for family, _ in families if family.type == "counter"}
    asked = _METRIC.findall(query)
    assert asked
    for name, selectors in asked:
        assert name in names
        for label in re.findall(r"(\w+)(?:=~|!=|=)", selectors):
            assert label in ("instance", "job") or (name, label) in labels or "scheme" in name
