"""Addresses of services and load balancers for clients without a sidecar: nftables maps from (address, protocol, port) to a random endpoint."""

from __future__ import annotations

import socket
import struct

from sailcloth.lib import nftables as n
from sailcloth.lib.nftables import Batch, Nftables

from .network import DNS_IP, SERVICE_CIDR

_T = "kproxy"
PROTOCOLS = {"TCP": 6, "UDP": 17}
_KEY = (n.concat_type(n.T_ADDRESS, n.T_PROTOCOL, n.T_PORT), 12)
_TARGET = (n.concat_type(n.T_ADDRESS, n.T_PORT), 8)

ServiceKey = tuple[str, str, int]  # address, protocol, port
Spec = tuple[tuple[tuple[str, int], ...], bool]  # endpoints, whether a client sticks to one


class KubeProxy:
    """Keeps the rules equal to the services, by differences, each in one transaction. The first one replaces the rules of an
    earlier process, which are in force until then. `load_balancers`: the range of their addresses, which pods send here."""

    def __init__(self, load_balancers: str = "") -> None:
        self._nft = Nftables()
        self._load_balancers = load_balancers
        self._generation = 0
        self._live: dict[ServiceKey, tuple[Spec, str, str]] = {}
        self._hairpin: set[str] = set()
        self._fresh = True

    def _table(self, b: Batch) -> None:
        """The table without services."""
        b.fresh_table(_T)
        b.named_set(_T, "svc", _KEY, (n.T_VERDICT, 0), fields=(4, 1, 2))
        load = n.payload(1, 16, 4, 8) + n.meta("l4proto", 9) + n.payload(2, 2, 2, 10)
        b.chain(_T, "services").rule(_T, "services", load, n.lookup("svc", 8, 0))
        for hook in ("prerouting", "output"):
            b.chain(_T, hook, hook).rule(_T, hook, n.destination(SERVICE_CIDR), n.verdict(n.JUMP, "services"))
        if self._load_balancers:
            b.rule(_T, "prerouting", n.destination(self._load_balancers), n.verdict(n.JUMP, "services"))
        # A pod that reaches itself through its own service must see the node as peer, or its reply never leaves it.
        pair = (n.concat_type(n.T_ADDRESS, n.T_ADDRESS), 8)
        b.named_set(_T, "hairpin", pair, fields=(4, 4)).chain(_T, "postrouting", "postrouting", priority=100)
        ends = n.payload(1, 12, 4, 8) + n.payload(1, 16, 4, 9)
        b.rule(_T, "postrouting", ends, n.lookup("hairpin", 8), n.masquerade())
        for hook in ("prerouting", "output"):  # an address left untranslated has no endpoints: refuse at once
            chain = f"refuse_{hook}"
            b.chain(_T, chain, hook, priority=-90, kind="filter")
            b.rule(_T, chain, n.destination(f"{DNS_IP}/32"), n.verdict(n.RETURN))
            b.rule(_T, chain, n.destination(SERVICE_CIDR), n.reject())

    def apply(self, services: dict[ServiceKey, Spec], pods: set[str]) -> None:
        """Make the rules say exactly this. `pods` are the pods' own addresses, for pods that call themselves through a
        service."""
        b = Batch()
        if self._fresh:
            self._table(b)
        gone = [k for k in self._live if services.get(k) != self._live[k][0]]
        new: list[tuple[ServiceKey, Spec, str, str]] = []
        for key, spec in services.items():
            endpoints, sticky = spec
            if not endpoints or (key in self._live and key not in gone):
                continue
            self._generation += 1
            chain, target = f"s{self._generation}", f"m{self._generation}"
            b.chain(_T, chain).named_set(_T, target, (n.T_INTEGER, 4), _TARGET)
            b.elements(_T, target, [(struct.pack("=I", i), _endpoint(*e)) for i, e in enumerate(endpoints)])
            choose = n.hash_source(len(endpoints)) if sticky else n.numgen(len(endpoints))
            b.rule(_T, chain, choose, n.lookup(target, 1, 2), n.dnat(12, 13))
            new.append((key, spec, chain, target))
        if gone:
            b.elements(_T, "svc", [(_key(*k), None) for k in gone], delete=True)
        if new:
            b.elements(_T, "svc", [(_key(*k), n.verdict_data(n.GOTO, chain)) for k, _, chain, _ in new])
        for key in gone:
            b.drop_chain(_T, self._live[key][1]).drop_set(_T, self._live[key][2])
        for delete, changed in ((True, self._hairpin - pods), (False, pods - self._hairpin)):
            if changed:
                b.elements(_T, "hairpin", [(socket.inet_aton(a) * 2, None) for a in sorted(changed)], delete=delete)
        self._nft.commit(b)
        self._fresh = False
        for key in gone:
            del self._live[key]
        self._live.update({k: (spec, chain, target) for k, spec, chain, target in new})
        self._hairpin = set(pods)


def _key(address: str, protocol: str, number: int) -> bytes:
    return socket.inet_aton(address) + bytes([PROTOCOLS[protocol], 0, 0, 0]) + struct.pack(">HH", number, 0)


def _endpoint(address: str, number: int) -> bytes:
    return socket.inet_aton(address) + struct.pack(">HH", number, 0)
