"""What the proxies of other replicas have: statuses count the proxies of all, a new root signs when all trust it, and each replica knows its
own only.

Each replica asks the others once a second, over TLS with the mesh's roots, and with the token of its pod. A page is sent again only
if it has changed. Must not write statuses.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import ssl
from collections import defaultdict
from collections.abc import Awaitable, Callable, Container, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import msgspec
from aiohttp import web

from sailcloth.api import core
from sailcloth.api.meta import Finding, Key, Object

from .connected_proxies import ConnectedProxies

log = logging.getLogger(__name__)

TOKEN = Path("/var/run/secrets/tokens/istio-token")
_OF_SERVICE = "kubernetes.io/service-name"
PATH = "/replica/holders"
_ASK_S = 1.0
_ANSWER_S = 3.0
_LARGEST = 64 << 20  # bytes of a page


class Page(msgspec.Struct):
    """The proxies of a replica. `objects`: for each object (kind/namespace/name) the indexes of the proxies that have something made of it;
    `behind`: those that have not acknowledged everything; `refused`: what a proxy refused, by its index; `trusting`: those that trust a root, by
    its fingerprint."""

    proxies: list[str] = []
    objects: dict[str, list[int]] = {}
    behind: list[int] = []
    refused: dict[int, str] = {}
    trusting: dict[str, list[int]] = {}


@dataclass(frozen=True)
class Holders:
    """The proxies of a replica, by their ids."""

    objects: dict[Key, frozenset[str]] = field(default_factory=dict)
    behind: frozenset[str] = frozenset()
    refused: dict[str, str] = field(default_factory=dict)
    proxies: frozenset[str] = frozenset()
    trusting: dict[str, frozenset[str]] = field(default_factory=dict)


def page(proxies: ConnectedProxies, kinds: Container[str]) -> Page:
    """This replica's proxies, for objects of some kinds."""
    clients = sorted(proxies.clients.values(), key=lambda c: c.proxy.id)
    index = {client: number for number, client in enumerate(clients)}
    objects: dict[str, set[int]] = defaultdict(set)
    for source, holders in proxies.all_holders().items():
        if source.kind in kinds:
            objects["/".join(source)] |= {index[c] for c in holders if c in index}
    trusting: dict[str, list[int]] = defaultdict(list)
    for client, number in index.items():
        for root in client.trusted_roots:
            trusting[root].append(number)
    streams = [(number, client.connection.stream) for client, number in index.items()]
    return Page(
        proxies=[c.proxy.id for c in clients],
        objects={name: sorted(found) for name, found in sorted(objects.items())},
        behind=[number for number, stream in streams if not stream.in_sync],
        refused={number: stream.last_error for number, stream in streams if stream.last_error},
        trusting=dict(sorted(trusting.items())),
    )


def encoded(content: Page) -> tuple[bytes, str]:
    """A page as JSON, and its entity tag."""
    body = msgspec.json.encode(content)
    return body, f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'


def decoded(body: bytes) -> Holders:
    """The proxies that a page names. Raises msgspec.ValidationError or IndexError."""
    read = msgspec.json.decode(body, type=Page)
    objects = {
        Key(*name.split("/", 2)): frozenset(read.proxies[i] for i in found) for name, found in read.objects.items()
    }
    refused = {read.proxies[number]: text for number, text in read.refused.items()}
    trusting = {root: frozenset(read.proxies[i] for i in found) for root, found in read.trusting.items()}
    behind = frozenset(read.proxies[i] for i in read.behind)
    return Holders(objects, behind, refused, frozenset(read.proxies), trusting)


class HeldPage:
    """This replica's page, made once for all who ask until something changes: call `outdated` then."""

    def __init__(self, proxies: ConnectedProxies, kinds: Container[str]) -> None:
        self._proxies, self._kinds = proxies, kinds
        self._made: tuple[bytes, str] | None = None

    def outdated(self) -> None:
        """Make it anew when it is asked next."""
        self._made = None

    def get(self) -> tuple[bytes, str]:
        """The page as JSON, and its entity tag."""
        if self._made is None:
            self._made = encoded(page(self._proxies, self._kinds))
        return self._made


def handler(
    held: HeldPage, scope: Callable[[web.Request], Awaitable[str]]
) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Answers the replica that writes, which has a token of the installation's namespace."""

    async def answer(request: web.Request) -> web.Response:
        try:
            allowed = await scope(request)
        except PermissionError as error:
            return web.Response(status=401, text=f"{error}\n")
        if allowed != "*":
            return web.Response(status=403, text="for replicas of the control plane\n")
        body, tag = held.get()
        if request.headers.get("If-None-Match") == tag:
            return web.Response(status=304)
        return web.Response(body=body, headers={"ETag": tag}, content_type="application/json")

    return answer


class Siblings:
    """The other replicas, of all revisions, by the EndpointSlices of their Services. `own`: the address of this one."""

    def __init__(self, namespace: str, service: str, port: int, own: str) -> None:
        self._namespace, self._service, self._port, self._own = namespace, service, port, own
        self._slices: dict[Key, core.EndpointSlice] = {}

    def change(self, key: Key, obj: Object | Finding | None) -> None:
        """An object of the cluster was added, changed or (None) deleted."""
        if key.kind != "EndpointSlice" or key.namespace != self._namespace or isinstance(obj, Finding):
            return
        if isinstance(obj, core.EndpointSlice) and self._is_ours(obj.metadata.labels.get(_OF_SERVICE, "")):
            self._slices[key] = obj
        else:
            self._slices.pop(key, None)

    def _is_ours(self, service: str) -> bool:
        """Whether it is the control plane's Service, of any revision."""
        return service == self._service or service.startswith(f"{self._service}-")

    def addresses(self) -> Iterator[str]:
        """host:port of each."""
        for found in self._slices.values():
            for endpoint in found.endpoints:
                yield from (f"{a}:{self._port}" for a in endpoint.addresses if a != self._own)


async def pod_token() -> str:
    """The token of this replica's pod, for the others. Raises OSError."""
    return (await asyncio.to_thread(TOKEN.read_text)).strip()


class Replicas:
    """`run` asks until cancelled. `addresses`: of the other replicas (host:port). `on_change` is called when something is different."""

    def __init__(
        self,
        addresses: Callable[[], Iterable[str]],
        token: Callable[[], Awaitable[str]],
        context: Callable[[], ssl.SSLContext],
        server_name: str,
    ) -> None:
        self._addresses, self._token, self._context, self._server_name = addresses, token, context, server_name
        self._holders: dict[str, Holders] = {}
        self._tags: dict[str, str] = {}
        self._failed: set[str] = set()
        self.on_change: Callable[[], None] = lambda: None

    def holders(self, key: Key) -> set[str]:
        """The proxies of other replicas that have something made of an object."""
        return {proxy for replica in self._holders.values() for proxy in replica.objects.get(key, ())}

    @property
    def behind(self) -> set[str]:
        """Their proxies that have not acknowledged everything."""
        return {proxy for replica in self._holders.values() for proxy in replica.behind}

    @property
    def refused(self) -> dict[str, str]:
        """What their proxies refused."""
        return {proxy: text for replica in self._holders.values() for proxy, text in replica.refused.items()}

    @property
    def proxies(self) -> set[str]:
        """All their proxies."""
        return {proxy for replica in self._holders.values() for proxy in replica.proxies}

    def trusting(self, root: str) -> set[str]:
        """Those that trust a root."""
        return {proxy for replica in self._holders.values() for proxy in replica.trusting.get(root, ())}

    async def run(self) -> None:
        """Ask until cancelled; what was known then is forgotten."""
        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ANSWER_S)) as session:
                while True:
                    await self.ask(session)
                    await asyncio.sleep(_ASK_S)
        finally:
            self._holders.clear()
            self._tags.clear()

    async def ask(self, session: aiohttp.ClientSession) -> None:
        """Ask every other replica once."""
        addresses = sorted(set(self._addresses()))
        changed = [await self._ask(session, address) for address in addresses]
        gone = self._holders.keys() - set(addresses)
        for address in gone:
            self._forget(address)
        self._failed &= set(addresses)
        if gone or any(changed):
            self.on_change()

    async def _ask(self, session: aiohttp.ClientSession, address: str) -> bool:
        """Whether a replica has told something new."""
        try:
            headers = {"Authorization": f"Bearer {await self._token()}", "If-None-Match": self._tags.get(address, "")}
            url, options = f"https://{address}{PATH}", {"ssl": self._context(), "server_hostname": self._server_name}
            async with session.get(url, headers=headers, **options) as answer:  # type: ignore[arg-type]
                if answer.status == 304:
                    return False
                if answer.status == 404:  # a control plane of Istio, which writes no counts
                    return self._forget(address)
                if answer.status != 200:
                    raise OSError(f"status {answer.status}")
                body = await answer.content.read(_LARGEST)
                self._holders[address] = decoded(body)
                self._tags[address] = answer.headers.get("ETag", "")
        except (aiohttp.ClientError, OSError, ValueError, IndexError, TypeError) as error:
            if address not in self._failed:
                log.warning(
                    "replica %s does not tell what its proxies have, so statuses leave them out: %s", address, error
                )
            self._failed.add(address)
            return self._forget(address)
        self._failed.discard(address)
        return True

    def _forget(self, address: str) -> bool:
        self._tags.pop(address, None)
        return self._holders.pop(address, None) is not None
