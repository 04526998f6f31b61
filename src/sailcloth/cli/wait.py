"""`sailctl wait`: until objects are applied everywhere, with the reason and the proxy when they are not.

Reads only what the control plane writes into status, so that `kubectl wait` and the console say the same.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import cluster_objects, dumps, output
from .cluster_options import Kubeconfig, TextForm, namespace_option

if TYPE_CHECKING:
    from sailcloth.api.kinds import Kind
    from sailcloth.kube import Client

Object = dict[str, Any]
Target = tuple["Kind", str, str]  # kind, namespace, name; an empty name stands for every object of the kind
_POLL_S = 0.1
_FINAL = ("Invalid", "Refused", "Conflicted")  # waiting longer does not help: the object itself has to change


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("wait", rich_help_panel="Proxies")(wait)


def wait(
    what: Annotated[
        list[str] | None,
        typer.Argument(help="KIND NAME[.NAMESPACE], KIND/NAME[.NAMESPACE] …, or KIND alone; nothing for every object."),
    ] = None,
    condition: Annotated[
        str, typer.Option("--for", help="distribution (same as programmed), accepted, or delete.")
    ] = "distribution",
    timeout: Annotated[str, typer.Option("--timeout", help="How long to wait, such as 30s or 2m.")] = "30s",
    generation: Annotated[int, typer.Option("--generation", help="The object's generation; 0: the present one.")] = 0,
    namespace: Annotated[str, namespace_option("Namespace of the objects.")] = "",
    everywhere: Annotated[bool, typer.Option("-A", "--all-namespaces", help="Objects of all namespaces.")] = False,
    out: TextForm = "text",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Wait until objects are applied: every proxy that they concern has acknowledged them.

    Ends with 1 as soon as a proxy refuses an object or the control plane calls it invalid, and with 1 after the timeout.
    """
    from sailcloth.api.meta import duration_ms

    names = {"distribution": "Programmed", "programmed": "Programmed", "accepted": "Accepted", "delete": ""}
    if condition.lower() not in names:
        output.fail(f"unknown condition {condition!r}; use {', '.join(names)}", output.USAGE)
    output.check_choice("output", out, "text", "json", "yaml")
    try:
        seconds = (duration_ms(timeout) or 0.0) / 1e3
        targets = list(_targets(what or [], namespace, everywhere))
    except ValueError as error:
        output.fail(str(error), output.USAGE)
    if condition.lower() == "delete" and not all(name for _, _, name in targets):
        output.fail("--for delete needs the names of objects", output.USAGE)
    result = dumps.run(_until(targets, names[condition.lower()], seconds, generation, kubeconfig))
    _show(result, out)
    if not all(entry["ok"] for entry in result):
        raise typer.Exit(1)


def _targets(words: list[str], namespace: str, everywhere: bool) -> Iterator[Target]:
    """The objects that the arguments name. Raises ValueError for an unknown kind."""
    from sailcloth.api.kinds import SERVED_KINDS

    def kind(word: str) -> Kind:
        low = word.split(".")[0].lower()
        for each in SERVED_KINDS:
            if each.conditions and low in (each.name.lower(), each.plural, *each.short):
                return each
        known = ", ".join(k.name.lower() for k in SERVED_KINDS if k.conditions)
        raise ValueError(f"{word!r} is no kind that reports where it is applied; use one of {known}")

    def named(which: Kind, word: str) -> Target:
        name, _, suffix = word.partition(".")
        return which, suffix or namespace, name

    if not words:
        yield from ((k, "" if everywhere else namespace, "") for k in SERVED_KINDS if k.conditions)
    elif all("/" in w for w in words):
        yield from (named(kind(w.split("/")[0]), w.split("/", 1)[1]) for w in words)
    elif any("/" in w for w in words):
        raise ValueError("write either KIND NAME… or KIND/NAME…, not both")
    elif len(words) == 1:
        yield kind(words[0]), "" if everywhere else namespace, ""
    else:
        yield from (named(kind(words[0]), w) for w in words[1:])


async def _until(
    targets: list[Target], condition: str, seconds: float, generation: int, kubeconfig: str
) -> list[Object]:
    """Wait until all objects are ready, one has failed for good, or the timeout is over. Returns their states."""
    import asyncio

    from .cluster import client

    end = time.monotonic() + seconds
    printed = ""
    async with client(kubeconfig) as api:
        while True:
            matches = [entry for each in targets for entry in await _look(api, each, condition, generation)]
            waiting = [entry for entry in matches if not entry["ok"]]
            if not waiting or any(e["reason"] in _FINAL for e in waiting) or time.monotonic() >= end:
                return matches
            now = "; ".join(f"{e['object']}: {e['message'] or e['reason']}" for e in waiting[:3])
            if now != printed and sys.stderr.isatty():
                print(f"waiting for {now}", file=sys.stderr)
                printed = now
            await asyncio.sleep(min(_POLL_S, max(0.0, end - time.monotonic())))


async def _look(api: Client, target: Target, condition: str, generation: int) -> list[Object]:
    kind, namespace, name = target
    resource = cluster_objects.resource_of(kind)
    if not name:
        items, _ = await api.list(resource, namespace)
        return [_state(kind, obj, condition, generation) for obj in items]
    namespace = namespace or api.endpoint.namespace
    obj = await cluster_objects.existing(api, resource, name, namespace)
    if obj is None:
        label = f"{kind.name.lower()}/{name}.{namespace}"
        return [{"object": label, "ok": not condition, "reason": "NotFound", "message": "there is no such object"}]
    return [_state(kind, obj, condition, generation)]


def _state(kind: Kind, obj: Object, condition: str, generation: int) -> Object:
    metadata, status = obj["metadata"], obj.get("status") or {}
    label = f"{kind.name.lower()}/{metadata['name']}.{metadata['namespace']}"
    if not condition:
        return {"object": label, "ok": False, "reason": "Present", "message": "it is still there"}
    conditions = {c["type"]: c for c in status.get("conditions") or ()}
    value = conditions.get(condition, {})
    seen = int(value.get("observedGeneration") or status.get("observedGeneration") or 0)
    if not value or seen < (generation or int(metadata.get("generation") or 0)):
        text = f"the control plane has seen generation {seen} of {metadata.get('generation')}"
        return {"object": label, "ok": False, "reason": "Pending", "message": text}
    told = value
    if value["status"] != "True" or conditions.get("Accepted", value)["status"] != "True":  # the cause says more
        told = next((c for c in conditions.values() if c["type"] == "Accepted" and c["status"] == "False"), value)
    return {
        "object": label,
        "ok": value["status"] == "True" and conditions.get("Accepted", value)["status"] == "True",
        "reason": told.get("reason", ""),
        "message": told.get("message", ""),
    }


def _show(result: list[Object], out: str) -> None:
    if out != "text":
        output.structured(result, out)
        return
    for entry in result:
        text = ": ".join(t for t in (entry["reason"], entry["message"]) if t)
        if entry["ok"]:
            print(f"{entry['object']} {text}")
        else:
            print(f"{entry['object']} is not ready: {text}", file=sys.stderr)
    if not result:
        print("nothing to wait for: there are no objects of the mesh")
