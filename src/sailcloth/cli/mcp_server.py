"""`sailctl mcp`: what the other commands know of a mesh, as tools of the Model Context Protocol, for assistants.

Reads only, unless it is started with `--allow-writes`; then a change needs its preview first. Secrets are never read. Must not decide
anything that another command does not.
"""

from __future__ import annotations

import functools
import math
import secrets as random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

import typer

from . import cluster_objects, output
from .cluster_options import Kubeconfig

if TYPE_CHECKING:
    from mcp.server import MCPServer

    from sailcloth.kube import Client, Resource

Object = dict[str, Any]
_REQUESTS = 200  # of the access logs, in one answer
_FINDINGS = 100
_SAMPLES = 500
_INSTRUCTIONS = (
    "Tools about one Istio-compatible service mesh, which Sailcloth runs. Start with mesh_status; traffic_graph shows who calls whom and what"
    " fails; explain_request says which route, policy and endpoints a request gets, and why; requests lists logged requests, with Envoy's"
    " response flags."
)
_WRITES = " Changes: preview_change says what a manifest would do and returns a token; apply_change makes exactly that change; undo_last_change takes it back."


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("mcp", rich_help_panel="Configuration")(mcp)


def mcp(
    allow_writes: Annotated[
        bool,
        typer.Option(
            "--allow-writes", help="Also let the assistant change the mesh's objects, each change after its preview."
        ),
    ] = False,
    kubeconfig: Kubeconfig = "",
) -> None:
    """Serve the mesh to an assistant over the Model Context Protocol, on standard input and output.

    Acts with the rights of the kubeconfig's user. Example: claude mcp add sailcloth -- sailctl mcp
    """
    try:
        import mcp as _  # noqa: F401
    except ImportError:
        output.fail("the package `mcp` is not installed: pip install 'sailcloth[mcp]'")
    server(kubeconfig, allow_writes).run("stdio")


def server(kubeconfig: str, allow_writes: bool) -> MCPServer:
    """The server with its tools. A tool's failure is told to the assistant as such."""
    from mcp.server import MCPServer
    from mcp.types import ToolAnnotations

    from sailcloth import __version__

    made = MCPServer(
        "sailcloth",
        instructions=_INSTRUCTIONS + (_WRITES if allow_writes else ""),
        version=__version__,
        log_level="WARNING",
    )
    tools = _Tools(kubeconfig)
    reading: list[Callable[..., Awaitable[Any]]] = [
        tools.mesh_status,
        tools.traffic_graph,
        tools.requests,
        tools.metrics,
        tools.analyze,
        tools.explain_request,
        tools.list_objects,
        tools.get_object,
    ]
    for tool in reading:
        made.add_tool(_told(tool), annotations=ToolAnnotations(read_only_hint=True))
    if allow_writes:
        made.add_tool(_told(tools.preview_change), annotations=ToolAnnotations(read_only_hint=True))
        for tool in (tools.apply_change, tools.undo_last_change):
            made.add_tool(_told(tool), annotations=ToolAnnotations(read_only_hint=False, destructive_hint=True))
    return made


def _told(tool: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """The tool, with what is wrong with its arguments or the mesh told to the assistant; other errors are our bugs, and stay hidden."""
    from mcp.server.mcpserver.exceptions import ToolError

    from sailcloth.kube import ApiError

    @functools.wraps(tool)
    async def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return await tool(*args, **kwargs)
        except (ValueError, ApiError, OSError) as error:
            raise ToolError(str(error)) from None
        except SystemExit:  # must not end the server
            raise ToolError("the arguments are not understood") from None

    return call


class _Tools:
    """The tools. Their names, docstrings and parameters are what an assistant sees."""

    def __init__(self, kubeconfig: str) -> None:
        self._kubeconfig = kubeconfig
        # By token: documents, whether deleted, namespace
        self._previewed: dict[str, tuple[list[Object], bool, str]] = {}
        self._applied: list[str] = []  # what apply_change has changed last, as KIND/NAME.NAMESPACE

    # -- reading --------------------------------------------------------------------------------

    async def mesh_status(self) -> Object:
        """The control plane's proxies and whether each has its configuration, and the objects that are not accepted, not programmed on all
        proxies, or do not pass the analysis."""
        from . import check_mesh
        from .check import Target
        from .cluster import client, connected_proxies

        rows = await connected_proxies(self._kubeconfig)
        async with client(self._kubeconfig) as api:
            target = Target(api, self._kubeconfig, installed=True)
            results = [r for section in (check_mesh.proxies, check_mesh.configuration) async for r in section(target)]
        return {
            "proxies": [{"name": r["name"], "types": r["types"], "errors": r["errors"]} for r in rows],
            "checks": [{"check": r.check, "state": r.state, "detail": r.detail} for r in results],
        }

    async def traffic_graph(self, namespace: str = "", window: str = "1m") -> Object:
        """Who called whom in the last time (window such as 1m or 10m): requests a second, share of errors, latencies in milliseconds, mutual
        TLS. An empty namespace: all."""
        from sailcloth.analysis import traffic_graph

        from . import prometheus, traffic

        if not traffic.WINDOW.fullmatch(window):
            raise ValueError(f"{window!r} is no window such as 30s, 5m or 1h")
        answers = await prometheus.query(traffic_graph.queries(window, namespace), "", self._kubeconfig)
        return dict(traffic_graph.plain(traffic_graph.graph(**answers)))

    async def requests(
        self,
        namespace: str = "",
        workload: str = "",
        since: str = "5m",
        failed: bool = False,
        path: str = "",
        limit: int = 50,
    ) -> list[Object]:
        """Requests of the access logs, the newest first: time, caller, destination, method, path, status, Envoy's response flags and details.
        `failed`: only those that failed."""
        import orjson

        from .cluster import client
        from .diff import LOGS

        given = {"namespace": namespace, "workload": workload, "since": since, "path": path}
        wanted = {k: v for k, v in given.items() if v} | ({"failed": "true"} if failed else {})
        async with client(self._kubeconfig) as api:
            body = await api.call("GET", f"{LOGS}?{urlencode({**wanted, 'limit': max(1, min(limit, _REQUESTS))})}")
        return list(orjson.loads(body)["requests"])

    async def metrics(self, expression: str) -> list[Object]:
        """The answer to a PromQL query at this time, over Istio's standard metrics (istio_requests_total, …)."""
        from . import prometheus

        samples = (await prometheus.query({"answer": expression}, "", self._kubeconfig))["answer"]
        if len(samples) > _SAMPLES:
            raise ValueError(
                f"{len(samples)} series; aggregate them to {_SAMPLES} at most, such as by sum by (…) or topk"
            )
        return [{"labels": dict(k), "value": v if math.isfinite(v) else str(v)} for k, v in samples]

    async def analyze(self, namespace: str = "", manifest: str = "") -> list[Object]:
        """Mistakes in the mesh's configuration, worst first: code, level, object, field path, text and fix. With a manifest (YAML): those that
        there would be if it were applied."""
        from sailcloth.analysis import analyzers, manifests

        from . import analysis_input
        from .cluster import client

        async with client(self._kubeconfig) as api:
            written, unread = await analysis_input.from_cluster(api, "istio-system")
        added = [analyzers.document(d, namespace or "default") for d in manifests.documents(manifest)]
        found = analyzers.run(analyzers.ObjectSet([*written, *added], unread=unread))
        shown = [f for f in found if not namespace or f.resource.namespace in ("", namespace)][:_FINDINGS]
        return [
            {
                "code": f.code,
                "level": f.severity,
                "object": str(f.resource),
                "path": f.path,
                "text": f.text,
                "fix": f.fix,
            }
            for f in shown
        ]

    async def explain_request(
        self, url: str, source: str = "", method: str = "GET", headers: dict[str, str] | None = None
    ) -> Object:
        """What happens to a request: listener, route with its object, routes that do not match and why, destinations with shares, endpoints,
        mutual TLS, and who lets it in. `source`: NAMESPACE/POD or NAMESPACE/WORKLOAD; empty: a client outside, at the ingress gateway. Sends
        nothing."""
        import msgspec

        from sailcloth.analysis.explain import Explainer, Question

        from . import describe
        from .cluster import client

        async with client(self._kubeconfig) as api:
            snapshot = await describe.from_cluster(api)
        question = Question(url=url, source=source, method=method, headers=headers or {})
        return dict(msgspec.to_builtins(Explainer(snapshot).explain(question)))

    async def list_objects(self, kind: str, namespace: str = "") -> list[Object]:
        """Objects of a kind of the mesh (VirtualService, DestinationRule, Gateway, AuthorizationPolicy, …), or Services and Pods: names and
        conditions."""
        items = await self._items(kind, namespace)
        return [
            {
                "name": item["metadata"]["name"],
                "namespace": item["metadata"].get("namespace", ""),
                "conditions": [
                    {k: c.get(k) for k in ("type", "status", "reason", "message")}
                    for c in (item.get("status") or {}).get("conditions") or ()
                ],
            }
            for item in items
        ]

    async def get_object(self, kind: str, name: str, namespace: str = "default") -> Object:
        """One object, whole, but for the record of who wrote which field."""
        for item in await self._items(kind, namespace):
            if item["metadata"]["name"] == name:
                item["metadata"].pop("managedFields", None)
                return item
        raise ValueError(f"there is no {kind} {namespace}/{name}")

    async def _items(self, kind: str, namespace: str) -> list[Object]:
        from sailcloth.api.kinds import BY_GROUP_KIND

        from .cluster import client

        readable = {k.name.lower(): k for k in BY_GROUP_KIND.values() if k.conditions or k.name in ("Service", "Pod")}
        known = readable.get(kind.lower())
        if known is None:
            raise ValueError(
                f"{kind!r} is not served here; there are {', '.join(sorted(k.name for k in readable.values()))}"
            )
        async with client(self._kubeconfig) as api:
            items, _ = await api.list(cluster_objects.resource_of(known), namespace)
        return items

    # -- writing --------------------------------------------------------------------------------

    async def preview_change(self, manifest: str, delete: bool = False, namespace: str = "default") -> Object:
        """What applying a manifest (YAML; `delete`: deleting its objects) would change: objects, proxies' routes and clusters, findings, logged
        requests that would go elsewhere. Changes nothing. The token is for apply_change."""
        from sailcloth.analysis import manifests

        from . import diff

        documents = manifests.documents(manifest)
        self._check(documents)
        if not delete:
            self._validate(documents, namespace)
        found = await diff.difference(documents, delete, "5m", namespace, self._kubeconfig)
        token = random.token_hex(8)
        self._previewed = {token: (documents, delete, namespace)}
        return {**diff.structured(found), "token": token}

    async def apply_change(self, token: str) -> list[str]:
        """Make the change of the last preview."""
        from .cluster import Applier, client

        if token not in self._previewed:
            raise ValueError("this is not the token of the last preview; call preview_change first")
        documents, delete, namespace = self._previewed.pop(token)
        done: list[str] = []
        self._applied = []
        async with client(self._kubeconfig) as api:
            applier = Applier(api)
            for document in documents:
                resource = await applier.resource(document)
                own = document["metadata"].get("namespace") or namespace
                changed = True
                if delete:
                    await api.delete(resource, document["metadata"]["name"], own)
                else:
                    changed = await _apply(api, resource, document, own)
                if changed:  # else an undo would put back what somebody else has replaced before
                    self._applied.append(f"{document['kind']}/{document['metadata']['name']}.{own}")
                done.append(
                    f"{document['kind']} {own}/{document['metadata']['name']} {'deleted' if delete else 'applied'}"
                )
        return done

    async def undo_last_change(self) -> list[str]:
        """Put back what the last apply_change has replaced."""
        from . import undo

        if not self._applied:
            raise ValueError("apply_change has changed nothing yet")
        names, self._applied = self._applied, []
        steps, _ = await undo.steps_of(names, "", self._kubeconfig)
        return await undo.put_back(steps, False, self._kubeconfig)

    def _validate(self, documents: list[Object], namespace: str) -> None:
        """What admission would refuse has no preview. Raises ValueError."""
        from sailcloth.api import validation

        for document in documents:
            for finding in validation.check(document, namespace):
                if finding.severity == "Error":
                    raise ValueError(str(finding))

    def _check(self, documents: list[Object]) -> None:
        """Only objects of the mesh may be changed. Raises ValueError."""
        from sailcloth.api.kinds import kind_of

        for document in documents:
            kind = kind_of(document)
            if kind is None or not kind.conditions:
                raise ValueError(f"{document.get('kind')} is no object of the mesh; kubectl changes it")
            metadata = document.get("metadata")
            if not isinstance(metadata, dict) or not isinstance(metadata.get("name") or None, str):
                raise ValueError(f"a {kind.name} has no metadata.name that is a text")
        if not documents:
            raise ValueError("the manifest has no objects")


async def _apply(api: Client, resource: Resource, document: Object, namespace: str) -> bool:
    """Apply an object as `kubectl apply` does, and as a preview has shown it. Returns whether that has changed anything."""
    from . import three_way
    from .cluster import as_kubectl

    written = as_kubectl({**document, "metadata": {**document["metadata"], "namespace": namespace}})
    live = await cluster_objects.existing(api, resource, written["metadata"]["name"], namespace)
    if live is None:
        await api.create(resource, written)
        return True
    new = await api.replace(resource, three_way.applied(live, written))
    return bool(new["metadata"]["resourceVersion"] != live["metadata"]["resourceVersion"])
