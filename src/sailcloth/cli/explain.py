"""`sailctl x explain`: what happens to a request, and which object decides it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import describe, dumps, output, request_options
from .cluster_options import Kubeconfig, TextForm

if TYPE_CHECKING:
    from sailcloth.analysis.describe import MeshSnapshot
    from sailcloth.analysis.explain import Destination, Explanation

_ENDPOINTS = 4  # that the text names


def explain(
    source: Annotated[
        str,
        typer.Option("--from", help="The client: [NAMESPACE/]POD or WORKLOAD; `outside` is a client at the gateway."),
    ] = "outside",
    to: Annotated[str, typer.Option("--to", help="URL of the request, as the client writes it.")] = "",
    method: Annotated[str, typer.Option("--method", help="Method of the request.")] = "GET",
    header: Annotated[list[str] | None, typer.Option("--header", help="NAME=VALUE; may be repeated.")] = None,
    jwt: Annotated[Path | None, typer.Option("--jwt", help="File with a token; its signature is not checked.")] = None,
    claims: Annotated[str, typer.Option("--claims", help="Claims of the token, as JSON.")] = "",
    source_ip: Annotated[str, typer.Option("--source-ip", help="The client's address, for a client outside.")] = "",
    gateway: Annotated[
        str, typer.Option("--gateway", help="NAMESPACE/NAME of the gateway, for a client outside.")
    ] = "",
    requests: Annotated[
        Path | None, typer.Option("--requests", help="JSON lines with requests; prints an explanation per line.")
    ] = None,
    namespace: describe.Namespace = "",
    offline: describe.Offline = False,
    file: describe.File = None,
    mesh_config: describe.Options = None,
    out: TextForm = "text",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Explain a request: its listener, route, clusters and endpoints, what happens to it on the way, and who lets it in.

    Example: sailctl x explain --from productpage-v1 --to http://reviews:9080/reviews/0 --header end-user=jason
    """
    import msgspec

    from sailcloth.analysis.explain import Explainer, Question, Unknown

    output.check_choice("output", out, "text", "json", "yaml")
    if bool(to) == (requests is not None):
        output.fail("give --to URL, or --requests FILE", output.USAGE)
    snapshot, where = _snapshot(namespace, bool(offline or file), file, mesh_config, kubeconfig)
    explainer = Explainer(snapshot)
    if requests is not None:
        for question in request_options.json_lines(requests, Question):
            try:
                print(json.dumps(msgspec.to_builtins(explainer.explain(question))))
            except Unknown as error:
                print(json.dumps({"error": str(error)}))
        return
    client = "" if source == "outside" else source if "/" in source else f"{where}/{source}"
    question = Question(
        url=to,
        source=client,
        gateway=gateway,
        method=method,
        headers=request_options.pairs("--header", header or []),
        claims=request_options.claims(jwt, claims),
        source_ip=request_options.address("--source-ip", source_ip),
    )
    try:
        explanation = explainer.explain(question)
    except Unknown as error:
        output.fail(str(error), output.DATA)
    if out != "text":
        output.structured(dict(msgspec.to_builtins(explanation)), out)
        return
    print("\n".join(lines(explanation)))


def _snapshot(
    namespace: str, offline: bool, files: list[Path] | None, options: Path | None, kubeconfig: str
) -> tuple[MeshSnapshot, str]:
    """(the mesh, the namespace of names without one)."""
    from .cluster import client

    if offline:
        return describe.from_files(True, files, options), namespace or "default"

    async def read() -> tuple[MeshSnapshot, str]:
        async with client(kubeconfig) as api:
            return await describe.from_cluster(api), namespace or api.endpoint.namespace

    return dumps.run(read())


# -- text ---------------------------------------------------------------------------------------


def lines(one: Explanation) -> Iterator[str]:
    """The explanation as people read it, from the request to who takes it."""
    yield one.outcome
    yield f"Request: {one.host}{one.path}"
    yield f"Proxy: {one.proxy}"
    if one.listener:
        chain = f", filter chain {one.filter_chain}" if one.filter_chain else ""
        yield f"Listener: {one.listener}{chain}"
    if one.route_config:
        yield f"Routes: {one.route_config}, virtual host {one.virtual_host or 'none'}"
    for skipped in one.skipped:
        yield f"   not {_route(skipped.object, skipped.name)}: {skipped.reason}"
    if one.virtual_host and (one.object or one.destinations):
        yield f"Route: {_route(one.object, one.route)}"
    details = {
        "Rewritten to": one.rewritten,
        "Timeout": one.timeout,
        "Retries": one.retries,
        "Faults": ", ".join(one.faults),
        "Mirrored to": ", ".join(one.mirrors),
    }
    yield from (f"   {name}: {value}" for name, value in details.items() if value)
    for destination in one.destinations:
        yield from _destination(destination)


def _route(obj: str, name: str) -> str:
    return (obj or "the default route of the service") + (f" ({name})" if name else "")


def _destination(one: Destination) -> Iterator[str]:
    subset = f" subset {one.subset}" if one.subset else ""
    share = f", {one.share:.3g} % of the requests" if one.share < 100 else ""
    yield f"Destination: {one.host}{f':{one.port}' if one.port else ''}{subset}{share}"
    if one.rule:
        yield f"   {one.rule}"
    if one.problem:
        yield f"   {one.problem}"
    for endpoint in one.endpoints[:_ENDPOINTS]:
        tls = "mutual TLS" if endpoint.mutual_tls else "plain text"
        where = f", {endpoint.locality}" if endpoint.locality else ""
        yield f"   {endpoint.address} {endpoint.workload} ({endpoint.health.lower()}, {tls}{where})"
    if len(one.endpoints) > _ENDPOINTS:
        yield f"   and {len(one.endpoints) - _ENDPOINTS} more"
    for workload, decision in sorted(one.allowed.items()):
        by = f" by {decision.action} policy {decision.policy}" if decision.policy else ""
        verb = {"allow": "allows it", "deny": "refuses it", "none": "lets it in"}[decision.decision]
        yield f"   {workload} {verb}{by}: {decision.reason}"
