"""Ingresses of the mesh's class: what the mesh makes of them live (`mesh.ingress`), as Gateways and VirtualServices of users.

Must not touch Ingresses of other classes.
"""

from __future__ import annotations

from typing import Any

from sailcloth.api import core
from sailcloth.api.meta import Key
from sailcloth.mesh import ingress

from .documents import Document, Losses, Names, Scope, body_of, entries, mapping, placed, services, slug, typed

_GROUP, _OLD_GROUP = "networking.k8s.io", "extensions"


def convert(documents: list[Document], scope: Scope) -> list[Document]:
    """Replace the Ingresses of class istio."""
    found: dict[int, tuple[Key, core.Ingress]] = {}
    for index, document in enumerate(documents):
        if document.kind == "Ingress" and document.group in (_GROUP, _OLD_GROUP):
            current = Document(_current(document))
            for key, obj in typed([current], scope):
                if isinstance(obj, core.Ingress) and ingress.is_ours(obj):
                    found[index] = key, obj
    if not found:
        return documents
    numbers = {k: {p.name: p.port for p in s.spec.ports} for k, s in services(documents, scope).items()}

    def port_of(namespace: str, service: str, port: str) -> int:
        return numbers.get((namespace, service), {}).get(port, 0)

    root, names = scope.config.root_namespace, Names(documents, scope)
    losses = {key: _losses(Document(_current(documents[i])), key, port_of) for i, (key, _) in found.items()}
    new = {}
    for key, obj in ingress.convert(found.values(), root, scope.config.domain, port_of).items():
        new[key] = (obj, names.free(key.kind, root, slug(key.name)))
    out = []
    renamed = {f"{root}/{key.name}": f"{root}/{name}" for key, (_, name) in new.items() if key.kind == "Gateway"}
    pending = dict(losses)
    for key, (obj, name) in new.items():
        body = body_of(obj, name, root)
        if "gateways" in body["spec"]:
            body["spec"]["gateways"] = [renamed.get(g, g) for g in body["spec"]["gateways"]]
        sources = tuple(k for k, o in found.values() if _is_from(key, obj, k, o))
        own = [f for source in sources if source in pending for f in pending.pop(source).found]
        out.append(Document(body, sources=sources, losses=tuple(own)))
    return placed(documents, set(found), out)


def _is_from(key: Key, obj: Any, source: Key, original: core.Ingress) -> bool:
    if key.kind == "Gateway":
        return key.name.startswith(f"{source.name}-") and key.name.endswith(f"-{source.namespace}")
    hosts = {rule.host or "*" for rule in original.spec.rules} | ({"*"} if original.spec.default_backend else set())
    return bool(hosts & set(obj.spec.hosts))


def _current(document: Document) -> dict[str, Any]:
    """An Ingress of any version as one of networking.k8s.io/v1."""
    spec = dict(document.spec)
    if document.version != "v1":
        if "backend" in spec:
            spec["defaultBackend"] = _backend(mapping(spec.pop("backend")))
        rules = []
        for rule in entries(spec.get("rules")):
            paths = [
                {"pathType": "ImplementationSpecific", **path, "backend": _backend(mapping(path.get("backend")))}
                for path in entries(mapping(rule.get("http")).get("paths"))
            ]
            rules.append({**rule, **({"http": {"paths": paths}} if paths else {})})
        spec["rules"] = rules
    return {**document.body, "apiVersion": f"{_GROUP}/v1", "spec": spec}


def _backend(backend: dict[str, Any]) -> dict[str, Any]:
    port = backend.get("servicePort")
    named: dict[str, Any] = {"number": port} if isinstance(port, int) else {"name": str(port or "")}
    return {"service": {"name": backend.get("serviceName"), "port": named}} if "serviceName" in backend else backend


def _losses(document: Document, key: Key, port_of: ingress.PortOf) -> Losses:
    losses = Losses(key)
    rows = [("spec.defaultBackend", mapping(document.spec.get("defaultBackend")))]
    for i, rule in enumerate(entries(document.spec.get("rules"))):
        for j, row in enumerate(entries(mapping(rule.get("http")).get("paths"))):
            rows.append((f"spec.rules[{i}].http.paths[{j}].backend", mapping(row.get("backend"))))
    for path, backend in rows:
        if "resource" in backend:
            losses.add(f"{path}.resource", "the path is left out: only Services can be backends", "Name a Service.")
        service = mapping(backend.get("service"))
        port = mapping(service.get("port"))
        if (
            service
            and not port.get("number")
            and not port_of(key.namespace, str(service.get("name")), str(port.get("name")))
        ):
            text = f"the path is left out: the number of port {port.get('name')} is not known"
            losses.add(f"{path}.service.port.name", text, "Give port.number, or add the Service to the input.")
    for index, tls in enumerate(entries(document.spec.get("tls"))):
        if not tls.get("secretName"):
            losses.add(f"spec.tls[{index}]", "the server is left out: it names no Secret", "Give secretName.")
    return losses
