"""VirtualServices and Gateways of Istio as objects of the Gateway API, and what of them stays.

Hosts of the mesh that are no Services of the cluster have no parent there: their VirtualService stays. Must not know the parts of a rule.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sailcloth.analysis import manifests
from sailcloth.api import virtual_service as vs
from sailcloth.api.gateway import Gateway
from sailcloth.api.gateway_api import GROUP
from sailcloth.api.meta import Finding, Key
from sailcloth.mesh import delegates

from . import gateway_backends, gateway_connections, gateway_http, gateway_listeners, gateway_parents
from .documents import NETWORKING, Document, Losses, Names, Scope, entries, mapping, texts, typed, without_empty
from .gateway_backends import Backends
from .gateway_listeners import Listener
from .gateway_parents import MESH, Parents

Gateways = dict[str, tuple[Listener, ...]]


def convert(documents: list[Document], scope: Scope) -> list[Document]:
    """Replace all VirtualServices and Gateways, and the DestinationRules that only define subsets which are Services."""
    backends, names = Backends.of(documents, scope), Names((d for d in documents if d.group == GROUP), scope)
    of_istio = [d.group == NETWORKING for d in documents]
    parsed = [dict(typed([d], scope)) if own else {} for d, own in zip(documents, of_istio, strict=True)]
    new: list[list[Document]] = [[d] for d in documents]
    gateways: Gateways = {}
    for index, objects in enumerate(parsed):
        for key, obj in objects.items():
            if isinstance(obj, Gateway):
                made = gateway_listeners.convert(documents[index], key, obj, scope, backends)
                gateways[f"{key.namespace}/{key.name}"] = made.listeners
                new[index] = [_joined(documents[index], d) for d in made.documents]
    services = {k: o for objects in parsed for k, o in objects.items() if isinstance(o, vs.VirtualService)}
    used: set[Key] = set()
    for index, objects in enumerate(parsed):
        for key, obj in objects.items():
            if isinstance(obj, vs.VirtualService) and obj.spec.hosts:
                one = _VirtualService(documents[index], key, obj, services, gateways, backends, names)
                new[index] = one.converted()
                used |= one.delegates
    for index, objects in enumerate(parsed):
        if used & set(objects):
            new[index] = []
    spent = gateway_backends.spent((item for objects in parsed for item in objects.items()), backends)
    kept = [made for objects, made in zip(parsed, new, strict=True) if not spent & set(objects)]
    documents = [_readable(d, scope) for made in kept for d in made]
    return [*documents, *backends.grants()]


def _joined(old: Document, new: Document) -> Document:
    """A new document with the sources and losses of an earlier conversion."""
    return Document(new.body, sources=old.sources or new.sources, losses=(*old.losses, *new.losses))


def _readable(document: Document, scope: Scope) -> Document:
    """A document, with the loss of one that stays because it cannot be read."""
    if document.group != NETWORKING or document.kind not in ("VirtualService", "Gateway"):
        return document
    problem = manifests.typed(document.body, scope.namespace)
    if not isinstance(problem, Finding):
        return document
    losses = Losses(document.key(scope.namespace))
    losses.add(problem.path, f"the object stays as it is: {problem.text}", "Correct the field.")
    return replace(document, losses=(*document.losses, *losses.found))


class _VirtualService:
    """Converts one VirtualService. `delegates`: those that its routes were taken from."""

    def __init__(
        self,
        document: Document,
        key: Key,
        obj: vs.VirtualService,
        services: dict[Key, vs.VirtualService],
        gateways: Gateways,
        backends: Backends,
        names: Names,
    ) -> None:
        self._document, self._key, self._spec = document, key, obj.spec
        self._services, self._gateways, self._backends, self._names = services, gateways, backends, names
        self._losses = Losses(key)
        self._top = gateway_parents.names(obj.spec.gateways or (MESH,), key.namespace)
        self.delegates: set[Key] = set()

    def converted(self) -> list[Document]:
        """The routes, and the VirtualService as far as it stays."""
        rules = self._rules()
        bodies = [*self._http(rules), *self._connections()]
        own = self._document.own_metadata
        for body in bodies:
            body["metadata"] |= without_empty({name: own.get(name) for name in ("labels", "annotations")})
        stays = self._stays()
        self._shared()
        documents = [Document(body, sources=(self._key,)) for body in bodies]
        documents += [Document(stays, sources=(self._key,))] if stays else []
        first = documents[0] if documents else Document({}, sources=(self._key,))
        losses = (*self._document.losses, *self._losses.found)
        sources = self._document.sources or (self._key,)
        out = [Document(first.body, sources=sources, losses=losses), *documents[1:]]
        if not self._document.metadata.get("namespace"):
            for document in out:
                metadata = mapping(document.body.get("metadata"))
                if metadata.get("namespace") == self._key.namespace:
                    del metadata["namespace"]
        return out

    def _rules(self) -> gateway_http.Rules:
        """The HTTP rules, with those of delegates in their place."""
        out: gateway_http.Rules = []
        for index, rule in enumerate(self._spec.http):
            path = f"spec.http[{index}]"
            if rule.delegate is None:
                out.append((path, rule))
                continue
            namespace = rule.delegate.namespace or self._key.namespace
            found = self._services.get(Key("VirtualService", namespace, rule.delegate.name or ""))
            if found is None:
                text = f"the rule is left out: the VirtualService {namespace}/{rule.delegate.name} is not in the input"
                self._losses.add(f"{path}.delegate", text, "Add it to the input.")
                continue
            self.delegates.add(Key("VirtualService", namespace, rule.delegate.name or ""))
            domain = self._backends.scope.config.domain
            merged = delegates.merge(rule, found, namespace, self._key.namespace, domain)
            out += [(f"{path}.delegate.http[{number}]", one) for number, one in enumerate(merged)]
        return out

    def _all_gateways(self) -> list[str]:
        """All gateways that a match or the whole is for, but the mesh."""
        spec = self._spec
        of_matches = [m.gateways for http in spec.http for m in http.match]
        of_matches += [m.gateways for tls in spec.tls for m in tls.match]
        of_matches += [m.gateways for tcp in spec.tcp for m in tcp.match]
        named = [*self._top, *(g for names in of_matches for g in gateway_parents.names(names, self._key.namespace))]
        return [g for g in dict.fromkeys(named) if g != MESH]

    def _http(self, rules: gateway_http.Rules) -> list[dict[str, Any]]:
        if not rules:
            return []
        spec, key, scope = self._spec, self._key, self._backends.scope
        parents = []
        if MESH in self._top:
            by_port = gateway_http.needs_ports(rules, spec, key, MESH, self._backends)
            parents += gateway_parents.of_mesh(spec, key, by_port, True, self._backends, self._losses)
        by_port = gateway_http.needs_ports(rules, spec, key, "", self._backends)
        wanted, protocols = self._all_gateways(), ("HTTP", "HTTPS")
        parents += gateway_parents.of_gateways(
            spec, key, by_port, protocols, self._gateways, wanted, scope, self._losses
        )
        out = []
        for one in parents:
            name = self._names.free("HTTPRoute", one.namespace, self._name(one, parents))
            out += gateway_http.routes(rules, key, name, one, self._top, self._backends, self._losses)
        return _merged(out)

    def _connections(self) -> list[dict[str, Any]]:
        spec, key, scope, losses = self._spec, self._key, self._backends.scope, self._losses
        out: list[dict[str, Any]] = []
        for kind, protocols in (("TLSRoute", ("TLS",)), ("TCPRoute", ("TCP",))):
            if not (spec.tls if kind == "TLSRoute" else spec.tcp):
                continue
            parents = (
                gateway_parents.of_mesh(spec, key, True, False, self._backends, losses) if MESH in self._top else []
            )
            wanted = self._all_gateways()
            parents += gateway_parents.of_gateways(spec, key, True, protocols, self._gateways, wanted, scope, losses)
            for one in parents:
                name = self._names.free(kind, one.namespace, self._name(one, parents))
                before = len(out)
                if kind == "TLSRoute":
                    out += gateway_connections.tls_routes(spec, key, name, one, self._top, self._backends, losses)
                else:
                    out += gateway_connections.tcp_route(spec, key, name, one, self._top, self._backends, losses)
                if one.gateway == MESH and len(out) > before:
                    text = f"a {kind} of a Service is in force in Istio, and not in this mesh"
                    losses.add(f"spec.{kind[:3].lower()}", text, "Keep the VirtualService in this mesh.")
        return out

    def _name(self, own: Parents, parents: Sequence[Parents]) -> str:
        """The name of the route for some of its parents: the VirtualService's, and what tells it from the others."""
        parts = [self._key.name]
        if len({one.gateway for one in parents}) > 1:
            parts.append(own.gateway.rpartition("/")[2])
        if len({one.port for one in parents}) > 1:
            parts.append(str(own.port))
        return "-".join(parts)

    def _stays(self) -> dict[str, Any] | None:
        """The VirtualService for the hosts that no route can be attached to."""
        if MESH not in self._top:
            return None
        _, others = gateway_parents.meshed(self._spec, self._key, self._backends.scope)
        if not others or set(others) == {"*"}:
            return None
        for index, host in enumerate(self._spec.hosts):
            if host in others:
                text = f"{host} is no Service of the cluster, so its rules stay in a VirtualService"
                self._losses.add(f"spec.hosts[{index}]", text, "Nothing is to be done.")
        body = copy.deepcopy(self._document.body)
        body["spec"] |= {"hosts": others, "gateways": [MESH]}
        for protocol in ("http", "tls", "tcp"):
            kept = []
            for rule in entries(body["spec"].get(protocol)):
                matches = entries(rule.get("match"))
                meshed = [m for m in matches if not m.get("gateways") or MESH in texts(m["gateways"])]
                for match in meshed:
                    match.pop("gateways", None)
                if not matches or meshed:
                    kept.append({**rule, **({"match": meshed} if matches else {})})
            if kept:
                body["spec"][protocol] = kept
            else:
                body["spec"].pop(protocol, None)
        return body

    def _shared(self) -> None:
        """The loss of the order among VirtualServices of one host."""
        hosts = self._full_hosts(self._key, self._spec)
        for key, obj in self._services.items():
            if key == self._key or not hosts & self._full_hosts(key, obj.spec):
                continue
            if gateway_http.conflict(self._spec, obj.spec) and set(
                gateway_parents.names(obj.spec.gateways or (MESH,), key.namespace)
            ) & set(self._top):
                text = f"its routes and those of VirtualService {key.namespace}/{key.name} are tried by how specific they are"
                self._losses.add("spec.hosts", text, "Make the matches of the two exclude each other.")

    def _full_hosts(self, key: Key, spec: vs.VirtualServiceSpec) -> set[str]:
        return {self._backends.scope.resolve(host, key.namespace) for host in spec.hosts}


def _merged(bodies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Routes of one namespace with the same rules and hostnames, but for their parents, as one."""
    out: list[dict[str, Any]] = []
    for body in bodies:
        for other in out:
            rest, more = dict(other["spec"]), dict(body["spec"])
            old, new = rest.pop("parentRefs"), more.pop("parentRefs")
            same_place = other["metadata"].get("namespace") == body["metadata"].get("namespace")
            if (rest, other["kind"], same_place) == (more, body["kind"], True) and _alike(old, new):
                other["spec"]["parentRefs"] = [*old, *new]
                break
        else:
            out.append(body)
    return out


def _alike(ones: list[dict[str, Any]], others: list[dict[str, Any]]) -> bool:
    """Whether parents are of one kind."""
    return {p.get("kind") for p in ones} == {p.get("kind") for p in others}
