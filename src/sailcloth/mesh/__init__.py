"""The model of the mesh: services, workloads, endpoints, routes and policies, and how they merge. Pure derived values.

Hides from later layers which API an object was written in. Must not know proxies or Envoy.
"""
