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
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from sailcloth.api import core
from sailcloth.api.core import Pod
from sailcloth.api.kinds import CORE_KINDS, LEGACY_KINDS, MESH_KINDS, OPTIONAL_KINDS
from sailcloth.api.meta import Finding, Key, Object
from sailcloth.ca.authority import Authority
from sailcloth.ca.service import CertificateService
from sailcloth.injector import webhook
from sailcloth.injector.config import InjectorConfig
from sailcloth.injector.inject import STATUS as SIDECAR_STATUS
from sailcloth.injector.webhook_config import configuration
from sailcloth.kube import RETRIABLE, ApiError, Client
from sailcloth.kube.resources import CONFIGMAPS, MUTATING_WEBHOOKS, NAMESPACES, SECRETS, VALIDATING_WEBHOOKS
from sailcloth.lib.connections import ConnectionLimits, Connections, listen
from sailcloth.lib.grpc_server import GrpcServer
from sailcloth.lib.work_queue import WorkQueue
from sailcloth.mesh import ingress, proxy_configs
from sailcloth.mesh.model import MeshConfig
from sailcloth.mesh.registry import Mesh
from sailcloth.store.kubernetes import KubernetesSource
from sailcloth.xds.server import Server

from . import admission, debug, debug_requests
from .addresses import Addresses, writer
from .config_updates import ConfigUpdates
from .connected_proxies import ConnectedProxies
from .http_route_status import HttpRouteStatus
from .identity import Caller, Verifier, bearer
from .ingress_status import IngressStatus
from .key_fetcher import KeyFetcher
from .rate_limits import RateLimitService
from .registration import Registration
from .status import StatusWriter
from .status_api import KubernetesStatusApi

log = logging.getLogger(__name__)

NAMESPACE = "istio-system"
NAME = "istiod"
CA_SECRET = "istio-ca-secret"
STORE_SECRET = "global-rate-limit-store"
ROOT_CONFIGMAP = "istio-ca-root-cert"


@dataclass(frozen=True)
class Config:
    """Settings of the process, from its JSON file."""

    kubeconfig: str = ""
    address: str = "0.0.0.0"
    http_port: int = 8080
    monitoring_port: int = 15014
    xds_port: int = 15012
    plain_port: int = 0  # plaintext discovery without authentication, for tests on loopback; 0: off
    webhook_port: int = 15017
    ready_fd: int = -1
    workload_cert_ttl_s: int = 86_400
    names: tuple[str, ...] = ()


_KEEPALIVE_S = 60.0  # for the next request on a connection, its head included
# Nobody authenticates at the level of connections here: under pressure the longest idle connection of the busiest address goes.
_HTTP_LIMITS = ConnectionLimits(unauthenticated=512, unauthenticated_s=None)
_DISCOVERY_LIMITS = ConnectionLimits(unauthenticated=2048, unauthenticated_s=20.0)  # many proxies come back at once
_COUNT_S = 0.25
_KEYS_S = 5.0  # how long a new process waits for the keys of tokens, which proxies have already
_RECONNECT_S = 5.0  # how long a new process waits for proxies to reconnect before it writes statuses


class ControlPlane:
    """One instance; `run` returns when cancelled."""

    def __init__(self, client: Client, config: Config) -> None:
        self.client, self.config = client, config
        self.mesh = Mesh(MeshConfig())
        self.verifier = Verifier(client, self.mesh)
        self.proxies = ConnectedProxies(self.mesh, self._authenticate, self.verifier.secret_access)
        self.status = StatusWriter(self.proxies, KubernetesStatusApi(client))
        self.updates = ConfigUpdates(self.mesh, self.proxies, self.status, NAMESPACE)
        self.addresses = Addresses(writer(client))
        self.http_route_status = HttpRouteStatus(client, self.mesh.http_routes)
        self.keys = KeyFetcher(self.mesh, self._apply, self.updates.recompute)
        self.updates.on_settled = self.http_route_status.enqueue_evaluated
        self.ingress_status = IngressStatus(client, NAMESPACE, MeshConfig().ingress_service)
        self.proxies.on_result = lambda _client, _type_url, error: self.updates.proxy_responded(error)
        self.status.on_programmed = self.updates.refusals.in_force
        self.proxies.on_holders = self.status.holders_changed
        self.registration = Registration(client, self.mesh, NAME, self._account)
        self.proxies.registrar = self.registration
        self.proxies.debug = partial(debug_requests.respond, self.proxies, NAME)
        self.limits = RateLimitService(self.mesh.graph, self._authenticate, self._store_credentials)
        self._root = ""  # PEM; set when serving starts
        self.roots = WorkQueue(self._write_root, name="root certificate", retry=RETRIABLE)

    # -- changes --------------------------------------------------------------------------------

    def change(self, key: Key, obj: Object | Finding | None) -> None:
        """Apply one change, and notify the controllers of its kind."""
        if key.kind == "ConfigMap" and key != Key("ConfigMap", NAMESPACE, "istio"):
            return
        if key.kind == "RequestAuthentication" and not isinstance(obj, Finding):
            self.keys.change(key, obj)
        else:
            self._apply(key, obj)

    def _apply(self, key: Key, obj: Object | Finding | None) -> None:
        if not self.updates.change(key, obj) or isinstance(obj, Finding):
            return
        if key.kind == "Namespace" and obj is not None:
            self.roots.add(key.name)
        elif key.kind == "ServiceEntry":
            self.addresses.change(key, obj)
        elif isinstance(obj, core.Ingress) and ingress.is_ours(obj):
            self.ingress_status.follow(key)

    # -- identity and status --------------------------------------------------------------------

    async def _authenticate(self, metadata: dict[str, str]) -> Caller | None:
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
        source = KubernetesSource(self.client, [*CORE_KINDS, *MESH_KINDS], [*OPTIONAL_KINDS, *LEGACY_KINDS])
        tasks = [asyncio.create_task(source.run(self.change), name="store")]
        authority = await self._authority()
        lifetime = dt.timedelta(seconds=self.config.workload_cert_ttl_s)
        certificates = CertificateService(authority, self.verifier.identity, lifetime)
        names = (
            "istiod.istio-system.svc",
            "istiod.istio-system",
            "istiod",
            "localhost",
            "127.0.0.1",
            *self.config.names,
        )
        chain, key = authority.server([n for n in names if n], dt.timedelta(days=365))
        await source.synced()
        await self.keys.tried(_KEYS_S)
        self.updates.synced()
        server = self._grpc_server(certificates, _tls(chain, key), tasks)
        runner = await self._http_server(_tls(chain, key), tasks)
        await self._install_webhooks(authority)
        tasks.append(asyncio.create_task(self.status.run(), name="status"))
        tasks.append(asyncio.create_task(self.ingress_status.run(), name="ingresses"))
        tasks.append(asyncio.create_task(self.http_route_status.run(), name="http routes"))
        tasks.append(asyncio.create_task(self.addresses.run(), name="addresses"))
        tasks.append(asyncio.create_task(self.registration.run(), name="registration"))
        self._root = authority.certificate_pem.decode()
        tasks.append(asyncio.create_task(self.roots.run(), name="roots"))
        tasks.append(asyncio.create_task(self._watch_proxies(), name="proxies"))
        log.info("serving discovery on %s:%d", self.config.address, self.config.xds_port)
        if self.config.ready_fd >= 0:
            os.write(self.config.ready_fd, b"1")
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await self.keys.close()
            await server.close()
            await self.limits.close()
            await runner.cleanup()

    async def _authority(self) -> Authority:
        """The root CA from its Secret, which the first start creates."""
        try:
            secret = await self.client.get(SECRETS, CA_SECRET, NAMESPACE)
        except ApiError as error:
            if error.status != 404:
                raise
        else:
            return _load(secret)
        authority = Authority.create()
        try:
            await self.client.create(SECRETS, _secret(authority))
        except ApiError as error:
            if error.status != 409:
                raise
            return _load(await self.client.get(SECRETS, CA_SECRET, NAMESPACE))
        return authority

    def _grpc_server(
        self, certificates: CertificateService, context: ssl.SSLContext, tasks: list[asyncio.Task[None]]
    ) -> GrpcServer:
        """Serve discovery, certificates and rate limits; the tasks that accept connections are added to `tasks`."""
        connections = Connections("the control plane's discovery port", _DISCOVERY_LIMITS)
        unary = {**certificates.methods(), **self.limits.methods()}
        server = GrpcServer(unary, Server(self.proxies).methods(), connections)
        context.set_alpn_protocols(["h2"])
        secure = connections.serve(listen(self.config.address, self.config.xds_port), server.protocol, context)
        tasks.append(asyncio.create_task(secure, name="discovery"))
        if self.config.plain_port:
            plain = connections.serve(listen("127.0.0.1", self.config.plain_port), server.protocol, None)
            tasks.append(asyncio.create_task(plain, name="plain discovery"))
        return server

    async def _http_server(self, context: ssl.SSLContext, tasks: list[asyncio.Task[None]]) -> web.AppRunner:
        """Serve the HTTP ports; the tasks that accept connections are added to `tasks`."""

        async def ready(_: web.Request) -> web.Response:
            return web.Response(text="ready")

        async def version(_: web.Request) -> web.Response:
            return debug.json(debug_requests.build_info())

        app = web.Application(client_max_size=8 << 20)
        app.add_routes(
            [
                web.get("/ready", ready),
                *debug.routes(self.proxies, NAME, self._debug_scope),
                web.get("/metrics", self._metrics),
                web.get("/version", version),
            ]
        )
        app.router.add_post("/inject", webhook.handler(self._injector))
        app.router.add_post(admission.PATH, admission.validate_objects)
        runner = web.AppRunner(app, access_log=None, keepalive_timeout=_KEEPALIVE_S)
        await runner.setup()
        assert runner.server is not None
        connections = Connections("the control plane's HTTP ports", _HTTP_LIMITS)
        ports = {self.config.http_port: None, self.config.monitoring_port: None, self.config.webhook_port: context}
        for port, tls in ports.items():
            accepting = connections.serve(listen(self.config.address, port), runner.server, tls)
            tasks.append(asyncio.create_task(accepting, name=f"port {port}"))
        return runner

    async def _debug_scope(self, request: web.Request) -> str:
        """The namespace whose proxies a caller may see; `*` for all. Callers on this machine (such as port-forward and the API
        server of a local cluster) and tokens of the installation's namespace see all; other tokens see their own namespace.
        Raises PermissionError."""
        transport = request.transport
        own_address, peer_address = (
            transport.get_extra_info(name) if transport is not None else None for name in ("sockname", "peername")
        )
        if own_address and peer_address and own_address[0] == peer_address[0]:
            return "*"
        namespace = (
            await self.verifier.caller(bearer({"authorization": request.headers.get("Authorization", "")}))
        ).namespace
        return "*" if namespace == NAMESPACE else namespace

    async def _metrics(self, _: web.Request) -> web.Response:
        name = "sailcloth_rate_limit_store_failures_total"
        text = f"# HELP {name} Requests admitted without counting, because the store of GLOBAL limits did not answer.\n"
        return web.Response(text=f"{text}# TYPE {name} counter\n{name} {self.limits.failures}\n")

    def _injector(self, namespace: str, labels: dict[str, str]) -> InjectorConfig:
        """The injection settings for a pod, from the current mesh options."""
        return InjectorConfig(proxy_config=proxy_configs.options(self.mesh.graph, namespace, labels))

    async def _install_webhooks(self, authority: Authority) -> None:
        pem = authority.certificate_pem
        await self.client.apply(MUTATING_WEBHOOKS, configuration(pem), field_manager=NAME, force=True)
        await self.client.apply(VALIDATING_WEBHOOKS, admission.configuration(pem), field_manager=NAME, force=True)

    async def _write_root(self, namespace: str) -> None:
        """Write the root certificate to a ConfigMap in the namespace, for its pods' agents."""
        manifest = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": ROOT_CONFIGMAP, "namespace": namespace, "labels": {"istio.io/config": "true"}},
            "data": {"root-cert.pem": self._root},
        }
        try:
            await self.client.apply(CONFIGMAPS, manifest, field_manager=NAME, force=True)
        except ApiError as error:
            if error.status not in (403, 404, 409):  # the namespace is being deleted
                raise

    def _awaits_proxies(self) -> bool:
        """Whether a running pod with a sidecar is not connected yet."""
        connected = {(c.proxy.namespace, c.proxy.name) for c in self.proxies.clients.values()}
        return any(
            (key.namespace, key.name) not in connected
            for key, obj in self.mesh.objects.items()
            if isinstance(obj, Pod)
            and obj.status.phase == "Running"
            and (
                SIDECAR_STATUS in obj.metadata.annotations or any(c.name == "istio-proxy" for c in obj.spec.containers)
            )
        )

    async def _watch_proxies(self) -> None:
        """Start the status writer when the proxies have reconnected; then refresh statuses, which count proxies, when their
        number changes."""
        end = time.monotonic() + _RECONNECT_S
        while self._awaits_proxies() and time.monotonic() < end:  # noqa: ASYNC110
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
                self.status.proxies_changed()
            last = count


def _tls(chain: bytes, key: bytes) -> ssl.SSLContext:
    """TLS for a server with this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # The ssl module loads certificates only from files; this one has mode 0600 and is deleted at once.
    with tempfile.NamedTemporaryFile() as file:
        file.write(chain + key)
        file.flush()
        context.load_cert_chain(file.name)
    return context


def _secret(authority: Authority) -> dict[str, Any]:
    data = {"ca-cert.pem": authority.certificate_pem, "ca-key.pem": authority.key_pem}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "istio.io/ca-root",
        "metadata": {"name": CA_SECRET, "namespace": NAMESPACE},
        "data": {k: base64.b64encode(v).decode() for k, v in data.items()},
    }


def _load(secret: dict[str, Any]) -> Authority:
    data = secret.get("data") or {}
    return Authority.load(base64.b64decode(data["ca-cert.pem"]), base64.b64decode(data["ca-key.pem"]))


async def serve(config: Config) -> None:
    """Run until SIGTERM or SIGINT."""
    while config.kubeconfig and not Path(config.kubeconfig).exists():  # noqa: ASYNC110
        await asyncio.sleep(0.01)  # the API server, which starts at the same time, writes the file
    client = Client.from_kubeconfig(config.kubeconfig) if config.kubeconfig else Client.load()
    async with client:
        await _server_ready(client)
        task = asyncio.create_task(ControlPlane(client, config).run())
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _server_ready(client: Client) -> None:
    """Wait until the API server responds and the installation's namespace exists."""
    delay = 0.02
    while True:
        try:
            await client.get(NAMESPACES, NAMESPACE)
            return
        except (ApiError, OSError) as error:
            if isinstance(error, ApiError) and error.status not in (404, 429, 500, 503):
                raise
            if delay > 0.5:
                log.info("waiting for the API server: %s", error)
            await asyncio.sleep(delay)
            delay = min(delay * 1.5, 1.0)


def load_config(path: str) -> Config:
    """Settings from a JSON file. Raises msgspec.ValidationError for wrong types."""
    with open(path, "rb") as file:
        return msgspec.json.decode(file.read(), type=Config)
