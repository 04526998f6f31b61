"""The core group."""

from __future__ import annotations

from ..record import Kind
from . import cluster, configuration, pods, services, volumes

KINDS: tuple[Kind, ...] = (
    cluster.NAMESPACE,
    pods.POD,
    services.SERVICE,
    services.ENDPOINTS,
    configuration.CONFIG_MAP,
    configuration.SECRET,
    cluster.SERVICE_ACCOUNT,
    cluster.NODE,
    cluster.EVENT,
    cluster.RESOURCE_QUOTA,
    cluster.LIMIT_RANGE,
    volumes.PERSISTENT_VOLUME_CLAIM,
)
