"""`sailctl bug-report`: one archive of what a maintainer needs, without secrets.

What is in it passes `redaction`. What cannot be read is noted in the archive and does not end the command. Changes nothing.
"""

from __future__ import annotations

import fnmatch
import json
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import dumps, output, redaction
from .cluster_options import Kubeconfig

if TYPE_CHECKING:
    from sailcloth.kube import Client, Resource

Object = dict[str, Any]
_PAGES = (
    "syncz",
    "adsz",
    "registryz",
    "endpointz",
    "configz",
    "clusterz",
    "mesh",
    "push_status",
    "changez?limit=256",
    "caz",
)
_ENVOY = {
    "config_dump.json": "/config_dump?include_eds",
    "clusters.json": "/clusters?format=json",
    "stats.txt": "/stats",
    "certs.json": "/certs",
    "server_info.json": "/server_info",
    "logging.txt": "/logging",
}
_CORE = {"services", "endpoints", "pods", "events", "namespaces", "nodes", "serviceaccounts", "secrets"}
_APPS = {"deployments", "replicasets", "statefulsets", "daemonsets"}
_GROUPS = (".istio.io", "gateway.networking.k8s.io", "sailcloth.io")
_OTHERS = {
    "mutatingwebhookconfigurations",
    "validatingwebhookconfigurations",
    "endpointslices",
    "ingresses",
    "customresourcedefinitions",
}
_AT_ONCE = 8
_LONGEST_LOG = 4 << 20  # bytes of the end of a local process's log
_PROXY = "istio-proxy"
_SYSTEM = ("kube-system", "kube-public", "kube-node-lease", "local-path-storage")


@dataclass(frozen=True)
class Wanted:
    """What the archive is about: patterns of namespaces, and the time of log lines in RFC 3339; empty: no limit."""

    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = _SYSTEM
    start: str = ""
    end: str = ""

    def has(self, namespace: str) -> bool:
        """Whether a namespace is within it."""
        return any(fnmatch.fnmatch(namespace, p) for p in self.include) and not any(
            fnmatch.fnmatch(namespace, p) for p in self.exclude
        )

    def lines(self, log: str) -> str:
        """The lines of a log that are within the time. Each begins with its time in UTC, or in this machine's zone as Python's
        loggers write it; a line without one belongs to the line before."""
        if not self.start and not self.end:
            return log
        kept, within_time = [], False
        for line in log.splitlines(keepends=True):
            if at := _line_time(line):
                within_time = (not self.start or at >= self.start[:19]) and (not self.end or at <= self.end[:19])
            kept += [line] if within_time else []
        return "".join(kept)


def _line_time(line: str) -> str:
    """The time at the begin of a log line, as 2026-11-30T10:00:00 in UTC; empty if it begins otherwise."""
    import datetime as dt

    try:
        at = dt.datetime.fromisoformat(line[:19])
    except ValueError:
        return ""
    return line[:19] if line[10:11] == "T" else at.astimezone(dt.UTC).isoformat()[:19]


@dataclass
class Archive:
    """Files by name. Everything passes redaction here, so that nothing can be added past it."""

    files: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def text(self, name: str, content: str) -> None:
        self.files[name] = redaction.text(content)

    def value(self, name: str, content: Any) -> None:
        self.files[name] = json.dumps(redaction.value(content), indent=1) + "\n"

    def objects(self, name: str, items: list[Object]) -> None:
        import yaml

        dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
        self.files[name] = yaml.dump_all([redaction.obj(i) for i in items], sort_keys=False, Dumper=dumper)

    def write(self, path: Path) -> None:
        """Write a tar.gz that only this user may read. Raises OSError."""
        import io
        import tarfile

        now = int(time.time())
        new = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(new, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
            for name, content in sorted({**self.files, "problems.txt": "\n".join(self.problems) + "\n"}.items()):
                body = content.encode()
                info = tarfile.TarInfo(f"bug-report/{name}")
                info.size, info.mtime, info.mode = len(body), now, 0o600
                archive.addfile(info, io.BytesIO(body))


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("bug-report", rich_help_panel="Control plane")(bug_report)


def bug_report(
    include: Annotated[
        list[str] | None, typer.Option("--include", help="Namespaces, with * and ?; all without.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", help="Namespaces to leave out; those of Kubernetes without.")
    ] = None,
    start: Annotated[str, typer.Option("--start-time", help="Log lines since then, as 2026-11-30T10:00:00Z.")] = "",
    end: Annotated[str, typer.Option("--end-time", help="Log lines until then.")] = "",
    duration: Annotated[str, typer.Option("--duration", help="Log lines of the last while, such as 30m.")] = "",
    folder: Annotated[Path, typer.Option("--dir", "--output-dir", help="Where to write the archive.")] = Path(),
    timeout: Annotated[str, typer.Option("--timeout", help="How long to collect.")] = "30m",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be in the archive.")] = False,
    kubeconfig: Kubeconfig = "",
) -> None:
    """Collect versions, statuses, objects, logs and the proxies' configurations into one archive, without secrets."""
    for pattern in (p for text in (*(include or ()), *(exclude or ())) for p in text.split(",") if "/" in p):
        output.fail(f"{pattern!r}: --include and --exclude take namespaces only, such as shop or team-*", output.USAGE)
    now = time.time()
    seconds = _seconds("--duration", duration)
    if duration and start:
        output.fail("give --start-time or --duration, not both", output.USAGE)
    start = _time("--start-time", start) if not duration else _utc(now - seconds)
    wanted = Wanted(
        tuple(p for text in include or ["*"] for p in text.split(",")),
        tuple(p for text in exclude for p in text.split(",")) if exclude else _SYSTEM,
        start,
        _time("--end-time", end),
    )
    archive = dumps.run(collect(wanted, kubeconfig, _seconds("--timeout", timeout)))
    if dry_run:
        print("\n".join(sorted(archive.files)))
        return
    path = folder / f"bug-report-{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}.tar.gz"
    try:
        archive.write(path)
    except OSError as error:
        output.fail(f"{path}: {error.strerror}", output.DATA)
    for problem in archive.problems:
        output.warn(problem)
    print(f"{len(archive.files)} files in {path}; look through it before you send it")


def _seconds(option: str, text: str) -> float:
    from sailcloth.api.meta import duration_ms

    try:
        return (duration_ms(text) or 0.0) / 1000 if text else 0.0
    except ValueError as error:
        output.fail(f"{option}: {error}", output.USAGE)


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _time(option: str, text: str) -> str:
    """A time in UTC, as log lines have it."""
    import datetime as dt

    if not text:
        return ""
    try:
        at = dt.datetime.fromisoformat(text)
    except ValueError:
        output.fail(f"{option} {text!r} is no time; write 2026-11-30T10:00:00Z", output.USAGE)
    return _utc((at if at.tzinfo else at.replace(tzinfo=dt.UTC)).timestamp())


# -- collecting ---------------------------------------------------------------------------------


async def collect(wanted: Wanted, kubeconfig: str, seconds: float) -> Archive:
    """Everything that the archive is about. Raises OSError if there is neither a cluster that answers nor a log of a local one."""
    from sailcloth import __version__

    from .cluster import client

    archive = Archive()
    if wanted.include == ("*",):
        _local_logs(archive, wanted, kubeconfig)
    async with client(kubeconfig) as api:
        archive.value("versions/client.json", {"version": __version__, "server": api.endpoint.server})
        try:
            await _from_cluster(api, archive, wanted, seconds)
        except OSError as error:
            if len(archive.files) == 1:
                raise
            archive.problems.append(f"the cluster does not answer, so that only its processes' logs are here: {error}")
    return archive


def _local_logs(archive: Archive, wanted: Wanted, kubeconfig: str) -> None:
    """The logs of a local cluster's own processes, also of one that has ended."""
    from sailcloth.local.state import StateDir

    given = kubeconfig or os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    state = StateDir(Path(given).parent) if given else StateDir.default()
    if not state.kubeconfig.exists() or not state.database.exists():
        return
    for file in sorted(state.logs.glob("*.log")):
        with file.open("rb") as log:
            log.seek(max(file.stat().st_size - _LONGEST_LOG, 0))
            archive.text(f"local/{file.name}", wanted.lines(log.read().decode(errors="replace")))


async def _from_cluster(api: Client, archive: Archive, wanted: Wanted, seconds: float) -> None:
    """Everything that the API server gives. Raises OSError if it cannot be reached."""
    import asyncio

    from sailcloth.kube.resources import PODS

    pods, _ = await api.list(PODS)
    gate = asyncio.Semaphore(_AT_ONCE)

    async def guarded(what: str, work: Callable[[], Awaitable[None]]) -> None:
        from sailcloth.kube import ApiError

        async with gate:
            try:
                await work()
            except ApiError as error:
                archive.problems.append(f"{what}: {error.message or error.reason}")
            except (OSError, ValueError) as error:
                archive.problems.append(f"{what}: {error}")

    jobs = [(f"pages/{p.partition('?')[0]}.json", _page(api, archive, wanted, p)) for p in _PAGES]
    jobs += [("versions of the servers", _versions(api, archive))]
    jobs += [("metrics/control-plane.txt", _metrics(api, archive))]
    jobs += [("analysis", _analysis(api, archive, wanted))]
    for pod in (p for p in pods if wanted.has(p["metadata"]["namespace"])):
        jobs += list(_of_pod(api, archive, wanted, pod))
    for resource in await _resources(api):
        jobs.append((f"objects of {resource.plural}", _objects(api, archive, wanted, resource)))
    try:
        await asyncio.wait_for(asyncio.gather(*(guarded(*job) for job in jobs)), seconds)
    except TimeoutError:
        archive.problems.append(f"not everything was collected within {seconds:g} s")


Job = tuple[str, Callable[[], Awaitable[None]]]


def _page(api: Client, archive: Archive, wanted: Wanted, page: str) -> Callable[[], Awaitable[None]]:
    async def work() -> None:
        from .cluster import control_plane

        content = json.loads(await control_plane(api, f"/debug/{page}"))
        archive.value(f"pages/{page.partition('?')[0]}.json", within(content, wanted))

    return work


def within(content: Any, wanted: Wanted) -> Any:
    """A debug page with what is of the namespaces only: rows of lists, and of the lists and mappings in it."""
    if isinstance(content, list):
        return [within(row, wanted) for row in content if (place := _place(row)) is None or wanted.has(place)]
    if isinstance(content, dict):
        if any(isinstance(v, dict) and "Shards" in v for v in content.values()):  # endpoints, by namespace
            return {k: v for k, v in content.items() if wanted.has(k)}
        return {k: within(v, wanted) for k, v in content.items()}
    return content


def _place(row: Any) -> str | None:
    """The namespace that a row of a debug page is of; None if it is of none."""
    if not isinstance(row, dict):
        return None
    proxy = str(row.get("proxy") or "")
    metadata = row.get("metadata") or {}
    found = (
        metadata.get("namespace"),
        metadata.get("NAMESPACE"),
        (row.get("Attributes") or {}).get("Namespace"),
        row.get("namespace"),
        proxy.rpartition(".")[2],
    )
    return next((str(f) for f in found if f), None)


def _versions(api: Client, archive: Archive) -> Callable[[], Awaitable[None]]:
    async def work() -> None:
        from .cluster import control_plane

        archive.value("versions/kubernetes.json", json.loads(await api.call("GET", "/version")))
        archive.value("versions/control-plane.json", json.loads(await control_plane(api, "/version?format=json")))

    return work


def _metrics(api: Client, archive: Archive) -> Callable[[], Awaitable[None]]:
    async def work() -> None:
        from .cluster import control_plane

        archive.text("metrics/control-plane.txt", (await control_plane(api, "/metrics")).decode())

    return work


def _analysis(api: Client, archive: Archive, wanted: Wanted) -> Callable[[], Awaitable[None]]:
    async def work() -> None:
        from sailcloth.analysis import analyzers

        from . import analysis_input
        from .cluster import root_namespace

        documents, _ = await analysis_input.from_cluster(api, root_namespace())
        found = analyzers.run(analyzers.ObjectSet(documents, root=root_namespace()))
        shown = [f for f in found if not f.resource.namespace or wanted.has(f.resource.namespace)]
        archive.text("analysis.txt", "".join(f"{f.severity} [{f.code}] ({f.resource}) {f.text}\n" for f in shown))

    return work


def _of_pod(api: Client, archive: Archive, wanted: Wanted, pod: Object) -> list[Job]:
    """The log of a pod's proxy, or of the control plane, and the pages of its Envoy."""
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    containers = [c["name"] for f in ("initContainers", "containers") for c in pod["spec"].get(f) or ()]
    jobs: list[Job] = []
    plane = (pod["metadata"].get("labels") or {}).get("app") == "istiod"
    for container in containers if plane else [c for c in containers if c == _PROXY]:
        jobs.append((f"log of {name}.{namespace}", _log(api, archive, wanted, name, namespace, container)))
    if _PROXY in containers:
        for file, path in _ENVOY.items():
            where = f"proxies/{namespace}/{name}/{file}"
            jobs.append((f"{path} of {name}.{namespace}", _admin(api, archive, name, namespace, path, where)))
    return jobs


def _log(
    api: Client, archive: Archive, wanted: Wanted, name: str, namespace: str, container: str
) -> Callable[[], Awaitable[None]]:
    async def work() -> None:
        since = {"sinceTime": wanted.start} if wanted.start else {}
        path = f"/api/v1/namespaces/{namespace}/pods/{name}/log"
        body = await api.call("GET", path, container=container, timestamps="true", **since)
        archive.text(f"logs/{namespace}/{name}/{container}.log", wanted.lines(body.decode(errors="replace")))

    return work


def _admin(
    api: Client, archive: Archive, name: str, namespace: str, path: str, where: str
) -> Callable[[], Awaitable[None]]:
    async def work() -> None:
        from sailcloth.kube.envoy_admin import page

        method = "POST" if path == "/logging" else "GET"
        body = await page(api, name, namespace, path, method)
        if where.endswith(".json"):
            archive.value(where, json.loads(body))
        else:
            archive.text(where, body)

    return work


async def _resources(api: Client) -> list[Resource]:
    """The kinds that a report has: those of the mesh, of the Gateway API, and what the mesh reads of Kubernetes."""
    from sailcloth.kube import Resource

    groups = json.loads(await api.call("GET", "/apis"))["groups"]
    versions = [("", "v1"), *((g["name"], g["preferredVersion"]["version"]) for g in groups)]
    found = []
    for group, version in versions:
        data = json.loads(await api.call("GET", f"/apis/{group}/{version}" if group else f"/api/{version}"))
        for r in data["resources"]:
            of_the_mesh = group.endswith(_GROUPS)
            known = r["name"] in (_CORE if not group else _APPS if group == "apps" else _OTHERS)
            if "/" not in r["name"] and "list" in r["verbs"] and (of_the_mesh or known):
                found.append(Resource(group, version, r["name"], r["kind"], r["namespaced"]))
    return found


def _objects(api: Client, archive: Archive, wanted: Wanted, resource: Resource) -> Callable[[], Awaitable[None]]:
    async def work() -> None:
        items, _ = await api.list(resource)
        by_namespace: dict[str, list[Object]] = {}
        for item in items:
            namespace = item["metadata"].get("namespace", "")
            if not namespace or wanted.has(namespace):
                body = {"apiVersion": resource.api_version, "kind": resource.kind, **item}
                by_namespace.setdefault(namespace or "_cluster", []).append(body)
        name = f"{resource.plural}.{resource.group}" if resource.group else resource.plural
        for namespace, own in by_namespace.items():
            archive.objects(f"objects/{namespace}/{name}.yaml", own)

    return work
