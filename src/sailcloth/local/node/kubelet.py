"""The kubelet: the Node object and its lease, one worker per pod, pod addresses, events, DNS and Service addresses."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ipaddress
import logging
import os
import random
import socket
from pathlib import Path
from typing import Any

import msgspec
import orjson

from sailcloth.agent.node_agent import Agent
from sailcloth.agent.protocol import NodeAgent
from sailcloth.kube import ApiError, Client, Informer, Resource
from sailcloth.kube.resources import CONFIGMAPS, ENDPOINTSLICES, EVENTS, LEASES, NODES, PODS, SECRETS, SERVICES
from sailcloth.local import dns, mounts, network, pod_users
from sailcloth.local.cgroups import Groups
from sailcloth.local.images.catalog import Catalog
from sailcloth.local.kubeproxy import KubeProxy

from . import (
    garbage_collection,
    load_balancer,
    mirror_pod,
    node_object,
    persistent_volume_claims,
    routing,
    sandbox,
    streaming_server,
)
from .load_balancer import LoadBalancer
from .pod_worker import PodWorker

log = logging.getLogger(__name__)

Object = dict[str, Any]
NODE = "sailcloth"
_ROOTS = ("istio-system", "istio-ca-root-cert")  # the ConfigMap with the mesh's root certificates
_REVOKED = ("istio-system", "istio-ca-crl")
_LEASE_S = 40
_PRIVILEGED = 1024  # ports below need a privilege, unless the host's settings say otherwise


class Config(msgspec.Struct, frozen=True):
    """Settings of the process."""

    kubeconfig: str
    zygote: str
    socket: str
    pods: str
    logs: str
    names: str = ""  # file with the names that the cluster's DNS knows, for the next process
    dns_fds: tuple[int, int] = (-1, -1)  # sockets of the cluster's DNS, UDP and TCP; without them there is none
    resolver_fd: int = -1  # socket of the host's network, connected to its name server
    host_ports: dict[str, int] = {}
    home: str = ""  # home directory of the cluster's user, masked in pods
    images: str = ""  # file with the user's images
    publish_fd: int = -1  # socket on which the launcher hands out listening sockets of the host
    bind_swap: bool = True  # publish host ports by replacing sockets where the kernel can, otherwise by a relay
    control_plane: str = "10.42.0.1:15012"
    certificate_lifetime_s: int = 0
    groups: dict[str, str] = {}  # the cluster's control group, by controller
    load_balancers: str = ""  # the range of their addresses on the host's loopback
    number: int = 0  # of the cluster, which tells its pods' users on the host
    allow_privileged: bool = False  # privileged containers and hostPath volumes
    telemetry: bool = False  # processes with metrics and traces, and with the console, run beside this one


class Kubelet:
    """Implements `pod_state.Node`."""

    def __init__(self, client: Client, config: Config) -> None:
        self.client, self._config = client, config
        self.agent: NodeAgent = Agent(
            config.control_plane,
            self._roots,
            self._token,
            certificate_lifetime_s=config.certificate_lifetime_s,
            revoked=self._revoked,
            resolve=self._address_of,
        )
        self.zygote = config.zygote
        self.pods_dir, self.logs_dir = Path(config.pods), Path(config.logs)
        self.host_ports = {int(k): v for k, v in config.host_ports.items()}
        self.bind_swap = config.bind_swap
        self.load_balancers = config.load_balancers
        self.masked_paths = mounts.masked_paths(config.home, str(self.pods_dir.parents[1]))
        self.images = Catalog(config.images)
        self.groups = Groups(config.groups)
        self.allow_privileged = config.allow_privileged
        self._first_user, count = pod_users.host_range(config.number)
        self.many_users = count > 1
        self.proxy_user = pod_users.PROXY if self.many_users else 0
        self.service_env: dict[str, str] = {}
        self.workers: dict[str, PodWorker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._addresses: dict[str, str] = {}
        self._counts: dict[tuple[str, str, str], tuple[str, int]] = {}
        self._services: dict[tuple[str, str], Object] = {}
        self._slices: dict[tuple[str, str], Object] = {}
        self._zone = dns.Zone()
        self._zone.complete = False
        self._dns: dns.Server | None = None
        self._names: tuple[dict[str, list[str]], dict[str, str]] | None = None  # as they were written
        self._proxy = KubeProxy(config.load_balancers)
        self._services_changed = asyncio.Event()
        self._load_balancer: LoadBalancer | None = None
        mirrored = [mirror_pod.CONTROL_PLANE, *([mirror_pod.TELEMETRY, mirror_pod.CONSOLE] if config.telemetry else [])]
        self._mirrors = [mirror_pod.MirrorPod(client, NODE, self.logs_dir, of) for of in mirrored]

    # -- used by pod workers --------------------------------------------------------------------

    def give(self, path: str, uid: int) -> None:
        """Give a file on disk to a user of the pods, as which those find it through `namespaces.bind`."""
        if self.many_users:
            os.chown(path, uid, uid)

    def allocate(self, uid: str, wanted: str) -> str:
        """The address of a pod, allocated if it has none. `wanted` is tried first. Raises OSError if none is free."""
        if uid in self._addresses:
            return self._addresses[uid]
        taken = set(self._addresses.values())
        if wanted and wanted not in taken:
            self._addresses[uid] = wanted
            return wanted
        base = int(ipaddress.ip_network(network.POD_CIDR).network_address)
        start = random.randrange(2, 60_000)  # do not reuse addresses at once: old connections may linger
        for offset in range(65_000):
            candidate = str(ipaddress.ip_address(base + 2 + (start + offset) % 65_000))
            if candidate not in taken:
                self._addresses[uid] = candidate
                return candidate
        raise OSError("all pod addresses are in use")

    def release(self, uid: str) -> None:
        self._addresses.pop(uid, None)

    def pod_addresses_changed(self) -> None:
        self._services_changed.set()

    async def event(self, pod: Object, kind: str, reason: str, text: str, container: str = "") -> None:
        """Record an event, or count it if it was recorded before."""
        metadata = pod["metadata"]
        now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        key = (metadata["uid"], reason, text)
        known = self._counts.get(key)
        try:
            if known is not None:
                self._counts[key] = (known[0], known[1] + 1)
                patch = {"count": known[1] + 1, "lastTimestamp": now}
                await self.client.patch(EVENTS, known[0], metadata["namespace"], patch)
                return
            reference = {
                "apiVersion": "v1",
                "kind": pod.get("kind") or "Pod",
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "uid": metadata["uid"],
            }
            if container:
                reference["fieldPath"] = f"spec.containers{{{container}}}"
            created = await self.client.create(
                EVENTS,
                {
                    "apiVersion": "v1",
                    "kind": "Event",
                    "metadata": {"generateName": f"{metadata['name']}.", "namespace": metadata["namespace"]},
                    "involvedObject": reference,
                    "type": kind,
                    "reason": reason,
                    "message": text[:1024],
                    "source": {"component": "kubelet", "host": NODE},
                    "firstTimestamp": now,
                    "lastTimestamp": now,
                    "count": 1,
                    "reportingComponent": "kubelet",
                    "reportingInstance": NODE,
                },
            )
            if len(self._counts) > 5000:
                self._counts.clear()
            self._counts[key] = (created["metadata"]["name"], 1)
        except (ApiError, OSError):
            self._counts.pop(key, None)

    async def _roots(self) -> bytes:
        """The mesh's root certificate, once the control plane has published it."""
        while True:
            with contextlib.suppress(ApiError, OSError):
                obj = await self.client.get(CONFIGMAPS, _ROOTS[1], _ROOTS[0])
                return str(obj["data"]["root-cert.pem"]).encode()
            await asyncio.sleep(0.05)

    async def _revoked(self) -> bytes:
        """The mesh's certificate revocation lists; empty if there are none."""
        while True:
            try:
                obj = await self.client.get(CONFIGMAPS, _REVOKED[1], _REVOKED[0])
                return str(obj["data"]["ca-crl.pem"]).encode()
            except ApiError as error:
                if error.status == 404:
                    return b""
            except OSError:
                pass
            await asyncio.sleep(0.05)

    async def _address_of(self, host: str) -> str:
        """The address of a name in the cluster, which may be short as in a pod; empty for other names. Raises OSError."""
        for name in (host, f"{host}.cluster.local", f"{host}.svc.cluster.local"):
            if addresses := self._zone.addresses(name):
                return socket.inet_ntoa(addresses[0])
        if host.endswith((".svc", ".cluster.local")):
            raise OSError(f"no service {host} has an address")
        return ""

    async def _token(self, pod: Object) -> str:
        """Raises OSError, also where the account is gone, so that who needs the token tries again until its pod is gone, too."""
        account = pod["spec"].get("serviceAccountName") or "default"
        try:
            return await self.client.create_token(account, pod["metadata"]["namespace"], ["istio-ca"], 43_200, pod)
        except ApiError as error:
            raise OSError(str(error)) from None

    # -- reconciliation -------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until cancelled."""
        await self._start_dns()
        await self._register()
        server = await streaming_server.serve(self._config.socket, self.workers, self._mirrors)
        pods = Informer(self.client, PODS, orjson.loads, field_selector=f"spec.nodeName={NODE}")
        services: Informer[Object] = Informer(self.client, SERVICES, orjson.loads)
        slices: Informer[Object] = Informer(self.client, ENDPOINTSLICES, orjson.loads)

        def on_service(kind: str, obj: Object, ident: tuple[str, str]) -> None:
            self._services.pop(ident, None) if kind == "DELETED" else self._services.__setitem__(ident, obj)
            self._services_changed.set()

        def on_slice(kind: str, obj: Object, ident: tuple[str, str]) -> None:
            self._slices.pop(ident, None) if kind == "DELETED" else self._slices.__setitem__(ident, obj)
            self._services_changed.set()

        work = [
            *(self._objects(kind, resource) for kind, resource in (("configmaps", CONFIGMAPS), ("secrets", SECRETS))),
            services.run(on_service),
            slices.run(on_slice),
            persistent_volume_claims.reclaim(self.client, self.pods_dir),
            self._sync_services(pods, services, slices),
            self._heartbeat(),
            self._pods(pods, services),
            self._mirror_pods(pods),
        ]
        try:
            await asyncio.gather(*work)
        finally:
            server.close()

    async def _objects(self, kind: str, resource: Resource) -> None:
        """Notify pod workers of changed ConfigMaps and Secrets. Their content is not cached here."""
        informer: Informer[None] = Informer(self.client, resource, lambda _: None)

        def on_change(_: str, __: None, ident: tuple[str, str]) -> None:
            if (kind, *ident) in (("configmaps", *_ROOTS), ("configmaps", *_REVOKED)):
                task = asyncio.create_task(self.agent.roots_changed())
                self._background.add(task)
                task.add_done_callback(self._background.discard)
            for worker in self.workers.values() if informer.synced.is_set() else ():
                worker.object_changed(kind, *ident)

        await informer.run(on_change)

    async def _pods(self, pods: Informer[Object], services: Informer[Object]) -> None:
        await services.synced.wait()  # containers get the variables of services at their start
        self._service_environment()
        await asyncio.gather(pods.run(self._on_pod), self._collect_garbage(pods))

    async def _mirror_pods(self, pods: Informer[Object]) -> None:
        await pods.synced.wait()
        await asyncio.gather(*(mirror.run() for mirror in self._mirrors))

    async def _collect_garbage(self, pods: Informer[Object]) -> None:
        await pods.synced.wait()
        await garbage_collection.collect(self.pods_dir, self.logs_dir, [*self.workers, *(m.uid for m in self._mirrors)])

    def _on_pod(self, kind: str, pod: Object, _: tuple[str, str]) -> None:
        if mirror_pod.is_mirror(pod):
            for mirror in self._mirrors:
                mirror.observe(kind, pod)
            return
        uid = pod["metadata"]["uid"]
        worker = self.workers.get(uid)
        if worker is None and (address := sandbox.address(self.pods_dir / uid[:12])):
            self.allocate(uid, address)  # it may run with this address, which no other pod must get meanwhile
        if kind == "DELETED":
            if worker is not None:
                worker.delete()
            return
        if worker is None:
            for other in self.workers.values():  # a pod of this name that was deleted while the watch was broken
                if (other.pod.namespace, other.pod.name) == (pod["metadata"]["namespace"], pod["metadata"]["name"]):
                    other.delete()
            worker = self.workers[uid] = PodWorker(self, pod)
            self._tasks[uid] = asyncio.create_task(self._follow(uid, worker))
        worker.update(pod)

    async def _follow(self, uid: str, worker: PodWorker) -> None:
        try:
            await worker.run()
        except Exception:
            log.exception("pod %s/%s", worker.pod.namespace, worker.pod.name)
        finally:
            self.workers.pop(uid, None)
            self._tasks.pop(uid, None)

    async def _register(self) -> None:
        delay = 0.02
        while True:
            try:
                with contextlib.suppress(ApiError):
                    await self.client.create(NODES, node_object.node(NODE))
                known = (await self.client.get(NODES, NODE)).get("status") or {}
                status = node_object.status(NODE, known)
                await self.client.patch(NODES, NODE, "", {"status": status}, sub="status")
                return
            except (ApiError, OSError) as error:
                log.debug("waiting for the API server: %s", error)
                await asyncio.sleep(delay)
                delay = min(delay * 1.5, 1.0)

    async def _heartbeat(self) -> None:
        while True:
            now = dt.datetime.now(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
            spec = {"holderIdentity": NODE, "leaseDurationSeconds": _LEASE_S, "renewTime": now}
            lease = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": NODE, "namespace": "kube-node-lease"},
                "spec": spec,
            }
            with contextlib.suppress(ApiError, OSError):
                await self.client.apply(LEASES, lease, field_manager="kubelet")
            await asyncio.sleep(_LEASE_S / 4)

    # -- services -------------------------------------------------------------------------------

    async def _start_dns(self) -> None:
        """Answer from the names that an earlier process knew; queries for others wait until the services are known."""
        if min(self._config.dns_fds) < 0:
            return
        with contextlib.suppress(OSError, ValueError):
            names, aliases = orjson.loads(Path(self._config.names).read_bytes())
            self._zone.replace(names, aliases)
        loop = asyncio.get_running_loop()
        upstream: dns.Upstream | None = None
        if self._config.resolver_fd >= 0:
            upstream = dns.Upstream()
            sock = socket.socket(fileno=os.dup(self._config.resolver_fd))
            sock.setblocking(False)
            await loop.create_datagram_endpoint(lambda: upstream, sock=sock)
        server = self._dns = dns.Server(self._zone, upstream)
        datagrams, stream = (socket.socket(fileno=os.dup(fd)) for fd in self._config.dns_fds)
        await loop.create_datagram_endpoint(lambda: server, sock=datagrams)
        await asyncio.start_server(server.tcp, sock=stream)

    async def _sync_services(self, *complete: Informer[Object]) -> None:
        """Follow the services. Until all that concerns them is known, the rules of an earlier process stay in force."""
        for informer in complete:
            await informer.synced.wait()
        self._services_changed.set()
        while True:
            await self._services_changed.wait()
            self._services_changed.clear()
            try:
                self._update_service_rules()
                await self._publish()
            except OSError as error:
                log.warning("service addresses not updated: %s", error)
                asyncio.get_running_loop().call_later(0.5, self._services_changed.set)
            await asyncio.sleep(0.01)

    async def _publish(self) -> None:
        """Publish the ports of Services on the host."""
        if self._config.publish_fd < 0:
            return
        if self._load_balancer is None:
            self._load_balancer = LoadBalancer(self._config.publish_fd, self._ready_endpoints, self._report_conflict)
        await self._load_balancer.apply(load_balancer.host_addresses(self._services))

    def _ready_endpoints(self, target: load_balancer.ServicePort) -> list[tuple[str, int]]:
        return routing.ready_endpoints(self._slices, *target)

    async def _report_conflict(
        self, target: load_balancer.ServicePort, place: load_balancer.HostAddress, why: str
    ) -> None:
        namespace, name, _ = target
        address, port, _ = place
        service = self._services.get((namespace, name))
        if service is not None:
            text = f"{address}:{port} cannot be published on the host: {why}"
            if port < _PRIVILEGED and address != load_balancer.NODE_PORT_ADDRESS:
                text += f"; `sysctl net.ipv4.ip_unprivileged_port_start={port}` as root allows it, and node ports are at {load_balancer.NODE_PORT_ADDRESS}"
            else:
                text += f"; `kubectl port-forward svc/{name}` still reaches it"
            await self.event({**service, "kind": "Service"}, "Warning", "PortNotPublished", text)

    def _update_service_rules(self) -> None:
        result = routing.compute(self._services, self._slices)
        self._update_names(result.names, result.aliases)
        self._proxy.apply(result.rules, set(self._addresses.values()))
        self._service_environment()

    def _update_names(self, names: dict[str, list[str]], aliases: dict[str, str]) -> None:
        self._zone.replace(names, aliases)
        self._zone.complete = True
        if self._dns is not None:
            self._dns.answer_waiting()
        if self._config.names and self._names != (names, aliases):
            new = Path(self._config.names + ".new")
            new.write_bytes(orjson.dumps([names, aliases]))
            new.rename(self._config.names)
            self._names = names, aliases

    def _service_environment(self) -> None:
        """Set KUBERNETES_SERVICE_HOST and the other variables of the service `kubernetes`."""
        service = self._services.get(("default", "kubernetes"))
        if service is not None:
            address, port = service["spec"]["clusterIP"], "443"
            self.service_env = {
                "KUBERNETES_SERVICE_HOST": address,
                "KUBERNETES_SERVICE_PORT": port,
                "KUBERNETES_SERVICE_PORT_HTTPS": port,
                "KUBERNETES_PORT": f"tcp://{address}:{port}",
            }
