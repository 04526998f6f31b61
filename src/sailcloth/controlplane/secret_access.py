"""Which Secrets of its namespace a proxy may read. Depends only on its verified identity, when it connects."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sailcloth.envoy import secrets
from sailcloth.envoy.build import ResourceSet
from sailcloth.mesh.selection import Labels
from sailcloth.view.proxy import Proxy


@dataclass(frozen=True, slots=True)
class SecretAccess:
    """`whole_namespace`: a gateway may read every Secret that it subscribes to. `labels`: the verified pod's labels, by which
    objects that name Secrets select it; None: no verified pod, so no object selects it."""

    whole_namespace: bool = False
    labels: Labels | None = None


NO_SECRETS = SecretAccess()


def sets(proxy: Proxy, access: SecretAccess) -> tuple[ResourceSet, ...]:
    """The collections of secrets that a proxy may subscribe to."""
    if proxy.kind == "router" and access.whole_namespace:
        return (ResourceSet(secrets.ids, secrets.secret, (proxy.namespace,)),)
    if access.labels is None:
        return ()
    if proxy.kind == "router":
        verified = replace(proxy, labels=access.labels)
        return (ResourceSet(secrets.gateway_ids, secrets.gateway_secret, (verified,)),)
    return (ResourceSet(secrets.sidecar_ids, secrets.sidecar_secret, (proxy.namespace, access.labels)),)
