"""Host names that a pod's agent resolves itself, from the control plane's name tables. No I/O; `dns` serves them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from sailcloth.envoy.resources import name_table

Addresses = tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Match:
    """The addresses of a name; `alias` is the CNAME target that they belong to, empty if there is none."""

    addresses: Addresses
    alias: str = ""

    def addresses_of(self, version: int) -> Addresses:
        """The addresses of IP version 4 or 6."""
        length = 4 if version == 4 else 16
        return tuple(a for a in self.addresses if len(a) == length)


@lru_cache(maxsize=16_384)
def _decoded(body: bytes) -> tuple[tuple[str, Addresses], ...]:
    """The entries of a table, shared by all pods that get the same bytes."""
    entries = name_table.decode(body).items()
    return tuple((host.lower().rstrip("."), tuple(_packed(ip) for ip in ips)) for host, ips in entries)


def _packed(ip: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in ip else socket.AF_INET, ip)


class NameTables:
    """The name tables of one pod. `search` is the search list of its resolver, its namespace's domain first."""

    def __init__(self, search: Iterable[str]) -> None:
        self._search = tuple(s.lower().strip(".") for s in search)
        self._tables: dict[str, tuple[str, tuple[tuple[str, Addresses], ...]]] = {}
        self._hosts: dict[str, Addresses] = {}
        self.received = asyncio.Event()  # the control plane has sent tables

    @property
    def versions(self) -> dict[str, str]:
        """Versions by table, for initial_resource_versions."""
        return {name: version for name, (version, _) in self._tables.items()}

    def __len__(self) -> int:
        return len(self._hosts)

    def update(self, changed: Mapping[str, tuple[str, bytes]], removed: Iterable[str] = ()) -> None:
        """Take in tables, as (version, bytes) by name, and forget some. Raises ValueError for bytes that are no table; what was
        known then stays."""
        try:
            created = {name: (version, _decoded(body)) for name, (version, body) in changed.items()}
        except Exception as error:  # whatever the decoder raises: these are bytes from outside
            raise ValueError(f"not a name table: {error}") from None
        for name in [*removed, *created]:
            for host, _ in self._tables.pop(name, ("", ()))[1]:
                self._hosts.pop(host, None)
        for name, table in created.items():
            self._tables[name] = table
            self._hosts.update(table[1])
        self.received.set()

    def lookup(self, name: str) -> Match | None:
        """The addresses of a name in lower case; None if it is for the pod's resolver to answer.

        As Istio's agent: short names of services are completed, wildcards hold for what they cover, and a name with the first
        suffix of the search list behind it is answered as the name without, so that the resolver need not go through the list.
        """
        result = self._exact(name)
        if result is not None:
            return Match(result)
        if self._search and name.endswith("." + self._search[0]):
            short = name[: -len(self._search[0]) - 1]
            result = self._exact(short)
            if result is not None:
                return Match(result, short)
        return None

    def _exact(self, name: str) -> Addresses | None:
        value = self._hosts.get(name)
        if value is not None:
            return value
        for suffix in self._search:
            value = self._hosts.get(f"{name}.{suffix}")
            if value is not None:
                return value
        _, dot, rest = name.partition(".")
        while dot:
            value = self._hosts.get("*." + rest)
            if value is not None:
                return value
            _, dot, rest = rest.partition(".")
        return None
