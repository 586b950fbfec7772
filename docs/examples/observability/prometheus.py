"""Export to Prometheus how long calls take, how many tokens they use, and which of them fail."""

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import generate_latest

from llama_dashscope import Client
from llama_dashscope.otel import instrument

instrument(meter_provider=MeterProvider([PrometheusMetricReader()]))

with Client() as client:
    client.call("llama3.3-70b-instruct", "介绍一下自己")

# A server would call prometheus_client.start_http_server(9464) and let Prometheus scrape it.
print(generate_latest().decode())
