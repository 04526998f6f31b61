"""`sailctl proxy-config` and `proxy-status`: what a proxy has, from its Envoy, from a file, or computed offline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from . import complete, dumps, output
from .cluster_options import Kubeconfig, namespace_option

PARTS = (
    "all",
    "cluster",
    "listener",
    "route",
    "endpoint",
    "eds",
    "secret",
    "dns",
    "bootstrap",
    "ecds",
    "log",
    "rootca-compare",
)
_ALSO = {p + "s": p for p in ("cluster", "listener", "route", "endpoint", "secret")}
_ALSO |= {"a": "all", "c": "cluster", "l": "listener", "r": "route", "ep": "endpoint", "s": "secret"}
_ALSO |= {"b": "bootstrap", "o": "log"}  # istioctl's
_ENTRIES = ("cluster", "listener", "route", "endpoint")
_TYPES = ("http", "tcp", "http+tcp", "unknown")
_STATES = ("healthy", "unhealthy", "draining", "timeout", "degraded")
_WAYS = ("inbound", "outbound")
_START_LEVEL = "warning"  # as the proxies' arguments say
File = Annotated[
    list[Path] | None, typer.Option("-f", "--file", help="Manifest, directory, or config dump (without --offline).")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("proxy-config", help="Show the configuration of a proxy.", rich_help_panel="Proxies")(proxy_config)
    app.command("pc", hidden=True)(proxy_config)
    app.command(
        "proxy-status", help="Show which proxies are connected and whether they are in sync.", rich_help_panel="Proxies"
    )(proxy_status)
    app.command("ps", hidden=True)(proxy_status)


def proxy_config(
    part: Annotated[
        str,
        typer.Argument(
            help="One of: " + ", ".join(PARTS),
            autocompletion=lambda incomplete: [p for p in PARTS if p.startswith(incomplete)],
        ),
    ],
    pod: Annotated[str, typer.Argument(help="POD[.NAMESPACE]", autocompletion=complete.pods)] = "",
    other: Annotated[str, typer.Argument(help="Second pod, for rootca-compare.", autocompletion=complete.pods)] = "",
    out: Annotated[
        str, typer.Option("-o", "--output", help="short, json or yaml; of a bootstrap, json unless short is asked for.")
    ] = "",
    offline: Annotated[bool, typer.Option("--offline", help="Compute from manifests; no cluster needed.")] = False,
    file: File = None,
    proxy: Annotated[
        Path | None, typer.Option("--proxy", help="YAML description of the proxy (with --offline).")
    ] = None,
    mesh_config: Annotated[Path | None, typer.Option("--mesh-config", help="MeshConfig YAML (with --offline).")] = None,
    namespace: Annotated[str, namespace_option("Namespace of the pod.")] = "",
    kubeconfig: Kubeconfig = "",
    fqdn: Annotated[str, typer.Option("--fqdn", help="Only clusters, or names, of this host.")] = "",
    port: Annotated[int, typer.Option("--port", help="Only clusters, listeners or endpoints of this port.")] = 0,
    address: Annotated[str, typer.Option("--address", help="Only listeners or endpoints at this address.")] = "",
    kind: Annotated[str, typer.Option("--type", help="Only listeners of this type: HTTP, TCP or HTTP+TCP.")] = "",
    status: Annotated[
        str, typer.Option("--status", help="Only endpoints in this state, such as healthy or unhealthy.")
    ] = "",
    subset: Annotated[str, typer.Option("--subset", help="Only this subset.")] = "",
    direction: Annotated[str, typer.Option("--direction", help="Only inbound or outbound clusters.")] = "",
    name: Annotated[str, typer.Option("--name", help="Only the route configuration of this name.")] = "",
    cluster: Annotated[str, typer.Option("--cluster", help="Only endpoints of this cluster.")] = "",
    level: Annotated[str, typer.Option("--level", help="For `log`: level, or logger:level[,…].")] = "",
    reset: Annotated[bool, typer.Option("-r", "--reset", help="For `log`: back to the level of the start.")] = False,
) -> None:
    """Show the configuration of a proxy, in istioctl's columns."""
    part = _ALSO.get(part, part)
    if part not in PARTS:
        output.fail(f"unknown part {part!r}; known are {', '.join(PARTS)}", output.USAGE)
    out = out or ("json" if part == "bootstrap" else "short")
    if out not in ("short", "table", "json", "yaml"):
        output.fail(f"unknown output {out!r}; use short, json or yaml", output.USAGE)
    for option, given, known in (("type", kind, _TYPES), ("status", status, _STATES), ("direction", direction, _WAYS)):
        if given and given.lower() not in known:
            output.fail(f"--{option}: unknown {given!r}; use {', '.join(known)}", output.USAGE)
    from sailcloth.analysis import proxy_tables

    from . import discovery_tables

    if part in ("log", "dns") and not pod:
        output.fail("name a pod: POD[.NAMESPACE], deployment/NAME or service/NAME", output.USAGE)
    if part == "rootca-compare":
        _compare_roots(pod, other, namespace, kubeconfig)
        return
    if other:
        output.fail(f"unexpected argument {other!r}; only rootca-compare takes two pods", output.USAGE)
    if part == "log":
        print(dumps.logging(pod, namespace, kubeconfig, _START_LEVEL if reset else level), end="")
        return
    if part == "dns":
        result = dumps.names(pod, namespace, kubeconfig)
        result = {host: ips for host, ips in result.items() if fqdn in host}
        if out in ("json", "yaml"):
            output.structured(result, out)
        else:
            output.table(["NAME", "ADDRESSES"], [[host, ",".join(ips)] for host, ips in result.items()])
        return
    if offline:
        dump = _offline(file or [], proxy, mesh_config)
    elif file:
        dump = _dump_of(file[0])
    elif pod:
        dump = dumps.fetch(pod, namespace, kubeconfig) if part != "endpoint" else {}
        if part == "endpoint" or (part == "all" and out not in ("json", "yaml")):
            dump |= dumps.health(pod, namespace, kubeconfig)
    else:
        output.fail("name a pod (POD[.NAMESPACE]), a dump with -f, or manifests with --offline -f", output.USAGE)
    filters = {"fqdn": fqdn, "port": port, "subset": subset, "direction": direction.lower(), "name": name, "cluster": cluster,
               "address": address, "type": kind, "status": status}  # fmt: skip
    if part in ("eds", "ecds"):
        columns, rows = discovery_tables.eds(dump, filters) if part == "eds" else discovery_tables.ecds(dump)
        if out in ("json", "yaml"):
            output.structured([dict(zip(columns, row, strict=True)) for row in rows], out)
        else:
            output.table(columns, rows)
        return
    if out in ("json", "yaml"):
        if part in _ENTRIES:
            output.structured(proxy_tables.as_json(part, proxy_tables.entries(dump, part, filters)), out)
        else:
            output.structured(proxy_tables.part(dump, part), out)
        return
    for index, (columns, rows) in enumerate(proxy_tables.tables(dump, part, filters)):
        if index:
            print()
        output.table(columns, rows)


def _dump_of(file: Path) -> dict[str, Any]:
    """The config dump in a file; one that is none ends the command."""
    try:
        dump = json.loads(file.read_text())
    except OSError as error:
        output.fail(f"{file}: {error.strerror or error}", output.DATA)
    except ValueError:
        dump = None
    if not isinstance(dump, dict):
        output.fail(f"{file}: not a config dump of an Envoy (GET /config_dump)", output.DATA)
    return dump


def _compare_roots(pod: str, other: str, namespace: str, kubeconfig: str) -> None:
    """Say whether two proxies trust the same roots; end with 1 if they do not."""
    from . import discovery_tables

    if not pod or not other:
        output.fail("name two pods: rootca-compare POD[.NAMESPACE] POD[.NAMESPACE]", output.USAGE)
    first, second = (discovery_tables.roots(dumps.fetch(p, namespace, kubeconfig)) for p in (pod, other))
    if not first or not second:
        output.fail(f"{pod if not first else other} has no roots of the mesh (secret ROOTCA)")
    if first != second:
        output.fail(f"{pod} and {other} trust different roots; mutual TLS between them fails")
    print(f"{pod} and {other} trust the same roots (ROOTCA)")


def _offline(files: list[Path], proxy: Path | None, mesh_config: Path | None) -> dict[str, Any]:
    import yaml

    from sailcloth.analysis import offline
    from sailcloth.lib import bounded_yaml
    from sailcloth.mesh import mesh_config as mesh_options

    from . import manifest_files

    if not files:
        output.fail("--offline needs manifests: -f FILE [-f FILE…]", output.USAGE)
    objects, _ = manifest_files.read(files)
    try:
        described = bounded_yaml.load(proxy.read_text()) if proxy else {}
        config = mesh_options.parse(mesh_config.read_text()) if mesh_config else None
        return offline.config_dump(
            offline.resources(offline.mesh_of(objects, config), offline.describe(described or {}))
        )
    except (OSError, ValueError, yaml.YAMLError) as error:
        output.fail(str(error), output.DATA)


def proxy_status(
    pod: Annotated[
        str,
        typer.Argument(
            help="POD[.NAMESPACE]: how what its Envoy has differs from what it is to have.",
            autocompletion=complete.pods,
        ),
    ] = "",
    out: Annotated[str, typer.Option("-o", "--output", help="table, json or yaml")] = "table",
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="One column for each type of resource.")] = False,
    file: Annotated[
        Path | None, typer.Option("-f", "--file", help="Config dump of the pod's Envoy, instead of asking it.")
    ] = None,
    namespace: Annotated[str, namespace_option("Namespace of the pod.")] = "",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Which proxies are connected, and whether they have acknowledged everything."""
    from sailcloth.analysis import proxy_tables

    proxies = dumps.sync_status(kubeconfig)
    if pod or file:
        dump = _dump_of(file) if file else dumps.fetch(pod, namespace, kubeconfig)
        name = [*str(proxy_tables.node(dump).get("id", "")).split("~"), "", ""][2]
        proxies = [p for p in proxies if p["name"] == name]
        if not proxies:
            output.fail(f"no proxy {name} is connected to the control plane")
        if out not in ("json", "yaml") and not verbose:
            for text in proxy_tables.differences(dumps.desired(name, kubeconfig), dump):
                print(text)
            return
    if out in ("json", "yaml"):
        output.structured(proxies, out)
        return
    if verbose:
        types = ("CDS", "LDS", "EDS", "RDS")
        rows = [[p["name"], p["cluster"], *(state(p, t) for t in types), p["istiod"], p["version"]] for p in proxies]
        output.table(["NAME", "CLUSTER", *types, "ISTIOD", "VERSION"], rows)
        return
    rows = [
        [p["name"], p["cluster"], p["istiod"], p["version"], f"{len(p['subscribed'])} ({','.join(p['subscribed'])})"]
        for p in proxies
    ]
    output.table(["NAME", "CLUSTER", "ISTIOD", "VERSION", "SUBSCRIBED TYPES"], rows)


def state(proxy: dict[str, Any], kind: str) -> str:
    """A type's state in `proxy-status -v`, with the time since the proxy's last answer: `SYNCED (3m)`."""
    shown = str(proxy["types"].get(kind, "NOT SENT"))
    seconds = (proxy.get("ages") or {}).get(kind)
    if shown != "SYNCED" or seconds is None:
        return shown
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{shown} ({seconds // length}{unit})"
    return f"{shown} ({seconds}s)"
