"""`sailctl up`, `down`, `status`, `demo`, `doctor`, `version`, `dashboard`: the life of a local cluster."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

import sailcloth_samples
from sailcloth.local.state import StateDir, StateError

from . import output
from .demos import DEMOS, Demo

Object = dict[str, Any]
State = Annotated[str, typer.Option("--state", help="State directory (default $SAILCLOTH_HOME or ~/.sailcloth).")]
Name = Annotated[str, typer.Option("--name", help="Name of a cluster of its own beside the default one.")]
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
Form = Annotated[str, typer.Option("-o", "--output", help="text or json")]
_PANEL = "Local cluster"
_READY_S = 60.0
_PATIENCE_S = 10.0  # for Deployments of the user's that a kept state brings back, and that may never get ready


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("up", rich_help_panel=_PANEL)(up)
    app.command("down", rich_help_panel=_PANEL)(down)
    app.command("status", rich_help_panel=_PANEL)(status)
    app.command("demo", rich_help_panel=_PANEL)(demo)
    app.command("doctor", rich_help_panel=_PANEL)(doctor)
    app.command("version")(version)


class _Steps:
    """Progress: one line a step with its time; only on the error output, so that answers stay clean."""

    def __init__(self, quiet: bool) -> None:
        self._quiet, self.begin = quiet, time.monotonic()
        self._color = sys.stderr.isatty() and not os.environ.get("NO_COLOR")

    def done(self, text: str) -> None:
        if not self._quiet:
            mark = "\x1b[32m✓\x1b[0m" if self._color else "✓"
            print(f"  {mark} {text} ({time.monotonic() - self.begin:.1f} s)", file=sys.stderr, flush=True)


class _Cluster:
    """A launcher process and what it holds."""

    def __init__(self, state: StateDir, detach: bool) -> None:
        self.state, self._detach = state, detach
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe = -1

    def start(self, options: Object) -> Object:
        """Start the launcher; returns its record. Raises StateError with the reason if it cannot."""
        self.state.make()
        holder = self.state.holder()
        if holder:
            raise StateError(
                f"a cluster is already running in {self.state.root} (process {holder}); `sailctl down` stops it"
            )
        config = {"state": str(self.state.root), **options}
        fds: tuple[int, ...] = ()
        if not self._detach:
            read, self._pipe = os.pipe()
            config["parent_fd"], fds = read, (read,)
        path = self.state.run / "launcher.json"
        path.write_text(json.dumps(config))
        log = self.state.logs / "launcher.log"
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sailcloth.local.launcher", "--config", str(path)],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
                pass_fds=fds,
            )
        for fd in fds:
            os.close(fd)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            record = self.state.running()
            if record.get("pid") == self._process.pid:
                return record
            if self._process.poll() is not None:
                text = log.read_text(errors="replace").strip().removeprefix("Error: ")
                raise StateError(text or f"the launcher ended with {self._process.returncode}; see {log}")
            time.sleep(0.005)
        raise StateError(f"the launcher does not come up; see {log}")

    def stop(self) -> None:
        stop(self.state)
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(5)

    def check(self) -> None:
        """Raises StateError with the reason if the launcher has ended."""
        if self._process is None or self._process.poll() is None:
            return
        with contextlib.suppress(OSError):
            lines = (self.state.logs / "apiserver.log").read_text(errors="replace").splitlines()
            if lines and lines[-1].startswith("Error: "):
                raise StateError(lines[-1].removeprefix("Error: "))
        raise StateError(f"the cluster ended with {self._process.returncode}; logs are in {self.state.logs}")

    def wait(self) -> int:
        """Until the launcher ends."""
        assert self._process is not None
        return self._process.wait()


def stop(state: StateDir) -> bool:
    """Stop the cluster of a state directory. Returns whether one ran."""
    pid = state.holder()
    if pid <= 0:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + 10
    while state.holder() == pid and time.monotonic() < end:
        time.sleep(0.01)
    if state.holder() == pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return True


def state_of(given: str, name: str = "") -> StateDir:
    """The state directory that is meant: a given one, that of a named cluster, or the default one."""
    if given and name:
        output.fail("give --state or --name, not both", output.USAGE)
    if name:
        if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,18}[a-z0-9])?", name):
            output.fail(f"--name {name!r}: at most 20 lower-case letters, digits and dashes", output.USAGE)
        return StateDir(StateDir.default().root / "clusters" / name)
    return StateDir(Path(given).absolute()) if given else StateDir.default()


def _form(form: str) -> bool:
    if form not in ("text", "json", "yaml"):
        output.fail(f"unknown output {form!r}; use text or json", output.USAGE)
    return form != "text"


def up(
    detach: Detach = False,
    state: State = "",
    cluster: Name = "",
    http_port: HttpPort = 0,
    https_port: HttpsPort = 0,
    api_port: ApiPort = 0,
    durability: Durability = "normal",
    bind_swap: Swap = True,
    workload_cert_ttl: CertTtl = "24h",
    out: Form = "text",
) -> None:
    """Start a local cluster with the mesh installed."""
    options = _options(http_port, https_port, api_port, durability, workload_cert_ttl, bind_swap)
    _run(state_of(state, cluster), detach, _form(out), options, None, temporary=False)


def demo(
    name: Annotated[str, typer.Argument(help=f"Which demo: {', '.join(DEMOS)}.")] = "bookinfo",
    detach: Detach = False,
    state: State = "",
    cluster: Name = "",
    http_port: HttpPort = 0,
    https_port: HttpsPort = 0,
    api_port: ApiPort = 0,
    durability: Durability = "normal",
    bind_swap: Swap = True,
    workload_cert_ttl: CertTtl = "24h",
    out: Form = "text",
) -> None:
    """Start a local cluster with a sample application in the mesh."""
    if name not in DEMOS:
        output.fail(f"unknown demo {name!r}; there are: {', '.join(DEMOS)}", output.USAGE)
    options = _options(http_port, https_port, api_port, durability, workload_cert_ttl, bind_swap)
    temporary = not detach and not state and not cluster and not os.environ.get("SAILCLOTH_HOME")
    where = StateDir(Path(tempfile.mkdtemp(prefix="sailcloth-"))) if temporary else state_of(state, cluster)
    _run(where, detach, _form(out), options, DEMOS[name], temporary)


def _options(http_port: int, https_port: int, api_port: int, durability: str, ttl: str, swap: bool) -> Object:
    from sailcloth.api.meta import duration_ms

    if durability not in ("normal", "full"):
        output.fail(f"--durability {durability!r}: use normal or full", output.USAGE)
    try:
        seconds = int((duration_ms(ttl) or 0) / 1000)
    except ValueError as error:
        output.fail(f"--workload-cert-ttl: {error}", output.USAGE)
    return {
        "http_port": http_port,
        "https_port": https_port,
        "bind_swap": swap,
        "api_port": api_port,
        "durability": durability,
        "workload_cert_ttl_s": max(1, seconds),
    }


def _run(state: StateDir, detach: bool, quiet: bool, options: Object, sample: Demo | None, temporary: bool) -> None:
    from sailcloth.kube import ApiError

    steps = _Steps(quiet)
    cluster = _Cluster(state, detach)
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    try:
        try:
            record = cluster.start(options)
            found = asyncio.run(_ready(cluster, record, steps, sample))
        except StateError as error:
            output.fail(str(error))
        except (OSError, TimeoutError, ApiError) as error:
            cluster.stop()
            output.fail(f"{getattr(error, 'message', '') or error}; logs are in {state.logs}")
        except BaseException:
            cluster.stop()
            raise
        if quiet:
            print(json.dumps(found), flush=True)
        else:
            _tell(found, sample, state if detach else None)
        if not detach:
            cluster.wait()
    except KeyboardInterrupt:
        print("", file=sys.stderr)
    finally:
        if not detach:
            cluster.stop()
        if temporary:
            shutil.rmtree(state.root, ignore_errors=True)


def _tell(found: Object, sample: Demo | None, state: StateDir | None) -> None:
    """What the user can do now. `state` is that of a cluster in the background."""
    urls = found["urls"]
    if sample:
        print(
            f"  {sample.title:<13} {urls[sample.url]}      (first request answered after {found['first_200_s']:.1f} s)"
        )
    else:
        print(f"  Gateway       {urls['gateway']}")
    print(f"  kubectl       export KUBECONFIG={found['kubeconfig']}")
    if sample:
        print(f"  try           {sample.next}")
    print(f"  stop          {_stop_command(state) if state else 'Ctrl-C'}", flush=True)


def _stop_command(state: StateDir) -> str:
    default = StateDir.default().root
    if state.root.parent == default / "clusters":
        return f"sailctl down --name {state.root.name}"
    return "sailctl down" if state.root == default else f"sailctl down --state {shlex.quote(str(state.root))}"


async def _ready(cluster: _Cluster, record: Object, steps: _Steps, sample: Demo | None) -> Object:
    from sailcloth.controlplane import bootstrap, manifests
    from sailcloth.kube import ApiError, Client

    from .cluster import Applier, as_kubectl

    def deadline(seconds: float) -> Iterator[None]:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            yield
        raise TimeoutError(f"not ready within {seconds:.0f} s")

    waiting = deadline(30)
    while True:
        with contextlib.suppress(OSError, ValueError):
            if record["api"] in cluster.state.kubeconfig.read_text():
                break
        cluster.check()
        next(waiting)
        await asyncio.sleep(0.005)
    async with Client.from_kubeconfig(str(cluster.state.kubeconfig)) as api:
        waiting = deadline(30)
        while True:
            try:
                await api.call("GET", "/readyz")
                break
            except (OSError, ApiError):
                cluster.check()
                next(waiting)
                await asyncio.sleep(0.005)
        steps.done("cluster up")
        applier = Applier(api)
        mesh = [o for o in bootstrap.objects({}) if o["kind"] != "Deployment"]
        deployments = [o for o in bootstrap.objects({}) if o["kind"] == "Deployment"]
        first = [o for o in mesh if o["kind"] == "CustomResourceDefinition"]
        await asyncio.gather(*(applier.apply(o) for o in first))
        for obj in (o for o in mesh if o["kind"] != "CustomResourceDefinition"):
            await applier.apply(obj)
        application: list[Object] = []
        if sample:
            await applier.apply(
                {
                    "apiVersion": "v1",
                    "kind": "Namespace",
                    "metadata": {"name": sample.namespace, "labels": {"istio-injection": "enabled"}},
                }
            )
            for name in sample.files:
                application += map(as_kubectl, manifests.documents((sailcloth_samples.ROOT / name).read_text()))
        later = [o for o in application if o["kind"] == "Deployment"]
        for obj in (o for o in application if o["kind"] != "Deployment"):
            await applier.apply(obj)
        from sailcloth.kube.resources import MUTATING_WEBHOOKS

        waiting = deadline(30)
        while True:  # pods that come before the injector would have no sidecar
            try:
                await api.get(MUTATING_WEBHOOKS, "istio-sidecar-injector")
                break
            except ApiError:
                next(waiting)
                await asyncio.sleep(0.01)
        steps.done("control plane up")
        await asyncio.gather(*(applier.apply(o) for o in [*deployments, *later]))
        started = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record["started"]))
        first_200 = asyncio.ensure_future(_first_200(record["gateway"], sample.page, steps)) if sample else None
        needed = {
            (str(o["metadata"].get("namespace") or "default"), str(o["metadata"]["name"]))
            for o in [*deployments, *later]
        }
        count, late = await _pods_ready(api, needed, started)
        steps.done(
            f"{count} workloads injected and ready" if not late else f"the mesh is ready, but not {', '.join(late)}"
        )
        ready_s = time.monotonic() - steps.begin
        took = await first_200 if first_200 is not None else None
    return {
        "urls": {
            "productpage": None,
            **({sample.url: record["gateway"] + sample.page} if sample else {}),
            "gateway": record["gateway"],
            "gateway_https": record["gateway_https"],
            "api": record["api"],
        },
        "kubeconfig": record["kubeconfig"],
        "first_200_s": round(took, 3) if took is not None else None,
        "ready_s": round(ready_s, 3),
    }


async def _first_200(gateway: str, page: str, steps: _Steps) -> float:
    """Seconds until a page is answered with 200 through gateway and sidecars."""
    host, _, port = gateway.removeprefix("http://").partition(":")
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
            reader, writer = await asyncio.wait_for(asyncio.open_connection(host, int(port)), 2)
            try:
                writer.write(f"GET {page} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
                line = await asyncio.wait_for(reader.readline(), 15)
                if b" 200 " in line:
                    return time.monotonic() - steps.begin
            finally:
                writer.close()
        await asyncio.sleep(0.02)
    raise TimeoutError(f"{page} does not answer with 200 within 60 s")


def _begun(pod: Object) -> str:
    """When the last of a pod's containers started (RFC 3339, UTC); empty if one does not run."""
    states = [s.get("state", {}).get("running", {}) for s in pod.get("status", {}).get("containerStatuses") or [{}]]
    return max(s.get("startedAt", "")[:19] for s in states) if all(states) else ""


def _unready(found: list[Object], pods: list[Object], since: str) -> list[Object]:
    """Deployments that have not all their replicas, started since then: a kept state tells of the cluster before, at first."""

    def ready(d: Object) -> bool:
        wanted, status = int(d["spec"].get("replicas", 1)), d.get("status", {})
        if min(status.get("readyReplicas", 0), status.get("updatedReplicas", 0)) < wanted:
            return False
        labels = (d["spec"]["selector"].get("matchLabels") or {}).items()
        own = [p for p in pods if p["metadata"]["namespace"] == d["metadata"]["namespace"]]
        return all(_begun(p) >= since for p in own if labels <= (p["metadata"].get("labels") or {}).items())

    return [d for d in found if not ready(d)]


async def _pods_ready(api: Any, needed: set[tuple[str, str]], since: str) -> tuple[int, list[str]]:
    """Wait for the Deployments that are needed, and a while for the user's own, which may never get ready. Returns how many
    pods there are, and the Deployments that have not all theirs. Raises TimeoutError naming those that are needed."""
    from sailcloth.kube.resources import DEPLOYMENTS, PODS

    end, patience = time.monotonic() + _READY_S, 0.0
    while True:
        found, _ = await api.list(DEPLOYMENTS)
        pods, _ = await api.list(PODS)
        late = [(d["metadata"]["namespace"], d["metadata"]["name"]) for d in _unready(found, pods, since)]
        names = [f"{namespace}/{name}" for namespace, name in late]
        missing = [f"{namespace}/{name}" for namespace, name in late if (namespace, name) in needed]
        now = time.monotonic()
        patience = 0.0 if missing else patience or now + _PATIENCE_S
        if not names or (patience and now > patience):
            return sum(int(d["spec"].get("replicas", 1)) for d in found), names
        if now > end and missing:
            raise TimeoutError(f"not ready within {_READY_S:.0f} s: {', '.join(missing)}")
        await asyncio.sleep(0.03)


def down(state: State = "", cluster: Name = "") -> None:
    """Stop the local cluster; its objects are kept for the next `up`."""
    where = state_of(state, cluster)
    if stop(where):
        print(f"stopped; the state is kept in {where.root}")
    else:
        print(f"no cluster is running in {where.root}")


def status(state: State = "", cluster: Name = "", out: Form = "text") -> None:
    """Show whether a local cluster runs, and where."""
    record = state_of(state, cluster).running()
    if _form(out):
        output.structured({"running": bool(record), **record}, "json")
    elif record:
        print(
            f"running (process {record['pid']})\n  API server    {record['api']}\n  gateway       {record['gateway']}"
        )
        print(f"  kubectl       export KUBECONFIG={record['kubeconfig']}")
    else:
        print(f"no cluster is running in {state_of(state, cluster).root}; start one with `sailctl up`")
    if not record:
        raise typer.Exit(1)


def doctor(out: Form = "text") -> None:
    """Find out whether this machine can run a local cluster, and how to make it."""
    from sailcloth.local.doctor import report

    found = report()
    if _form(out):
        output.structured([{"check": c, "ok": ok, "detail": d} for c, ok, d in found], "json")
    else:
        for check, ok, detail in found:
            print(f"{'ok  ' if ok else 'FAIL'} {check}: {detail}")
    if not all(ok for _, ok, _ in found):
        raise typer.Exit(1)


def version(out: Form = "text") -> None:
    """Show the version of this program."""
    from sailcloth import __version__

    if _form(out):
        output.structured({"clientVersion": {"version": __version__}}, "json")
    else:
        print(f"client version: {__version__}")
