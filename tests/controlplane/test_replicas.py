"""What replicas tell each other of their proxies: over TLS, to replicas only, again only if it has changed."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import pytest
from aiohttp import web

from sailcloth.analysis import manifests
from sailcloth.api.meta import Key
from sailcloth.ca.authority import Authority
from sailcloth.controlplane import replicas
from sailcloth.controlplane.connected_proxies import ConnectedProxies
from sailcloth.controlplane.replicas import HeldPage, Replicas, Siblings
from sailcloth.controlplane.server_tls import ServerTls

RULE, OTHER = Key("VirtualService", "default", "reviews"), Key("Service", "default", "reviews")
NAME = "istiod.istio-system.svc"


@dataclass(eq=False)
class Client:
    proxy: Any
    connection: Any
    trusted_roots: frozenset[str] = frozenset()


def proxy(name: str, in_sync: bool = True, error: str = "") -> Any:
    stream = SimpleNamespace(in_sync=in_sync, last_error=error)
    return Client(SimpleNamespace(id=name), SimpleNamespace(stream=stream))


class Proxies:
    def __init__(self, *clients: Any) -> None:
        self.clients = {c.proxy.id: c for c in clients}

    def all_holders(self) -> dict[Key, set[Any]]:
        return {RULE: set(self.clients.values()), OTHER: set(self.clients.values())}


@dataclass
class Served:
    """A replica's page at an address."""

    address: str
    held: HeldPage
    proxies: Proxies
    allowed: dict[str, str]
    answers: list[int]


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    proxies = Proxies(proxy("a.default"), proxy("b.default", False), proxy("c.default", error="refused: no cluster"))
    held, allowed, answers = HeldPage(cast("ConnectedProxies", proxies), {"VirtualService"}), {"Bearer right": "*"}, []

    async def scope(request: web.Request) -> str:
        found = allowed.get(request.headers["Authorization"])
        if found is None:
            raise PermissionError("no token")
        return found

    answer = replicas.handler(held, scope)

    async def counted(request: web.Request) -> web.Response:
        response = await answer(request)
        answers.append(response.status)
        return response

    app = web.Application()
    app.router.add_get(replicas.PATH, counted)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=ServerTls([NAME], lambda: AUTHORITY).context())
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    yield Served(f"127.0.0.1:{port}", held, proxies, allowed, answers)
    await runner.cleanup()


AUTHORITY = Authority.create()


def asking(*addresses: str, token: str = "right", name: str = NAME) -> tuple[Replicas, list[None]]:
    async def own_token() -> str:
        return token

    made, changes = (
        Replicas(
            lambda: addresses,
            own_token,
            lambda: ssl.create_default_context(cadata=AUTHORITY.certificate_pem.decode()),
            name,
        ),
        [],
    )
    made.on_change = lambda: changes.append(None)
    return made, changes


async def ask(made: Replicas, times: int = 1) -> None:
    async with aiohttp.ClientSession() as session:
        for _ in range(times):
            await made.ask(session)


async def test_the_proxies_of_another_replica_count(served: Served) -> None:
    made, changes = asking(served.address)
    await ask(made, 2)
    assert made.holders(RULE) == {"a.default", "b.default", "c.default"}
    assert made.holders(OTHER) == set(), "has no status"
    assert made.behind == {"b.default"}
    assert made.refused == {"c.default": "refused: no cluster"}
    assert (served.answers, len(changes)) == ([200, 304], 1)


async def test_it_is_known_which_proxies_trust_a_root(served: Served) -> None:
    served.proxies.clients["a.default"].trusted_roots = frozenset({"old", "new"})
    served.proxies.clients["b.default"].trusted_roots = frozenset({"old"})
    made, _ = asking(served.address)
    await ask(made)
    assert made.proxies == {"a.default", "b.default", "c.default"}
    assert (made.trusting("old"), made.trusting("new")) == ({"a.default", "b.default"}, {"a.default"})
    assert made.trusting("none") == set()


async def test_what_changes_is_told_again(served: Served) -> None:
    made, changes = asking(served.address)
    await ask(made)
    served.proxies.clients.popitem()
    await ask(made)
    assert len(made.holders(RULE)) == 3, "the page is kept until it is outdated"
    served.held.outdated()
    await ask(made)
    assert made.holders(RULE) == {"a.default", "b.default"}
    assert len(changes) == 2


@pytest.mark.parametrize(("token", "scope"), [("wrong", None), ("right", "default")])
async def test_others_are_told_nothing(
    served: Served, token: str, scope: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    if scope is not None:
        served.allowed["Bearer right"] = scope
    made, _ = asking(served.address, token=token)
    await ask(made, 3)
    assert made.holders(RULE) == set()
    assert len([r for r in caplog.records if "does not tell" in r.message]) == 1, "once, not each second"


async def test_only_the_control_plane_is_believed(served: Served) -> None:
    made, _ = asking(served.address, name="somebody.example.com")
    await ask(made)
    assert made.holders(RULE) == set()
    assert served.answers == []


async def test_a_replica_that_is_gone_is_forgotten(served: Served) -> None:
    addresses = [served.address]
    made, changes = asking()
    made._addresses = lambda: addresses
    await ask(made)
    addresses.clear()
    await ask(made)
    assert made.holders(RULE) == set()
    assert len(changes) == 2


SLICE = """
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice,
 metadata: {name: istiod-1, namespace: istio-system, labels: {kubernetes.io/service-name: istiod}},
 addressType: IPv4, endpoints: [{addresses: [10.0.0.1]}, {addresses: [10.0.0.2]}]}
"""


def test_the_others_are_the_endpoints_of_the_control_planes_service() -> None:
    (body,) = manifests.documents(SLICE)
    key, obj = cast("tuple[Key, Any]", manifests.typed(body))
    siblings = Siblings("istio-system", "istiod", 15017, "10.0.0.1")
    siblings.change(key, obj)
    siblings.change(Key("EndpointSlice", "default", "istiod-1"), obj)
    assert list(siblings.addresses()) == ["10.0.0.2:15017"]
    siblings.change(key, None)
    assert list(siblings.addresses()) == []
