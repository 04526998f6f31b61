"""Fetches the keys that verify end-user tokens, and keeps them fresh: one task for each place that some RequestAuthentication names.

Results are graph inputs (`mesh.json_web_keys`), so proxies and statuses follow. What was valid stays when a later attempt fails. Must
not know proxies.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections import Counter
from collections.abc import Callable
from urllib.parse import urlsplit

from sailcloth.api import core
from sailcloth.api.meta import Key, Object
from sailcloth.api.request_authentication import RequestAuthentication
from sailcloth.lib import http_fetch
from sailcloth.lib.clock import MONOTONIC, Clock
from sailcloth.lib.http_fetch import Fetch, FetchError, Network
from sailcloth.lib.work_queue import Backoff
from sailcloth.mesh import json_web_keys
from sailcloth.mesh.json_web_keys import FetchedKeys, KeySource
from sailcloth.mesh.registry import Mesh

log = logging.getLogger(__name__)

REFRESH_S = 20 * 60.0
"""How long keys stay in use before they are fetched again, as in Istio."""
_JITTER = 0.1
_BACKOFF = Backoff(first=1.0, longest=60.0)
_DISCOVERY = "/.well-known/openid-configuration"


class KeyFetcher:
    """Takes each version of a RequestAuthentication by `change` and passes it on to `apply`, with the keys it needs at hand.

    A version that names new places waits until each was tried once, so that valid tokens are not refused meanwhile. `changed` is
    called when keys or errors of versions in force have changed.
    """

    def __init__(
        self,
        mesh: Mesh,
        apply: Callable[[Key, Object | None], object],
        changed: Callable[[], None],
        *,
        fetch: Fetch = http_fetch.fetch,
        clock: Clock = MONOTONIC,
    ) -> None:
        self._mesh, self._apply, self._changed, self._fetch, self._clock = mesh, apply, changed, fetch, clock
        self._needed: dict[Key, frozenset[KeySource]] = {}
        self._tasks: dict[KeySource, asyncio.Task[None]] = {}
        self._untried: set[KeySource] = set()
        self._waiting: dict[Key, Object] = {}
        self._tried = asyncio.Event()
        self.fetches: Counter[str] = Counter()  # by result: success, fail

    def change(self, key: Key, obj: Object | None) -> None:
        """Take a new version of an object, or its deletion (None)."""
        rules = obj.spec.jwt_rules if isinstance(obj, RequestAuthentication) else ()
        needed = frozenset(where for rule in rules if (where := json_web_keys.source(rule)) is not None)
        for where in needed - self._tasks.keys():
            self._untried.add(where)
            self._tasks[where] = asyncio.create_task(self._keep(where), name=f"keys of {where.url}")
        self._needed[key] = needed
        if obj is not None and needed & self._untried:
            self._waiting[key] = obj
            return
        self._waiting.pop(key, None)
        self._apply(key, obj)
        self._forget()

    async def tried(self, timeout_s: float) -> None:
        """Wait until every place was tried once, then let every version take effect."""
        end = self._clock.time() + timeout_s
        while self._untried and self._clock.time() < end:
            self._tried.clear()
            await self._clock.wait(self._tried, end)
        self._untried.clear()
        self._release()

    def _release(self) -> None:
        """Let the versions take effect whose keys were tried."""
        for key, obj in list(self._waiting.items()):
            if not self._needed[key] & self._untried:
                del self._waiting[key]
                self._apply(key, obj)
        self._forget()

    def _forget(self) -> None:
        """End the tasks of places that no version needs. While one waits, the one before it is in force."""
        if self._waiting:
            return
        self._needed = {key: needed for key, needed in self._needed.items() if needed}
        for where in self._tasks.keys() - {where for needed in self._needed.values() for where in needed}:
            self._tasks.pop(where).cancel()
            json_web_keys.set_fetched(self._mesh.graph, where, None)

    async def close(self) -> None:
        """End all tasks."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep(self, where: KeySource) -> None:
        keys, failures = "", 0
        while True:
            try:
                keys, error, failures = await self._keys(where), "", 0
                self.fetches["success"] += 1
            except FetchError as problem:
                error, failures = str(problem), failures + 1
                self.fetches["fail"] += 1
                log.warning("keys of tokens: %s", error)
            changed = json_web_keys.set_fetched(self._mesh.graph, where, FetchedKeys(keys, error))
            self._untried.discard(where)
            self._tried.set()
            self._release()
            if changed:
                self._changed()
            pause = _BACKOFF.after(failures) if failures else REFRESH_S * random.uniform(1 - _JITTER, 1.0)
            await self._clock.wait(asyncio.Event(), self._clock.time() + pause)

    async def _keys(self, where: KeySource) -> str:
        """Usable keys. Raises FetchError."""
        url = where.url
        if where.discover:
            url = await self._discover(url.rstrip("/") + _DISCOVERY, where.timeout_ms)
        keys = json_web_keys.usable((await self._get(url, where.timeout_ms)).decode(errors="replace"))
        if not keys:
            raise FetchError(f"{url}: no JSON Web Key Set with a public key that verifies tokens")
        return keys

    async def _discover(self, url: str, timeout_ms: float) -> str:
        """The address of the keys in an issuer's OpenID configuration."""
        try:
            address = json.loads(await self._get(url, timeout_ms))["jwks_uri"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise FetchError(f"{url}: no OpenID configuration with a jwks_uri") from None
        try:
            if isinstance(address, str) and urlsplit(address).scheme in ("http", "https"):
                return address
        except ValueError:
            pass
        raise FetchError(f"{url}: its jwks_uri is no URL")

    async def _get(self, url: str, timeout_ms: float) -> bytes:
        return await self._fetch(url, timeout_ms / 1000, self._blocked(), self._service_address)

    def _blocked(self) -> tuple[Network, ...]:
        return http_fetch.networks(self._mesh.config.blocked_key_networks)

    def _service_address(self, host: str) -> str | None:
        """The address of a service of the mesh, so that issuers inside it are found wherever this process runs."""
        name, _, rest = host.removesuffix(f".svc.{self._mesh.config.domain}").removesuffix(".svc").partition(".")
        service = self._mesh.objects.get(Key("Service", rest, name))
        address = service.spec.cluster_ip if isinstance(service, core.Service) else ""
        return address if address and address != "None" else None
