"""The objects that every cluster has: namespaces, default roles, the Service `kubernetes`."""

from __future__ import annotations

from sailcloth.local.apiserver.auth import default_roles

from . import namespaces
from .context import ControllerContext

_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease", "istio-system")


async def create(cluster: ControllerContext, root_certificate: str, api_address: str, service_ip: str) -> None:
    """Create what does not exist yet. `api_address` is the API server's address, `service_ip` the cluster IP of the Service `kubernetes`."""
    for group_resource, obj in default_roles.bootstrap_policy():
        await cluster.create(group_resource, obj)
    for name in _NAMESPACES:
        await cluster.create("namespaces", {"metadata": {"name": name}})
        await namespaces.reconcile(cluster, name, root_certificate)
    await cluster.create(
        "services",
        {
            "metadata": {
                "name": "kubernetes",
                "namespace": "default",
                "labels": {"component": "apiserver", "provider": "kubernetes"},
            },
            "spec": {
                "clusterIP": service_ip,
                "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}],
            },
        },
    )
    await cluster.create(
        "endpointslices.discovery.k8s.io",
        {
            "metadata": {
                "name": "kubernetes",
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": "kubernetes"},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": [api_address], "conditions": {"ready": True}}],
            "ports": [{"name": "https", "port": 6443, "protocol": "TCP"}],
        },
    )
    await cluster.create(
        "endpoints",
        {
            "metadata": {"name": "kubernetes", "namespace": "default"},
            "subsets": [
                {"addresses": [{"ip": api_address}], "ports": [{"name": "https", "port": 6443, "protocol": "TCP"}]}
            ],
        },
    )
