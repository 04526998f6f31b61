"""ServiceEntries: ports that only an address can tell apart, and entries that disagree about a port."""

from __future__ import annotations

import json
from collections.abc import Iterator

from sailcloth.api.meta import Finding
from sailcloth.mesh import hosts, visibility

from . import unstructured
from .catalogue import finding
from .context import Document
from .objects import ObjectSet


def addresses(objects: ObjectSet) -> Iterator[Finding]:
    """TCP ports of entries without addresses, where proxies do not allocate any."""
    metadata = unstructured.mapping(json.loads(objects.config.proxy_defaults), "proxyMetadata")
    if all(unstructured.text(metadata, f"ISTIO_META_DNS_{n}") == "true" for n in ("CAPTURE", "AUTO_ALLOCATE")):
        return
    for entry in objects.of("ServiceEntry"):
        for index, port in unstructured.objects(entry.spec, "ports"):
            protocol = unstructured.text(port, "protocol").upper()
            # The control plane writes the addresses that it has allocated into the status.
            known = unstructured.items(entry.spec, "addresses") or unstructured.items(entry.body, "status", "addresses")
            if protocol in ("", "TCP") and not known:
                fix = "Add addresses, or have proxies allocate them (ISTIO_META_DNS_AUTO_ALLOCATE)."
                yield finding("IST0134", entry.key, f"spec.ports[{index}]", fix=fix)


def protocols(objects: ObjectSet) -> Iterator[Finding]:
    """Entries that some namespace sees together, and that give one port of a host different protocols."""
    defining: dict[tuple[str, int], list[tuple[Document, int, str]]] = {}
    for entry in objects.of("ServiceEntry"):
        for host in dict.fromkeys(map(hosts.normalized, unstructured.texts(entry.spec, "hosts"))):
            for index, port in unstructured.objects(entry.spec, "ports"):
                protocol = unstructured.text(port, "protocol").upper() or "TCP"
                number = unstructured.number(port, "number")
                defining.setdefault((host, number), []).append((entry, index, protocol))
    for (host, number), found in defining.items():
        for entry, index, protocol in found:
            same = [(e, p) for e, _, p in found if e is entry or _together(objects, e, entry)]
            if any(p != protocol for _, p in same):
                names = ", ".join(sorted({f"{e.key.namespace}/{e.key.name}" for e, _ in same}))
                kinds = ", ".join(sorted({p for _, p in same}))
                yield finding("IST0177", entry.key, f"spec.ports[{index}].protocol", names, host, number, kinds)


def _together(objects: ObjectSet, a: Document, b: Document) -> bool:
    """Whether some namespace sees both."""
    seen = [
        set(
            visibility.exported_to(
                unstructured.texts(e.spec, "exportTo"), e.key.namespace, objects.config.default_export
            )
        )
        for e in (a, b)
    ]
    return all(seen) and (any("*" in s for s in seen) or bool(seen[0] & seen[1]))
