"""Show the span of each call on the console."""

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

from llama_dashscope import Client
from llama_dashscope.otel import instrument

provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
instrument(tracer_provider=provider)

with Client() as client, client.stream("llama3.3-70b-instruct", "介绍一下自己") as stream:
    for _ in stream:
        pass
