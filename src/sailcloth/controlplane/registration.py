"""Makes WorkloadEntries for workloads that join by themselves (`ISTIO_META_AUTO_REGISTER_GROUP`), and takes them away again.

A proxy that names a WorkloadGroup gets an entry from the group's template while it is connected, and ten seconds longer, so
that a short break is none. Its health is what its agent reports on the same stream. Source: istio.md 2.22.
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
    """The WorkloadGroup that a proxy wants to be part of, if it does."""
    name = str(proxy.metadata.get("AUTO_REGISTER_GROUP") or "")
    return Key("WorkloadGroup", proxy.namespace, name) if name else None


def entry_key(group: Key, proxy: Proxy) -> Key:
    """The entry of a proxy: Istio's name, from the group, the address and the network."""
    network = str(proxy.metadata.get("NETWORK") or "")
    parts = [group.name, proxy.ips[0].replace(":", "-"), *([network] if network else [])]
    return Key("WorkloadEntry", proxy.namespace, "-".join(parts).lower()[-253:].lstrip("-."))


def entry(group: WorkloadGroup, proxy: Proxy, name: str, controller: str) -> dict[str, Any]:
    """The entry's manifest: the template with the proxy's address, and labels of the group as the proxy refines them."""
    spec, metadata = group.spec, group.metadata
    shared = spec.metadata
    labels = {**spec.template.labels, **(shared.labels if shared else {}), **dict(proxy.labels)}
    notes = {**(shared.annotations if shared else {}), GROUP: metadata.name, CONTROLLER: controller, CONNECTED: _now()}
    if spec.probe is not None:
        notes[HEALTH_CHECKED] = "true"
    made = msgspec.structs.replace(
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
            "annotations": notes,
            "ownerReferences": [{**owner, "controller": True}],
        },
        "spec": msgspec.to_builtins(made),
    }


def problem(group: WorkloadGroup | None, key: Key, proxy: Proxy, account: str) -> str:
    """Why a proxy may not join a group; empty if it may. Whoever joins gets the group's traffic, so it must be the account that
    the group is for, as the verified token says."""
    if group is None:
        return f"{key} does not exist"
    wanted = group.spec.template.service_account or "default"
    if account != wanted:
        return f"its token is of service account {account}, and {key} is for {wanted}"
    try:
        ipaddress.ip_address(proxy.ips[0] if proxy.ips else "")
    except ValueError:
        return "its node id has no address"
    return ""


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(eq=False)
class _Workload:
    """What is known of one entry: how many streams its workload has, until when it stays without one, and its health."""

    group: Key
    proxy: Proxy
    account: str
    streams: int = 0
    until: float = 0.0
    health: tuple[bool, str] | None = None
    written: Any = None  # what the entry was made of
    written_health: tuple[bool, str] | None = None  # the health that its status has


class Registration:
    """`joined`, `left` and `health` follow the streams; `run` writes until cancelled."""

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
        self._known: dict[Key, _Workload] = {}
        self._queue = WorkQueue(self._reconcile, name="WorkloadEntry", retry=RETRIABLE, clock=clock)

    async def joined(self, proxy: Proxy, metadata: dict[str, str]) -> None:
        """A stream has begun. Raises PermissionError if its proxy may not join the group that it names."""
        group_key = group_of(proxy)
        if group_key is None:
            return
        account = await self._account(metadata)
        group = self._mesh.objects.get(group_key)
        why = problem(group if isinstance(group, WorkloadGroup) else None, group_key, proxy, account)
        if why:
            raise PermissionError(f"{proxy.id} cannot register itself: {why}")
        key = entry_key(group_key, proxy)
        known = self._known.setdefault(key, _Workload(group_key, proxy, account))
        known.proxy, known.account, known.streams = proxy, account, known.streams + 1
        self._queue.add(key)

    def left(self, proxy: Proxy) -> None:
        """A stream has ended."""
        if (found := self._of(proxy)) is not None:
            key, known = found
            known.streams -= 1
            known.until = self._clock.time() + LINGER_S
            self._queue.add(key, LINGER_S)

    def health(self, proxy: Proxy, error: str) -> None:
        """The proxy's agent says that the application is healthy, or why it is not."""
        if (found := self._of(proxy)) is not None:
            key, known = found
            known.health = (not error, error)
            self._queue.add(key)

    def _of(self, proxy: Proxy) -> tuple[Key, _Workload] | None:
        group_key = group_of(proxy)
        key = entry_key(group_key, proxy) if group_key is not None else None
        return (key, self._known[key]) if key is not None and key in self._known else None

    async def run(self) -> None:
        """Write what has changed. Entries that an earlier process has left are taken over when their workloads come back, and
        go after the same time if they do not."""
        now = self._clock.time()
        for key, obj in list(self._mesh.objects.items()):
            if isinstance(obj, WorkloadEntry) and obj.metadata.annotations.get(CONTROLLER) == self._controller:
                group_key = Key("WorkloadGroup", key.namespace, obj.metadata.annotations.get(GROUP, ""))
                left = _Workload(group_key, Proxy("sidecar", key.name, key.namespace), "", until=now + LINGER_S)
                self._known.setdefault(key, left)
        self._queue.add_all(self._known)
        await self._queue.run()

    async def _reconcile(self, key: Key) -> None:
        known = self._known.get(key)
        if known is None:
            return
        if known.streams <= 0:
            if self._clock.time() < known.until:
                self._queue.add(key, known.until - self._clock.time())
                return
            await self._remove(key)
            known.written = known.written_health = None
            if known.streams <= 0:  # nobody came back meanwhile
                self._known.pop(key, None)
            return
        group = self._mesh.objects.get(known.group)
        if not isinstance(group, WorkloadGroup):
            return
        wanted = (group.spec, known.proxy.ips, known.proxy.labels, known.proxy.locality)
        if known.written != wanted:
            manifest = entry(group, known.proxy, key.name, self._controller)
            await self._client.apply(_ENTRIES, manifest, field_manager=_MANAGER, force=True)
            known.written = wanted
        if known.health is not None and known.written_health != known.health:
            health = known.health
            await self._write_health(key, health)
            known.written_health = health

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
