"""What one proxy sees: its scope, and the plan of listeners, clusters and routes for its kind. Pure derived values.

Plans are in the mesh's words; how Envoy is told is the next layer's business.
"""
