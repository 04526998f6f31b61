"""The controllers that the local cluster needs, in the API server's process: watches in, writes out, no polling.

Each reconciles one object by key: reads what is, computes what should be, writes the difference. They may be started and
stopped at any time; everything they know is in the API server.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import datetime as dt
import ipaddress
import logging
import zlib
from typing import Any

from sailcloth.local.apiserver.auth import certificate_signing, default_roles
from sailcloth.local.apiserver.auth.authentication import User
from sailcloth.local.apiserver.auth.pki import Pair
from sailcloth.local.apiserver.errors import StatusError
from sailcloth.local.apiserver.request_info import RequestInfo
from sailcloth.local.apiserver.storage import Event, StorageError
from sailcloth.local.apiserver.times import now
from sailcloth.local.apiserver.writes.rest_storage import RestStorage

from . import (
    cronjobs,
    csr_signing,
    daemonsets,
    deployments,
    endpoint_slice_mirroring,
    endpoint_slices,
    jobs,
    replicasets,
    services,
    statefulsets,
    volume_claims,
)

log = logging.getLogger(__name__)

Object = dict[str, Any]
NODE = "sailcloth"
_EVENT_LIFE_S = 3600
_USER = User("system:kube-controller-manager", ("system:masters",))
_OWNERS = {  # kinds whose objects are looked at again when something that they control changes
    "Deployment": "deployments.apps",
    "ReplicaSet": "replicasets.apps",
    "StatefulSet": "statefulsets.apps",
    "DaemonSet": "daemonsets.apps",
    "Job": "jobs.batch",
    "CronJob": "cronjobs.batch",
}
_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease", "istio-system")


class Cluster:
    """What controllers may do: read the store, write through admission and all the rules."""

    def __init__(self, storage: RestStorage) -> None:
        self._storage = storage
        self.store = storage.store

    def _info(self, gr: str, namespace: str = "", name: str = "", sub: str = "") -> RequestInfo:
        resource = next(r for r in self._storage.registry.by_path.values() if r.gr == gr)
        return RequestInfo(resource, _USER, namespace, name, sub, "kube-controller-manager")

    async def create(self, gr: str, obj: Object) -> Object | None:
        """Create; None if it exists already. Raises StatusError for anything else."""
        try:
            created, _ = await self._storage.create(self._info(gr, obj["metadata"].get("namespace", "")), obj)
        except StatusError as error:
            if error.reason == "AlreadyExists":
                return None
            raise
        return created

    async def change(self, gr: str, namespace: str, name: str, mutate: Any, sub: str = "") -> Object | None:
        """Change by a function of a copy; None if the object is gone."""

        def unconditionally(live: Object) -> Object:
            live["metadata"].pop("resourceVersion", None)
            return mutate(live)  # type: ignore[no-any-return]

        try:
            changed, _ = await self._storage.change(self._info(gr, namespace, name, sub), unconditionally)
        except StatusError as error:
            if error.code == 404:
                return None
            raise
        return changed

    async def delete(self, gr: str, namespace: str, name: str) -> None:
        with contextlib.suppress(StatusError):
            await self._storage.delete(self._info(gr, namespace, name))

    async def event(self, about: Object, component: str, reason: str, text: str, kind: str = "Normal") -> None:
        """Note something for `kubectl describe` and `kubectl events`; the same again only counts up."""
        metadata, stamp = about["metadata"], now()
        digest = zlib.crc32(f"{metadata['uid']} {reason} {text}".encode())
        name = f"{metadata['name']}.{digest:08x}"
        namespace = metadata.get("namespace") or "default"
        involved = {k: about[k] for k in ("kind", "apiVersion")}
        involved |= {k: metadata[k] for k in ("name", "namespace", "uid", "resourceVersion") if k in metadata}

        def again(live: Object) -> Object:
            return {**live, "count": int(live.get("count", 1)) + 1, "lastTimestamp": stamp}

        with contextlib.suppress(StatusError):  # the namespace may be going away
            if await self.change("events", namespace, name, again) is None:
                await self.create(
                    "events",
                    {
                        "metadata": {"name": name, "namespace": namespace},
                        "involvedObject": involved,
                        "reason": reason,
                        "message": text,
                        "type": kind,
                        "source": {"component": component},
                        "reportingComponent": component,
                        "firstTimestamp": stamp,
                        "lastTimestamp": stamp,
                        "count": 1,
                    },
                )


class _Queue:
    """Keys to reconcile, each at most once in the queue; failures come back with a growing delay."""

    def __init__(self, name: str, reconcile: Any) -> None:
        self.name, self._reconcile = name, reconcile
        self._keys: dict[tuple[str, str], None] = {}
        self._wake = asyncio.Event()
        self._failures: dict[tuple[str, str], int] = {}

    def add(self, key: tuple[str, str]) -> None:
        self._keys[key] = None
        self._wake.set()

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._keys:
                key = next(iter(self._keys))
                del self._keys[key]
                try:
                    again = await self._reconcile(*key)
                    self._failures.pop(key, None)
                    if again:
                        asyncio.get_running_loop().call_later(again, self.add, key)
                except (StatusError, StorageError) as error:
                    count = self._failures[key] = self._failures.get(key, 0) + 1
                    delay = min(0.05 * 2**count, 30.0)
                    log.log(logging.WARNING if count > 3 else logging.DEBUG, "%s %s/%s: %s", self.name, *key, error)
                    asyncio.get_running_loop().call_later(delay, self.add, key)
                except Exception:
                    log.exception("%s %s/%s", self.name, *key)


class Controllers:
    """Wires controllers to the store's watches."""

    def __init__(
        self,
        storage: RestStorage,
        ca: Pair,
        load_balancers: ipaddress.IPv4Network,
        api_address: str,
        service_ip: str,
    ) -> None:
        self._cluster = Cluster(storage)
        self._store = storage.store
        self._root, self._lb, self._api, self._service_ip = (
            ca.certificate.decode(),
            load_balancers,
            api_address,
            service_ip,
        )
        cluster = self._cluster
        self._queues = {
            "deployments.apps": _Queue("deployment", lambda ns, n: deployments.reconcile(cluster, ns, n)),
            "replicasets.apps": _Queue("replicaset", lambda ns, n: replicasets.reconcile(cluster, ns, n)),
            "statefulsets.apps": _Queue("statefulset", lambda ns, n: statefulsets.reconcile(cluster, ns, n)),
            "daemonsets.apps": _Queue("daemonset", lambda ns, n: daemonsets.reconcile(cluster, ns, n)),
            "jobs.batch": _Queue("job", lambda ns, n: jobs.reconcile(cluster, ns, n)),
            "cronjobs.batch": _Queue("cronjob", lambda ns, n: cronjobs.reconcile(cluster, ns, n)),
            "persistentvolumeclaims": _Queue("claim", lambda ns, n: volume_claims.reconcile(cluster, ns, n)),
            certificate_signing.REQUESTS: _Queue("request", lambda _, n: csr_signing.reconcile(cluster, n, ca)),
            "services": _Queue("service", self._service),
            "endpoints": _Queue("mirror", lambda ns, n: endpoint_slice_mirroring.reconcile(cluster, ns, n)),
            "pods": _Queue("pod", self._pod),
            "namespaces": _Queue("namespace", self._namespace),
        }

    async def bootstrap(self) -> None:
        """The objects that every cluster has."""
        for gr, obj in default_roles.built_in():
            await self._cluster.create(gr, obj)
        for name in _NAMESPACES:
            await self._cluster.create("namespaces", {"metadata": {"name": name}})
            await self._namespace("", name)
        await self._cluster.create(
            "services",
            {
                "metadata": {
                    "name": "kubernetes",
                    "namespace": "default",
                    "labels": {"component": "apiserver", "provider": "kubernetes"},
                },
                "spec": {
                    "clusterIP": self._service_ip,
                    "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}],
                },
            },
        )
        await self._cluster.create(
            "endpointslices.discovery.k8s.io",
            {
                "metadata": {
                    "name": "kubernetes",
                    "namespace": "default",
                    "labels": {"kubernetes.io/service-name": "kubernetes"},
                },
                "addressType": "IPv4",
                "endpoints": [{"addresses": [self._api], "conditions": {"ready": True}}],
                "ports": [{"name": "https", "port": 6443, "protocol": "TCP"}],
            },
        )
        await self._cluster.create(
            "endpoints",
            {
                "metadata": {"name": "kubernetes", "namespace": "default"},
                "subsets": [
                    {"addresses": [{"ip": self._api}], "ports": [{"name": "https", "port": 6443, "protocol": "TCP"}]}
                ],
            },
        )

    async def run(self) -> None:
        """Reconcile until cancelled."""
        stops = []
        for gr in (*self._queues, "nodes", "serviceaccounts"):
            stops.append(self._store.watch(gr, None, lambda event, gr=gr: self._event(gr, event)))  # type: ignore[misc]
            for obj in self._store.all(gr):
                self._event(gr, Event(0, "ADDED", obj, None))
        try:
            await asyncio.gather(*(q.run() for q in self._queues.values()), self._forget_events())
        finally:
            for stop in stops:
                stop()

    async def _forget_events(self) -> None:
        """Events live for an hour."""
        while True:
            limit = (dt.datetime.now(dt.UTC) - dt.timedelta(seconds=_EVENT_LIFE_S)).strftime("%Y-%m-%dT%H:%M:%SZ")
            for obj in self._store.all("events"):
                last = obj.get("lastTimestamp") or obj["metadata"]["creationTimestamp"]
                if last < limit:
                    await self._cluster.delete("events", obj["metadata"]["namespace"], obj["metadata"]["name"])
            await asyncio.sleep(_EVENT_LIFE_S / 12)

    def _event(self, gr: str, event: Event) -> None:
        metadata = event.obj["metadata"]
        namespace, name = metadata.get("namespace", ""), metadata["name"]
        if gr in self._queues and event.type != "DELETED":
            self._queues[gr].add((namespace, name))
        if gr in ("replicasets.apps", "pods", "jobs.batch"):
            self._owner(metadata, namespace)
        if gr == "pods":
            for claim in volume_claims.used(event.obj):
                self._queues["persistentvolumeclaims"].add((namespace, claim))
            for pod in (event.obj, event.prev or event.obj):
                for service in services.selecting(self._store, namespace, pod["metadata"].get("labels") or {}):
                    self._queues["services"].add((namespace, service))
        elif gr == "services":
            self._queues["endpoints"].add((namespace, name))
            if event.type == "DELETED":
                self._queues["services"].add((namespace, name))
        elif gr == "endpoints" and event.type == "DELETED":
            self._queues["endpoints"].add((namespace, name))
        elif gr == "nodes":
            for daemon in self._store.all("daemonsets.apps"):
                self._queues["daemonsets.apps"].add((daemon["metadata"]["namespace"], daemon["metadata"]["name"]))
            for pod in self._store.all("pods"):
                if not pod["spec"].get("nodeName"):
                    self._queues["pods"].add((pod["metadata"]["namespace"], pod["metadata"]["name"]))
        elif gr == "serviceaccounts" and event.type == "DELETED":
            self._queues["namespaces"].add(("", namespace))

    def _owner(self, metadata: Object, namespace: str) -> None:
        for reference in metadata.get("ownerReferences") or ():
            if reference.get("kind") in _OWNERS and reference.get("controller"):
                self._queues[_OWNERS[reference["kind"]]].add((namespace, reference["name"]))

    async def _service(self, namespace: str, name: str) -> float | None:
        await services.reconcile(self._cluster, namespace, name, self._lb)
        await endpoint_slices.reconcile(self._cluster, namespace, name)
        return None

    async def _pod(self, namespace: str, name: str) -> float | None:
        """The scheduler of a cluster with one node."""
        pod = self._store.get("pods", namespace, name)
        if pod is None or pod["spec"].get("nodeName") or pod["metadata"].get("deletionTimestamp"):
            return None
        node = self._store.get("nodes", "", NODE)
        if node is None or node["spec"].get("unschedulable"):
            return None
        wanted = pod["spec"].get("nodeSelector") or {}
        labels = node["metadata"].get("labels") or {}
        missing = sorted(f"{k}={v}" for k, v in wanted.items() if labels.get(k) != v)
        if missing:
            await self._unschedulable(
                namespace,
                name,
                f"0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector ({', '.join(missing)}).",
            )
            return None

        def bind(live: Object) -> Object:
            live["spec"]["nodeName"] = NODE
            return live

        await self._cluster.change("pods", namespace, name, bind)
        return None

    async def _unschedulable(self, namespace: str, name: str, text: str) -> None:
        def mark(live: Object) -> Object:
            condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": text}
            live["status"]["conditions"] = [condition]
            return live

        await self._cluster.change("pods", namespace, name, mark, sub="status")

    async def _namespace(self, _: str, name: str) -> float | None:
        """The default service account and the cluster's root certificate in every namespace."""
        found = self._store.get("namespaces", "", name)
        if found is None or found["metadata"].get("deletionTimestamp"):
            return None
        await self._cluster.create("serviceaccounts", {"metadata": {"name": "default", "namespace": name}})
        root = {"metadata": {"name": "kube-root-ca.crt", "namespace": name}, "data": {"ca.crt": self._root}}
        if await self._cluster.create("configmaps", copy.deepcopy(root)) is None:
            known = self._store.get("configmaps", name, "kube-root-ca.crt")
            if known is not None and known.get("data") != root["data"]:
                await self._cluster.change(
                    "configmaps", name, "kube-root-ca.crt", lambda live: {**live, "data": root["data"]}
                )
        return None
