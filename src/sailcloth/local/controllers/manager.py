"""Runs the controllers: which events make which objects due."""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
import ipaddress

from sailcloth.local.apiserver.auth import certificate_signing
from sailcloth.local.apiserver.auth.pki import KeyPair
from sailcloth.local.apiserver.auth.service_account_tokens import TokenIssuer
from sailcloth.local.apiserver.storage import Event
from sailcloth.local.apiserver.unstructured import Unstructured
from sailcloth.local.apiserver.writes.rest_storage import RestStorage

from . import (
    bootstrap,
    cronjobs,
    csr_signing,
    daemonsets,
    deployments,
    disruption,
    endpoint_slice_mirroring,
    endpoint_slices,
    jobs,
    namespaces,
    node_lifecycle,
    replicasets,
    scheduling,
    service_account_secrets,
    services,
    statefulsets,
    volume_claims,
)
from .context import ControllerContext
from .work_queue import WorkQueue

_EVENT_LIFE_S = 3600
_OWNERS = {  # kinds that are reconciled when an object that they control changes
    "Deployment": "deployments.apps",
    "ReplicaSet": "replicasets.apps",
    "StatefulSet": "statefulsets.apps",
    "DaemonSet": "daemonsets.apps",
    "Job": "jobs.batch",
    "CronJob": "cronjobs.batch",
}


class ControllerManager:
    """Wires controllers to the store's watches."""

    def __init__(
        self,
        storage: RestStorage,
        ca: KeyPair,
        load_balancers: ipaddress.IPv4Network,
        api_address: str,
        service_ip: str,
        tokens: TokenIssuer,
    ) -> None:
        self._cluster = ControllerContext(storage)
        self._store = storage.store
        self._load_balancers, self._api_address, self._service_ip = load_balancers, api_address, service_ip
        root = self._root = ca.certificate.decode()
        cluster = self._cluster
        self._queues = {
            "deployments.apps": WorkQueue("deployment", lambda ns, n: deployments.reconcile(cluster, ns, n)),
            "replicasets.apps": WorkQueue("replicaset", lambda ns, n: replicasets.reconcile(cluster, ns, n)),
            "statefulsets.apps": WorkQueue("statefulset", lambda ns, n: statefulsets.reconcile(cluster, ns, n)),
            "daemonsets.apps": WorkQueue("daemonset", lambda ns, n: daemonsets.reconcile(cluster, ns, n)),
            "jobs.batch": WorkQueue("job", lambda ns, n: jobs.reconcile(cluster, ns, n)),
            "cronjobs.batch": WorkQueue("cronjob", lambda ns, n: cronjobs.reconcile(cluster, ns, n)),
            "persistentvolumeclaims": WorkQueue("claim", lambda ns, n: volume_claims.reconcile(cluster, ns, n)),
            certificate_signing.REQUESTS: WorkQueue("request", lambda _, n: csr_signing.reconcile(cluster, n, ca)),
            service_account_secrets.SECRETS: WorkQueue(
                "secret", lambda ns, n: service_account_secrets.reconcile(cluster, ns, n, tokens, root)
            ),
            "services": WorkQueue("service", self._reconcile_service),
            "endpoints": WorkQueue("mirror", lambda ns, n: endpoint_slice_mirroring.reconcile(cluster, ns, n)),
            "pods": WorkQueue("pod", lambda ns, n: scheduling.reconcile(cluster, ns, n)),
            "nodes": WorkQueue("node", lambda _, n: node_lifecycle.reconcile(cluster, n)),
            disruption.BUDGETS: WorkQueue("budget", lambda ns, n: disruption.reconcile(cluster, ns, n)),
            "namespaces": WorkQueue("namespace", lambda _, n: namespaces.reconcile(cluster, n, root)),
        }
        # A pod has a second queue: it may be due for eviction later, while it is scheduled now.
        self._evictions = WorkQueue("eviction", lambda ns, n: node_lifecycle.evict(cluster, ns, n))

    async def run(self) -> None:
        """Reconcile until cancelled."""
        stops = []
        for group_resource in (*self._queues, "serviceaccounts"):
            stops.append(self._store.watch(group_resource, None, functools.partial(self._on_event, group_resource)))
            for obj in self._store.all(group_resource):
                self._on_event(group_resource, Event(0, "ADDED", obj, None))
        try:
            await asyncio.gather(*(q.run() for q in (*self._queues.values(), self._evictions)), self._expire_events())
        finally:
            for stop in stops:
                stop()

    async def _expire_events(self) -> None:
        """Events live for an hour."""
        while True:
            limit = (dt.datetime.now(dt.UTC) - dt.timedelta(seconds=_EVENT_LIFE_S)).strftime("%Y-%m-%dT%H:%M:%SZ")
            for obj in self._store.all("events"):
                last = obj.get("lastTimestamp") or obj["metadata"]["creationTimestamp"]
                if last < limit:
                    await self._cluster.delete("events", obj["metadata"]["namespace"], obj["metadata"]["name"])
            await asyncio.sleep(_EVENT_LIFE_S / 12)

    def _on_event(self, group_resource: str, event: Event) -> None:
        metadata = event.obj["metadata"]
        namespace, name = metadata.get("namespace", ""), metadata["name"]
        if group_resource in self._queues and event.type != "DELETED":
            self._queues[group_resource].add((namespace, name))
        if group_resource in ("replicasets.apps", "pods", "jobs.batch"):
            self._enqueue_owner(metadata, namespace)
        if group_resource in ("pods", "replicasets.apps", "statefulsets.apps", "deployments.apps"):
            for budget in self._store.all(disruption.BUDGETS, namespace):
                self._queues[disruption.BUDGETS].add((namespace, budget["metadata"]["name"]))
        if group_resource == "pods":
            if event.type != "DELETED":
                self._evictions.add((namespace, name))
            for claim in volume_claims.claims_of(event.obj):
                self._queues["persistentvolumeclaims"].add((namespace, claim))
            for pod in (event.obj, event.prev or event.obj):
                for service in services.services_selecting(self._store, namespace, pod["metadata"].get("labels") or {}):
                    self._queues["services"].add((namespace, service))
        elif group_resource == "services":
            self._queues["endpoints"].add((namespace, name))
            if event.type == "DELETED":
                self._queues["services"].add((namespace, name))
        elif group_resource == "endpoints" and event.type == "DELETED":
            self._queues["endpoints"].add((namespace, name))
        elif group_resource == "nodes":
            for daemon in self._store.all("daemonsets.apps"):
                self._queues["daemonsets.apps"].add((daemon["metadata"]["namespace"], daemon["metadata"]["name"]))
            for pod in self._store.all("pods"):
                queue = self._evictions if pod["spec"].get("nodeName") else self._queues["pods"]
                queue.add((pod["metadata"]["namespace"], pod["metadata"]["name"]))
        elif group_resource == "serviceaccounts":
            if event.type == "DELETED":
                self._queues["namespaces"].add(("", namespace))
            for secret in self._store.all(service_account_secrets.SECRETS, namespace):
                if secret.get("type") == service_account_secrets.TYPE:
                    self._queues[service_account_secrets.SECRETS].add((namespace, secret["metadata"]["name"]))

    def _enqueue_owner(self, metadata: Unstructured, namespace: str) -> None:
        for reference in metadata.get("ownerReferences") or ():
            if reference.get("kind") in _OWNERS and reference.get("controller"):
                self._queues[_OWNERS[reference["kind"]]].add((namespace, reference["name"]))

    async def _reconcile_service(self, namespace: str, name: str) -> float | None:
        await services.reconcile(self._cluster, namespace, name, self._load_balancers)
        await endpoint_slices.reconcile(self._cluster, namespace, name)
        return None

    async def bootstrap(self) -> None:
        """Create the objects that every cluster has."""
        await bootstrap.create(self._cluster, self._root, self._api_address, self._service_ip)
