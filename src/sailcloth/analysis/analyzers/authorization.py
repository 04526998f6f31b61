"""AuthorizationPolicies: workloads and namespaces that do not exist. Also where keys of tokens are fetched."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator

from sailcloth.api.meta import Finding

from . import unstructured
from .catalogue import finding
from .context import Context, Document
from .objects import ObjectSet, Workload, label_text, selector_of

_CIDRS = "BLOCKED_CIDRS_IN_JWKS_URIS"


def workloads(context: Context, policy: Document) -> Iterator[Finding]:
    """Policies that hold for no workload."""
    labels = selector_of(policy.spec)
    everywhere = policy.key.namespace == context.root
    attached = unstructured.items(policy.spec, "targetRefs") or "targetRef" in policy.spec
    if attached or (everywhere and not labels):
        return
    if not context.selects(labels, "" if everywhere else policy.key.namespace):
        at = "spec.selector" if labels else "metadata.namespace"
        yield finding("IST0127", policy.key, at, label_text(labels))


def namespaces(objects: ObjectSet) -> Iterator[Finding]:
    """Namespaces of callers that do not exist; a pattern may have a wildcard at either end."""
    known = {n.key.name for n in objects.of("Namespace")}
    for policy in objects.of("AuthorizationPolicy"):
        for index, rule in unstructured.objects(policy.spec, "rules"):
            for number, source in unstructured.objects(rule, "from"):
                for field in ("namespaces", "notNamespaces"):
                    at = f"spec.rules[{index}].from[{number}].source.{field}"
                    for place, pattern in enumerate(unstructured.texts(source, "source", field)):
                        if known and not fnmatch.filter(known, pattern):
                            yield finding("IST0101", policy.key, f"{at}[{place}]", "namespace", pattern)


def key_fetching(objects: ObjectSet) -> Iterator[Finding]:
    """Control planes of Istio that fetch keys from any address, although RequestAuthentications name some."""
    policies = objects.of("RequestAuthentication")
    if not policies or "blockedCidrsInJwksUris" in objects.options:
        return
    names = ", ".join(sorted(f"{p.key.namespace}/{p.key.name}" for p in policies))
    for workload in objects.templates:
        key = workload.document.key
        istiod = key.kind == "Deployment" and key.namespace == objects.root
        if istiod and workload.document.labels.get("app") == "istiod" and not _restricted(workload):
            yield finding("IST0175", key, f"{workload.path}.containers", len(policies), names)


def _restricted(istiod: Workload) -> bool:
    """Whether a control plane has the variable; Sailcloth's own has safe defaults."""
    variables = {unstructured.text(v, "name") for c in istiod.containers for _, v in unstructured.objects(c, "env")}
    own = any("sailcloth" in unstructured.text(c, "image") for c in istiod.containers)
    return _CIDRS in variables or own
