"""`sailctl dashboard`: Envoy's admin page of a pod, and the pages of telemetry, in the browser, through the API server."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import cluster_objects, complete, dumps, output
from .cluster_options import Kubeconfig, namespace_option

if TYPE_CHECKING:
    import asyncio

    from sailcloth.kube import Client

_CHUNK = 1 << 15
_ADMIN, _MONITORING = 15000, 15014
SERVICES = {
    "prometheus": ("prometheus", 9090),
    "jaeger": ("tracing", 80),
    "zipkin": ("zipkin", 9411),
    "tempo": ("tempo", 3200),
    "grafana": ("grafana", 3000),
    "skywalking": ("tracing", 80),
}
"""Services of the installation, by the names of their commands. What the local cluster does not bring, an add-on may."""
Port = Annotated[int, typer.Option("-p", "--port", min=0, max=65535, help="Local port; 0: any free one.")]
Address = Annotated[str, typer.Option("--address", help="Local address to listen on.")]
Browser = Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Open the console, or another web page of the mesh, in the browser.")
    group.callback(invoke_without_command=True)(_default)
    group.command("envoy")(envoy)
    group.command("proxy", help="Open the admin page of a pod's Envoy, as `envoy` does; Ctrl-C stops it.")(envoy)
    group.command("controlz", help="Open the control plane's page with log scopes; Ctrl-C stops it.")(
        _control_plane("/scopej/")
    )
    group.command("istiod-debug", help="Open the list of the control plane's debug pages; Ctrl-C stops it.")(
        _control_plane("/debug")
    )
    group.command("export")(export)
    group.command("rules")(rules)
    group.command("kiali", help="Open the console, logged in; Ctrl-C stops it.")(kiali)
    group.command("console", hidden=True)(kiali)
    for name, (service, port) in SERVICES.items():
        group.command(name, help=f"Open the Service {service} of the installation (port {port}); Ctrl-C stops it.")(
            _page(service, port)
        )
    app.add_typer(group, name="dashboard", rich_help_panel="Proxies")
    app.add_typer(group, name="dash", hidden=True)
    app.add_typer(group, name="d", hidden=True)


def _default(context: typer.Context) -> None:
    """Open the console, or another web page of the mesh, in the browser."""
    if context.invoked_subcommand is None:
        kiali()


def kiali(
    port: Port = 0,
    address: Address = "localhost",
    browser: Browser = True,
    namespace: Annotated[str, namespace_option("Namespace of the Service.")] = "istio-system",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Open the console."""
    from . import console

    async def serve() -> None:
        from .cluster import client

        async with client(kubeconfig) as api:
            token = await console.token(api, namespace)
        await _serve_service(
            console.SERVICE, console.PORT, namespace, kubeconfig, address, port, browser, f"/?token={token}"
        )

    dumps.run(serve())


def envoy(
    pod: Annotated[
        str, typer.Argument(help="POD[.NAMESPACE], deployment/NAME or service/NAME", autocompletion=complete.pods)
    ],
    port: Port = 0,
    address: Address = "localhost",
    browser: Browser = True,
    namespace: Annotated[str, namespace_option("Namespace of the pod.")] = "",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Open the admin page of a pod's Envoy; Ctrl-C stops it."""
    dumps.run(_serve(pod, namespace, kubeconfig, address, port, browser))


def export(
    folder: Annotated[Path | None, typer.Argument(help="Folder to write a JSON file for each dashboard into.")] = None,
    out: Annotated[str, typer.Option("-o", "--output", help="json, or configmap (YAML for kubectl apply)")] = "json",
    namespace: Annotated[str, namespace_option("Namespace of the ConfigMaps.")] = "istio-system",
) -> None:
    """Write the Grafana dashboards: mesh, service, workload, performance, control plane, config propagation, certificates."""
    from sailcloth.telemetry.dashboards import grafana
    from sailcloth.telemetry.dashboards.catalogue import DASHBOARDS

    if out == "configmap":
        print(yaml_documents(grafana.config_maps(DASHBOARDS, namespace)), end="")
        return
    if out != "json":
        output.fail(f"unknown output {out!r}; use json or configmap", output.USAGE)
    if folder is None:
        output.structured([grafana.dashboard(one) for one in DASHBOARDS], "json")
        return
    folder.mkdir(parents=True, exist_ok=True)
    for one in DASHBOARDS:
        path = folder / f"{one.uid}.json"
        path.write_text(json.dumps(grafana.dashboard(one), indent=1) + "\n")
        print(path)


def rules(
    out: Annotated[str, typer.Option("-o", "--output", help="file (Prometheus' own format) or operator")] = "file",
    namespace: Annotated[str, namespace_option("Namespace of the object.")] = "istio-system",
) -> None:
    """Write recording and alerting rules for Prometheus."""
    from sailcloth.telemetry.dashboards import rules as catalogue

    output.check_choice("output", out, "file", "operator")
    output.structured(catalogue.rule_file() if out == "file" else catalogue.prometheus_rule(namespace), "yaml")


def yaml_documents(objects: list[dict[str, Any]]) -> str:
    """Objects as one YAML text."""
    import yaml

    return str(yaml.safe_dump_all(objects, sort_keys=False))


def _page(service: str, number: int) -> Callable[..., None]:
    """The command that opens a Service's port."""

    def page(
        port: Port = 0,
        address: Address = "localhost",
        browser: Browser = True,
        namespace: Annotated[str, namespace_option("Namespace of the Service.")] = "istio-system",
        kubeconfig: Kubeconfig = "",
    ) -> None:
        dumps.run(_serve_service(service, number, namespace, kubeconfig, address, port, browser))

    return page


def _control_plane(path: str) -> Callable[..., None]:
    """The command that opens a page of the control plane's monitoring port."""

    def command(
        pod: Annotated[str, typer.Argument(help="Accepted, as istioctl's: there is one control plane.")] = "",
        port: Port = 0,
        address: Address = "localhost",
        browser: Browser = True,
        namespace: Annotated[str, namespace_option("Namespace of istiod.")] = "istio-system",
        kubeconfig: Kubeconfig = "",
    ) -> None:
        dumps.run(_serve_control_plane(namespace, kubeconfig, address, port, browser, path))

    return command


async def _serve_control_plane(
    namespace: str, kubeconfig: str, address: str, port: int, browser: bool, path: str
) -> None:
    from sailcloth.kube.resources import PODS

    from .cluster import client

    async with client(kubeconfig) as api:
        pods, _ = await api.list(PODS, namespace, "app=istiod")
    ready = [p for p in pods if cluster_objects.is_ready(p)]
    if not ready:
        raise ValueError(f"no ready pod with the label app=istiod in {namespace}; name its namespace with -n")
    await _serve(ready[0]["metadata"]["name"], namespace, kubeconfig, address, port, browser, _MONITORING, path)


async def _serve_service(
    service: str, number: int, namespace: str, kubeconfig: str, address: str, port: int, browser: bool, path: str = ""
) -> None:
    """The first ready pod of a Service, at the target of one of its ports. path: what the browser opens there."""
    from sailcloth.kube.resources import PODS, SERVICES

    from .cluster import client

    async with client(kubeconfig) as api:
        found = await cluster_objects.existing(api, SERVICES, service, namespace)
        if found is None:
            raise ValueError(f"there is no Service {namespace}/{service}; is the add-on installed?")
        pods, _ = await api.list(PODS, namespace)
    spec = found["spec"]
    target = next((p.get("targetPort") or p["port"] for p in spec["ports"] if p["port"] == number), 0)
    wanted = (spec.get("selector") or {}).items()
    selected = [p for p in pods if wanted and wanted <= (p["metadata"].get("labels") or {}).items()]
    ready = [p for p in selected if cluster_objects.is_ready(p)]
    if not isinstance(target, int) or not target or not ready:
        raise ValueError(f"no ready pod of the Service {namespace}/{service}, or it has no port {number}")
    await _serve(ready[0]["metadata"]["name"], namespace, kubeconfig, address, port, browser, target, path)


async def _serve(
    pod: str,
    namespace: str,
    kubeconfig: str,
    address: str,
    port: int,
    browser: bool,
    target: int = _ADMIN,
    path: str = "",
) -> None:
    import asyncio
    import webbrowser

    from sailcloth.kube import portforward

    from .cluster import client, pod_name

    name, _, own = pod.partition(".")
    async with client(kubeconfig) as api:
        namespace = own or namespace or api.endpoint.namespace
        name = await pod_name(api, name, namespace)
        async with portforward.connect(api, name, namespace, target):
            pass  # fail here, not in the browser, if there is no such pod
        server = await asyncio.start_server(
            lambda reader, writer: _carry(api, name, namespace, target, reader, writer), address, port
        )
        number = server.sockets[0].getsockname()[1]
        url = f"http://{address}:{number}{path}"
        print(url, flush=True)
        if browser and not webbrowser.open(url):
            print("no browser was found here; open the address above", file=sys.stderr)
        async with server:
            await server.serve_forever()


async def _carry(
    api: Client, pod: str, namespace: str, target: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """One connection of the browser into the pod."""
    import asyncio

    from sailcloth.kube import ApiError, portforward

    try:
        async with portforward.connect(api, pod, namespace, target) as tunnel:

            async def up() -> None:
                while data := await reader.read(_CHUNK):
                    await tunnel.send(data)
                await tunnel.end()

            upward = asyncio.create_task(up())
            try:
                async for part in tunnel.receive():
                    writer.write(part)
                    await writer.drain()
            finally:
                upward.cancel()
                with contextlib.suppress(asyncio.CancelledError, OSError):
                    await upward
    except (OSError, ApiError) as error:
        output.warn(f"{pod}.{namespace}: {error}")
    finally:
        writer.close()
