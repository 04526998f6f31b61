"""`sailctl x trace-change`: how a change came to every proxy, and how long each step took."""

from __future__ import annotations

import secrets
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import cluster_objects, dumps, output
from .cluster_options import Kubeconfig, namespace_option
from .manifest_files import read

if TYPE_CHECKING:
    from sailcloth.analysis.change_trace import Row, Write
    from sailcloth.kube import Client

_COLLECTOR = "/api/v1/namespaces/istio-system/services/http:jaeger-collector:4318/proxy/v1/traces"
_HEADS = ("AGE", "OBJECTS", "COMPUTED", "PROXIES", "LAST ACK", "SLOWEST PROXY")
_POLL_S = 0.05
_SHOWN = 500  # changes that are asked for
Name = tuple[str, str, str]  # kind, namespace, name


def register(group: typer.Typer) -> None:
    """Add the command."""
    group.command("trace-change")(trace_change)


def trace_change(
    what: Annotated[
        str, typer.Argument(metavar="[KIND/NAME[.NAMESPACE]]", help="The last change of this object.")
    ] = "",
    files: Annotated[
        list[Path] | None, typer.Option("-f", "--filename", help="Apply these manifests, and trace what that changes.")
    ] = None,
    namespace: Annotated[str, namespace_option("Namespace of the object.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, help="Lines of the list.")] = 20,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds to wait for all proxies.")] = 30.0,
    export: Annotated[
        bool, typer.Option("--export/--no-export", help="Keep the trace in the mesh's trace store.")
    ] = True,
    out: Annotated[
        str, typer.Option("-o", "--output", help="text, json, yaml, or otlp (OpenTelemetry in JSON)")
    ] = "text",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Show how a change came to the proxies: the write, the control plane's work, and every proxy's acknowledgement.

    Without arguments: the last changes that reached a proxy. With an object: its last change. With -f: apply manifests, and wait until every
    proxy has them. Traces are kept in the mesh's trace store (`sailctl dashboard jaeger`). Ends with 1 if a proxy refuses the change
    or does not answer in time.
    """
    output.check_choice("output", out, "text", "json", "yaml", "otlp")
    if what and files:
        output.fail("name an object or give -f, not both", output.USAGE)
    documents = read(files, notes=False)[1] if files else []
    if files or what:
        traced = dumps.run(_traced(what, documents, namespace, timeout, kubeconfig, export))
        _show(traced, out)
        if not all(each.ok for each in traced):
            raise typer.Exit(1)
        return
    rows = [r for r in dumps.run(_rows(kubeconfig)) if r["answers"] or r["waiting"]][:limit]
    if out in ("json", "yaml"):
        output.structured(rows, out)
    elif out == "otlp":
        output.fail("-o otlp needs an object or -f", output.USAGE)
    elif rows:
        from sailcloth.analysis import change_trace

        now = time.time()
        output.table(_HEADS, ((f"{now - row['received']:.0f}s", *change_trace.summary(row)) for row in reversed(rows)))
    else:
        print("No change has reached a proxy since the control plane started.", file=sys.stderr)


@dataclass(frozen=True)
class _Traced:
    """One change with its trace. `kept`: the trace is in the store."""

    row: Row
    writes: tuple[Write, ...]
    trace_id: str
    kept: bool
    held: str  # why the control plane does not apply it

    @property
    def ok(self) -> bool:
        return not self.row["waiting"] and not any(a["error"] for a in self.row["answers"])


async def _traced(
    what: str, documents: list[dict[str, Any]], namespace: str, seconds: float, kubeconfig: str, export: bool
) -> list[_Traced]:
    """Apply the documents, or take the object's last change, and wait until the proxies have it. Raises ValueError."""
    from .cluster import client

    writes: dict[Name, Write] = {}
    async with client(kubeconfig) as api:
        if what:
            rows = (await _rows(kubeconfig, *named(what, namespace or api.endpoint.namespace)))[:1]
            if not rows:
                raise ValueError(
                    f"the control plane remembers no change of {what}; it keeps the last ones since its start"
                )
        else:
            before = max((row["number"] for row in await _rows(kubeconfig, limit=1)), default=0)
            writes = await _apply(api, documents, namespace or "default")
            if not writes:
                return []
            rows = await _settled(set(writes), before, seconds, kubeconfig)
        traced = []
        for row in rows:
            of_row = tuple(writes[n] for n in writes if n in _names(row))
            traced.append(await _kept(api, row, of_row, export))
        return traced


async def _apply(api: Client, documents: list[dict[str, Any]], namespace: str) -> dict[Name, Write]:
    """Apply manifests. Returns the writes of objects that the mesh reads and that changed."""
    from sailcloth.analysis.change_trace import Write
    from sailcloth.api.kinds import BY_GROUP_KIND

    from .cluster import Applier, as_kubectl

    applier, writes = Applier(api), {}
    for obj in documents:
        resource = await applier.resource(obj)
        own = str(obj["metadata"].get("namespace") or namespace) if resource.namespaced else ""
        name = str(obj["metadata"]["name"])
        label = f"{resource.kind.lower()}/{name}"
        old = await cluster_objects.existing(api, resource, name, own)
        start = time.time()
        await applier.apply(as_kubectl(obj), own)
        write = Write(f"apply {label}", start, time.time())
        new = await api.get(resource, name, own)
        if old and new["metadata"]["resourceVersion"] == old["metadata"]["resourceVersion"]:
            print(f"{label} unchanged", file=sys.stderr)
        elif (resource.group, resource.kind) not in BY_GROUP_KIND:
            print(f"{label} applied; the mesh does not read it", file=sys.stderr)
        else:
            writes[resource.kind, own, name] = write
    return writes


async def _settled(names: set[Name], after: int, seconds: float, kubeconfig: str) -> list[Row]:
    """The changes of these objects, oldest first, when all proxies have answered, or after `seconds`. Raises ValueError if the
    control plane does not see the objects."""
    import asyncio

    end = time.monotonic() + seconds
    while True:
        rows = [row for row in await _rows(kubeconfig, after=after) if _names(row) & names]
        missing = names - {name for row in rows for name in _names(row)}
        if not missing and not any(row["waiting"] for row in rows):
            return rows[::-1]
        if time.monotonic() > end:
            if missing:
                kind, where, name = min(missing)
                raise ValueError(f"the control plane has not accepted {kind} {where}/{name}; its status says why")
            return rows[::-1]
        await asyncio.sleep(_POLL_S)


async def _rows(
    kubeconfig: str, kind: str = "", namespace: str = "", name: str = "", after: int = 0, limit: int = _SHOWN
) -> list[Row]:
    """Changes, newest first."""
    from urllib.parse import urlencode

    from .cluster import debug

    of = {"kind": kind, "namespace": namespace, "name": name} if kind else {}
    return list(await debug(kubeconfig, f"/debug/changez?{urlencode({**of, 'after': after, 'limit': limit})}"))


async def _kept(api: Client, row: Row, writes: tuple[Write, ...], export: bool) -> _Traced:
    """The change with a trace, sent to the mesh's collector if there is one."""
    from sailcloth.analysis import change_trace
    from sailcloth.kube import ApiError

    trace_id = secrets.token_hex(16)
    kept = False
    if export:
        try:
            await api.call("POST", _COLLECTOR, change_trace.otlp(change_trace.spans(row, writes), trace_id))
            kept = True
        except (ApiError, OSError) as error:
            output.warn(f"the trace is not kept, Service istio-system/jaeger-collector does not take it: {error}")
    return _Traced(row, writes, trace_id, kept, "" if row["answers"] else await _held(api, row))


async def _held(api: Client, row: Row) -> str:
    """What the status of the first object that is not accepted says; empty if there is none."""
    from sailcloth.api.kinds import SERVED_KINDS
    from sailcloth.kube import ApiError, Resource

    for kind, namespace, name in sorted(_names(row)):
        for each in (k for k in SERVED_KINDS if k.name == kind and k.conditions):
            try:
                obj = await api.get(Resource(each.group, each.versions[0], each.plural, kind), name, namespace)
            except ApiError:
                continue
            for condition in (obj.get("status") or {}).get("conditions") or ():
                if condition["type"] == "Accepted" and condition["status"] != "True":
                    return f"{kind} {namespace}/{name}: {condition['reason']}: {condition['message']}"
    return ""


def _names(row: Row) -> set[Name]:
    return {(o["kind"], o["namespace"], o["name"]) for o in row["objects"]}


def named(what: str, namespace: str) -> Name:
    """Kind, namespace and name of KIND/NAME[.NAMESPACE]. Raises ValueError."""
    from sailcloth.api.kinds import BY_GROUP_KIND

    word, _, rest = what.partition("/")
    name, _, own = rest.partition(".")
    for kind in BY_GROUP_KIND.values():
        if name and word.lower() in (kind.name.lower(), kind.plural, *kind.short):
            return kind.name, (own or namespace) if kind.namespaced else "", name
    raise ValueError(f"{what!r}: write KIND/NAME[.NAMESPACE], such as virtualservice/reviews.default")


def _show(traced: list[_Traced], out: str) -> None:
    from sailcloth.analysis import change_trace

    if out in ("json", "yaml"):
        output.structured([{"traceId": each.trace_id, **each.row} for each in traced], out)
        return
    for number, each in enumerate(traced):
        trace = change_trace.spans(each.row, each.writes)
        if out == "otlp":
            output.structured(change_trace.otlp(trace, each.trace_id), "json")
            continue
        if number:
            print()
        output.table(("STEP", "START", "TIME", ""), change_trace.waterfall(trace))
        if not each.row["answers"] and not each.row["waiting"]:
            print(each.held or "No proxy needed anything of it.")
        for proxy in each.row["waiting"]:
            print(f"{proxy} has not answered.", file=sys.stderr)
        if each.kept:
            print(f"trace {each.trace_id}")
