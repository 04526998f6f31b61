"""Shapes of Envoy resources: what every cluster, route, listener and endpoint looks like before features refine it."""
