"""For tests, shipped to users: a control plane in memory (`World`), a
clock that is set by hand, and Envoy's own judgement of a configuration."""
