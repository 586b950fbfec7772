"""Let Prometheus read how long calls take, how many tokens they cost, and which of them fail."""

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import generate_latest

from llama_dashscope import Client
from llama_dashscope.otel import instrument

instrument(meter_provider=MeterProvider([PrometheusMetricReader()]))

with Client() as client:
    client.call("llama3.3-70b-instruct", "介绍一下自己")

# A server calls prometheus_client.start_http_server(9464), and Prometheus reads it from there.
print(generate_latest().decode())
