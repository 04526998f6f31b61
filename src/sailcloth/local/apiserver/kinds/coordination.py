"""Leases."""

from __future__ import annotations

from .columns import AGE, text
from .record import READ, WRITE, Grant, Kind

LEASE = Kind(
    group="coordination.k8s.io",
    plural="leases",
    kind="Lease",
    columns=(text("Holder", "spec.holderIdentity"), AGE),
    grants=(Grant("edit", (*WRITE, *READ)),),
)
KINDS = (LEASE,)
