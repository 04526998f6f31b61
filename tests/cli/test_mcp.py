"""`sailctl mcp` with arguments that are wrong before a cluster is asked."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("mcp", reason="the package `mcp` is not installed")

from mcp.server.mcpserver.exceptions import ToolError

from sailcloth.cli import mcp_server

RULE = "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: %s, spec: {hosts: [a]}}"
WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("traffic_graph", {"window": "abc"}, "is no window such as"),
    ("preview_change", {"manifest": RULE % "[a]"}, "has no metadata.name"),
    ("preview_change", {"manifest": RULE % "{name: [a]}"}, "has no metadata.name"),
    ("preview_change", {"manifest": RULE % "{generateName: a}"}, "has no metadata.name"),
    ("preview_change", {"manifest": "{apiVersion: v1, kind: Secret, metadata: {name: a}}"}, "no object of the mesh"),
    ("preview_change", {"manifest": RULE % "{name: a}"}, "SAIL"),
    ("preview_change", {"manifest": ""}, "has no objects"),
]


@pytest.mark.parametrize(("tool", "arguments", "text"), WRONG)
async def test_wrong_arguments_are_told_and_do_not_end_the_server(
    tool: str, arguments: dict[str, Any], text: str
) -> None:
    server = mcp_server.server("/nonexistent", allow_writes=True)
    with pytest.raises(ToolError, match=text):
        await server.call_tool(tool, arguments)
