"""The control plane as a process: store → activation → mesh → connected proxies; also CA, webhooks, statuses, debug pages.

A change is pushed in the same turn of the event loop, together with others of that turn. If this process dies, proxies keep
their configuration; a new process sends only what has changed. Must not know the embedded cluster.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime as dt
import logging
import os
import signal
import ssl
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from aiohttp import web

from sailcloth.api import core
from sailcloth.api.core import Pod
from sailcloth.api.kinds import CORE_KINDS, LEGACY_KINDS, MESH_KINDS, OPTIONAL_KINDS
from sailcloth.api.meta import Finding, Key, Object
from sailcloth.api.revision import suffixed
from sailcloth.ca.plugged_in import InvalidCa
from sailcloth.ca.service import METRICS, CertificateService
from sailcloth.injector import values as injector_values
from sailcloth.injector import webhook
from sailcloth.injector.config import InjectorConfig
from sailcloth.injector.inject import STATUS as SIDECAR_STATUS
from sailcloth.kube import Client
from sailcloth.lib.connections import ConnectionLimits, Connections, listen
from sailcloth.lib.grpc_server import GrpcServer
from sailcloth.mesh import gateway_parameters, ingress, mesh_config, proxy_configs
from sailcloth.mesh.model import MeshConfig
from sailcloth.mesh.registry import Mesh
from sailcloth.store.kubernetes import KubernetesSource
from sailcloth.xds.server import Server

from . import admission, debug, debug_requests, http_ports, leadership, replicas, start
from .addresses import Addresses, writer
from .backend_tls_status import BackendTlsStatus
from .certificates import Certificates
from .config_updates import ConfigUpdates
from .connected_proxies import ConnectedProxies
from .debug_pages import DebugPages
from .events import FindingEvents
from .gateway_deployments import GatewayDeployments
from .gateway_status import GatewayStatus
from .http_route_status import HttpRouteStatus
from .identity import Caller, Verifier, bearer
from .ingress_status import IngressStatus
from .key_fetcher import KeyFetcher
from .listener_set_status import ListenerSetStatus
from .mesh_namespaces import MeshNamespaces
from .metrics import Metrics
from .rate_limits import RateLimitService
from .registration import Registration
from .replicas import HeldPage, Replicas, Siblings
from .revisions import Revisions
from .root_bundles import RootBundles
from .server_tls import ServerTls
from .settings import Config
from .status import StatusWriter
from .status_api import KubernetesStatusApi
from .verdicts import CONDITION_KINDS
from .webhooks import Webhooks
from .writers import Admits, Writer, Writers

log = logging.getLogger(__name__)

NAMESPACE = "istio-system"
NAME = "istiod"
STORE_SECRET = "global-rate-limit-store"  # noqa: S105  the name of a Secret


_LOCAL_NAMES = ("localhost", "127.0.0.1")
_DISCOVERY_LIMITS = ConnectionLimits(unauthenticated=2048, unauthenticated_s=20.0)  # many proxies come back at once
_COUNT_S = 0.25
_WRITING = "writing"  # the task of a replica that may lead
_KEYS_S = 5.0  # how long a new process waits for the keys of tokens, which proxies have already
_RECONNECT_S = 5.0  # how long a new process waits for proxies to reconnect before it writes statuses


class ControlPlane:
    """One instance; `run` returns when cancelled."""

    def __init__(self, client: Client, config: Config) -> None:
        self.client, self.config = client, config
        self._name = leadership.identity() if config.lease else NAME
        self._ending = asyncio.Event()
        self.mesh = Mesh(mesh_config.parse("", MeshConfig(compliance_policy=config.compliance_policy)))
        self.namespaces = MeshNamespaces(NAMESPACE, lambda: self.mesh.config)
        kinds = [*CORE_KINDS, *MESH_KINDS], [*OPTIONAL_KINDS, *LEGACY_KINDS]
        self.source = KubernetesSource(client, *kinds, NAMESPACE, self.namespaces.selected)
        self.verifier = Verifier(client, self.mesh)
        self.proxies = ConnectedProxies(self.mesh, self._authenticate, self.verifier.secret_access)
        self.revisions = Revisions(NAMESPACE, config.revision, self._deliver)
        self.siblings = Siblings(NAMESPACE, NAME, config.webhook_port, os.environ.get("POD_IP", ""))
        self.replicas = Replicas(self.siblings.addresses, replicas.pod_token, self._trusting, f"{NAME}.{NAMESPACE}.svc")
        self.held = HeldPage(self.proxies, CONDITION_KINDS)
        self.status = StatusWriter(self.proxies, KubernetesStatusApi(client), replicas=self.replicas)
        self.replicas.on_change = self._proxies_changed
        self.updates = ConfigUpdates(self.mesh, self.proxies, self.status, NAMESPACE)
        self.addresses = Addresses(writer(client))
        self.http_route_status = HttpRouteStatus(client, self.mesh.http_routes, self.mesh.gateways, self.status.counted)
        self.gateway_deployments = GatewayDeployments(client, self.mesh.gateways, config.revision)
        self.gateway_status = GatewayStatus(client, self.mesh.gateways)
        programmed = self.gateway_status.programmed.get
        self.listener_set_status = ListenerSetStatus(client, self.mesh.gateways, programmed)
        self.gateway_status.on_programmed = self.listener_set_status.gateway_changed
        self.backend_tls_status = BackendTlsStatus(client, self.mesh.backend_tls, self.mesh.gateways)
        self.keys = KeyFetcher(self.mesh, self._apply, self.updates.recompute)
        self.updates.on_settled = self._settled
        self.ingress_status = IngressStatus(client, NAMESPACE, MeshConfig().ingress_service)
        self.proxies.on_result = self._proxy_responded
        self.status.on_programmed = self.updates.refusals.in_force
        self.events = FindingEvents(client)
        self.status.on_findings = self.events.found
        self.proxies.on_holders = self._holders_changed
        self.registration = Registration(client, self.mesh, self._name, self._account)
        self.proxies.registrar = self.registration
        self.discovery = Server(self.proxies)
        self.limits = RateLimitService(self.mesh.graph, self._authenticate_request, self._store_credentials)
        lifetime = dt.timedelta(seconds=config.workload_cert_ttl_s)
        longest = dt.timedelta(seconds=config.max_workload_cert_ttl_s)
        self.certificates = Certificates(client, NAMESPACE, lifetime, self._untrusting)
        self.pages = DebugPages(
            self.proxies,
            self.updates.changes,
            self._name,
            self.certificates.status,
            lambda: {"values": asdict(self._injector("", {}))},
            self.discovery.cache,
        )
        self.proxies.debug = partial(debug_requests.respond, self.pages)
        self.signing = CertificateService(self.certificates, self.verifier.identity, lifetime, longest)
        self.roots = RootBundles(client, NAMESPACE, self.certificates, self.namespaces.__contains__)
        self.webhooks = Webhooks(client, NAMESPACE, config.revision, self.revisions, lambda: self.certificates.bundle)
        self.certificates.on_bundle = self._bundle_changed
        self.writers = self._writers()
        self.revisions.on_change = self._revision_changed
        self._injector_config = InjectorConfig()
        self.metrics = Metrics(self.mesh, self.proxies, self._counters, self._gauges)
        self.proxies.on_answer = self.metrics.answered

    # -- changes --------------------------------------------------------------------------------

    def _deliver(self, key: Key, obj: Object | Finding | None) -> None:
        """Apply one change of what this revision reads, and notify the controllers of its kind."""
        self.metrics.changed(key, obj)
        if key.kind == "Namespace":
            self.namespaces.change(key, obj)
            self.source.reselect()
        self.roots.change(key, obj)
        self.siblings.change(key, obj)
        if key == Key("ConfigMap", NAMESPACE, "istio-sidecar-injector"):
            self._configure_injector(obj)
        if key.kind == "ConfigMap" and key != Key("ConfigMap", NAMESPACE, "istio"):
            # Of others only CA certificates and parameters are of interest, to Gateways.
            wanted = isinstance(obj, core.ConfigMap) and (
                "ca.crt" in obj.data or gateway_parameters.is_of_interest(obj)
            )
            obj = obj if wanted else None
            if obj is None and key not in self.mesh.objects:
                return
        if key.kind == "RequestAuthentication" and not isinstance(obj, Finding):
            self.keys.change(key, obj)
        else:
            self._apply(key, obj)

    def _apply(self, key: Key, obj: Object | Finding | None) -> None:
        if not self.updates.change(key, obj) or isinstance(obj, Finding):
            return
        if key == Key("ConfigMap", NAMESPACE, "istio"):
            self.certificates.trust_also(self.mesh.config.ca_certificates)
            self.source.reselect()
            self.roots.reselect()
        if key.kind == "ServiceEntry":
            self.addresses.change(key, obj)
        elif isinstance(obj, core.Ingress) and ingress.is_ours(obj):
            self.ingress_status.follow(key)

    def _proxy_responded(self, _client: object, _type_url: str, error: str) -> None:
        self.held.outdated()
        self.updates.proxy_responded(error)
        self.http_route_status.proxies_changed()

    def _settled(self) -> None:
        """Changes have taken effect: queue what they concern beyond the proxies."""
        self.gateway_deployments.follow(self.mesh.gateways.gateways_evaluated)
        self.gateway_status.enqueue_evaluated()
        self.listener_set_status.enqueue_evaluated()
        self.http_route_status.enqueue_evaluated()
        self.backend_tls_status.enqueue_evaluated()

    def _revision_changed(self) -> None:
        self.writers.readmit()
        self.status.reread()
        self.webhooks.changed()

    # -- identity and status --------------------------------------------------------------------

    async def _authenticate(self, metadata: dict[str, str]) -> Caller | None:
        """The caller that opens a stream: its token is verified anew, so that one of a deleted pod or account is refused at once."""
        if metadata.get("x-sailcloth-plain") == "1" and self.config.plain_port:
            return None
        return await self.verifier.caller(bearer(metadata), fresh=True)

    async def _authenticate_request(self, metadata: dict[str, str]) -> Caller | None:
        """The caller of one request of many."""
        if metadata.get("x-sailcloth-plain") == "1" and self.config.plain_port:
            return None
        return await self.verifier.caller(bearer(metadata))

    def _store_credentials(self) -> tuple[str, str]:
        """User name and password of the store of GLOBAL limits, from its Secret; empty if there is none."""
        secret = self.mesh.objects.get(Key("Secret", NAMESPACE, STORE_SECRET))
        data = secret.data if isinstance(secret, core.Secret) else {}
        name, password = (
            base64.b64decode(data.get(k, "")).decode(errors="replace").strip() for k in ("username", "password")
        )
        return name, password

    async def _account(self, metadata: dict[str, str]) -> str:
        """The service account of a caller's token."""
        return (await self.verifier.caller(bearer(metadata))).account

    # -- start ----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until cancelled."""
        tasks = [asyncio.create_task(self.source.run(self.revisions.change), name="store")]
        await self.certificates.start()
        minimum = ssl.TLSVersion.TLSv1_3 if self.config.compliance_policy == "pqc" else ssl.TLSVersion.TLSv1_2
        tls = ServerTls((*self._names(), *self.config.names), lambda: self.certificates.server_authority, minimum)
        self.certificates.on_issuer = tls.renew
        await self.source.synced()
        await self.keys.tried(_KEYS_S)
        self.updates.synced()
        server = self._grpc_server(tls.context("h2"), tasks)
        runner = await self._http_server(tls.context(), tasks)
        await self.certificates.reconcile()
        tasks.append(asyncio.create_task(self.certificates.run(), name="certificates"))
        tasks.append(asyncio.create_task(tls.run(), name="server certificate"))
        if self.config.lease:
            lead = leadership.Leadership(self.client, NAMESPACE, self.config.lease, leadership.identity())
            tasks.append(asyncio.create_task(self.replicas.run(), name="replicas"))
            tasks.append(asyncio.create_task(lead.run(self.writers.lead), name=_WRITING))
        else:
            tasks += self.writers.tasks()
        tasks.append(asyncio.create_task(self.registration.run(), name="registration"))
        tasks.append(asyncio.create_task(self.webhooks.run(), name="webhook configurations"))
        tasks.append(asyncio.create_task(self._watch_proxies(), name="proxies"))
        log.info("serving discovery on %s:%d", self.config.address, self.config.xds_port)
        if self.config.ready_fd >= 0:
            os.write(self.config.ready_fd, b"1")
        ending = asyncio.create_task(self._ending.wait(), name="end")
        try:
            done, _ = await asyncio.wait((*tasks, ending), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            await self._drain(server, tasks)
        finally:
            ending.cancel()
            for task in tasks:
                task.cancel()
            await self.keys.close()
            await server.close()
            await self.limits.close()
            await runner.cleanup()

    def end(self) -> None:
        """Let another replica write, send the proxies elsewhere, and return from `run`."""
        self._ending.set()

    async def _drain(self, server: GrpcServer, tasks: list[asyncio.Task[None]]) -> None:
        """Changes are pushed meanwhile."""
        for task in tasks:
            if task.get_name() == _WRITING:
                task.cancel()
        log.info(
            "ending: %d proxies are sent to other replicas within %.0f s",
            len(self.proxies.clients),
            self.config.drain_s,
        )
        await server.close(over_s=self.config.drain_s)

    def _writers(self) -> Writers:
        own = self.revisions
        by_name: dict[str, tuple[Writer, Admits]] = {
            "status": (self.status, own.writes),
            "events": (self.events, own.writes),
            "ingresses": (self.ingress_status, own.writes),
            "routes": (self.http_route_status, own.writes),
            "gateway deployments": (self.gateway_deployments, own.deploys),
            "gateway statuses": (self.gateway_status, own.writes),
            "ListenerSet statuses": (self.listener_set_status, own.writes),
            "backend TLS policies": (self.backend_tls_status, own.writes),
            "addresses": (self.addresses, own.writes),
            "roots": (self.roots, lambda _: own.is_default),
        }
        return Writers(by_name)

    def _trusting(self) -> ssl.SSLContext:
        """A context for calls of other replicas."""
        return ssl.create_default_context(cadata=self.certificates.bundle.decode())

    def _proxies_changed(self) -> None:
        """Proxies, of this replica or another, have come or gone or answered."""
        self.status.proxies_changed()
        self.http_route_status.proxies_changed()

    def _holders_changed(self, keys: set[Key]) -> None:
        self.held.outdated()
        self.status.holders_changed(keys)

    def _grpc_server(self, context: ssl.SSLContext, tasks: list[asyncio.Task[None]]) -> GrpcServer:
        """Serve discovery, certificates and rate limits; the tasks that accept connections are added to `tasks`."""
        connections = Connections("the control plane's discovery port", _DISCOVERY_LIMITS)
        unary = {**self.signing.methods(), **self.limits.methods()}
        server = GrpcServer(unary, self.discovery.methods(), connections)
        secure = connections.serve(listen(self.config.address, self.config.xds_port), server.protocol, context)
        tasks.append(asyncio.create_task(secure, name="discovery"))
        if self.config.plain_port:
            plain = connections.serve(listen("127.0.0.1", self.config.plain_port), server.protocol, None)
            tasks.append(asyncio.create_task(plain, name="plain discovery"))
        return server

    async def _http_server(self, context: ssl.SSLContext, tasks: list[asyncio.Task[None]]) -> web.AppRunner:
        """Serve the HTTP ports; the tasks that accept connections are added to `tasks`."""
        plain = (self.config.http_port, self.config.monitoring_port, self.config.controlz_port)
        routes = (
            *debug.routes(self.pages, self._debug_scope),
            web.get("/metrics", self._metrics),
            web.get(replicas.PATH, replicas.handler(self.held, self._debug_scope)),
            web.post("/inject", webhook.handler(self._injector, self.metrics.injected)),
            web.post(admission.PATH, admission.handler(self.metrics.validated, lambda: self.revisions.known)),
        )
        ports = http_ports.Ports(self.config.address, plain, self.config.webhook_port)
        return await http_ports.serve(routes, ports, context, tasks)

    async def _debug_scope(self, request: web.Request) -> str:
        return await http_ports.scope(request, self.verifier, NAMESPACE)

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self.metrics.page(), content_type="text/plain", charset="utf-8")

    def _counters(self) -> dict[str, tuple[str, float]]:
        """Metrics of other parts, for `Metrics`: name to (text, value)."""
        return {
            "sailcloth_rate_limit_store_failures_total": (
                "Requests admitted without counting, because the store of GLOBAL limits did not answer.",
                self.limits.failures,
            ),
            **{f"citadel_server_{k}": (text, self.signing.counts[k]) for k, text in METRICS.items()},
            **{
                f"pilot_jwks_resolver_network_fetch_{k}_total": ("Fetches of keys for tokens.", self.keys.fetches[k])
                for k in ("success", "fail")
            },
        }

    def _gauges(self) -> dict[str, tuple[str, float]]:
        return {f"citadel_server_{k}": ("See its name.", value) for k, value in self.certificates.metrics().items()}

    def _injector(self, namespace: str, labels: dict[str, str]) -> InjectorConfig:
        """The injection settings for a pod, from the current mesh options."""
        return replace(self._injector_config, proxy_config=proxy_configs.options(self.mesh.graph, namespace, labels))

    def _configure_injector(self, obj: Object | Finding | None) -> None:
        try:
            self._injector_config = injector_values.of_config_map(obj.data if isinstance(obj, core.ConfigMap) else {})
        except ValueError as error:
            log.error("ConfigMap %s/istio-sidecar-injector: %s; the settings before stay in effect", NAMESPACE, error)

    async def _bundle_changed(self) -> None:
        """Give the roots to the API server, which calls the webhooks, and to all namespaces."""
        await self.webhooks.write()
        await self.roots.publish()

    def _names(self) -> tuple[str, ...]:
        """The names of this control plane's certificate."""
        services = dict.fromkeys((suffixed(NAME, self.config.revision), NAME))
        return (*(f"{s}{rest}" for s in services for rest in (f".{NAMESPACE}.svc", f".{NAMESPACE}", "")), *_LOCAL_NAMES)

    def _untrusting(self, root: str) -> list[str]:
        """The proxies, connected or not, that do not say that they trust a root."""
        own = {c.proxy.id for c in self.proxies.clients.values() if root not in c.trusted_roots}
        others = self.replicas.proxies - self.replicas.trusting(root)
        return sorted({*own, *others, *(f"{name}.{namespace}" for namespace, name in self._missing_proxies())})

    def _missing_proxies(self) -> Iterator[tuple[str, str]]:
        """(namespace, name) of running pods with a sidecar that is not connected."""
        connected = {c.proxy.id for c in self.proxies.clients.values()} | self.replicas.proxies
        return (
            (key.namespace, key.name)
            for key, obj in self.mesh.objects.items()
            if isinstance(obj, Pod)
            and f"{key.name}.{key.namespace}" not in connected
            and obj.status.phase == "Running"
            and (
                SIDECAR_STATUS in obj.metadata.annotations or any(c.name == "istio-proxy" for c in obj.spec.containers)
            )
        )

    async def _watch_proxies(self) -> None:
        """Start the status writer when the proxies have reconnected; then refresh statuses, which count proxies, when their
        number changes."""
        end = time.monotonic() + _RECONNECT_S
        while any(self._missing_proxies()) and time.monotonic() < end:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        self.status.start_writing()
        reported, last, reported_at = -1, -1, 0.0
        while True:
            await asyncio.sleep(_COUNT_S)
            now, count = time.monotonic(), len(self.proxies.clients)
            if count == reported:
                reported_at = now
            elif count == last or now - reported_at > _RECONNECT_S:  # wait until the number is stable, but not for ever
                reported, reported_at = count, now
                self.held.outdated()
                self._proxies_changed()
            last = count


async def serve(config: Config) -> None:
    """Run until SIGTERM or SIGINT."""
    while config.kubeconfig and not Path(config.kubeconfig).exists():  # noqa: ASYNC110
        await asyncio.sleep(0.01)  # the API server, which starts at the same time, writes the file
    client = Client.from_kubeconfig(config.kubeconfig) if config.kubeconfig else Client.load()
    async with client:
        await start.until_ready(client, NAMESPACE)
        plane = ControlPlane(client, config)
        task = asyncio.create_task(plane.run())
        stop = plane.end if config.drain_s else task.cancel
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop)
        with contextlib.suppress(asyncio.CancelledError):
            try:
                await task
            except InvalidCa as error:
                raise SystemExit(str(error)) from None
