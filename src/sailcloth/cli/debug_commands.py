"""`sailctl x internal-debug`, `x envoy-stats`, `x config list`: raw looks at the control plane, at an Envoy, and at the command line."""

from __future__ import annotations

import json
import os
from typing import Annotated, Any

import typer

from . import complete, dumps, output
from .cluster_options import Form, Kubeconfig, Namespace, form
from .go_flags import CONTEXT, ROOT

_STATS = {"short": "/stats", "json": "/stats?format=json", "prom": "/stats/prometheus", "yaml": "/stats?format=json"}
_CLUSTERS = {"short": "/clusters", "json": "/clusters?format=json", "yaml": "/clusters?format=json"}
_MERGED = "prom-merged"
_AGENT = 15020


def register(group: typer.Typer) -> None:
    """Add the commands to the group `x`."""
    group.command("internal-debug")(internal_debug)
    group.command("envoy-stats")(envoy_stats)
    group.command("es", hidden=True)(envoy_stats)
    config = typer.Typer(help="Settings of the command line.", no_args_is_help=True)
    config.command("list")(list_config)
    group.add_typer(config, name="config")


def internal_debug(
    page: Annotated[str, typer.Argument(help="Page with its query, such as edsz?proxyID=POD.NAMESPACE.")] = "list",
    pod: Annotated[
        str, typer.Argument(help="POD[.NAMESPACE] that the page is about.", autocompletion=complete.pods)
    ] = "",
    all_: Annotated[bool, typer.Option("--all", help="Accepted, as istioctl's: there is one control plane.")] = False,
    namespace: Namespace = "",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Print a debug page of the control plane; without an argument, the list of pages."""
    page = page.removeprefix("/").removeprefix("debug/")
    print(dumps.run(_page(page, pod, namespace, kubeconfig)).rstrip("\n"))


async def _page(page: str, pod: str, namespace: str, kubeconfig: str) -> str:
    from sailcloth.kube import ApiError

    from .cluster import client, control_plane, pod_name

    async with client(kubeconfig) as api:
        if pod:
            name, _, own = pod.partition(".")
            place = own or namespace or api.endpoint.namespace
            proxy = f"{await pod_name(api, name, place)}.{place}"
            page += f"{'&' if '?' in page else '?'}proxyID={proxy}"
        try:
            return (await control_plane(api, f"/debug/{page}")).decode()
        except ApiError as error:
            if error.status == 404:
                name = page.partition("?")[0]
                raise ValueError(f"no page {name!r}, or no such proxy; `x internal-debug` lists the pages") from None
            raise


def envoy_stats(
    pod: Annotated[str, typer.Argument(help="POD[.NAMESPACE], deployment/NAME", autocompletion=complete.pods)],
    what: Annotated[str, typer.Option("-t", "--type", help="server or clusters")] = "server",
    out: Annotated[str, typer.Option("-o", "--output", help="short, json, yaml, prom or prom-merged")] = "short",
    namespace: Namespace = "",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Print the statistics of a pod's Envoy; with prom-merged, those that Prometheus scrapes, the application's included."""
    kinds = {"server": {**_STATS, _MERGED: ""}, "clusters": _CLUSTERS}
    for known, value, name in ((kinds, what, "--type"), (kinds.get(what, {}), out, "--output")):
        if value not in known:
            output.fail(f"{name}: unknown value {value!r}; use {', '.join(known)}", output.USAGE)
    if out == _MERGED:
        text = dumps.run(_merged(pod, namespace, kubeconfig))
    else:
        text = dumps.run(dumps.admin(pod, namespace, kubeconfig, "GET", kinds[what][out]))
    if out == "yaml":
        output.structured(json.loads(text), "yaml")
    else:
        print(text, end="" if text.endswith("\n") else "\n")


async def _merged(pod: str, namespace: str, kubeconfig: str) -> str:
    """The page of the pod's agent."""
    from sailcloth.kube import portforward
    from sailcloth.lib import http1

    from .cluster import client, pod_name

    name, _, own = pod.partition(".")
    async with client(kubeconfig) as api:
        namespace = own or namespace or api.endpoint.namespace
        name = await pod_name(api, name, namespace)
        async with portforward.connect(api, name, namespace, _AGENT) as tunnel:
            await tunnel.send(http1.request("GET", "/stats/prometheus"))
            answer = b"".join([part async for part in tunnel.receive()])
    return http1.body(answer).decode(errors="replace")


def list_config(out: Form = "short") -> None:
    """List the settings in force, and where each comes from."""
    chosen = form(out)
    rows = [_setting(*each) for each in (("kubeconfig", "KUBECONFIG", ""), ("context", CONTEXT, ""),
            ("istioNamespace", ROOT, "istio-system"), ("state", "SAILCLOTH_HOME", "~/.sailcloth"))]  # fmt: skip
    if chosen:
        output.structured(rows, chosen)
        return
    output.table(["FLAG", "VALUE", "FROM"], [list(row.values()) for row in rows])


def _setting(flag: str, variable: str, default: str) -> dict[str, Any]:
    value = os.environ.get(variable, "")
    return {"flag": flag, "value": value or default, "from": f"${variable}" if value else "default"}
