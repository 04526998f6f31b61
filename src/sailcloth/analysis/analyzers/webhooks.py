"""Webhooks of the mesh: injectors that overlap, control planes that do not exist, addresses of external control planes."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from itertools import product
from urllib.parse import urlsplit

from sailcloth.api.meta import Finding
from sailcloth.lib import label_selector
from sailcloth.mesh import injection

from . import unstructured
from .catalogue import finding
from .context import Document
from .objects import ObjectSet
from .unstructured import Object

_KINDS = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
_HOST = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*\.?")
_MOST_REVISIONS = 50  # of which combinations are compared


def _injectors(objects: ObjectSet) -> list[tuple[Document, int, Object]]:
    return [
        (one, index, hook)
        for one in objects.of("MutatingWebhookConfiguration")
        if one.labels.get("app") == "sidecar-injector" or "sidecar-injector" in one.key.name
        for index, hook in unstructured.objects(one.body, "webhooks")
    ]


def injectors(objects: ObjectSet) -> Iterator[Finding]:
    """Injectors whose control plane does not exist, or that select the same pods as another."""
    hooks = _injectors(objects)
    reported: set[tuple[str, str, str]] = set()  # the webhooks of a configuration have one service
    for one, index, hook in hooks:
        service = unstructured.mapping(hook, "clientConfig", "service")
        name, namespace = unstructured.text(service, "name"), unstructured.text(service, "namespace")
        if name and objects.get("Service", namespace, name) is None and (one.key.name, namespace, name) not in reported:
            reported.add((one.key.name, namespace, name))
            text = f"Injector refers to a control plane service that does not exist: {name}.{namespace}."
            yield finding("IST0139", one.key, f"webhooks[{index}].clientConfig.service", text)
    for one, others in _overlapping(hooks).items():
        text = f"Webhook overlaps with others: {sorted(others)}. This may cause injection to occur twice.".replace(
            "'", ""
        )
        yield finding("IST0139", one.key, "webhooks", text.replace(", ", " "))


def _overlapping(hooks: list[tuple[Document, int, Object]]) -> dict[Document, set[str]]:
    """The configurations that inject a pod that another one injects, too, with the names of all of them."""
    revisions = {r for _, _, hook in hooks for r in _revisions(hook)}
    values = ["", *sorted(revisions)[:_MOST_REVISIONS]]
    found: dict[Document, set[str]] = {}
    for of_namespace, rev, of_pod, pod_rev in product(
        ("", "enabled", "disabled"), values, ("", "true", "false"), values
    ):
        namespace = {k: v for k, v in ((injection.NAMESPACE, of_namespace), (injection.REVISION, rev)) if v}
        pod = {k: v for k, v in ((injection.POD, of_pod), (injection.REVISION, pod_rev)) if v}
        selecting = {
            one
            for one, _, hook in hooks
            if label_selector.matches(unstructured.selector(hook, "namespaceSelector"), namespace)
            and label_selector.matches(unstructured.selector(hook, "objectSelector"), pod)
        }
        for one in selecting if len(selecting) > 1 else ():
            found.setdefault(one, set()).update(o.key.name for o in selecting)
    return found


def _revisions(hook: Object) -> Iterator[str]:
    """The revisions that a webhook's selectors name."""
    for field in ("namespaceSelector", "objectSelector"):
        if revision := unstructured.labels(hook, field, "matchLabels").get(injection.REVISION):
            yield revision
        for _, expression in unstructured.objects(hook, field, "matchExpressions"):
            if unstructured.text(expression, "key") == injection.REVISION:
                yield from unstructured.texts(expression, "values")


def external_control_planes(objects: ObjectSet) -> Iterator[Finding]:
    """Addresses by which webhooks reach a control plane outside of the cluster."""
    for one in (d for kind in _KINDS for d in objects.of(kind)):
        if not one.key.name.startswith(("istio-validator-", "istio-sidecar-injector-", "istiod-")):
            continue
        for index, hook in unstructured.objects(one.body, "webhooks"):
            client = unstructured.mapping(hook, "clientConfig")
            if isinstance(client.get("service"), dict):
                continue
            at, name = f"webhooks[{index}].clientConfig.url", unstructured.text(hook, "name")
            host, problem = _host(unstructured.text(client, "url"))
            if problem:
                yield finding("IST0163", one.key, at, host, name, problem)
            elif _is_address(host):
                yield finding("IST0164", one.key, at, host, name)


def _host(url: str) -> tuple[str, str]:
    """(host, what is wrong with it) of a webhook's URL."""
    if not url:
        return "", "is blank"
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return url, "is an invalid URL"
    valid = bool(host) and (_is_address(host) or bool(_HOST.fullmatch(host)))
    return host or url, "" if valid else "is an invalid hostname"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
