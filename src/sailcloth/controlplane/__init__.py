"""The process that wires store, mesh, delivery, certificate authority, injection, status and debug endpoints."""
