"""Traces: spans come by Zipkin's and OpenTelemetry's protocols, rest in SQLite, and are read by Jaeger's, Zipkin's and Tempo's APIs.

`model` is what a span is; `zipkin` and `otlp` read messages; `store` keeps spans for a time and a size; `jaeger`, `tempo` and
`zipkin` answer questions; `server` wires them to HTTP and gRPC. Must not know where proxies are, or what a mesh is.
"""
