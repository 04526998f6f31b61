"""What the console answers about the mesh itself. Times in milliseconds, moments in seconds since the epoch."""

from __future__ import annotations

from typing import Any

import msgspec

from .schema import Certificate, Status

Struct = msgspec.Struct


class Proxy(Struct, frozen=True, rename="camel", kw_only=True):
    """A connected proxy. `types`: SYNCED, STALE, NOT SENT or ERROR by type of resource (CDS, LDS, …). `errors`: what it refused, by type."""

    name: str
    namespace: str
    version: str
    connected: str
    types: dict[str, str]
    errors: dict[str, str] = {}


class MeshChange(Struct, frozen=True, rename="camel", kw_only=True):
    """A change that was pushed. `lastMs`: until the last proxy had answered; absent while none has."""

    received: float
    objects: list[str]
    computed_ms: float
    last_ms: float | None
    proxies: int
    refused: int
    waiting: int


class Component(Struct, frozen=True, rename="camel", kw_only=True):
    """A part of the mesh, by what it does: controlPlane, gateway, dataPlane, telemetry. `detail`: in words."""

    kind: str
    name: str
    namespace: str
    status: Status
    detail: str = ""


class Mesh(Struct, frozen=True, rename="camel", kw_only=True):
    version: str
    components: list[Component]
    proxies: list[Proxy]
    changes: list[MeshChange]
    certificates: list[Certificate]
    certificate_problems: list[str]
    push_ms: float | None
    options: str = ""  # the MeshConfig, in YAML; empty for those who may not read it


PATHS: tuple[tuple[str, str, tuple[dict[str, Any], ...], Any], ...] = (
    ("/api/mesh", "The control plane, gateways, proxies, last changes, certificates and options.", (), Mesh),
)
"""As `schema.PATHS`."""
