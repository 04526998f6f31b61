"""The commands of istioctl up to 1.5 that documents of that time use: each is registered here, and says what replaces it.

Must not have behaviour of its own that a present command has: those are called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import authz, cluster_objects, complete, dumps, legacy_manifests, legacy_objects, legacy_services, output
from .cluster_options import Form, Kubeconfig, Namespace, form

if TYPE_CHECKING:
    from sailcloth.analysis.describe import Description

Object = dict[str, Any]
_PANEL = "Of Istio 1.0 to 1.5"


def register(app: typer.Typer) -> None:
    """Add the commands of the first level."""
    for name, command in (
        ("get", legacy_objects.get),
        ("create", legacy_objects.create),
        ("replace", legacy_objects.replace),
        ("delete", legacy_objects.delete),
        ("register", legacy_services.register_service),
        ("deregister", legacy_services.deregister_service),
        ("convert-ingress", legacy_manifests.convert_ingress),
    ):
        app.command(name, hidden=True, rich_help_panel=_PANEL)(command)
    authn = typer.Typer(help="Authentication between workloads.", no_args_is_help=True)
    authn.callback()(lambda: None)
    authn.command("tls-check")(tls_check)
    app.add_typer(authn, name="authn", hidden=True)
    authz.register(app)  # istioctl has a word here that stands for `x authz`
    app.registered_groups[-1].hidden = True


def register_experimental(group: typer.Typer) -> None:
    """Add the commands of the group `x`."""
    group.command("kube-uninject", hidden=True)(legacy_manifests.kube_uninject)
    for word, service, deployment in (
        ("add-to-mesh", legacy_services.add_service, legacy_services.add_deployment),
        ("remove-from-mesh", legacy_services.remove_service, legacy_services.remove_deployment),
    ):
        child = typer.Typer(help="Give workloads a sidecar, or take it away.", no_args_is_help=True)
        child.command("service")(service)
        child.command("svc", hidden=True)(service)
        child.command("deployment")(deployment)
        child.command("deploy", hidden=True)(deployment)
        external = legacy_services.add_external if word == "add-to-mesh" else legacy_services.remove_external
        child.command("external-service")(external)
        group.add_typer(child, name=word, hidden=True)


# -- authn tls-check ----------------------------------------------------------------------------

_COLUMNS = ("HOST:PORT", "STATUS", "SERVER", "CLIENT", "AUTHN POLICY", "DESTINATION RULE")


def tls_check(
    pod: Annotated[str, typer.Argument(help="Client: POD[.NAMESPACE]", autocompletion=complete.pods)],
    service: Annotated[str, typer.Argument(help="SERVICE[.NAMESPACE…]; all services without it.")] = "",
    namespace: Namespace = "",
    out: Form = "short",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Show for each service whether what a client sends suits what the server accepts. Today: `sailctl x describe`."""
    chosen = form(out)
    rows = dumps.run(_tls(pod, service, namespace, kubeconfig))
    if chosen:
        output.structured([dict(zip(_COLUMNS, row, strict=True)) for row in rows], chosen)
    else:
        output.table(_COLUMNS, rows)


async def _tls(pod: str, service: str, namespace: str, kubeconfig: str) -> list[list[str]]:
    from sailcloth.analysis import describe
    from sailcloth.api.meta import Key
    from sailcloth.kube.resources import PODS

    from .cluster import client, pod_name
    from .describe import from_cluster

    name, _, own = pod.partition(".")
    async with client(kubeconfig) as api:
        namespace = own or namespace or api.endpoint.namespace
        await api.get(PODS, await pod_name(api, name, namespace), namespace)
        mesh = await from_cluster(api)
    wanted, _, place = service.removesuffix(".svc.cluster.local").partition(".")
    keys = sorted(k for k in mesh.mesh.objects if k.kind == "Service")
    rows = []
    for key in keys:
        if wanted and key != Key("Service", place or namespace, wanted):
            continue
        rows += tls_rows(describe.service(mesh, key), namespace)
    if service and not rows:
        raise ValueError(f"no service {service}; write SERVICE or SERVICE.NAMESPACE")
    return rows


def tls_rows(described: Description, namespace: str) -> list[list[str]]:
    """A row for each port, for clients of a namespace."""
    rows = []
    for port in described.service.ports:
        clients = next((c for c in port.clients if namespace in c.namespaces and not c.subset), None)
        clients = clients or next((c for c in port.clients if not c.subset), None)
        modes = [m for w in described.workloads for m in w.mutual_tls]
        number = int(port.target) if port.target.isdigit() else 0
        mode = next((m for m in modes if m.port == number and number), None) or next(
            (m for m in modes if not m.port), None
        )
        server = {"STRICT": "mTLS", "PERMISSIVE": "HTTP/mTLS", "DISABLE": "HTTP"}.get(mode.mode if mode else "", "HTTP")
        sent = {"mutual TLS": "mTLS", "plain text": "HTTP"}.get(clients.tls, "TLS") if clients else "-"
        fits = sent == "-" or sent in server.split("/")
        by = clients.by if clients and clients.by.startswith("DestinationRule") else "-"
        rows.append(
            [
                f"{described.service.host}:{port.number}",
                "OK" if fits else "CONFLICT",
                server,
                sent,
                (mode.source.removeprefix("PeerAuthentication ") or f"({mode.level})") if mode else "-",
                by.removeprefix("DestinationRule "),
            ]
        )
    return rows


# -- verify-install -----------------------------------------------------------------------------


async def verify(files: list[str], namespace: str, revision: str, kubeconfig: str) -> list[tuple[bool, str]]:
    """(whether it is there, what it is) for the parts of a mesh that no installation describes, or for the objects of manifests."""
    from sailcloth.api.kinds import MESH_KINDS
    from sailcloth.kube import ApiError
    from sailcloth.kube.resources import CRDS, MUTATING_WEBHOOKS, PODS, VALIDATING_WEBHOOKS

    from .cluster import Applier, client, root_namespace

    lines: list[tuple[bool, str]] = []
    async with client(kubeconfig) as api:
        if files:
            applier = Applier(api)
            for obj in legacy_objects.documents(files):
                meta = obj["metadata"]
                place = meta.get("namespace") or namespace or api.endpoint.namespace
                try:
                    resource = await applier.resource(obj)
                    await api.get(resource, meta["name"], place if resource.namespaced else "")
                    lines.append((True, f"{obj['kind']}: {meta['name']}.{place} checked successfully"))
                except ApiError as error:
                    lines.append((False, f"{obj['kind']}: {meta['name']}.{place}: {error.message or error.reason}"))
            return lines
        selector = "app=istiod" + (f",istio.io/rev={revision}" if revision else "")
        pods, _ = await api.list(PODS, root_namespace(), selector)
        ready = [p for p in pods if cluster_objects.is_ready(p)]
        lines.append((bool(ready), f"control plane: {len(ready)} of {len(pods)} pods of istiod are ready"))
        there = {d["metadata"]["name"] for d in (await api.list(CRDS))[0]}
        for kind in MESH_KINDS:
            name = f"{kind.plural}.{kind.group}"
            lines.append((name in there, f"CustomResourceDefinition: {name}"))
        for resource in (MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS):
            hooks = [h["metadata"]["name"] for h in (await api.list(resource))[0]]
            ours = [n for n in hooks if n.startswith("istio-")]
            lines.append((bool(ours), f"{resource.kind}: {', '.join(ours) or 'none'}"))
    return lines
