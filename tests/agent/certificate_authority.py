"""A certificate authority that answers over gRPC on loopback, and workloads that ask it."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import grpc

from sailcloth.agent.identity import WorkloadIdentity
from sailcloth.ca.authority import Authority, Identity
from sailcloth.ca.service import CertificateService

TOKEN = "token-of-reviews"
REVIEWS = Identity("cluster.local", "default", "reviews", workload="reviews-v1", app="reviews", version="v1")


async def verify(token: str) -> Identity:
    if token != TOKEN:
        raise PermissionError("the token is not valid")
    return REVIEWS


async def current_token() -> str:
    return TOKEN


def certificate_service(authority: Authority, lifetime_s: int = 3600) -> CertificateService:
    return CertificateService(authority, verify, dt.timedelta(seconds=lifetime_s))


@asynccontextmanager
async def serve(*handlers: grpc.GenericRpcHandler) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a server that has these services."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(handlers)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    try:
        yield channel
    finally:
        await channel.close()
        await server.stop(0)


@asynccontextmanager
async def workload_identity(
    channel: grpc.aio.Channel, token: Callable[[], Awaitable[str]] = current_token
) -> AsyncIterator[WorkloadIdentity]:
    """The running identity of the workload `reviews`."""
    identity = WorkloadIdentity(lambda: channel, token, name="reviews")
    identity.start()
    try:
        yield identity
    finally:
        await identity.close()
