"""`sailctl logs` and `sailctl tap`: logs of workloads and their proxies, and live requests from access logs."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import dumps, output
from .cluster_options import Kubeconfig, namespace_option

if TYPE_CHECKING:
    from sailcloth.kube.pod_logs import Line, Source

Object = dict[str, Any]
_PROXY = "istio-proxy"
_COLORS = ("36", "33", "32", "35", "34", "31")
_STORE = "/api/v1/namespaces/istio-system/services/http:access-logs:3100/proxy/api/v1/requests"
_MAX_STORED, _OVERLAP_S = 5000, 5  # requests; what the store has not read yet
Targets = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[POD | KIND/NAME]...", help="Pods, or deployment/, service/, statefulset/, daemonset/NAME."
    ),
]
Namespace = Annotated[str, namespace_option("Namespace.")]
Selector = Annotated[str, typer.Option("-l", "--selector", help="Labels of pods: a=b,c=d.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("logs", rich_help_panel="Traffic")(logs)
    app.command("tap", rich_help_panel="Traffic")(tap)


# -- logs ---------------------------------------------------------------------------------------


def logs(
    targets: Targets = None,
    selector: Selector = "",
    namespace: Namespace = "",
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Stream new lines.")] = False,
    tail: Annotated[int | None, typer.Option("--tail", help="Lines of each container.")] = None,
    since: Annotated[str, typer.Option("--since", help="How far back, such as 5m.")] = "",
    proxy: Annotated[bool, typer.Option("--proxy", help="The proxies only.")] = False,
    application: Annotated[bool, typer.Option("--app", help="The application only.")] = False,
    out: Annotated[str, typer.Option("-o", "--output", help="text or json (a line each)")] = "text",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Show the logs of pods, application and proxy together, ordered by time."""
    from sailcloth.kube.pod_logs import LogOptions

    output.check_choice("output", out, "text", "json")
    options = LogOptions(follow, tail, _seconds(since))
    show = _printer() if out == "text" else _json_line
    containers = (proxy or not application, application or not proxy)
    dumps.run(_print(targets or [], selector, namespace, kubeconfig, options, containers, show))


async def _print(
    targets: list[str],
    selector: str,
    namespace: str,
    kubeconfig: str,
    options: Any,
    containers: tuple[bool, bool],
    show: Callable[[Line], None],
) -> None:
    from sailcloth.kube import pod_logs

    from .cluster import client

    async with client(kubeconfig) as api:
        pods = await _pods(api, targets, selector, namespace)
        async for line in pod_logs.read(api, _sources(pods, *containers), options):
            show(line)


def _sources(pods: list[Object], proxy: bool, application: bool) -> list[Source]:
    """The containers of pods: proxies, the application's, or both."""
    from sailcloth.kube import pod_logs

    every = ((pod, name) for pod in pods for name in pod_logs.containers(pod))
    return [(pod, name) for pod, name in every if (proxy if name == _PROXY else application)]


def _printer() -> Callable[[Line], None]:
    """Prints lines with their origin, in colours on a terminal."""
    colored: dict[str, str] = {}

    def show(line: Line) -> None:
        origin = f"{line.pod} {line.container}"
        if sys.stdout.isatty():
            color = colored.setdefault(origin, _COLORS[len(colored) % len(_COLORS)])
            origin = f"\x1b[{color}m{origin}\x1b[0m"
        print(f"{line.time[11:23]} {origin} {line.text}", flush=True)

    return show


def _json_line(line: Line) -> None:
    fields = {"time": line.time, "namespace": line.namespace, "pod": line.pod, "container": line.container}
    print(json.dumps({**fields, "text": line.text}), flush=True)


# -- tap ----------------------------------------------------------------------------------------


def tap(
    targets: Targets = None,
    selector: Selector = "",
    namespace: Namespace = "",
    method: Annotated[str, typer.Option("--method", help="Requests with this method.")] = "",
    path: Annotated[str, typer.Option("--path", help="Requests whose path has this prefix.")] = "",
    status: Annotated[str, typer.Option("--status", help="Such as 503, 5xx, >=400.")] = "",
    authority: Annotated[str, typer.Option("--authority", help="Requests to this host.")] = "",
    to: Annotated[str, typer.Option("--to", help="Requests that a workload of this name receives.")] = "",
    source: Annotated[str, typer.Option("--from", help="Requests that a workload of this name sends.")] = "",
    direction: Annotated[str, typer.Option("--direction", help="in, out or both.")] = "both",
    most: Annotated[int, typer.Option("--max", help="End after this number of requests; 0: never.")] = 0,
    since: Annotated[str, typer.Option("--since", help="Also earlier requests, such as 5m.")] = "",
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Stream new requests, or end after those of --since.")
    ] = True,
    out: Annotated[str, typer.Option("-o", "--output", help="text or json (a line each)")] = "text",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Show live requests from the access logs of proxies; of all workloads of the namespace by default."""
    output.check_choice("output", out, "text", "json")
    output.check_choice("direction", direction, "in", "out", "both")
    if not follow and not since:
        output.fail("--no-follow shows earlier requests only; add --since 10m", output.USAGE)
    has_status = _status(status)

    def matches(request: Object) -> bool:
        return (
            method.upper() in ("", request["method"])
            and str(request["path"] or "").startswith(path)
            and authority in ("", request["authority"])
            and has_status(request["status"])
            and direction in ("both", request["direction"])
            and (not to or _named(request["destination"], to))
            and (not source or _named(request["source"], source))
        )

    wide = {"method": method, "path": path, "status": status, "authority": authority}
    wide |= {"direction": "" if direction == "both" else direction, "since": str(_seconds(since)) if since else ""}
    filters = {name: value for name, value in wide.items() if value}
    dumps.run(_tap(targets or [], selector, namespace, kubeconfig, filters, matches, (follow, most), out == "json"))


async def _tap(
    targets: list[str],
    selector: str,
    namespace: str,
    kubeconfig: str,
    filters: dict[str, str],
    matches: Callable[[Object], bool],
    until: tuple[bool, int],
    as_json: bool,
) -> None:
    from sailcloth.kube import pod_logs
    from sailcloth.kube.resources import PODS
    from sailcloth.lib import access_log_lines

    from .cluster import client

    follow, most = until
    async with client(kubeconfig) as api:
        pods = await _pods(api, targets, selector, namespace)
        since_s, earlier = int(filters.get("since", 0)), list[Object]()
        if since_s:
            whose = [{"workload": w} for w in dict.fromkeys(map(_workload, pods))] if targets or selector else [{}]
            stored = await _stored(
                api, [{**filters, **w, "namespace": pods[0]["metadata"]["namespace"]} for w in whose]
            )
            earlier, since_s = ([], since_s) if stored is None else (stored, _OVERLAP_S)
        count = 0

        def show(request: Object) -> bool:
            """Print a request that matches; whether the maximum is reached."""
            nonlocal count
            if matches(request):
                print(json.dumps(request) if as_json else _text(request), flush=True)
                count += 1
            return bool(most) and count >= most

        if any(show(request) for request in earlier):
            return
        shown = {_key(request) for request in earlier}
        if not follow and earlier:
            return
        everywhere, _ = await api.list(PODS)
        by_address = {
            ip["ip"]: pod["metadata"]["name"]
            for pod in everywhere
            for ip in (pod.get("status") or {}).get("podIPs") or ()
        }
        options = pod_logs.LogOptions(follow, None if since_s else 0, since_s)
        lines: AsyncIterator[Line] = pod_logs.read(api, _sources(pods, True, False), options)
        async for line in lines:
            fields = access_log_lines.parse(line.text)
            if fields is None:
                continue
            request = access_log_lines.request(line.pod, fields, by_address)
            if _key(request) not in shown and show(request):
                return


async def _stored(api: Any, queries: list[dict[str, str]]) -> list[Object] | None:
    """Requests of the access log store, the earliest first, also of deleted pods; None if there is no telemetry."""
    from urllib.parse import urlencode

    from sailcloth.kube import ApiError

    requests: list[Object] = []
    for query in queries:
        try:
            body = await api.call("GET", f"{_STORE}?{urlencode({**query, 'limit': _MAX_STORED})}")
        except ApiError as error:
            if error.status in (404, 502, 503):
                return None
            raise
        answer = json.loads(body)
        if not answer["complete"] or len(answer["requests"]) == _MAX_STORED:
            output.warn("there are more; name workloads, --status or a shorter --since")
        requests += answer["requests"]
    for request in requests:
        request |= {side: request[side].rpartition("/")[2] for side in ("source", "destination")}
    return sorted(requests, key=lambda request: str(request["time"]))


def _key(request: Object) -> tuple[object, ...]:
    return tuple(request[name] for name in ("time", "direction", "source", "destination", "request_id", "path"))


def _workload(pod: Object) -> str:
    """The name of a pod's workload."""
    owners = pod["metadata"].get("ownerReferences") or [{"kind": ""}]
    return str(pod["metadata"]["name"]).rsplit("-", {"ReplicaSet": 2, "": 0}.get(owners[0]["kind"], 1))[0]


def _text(request: Object) -> str:
    status = str(request["status"])
    if sys.stdout.isatty() and status[:1] in "45":
        status = f"\x1b[31m{status}\x1b[0m"
    what = f"{request['method']} {request['authority']}{request['path']}" if request["method"] else "connection"
    flags = f" {request['flags']}" if request["flags"] else ""
    way = f"{request['source']} → {request['destination']}"
    return f"{str(request['time'])[11:23]} {request['direction']:3} {way}  {what}  {status}{flags} {request['duration_ms']}ms"


def _status(text: str) -> Callable[[Any], bool]:
    """A predicate for statuses: 503, 5xx or >=400."""
    from sailcloth.lib.access_log_lines import status_range

    if not text:
        return lambda status: True
    try:
        least, most = status_range(text)
    except ValueError as error:
        output.fail(f"--status: {error}", output.USAGE)
    return lambda status: isinstance(status, int) and least <= status <= most


def _named(pod: str, name: str) -> bool:
    """Whether a pod is of a workload with this name, or has this name."""
    return pod == name or pod.startswith(f"{name}-")


# -- pods ---------------------------------------------------------------------------------------


async def _pods(api: Any, targets: list[str], selector: str, namespace: str) -> list[Object]:
    """The pods of the targets (pods, workloads or services) with the selector's labels; without targets all of the namespace."""
    from sailcloth.kube import Resource
    from sailcloth.kube.resources import PODS

    namespace = namespace or api.endpoint.namespace
    pods, _ = await api.list(PODS, namespace)
    wanted = dict(pair.partition("=")[::2] for pair in selector.split(",") if pair)
    candidates = [p for p in pods if wanted.items() <= (p["metadata"].get("labels") or {}).items()]
    if not targets:
        if not candidates:
            raise ValueError(f"no pod in namespace {namespace}" + (f" has the labels {selector}" if selector else ""))
        return candidates
    groups = {"deployment": "apps", "statefulset": "apps", "daemonset": "apps", "service": ""}
    short = {"deploy": "deployment", "sts": "statefulset", "ds": "daemonset", "svc": "service", "po": "pod"}
    selected: dict[str, Object] = {}
    for target in targets:
        kind, slash, name = target.rpartition("/")
        kind = short.get(kind, kind)
        if not slash or kind == "pod":
            named = [p for p in candidates if p["metadata"]["name"] == name]
        elif kind in groups:
            obj = await api.get(Resource(groups[kind], "v1", f"{kind}s", kind.capitalize()), name, namespace)
            selects = obj["spec"].get("selector") or {}
            wanted = selects if kind == "service" else selects.get("matchLabels") or {}
            named = [p for p in candidates if wanted and wanted.items() <= (p["metadata"].get("labels") or {}).items()]
        else:
            raise ValueError(f"{target!r}: name a pod, or deployment/, statefulset/, daemonset/, service/NAME")
        if not named:
            raise ValueError(f"{target!r} has no pod in namespace {namespace}")
        selected |= {p["metadata"]["name"]: p for p in named}
    return list(selected.values())


def _seconds(text: str) -> int:
    """A duration such as 5m in whole seconds; 0 for none."""
    from sailcloth.api.meta import duration_ms

    try:
        return max(1, round((duration_ms(text) or 0) / 1000)) if text else 0
    except ValueError as error:
        output.fail(f"--since: {error}", output.USAGE)
