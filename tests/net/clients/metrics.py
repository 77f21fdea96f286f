"""Sends a metric by OpenTelemetry's own exporter; run by a test in the libraries' environment. Arguments: URL."""

import sys

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader


def main() -> None:
    exporter = OTLPMetricExporter(endpoint=sys.argv[1], timeout=5)
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
    provider = MeterProvider(metric_readers=[reader])
    provider.get_meter("arcgate.test").create_counter("arcgate.test.counter").add(42)
    sent = provider.force_flush()
    provider.shutdown()
    sys.exit(0 if sent else "nothing was sent")


if __name__ == "__main__":
    main()
