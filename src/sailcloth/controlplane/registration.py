"""Makes WorkloadEntries for workloads that join by themselves (`ISTIO_META_AUTO_REGISTER_GROUP`), and takes them away again.

A proxy that names a WorkloadGroup gets an entry from the group's template while it is connected, and ten seconds longer, so
that a short break is none. Its health is what its agent reports on the same stream. Source: istio.md 2.22.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from sailcloth.api.meta import Key
from sailcloth.api.service_entry import WorkloadEntry
from sailcloth.api.workload_group import WorkloadGroup
from sailcloth.kube import ApiError, Client, Resource
from sailcloth.mesh.endpoints import HEALTH_CHECKED
from sailcloth.mesh.registry import Mesh
from sailcloth.view.proxy import Proxy

log = logging.getLogger(__name__)

GROUP = "istio.io/autoRegistrationGroup"
CONTROLLER = "istio.io/workloadController"
CONNECTED = "istio.io/connectedAt"
LINGER_S = 10.0
_AGAIN_S = 1.0
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
    told: tuple[bool, str] | None = None  # the health that its status has


@dataclass
class Registration:
    """`joined`, `left` and `told` follow the streams; `run` writes until cancelled."""

    client: Client
    mesh: Mesh
    controller: str
    account: Callable[[dict[str, str]], Awaitable[str]]
    clock: Callable[[], float] = time.monotonic
    _known: dict[Key, _Workload] = field(default_factory=dict)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    async def joined(self, proxy: Proxy, metadata: dict[str, str]) -> None:
        """A stream has begun. Raises PermissionError if its proxy may not join the group that it names."""
        key = group_of(proxy)
        if key is None:
            return
        account = await self.account(metadata)
        group = self.mesh.objects.get(key)
        why = problem(group if isinstance(group, WorkloadGroup) else None, key, proxy, account)
        if why:
            raise PermissionError(f"{proxy.id} cannot register itself: {why}")
        known = self._known.setdefault(entry_key(key, proxy), _Workload(key, proxy, account))
        known.proxy, known.account, known.streams = proxy, account, known.streams + 1
        self._wake.set()

    def left(self, proxy: Proxy) -> None:
        """A stream has ended."""
        known = self._of(proxy)
        if known is not None:
            known.streams -= 1
            known.until = self.clock() + LINGER_S
            asyncio.get_running_loop().call_later(LINGER_S + 0.01, self._wake.set)

    def told(self, proxy: Proxy, error: str) -> None:
        """The proxy's agent says that the application is healthy, or why it is not."""
        known = self._of(proxy)
        if known is not None:
            known.health = (not error, error)
            self._wake.set()

    def _of(self, proxy: Proxy) -> _Workload | None:
        key = group_of(proxy)
        return self._known.get(entry_key(key, proxy)) if key is not None else None

    async def run(self) -> None:
        """Write what has changed. Entries that an earlier process has left are taken over when their workloads come back, and
        go after the same time if they do not."""
        for key, obj in list(self.mesh.objects.items()):
            if isinstance(obj, WorkloadEntry) and obj.metadata.annotations.get(CONTROLLER) == self.controller:
                group = Key("WorkloadGroup", key.namespace, obj.metadata.annotations.get(GROUP, ""))
                left = _Workload(group, Proxy("sidecar", key.name, key.namespace), "", until=self.clock() + LINGER_S)
                self._known.setdefault(key, left)
        asyncio.get_running_loop().call_later(LINGER_S + 0.01, self._wake.set)
        self._wake.set()
        while True:
            await self._wake.wait()
            self._wake.clear()
            for key, known in list(self._known.items()):
                try:
                    await self._settle(key, known)
                except (ApiError, OSError) as error:
                    log.info("%s not written yet: %s", key, error)
                    asyncio.get_running_loop().call_later(_AGAIN_S, self._wake.set)

    async def _settle(self, key: Key, known: _Workload) -> None:
        if known.streams <= 0:
            if self.clock() >= known.until:
                self._known.pop(key)
                await self._remove(key)
            return
        group = self.mesh.objects.get(known.group)
        if not isinstance(group, WorkloadGroup):
            return
        wanted = (group.spec, known.proxy.ips, known.proxy.labels, known.proxy.locality)
        if known.written != wanted:
            made = entry(group, known.proxy, key.name, self.controller)
            await self.client.apply(_ENTRIES, made, field_manager=_MANAGER, force=True)
            known.written = wanted
        if known.health is not None and known.told != known.health:
            told = known.health
            await self._write_health(key, told)
            known.told = told

    async def _write_health(self, key: Key, health: tuple[bool, str]) -> None:
        condition = {
            "type": "Healthy",
            "status": "True" if health[0] else "False",
            "message": health[1],
            "lastProbeTime": _now(),
            "lastTransitionTime": _now(),
        }
        status = {"status": {"conditions": [condition]}}
        await self.client.patch(_ENTRIES, key.name, key.namespace, status, type="merge", sub="status")

    async def _remove(self, key: Key) -> None:
        try:
            await self.client.delete(_ENTRIES, key.name, key.namespace)
        except ApiError as error:
            if error.status != 404:
                raise
