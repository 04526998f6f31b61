"""The control plane process: store, mesh, discovery, certificate authority, injection, statuses and debug endpoints."""
