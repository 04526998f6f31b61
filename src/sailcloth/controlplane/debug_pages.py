"""The debug pages, whatever brings them: HTTP (`debug`) or discovery (`debug_requests`).

A page is a function of its query and of the namespace that the caller may see, `*` for all. It raises PermissionError for what the
caller may not see, LookupError for what does not exist, ValueError for a wrong query. `adsz?push=true`, `cachez?clear=true` and
`force_disconnect` are Istio's; nothing else changes anything. Source: istio.md 4.1.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from envoy.config.endpoint.v3 import endpoint_pb2
from google.protobuf import json_format

from sailcloth.analysis import offline
from sailcloth.api.kinds import LEGACY_KINDS, MESH_KINDS
from sailcloth.envoy.resources import name_table
from sailcloth.view import inbound, scope
from sailcloth.view.proxy import view
from sailcloth.xds.cache import ResponseCache
from sailcloth.xds.types import CLUSTER, ENDPOINTS, EXTENSION, LISTENER, NAMES, ROUTES, SECRET, SHORT

from . import debug_mesh
from .change_log import ChangeLog
from .connected_proxies import ConnectedProxies, ConnectedProxy

Object = dict[str, Any]
Query = Mapping[str, str]
Page = Callable[[Query, str], Any]
_SHORT = {url: short for url, short in SHORT.items() if url != SECRET}
_SENT = {"cluster": CLUSTER, "listener": LISTENER, "route": ROUTES, "endpoint": ENDPOINTS}
_CHANGES = 20  # on a page that asks for no number
_DEBUG = "/debug/"
NO_QUERY: Query = {}


def sync(client: ConnectedProxy, name: str) -> Object:
    """One proxy's row in `proxy-status`, with the fields of Istio's SyncStatus beside its own. Istio's `_sent` and `_acked` are nonces,
    which are compared; here they count responses."""
    stream = client.connection.stream
    types, nonces = {}, {}
    for url, short in _SHORT.items():
        subscribed, synced, acked = stream.state(url)
        error = stream.errors.get(url)
        types[short] = "ERROR" if error else "SYNCED" if synced and acked else "STALE" if subscribed else "NOT SENT"
        nonces[url] = (str(acked + (not synced)), str(acked) if acked else "") if subscribed else ("", "")
    version = str(client.proxy.metadata.get("ISTIO_VERSION") or "")
    cluster = str(client.proxy.metadata.get("CLUSTER_ID") or debug_mesh.CLUSTER)
    return {
        "name": client.proxy.id,
        "cluster": cluster,
        "istiod": name,
        "version": version,
        "types": types,
        "ages": {s: _age(client, u) for u, s in _SHORT.items() if stream.subscribes(u)},
        "subscribed": [s for u, s in _SHORT.items() if stream.subscribes(u)],
        "errors": {_SHORT.get(u, u): e for u, e in stream.errors.items()},
        "connectedAt": _time(client.connected_at),
        "cluster_id": cluster,
        "proxy": client.proxy.id,
        "proxy_type": client.proxy.kind,
        "proxy_version": version,
        "istio_version": version,
        **{f"{n}_{s}": value for n, u in _SENT.items() for s, value in zip(("sent", "acked"), nonces[u], strict=True)},
    }


def _age(client: ConnectedProxy, url: str) -> int:
    """Seconds since the last answer for a type."""
    return int(time.time() - client.answered.get(url, client.connected_at))


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


@dataclass(frozen=True)
class DebugPages:
    """All pages of one control plane, named `name`. `certificates` and `injection`: the CA's status and the injector's settings."""

    proxies: ConnectedProxies
    changes: ChangeLog
    name: str
    certificates: Callable[[], Object] = dict
    injection: Callable[[], Object] = dict
    cache: ResponseCache = field(default_factory=ResponseCache)

    def answer(self, page: str, query: Query, allowed: str) -> Any:
        """The value of a page. Raises as the module says."""
        found = self.pages().get(page)
        if found is None:
            raise LookupError(f"unknown page {page}; known are {', '.join(self.pages())}")
        if page in self.of_the_mesh() and allowed != "*":
            raise PermissionError(f"only tokens of the installation's namespace may see {page}")
        return found(query, allowed)

    def of_the_mesh(self) -> dict[str, Page]:
        """The pages that only the installation's namespace sees."""
        mesh = self.proxies.mesh
        return {
            "authorizationz": lambda _q, _a: {"authorization_policies": debug_mesh.policies(mesh)},
            "cachez": self._cache,
            "caz": lambda _q, _a: self.certificates(),
            "clusterz": lambda _q, _a: [{"id": debug_mesh.CLUSTER, "secretName": "", "syncStatus": "synced"}],
            "configz": lambda _q, _a: debug_mesh.configuration(mesh),
            "force_disconnect": self._disconnect,
            "inject": lambda _q, _a: self.injection(),
            "krtz": lambda _q, _a: {"nodes": len(mesh.graph), "computed": mesh.graph.computed},
            "mcsz": lambda _q, _a: [],
            "mesh": lambda _q, _a: debug_mesh.options(mesh),
            "networkz": lambda _q, _a: {"Gateways": []},
            "push_status": self._rejected,
            "pushcontext": lambda _q, _a: {"AuthorizationPolicies": debug_mesh.policies(mesh), "NetworkGateways": {}},
            "resourcesz": lambda _q, _a: sorted(f"{k.api_version}/{k.name}" for k in (*MESH_KINDS, *LEGACY_KINDS)),
            "telemetryz": lambda _q, _a: {"telemetries": debug_mesh.telemetries(mesh)},
        }

    def pages(self) -> dict[str, Page]:
        """All pages by name, sorted."""
        mesh = self.proxies.mesh
        shards: Page = lambda _q, a: debug_mesh.endpoint_shards(mesh, a)  # noqa: E731
        pages: dict[str, Page] = {
            **self.of_the_mesh(),
            "adsz": self._ads,
            "changez": self._changes,
            "config_dump": self._config_dump,
            "connections": lambda _q, a: self._connected(a, lambda _: {}),
            "ecdsz": self._extensions,
            "edsz": self._endpoints,
            "endpointShardz": shards,
            "endpointz": shards,
            "instancesz": self._instances,
            "list": lambda _q, _a: [_DEBUG + name for name in self.pages()],
            "ndsz": self._names,
            "registryz": lambda _q, a: [debug_mesh.service(s) for s in debug_mesh.all_services(mesh, a)],
            "sidecarz": self._sidecar,
            "syncz": lambda q, a: [sync(c, self.name) for c in self.clients(a, q)],
        }
        return dict(sorted(pages.items()))

    # -- proxies --------------------------------------------------------------------------------

    def clients(self, allowed: str, query: Query = NO_QUERY) -> list[ConnectedProxy]:
        """The proxies of a namespace, `*` for all, sorted; the one that the query names, if it does."""
        if "proxyID" in query:
            return [self.client(query, allowed)]
        clients = (c for c in self.proxies.clients.values() if allowed in ("*", c.proxy.namespace))
        return sorted(clients, key=lambda c: c.proxy.id)

    def client(self, query: Query, allowed: str) -> ConnectedProxy:
        """The proxy that the query names in `proxyID`, as POD.NAMESPACE or NAMESPACE/POD or a node's id."""
        given = query.get("proxyID", "")
        wanted = given.split("~")[2] if given.count("~") == 3 else given
        if "/" in wanted:
            wanted = ".".join(reversed(wanted.split("/", 1)))
        pod, _, namespace = wanted.rpartition(".")
        if allowed not in ("*", namespace):
            raise PermissionError(f"a token of namespace {allowed} shows the proxies of that namespace only")
        for client in self.proxies.find(pod, namespace):
            return client
        raise LookupError(f"no proxy {given or '(name one)'} is connected; use ?proxyID=POD.NAMESPACE")

    def _connected(self, allowed: str, more: Callable[[ConnectedProxy], Object]) -> Object:
        clients = self.clients(allowed)
        rows = [
            {
                "connectionId": f"{c.proxy.id}-{int(c.connected_at * 1000)}",
                "connectedAt": _time(c.connected_at),
                "address": c.connection.peer,
                **more(c),
            }
            for c in clients
        ]
        return {"totalClients": len(clients), "clients": rows}

    def _ads(self, query: Query, allowed: str) -> Any:
        if query.get("push", "").lower() in ("true", "1"):
            if allowed != "*":
                raise PermissionError("only tokens of the installation's namespace may push")
            self.proxies.flush()
            return f"Pushed to {len(self.proxies.clients)} servers; what a proxy has acknowledged is not sent again"

        def more(client: ConnectedProxy) -> Object:
            stream = client.connection.stream
            return {
                "labels": dict(client.proxy.labels),
                "metadata": {**client.proxy.metadata, "NAMESPACE": client.proxy.namespace},
                "watches": {u: [r.name for r in stream.resources_of(u)] for u in SHORT if stream.subscribes(u)},
            }

        return self._connected(allowed, more)

    def _config_dump(self, query: Query, allowed: str) -> Any:
        stream = self.client(query, allowed).connection.stream
        return offline.config_dump({url: stream.resources_of(url) for url in stream.collections})

    def _endpoints(self, query: Query, allowed: str) -> Any:
        stream = self.client(query, allowed).connection.stream
        made = (endpoint_pb2.ClusterLoadAssignment.FromString(r.body) for r in stream.resources_of(ENDPOINTS))
        return [json_format.MessageToDict(assignment) for assignment in made]

    def _extensions(self, query: Query, allowed: str) -> Any:
        stream = self.client(query, allowed).connection.stream
        return [{"name": r.name, "version": r.version} for r in stream.resources_of(EXTENSION)]

    def _names(self, query: Query, allowed: str) -> Any:
        client = self.client(query, allowed)
        tables = offline.resources(self.proxies.mesh, client.proxy).get(NAMES, ())
        ips_by_host = {host: list(ips) for table in tables for host, ips in name_table.decode(table.body).items()}
        return {"table": {host: {"ips": ips} for host, ips in sorted(ips_by_host.items())}}

    def _instances(self, query: Query, allowed: str) -> Any:
        """The ports of services that the proxy's workload serves."""
        client, mesh = self.client(query, allowed), self.proxies.mesh
        services = {s.host: s for s in debug_mesh.all_services(mesh, client.proxy.namespace)}
        rows = []
        for target in mesh.graph.get(inbound.targets, client.proxy):
            svc = services.get(target.host)
            port = svc.port(target.service_port) if svc is not None else None
            shown = {"name": port.name if port else "", "port": target.service_port, "protocol": str(target.protocol)}
            rows.append(
                {
                    "Service": debug_mesh.service(svc) if svc is not None else {"hostname": target.host},
                    "Port": {"ServicePort": shown, "TargetPort": target.port},
                }
            )
        return {client.proxy.id: rows}

    def _sidecar(self, query: Query, allowed: str) -> Any:
        """What the proxy sees: its Sidecar object, and the services within it."""
        client, mesh = self.client(query, allowed), self.proxies.mesh
        seen = mesh.graph.get(view, client.proxy)
        hosts = set(mesh.graph.get(scope.visible, seen))
        limit = next((o for o in debug_mesh.configuration(mesh, "Sidecar") if _is(o, seen.sidecar)), None)
        return {
            "rootNamespace": mesh.config.root_namespace,
            "name": seen.sidecar.name if seen.sidecar else "default-sidecar",
            "namespace": seen.namespace,
            "outboundTrafficPolicy": {"mode": mesh.config.outbound_mode},
            "services": [debug_mesh.service(s) for s in debug_mesh.all_services(mesh, "*") if s.host in hosts],
            "sidecar": limit["spec"] if limit else None,
        }

    def _disconnect(self, query: Query, allowed: str) -> Any:
        client = self.client(query, allowed)
        client.connection.close()
        return f"{client.proxy.id} is disconnected, and will connect again"

    def _rejected(self, _: Query, allowed: str) -> Any:
        """What proxies have refused, by metric and proxy."""
        rejected: dict[str, dict[str, Object]] = {}
        for client in self.clients(allowed):
            for url, error in client.connection.stream.errors.items():
                metric = f"pilot_xds_{SHORT.get(url, 'other').lower()}_reject"
                rejected.setdefault(metric, {})[client.proxy.id] = {"proxy": client.proxy.id, "message": error}
        return rejected

    # -- the control plane ----------------------------------------------------------------------

    def _cache(self, query: Query, _: str) -> Any:
        if query.get("clear", "").lower() in ("true", "1"):
            self.cache.clear()
        entries: Counter[str] = Counter(self.cache.types())
        sizes = {"totalBytes": self.cache.size} if "sizes" in query else {}
        return {"size": len(self.cache), "entries": dict(entries), **sizes}

    def _changes(self, query: Query, allowed: str) -> Any:
        """The last changes, newest first; of one object with `kind`, `namespace`, `name`; those later than number `after`; with `previous`
        the versions of users' objects that they have replaced."""
        wanted = {k: query[k] for k in ("kind", "namespace", "name") if k in query}
        try:
            limit, after = int(query.get("limit", _CHANGES)), int(query.get("after", 0))
        except ValueError:
            raise ValueError("limit and after are numbers") from None
        return list(self._matching(wanted, limit, after, allowed, "previous" in query))

    def _matching(
        self, wanted: dict[str, str], limit: int, after: int, allowed: str, previous: bool
    ) -> Iterator[Object]:
        for change in reversed(list(self.changes)):
            if change.number <= after or limit <= 0:
                return
            behind = (c for c in self.clients(allowed) if change in c.changes and not c.connection.stream.in_sync)
            page = self.changes.page(change, allowed, [c.proxy.id for c in behind], previous)
            if any(wanted.items() <= each.items() for each in page["objects"]):
                limit -= 1
                yield page


def _is(obj: Object, key: Any) -> bool:
    return key is not None and (obj["metadata"]["name"], obj["metadata"].get("namespace", "")) == (
        key.name,
        key.namespace,
    )
