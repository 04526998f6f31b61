"""Gives hosts of ServiceEntries addresses of their own, so that connections to them can be told apart, and writes them where
Istio does: `status.addresses`.

The status is the only memory. An address takes effect when it comes back from there, so it outlives this process; all
entries are read before the first address is given, so none is given twice. Source: istio.md 2.14.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

from sailcloth.api.kinds import MESH_KINDS
from sailcloth.api.meta import Key, Object
from sailcloth.api.service_entry import ServiceEntry
from sailcloth.kube import ApiError, Client, Resource
from sailcloth.mesh import services

log = logging.getLogger(__name__)

V4, V6 = ipaddress.ip_network("240.240.0.0/16"), ipaddress.ip_network("2001:2::/48")
_SLOTS = 254 * 256  # without addresses that end in 0 or 255
LINGER_S = 60.0  # twice as long as a name's answers are kept: a freed address is nobody else's until then
_AT_ONCE = 8
_AGAIN_S = 1.0

Owner = tuple[Key, str]
Status = list[dict[str, str]]


def pair(slot: int) -> tuple[str, str]:
    """The two addresses of a slot."""
    offset = slot // 254 * 256 + slot % 254 + 1
    return str(V4.network_address + offset), str(V6.network_address + offset)


def slot_of(address: str) -> int | None:
    """The slot of an address; None if it is not of ours."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return None
    network = V4 if ip.version == 4 else V6
    if ip not in network:
        return None
    high, low = divmod(int(ip) - int(network.network_address), 256)
    return high * 254 + low - 1 if high < 256 and 1 <= low <= 254 else None


class Pool:
    """Who has which slot. The first try depends on the name alone, so a lost status is most likely made anew as it was."""

    def __init__(self) -> None:
        self._owner: dict[int, Owner] = {}
        self._slots: dict[Key, dict[str, int]] = {}
        self._freed: dict[int, tuple[Owner, float]] = {}

    def claim(self, key: Key, obj: ServiceEntry, now: float) -> None:
        """Take note of what an object's status says it has, as far as nobody else has it; let go of the rest."""
        wanted = services.allocatable(obj)
        mine = self._slots.get(key, {})
        for told in obj.status.addresses:
            slot = slot_of(told.value)
            if (
                slot is not None
                and told.host in wanted
                and told.host not in mine
                and self._free(slot, key, told.host, now)
            ):
                mine = self._take(slot, key, told.host)
        for host in [h for h in mine if h not in wanted]:
            self._release(key, host, now)

    def forget(self, key: Key, now: float) -> None:
        """An object is gone."""
        for host in list(self._slots.get(key, ())):
            self._release(key, host, now)

    def status(self, key: Key, obj: ServiceEntry, now: float) -> Status:
        """The addresses that an object is to have, new ones for hosts that have none; hosts for which nothing is left are
        left out."""
        out: Status = []
        for host in services.allocatable(obj):
            slot = self._slots.get(key, {}).get(host)
            if slot is None:
                slot = self._find(key, host, now)
                if slot is None:
                    log.error("%s: no address is left in %s for %s; give it one in spec.addresses", key, V4, host)
                    continue
                self._take(slot, key, host)
            out += [{"value": value, "host": host} for value in pair(slot)]
        return out

    def _find(self, key: Key, host: str, now: float) -> int | None:
        first = zlib.crc32(f"{key.namespace}/{key.name}/{host}".encode()) % _SLOTS
        return next((s for i in range(_SLOTS) if self._free(s := (first + i) % _SLOTS, key, host, now)), None)

    def _free(self, slot: int, key: Key, host: str, now: float) -> bool:
        if slot in self._owner:
            return False
        former, until = self._freed.get(slot, ((key, host), 0.0))
        return former == (key, host) or now >= until

    def _take(self, slot: int, key: Key, host: str) -> dict[str, int]:
        self._owner[slot] = key, host
        self._freed.pop(slot, None)
        mine = self._slots.setdefault(key, {})
        mine[host] = slot
        return mine

    def _release(self, key: Key, host: str, now: float) -> None:
        slot = self._slots[key].pop(host)
        del self._owner[slot]
        self._freed = {s: f for s, f in self._freed.items() if f[1] > now}
        self._freed[slot] = (key, host), now + LINGER_S
        if not self._slots[key]:
            del self._slots[key]


def current(obj: ServiceEntry) -> Status:
    """What an object's status says."""
    return [{"value": a.value, "host": a.host} for a in obj.status.addresses]


Write = Callable[[Key, Status], Awaitable[None]]
"""Writes `status.addresses`; a missing object is no error."""


class Addresses:
    """Follows ServiceEntries; `run` writes until cancelled, from when all are known."""

    def __init__(self, write: Write, clock: Callable[[], float] = time.monotonic) -> None:
        self._write, self._clock = write, clock
        self._pool = Pool()
        self._objects: dict[Key, ServiceEntry] = {}
        self._dirty: dict[Key, None] = {}
        self._wake = asyncio.Event()
        self._synced = False

    def change(self, key: Key, obj: Object | None) -> None:
        """A ServiceEntry came, changed or (None) went."""
        if not isinstance(obj, ServiceEntry):
            self._objects.pop(key, None)
            self._dirty.pop(key, None)
            self._pool.forget(key, self._clock())
            return
        self._objects[key] = obj
        if self._synced:
            self._pool.claim(key, obj, self._clock())
        self._dirty[key] = None
        self._wake.set()

    async def run(self) -> None:
        """Write, once every entry has been seen. Of two that say they have one address, the older one keeps it."""
        for key, obj in sorted(self._objects.items(), key=lambda i: (i[1].metadata.creation_timestamp or "", i[0])):
            self._pool.claim(key, obj, self._clock())
        self._synced = True
        limit = asyncio.Semaphore(_AT_ONCE)
        while True:
            await self._wake.wait()
            self._wake.clear()
            dirty, self._dirty = self._dirty, {}
            async with asyncio.TaskGroup() as group:
                for key in dirty:
                    entry = self._objects.get(key)
                    if entry is not None and (wanted := self._pool.status(key, entry, self._clock())) != current(entry):
                        group.create_task(self._put(limit, key, wanted))

    async def _put(self, limit: asyncio.Semaphore, key: Key, wanted: Status) -> None:
        async with limit:
            try:
                await self._write(key, wanted)
            except (ApiError, OSError) as error:
                log.info("addresses of %s not written yet: %s", key, error)
                asyncio.get_running_loop().call_later(_AGAIN_S, self._again, key)

    def _again(self, key: Key) -> None:
        self._dirty[key] = None
        self._wake.set()


def writer(client: Client) -> Write:
    """Writes to a Kubernetes API; only the addresses, other parts of the status stay."""
    (kind,) = (k for k in MESH_KINDS if k.name == "ServiceEntry")
    resource = Resource(kind.group, kind.versions[0], kind.plural, kind.name, kind.namespaced)

    async def write(key: Key, addresses: Status) -> None:
        status: dict[str, Any] = {"status": {"addresses": addresses or None}}
        try:
            await client.patch(resource, key.name, key.namespace, status, type="merge", sub="status")
        except ApiError as error:
            if error.status != 404:
                raise

    return write
