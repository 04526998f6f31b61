"""Delivery: aggregated discovery, delta and state of the world, ordering, acknowledgements.

Knows type URLs, names, versions and bytes, and nothing of Istio or of the mesh.
"""
