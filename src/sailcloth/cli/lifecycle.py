"""`sailctl up`, `down`, `status`, `demo`, `doctor`."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from sailcloth.local.state import StateDir, StateError

from . import dumps, output, telemetry_options
from .demos import DEMOS, Demo
from .go_flags import CONTEXT
from .local_cluster import LocalCluster, state_of, stop

Object = dict[str, Any]
State = Annotated[str, typer.Option("--state", help="State directory (default $SAILCLOTH_HOME or ~/.sailcloth).")]
Name = Annotated[str, typer.Option("--name", help="Name of a separate cluster.")]
HttpPort = Annotated[
    int, typer.Option("--http-port", min=0, max=65535, help="Host port of the ingress gateway; 0: any free one.")
]
HttpsPort = Annotated[
    int, typer.Option("--https-port", min=0, max=65535, help="Host port of the gateway's HTTPS; 0: any free one.")
]
ApiPort = Annotated[
    int, typer.Option("--api-port", min=0, max=65535, help="Host port of the API server; 0: any free one.")
]
Detach = Annotated[
    bool, typer.Option("--detach", "-d", help="Return when everything is ready; `sailctl down` stops it.")
]
Durability = Annotated[str, typer.Option("--durability", help="normal, or full to flush every write to disk.")]
CertTtl = Annotated[str, typer.Option("--workload-cert-ttl", help="Lifetime of workload certificates.")]
Swap = Annotated[
    bool,
    typer.Option("--bind-swap/--no-bind-swap", help="Publish gateway ports by swapped sockets, or by a slower relay."),
]
Privileged = Annotated[
    bool,
    typer.Option(
        "--allow-privileged", help="Let pods be privileged and mount paths of this machine; they can then change it."
    ),
]
Restart = Annotated[
    bool,
    typer.Option("--restart", help="Start the cluster again if it ends unexpectedly, until Ctrl-C or `sailctl down`."),
]
PrintUnit = Annotated[
    bool,
    typer.Option("--print-unit", help="Print a systemd user service that runs this command, and start nothing."),
]
Form = Annotated[str, typer.Option("-o", "--output", help="text, json or yaml")]
_ASK_S = 2.0
_UNIT_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "%": "%%", "$": "$$"})
_PANEL = "Local cluster"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("up", rich_help_panel=_PANEL)(up)
    app.command("down", rich_help_panel=_PANEL)(down)
    app.command("status", rich_help_panel=_PANEL)(status)
    app.command("demo", rich_help_panel=_PANEL)(demo)
    app.command("doctor", rich_help_panel=_PANEL)(doctor)


def _structured(form: str) -> str:
    """The form of structured output, `json` or `yaml`; empty for text."""
    output.check_choice("output", form, "text", "json", "yaml")
    return "" if form == "text" else form


def up(
    context: typer.Context,
    detach: Detach = False,
    state: State = "",
    cluster: Name = "",
    http_port: HttpPort = 0,
    https_port: HttpsPort = 0,
    api_port: ApiPort = 0,
    durability: Durability = "normal",
    bind_swap: Swap = True,
    allow_privileged: Privileged = False,
    workload_cert_ttl: CertTtl = "24h",
    telemetry: telemetry_options.Keep = True,
    prometheus: telemetry_options.Prometheus = "",
    tracing: telemetry_options.Tracing = "",
    spans: telemetry_options.Spans = "",
    forward_metrics: telemetry_options.ForwardMetrics = "",
    forward_spans: telemetry_options.ForwardSpans = "",
    restart: Restart = False,
    print_unit: PrintUnit = False,
    out: Form = "text",
) -> None:
    """Start a local cluster with the mesh installed."""
    if detach and (restart or print_unit):
        output.fail(
            "--restart and --print-unit are for a command in the foreground, which nothing else watches over; "
            "leave out --detach, or let systemd run it (--print-unit)",
            output.USAGE,
        )
    if print_unit:
        print(systemd_unit(state_of(state, cluster), _given(context)), end="")
        return
    options = _options(http_port, https_port, api_port, durability, workload_cert_ttl, bind_swap, allow_privileged)
    plugged = telemetry_options.Telemetry(telemetry, prometheus, tracing, spans, forward_metrics, forward_spans)
    options |= plugged.options()
    _run(state_of(state, cluster), detach, _structured(out), options, None, temporary=False, restart=restart)


def _given(context: typer.Context) -> list[str]:
    """The options of `up` that the user gave, but for those that a unit replaces."""
    out: list[str] = []
    for parameter in context.command.params:
        name, value = parameter.name or "", context.params.get(parameter.name or "")
        if name in ("state", "cluster", "detach", "restart", "print_unit", "out") or value == parameter.default:
            continue
        if isinstance(value, bool):
            out += [parameter.opts[0] if value else parameter.secondary_opts[0]]
        else:
            out += [parameter.opts[0], str(value)]
    return out


def systemd_unit(state: StateDir, arguments: list[str]) -> str:
    """A systemd user service that runs `sailctl up` with a state directory and further arguments."""
    command = [sys.executable, "-m", "sailcloth.cli", "up", "--state", str(state.root), *arguments]
    quoted = " ".join('"' + w.translate(_UNIT_ESCAPES) + '"' for w in command)
    return f"""\
# sailctl up --print-unit > ~/.config/systemd/user/sailcloth.service
# systemctl --user daemon-reload && systemctl --user enable --now sailcloth
[Unit]
Description=Sailcloth local cluster in {str(state.root).replace("%", "%%")}

[Service]
ExecStart={quoted}
Restart=on-failure
RestartSec=2
TimeoutStartSec=infinity
KillMode=mixed
Delegate=yes

[Install]
WantedBy=default.target
"""


def demo(
    name: Annotated[str, typer.Argument(help=f"Which demo: {', '.join(DEMOS)}.")] = "bookinfo",
    load: Annotated[
        float, typer.Option("--load", min=0, max=1000, help="Requests a second that a pod sends to the demo's page.")
    ] = 5,
    no_load: Annotated[bool, typer.Option("--no-load", help="Send no requests.")] = False,
    detach: Detach = False,
    state: State = "",
    cluster: Name = "",
    http_port: HttpPort = 0,
    https_port: HttpsPort = 0,
    api_port: ApiPort = 0,
    durability: Durability = "normal",
    bind_swap: Swap = True,
    allow_privileged: Privileged = False,
    workload_cert_ttl: CertTtl = "24h",
    telemetry: telemetry_options.Keep = True,
    prometheus: telemetry_options.Prometheus = "",
    tracing: telemetry_options.Tracing = "",
    spans: telemetry_options.Spans = "",
    forward_metrics: telemetry_options.ForwardMetrics = "",
    forward_spans: telemetry_options.ForwardSpans = "",
    kubeconfig: Annotated[
        str, typer.Option("--kubeconfig", help="Of a cluster with the mesh to put the sample into; so is --context.")
    ] = "",
    out: Form = "text",
) -> None:
    """Start a local cluster with a sample application in the mesh, or put it into a cluster that has the mesh (--kubeconfig, --context)."""
    if name not in DEMOS:
        output.fail(f"unknown demo {name!r}; there are: {', '.join(DEMOS)}", output.USAGE)
    if kubeconfig or os.environ.get(CONTEXT):
        _in_cluster(kubeconfig, DEMOS[name], 0 if no_load else load)
        return
    options = _options(http_port, https_port, api_port, durability, workload_cert_ttl, bind_swap, allow_privileged)
    plugged = telemetry_options.Telemetry(telemetry, prometheus, tracing, spans, forward_metrics, forward_spans)
    options |= plugged.options()
    temporary = not detach and not state and not cluster and not os.environ.get("SAILCLOTH_HOME")
    where = StateDir(Path(tempfile.mkdtemp(prefix="sailcloth-"))) if temporary else state_of(state, cluster)
    _run(where, detach, _structured(out), options, DEMOS[name], temporary, load=0 if no_load else load)


def _in_cluster(kubeconfig: str, sample: Demo, load: float) -> None:
    from sailcloth.install.readiness import NotReady

    from . import demo_in_cluster
    from .install import Progress

    progress = Progress()
    try:
        url = dumps.run(demo_in_cluster.install(kubeconfig, sample, load, 300.0, progress))
    except NotReady as error:
        output.fail(str(error))
    finally:
        progress.end()
    print(f"  {sample.title:<13} {url}\n  try           {sample.next}")


def _options(
    http_port: int, https_port: int, api_port: int, durability: str, ttl: str, swap: bool, privileged: bool
) -> Object:
    from sailcloth.api.meta import duration_ms

    if durability not in ("normal", "full"):
        output.fail(f"--durability {durability!r}: use normal or full", output.USAGE)
    try:
        seconds = int((duration_ms(ttl) or 0) / 1000)
    except ValueError as error:
        output.fail(f"--workload-cert-ttl: {error}", output.USAGE)
    if privileged:
        whose = "root" if os.geteuid() == 0 else "you"
        print(
            f"Warning: privileged pods and hostPath volumes may do to this machine what {whose} may.", file=sys.stderr
        )
    return {
        "http_port": http_port,
        "https_port": https_port,
        "bind_swap": swap,
        "allow_privileged": privileged,
        "api_port": api_port,
        "durability": durability,
        "workload_cert_ttl_s": max(1, seconds),
    }


def _run(
    state: StateDir,
    detach: bool,
    form: str,
    options: Object,
    sample: Demo | None,
    temporary: bool,
    restart: bool = False,
    load: float = 0.0,
) -> None:
    import asyncio

    from sailcloth.kube import ApiError

    from .readiness import Progress, install

    cluster = LocalCluster(state, detach)
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))

    def start() -> Object:
        record = cluster.start(options)
        return asyncio.run(install(cluster, record, Progress(quiet=bool(form)), sample, options["telemetry"], load))

    started = False
    try:
        while True:
            try:
                result = start()
            except (StateError, OSError, TimeoutError, ApiError) as error:
                output.fail(_why(cluster, error))
            except BaseException:
                cluster.stop()
                raise
            started = True
            if form == "json":
                print(json.dumps(result), flush=True)  # one line, for those who read it from a pipe while it runs
            elif form:
                output.structured(result, form)
                sys.stdout.flush()
            else:
                _print_next_steps(result, sample, state if detach else None)
            if detach or cluster.wait():
                break
            if not restart:
                output.fail(f"the cluster has ended unexpectedly; logs are in {state.logs}")
            print("the cluster has ended unexpectedly; starting it again", file=sys.stderr, flush=True)
            options |= _ports(result)
    except KeyboardInterrupt:
        print("", file=sys.stderr)
        if not started:
            raise typer.Exit(130) from None
    finally:
        if not detach:
            cluster.stop()
        if temporary:
            shutil.rmtree(state.root, ignore_errors=True)


def _why(cluster: LocalCluster, error: Exception) -> str:
    """Why a cluster did not start. It is stopped, whatever is left of it."""
    if not isinstance(error, StateError):
        try:
            cluster.check()
        except StateError as reason:  # the launcher has ended, and with it the connections that failed
            error = reason
    cluster.stop()
    if isinstance(error, StateError):
        return str(error)
    return f"{getattr(error, 'message', '') or error}; logs are in {cluster.state.logs}"


def _ports(result: Object) -> Object:
    """The options by which a cluster gets the ports that another one had."""
    names = {"gateway": "http_port", "gateway_https": "https_port", "api": "api_port"}
    return {option: int(result["urls"][name].rpartition(":")[2]) for name, option in names.items()}


def _print_next_steps(result: Object, sample: Demo | None, state: StateDir | None) -> None:
    """Print URLs and commands. `state` is that of a cluster in the background."""
    urls = result["urls"]
    if sample:
        print(
            f"  {sample.title:<13} {urls[sample.url]}      (first request answered after {result['first_200_s']:.1f} s)"
        )
    else:
        print(f"  Gateway       {urls['gateway']}")
    if urls["console"]:
        print(f"  Console       {urls['console']}")
    print(f"  kubectl       export KUBECONFIG={result['kubeconfig']}")
    if sample:
        print(f"  try           {sample.next}")
    print(f"  stop          {_stop_command(state) if state else 'Ctrl-C'}", flush=True)


def _stop_command(state: StateDir) -> str:
    default = StateDir.default().root
    if state.root.parent == default / "clusters":
        return f"sailctl down --name {state.root.name}"
    return "sailctl down" if state.root == default else f"sailctl down --state {shlex.quote(str(state.root))}"


def down(state: State = "", cluster: Name = "") -> None:
    """Stop the local cluster; the next `up` has the same objects."""
    where = state_of(state, cluster)
    try:
        stopped = stop(where)
    except StateError as error:
        output.fail(str(error))
    if stopped:
        print(f"stopped; the state is kept in {where.root}")
    else:
        print(f"no cluster is running in {where.root}")


def status(state: State = "", cluster: Name = "", out: Form = "text") -> None:
    """Show whether a local cluster runs, and where."""
    record = state_of(state, cluster).running()
    ending = _ending(str(record["kubeconfig"])) if record else []
    if form := _structured(out):
        output.structured({"running": bool(record), **record, "warnings": ending}, form)
    elif record:
        print(
            f"running (process {record['pid']})\n  API server    {record['api']}\n  gateway       {record['gateway']}"
        )
        print(f"  kubectl       export KUBECONFIG={record['kubeconfig']}")
        for text in ending:
            output.warn(text)
    else:
        print(f"no cluster is running in {state_of(state, cluster).root}; start one with `sailctl up`")
    if not record:
        raise typer.Exit(1)


def _ending(kubeconfig: str) -> list[str]:
    """The certificates of CAs that end soon; none if the control plane does not say within two seconds."""
    import asyncio

    import aiohttp

    from sailcloth.kube import ApiError

    from .cluster import debug

    async def ask() -> list[str]:
        async with asyncio.timeout(_ASK_S):
            return [str(text) for text in (await debug(kubeconfig, "/debug/caz")).get("ending") or ()]

    try:
        return asyncio.run(ask())
    except (ApiError, OSError, ValueError, aiohttp.ClientError):
        return []


def doctor(out: Form = "text") -> None:
    """Check whether this machine can run a local cluster, and print the remedies."""
    from sailcloth.local.doctor import report

    result = report()
    if form := _structured(out):
        output.structured([{"check": c, "ok": ok, "detail": d} for c, ok, d in result], form)
    else:
        for check, ok, detail in result:
            print(f"{'ok  ' if ok else 'FAIL'} {check}: {detail}")
    if not all(ok for _, ok, _ in result):
        raise typer.Exit(1)
