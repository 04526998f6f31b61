"""Which of several replicas writes: the one that holds a Lease, as in Kubernetes' own controllers. The others serve and wait.

A holder that does not renew in time is replaced, by the waiting replica's own clock: clocks of machines are not compared. Must not know what is
written.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from sailcloth.kube import RETRIABLE, ApiError, Client
from sailcloth.kube.resources import LEASES
from sailcloth.lib.clock import MONOTONIC, Clock

log = logging.getLogger(__name__)

DURATION_S = 15.0  # after which a Lease that was not renewed is free
_RENEW_S = 5.0
_DEADLINE_S = 10.0  # the holder gives up before others may take the Lease
_LOOK_S = 2.0
Object = dict[str, Any]


def identity() -> str:
    """The name of this replica: of its pod, or of the machine and the process."""
    return os.environ.get("POD_NAME") or f"{socket.gethostname()}-{os.getpid()}"


class Leadership:
    """`run` holds the Lease `name` as `identity`, whenever it can."""

    def __init__(
        self,
        client: Client,
        namespace: str,
        name: str,
        identity: str,
        clock: Clock = MONOTONIC,
        look_s: float = _LOOK_S,
    ) -> None:
        self._client, self._namespace, self._name, self._identity = client, namespace, name, identity
        self._clock, self._look_s = clock, look_s
        self._seen: tuple[str, float] = ("", 0.0)  # the Lease's version, and when it was first seen

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Run `lead` while this replica holds the Lease, until cancelled; then give it up. An error of `lead` ends this, too."""
        while True:
            await self._acquire()
            log.info("this replica writes: it holds the Lease %s/%s as %s", self._namespace, self._name, self._identity)
            leading = asyncio.ensure_future(lead())
            renewing = asyncio.create_task(self._renew())
            try:
                await asyncio.wait((leading, renewing), return_when=asyncio.FIRST_COMPLETED)
            finally:
                lost = renewing.done()
                for task in (renewing, leading):
                    task.cancel()
                await asyncio.gather(leading, renewing, return_exceptions=True)
                if not lost:
                    await self._release()
            if not leading.cancelled():
                leading.result()
            log.warning(
                "this replica does not write any more: it has lost the Lease %s/%s", self._namespace, self._name
            )

    async def _acquire(self) -> None:
        while True:
            with contextlib.suppress(*RETRIABLE):
                if await self._take():
                    return
            await self._sleep(self._look_s)

    async def _take(self) -> bool:
        """Whether the Lease is taken. Raises what the client does."""
        try:
            lease = await self._client.get(LEASES, self._name, self._namespace)
        except ApiError as error:
            if error.status != 404:
                raise
            body = {"metadata": {"name": self._name, "namespace": self._namespace}, "spec": self._spec({})}
            await self._client.create(LEASES, {"apiVersion": LEASES.api_version, "kind": LEASES.kind, **body})
            return True
        version, now = str(lease["metadata"].get("resourceVersion")), self._clock.time()
        if self._seen[0] != version:
            self._seen = version, now
        spec = lease.get("spec") or {}
        holder = spec.get("holderIdentity")
        free = holder in (None, "", self._identity)
        if not free and now - self._seen[1] < float(spec.get("leaseDurationSeconds") or DURATION_S):
            return False
        await self._client.replace(LEASES, {**lease, "spec": self._spec(spec)})
        return True

    async def _renew(self) -> None:
        """Returns when the Lease is lost."""
        renewed = self._clock.time()
        while self._clock.time() - renewed < _DEADLINE_S:
            await self._sleep(_RENEW_S)
            try:
                lease = await self._client.get(LEASES, self._name, self._namespace)
                spec = lease.get("spec") or {}
                if spec.get("holderIdentity") != self._identity:
                    return
                await self._client.replace(LEASES, {**lease, "spec": self._spec(spec)})
                renewed = self._clock.time()
            except ApiError as error:
                if error.status == 404:
                    return
                log.warning("the Lease cannot be renewed: %s", error)
            except RETRIABLE as error:
                log.warning("the Lease cannot be renewed: %s", error)

    async def _release(self) -> None:
        """Let another replica write at once."""
        with contextlib.suppress(*RETRIABLE):
            async with asyncio.timeout(2.0):
                lease = await self._client.get(LEASES, self._name, self._namespace)
                spec = lease.get("spec") or {}
                if spec.get("holderIdentity") == self._identity:
                    await self._client.replace(LEASES, {**lease, "spec": {**spec, "holderIdentity": ""}})

    def _spec(self, old: Object) -> Object:
        now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        ours = old.get("holderIdentity") == self._identity
        return {
            **old,
            "holderIdentity": self._identity,
            "leaseDurationSeconds": round(DURATION_S),
            "renewTime": now,
            "acquireTime": old.get("acquireTime", now) if ours else now,
            "leaseTransitions": int(old.get("leaseTransitions") or 0) + (0 if ours or not old else 1),
        }

    async def _sleep(self, seconds: float) -> None:
        await self._clock.wait(asyncio.Event(), self._clock.time() + seconds)
