"""Pods through the API, as tests make them and ask about them."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

from sailcloth.kube.client import ApiError, Client
from sailcloth.kube.resources import EVENTS, PODS

from .local_cluster import Object, in_time


def pod(name: str, script: str, *, container: Object | None = None, **spec: Any) -> Object:
    """A pod that runs a shell script."""
    main = {"name": "main", "image": "busybox", "command": ["/bin/sh", "-c", script], **(container or {})}
    return {"metadata": {"name": name}, "spec": {"containers": [main], "terminationGracePeriodSeconds": 1, **spec}}


async def make(client: Client, namespace: str, obj: Object) -> None:
    await client.create(PODS, {**obj, "metadata": {**obj["metadata"], "namespace": namespace}})


async def status(client: Client, namespace: str, name: str) -> Object:
    found: Object = (await client.get(PODS, name, namespace)).get("status", {})
    return found


async def container(client: Client, namespace: str, name: str) -> Object:
    found: Object = ((await status(client, namespace, name)).get("containerStatuses") or [{}])[0]
    return found


async def log(client: Client, namespace: str, name: str, more: str = "") -> str:
    async with client.request("GET", f"/api/v1/namespaces/{namespace}/pods/{name}/log{more}") as answer:
        return str(await answer.text())


async def ended(client: Client, namespace: str, name: str) -> str:
    async def ask() -> str:
        phase = str((await status(client, namespace, name)).get("phase", ""))
        return phase if phase in ("Succeeded", "Failed") else ""

    return await in_time(f"pod {name} ended", ask)


async def ready(client: Client, namespace: str, name: str) -> Object:
    async def ask() -> Object:
        found = await status(client, namespace, name)
        states = {c["type"]: c["status"] for c in found.get("conditions") or ()}
        return found if states.get("Ready") == "True" else {}

    return await in_time(f"pod {name} ready", ask)


async def gone(client: Client, namespace: str, name: str, deadline_s: float = 20) -> None:
    async def ask() -> bool:
        try:
            await client.get(PODS, name, namespace)
        except ApiError as error:
            return error.status == 404
        return False

    await in_time(f"pod {name} is gone", ask, deadline_s)


async def events(client: Client, namespace: str, name: str) -> dict[str, str]:
    found, _ = await client.list(EVENTS, namespace)
    return {e["reason"]: e["message"] for e in found if e["involvedObject"]["name"] == name}


async def run_command(client: Client, namespace: str, name: str, *command: str) -> tuple[int, str]:
    """Exit code and output of a command in a pod, as `kubectl exec` runs it."""
    query = urlencode([("command", word) for word in command] + [("stdout", "true"), ("stderr", "true")])
    url = f"{client.endpoint.server}/api/v1/namespaces/{namespace}/pods/{name}/exec?{query}"
    out, code = b"", 0
    async with client.websocket(url, "v5.channel.k8s.io") as socket:
        async for message in socket:
            data = bytes(message.data)
            if data[:1] in (b"\1", b"\2"):
                out += data[1:]
            elif data[:1] == b"\3":
                result = json.loads(data[1:])
                if result["status"] != "Success":
                    causes = (result.get("details") or {}).get("causes") or ()
                    code = next((int(c["message"]) for c in causes if c["reason"] == "ExitCode"), -1)
                    out += b"" if code >= 0 else str(result.get("message", "")).encode()
    return code, out.decode(errors="replace")
