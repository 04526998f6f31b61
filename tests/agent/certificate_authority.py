"""A certificate authority that answers over gRPC on loopback, and workloads that ask it."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc

from sailcloth.agent.identity import WorkloadIdentity, shared
from sailcloth.ca.authority import Authority, Identity, pem
from sailcloth.ca.service import CertificateService
from sailcloth.lib.grpc_server import GrpcServer, Streaming, Unary

TOKEN = "token-of-reviews"
REVIEWS = Identity("cluster.local", "default", "reviews", workload="reviews-v1", app="reviews", version="v1")


async def verify(token: str) -> Identity:
    if token != TOKEN:
        raise PermissionError("the token is not valid")
    return REVIEWS


async def current_token() -> str:
    return TOKEN


@dataclass
class OneAuthority:
    """An issuer that never changes."""

    authority: Authority
    until: dt.datetime | None = None

    @property
    def bundle(self) -> bytes:
        return pem(self.authority.roots)

    def issued(self, until: dt.datetime) -> None:
        self.until = until


def certificate_service(authority: Authority, lifetime_s: int = 3600, longest_s: int = 7776000) -> CertificateService:
    lifetimes = (dt.timedelta(seconds=s) for s in (lifetime_s, longest_s))
    return CertificateService(OneAuthority(authority), verify, *lifetimes)


@asynccontextmanager
async def serve(
    unary: dict[str, Unary], streaming: dict[str, Streaming] | None = None
) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a server that has these methods."""
    server = GrpcServer(unary, streaming)
    listening = await asyncio.get_running_loop().create_server(server.protocol, "127.0.0.1", 0)
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{listening.sockets[0].getsockname()[1]}")
    try:
        yield channel
    finally:
        await channel.close()
        listening.close()
        await server.close()


@asynccontextmanager
async def workload_identity(
    channel: grpc.aio.Channel, token: Callable[[], Awaitable[str]] = current_token
) -> AsyncIterator[WorkloadIdentity]:
    """The running identity of the workload `reviews`."""
    identity = WorkloadIdentity(shared(lambda: channel), token, name="reviews")
    identity.start()
    try:
        yield identity
    finally:
        await identity.close()
