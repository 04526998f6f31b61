"""Gives hosts of ServiceEntries addresses of their own, so that connections to them can be told apart, and writes them where
Istio does: `status.addresses`.

The status is the only memory. An address takes effect when it comes back from there, so it outlives this process; all
entries are read before the first address is given, so none is given twice. Source: istio.md 2.14.
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
LINGER_S = 60.0  # twice as long as a name's answers are kept: a freed address is nobody else's until then

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

    def __init__(self, write: Write, clock: Clock = MONOTONIC) -> None:
        self._write, self._clock = write, clock
        self._pool = Pool()
        self._objects: dict[Key, ServiceEntry] = {}
        self._synced = False
        self._queue = WorkQueue(self._reconcile, name="addresses", retry=RETRIABLE, workers=8, clock=clock)

    def change(self, key: Key, obj: Object | None) -> None:
        """A ServiceEntry came, changed or (None) went."""
        if not isinstance(obj, ServiceEntry):
            self._objects.pop(key, None)
            self._queue.discard(key)
            self._pool.forget(key, self._clock.time())
            return
        self._objects[key] = obj
        if self._synced:
            self._pool.claim(key, obj, self._clock.time())
        self._queue.add(key)

    async def run(self) -> None:
        """Write, once every entry has been seen. Of two that say they have one address, the older one keeps it."""
        for key, obj in sorted(self._objects.items(), key=lambda i: (i[1].metadata.creation_timestamp or "", i[0])):
            self._pool.claim(key, obj, self._clock.time())
        self._synced = True
        await self._queue.run()

    async def _reconcile(self, key: Key) -> None:
        entry = self._objects.get(key)
        if entry is not None and (wanted := self._pool.status(key, entry, self._clock.time())) != current(entry):
            await self._write(key, wanted)


def writer(client: Client) -> Write:
    """Writes to a Kubernetes API; only the addresses, other parts of the status stay."""
    (kind,) = (k for k in MESH_KINDS if k.name == "ServiceEntry")

    async def write(key: Key, addresses: Status) -> None:
        await merge_status(client, resource_of(kind), key, {"addresses": addresses or None})

    return write
