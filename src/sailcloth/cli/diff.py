"""`sailctl x diff`: what an apply would change, for whom, before it is done. Must not change anything."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

import typer

from . import dumps, output
from .cluster_options import Kubeconfig, TextForm

if TYPE_CHECKING:
    from sailcloth.analysis.analyzers import Document
    from sailcloth.analysis.describe import MeshSnapshot
    from sailcloth.api.meta import Finding, Key, Object
    from sailcloth.kube import Client
    from sailcloth.mesh.registry import Mesh

    Objects = list[tuple[Key, Object]]

LOGS = "/api/v1/namespaces/istio-system/services/http:access-logs:3100/proxy/api/v1/requests"
_READ = 5_000  # requests that are read from the logs
_EXPLAINED = 200  # different ones that are explained, the most frequent first
_PROXIES = 3  # that a line names
_FIELDS = 6  # of an object that a line names


@dataclass
class Difference:
    """What a change does. `objects`: (KIND NAMESPACE/NAME, created, changed or deleted, fields); `held`: objects that would wait, and for what;
    `effects`: (text, proxies)."""

    objects: list[tuple[str, str, list[str]]] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    effects: list[tuple[str, list[str]]] = field(default_factory=list)
    appearing: list[str] = field(default_factory=list)
    vanishing: list[str] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def diff(
    files: Annotated[list[Path], typer.Option("-f", "--filename", help="Manifests; `-` is standard input.")],
    delete: Annotated[bool, typer.Option("--delete", help="Show what deleting the objects would change.")] = False,
    since: Annotated[
        str, typer.Option("--since", help="How far back requests of the access logs are looked at.")
    ] = "5m",
    requests: Annotated[
        bool, typer.Option("--requests/--no-requests", help="Look at requests of the access logs.")
    ] = True,
    namespace: Annotated[str, typer.Option("-n", "--namespace", help="Namespace of objects without one.")] = "",
    out: TextForm = "text",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Show what an apply would change: objects, then proxies' routes and clusters, findings, and requests that would go elsewhere.

    Ends with 0 if nothing would change, with 1 if something would, with 2 or more if that is unknown. Example: sailctl x diff -f reviews-v3.yaml
    """
    from . import manifest_files

    output.check_choice("output", out, "text", "json", "yaml")
    documents = manifest_files.read(files, notes=False)[1]
    found = dumps.run(
        difference(documents, delete, since if requests else "", namespace, kubeconfig), output.UNAVAILABLE
    )
    if out == "text":
        print("\n".join(lines(found)))
    else:
        output.structured(structured(found), out)
    for note in found.notes:
        print(note, file=sys.stderr)
    if found.objects:
        raise typer.Exit(1)


async def difference(
    documents: list[dict[str, Any]], delete: bool, since: str, namespace: str, kubeconfig: str
) -> Difference:
    from sailcloth.analysis import analyzers, change_effects, describe, manifests
    from sailcloth.api.meta import Finding
    from sailcloth.kube.resources import PODS

    from . import analysis_input, cluster_objects
    from .cluster import client

    async with client(kubeconfig) as api:
        own = namespace or api.endpoint.namespace or "default"
        objects = await cluster_objects.read(api)
        written, unread = await analysis_input.from_cluster(api, "istio-system")
        pods = (await api.list(PODS))[0]
        rows = await _requests(api, since) if since else None
    added = [_applied(analyzers.document(d, own), written) for d in documents]
    parsed = [manifests.typed(dict(each.body), own) for each in added]
    if wrong := [p for p in parsed if isinstance(p, Finding)]:
        raise ValueError(str(wrong[0]))
    new: Objects = [p for p in parsed if p is not None and not isinstance(p, Finding)]
    before = dict(objects)
    after = {k: o for k, o in before.items() if k not in dict(new)} if delete else {**before, **dict(new)}
    result = Difference(objects=list(_objects(before, after, [k for k, _ in new])))
    if unread_kinds := sum(p is None for p in parsed):
        result.notes.append(f"{unread_kinds} objects are of kinds that the mesh does not read")
    if not result.objects:
        return result
    change = [(key, None if delete else obj) for key, obj in new]
    snapshots, held = [], []
    for steps in ([objects], [objects, change]):
        mesh, blocked = _mesh(steps)
        held.append(blocked)
        snapshots.append(describe.snapshot_of(mesh, pods))
    result.held = [f"{key}: {text}" for key, (_, text) in held[1].items() if key not in held[0] or key in dict(new)]
    result.effects = [(e.text, list(e.proxies)) for e in change_effects.effects(*snapshots)]
    removed = {(d.group, *d.key) for d in added}
    later = [d for d in written if (d.group, *d.key) not in removed] if delete else [*written, *added]
    found = [analyzers.run(analyzers.ObjectSet(side, unread=unread)) for side in (written, later)]
    result.appearing = [_finding(f) for f in found[1] if f not in found[0]]
    result.vanishing = [_finding(f) for f in found[0] if f not in found[1]]
    if rows is None and since:
        result.notes.append("requests are not looked at: the Service istio-system/access-logs does not answer")
    result.requests = list(_elsewhere(rows or [], *snapshots))
    return result


def _applied(document: Document, live: Sequence[Document]) -> Document:
    """An object as an apply leaves it: merged with the one that is there, or the youngest of all. Raises ValueError if it has no name."""
    from sailcloth.controlplane import conditions

    from . import three_way

    body, metadata = dict(document.body), document.body.get("metadata")
    if not isinstance(metadata, dict) or not document.key.name or not metadata.get("name"):
        raise ValueError(f"{document.key.kind}: metadata.name is missing")
    known = next((d for d in live if (d.group, d.key) == (document.group, document.key)), None)
    if known is not None:
        return replace(document, body=three_way.applied(dict(known.body), body))
    stamp = conditions.timestamp(conditions.utc_now())
    return replace(document, body={**body, "metadata": {**metadata, "creationTimestamp": stamp}})


def _mesh(steps: Sequence[Sequence[tuple[Key, Object | None]]]) -> tuple[Mesh, dict[Key, tuple[str, str]]]:
    """(the mesh after several changes, as the control plane applies them; the objects that it holds back)."""
    from sailcloth.analysis import offline
    from sailcloth.controlplane.activation import Activation

    options = [(k, o) for step in steps for k, o in step if k.kind == "ConfigMap" and o is not None]
    mesh = offline.mesh_of(options)
    activation = Activation(mesh)
    for step in steps:
        for key, obj in step:
            activation.apply(key, obj)
        activation.settle()
    return mesh, activation.blocked


def _objects(
    before: dict[Key, Object], after: dict[Key, Object], keys: Sequence[Key]
) -> Iterator[tuple[str, str, list[str]]]:
    import msgspec

    for key in dict.fromkeys(keys):
        old, new = before.get(key), after.get(key)
        if old is None or new is None:
            if old is not new:
                yield str(key), "created" if old is None else "deleted", []
            continue
        values = [msgspec.json.decode(msgspec.json.encode(side)) for side in (old, new)]
        if fields := list(_fields(*map(_written, values))):
            yield str(key), "changed", fields


def _written(obj: dict[str, Any]) -> dict[str, Any]:
    """The parts of an object that users write."""
    from .cluster import LAST_APPLIED

    metadata = obj.get("metadata") or {}
    notes = {k: v for k, v in (metadata.get("annotations") or {}).items() if k != LAST_APPLIED}
    rest = {k: v for k, v in obj.items() if k not in ("metadata", "status")}
    return {**rest, "metadata": {"labels": metadata.get("labels") or {}, "annotations": notes}}


def _fields(old: Any, new: Any) -> Iterator[str]:
    """Paths of the fields that differ."""
    import jsonpatch

    for step in jsonpatch.make_patch(old, new):
        yield step["path"].strip("/").replace("/", ".").replace("~1", "/").replace("~0", "~")


def _finding(one: Finding) -> str:
    return f"{one.severity} [{one.code}] ({one.resource}) {one.text}"


# -- requests -----------------------------------------------------------------------------------


async def _requests(api: Client, since: str) -> list[dict[str, Any]] | None:
    """What the workloads and gateways of the mesh have sent; None if the store does not answer."""
    import orjson

    from sailcloth.kube import ApiError

    try:
        body = await api.call("GET", f"{LOGS}?{urlencode({'direction': 'out', 'since': since, 'limit': _READ})}")
        return list(orjson.loads(body)["requests"])
    except ApiError as error:
        if error.status == 400:
            raise ValueError(f"--since {since!r}: write a duration such as 5m") from None
        return None


def _elsewhere(rows: list[dict[str, Any]], before: MeshSnapshot, after: MeshSnapshot) -> Iterator[dict[str, Any]]:
    """The requests that would have another outcome, the most frequent first. Headers are not in logs, but for the host."""
    from sailcloth.analysis.explain import Explainer, Question, Unknown

    counted = Counter(
        (str(r["source"]), str(r["method"]), f"{r['authority']}{r['path']}")
        for r in rows
        if r.get("source") and r.get("method") and r.get("authority")
    )
    explainers = Explainer(before), Explainer(after)
    for (source, method, url), count in counted.most_common(_EXPLAINED):
        question = Question(url=f"http://{url}", source=source, method=method)
        try:
            old, new = (e.explain(question) for e in explainers)
        except Unknown:
            continue  # of a pod or host that is gone
        if _way(old) != _way(new):
            yield {
                "source": source,
                "method": method,
                "url": url,
                "count": count,
                "was": old.outcome,
                "becomes": new.outcome,
            }


def _way(one: Any) -> tuple[Any, ...]:
    shares = tuple((d.cluster, d.share) for d in one.destinations)
    return one.outcome, shares, one.timeout, one.retries, tuple(one.faults), tuple(one.mirrors), one.rewritten


def structured(found: Difference) -> dict[str, Any]:
    objects = [{"object": name, "change": verb, "fields": fields} for name, verb, fields in found.objects]
    return {**asdict(found), "objects": objects, "effects": [{"text": t, "proxies": p} for t, p in found.effects]}


# -- text ---------------------------------------------------------------------------------------


def lines(found: Difference) -> Iterator[str]:
    """The difference as people read it."""
    if not found.objects:
        yield "Nothing would change."
        return
    for name, verb, fields in found.objects:
        more = f" and {len(fields) - _FIELDS} more" if len(fields) > _FIELDS else ""
        yield f"{name} would be {verb}" + (f": {', '.join(fields[:_FIELDS])}{more}" if fields else "")
    yield from (f"{text} (held back)" for text in found.held)
    yield ""
    for text, proxies in found.effects:
        yield f"{text}, for {_proxies(proxies)}"
    if not found.effects:
        yield "No proxy would get another configuration."
    for title, findings in (
        ("Findings that would appear:", found.appearing),
        ("Findings that would vanish:", found.vanishing),
    ):
        if findings:
            yield from ("", title, *(f"   {text}" for text in findings))
    if found.requests:
        yield from (
            "",
            "Requests that would have gone another way (as far as paths and hosts decide; headers are not logged):",
        )
        for each in found.requests:
            yield f"   {each['count']} x {each['method']} {each['url']} of {each['source']}"
            yield from (f"      {word}: {each[word]}" for word in ("was", "becomes"))


def _proxies(names: list[str]) -> str:
    count = f"{len(names)} {'proxy' if len(names) == 1 else 'proxies'}"
    return f"{count} ({', '.join(names)})" if len(names) <= _PROXIES else count
