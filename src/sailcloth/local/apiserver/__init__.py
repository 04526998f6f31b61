"""The embedded Kubernetes API server: the API's semantics over SQLite, for one machine.

Clients must not be able to tell it from a real one within the kinds it serves; our own control plane and node use it through
the same API as everybody else. It must not know anything of the mesh.
"""
