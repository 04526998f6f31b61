"""`sailctl mcp`: an assistant's view of a running mesh, over the protocol's own client."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .bookinfo import Cluster

mcp = pytest.importorskip("mcp", reason="the package `mcp` is not installed")

RULE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec: {hosts: [reviews], http: [{route: [{destination: {host: reviews, subset: v1}}]}]}
"""


def client(mesh: Cluster, *arguments: str) -> Any:
    """A client of the program itself, over standard input and output."""
    program, *words = [*Cluster.SAILCTL, "mcp", *arguments]
    return mcp.Client(mcp.StdioServerParameters(command=program, args=words, env=dict(mesh.environment)))


async def call(session: Any, tool: str, **arguments: Any) -> Any:
    """A tool's answer. Raises AssertionError with the text of its error."""
    result = await session.call_tool(tool, arguments)
    assert not result.is_error, result.content[0].text
    structured = result.structured_content
    return structured["result"] if set(structured) == {"result"} else structured


async def error(session: Any, tool: str, **arguments: Any) -> str:
    result = await session.call_tool(tool, arguments)
    assert result.is_error
    return str(result.content[0].text)


async def test_an_assistant_that_reads(mesh: Cluster) -> None:
    for _ in range(5):
        mesh.get("/productpage")
    async with client(mesh) as session:
        tools = {t.name: t for t in (await session.list_tools()).tools}
        assert "apply_change" not in tools
        assert all(t.annotations.read_only_hint and t.description for t in tools.values())
        status = await call(session, "mesh_status")
        assert len(status["proxies"]) == 7
        assert all(not p["errors"] for p in status["proxies"])
        explained = await call(
            session, "explain_request", url="http://reviews:9080/reviews/0", source="default/productpage-v1"
        )
        assert explained["destinations"][0]["host"] == "reviews.default.svc.cluster.local"
        found = await call(session, "analyze", namespace="default", manifest=RULE.replace("v1}}", "v9}}"))
        assert {"IST0101"} <= {f["code"] for f in found if f["object"] == "VirtualService default/reviews"}
        assert "bookinfo" in {o["name"] for o in await call(session, "list_objects", kind="VirtualService")}
        rule = await call(session, "get_object", kind="virtualservice", name="bookinfo")
        assert rule["spec"]["gateways"] == ["bookinfo-gateway"]
        assert (await call(session, "metrics", expression="sum(istio_requests_total)"))[0]["value"] > 0
        assert await call(session, "traffic_graph", window="10m")
        assert "is not served here" in await error(session, "list_objects", kind="Secret")
        assert "there is no VirtualService default/none" in await error(
            session, "get_object", kind="VirtualService", name="none"
        )
        assert "apply_change" in await error(session, "apply_change", token="x")


async def test_an_assistant_that_may_write_previews_first(mesh: Cluster) -> None:
    async with client(mesh, "--allow-writes") as session:
        assert "preview_change first" in await error(session, "apply_change", token="0")
        secret = json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}})
        assert "is no object of the mesh" in await error(session, "preview_change", manifest=secret)
        shown = await call(session, "preview_change", manifest=RULE)
        assert shown["objects"] == [{"object": "VirtualService default/reviews", "change": "created", "fields": []}]
        assert mesh.kubectl("get", "vs", "reviews", "--ignore-not-found") == ""
        assert await call(session, "apply_change", token=shown["token"]) == ["VirtualService default/reviews applied"]
        mesh.applied("vs/reviews")
        assert "preview_change first" in await error(session, "apply_change", token=shown["token"])
        assert await call(session, "undo_last_change") == ["VirtualService default/reviews deleted"]
        assert mesh.kubectl("get", "vs", "reviews", "--ignore-not-found") == ""
