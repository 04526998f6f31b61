"""What one proxy sees: its scope, and the plans of its listeners, clusters and routes. Pure derived values.

Must not know Envoy's protobuf messages; `envoy` converts plans to them.
"""
