"""The volume with a service account's token, which every container sees unless the pod or its account says no.

Source: Kubernetes' bound service account tokens. Here the node adds it, so that it does not show in the pod's specification.
"""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]
PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
NAME = "kube-api-access"
_SECONDS = 3607
_VOLUME: Object = {
    "name": NAME,
    "projected": {
        "sources": [
            {"serviceAccountToken": {"path": "token", "expirationSeconds": _SECONDS}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
        ]
    },
}


def automounted(pod: Object, account: Object | None) -> bool:
    """Whether the token is mounted: the pod decides, or else its account; both may leave it out."""
    for holder in (pod["spec"], account or {}):
        if holder.get("automountServiceAccountToken") is not None:
            return bool(holder["automountServiceAccountToken"])
    return True


def add_volume(pod: Object) -> Object:
    """The pod with the volume."""
    spec = pod["spec"]
    return {**pod, "spec": {**spec, "volumes": [*(spec.get("volumes") or ()), _VOLUME]}}


def add_mount(container: Object) -> Object:
    """The container with the volume at its path, unless it mounts another there."""
    mounts = container.get("volumeMounts") or ()
    if any(str(m["mountPath"]).rstrip("/") == PATH for m in mounts):
        return container
    return {**container, "volumeMounts": [*mounts, {"name": NAME, "mountPath": PATH, "readOnly": True}]}
