"""The same metrics, pushed to a collector of OpenTelemetry."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.sdk.metrics.export import (
    MetricExporter,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    Sum,
)

from pydamon._cli.main import main
from pydamon._model.errors import UsageError
from pydamon._show.metrics import Metrics
from pydamon._show.metrics.otlp import push_metrics
from tests.integration.conftest import running, script
from tests.unit.show.metrics.test_metrics import read, snapshot_of


class Memory(MetricExporter):
    """Keeps what is pushed; the pushes with the numbers *failing* fail."""

    def __init__(self, *failing: int) -> None:
        super().__init__()
        self.pushed: list[MetricsData] = []
        self.enough = threading.Event()
        self.failing = failing

    def export(self, metrics_data: MetricsData, *_: object, **__: object) -> MetricExportResult:
        self.pushed.append(metrics_data)
        if len(self.pushed) == 4:
            self.enough.set()
        failed = len(self.pushed) in self.failing
        return MetricExportResult.FAILURE if failed else MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 0) -> bool:
        return True

    def shutdown(self, *_: object, **__: object) -> None:
        self.enough.set()


def test_it_pushes_what_prometheus_reads() -> None:
    metrics, memory = Metrics(cpu_budget_percent=2), Memory()
    metrics.update(snapshot_of([(1 << 30, "redis"), (2 << 30, "other")]))
    with push_metrics(metrics, memory):
        pass
    (data,) = memory.pushed[-1].resource_metrics
    assert data.resource.attributes["service.name"] == "pydamon"
    pushed = {metric.name: metric for metric in data.scope_metrics[0].metrics}
    values = {}
    for name, metric in pushed.items():
        total = "_total" if isinstance(metric.data, Sum) else ""
        for point in metric.data.data_points:
            assert isinstance(point, NumberDataPoint)
            if name.startswith("pydamon"):
                values[name + total, *(point.attributes or {}).values()] = point.value
    assert values == read(metrics)
    assert pushed["pydamon_process_working_set_bytes"].unit == "By"
    assert pushed["pydamon_process_access_bytes_per_second"].unit == "By/s"
    counter = pushed["pydamon_snapshots"].data
    assert isinstance(counter, Sum)
    assert counter.is_monotonic
    assert "process_resident_memory_bytes" in pushed


def test_processes_that_are_gone_are_not_pushed_and_failures_are_said_once() -> None:
    metrics, memory, changes = Metrics(), Memory(1, 2), list[bool]()
    metrics.update(snapshot_of([(1 << 30, "redis")]))
    with push_metrics(metrics, memory, every_s=0.01, on_change=changes.append):
        assert memory.enough.wait(20)
        metrics.update(None)
    assert changes == [False, True]
    scope = memory.pushed[-1].resource_metrics[0].scope_metrics[0]
    names = {metric.name for metric in scope.metrics}
    assert not any(name.startswith("pydamon_process_") for name in names)


@contextmanager
def collector() -> Iterator[tuple[str, list[ExportMetricsServiceRequest]]]:
    """A server that takes pushes: its address, and the requests that came."""
    taken: list[ExportMetricsServiceRequest] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/metrics"
            body = self.rfile.read(int(self.headers["content-length"]))
            taken.append(ExportMetricsServiceRequest.FromString(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", taken
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.live
@pytest.mark.long
def test_the_command_pushes_to_a_collector() -> None:
    with script("print(1, flush=True); input()") as program, collector() as (url, taken):
        command = ["export", "--listen", "0", "--otlp", url, "-d", "1s", str(program.pid)]
        with running(sys.executable, "-m", "pydamon", *command) as export:
            assert export.wait(60) == 0
    scope = taken[-1].resource_metrics[0].scope_metrics[0]
    metrics = {metric.name: metric for metric in scope.metrics}
    (snapshots,) = metrics["pydamon_snapshots"].sum.data_points
    assert snapshots.as_double >= 1
    assert metrics["process_resident_memory_bytes"].gauge.data_points[0].as_double > 0


@pytest.mark.parametrize("url", ["localhost:4318", "ftp://localhost", "http://"])
def test_a_wrong_address_is_a_sentence(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--otlp", url, "1"]) == 1
    assert "not the address of a collector" in capsys.readouterr().err


def test_without_the_extra_it_is_a_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter", None)
    monkeypatch.delitem(
        sys.modules, "opentelemetry.exporter.otlp.proto.http.metric_exporter", raising=False
    )
    for name in [name for name in sys.modules if name.startswith("opentelemetry.exporter.")]:
        monkeypatch.delitem(sys.modules, name)
    assert main(["export", "--otlp", "http://localhost:4318", "1"]) == 1
    assert "pip install 'pydamon[otel]'" in capsys.readouterr().err


def test_pushing_without_the_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.metrics.export", None)
    with pytest.raises(UsageError) as raised, push_metrics(Metrics(), Memory()):
        pass
    assert raised.value.hint == "pip install 'pydamon[otel]'"
