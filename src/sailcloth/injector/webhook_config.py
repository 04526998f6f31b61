"""The MutatingWebhookConfiguration: which namespaces and pods a revision injects. Source: istio.md 2.19."""

from __future__ import annotations

import base64
from typing import Any

from sailcloth.api.revision import DEFAULT, TAG, suffixed
from sailcloth.mesh.injection import NAMESPACE as INJECTION
from sailcloth.mesh.injection import POD as OBJECT
from sailcloth.mesh.injection import REVISION

Object = dict[str, Any]
NAME, TAG_PREFIX = "istio-sidecar-injector", "istio-revision-tag-"
DEACTIVATED = {"matchLabels": {"istio.io/deactivated": "never-match"}}
"""The selector of webhooks of a revision in whose place the tag `default` stands."""


def configuration(
    ca_pem: bytes, revision: str = DEFAULT, namespace: str = "istio-system", active: bool = True
) -> Object:
    """The object, with the CA that signs the webhook's certificate."""
    service = {"name": suffixed("istiod", revision), "namespace": namespace, "path": "/inject", "port": 443}
    config = {"service": service, "caBundle": base64.b64encode(ca_pem).decode()}
    made = webhooks(config, revision or DEFAULT)
    for hook in () if active else made:
        hook["namespaceSelector"] = hook["objectSelector"] = DEACTIVATED
    labels = {REVISION: revision or DEFAULT, "app": "sidecar-injector"}
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": suffixed(NAME, revision), "labels": labels},
        "webhooks": made,
    }


def tag(client_config: Object, name: str, revision: str, own_name: str = "", unnamed: bool = False) -> Object:
    """The configuration of a tag that stands for a revision. client_config: of the revision's webhooks. own_name: of the object. unnamed: it
    injects also namespaces without any label."""
    labels = {"app": "sidecar-injector", REVISION: revision, TAG: name}
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": own_name or TAG_PREFIX + name, "labels": labels},
        "webhooks": webhooks(client_config, name, unnamed),
    }


def webhooks(client_config: Object, name: str, unnamed: bool = False) -> list[Object]:
    """For what names a revision or a tag, and for what asks for injection without naming one, if that is its default. unnamed: also
    for namespaces without any label."""

    def expression(key: str, operator: str, *values: str) -> Object:
        return {"key": key, "operator": operator, **({"values": list(values)} if values else {})}

    def webhook(name: str, namespaces: list[Object], pods: list[Object]) -> Object:
        return {
            "name": f"{name}.sidecar-injector.istio.io",
            "clientConfig": client_config,
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
    without = [expression(INJECTION, "DoesNotExist"), expression(REVISION, "DoesNotExist")]
    hooks = [
        webhook(
            "rev.namespace", [expression(REVISION, "In", name), expression(INJECTION, "DoesNotExist")], [not_false]
        ),
        webhook("rev.object", without[::-1], [not_false, expression(REVISION, "In", name)]),
    ]
    if name == DEFAULT or unnamed:
        hooks += [
            webhook("namespace", without if unnamed else [expression(INJECTION, "In", "enabled")], [not_false]),
            webhook("object", without, [expression(OBJECT, "In", "true"), expression(REVISION, "DoesNotExist")]),
        ]
    return hooks
