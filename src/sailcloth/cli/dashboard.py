"""`sailctl dashboard`: Envoy's admin page of a pod in the browser, through the API server; the metrics of a local cluster."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from . import complete, output

if TYPE_CHECKING:
    import asyncio

    from sailcloth.kube import Client

_CHUNK = 1 << 15
_ADMIN = 15000


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Open web pages of the mesh in the browser.", no_args_is_help=True)
    group.command("envoy")(envoy)
    group.command("prometheus")(prometheus)
    app.add_typer(group, name="dashboard", rich_help_panel="Proxies")
    app.add_typer(group, name="dash", hidden=True)
    app.add_typer(group, name="d", hidden=True)


def envoy(
    pod: Annotated[
        str, typer.Argument(help="POD[.NAMESPACE], deployment/NAME or service/NAME", autocompletion=complete.pods)
    ],
    port: Annotated[int, typer.Option("-p", "--port", min=0, max=65535, help="Local port; 0: any free one.")] = 0,
    address: Annotated[str, typer.Option("--address", help="Local address to listen on.")] = "localhost",
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
    namespace: Annotated[str, typer.Option("-n", "--namespace", help="Namespace of the pod.")] = "",
    kubeconfig: Annotated[str, typer.Option("--kubeconfig", help="Kubeconfig file.")] = "",
) -> None:
    """Open the admin page of a pod's Envoy; Ctrl-C stops it."""
    from . import dumps

    dumps.run(_serve(pod, namespace, kubeconfig, address, port, browser))


def prometheus(
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
    state: Annotated[str, typer.Option("--state", help="State directory of the local cluster.")] = "",
    cluster: Annotated[str, typer.Option("--name", help="Name of a separate cluster.")] = "",
) -> None:
    """Open the metrics of the local cluster; Grafana and Kiali take the address as that of a Prometheus."""
    import webbrowser

    from .local_cluster import state_of

    where = state_of(state, cluster)
    record = where.running()
    if not record:
        output.fail(f"no cluster is running in {where.root}; start one with `sailctl up`")
    url = record.get("metrics")
    if not url:
        output.fail("the cluster keeps no metrics; it was started with --no-telemetry")
    print(url, flush=True)
    if browser and not webbrowser.open(url):
        print("no browser was found here; open the address above", file=sys.stderr)


async def _serve(pod: str, namespace: str, kubeconfig: str, address: str, port: int, browser: bool) -> None:
    import asyncio
    import webbrowser

    from sailcloth.kube import portforward

    from .cluster import client, pod_name

    name, _, own = pod.partition(".")
    async with client(kubeconfig) as api:
        namespace = own or namespace or api.endpoint.namespace
        name = await pod_name(api, name, namespace)
        async with portforward.connect(api, name, namespace, _ADMIN):
            pass  # fail here, not in the browser, if there is no such pod
        server = await asyncio.start_server(
            lambda reader, writer: _carry(api, name, namespace, reader, writer), address, port
        )
        number = server.sockets[0].getsockname()[1]
        print(f"http://{address}:{number}", flush=True)
        if browser and not webbrowser.open(f"http://{address}:{number}"):
            print("no browser was found here; open the address above", file=sys.stderr)
        async with server:
            await server.serve_forever()


async def _carry(
    api: Client, pod: str, namespace: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """One connection of the browser into the pod."""
    import asyncio

    from sailcloth.kube import ApiError, portforward

    try:
        async with portforward.connect(api, pod, namespace, _ADMIN) as tunnel:

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
