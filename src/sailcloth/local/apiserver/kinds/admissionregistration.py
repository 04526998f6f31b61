"""Webhook configurations."""

from __future__ import annotations

from ..unstructured import Unstructured
from .columns import AGE, integer
from .defaulting import set_defaults
from .record import Kind

GROUP = "admissionregistration.k8s.io"


def _defaults(obj: Unstructured) -> None:
    for hook in obj.get("webhooks") or ():
        set_defaults(hook, failurePolicy="Fail", matchPolicy="Equivalent", timeoutSeconds=10)
        set_defaults(hook, namespaceSelector={}, objectSelector={})
        if obj["kind"] == "MutatingWebhookConfiguration":
            set_defaults(hook, reinvocationPolicy="Never")
        for rule in hook.get("rules") or ():
            set_defaults(rule, scope="*")
        service = (hook.get("clientConfig") or {}).get("service")
        if service:
            set_defaults(service, port=443)


_COLUMNS = (integer("Webhooks", lambda o: len(o.get("webhooks") or ())), AGE)
MUTATING, VALIDATING = (
    Kind(
        group=GROUP,
        plural=f"{operation.lower()}webhookconfigurations",
        kind=f"{operation}WebhookConfiguration",
        package="api.admissionregistration",
        namespaced=False,
        columns=_COLUMNS,
        generation=True,
        defaults=_defaults,
    )
    for operation in ("Mutating", "Validating")
)
KINDS = (MUTATING, VALIDATING)
