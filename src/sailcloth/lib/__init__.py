"""Generic building blocks. Must not know the mesh, Envoy or any Kubernetes kind."""
