"""Creates WorkloadEntries for workloads with auto-registration (`ISTIO_META_AUTO_REGISTER_GROUP`), and deletes them.

A proxy that names a WorkloadGroup gets an entry from the group's template while it is connected, and for 10 s longer, to
bridge short interruptions. Its agent reports the workload's health on the same stream. Source: istio.md 2.22.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from sailcloth.api.meta import Key
from sailcloth.api.service_entry import WorkloadEntry
from sailcloth.api.workload_group import WorkloadGroup
from sailcloth.kube import RETRIABLE, ApiError, Client, Resource
from sailcloth.lib.clock import MONOTONIC, Clock
from sailcloth.lib.work_queue import WorkQueue
from sailcloth.mesh.endpoints import HEALTH_CHECKED
from sailcloth.mesh.registry import Mesh
from sailcloth.view.proxy import Proxy

from .status_api import merge_status

GROUP = "istio.io/autoRegistrationGroup"
CONTROLLER = "istio.io/workloadController"
CONNECTED = "istio.io/connectedAt"
LINGER_S = 10.0
_ENTRIES = Resource("networking.istio.io", "v1", "workloadentries", "WorkloadEntry")
_MANAGER = "istiod-registration"


def group_of(proxy: Proxy) -> Key | None:
    """The WorkloadGroup that a proxy registers in; None without auto-registration."""
    name = str(proxy.metadata.get("AUTO_REGISTER_GROUP") or "")
    return Key("WorkloadGroup", proxy.namespace, name) if name else None


def entry_key(group: Key, proxy: Proxy) -> Key:
    """The key of a proxy's WorkloadEntry. Istio's naming: group, address and network."""
    network = str(proxy.metadata.get("NETWORK") or "")
    parts = [group.name, proxy.ips[0].replace(":", "-"), *([network] if network else [])]
    return Key("WorkloadEntry", proxy.namespace, "-".join(parts).lower()[-253:].lstrip("-."))


def entry(group: WorkloadGroup, proxy: Proxy, name: str, controller: str) -> dict[str, Any]:
    """The manifest of a WorkloadEntry: the group's template with the proxy's address, and its labels over the group's."""
    spec, metadata = group.spec, group.metadata
    shared = spec.metadata
    labels = {**spec.template.labels, **(shared.labels if shared else {}), **dict(proxy.labels)}
    annotations = {
        **(shared.annotations if shared else {}),
        GROUP: metadata.name,
        CONTROLLER: controller,
        CONNECTED: _now(),
    }
    if spec.probe is not None:
        annotations[HEALTH_CHECKED] = "true"
    spec_of_entry = msgspec.structs.replace(
        spec.template,
        address=proxy.ips[0],
        labels=labels,
        network=str(proxy.metadata.get("NETWORK") or "") or spec.template.network,
        locality=proxy.locality or spec.template.locality,
    )
    owner = {"apiVersion": _ENTRIES.api_version, "kind": "WorkloadGroup", "name": metadata.name, "uid": metadata.uid}
    return {
        "apiVersion": _ENTRIES.api_version,
        "kind": "WorkloadEntry",
        "metadata": {
            "name": name,
            "namespace": proxy.namespace,
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [{**owner, "controller": True}],
        },
        "spec": msgspec.to_builtins(spec_of_entry),
    }


def refusal_reason(group: WorkloadGroup | None, key: Key, proxy: Proxy, account: str) -> str:
    """Why a proxy may not register in a group; empty if it may. A registered proxy gets the group's traffic, so its verified token
    must be of the group's service account."""
    if group is None:
        return f"{key} does not exist"
    expected = group.spec.template.service_account or "default"
    if account != expected:
        return f"its token is of service account {account}, and {key} is for {expected}"
    try:
        ipaddress.ip_address(proxy.ips[0] if proxy.ips else "")
    except ValueError:
        return "its node id has no address"
    return ""


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(eq=False)
class _Workload:
    """State of one entry: the number of its workload's streams, when it expires without one, and its health."""

    group: Key
    proxy: Proxy
    account: str
    streams: int = 0
    expires_at: float = 0.0
    health: tuple[bool, str] | None = None
    written_inputs: Any = None  # what the written entry depends on
    written_health: tuple[bool, str] | None = None  # the health in its status


class Registration:
    """Implements `connected_proxies.Registrar`; `run` writes entries until cancelled."""

    def __init__(
        self,
        client: Client,
        mesh: Mesh,
        controller: str,
        account: Callable[[dict[str, str]], Awaitable[str]],
        clock: Clock = MONOTONIC,
    ) -> None:
        self._client, self._mesh, self._controller = client, mesh, controller
        self._account, self._clock = account, clock
        self._workloads: dict[Key, _Workload] = {}
        self._queue = WorkQueue(self._reconcile, name="WorkloadEntry", retry=RETRIABLE, clock=clock)

    async def stream_opened(self, proxy: Proxy, metadata: dict[str, str]) -> None:
        """A stream has opened. Raises PermissionError if its proxy may not register in the group that it names."""
        group_key = group_of(proxy)
        if group_key is None:
            return
        account = await self._account(metadata)
        group = self._mesh.objects.get(group_key)
        reason = refusal_reason(group if isinstance(group, WorkloadGroup) else None, group_key, proxy, account)
        if reason:
            raise PermissionError(f"{proxy.id} cannot register itself: {reason}")
        key = entry_key(group_key, proxy)
        workload = self._workloads.setdefault(key, _Workload(group_key, proxy, account))
        workload.proxy, workload.account, workload.streams = proxy, account, workload.streams + 1
        self._queue.add(key)

    def stream_closed(self, proxy: Proxy) -> None:
        """A stream has closed."""
        if (entry_of_proxy := self._workload_of(proxy)) is not None:
            key, workload = entry_of_proxy
            workload.streams -= 1
            workload.expires_at = self._clock.time() + LINGER_S
            self._queue.add(key, LINGER_S)

    def health(self, proxy: Proxy, error: str) -> None:
        """The proxy's agent reports that the application is healthy (empty error), or why it is not."""
        if (entry_of_proxy := self._workload_of(proxy)) is not None:
            key, workload = entry_of_proxy
            workload.health = (not error, error)
            self._queue.add(key)

    def _workload_of(self, proxy: Proxy) -> tuple[Key, _Workload] | None:
        group_key = group_of(proxy)
        key = entry_key(group_key, proxy) if group_key is not None else None
        return (key, self._workloads[key]) if key is not None and key in self._workloads else None

    async def run(self) -> None:
        """Write entries until cancelled. Entries of an earlier process are adopted when their workloads reconnect, and deleted
        after LINGER_S if they do not."""
        now = self._clock.time()
        for key, obj in list(self._mesh.objects.items()):
            if isinstance(obj, WorkloadEntry) and obj.metadata.annotations.get(CONTROLLER) == self._controller:
                group_key = Key("WorkloadGroup", key.namespace, obj.metadata.annotations.get(GROUP, ""))
                workload = _Workload(
                    group_key, Proxy("sidecar", key.name, key.namespace), "", expires_at=now + LINGER_S
                )
                self._workloads.setdefault(key, workload)
        self._queue.add_all(self._workloads)
        await self._queue.run()

    async def _reconcile(self, key: Key) -> None:
        workload = self._workloads.get(key)
        if workload is None:
            return
        if workload.streams <= 0:
            if self._clock.time() < workload.expires_at:
                self._queue.add(key, workload.expires_at - self._clock.time())
                return
            await self._remove(key)
            workload.written_inputs = workload.written_health = None
            if workload.streams <= 0:  # no stream has opened in the meantime
                self._workloads.pop(key, None)
            return
        group = self._mesh.objects.get(workload.group)
        if not isinstance(group, WorkloadGroup):
            return
        inputs = (group.spec, workload.proxy.ips, workload.proxy.labels, workload.proxy.locality)
        if workload.written_inputs != inputs:
            manifest = entry(group, workload.proxy, key.name, self._controller)
            await self._client.apply(_ENTRIES, manifest, field_manager=_MANAGER, force=True)
            workload.written_inputs = inputs
        if workload.health is not None and workload.written_health != workload.health:
            health = workload.health
            await self._write_health(key, health)
            workload.written_health = health

    async def _write_health(self, key: Key, health: tuple[bool, str]) -> None:
        condition = {
            "type": "Healthy",
            "status": "True" if health[0] else "False",
            "message": health[1],
            "lastProbeTime": _now(),
            "lastTransitionTime": _now(),
        }
        await merge_status(self._client, _ENTRIES, key, {"conditions": [condition]})

    async def _remove(self, key: Key) -> None:
        try:
            await self._client.delete(_ENTRIES, key.name, key.namespace)
        except ApiError as error:
            if error.status != 404:
                raise
