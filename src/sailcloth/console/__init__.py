"""The web console: look at the mesh, understand it, change it.

A process of its own that reads Prometheus' API, the Kubernetes API and the control plane's pages, and answers a web page and anybody
with curl by one JSON API (`schema`). It keeps no state but sessions. Must not know the embedded cluster, nor how metrics are stored.
"""
