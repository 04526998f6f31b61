"""Delivers resources to proxies: the aggregated discovery service (ADS), delta and state of the world.

Knows type URLs, names, versions and bytes. Must not know Istio or the mesh.
"""
