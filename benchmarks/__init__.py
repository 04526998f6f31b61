"""What a change, a request, a sidecar and a start cost. `python -m benchmarks NAME [--json]`; `all` runs everything."""
