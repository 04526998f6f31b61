"""Explains one request: which listener, route, cluster and endpoints it gets, what happens to it on the way, and who lets it in.

The caller's and the destination's configurations are those that their proxies get (`offline`), routed by `simulate`, and decided by
`authorization`; so the explanation is Envoy's. Must not ask proxies.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import msgspec

from sailcloth.api import core
from sailcloth.mesh import hosts, registry, services
from sailcloth.view import gateways
from sailcloth.view.proxy import Proxy

from . import authorization, offline, proxy_tables, route_facts, simulate
from .authorization import Decision, Workload
from .describe import MeshSnapshot
from .simulate import Result, Simulator

Object = dict[str, Any]
Struct = msgspec.Struct
_EXTERNAL = "203.0.113.1"  # stands for the address of a host that the mesh does not know
_ISTIO, _SOCKET = "istio", "envoy.transport_socket_match"


class Unknown(ValueError):
    """The caller or the URL names nothing. The text says what, and what there is."""


class Question(Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """A request. The fields are the keys of `--requests`.

    `source`: NAMESPACE/NAME of a pod or workload; empty: a client outside, at the gateway `gateway` (NAMESPACE/NAME; the only one by
    default). `url`: as the client writes it; a short host is of the source's namespace. `claims`: of a valid token.
    """

    url: str
    source: str = ""
    gateway: str = ""
    method: str = "GET"
    headers: dict[str, str] = {}
    claims: dict[str, Any] | None = None
    source_ip: str = ""


class Skipped(Struct, frozen=True, rename="camel", kw_only=True):
    """A route that was tried before, and why it does not match. `object`: KIND NAMESPACE/NAME; empty: the default route."""

    name: str
    object: str
    reason: str


class Endpoint(Struct, frozen=True, rename="camel", kw_only=True):
    address: str
    workload: str
    health: str
    locality: str = ""
    mutual_tls: bool = False


class Destination(Struct, frozen=True, rename="camel", kw_only=True):
    """One of the clusters of the route. `share` of the requests; `rule`: the DestinationRule; `allowed`: by workload, what its proxy decides."""

    cluster: str
    host: str
    port: int
    subset: str
    share: float
    rule: str = ""
    endpoints: list[Endpoint] = []
    allowed: dict[str, Decision] = {}
    problem: str = ""


class Explanation(Struct, frozen=True, rename="camel", kw_only=True):
    """`status`: what the client gets if it is certain; 0: what the application answers, or it depends. `outcome`: in a sentence."""

    proxy: str
    host: str
    port: int
    path: str
    outcome: str
    status: int = 0
    listener: str = ""
    filter_chain: str = ""
    route_config: str = ""
    virtual_host: str = ""
    route: str = ""
    object: str = ""
    skipped: list[Skipped] = []
    destinations: list[Destination] = []
    location: str = ""
    rewritten: str = ""
    timeout: str = ""
    retries: str = ""
    faults: list[str] = []
    mirrors: list[str] = []


class Explainer:
    """Explains requests in one mesh; what it has worked out of a proxy serves the next request."""

    def __init__(self, snapshot: MeshSnapshot) -> None:
        self._snapshot, self._mesh = snapshot, snapshot.mesh
        self._proxies: dict[Proxy, tuple[Simulator, Object]] = {}

    def explain(self, question: Question) -> Explanation:
        """Raises Unknown."""
        parts = urlsplit(question.url if "://" in question.url else f"http://{question.url}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Unknown(f"{question.url!r} is no URL such as http://reviews:9080/reviews/0")
        try:
            port = parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError:
            raise Unknown(f"{question.url!r} has no valid port") from None
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        proxy = self._caller(question.source) if question.source else self._gateway(question.gateway)
        authority = _header(question.headers, "host") or parts.netloc.rpartition("@")[2]
        call = simulate.Call(
            port=port,
            tls="tls" if parts.scheme == "https" else "plaintext",
            sni=parts.hostname if parts.scheme == "https" else "",
            host=authority,
            path=path,
            method=question.method,
            headers=question.headers,
        )
        if proxy is None:
            return self._without_proxy(question, call, parts.hostname)
        if proxy.kind == "router":
            call = replace(call, mode="gateway", port=self._target_port(proxy, port), address="0.0.0.0")  # noqa: S104
        else:
            call = replace(call, address=self._address(parts.hostname, proxy.namespace))
        simulator, dump = self._of(proxy)
        return self._explained(question, proxy, call, simulator.run(call), dump)

    # -- ends -----------------------------------------------------------------------------------

    def _caller(self, name: str) -> Proxy | None:
        """The proxy of a pod, or of a workload's first pod; None for a pod without one. Raises Unknown."""
        namespace, slash, short = name.rpartition("/")
        if not slash:
            raise Unknown(f"{name!r}: write NAMESPACE/NAME")
        pods = [key for key in self._mesh.objects if key.kind == "Pod" and key.namespace == namespace]
        found = sorted(key for key in pods if key.name == short or key.name.startswith(f"{short}-"))
        if not found:
            raise Unknown(
                f"there is no pod or workload {name}; there are {', '.join(k.name for k in pods[:8]) or 'none'}"
            )
        return self._snapshot.proxies.get(found[0])

    def _gateway(self, name: str) -> Proxy:
        routers = sorted(self._snapshot.routers, key=lambda p: p.id)
        found = [p for p in routers if not name or f"{p.namespace}/{p.name}".startswith(name)]
        if not found:
            raise Unknown(f"there is no gateway {name}; there are {', '.join(p.id for p in routers) or 'none'}")
        return found[0]

    def _of(self, proxy: Proxy) -> tuple[Simulator, Object]:
        if proxy not in self._proxies:
            dump = offline.config_dump(offline.resources(self._mesh, proxy))
            self._proxies[proxy] = (Simulator(dump), dump)
        return self._proxies[proxy]

    def _address(self, host: str, namespace: str) -> str:
        """The address that the host resolves to in a pod; a stand-in for hosts outside of the mesh."""
        try:
            return str(ipaddress.ip_address(host))
        except ValueError:
            pass
        name = hosts.resolve(host.rstrip("."), namespace, self._mesh.config.domain)
        for ident in registry.services_of_host(self._mesh.graph, name):
            service = self._mesh.graph.get(services.service, ident)
            if service is not None and service.addresses:
                return service.addresses[0].partition("/")[0]
        return _EXTERNAL

    def _target_port(self, gateway: Proxy, port: int) -> int:
        """The port at which a gateway's pods take what comes to a port of its Services."""
        ports = self._mesh.graph.get(gateways.translation, gateway)
        return next((p.target for p in ports if p.number == port and not p.udp), port)

    def _without_proxy(self, question: Question, call: simulate.Call, host: str) -> Explanation:
        return Explanation(
            proxy="none",
            host=host,
            port=call.port,
            path=call.path,
            outcome=f"{question.source} has no sidecar: the request goes to {host}:{call.port} without any rule of the mesh, in plain text.",
        )

    # -- the way --------------------------------------------------------------------------------

    def _explained(
        self, question: Question, proxy: Proxy, call: simulate.Call, result: Result, dump: Object
    ) -> Explanation:
        entry = result.entry or {}
        action = entry.get("route", {})
        rewritten = _rewritten(entry, call.path)
        faults, certain = route_facts.faults(entry)
        shares = route_facts.shares(entry) or dict.fromkeys(result.clusters, 100.0)
        destinations = [
            self._destination(name, share, dump, question, proxy, replace(call, path=rewritten))
            for name, share in shares.items()
        ]
        base = Explanation(
            proxy=proxy.id,
            host=call.host,
            port=call.port,
            path=call.path,
            outcome="",
            listener=result.listener,
            filter_chain=result.filter_chain,
            route_config=result.route_config,
            virtual_host=result.virtual_host,
            route=result.route,
            object=_object(entry),
            skipped=[
                Skipped(name=route.get("name", ""), object=_object(route), reason=reason)
                for route, reason in result.before
            ],
            destinations=destinations,
            location=result.location,
            rewritten=rewritten if rewritten != call.path else "",
            timeout=route_facts.timeout(action),
            retries=route_facts.retries(action),
            faults=faults,
            mirrors=[route_facts.mirror(m) for m in action.get("request_mirror_policies", ())],
        )
        status, outcome = _outcome(result, certain, destinations)
        return msgspec.structs.replace(base, status=status, outcome=outcome)

    def _destination(
        self, name: str, share: float, dump: Object, question: Question, proxy: Proxy, call: simulate.Call
    ) -> Destination:
        direction, *rest = [*name.split("|"), "", "", ""][:4]
        port, subset, host = (int(rest[0]) if rest[0].isdigit() else 0, rest[1], rest[2])
        if direction != "outbound":
            return Destination(cluster=name, host=name, port=0, subset="", share=share, problem=_SPECIAL.get(name, ""))
        cluster = _cluster(dump, name)
        if cluster is None:
            text = "the cluster does not exist: is the subset in a DestinationRule?"
            return Destination(cluster=name, host=host, port=port, subset=subset, share=share, problem=text)
        found = list(_endpoints(dump, cluster))
        allowed = {}
        for workload, mutual in {(e.workload, e.mutual_tls) for e in found if e.workload}:
            allowed[workload] = self._decision(workload, mutual, question, proxy, call, port)
        usable = [e for e in found if e.health == "HEALTHY"]
        resolved = cluster.get("type") in ("EDS", "STATIC")
        problem = "no healthy endpoint" if resolved and not usable else ""
        rule = _object({"metadata": cluster.get("metadata", {})})
        return Destination(
            cluster=name,
            host=host,
            port=port,
            subset=subset,
            share=share,
            rule=rule if rule.startswith("DestinationRule") else "",
            endpoints=found,
            allowed=allowed,
            problem=problem,
        )

    def _decision(
        self, workload: str, mutual: bool, question: Question, proxy: Proxy, call: simulate.Call, port: int
    ) -> Decision:
        """What the proxy of a destination's workload decides."""
        namespace, _, name = workload.partition("/")
        pods = [k for k in self._mesh.objects if k.kind == "Pod" and k.namespace == namespace]
        key = next((k for k in sorted(pods) if k.name == name or k.name.startswith(f"{name}-")), None)
        target = self._snapshot.proxies.get(key) if key is not None else None
        pod = self._mesh.objects.get(key) if key is not None else None
        if target is None or not isinstance(pod, core.Pod):
            return Decision("none", reason="it has no sidecar: everything is allowed")
        caller = self._mesh.objects.get(proxy.pod)
        account = (caller.spec.service_account_name if isinstance(caller, core.Pod) else "") or "default"
        identity = f"{self._mesh.config.trust_domain}/ns/{proxy.namespace}/sa/{account}" if mutual else ""
        sent = authorization.Call(
            principal=identity,
            source_ip=proxy.ips[0] if proxy.ips else "",
            remote_ip=question.source_ip,
            destination_ip=pod.status.pod_ip,
            method=question.method,
            path=call.path,
            host=call.host,
            port=port,
            headers=dict(question.headers),
            claims=question.claims,
        )
        return authorization.decide(self._mesh.graph, Workload(namespace, dict(pod.metadata.labels)), sent)


_SPECIAL = {
    "PassthroughCluster": "no service has this address: the request goes there as it is",
    "BlackHoleCluster": "no service has this address, and the outbound mode is REGISTRY_ONLY: the request is refused",
}


def _outcome(result: Result, certain: int, destinations: list[Destination]) -> tuple[int, str]:
    """(status if it is certain, what happens in a sentence)."""
    if result.location:
        return result.status, f"The client is sent to {result.location} ({result.status})."
    if result.error:
        statuses = {"no route matched": 404, "no virtual host matched": 404, "tls required, sending 301": 301}
        return statuses.get(result.error, 0), f"It goes nowhere: {result.error}."
    if result.status:
        return result.status, f"The proxy answers {result.status} itself."
    if certain:
        return certain, f"A fault answers all of them with {certain}."
    if not destinations:
        return 0, "It goes nowhere: the route has no destination."
    if all(d.problem and d.host not in _SPECIAL for d in destinations):
        return 503, f"It fails with 503: {destinations[0].problem}."
    decisions = [decision for d in destinations for decision in d.allowed.values()]
    if decisions and all(d.decision == "deny" for d in decisions):
        reason = decisions[0].reason
        status = 401 if "(401)" in reason else 403
        if decisions[0].action == "MTLS":
            return 503, f"The destination refuses the connection: {reason}."
        return status, f"The destination refuses it with {status}: {reason}."
    words = ", ".join(
        f"{d.host or d.cluster} {d.subset}".strip() + (f" ({d.share:.3g} %)" if d.share < 100 else "")
        for d in destinations
    )
    refused = " Some of them refuse it." if any(d.decision == "deny" for d in decisions) else ""
    return 0, f"It goes to {words}.{refused}"


def _rewritten(entry: Object, path: str) -> str:
    """The path that the destination gets."""
    action, match = entry.get("route", {}), entry.get("match", {})
    if "prefix_rewrite" in action:
        matched = match.get("prefix") or match.get("path_separated_prefix") or match.get("path", "")
        return f"{action['prefix_rewrite']}{path[len(matched) :]}"
    return path


def _object(entry: Object) -> str:
    """The object that a resource was made from: KIND NAMESPACE/NAME."""
    found = proxy_tables.origin(entry)
    return f"{found[0]} {found[1]}/{found[2]}" if found else ""


def _part(dump: Object, name: str) -> list[Object]:
    of_type: Object = next((c for c in dump["configs"] if c["@type"].endswith(name)), {})
    return list(of_type.get(_FIELDS[name]) or ())


_FIELDS = {"ClustersConfigDump": "dynamic_active_clusters", "EndpointsConfigDump": "dynamic_endpoint_configs"}


def _cluster(dump: Object, name: str) -> Object | None:
    return next((e["cluster"] for e in _part(dump, "ClustersConfigDump") if e["cluster"]["name"] == name), None)


def _endpoints(dump: Object, cluster: Object) -> Iterator[Endpoint]:
    """The endpoints of a cluster, of EDS or its own."""
    name = cluster["name"]
    assignments = [e["endpoint_config"] for e in _part(dump, "EndpointsConfigDump")]
    found = next((a for a in assignments if a.get("cluster_name") == name), cluster.get("load_assignment") or {})
    for group in found.get("endpoints", ()):
        locality = "/".join(v for v in (group.get("locality") or {}).values() if v)
        for each in group.get("lb_endpoints", ()):
            address = each["endpoint"]["address"].get("socket_address", {})
            metadata = each.get("metadata", {}).get("filter_metadata", {})
            workload, namespace = [*str(metadata.get(_ISTIO, {}).get("workload", "")).split(";"), ""][:2]
            yield Endpoint(
                address=f"{address.get('address', '')}:{address.get('port_value', 0)}",
                workload=f"{namespace}/{workload}" if workload else "",
                health=each.get("health_status", "HEALTHY"),
                locality=locality,
                mutual_tls=metadata.get(_SOCKET, {}).get("tlsMode") == "istio",
            )


def _header(headers: Mapping[str, str], name: str) -> str:
    return next((value for key, value in headers.items() if key.lower() == name), "")
