"""`sailctl logs` and `sailctl tap`: logs of workloads and their proxies, and live requests from access logs."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import output

if TYPE_CHECKING:
    from .pod_logs import Line

Object = dict[str, Any]
_COLORS = ("36", "33", "32", "35", "34", "31")
_STATUS = re.compile(r"(?P<sign>>=|<=|>|<|=)?(?P<code>\d{3})|(?P<group>[1-5])xx")
Targets = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[POD | KIND/NAME]...", help="Pods, or deployment/, service/, statefulset/, daemonset/NAME."
    ),
]
Namespace = Annotated[str, typer.Option("-n", "--namespace", help="Namespace.")]
Selector = Annotated[str, typer.Option("-l", "--selector", help="Labels of pods: a=b,c=d.")]
Kubeconfig = Annotated[str, typer.Option("--kubeconfig", help="Kubeconfig file.")]


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
    from . import dumps
    from .pod_logs import LogOptions

    if out not in ("text", "json"):
        output.fail(f"unknown output {out!r}; use text or json", output.USAGE)
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
    from . import pod_logs
    from .cluster import client

    async with client(kubeconfig) as api:
        pods = await _pods(api, targets, selector, namespace)
        async for line in pod_logs.read(api, pods, options, *containers):
            show(line)


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
    out: Annotated[str, typer.Option("-o", "--output", help="text or json (a line each)")] = "text",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Show live requests from the access logs of proxies; of all workloads of the namespace by default."""
    from . import dumps

    if out not in ("text", "json"):
        output.fail(f"unknown output {out!r}; use text or json", output.USAGE)
    if direction not in ("in", "out", "both"):
        output.fail(f"unknown direction {direction!r}; use in, out or both", output.USAGE)
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

    since_s = _seconds(since)
    dumps.run(_tap(targets or [], selector, namespace, kubeconfig, since_s, matches, most, out == "json"))


async def _tap(
    targets: list[str],
    selector: str,
    namespace: str,
    kubeconfig: str,
    since_s: int,
    matches: Callable[[Object], bool],
    most: int,
    as_json: bool,
) -> None:
    from sailcloth.analysis import access_log_lines
    from sailcloth.kube.resources import PODS

    from . import pod_logs
    from .cluster import client

    async with client(kubeconfig) as api:
        pods = await _pods(api, targets, selector, namespace)
        everywhere, _ = await api.list(PODS)
        by_address = {
            ip["ip"]: pod["metadata"]["name"]
            for pod in everywhere
            for ip in (pod.get("status") or {}).get("podIPs") or ()
        }
        options = pod_logs.LogOptions(True, None if since_s else 0, since_s)
        count = 0
        lines: AsyncIterator[Line] = pod_logs.read(api, pods, options, True, False)
        async for line in lines:
            fields = access_log_lines.parse(line.text)
            if fields is None or not matches(request := _request(line.pod, fields, by_address)):
                continue
            print(json.dumps(request) if as_json else _text(request), flush=True)
            count += 1
            if most and count >= most:
                return


def _request(pod: str, fields: Object, by_address: dict[str, str]) -> Object:
    """A request that a pod's proxy has logged."""
    from sailcloth.analysis import access_log_lines

    inbound = access_log_lines.inbound(fields)
    peer = (
        str(fields.get("downstream_remote_address" if inbound else "upstream_host") or "")
        .rpartition(":")[0]
        .strip("[]")
    )
    other = by_address.get(peer, peer) or "-"
    return {
        "time": fields.get("start_time"),
        "direction": "in" if inbound else "out",
        "source": other if inbound else pod,
        "destination": pod if inbound else other,
        "method": fields.get("method"),
        "authority": fields.get("authority"),
        "path": fields.get("path"),
        "status": fields.get("response_code"),
        "flags": fields.get("response_flags"),
        "details": fields.get("response_code_details"),
        "duration_ms": fields.get("duration"),
        "bytes_received": fields.get("bytes_received"),
        "bytes_sent": fields.get("bytes_sent"),
        "tls": str(fields.get("requested_server_name") or "").startswith("outbound_") if inbound else None,
        "request_id": fields.get("request_id"),
    }


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
    if not text:
        return lambda status: True
    match = _STATUS.fullmatch(text)
    if match is None:
        output.fail(f"--status {text!r}: write 503, 5xx or >=400", output.USAGE)
    if match["group"]:
        return lambda status: isinstance(status, int) and status // 100 == int(match["group"])
    code, sign = int(match["code"]), match["sign"] or "="
    compare = {"=": int.__eq__, ">": int.__gt__, "<": int.__lt__, ">=": int.__ge__, "<=": int.__le__}[sign]
    return lambda status: isinstance(status, int) and bool(compare(status, code))


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
