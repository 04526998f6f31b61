"""`sailctl x describe`: the mesh's configuration for a pod or a service, and likely mistakes in it. Gateways and routes: `describe_gateways`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import complete, describe_gateways, dumps, output
from .cluster_options import Kubeconfig, TextForm, namespace_option

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sailcloth.analysis.describe import Description, MeshSnapshot, PodDescription
    from sailcloth.analysis.describe.facts import MutualTls, Policy, ServiceDescription
    from sailcloth.kube import Client

Object = dict[str, Any]
Namespace = Annotated[str, namespace_option("Namespace of the pod or service.")]
Offline = Annotated[bool, typer.Option("--offline", help="Describe manifests; no cluster needed.")]
File = Annotated[list[Path] | None, typer.Option("-f", "--file", help="Manifest or directory (with --offline).")]
Options = Annotated[Path | None, typer.Option("--mesh-config", help="MeshConfig YAML (with --offline).")]


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(
        help="Describe the mesh's configuration for a pod, a service, a Gateway or a route.", no_args_is_help=True
    )
    group.command("pod")(pod)
    group.command("po", hidden=True)(pod)
    group.command("service")(service)
    group.command("svc", hidden=True)(service)
    group.command("gateway")(describe_gateways.gateway)
    group.command("gtw", hidden=True)(describe_gateways.gateway)
    group.command("route")(describe_gateways.route)
    app.add_typer(group, name="describe")


def pod(
    name: Annotated[str, typer.Argument(help="POD[.NAMESPACE], deployment/NAME", autocompletion=complete.pods)],
    namespace: Namespace = "",
    offline: Offline = False,
    file: File = None,
    mesh_config: Options = None,
    out: TextForm = "text",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Describe a pod: its services, mutual TLS, policies, routes and gateways, and warnings."""
    output.check_choice("output", out, "text", "json", "yaml")
    certificate: Object = {}
    if offline or file:
        description = _pod_of(from_files(offline, file, mesh_config), name, namespace)
    else:
        description, certificate = dumps.run(_pod(name, namespace, kubeconfig))
    if out != "text":
        output.structured({**_to_builtins(description), "certificate": certificate}, out)
        return
    print("\n".join(pod_text(description, certificate)))


def service(
    name: Annotated[str, typer.Argument(help="SERVICE[.NAMESPACE]", autocompletion=complete.services)],
    namespace: Namespace = "",
    offline: Offline = False,
    file: File = None,
    mesh_config: Options = None,
    out: TextForm = "text",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Describe a service: ports, clients' TLS, rules, routes, gateways, and the policies of its workloads."""
    output.check_choice("output", out, "text", "json", "yaml")
    if offline or file:
        description = _service_of(from_files(offline, file, mesh_config), name, namespace)
    else:
        description = dumps.run(_service(name, namespace, kubeconfig))
    if out != "text":
        output.structured(_to_builtins(description), out)
        return
    print("\n".join(service_text(description)))


def _to_builtins(value: Any) -> Object:
    import msgspec

    return dict(msgspec.to_builtins(value))


# -- from a cluster -----------------------------------------------------------------------------


async def _pod(name: str, namespace: str, kubeconfig: str) -> tuple[PodDescription, Object]:
    from sailcloth.analysis import describe
    from sailcloth.api.meta import Key

    from .cluster import client, pod_name

    short, _, suffix = name.partition(".")
    async with client(kubeconfig) as api:
        namespace = suffix or namespace or api.endpoint.namespace
        key = Key("Pod", namespace, await pod_name(api, short, namespace))
        try:
            description = describe.pod(await from_cluster(api), key)
        except KeyError:
            raise ValueError(f"no pod {key.name} in namespace {namespace}") from None
        return description, await _certificate(api, key.name, namespace) if description.proxy else {}


async def _service(name: str, namespace: str, kubeconfig: str) -> Description:
    from sailcloth.analysis import describe
    from sailcloth.api.meta import Key

    from .cluster import client

    short, _, suffix = name.removeprefix("service/").removeprefix("svc/").partition(".")
    async with client(kubeconfig) as api:
        namespace = suffix.removesuffix(".svc") or namespace or api.endpoint.namespace
        try:
            return describe.service(await from_cluster(api), Key("Service", namespace, short))
        except KeyError:
            raise ValueError(f"no service {short} in namespace {namespace}") from None


async def from_cluster(api: Client) -> MeshSnapshot:
    """The mesh and its proxies."""
    from sailcloth.analysis import describe, offline
    from sailcloth.kube.resources import PODS

    from . import cluster_objects

    mesh = offline.mesh_of(await cluster_objects.read(api))
    return describe.snapshot_of(mesh, (await api.list(PODS))[0])


async def _certificate(api: Client, name: str, namespace: str) -> Object:
    """The certificate of the pod's Envoy; `problem` if its admin interface does not answer."""
    from sailcloth.kube.envoy_admin import page

    try:
        return certificate_of(json.loads(await page(api, name, namespace, "/certs")))
    except (OSError, ValueError) as error:
        return {"problem": str(error)}


def certificate_of(page: Object) -> Object:
    """The workload's certificate on an Envoy's `/certs` page; empty if it has none."""
    for entry in page.get("certificates") or ():
        for leaf in entry.get("cert_chain") or ():
            names = [
                n["uri"] for n in leaf.get("subject_alt_names") or () if str(n.get("uri", "")).startswith("spiffe://")
            ]
            if names:
                return {
                    "identity": names[0],
                    "serial": leaf.get("serial_number", ""),
                    "notBefore": leaf.get("valid_from", ""),
                    "notAfter": leaf.get("expiration_time", ""),
                }
    return {}


# -- from files ---------------------------------------------------------------------------------


def from_files(offline: bool, files: list[Path] | None, options: Path | None) -> MeshSnapshot:
    """The mesh of some manifests, with one pod for each workload."""
    from sailcloth.analysis import describe, manifests, workloads
    from sailcloth.analysis import offline as meshes
    from sailcloth.api.meta import Finding
    from sailcloth.mesh import mesh_config

    from . import manifest_files

    if not files or not offline:
        output.fail("--offline and -f FILE [-f FILE…] go together", output.USAGE)
    objects, documents = manifest_files.read(files, notes=False)
    pods = workloads.pods(documents)
    for document in (*pods, *workloads.endpoint_slices(documents, pods)):
        parsed = manifests.typed(document)
        objects += [parsed] if parsed is not None and not isinstance(parsed, Finding) else []
    try:
        return describe.snapshot_of(
            meshes.mesh_of(objects, mesh_config.parse(options.read_text()) if options else None), pods
        )
    except (OSError, ValueError) as error:
        output.fail(str(error), output.DATA)


def _pod_of(snapshot: MeshSnapshot, name: str, namespace: str) -> PodDescription:
    from sailcloth.analysis import describe
    from sailcloth.api.meta import Key

    short, _, suffix = name.rpartition("/")[2].partition(".")
    try:
        return describe.pod(snapshot, Key("Pod", suffix or namespace or "default", short))
    except KeyError as error:
        output.fail(f"no pod or workload {error.args[0]} in the manifests", output.DATA)


def _service_of(snapshot: MeshSnapshot, name: str, namespace: str) -> Description:
    from sailcloth.analysis import describe
    from sailcloth.api.meta import Key

    short, _, suffix = name.rpartition("/")[2].partition(".")
    try:
        return describe.service(snapshot, Key("Service", suffix.removesuffix(".svc") or namespace or "default", short))
    except KeyError as error:
        output.fail(f"no service {error.args[0]} in the manifests", output.DATA)


# -- text ---------------------------------------------------------------------------------------


def pod_text(pod: PodDescription, certificate: Object) -> Iterator[str]:
    """The lines about a pod."""
    yield f"Pod: {pod.name}.{pod.namespace}" + ("" if pod.ready else " (not ready)")
    yield f"   Proxy: {pod.proxy or 'none'}"
    yield f"   Identity: {pod.identity}"
    if certificate.get("problem"):
        yield f"   Certificate: not available: {certificate['problem']}"
    elif certificate:
        other = "" if certificate["identity"] == pod.identity else f" for {certificate['identity']}"
        yield f"   Certificate: serial {certificate['serial']}{other}, ends {certificate['notAfter']}"
    if pod.serves:
        yield f"   Serves Gateways: {', '.join(pod.serves)}"
    if pod.mutual_tls:
        yield "Mutual TLS:"
        yield from (f"   {line}" for line in _modes(pod.mutual_tls))
    yield from _policies(pod.policies)
    scope = f"Sidecar {pod.sidecar}: {', '.join(pod.egress) or 'every host'}" if pod.sidecar else "no Sidecar object"
    yield f"Calls: {_count(pod.visible_hosts, 'host')}" + (f" ({scope})" if pod.proxy == "sidecar" else "")
    for facts in pod.services:
        yield "-" * 20
        yield from _service_lines(facts)
    yield from _warnings(pod.warnings)


def service_text(description: Description) -> Iterator[str]:
    """The lines about a service."""
    yield from _service_lines(description.service)
    for workload in description.workloads:
        yield "-" * 20
        yield f"Pods: {', '.join(workload.pods)}"
        if workload.mutual_tls:
            yield "Mutual TLS:"
            yield from (f"   {line}" for line in _modes(workload.mutual_tls))
        yield from _policies(workload.policies)
    yield from _warnings(description.warnings)


def _modes(modes: tuple[MutualTls, ...]) -> Iterator[str]:
    for mode in modes:
        why = (
            f"{mode.source}, {mode.level} level"
            if mode.source and mode.level != "default"
            else mode.source or "default"
        )
        yield f"{f'port {mode.port}' if mode.port else 'other ports'}: {mode.mode} ({why})"


def _policies(policies: tuple[Policy, ...]) -> Iterator[str]:
    texts: dict[str, list[str]] = {}
    for policy in policies:
        if policy.kind not in ("PeerAuthentication", "Policy", "MeshPolicy"):  # shown as modes
            title = (
                policy.kind + (f" {policy.action}" if policy.action else "") + (" (dry run)" if policy.dry_run else "")
            )
            texts.setdefault(title, []).append(policy.name)
    yield from (f"{title}: {', '.join(names)}" for title, names in texts.items())


def _service_lines(facts: ServiceDescription) -> Iterator[str]:
    counts = f"{facts.healthy} of {_count(facts.endpoints, 'endpoint')} healthy, {facts.with_sidecar} with a sidecar"
    yield f"Service: {facts.name}.{facts.namespace} ({counts})"
    for port in facts.ports:
        name = f"{port.name} " if port.name else ""
        yield f"   Port: {name}{port.number}/{port.protocol} (by {port.chosen_by}) targets pod port {port.target}"
        for clients in port.clients:
            subset = f" to subset {clients.subset}" if clients.subset else ""
            yield f"      Clients in {', '.join(clients.namespaces)}{subset}: {clients.tls} ({clients.by})"
    for rule in facts.rules:
        yield f"   DestinationRule: {', '.join(rule.names)} (clients in {rule.clients})"
        mine = [s.name for s in rule.subsets if s.matches]
        others = [f"{s.name} ({_count(s.endpoints, 'endpoint')})" for s in rule.subsets if not s.matches]
        yield from ([f"      Matching subsets: {', '.join(mine)}"] if mine else [])
        yield from ([f"      {'Non-matching subsets' if mine else 'Subsets'}: {', '.join(others)}"] if others else [])
        yield f"      Traffic policy: {', '.join(rule.settings) or 'none'}"
    for routed in facts.routes:
        yield f"   VirtualService: {routed.virtual_service} (hosts {', '.join(routed.hosts)}; {_via(routed.via)})"
        for route in routed.routes:
            share = "not reached" if route.unreached else f"{route.percent:g} %"
            yield f"      {route.place}: {share} of {route.when} (to {', '.join(route.targets)})"
    for exposed in facts.gateways:
        tls = f", TLS {exposed.tls}" if exposed.tls else ""
        yield (
            f"   Exposed by Gateway {exposed.gateway}: port {exposed.port}/{exposed.protocol}{tls}, hosts "
            f"{', '.join(exposed.hosts)} (VirtualService {', '.join(exposed.virtual_services)}; "
            f"{', '.join(exposed.proxies)})"
        )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _via(via: str) -> str:
    return "in the mesh" if via == "mesh" else f"at Gateway {via}"


def _warnings(texts: tuple[str, ...]) -> Iterator[str]:
    if texts:
        yield "-" * 20
    yield from (f"Warning: {text}" for text in texts)
