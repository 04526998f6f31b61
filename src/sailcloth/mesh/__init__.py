"""What is in the mesh: services, workloads, endpoints, routes and policies, and how they merge. Pure derived values.

Nothing downstream knows where a service or a route came from, and nothing here knows of Envoy.
"""
