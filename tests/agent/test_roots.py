"""The agent's channel to the control plane follows the mesh's root certificates."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from sailcloth.agent import node_agent
from sailcloth.agent.node_agent import Agent
from sailcloth.ca.authority import Authority


def test_a_channel_is_replaced_when_the_roots_differ_and_only_then(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (Authority.create().certificate_pem for _ in range(2))
    current = [first]
    made: list[bytes] = []
    real = grpc.ssl_channel_credentials

    def credentials(root_certificates: bytes) -> grpc.ChannelCredentials:
        made.append(root_certificates)
        return real(root_certificates=root_certificates)

    monkeypatch.setattr(node_agent.grpc, "ssl_channel_credentials", credentials)

    async def roots() -> bytes:
        return current[0]

    async def token(_: dict[str, Any]) -> str:
        return "t"

    async def scenario() -> None:
        agent = Agent("127.0.0.1:1", roots, token)
        await agent.roots_changed()
        assert made == [], "nothing is connected yet"
        await agent._connect()
        await agent.roots_changed()
        assert made == [first]
        before = agent._upstream()
        current[0] = second
        await agent.roots_changed()
        assert made == [first, second]
        assert agent._upstream() is not before
        await agent.close()

    asyncio.run(scenario())
