"""Webhook configurations."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from ..field_errors import FieldError, invalid, required
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


def _validate(obj: Unstructured, old: Unstructured | None) -> Iterator[FieldError]:
    for index, hook in enumerate(obj.get("webhooks") or ()):
        client, field = hook.get("clientConfig") or {}, f"webhooks[{index}].clientConfig"
        if (client.get("url") is None) == (client.get("service") is None):
            yield required(field, "exactly one of url or service is required")
        elif client.get("url") is not None:
            yield from _validate_url(str(client["url"]), f"{field}.url")


def _validate_url(url: str, field: str) -> Iterator[FieldError]:
    """A webhook is called over TLS, and by nothing but its address."""
    form = "; desired format: https://host[/path]"
    try:
        parts = urlsplit(url)
    except ValueError as error:
        yield required(field, f"url must be a valid URL: {error}{form}")
        return
    if parts.scheme != "https":
        yield invalid(field, parts.scheme, f"'https' is the only allowed URL scheme{form}")
    if not parts.hostname:
        yield invalid(field, parts.netloc, f"host must be specified{form}")
    if parts.username is not None or parts.password is not None:
        yield invalid(field, "<redacted>", f"user information is not permitted in the URL{form}")
    if parts.fragment:
        yield invalid(field, parts.fragment, f"fragments are not permitted in the URL{form}")
    if parts.query:
        yield invalid(field, parts.query, f"query parameters are not permitted in the URL{form}")


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
        validate=_validate,
    )
    for operation in ("Mutating", "Validating")
)
KINDS = (MUTATING, VALIDATING)
