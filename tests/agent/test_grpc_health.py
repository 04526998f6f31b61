"""The gRPC probe against a real gRPC server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from sailcloth.agent import grpc_health

STATES = {b"": 1, b"\x0a\x04down": 2}  # request message -> HealthCheckResponse.status


class _Health(grpc.GenericRpcHandler):  # type: ignore[misc]
    def service(self, call: Any) -> Any:
        if call.method != "/grpc.health.v1.Health/Check":
            return None

        async def answer(request: bytes, context: Any) -> bytes:
            if request not in STATES:
                await context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
            return bytes([8, STATES[request]])

        return grpc.unary_unary_rpc_method_handler(answer)


async def _check(port: int, service: str) -> tuple[bool, str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(5):
            return await grpc_health.check(reader, writer, service)
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.fixture
async def port() -> AsyncIterator[int]:
    server = grpc.aio.server(handlers=(_Health(),))
    number = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield number
    await server.stop(None)


@pytest.mark.parametrize(
    ("service", "passes", "why"),
    [("", True, ""), ("down", False, "NOT_SERVING"), ("unknown", False, "does not answer health checks")],
)
async def test_the_services_own_word_counts(port: int, service: str, passes: bool, why: str) -> None:
    found, text = await _check(port, service)
    assert found is passes
    assert passes or why in text


async def test_a_server_without_health_checks_does_not_pass() -> None:
    server = grpc.aio.server()
    number = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    assert (await _check(number, ""))[0] is False
    await server.stop(None)


async def test_a_port_that_speaks_something_else_fails_with_the_connection() -> None:
    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.close()

    server = await asyncio.start_server(other, "127.0.0.1", 0)
    async with server:
        with pytest.raises((OSError, EOFError)):
            await _check(server.sockets[0].getsockname()[1], "")
