"""Telemetry: metrics, access logs and traces of a workload or gateway.

The object of the root namespace, then the one of the workload's namespace, then the one that selects it: what a later one says
replaces what an earlier one said, field by field; `providers` replaces the list. Of several in one place the oldest holds. Without
any, MeshConfig's `defaultProviders` hold, and `accessLogFile`. `CLIENT` is what a sidecar sends and what a gateway passes on,
`SERVER` what a sidecar receives.

Envoy: statistics access loggers for Istio's standard metrics (`metrics`), other access loggers for logs, and the connection
manager's tracing. Expressions are CEL as Envoy has it: no `split`, no conversions, and not Istio's own attributes. Bytes of a TCP
connection are counted at its end. A provider whose service does not exist gets nothing, and the status says so. Source: istio.md
2.18.
"""
