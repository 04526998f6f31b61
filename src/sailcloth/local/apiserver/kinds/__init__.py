"""Every built-in kind that is served, one record each, by group. A kind that is not here is served by a CustomResourceDefinition.

Records are data and pure functions: no store, no clock but for ages in tables, no request.
"""

from __future__ import annotations

from . import (
    admissionregistration,
    apiextensions,
    apps,
    autoscaling,
    batch,
    certificates,
    coordination,
    core,
    discovery,
    networking,
    policy,
    rbac,
    scheduling,
)
from .record import Kind

KINDS: tuple[Kind, ...] = (
    *core.KINDS,
    *apps.KINDS,
    *batch.KINDS,
    *discovery.KINDS,
    *coordination.KINDS,
    *rbac.KINDS,
    *networking.KINDS,
    *policy.KINDS,
    *autoscaling.KINDS,
    *scheduling.KINDS,
    *certificates.KINDS,
    *apiextensions.KINDS,
    *admissionregistration.KINDS,
)
