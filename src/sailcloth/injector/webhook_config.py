"""The MutatingWebhookConfiguration: which namespaces and pods are injected. Source: istio.md 2.19."""

from __future__ import annotations

import base64
from typing import Any

from sailcloth.mesh.injection import NAMESPACE as INJECTION
from sailcloth.mesh.injection import POD as OBJECT
from sailcloth.mesh.injection import REVISION


def configuration(ca_pem: bytes, revision: str = "default", namespace: str = "istio-system") -> dict[str, Any]:
    """The object, with the CA that signs the webhook's certificate."""

    def expression(key: str, operator: str, *values: str) -> dict[str, Any]:
        return {"key": key, "operator": operator, **({"values": list(values)} if values else {})}

    def webhook(name: str, namespaces: list[dict[str, Any]], pods: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "name": f"{name}.sidecar-injector.istio.io",
            "clientConfig": {
                "service": {"name": "istiod", "namespace": namespace, "path": "/inject", "port": 443},
                "caBundle": base64.b64encode(ca_pem).decode(),
            },
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
            "namespaceSelector": {"matchExpressions": namespaces},
            "objectSelector": {"matchExpressions": pods},
            "failurePolicy": "Fail",
            "reinvocationPolicy": "Never",
            "sideEffects": "None",
            "timeoutSeconds": 10,
            "admissionReviewVersions": ["v1"],
        }

    not_false = expression(OBJECT, "NotIn", "false")
    hooks = [
        webhook(
            "rev.namespace",
            [expression(REVISION, "In", revision), expression(INJECTION, "DoesNotExist")],
            [not_false],
        ),
        webhook(
            "rev.object",
            [expression(REVISION, "DoesNotExist"), expression(INJECTION, "DoesNotExist")],
            [not_false, expression(REVISION, "In", revision)],
        ),
        webhook("namespace", [expression(INJECTION, "In", "enabled")], [not_false]),
        webhook(
            "object",
            [expression(INJECTION, "DoesNotExist"), expression(REVISION, "DoesNotExist")],
            [expression(OBJECT, "In", "true"), expression(REVISION, "DoesNotExist")],
        ),
    ]
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "istio-sidecar-injector", "labels": {REVISION: revision, "app": "sidecar-injector"}},
        "webhooks": hooks,
    }
