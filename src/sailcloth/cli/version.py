"""`sailctl version`, `sailctl x version` and `options`: versions of this program, the control plane and the proxies, in istioctl's form."""

from __future__ import annotations

import platform
from collections import Counter
from typing import Annotated, Any

import typer

from . import dumps, output
from .cluster_options import Form, Kubeconfig, form
from .go_flags import GLOBAL

Object = dict[str, Any]
Remote = Annotated[
    bool, typer.Option("--remote/--no-remote", help="Ask the cluster for its control plane and proxies, too.")
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("version")(version)
    app.command("options")(options)


def version(
    remote: Remote = False,
    short: Annotated[
        bool, typer.Option("-s", "--short/--no-short", help="One line for each; false: all fields.")
    ] = True,
    out: Form = "short",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Show the version of this program; with --remote those of the control plane and of the proxies."""
    from sailcloth import __version__

    chosen = form(out)
    client = {
        "version": __version__,
        "revision": "sailcloth",
        "golang_version": f"python{platform.python_version()}",
        "status": "Clean",
        "tag": __version__,
    }
    shown: Object = {"clientVersion": client}
    if remote:
        shown |= dumps.run(_remote(kubeconfig))
    if chosen:
        output.structured(shown, chosen)
        return
    print("\n".join(lines(shown, short)))


def options() -> None:
    """List the options that every command has."""
    print("These options can be given with every command, before or behind it:")
    for name, (_, text) in GLOBAL.items():
        print(f"  {name:<18}{text}")


def remote_version(out: Form = "short", kubeconfig: Kubeconfig = "") -> None:
    """Show the versions of this program, of the control plane and of the proxies."""
    version(True, True, out, kubeconfig)


async def _remote(kubeconfig: str) -> Object:
    from .cluster import debug

    info = await debug(kubeconfig, "/version?format=json")
    proxies = await debug(kubeconfig, "/debug/syncz")
    return {
        "meshVersion": [{"Component": "pilot", "Info": info}],
        "dataPlaneVersion": [{"ID": p["name"], "IstioVersion": p["version"]} for p in proxies],
    }


def lines(shown: Object, short: bool) -> list[str]:
    """The lines of versions, as istioctl prints them."""

    def text(info: Object) -> str:
        return info["version"] if short else f"version.BuildInfo{info}"

    out = [f"client version: {text(shown['clientVersion'])}"]
    for each in shown.get("meshVersion", ()):
        out.append(f"control plane version: {text(each['Info'])}")
    if "dataPlaneVersion" in shown:
        counts = Counter(p["IstioVersion"] or "unknown" for p in shown["dataPlaneVersion"])
        versions = ", ".join(f"{v} ({n} {'proxy' if n == 1 else 'proxies'})" for v, n in sorted(counts.items()))
        out.append(f"data plane version: {versions or 'none'}")
    return out
