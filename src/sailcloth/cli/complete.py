"""Shell completion: the script for each shell, and live names from the cluster.

Completion must never print an error or wait long: what cannot be found quickly is not offered.
"""

from __future__ import annotations

import os
from typing import Annotated

import typer

from . import output

SHELLS = ("bash", "zsh", "fish", "powershell", "pwsh")
_PATIENCE_S = 1.5


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("completion")(completion)


def completion(shell: Annotated[str, typer.Argument(help="One of: " + ", ".join(SHELLS))]) -> None:
    """Print the completion script of a shell: `source <(sailctl completion bash)`."""
    if shell not in SHELLS:
        output.fail(f"unknown shell {shell!r}; use {', '.join(SHELLS)}", output.USAGE)
    from .main import app

    os.environ["_SAILCTL_COMPLETE"] = (
        f"source_{shell}"  # the way a shell asks a command of this framework for its script
    )
    app()(prog_name="sailctl", args=[])


def pods(incomplete: str) -> list[str]:
    """Pods of all namespaces as POD.NAMESPACE, and after `deployment/` the names of Deployments."""
    kind, slash, _ = incomplete.partition("/")
    if slash and kind in ("deployment", "deploy"):
        return _names(incomplete, "deployments", kind + "/", namespaced=True)
    if slash and kind in ("service", "svc"):
        return _names(incomplete, "services", kind + "/", namespaced=True)
    return _names(incomplete, "pods", namespaced=True)


def services(incomplete: str) -> list[str]:
    """Services of all namespaces as SERVICE.NAMESPACE."""
    return _names(incomplete, "services", namespaced=True)


def namespaces(incomplete: str) -> list[str]:
    """Names of namespaces."""
    return _names(incomplete, "namespaces")


def tags(incomplete: str) -> list[str]:
    """Revision tags."""
    prefix = "istio-revision-tag-"
    names = _names(prefix + incomplete, "mutatingwebhookconfigurations")
    return [n.removeprefix(prefix) for n in names]


def kinds(incomplete: str) -> list[str]:
    """The mesh's kinds."""
    from sailcloth.api.kinds import MESH_KINDS

    return [k.name.lower() for k in MESH_KINDS if k.name.lower().startswith(incomplete.lower())]


def _names(incomplete: str, plural: str, prefix: str = "", namespaced: bool = False) -> list[str]:
    """Names in the cluster that begin with what was typed; none if it does not answer soon."""
    import asyncio

    try:
        found = asyncio.run(asyncio.wait_for(_listed(plural, namespaced), _PATIENCE_S))
    except Exception:
        return []
    return [prefix + n for n in found if (prefix + n).startswith(incomplete)]


async def _listed(plural: str, namespaced: bool) -> list[str]:
    from sailcloth.kube import Resource

    from .cluster import client

    group = {"deployments": "apps", "mutatingwebhookconfigurations": "admissionregistration.k8s.io"}.get(plural, "")
    async with client() as api:
        items, _ = await api.list(Resource(group, "v1", plural, "", namespaced))
    rows = (o["metadata"] for o in items)
    return sorted(f"{m['name']}.{m['namespace']}" if namespaced else m["name"] for m in rows)
