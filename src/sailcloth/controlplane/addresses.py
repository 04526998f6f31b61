"""Allocates a virtual IPv4 and IPv6 address to each host of a ServiceEntry, so that proxies can tell connections to them apart,
and writes them to `status.addresses`, as Istio does.

Addresses are stored only in the status. An address takes effect when it is read back from there, so it survives restarts. All
entries are read before the first allocation, so no address is allocated twice. Source: istio.md 2.14.
"""

from __future__ import annotations

import ipaddress
import logging
import zlib
from collections.abc import Awaitable, Callable

from sailcloth.api.kinds import MESH_KINDS
from sailcloth.api.meta import Key, Object
from sailcloth.api.service_entry import ServiceEntry
from sailcloth.kube import RETRIABLE, Client
from sailcloth.lib.clock import MONOTONIC, Clock
from sailcloth.lib.work_queue import WorkQueue
from sailcloth.mesh import services

from .status_api import merge_status, resource_of

log = logging.getLogger(__name__)

V4, V6 = ipaddress.ip_network("240.240.0.0/16"), ipaddress.ip_network("2001:2::/48")
_SLOTS = 254 * 256  # without addresses that end in 0 or 255
LINGER_S = 60.0  # a freed address is not reused for that long: twice the TTL of DNS answers

Owner = tuple[Key, str]
Status = list[dict[str, str]]


def pair(slot: int) -> tuple[str, str]:
    """The two addresses of a slot."""
    offset = slot // 254 * 256 + slot % 254 + 1
    return str(V4.network_address + offset), str(V6.network_address + offset)


def slot_of(address: str) -> int | None:
    """The slot of an address; None if it is not in our ranges."""
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
    """Allocation of slots. The first candidate is a hash of the name, so that a lost status most likely gets the same addresses
    again."""

    def __init__(self) -> None:
        self._owner: dict[int, Owner] = {}
        self._slots: dict[Key, dict[str, int]] = {}
        self._freed: dict[int, tuple[Owner, float]] = {}

    def claim(self, key: Key, obj: ServiceEntry, now: float) -> None:
        """Allocate the addresses in an object's status unless another object has them, and release those of removed hosts."""
        allocatable = services.allocatable(obj)
        slots = self._slots.get(key, {})
        for assigned in obj.status.addresses:
            slot = slot_of(assigned.value)
            if (
                slot is not None
                and assigned.host in allocatable
                and assigned.host not in slots
                and self._free(slot, key, assigned.host, now)
            ):
                slots = self._assign(slot, key, assigned.host)
        for host in [h for h in slots if h not in allocatable]:
            self._release(key, host, now)

    def forget(self, key: Key, now: float) -> None:
        """Release the addresses of a deleted object."""
        for host in list(self._slots.get(key, ())):
            self._release(key, host, now)

    def status(self, key: Key, obj: ServiceEntry, now: float) -> Status:
        """The addresses of an object's hosts; allocates missing ones. Leaves out hosts when no address is free."""
        addresses: Status = []
        for host in services.allocatable(obj):
            slot = self._slots.get(key, {}).get(host)
            if slot is None:
                slot = self._find_free(key, host, now)
                if slot is None:
                    log.error("%s: no address in %s is free for %s; set spec.addresses", key, V4, host)
                    continue
                self._assign(slot, key, host)
            addresses += [{"value": value, "host": host} for value in pair(slot)]
        return addresses

    def _find_free(self, key: Key, host: str, now: float) -> int | None:
        first = zlib.crc32(f"{key.namespace}/{key.name}/{host}".encode()) % _SLOTS
        return next((s for i in range(_SLOTS) if self._free(s := (first + i) % _SLOTS, key, host, now)), None)

    def _free(self, slot: int, key: Key, host: str, now: float) -> bool:
        if slot in self._owner:
            return False
        former_owner, reserved_until = self._freed.get(slot, ((key, host), 0.0))
        return former_owner == (key, host) or now >= reserved_until

    def _assign(self, slot: int, key: Key, host: str) -> dict[str, int]:
        self._owner[slot] = key, host
        self._freed.pop(slot, None)
        slots = self._slots.setdefault(key, {})
        slots[host] = slot
        return slots

    def _release(self, key: Key, host: str, now: float) -> None:
        slot = self._slots[key].pop(host)
        del self._owner[slot]
        self._freed = {s: f for s, f in self._freed.items() if f[1] > now}
        self._freed[slot] = (key, host), now + LINGER_S
        if not self._slots[key]:
            del self._slots[key]


def current(obj: ServiceEntry) -> Status:
    """The addresses in an object's status."""
    return [{"value": a.value, "host": a.host} for a in obj.status.addresses]


Write = Callable[[Key, Status], Awaitable[None]]
"""Writes `status.addresses`; does nothing if the object no longer exists."""


class Addresses:
    """Allocates addresses for ServiceEntries. Start `run` after all existing entries were passed to `change`."""

    def __init__(self, write: Write, clock: Clock = MONOTONIC) -> None:
        self._write, self._clock = write, clock
        self._pool = Pool()
        self._objects: dict[Key, ServiceEntry] = {}
        self._synced = False
        self.queue = WorkQueue(self._reconcile, name="addresses", retry=RETRIABLE, workers=8, clock=clock)

    def change(self, key: Key, obj: Object | None) -> None:
        """A ServiceEntry was added, changed or (None) deleted."""
        if not isinstance(obj, ServiceEntry):
            self._objects.pop(key, None)
            self.queue.discard(key)
            self._pool.forget(key, self._clock.time())
            return
        self._objects[key] = obj
        if self._synced:
            self._pool.claim(key, obj, self._clock.time())
        self.queue.add(key)

    async def run(self) -> None:
        """Write addresses until cancelled. If two entries have the same address in their status, the older one keeps it."""
        for key, obj in sorted(self._objects.items(), key=lambda i: (i[1].metadata.creation_timestamp or "", i[0])):
            self._pool.claim(key, obj, self._clock.time())
        self._synced = True
        await self.queue.run()

    async def _reconcile(self, key: Key) -> None:
        entry = self._objects.get(key)
        if entry is not None and (addresses := self._pool.status(key, entry, self._clock.time())) != current(entry):
            await self._write(key, addresses)


def writer(client: Client) -> Write:
    """Writes to a Kubernetes API. Changes only `addresses` and leaves the rest of the status."""
    (kind,) = (k for k in MESH_KINDS if k.name == "ServiceEntry")

    async def write(key: Key, addresses: Status) -> None:
        await merge_status(client, resource_of(kind), key, {"addresses": addresses or None})

    return write
