"""The keys that verify end-user tokens: when they are fetched, what stays when that fails, and when a policy takes effect."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sailcloth.analysis import manifests
from sailcloth.api.meta import Key, Object
from sailcloth.controlplane.key_fetcher import REFRESH_S, KeyFetcher
from sailcloth.lib.http_fetch import FetchError, Network
from sailcloth.mesh import json_web_keys
from sailcloth.mesh.json_web_keys import FetchedKeys, KeySource
from sailcloth.mesh.registry import Mesh
from sailcloth.testing.clock import VirtualClock

from ..tokens import Issuer

USERS = Key("RequestAuthentication", "default", "users")
URL = "https://issuer.example/keys"
WHERE = KeySource(URL)
ONE, TWO = Issuer("one"), Issuer("two")


def policy(*rules: str) -> Object:
    text = f"""
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: users, namespace: default}}
spec: {{jwtRules: [{", ".join(rules)}]}}
"""
    ((_, obj),), findings = manifests.load([text])
    assert not findings
    return obj


BY_URI = f"{{issuer: one, jwksUri: '{URL}'}}"


@dataclass
class Web:
    """Answers by address; an address without an answer fails."""

    pages: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    blocked: tuple[Network, ...] = ()

    async def fetch(
        self, url: str, timeout_s: float, blocked: Sequence[Network], lookup: Callable[[str], str | None]
    ) -> bytes:
        self.asked.append(url)
        self.blocked = tuple(blocked)
        if url not in self.pages:
            raise FetchError(f"{url}: status 404")
        return self.pages[url].encode()


class Setup:
    """A fetcher in virtual time; `applied` are the versions that took effect, `changes` how often something changed."""

    def __init__(self, **pages: str) -> None:
        self.mesh, self.web, self.clock = Mesh(), Web({URL: pages["keys"]} if pages else {}), VirtualClock()
        self.applied: list[Object | None] = []
        self.changes = 0
        self.fetcher = KeyFetcher(
            self.mesh, lambda key, obj: self.applied.append(obj), self._changed, fetch=self.web.fetch, clock=self.clock
        )

    def _changed(self) -> None:
        self.changes += 1

    def fetched(self, where: KeySource = WHERE) -> FetchedKeys | None:
        return json_web_keys.fetched(self.mesh.graph, where)


async def test_a_policy_takes_effect_when_its_keys_are_there() -> None:
    made = Setup(keys=ONE.keys)
    made.fetcher.change(USERS, policy(BY_URI))
    assert made.applied == []
    await made.clock.settle()
    assert made.applied == [policy(BY_URI)]
    assert made.fetched() == FetchedKeys(json_web_keys.usable(ONE.keys))
    await made.fetcher.close()


async def test_keys_are_renewed_and_the_last_good_ones_stay() -> None:
    made = Setup(keys=ONE.keys)
    made.fetcher.change(USERS, policy(BY_URI))
    await made.clock.settle()
    made.web.pages[URL] = TWO.keys
    await made.clock.advance(REFRESH_S)
    assert made.fetched() == FetchedKeys(json_web_keys.usable(TWO.keys))
    changes = made.changes
    await made.clock.advance(REFRESH_S)
    assert made.changes == changes  # the same keys change nothing
    for broken in (None, "no keys", '{"keys": []}', '{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}'):
        made.web.pages.pop(URL, None)
        if broken is not None:
            made.web.pages[URL] = broken
        await made.clock.advance(REFRESH_S)
        now = made.fetched()
        assert now is not None
        assert now.keys == json_web_keys.usable(TWO.keys)
        assert URL in now.error
    made.web.pages[URL] = ONE.keys
    await made.clock.advance(61)  # the longest pause after failures
    assert made.fetched() == FetchedKeys(json_web_keys.usable(ONE.keys))
    await made.fetcher.close()


async def test_without_keys_a_policy_takes_effect_after_the_first_attempt() -> None:
    made = Setup()
    made.fetcher.change(USERS, policy(BY_URI))
    await made.clock.settle()
    assert made.applied == [policy(BY_URI)]
    assert made.fetched() == FetchedKeys("", f"{URL}: status 404")
    await made.fetcher.close()


async def test_an_issuer_says_where_its_keys_are() -> None:
    made = Setup(keys=ONE.keys)
    configuration = "https://issuer.example/.well-known/openid-configuration"
    made.web.pages[configuration] = json.dumps({"jwks_uri": URL})
    rule = "{issuer: 'https://issuer.example/'}"
    where = KeySource("https://issuer.example/", discover=True)
    made.fetcher.change(USERS, policy(rule))
    await made.clock.settle()
    assert made.fetched(where) == FetchedKeys(json_web_keys.usable(ONE.keys))
    for wrong in ("[]", "{}", '{"jwks_uri": "file:///etc/passwd"}', '{"jwks_uri": 1}', "<html>"):
        made.web.pages[configuration] = wrong
        await made.clock.advance(REFRESH_S)
        now = made.fetched(where)
        assert now is not None
        assert now.keys
        assert "jwks_uri" in now.error
    await made.fetcher.close()


async def test_a_change_of_the_address_leaves_the_version_before_in_force_until_its_keys_are_there() -> None:
    made = Setup(keys=ONE.keys)
    made.fetcher.change(USERS, policy(BY_URI))
    await made.clock.settle()
    new = policy("{issuer: two, jwksUri: 'https://two.example/keys'}")
    made.web.pages["https://two.example/keys"] = TWO.keys
    made.fetcher.change(USERS, new)
    assert made.applied == [policy(BY_URI)]
    assert made.fetched() is not None
    await made.clock.settle()
    assert made.applied == [policy(BY_URI), new]
    assert made.fetched() is None  # nobody needs it any more
    made.fetcher.change(USERS, None)
    assert made.applied[-1] is None
    assert made.fetched(KeySource("https://two.example/keys")) is None
    count = len(made.web.asked)
    await made.clock.advance(2 * REFRESH_S)
    assert len(made.web.asked) == count
    await made.fetcher.close()


async def test_a_deleted_version_does_not_come_back() -> None:
    made = Setup(keys=ONE.keys)
    made.fetcher.change(USERS, policy(BY_URI))
    made.fetcher.change(USERS, None)
    await made.clock.settle()
    assert made.applied == [None]
    assert made.fetched() is None
    await made.fetcher.close()


async def test_a_start_waits_for_keys_but_not_for_ever() -> None:
    made = Setup(keys=ONE.keys)

    async def never(*_: object) -> bytes:
        await made.clock.wait(asyncio.Event(), None)
        return b""

    made.fetcher = KeyFetcher(
        made.mesh, lambda key, obj: made.applied.append(obj), lambda: None, fetch=never, clock=made.clock
    )
    made.fetcher.change(USERS, policy(BY_URI))
    waiting = asyncio.ensure_future(made.fetcher.tried(5.0))
    await made.clock.advance(4.9)
    assert (waiting.done(), made.applied) == (False, [])
    await made.clock.advance(0.2)
    assert (waiting.done(), made.applied) == (True, [policy(BY_URI)])
    await made.fetcher.close()


def test_addresses_of_this_machine_are_blocked_unless_the_mesh_says_otherwise() -> None:
    blocked = {"127.0.0.0/8", "::1/128", "169.254.0.0/16", "fe80::/10", "0.0.0.0/8"}
    assert blocked <= set(Mesh().config.blocked_key_networks)
