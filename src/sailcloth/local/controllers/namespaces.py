"""What stands in every namespace: the default service account and the cluster's root certificate."""

from __future__ import annotations

import copy

from .context import ControllerContext


async def reconcile(cluster: ControllerContext, name: str, root_certificate: str) -> float | None:
    """The default service account and the cluster's root certificate in every namespace."""
    namespace = cluster.store.get("namespaces", "", name)
    if namespace is None or namespace["metadata"].get("deletionTimestamp"):
        return None
    await cluster.create("serviceaccounts", {"metadata": {"name": "default", "namespace": name}})
    root = {"metadata": {"name": "kube-root-ca.crt", "namespace": name}, "data": {"ca.crt": root_certificate}}
    if await cluster.create("configmaps", copy.deepcopy(root)) is None:
        known = cluster.store.get("configmaps", name, "kube-root-ca.crt")
        if known is not None and known.get("data") != root["data"]:
            await cluster.update("configmaps", name, "kube-root-ca.crt", lambda live: {**live, "data": root["data"]})
    return None
