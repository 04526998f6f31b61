"""`sailctl x authz`: which AuthorizationPolicies a proxy has, and which policy decides a request."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import complete, dumps, output, request_options
from .cluster_options import Kubeconfig, TextForm, namespace_option

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sailcloth.analysis.authorization import Decision, Workload
    from sailcloth.api.meta import Key
    from sailcloth.mesh.registry import Mesh

Object = dict[str, Any]
_NAME = re.compile(r"(?:istio-ext-authz-.*-)?ns\[(?P<namespace>.*)\]-policy\[(?P<name>.*)\]-rule\[\d+\]$")
_COUNTER = re.compile(
    r"\.rbac\..*policy\.ns\[(?P<namespace>[^\]]*)\]-policy\[(?P<name>[^\]]*)\]-rule\[\d+\]\.\w+: (?P<count>\d+)$"
)
_ORDER = ("CUSTOM", "DENY", "ALLOW", "AUDIT")
_KINDS = ("deployment", "deploy", "statefulset", "daemonset", "pod", "po", "service", "svc")
File = Annotated[list[Path] | None, typer.Option("-f", "--file", help="Manifest or directory (with --offline).")]


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(help="Look at authorization: who may do what, and which policy says so.", no_args_is_help=True)
    group.command("check")(check)
    group.command("explain")(explain)
    group.command("suggest")(suggest)
    app.add_typer(group, name="authz")


# -- check --------------------------------------------------------------------------------------


def check(
    pod: Annotated[str, typer.Argument(help="POD[.NAMESPACE]", autocompletion=complete.pods)] = "",
    file: Annotated[Path | None, typer.Option("-f", "--file", help="Config dump of an Envoy.")] = None,
    namespace: Annotated[str, namespace_option("Namespace of the pod.")] = "",
    verbose: Annotated[
        bool,
        typer.Option(
            "-v", "--verbose", help="How many HTTP requests each policy has decided, since its Envoy started."
        ),
    ] = False,
    out: Annotated[str, typer.Option("-o", "--output", help="table, json or yaml")] = "table",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Show the AuthorizationPolicies that a proxy enforces, from its Envoy's configuration."""
    output.check_choice("output", out, "table", "json", "yaml")
    counts: dict[str, int] = {}
    if verbose and file is not None:
        output.fail("--verbose asks an Envoy; name a pod", output.USAGE)
    if file is not None:
        try:
            dump = json.loads(file.read_text())
        except (OSError, ValueError) as error:
            output.fail(f"{file}: {error}", output.DATA)
    elif pod:
        dump = dumps.fetch(pod, namespace, kubeconfig)
        if verbose:
            counts = decision_counts(
                dumps.run(dumps.admin(pod, namespace, kubeconfig, "GET", "/stats?filter=rbac.*policy"))
            )
    else:
        output.fail("name a pod (POD[.NAMESPACE]) or a config dump with -f", output.USAGE)
    rows = [{"action": a, "policy": p, "rules": n} for a, p, n in policies_of(dump)]
    if verbose:
        rows = [{**row, "requests": counts.get(str(row["policy"]), 0)} for row in rows]
    if out != "table":
        output.structured(rows, out)
        return
    output.table(
        ["ACTION", "AuthorizationPolicy", "RULES", *(["REQUESTS"] if verbose else [])],
        [[*row.values()] for row in rows],
    )


def decision_counts(statistics: str) -> dict[str, int]:
    """How many requests each policy (NAME.NAMESPACE) has decided, from an Envoy's statistics."""
    counts: dict[str, int] = {}
    for line in statistics.splitlines():
        match = _COUNTER.search(line)
        if match is not None:
            policy = f"{match['name']}.{match['namespace']}"
            counts[policy] = counts.get(policy, 0) + int(match["count"])
    return counts


def policies_of(dump: Object) -> list[tuple[str, str, int]]:
    """(action, NAME.NAMESPACE, number of rules) of the policies in a config dump. `(dry run)` follows the action of shadow rules."""
    rules: dict[tuple[str, str], set[str]] = {}
    for config in _rbac_filters(dump):
        for field, dry_run in (("rules", False), ("shadow_rules", True)):
            rbac = config.get(field) or {}
            for name in rbac.get("policies") or {}:
                match = _NAME.match(name)
                custom = name.startswith("istio-ext-authz-")
                action = "CUSTOM" if custom else {"LOG": "AUDIT"}.get(a := rbac.get("action", "ALLOW"), a)
                action += " (dry run)" if dry_run and not custom else ""
                policy = f"{match['name']}.{match['namespace']}" if match else name
                rules.setdefault((action, policy), set()).add(name)
    order = {action: index for index, action in enumerate(_ORDER)}
    return sorted(
        ((action, policy, len(names)) for (action, policy), names in rules.items()),
        key=lambda row: (order.get(row[0].partition(" ")[0], 9), row),
    )


def _rbac_filters(value: Any) -> Iterator[Object]:
    """The configurations of all RBAC filters in a dump."""
    if isinstance(value, list):
        for item in value:
            yield from _rbac_filters(item)
    elif isinstance(value, dict):
        if str(value.get("@type", "")).endswith(".rbac.v3.RBAC"):
            yield value
        for item in value.values():
            yield from _rbac_filters(item)


# -- suggest ------------------------------------------------------------------------------------


def suggest(
    workload: Annotated[str, typer.Argument(help="deployment/NAME.")],
    namespace: Annotated[str, namespace_option("Namespace of the workload.")] = "",
    tail: Annotated[int, typer.Option("--tail", help="Lines of each proxy's log to read; 0: all.")] = 0,
    out: Annotated[str, typer.Option("-o", "--output", help="yaml or json")] = "yaml",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Suggest an ALLOW policy of least privilege from the access logs of a workload's proxies; nothing is applied.

    It allows the observed callers, methods and paths, and says which of the requests it would have refused.
    """
    from sailcloth.analysis import observed_requests

    output.check_choice("output", out, "yaml", "json")
    kind, _, name = workload.rpartition("/")
    if kind not in ("", "deployment", "deploy"):
        output.fail(f"{workload!r}: name a deployment as deployment/NAME", output.USAGE)
    namespace, labels, logs, principals, gateways = dumps.run(_logs(name, namespace, tail, kubeconfig))
    gateway = next(iter(gateways)) if len(gateways) == 1 else ""
    lines = (line for log in logs for line in log.splitlines())
    requests = [
        request for line in lines if (request := observed_requests.parse(line, principals, gateway)) is not None
    ]
    if not requests:
        output.fail("no request to the workload in its proxies' access logs; is accessLogFile on, in Istio's format?")
    policy, notes = observed_requests.policy(name, namespace, labels, requests)
    for note in notes:
        output.warn(note)
    output.structured(policy, out)


async def _logs(
    name: str, namespace: str, tail: int, kubeconfig: str
) -> tuple[str, dict[str, str], list[str], dict[str, str], set[str]]:
    """(namespace, labels of the workload's pods, logs of their proxies, identity by pod address, identities of gateways)."""
    from sailcloth.analysis import manifests, offline
    from sailcloth.kube import Resource
    from sailcloth.kube.resources import CONFIGMAPS, PODS

    from .cluster import client

    async with client(kubeconfig) as api:
        namespace = namespace or api.endpoint.namespace
        deployment = await api.get(Resource("apps", "v1", "deployments", "Deployment"), name, namespace)
        labels = deployment["spec"]["selector"].get("matchLabels") or {}
        options, _ = await api.list(CONFIGMAPS, "istio-system")
        typed = [manifests.typed({"apiVersion": "v1", "kind": "ConfigMap", **obj}) for obj in options]
        trust_domain = offline.mesh_of([obj for obj in typed if isinstance(obj, tuple)]).config.trust_domain
        pods, _ = await api.list(PODS)
        principals: dict[str, str] = {}
        gateways = set()
        logs = []
        for pod in pods:
            metadata, spec = pod["metadata"], pod["spec"]
            account = f"{trust_domain}/ns/{metadata['namespace']}/sa/{spec.get('serviceAccountName') or 'default'}"
            principals |= {ip["ip"]: account for ip in (pod.get("status") or {}).get("podIPs") or ()}
            gateways |= {account} if _is_gateway(pod) else set()
            selected = metadata["namespace"] == namespace and labels.items() <= (metadata.get("labels") or {}).items()
            containers = [*spec["containers"], *(spec.get("initContainers") or ())]
            if selected and any(c["name"] == "istio-proxy" for c in containers):
                path = f"/api/v1/namespaces/{namespace}/pods/{metadata['name']}/log"
                query = {"container": "istio-proxy", **({"tailLines": str(tail)} if tail else {})}
                logs.append((await api.call("GET", path, **query)).decode(errors="replace"))
    if not logs:
        raise ValueError(f"no pod of deployment/{name} in {namespace} has a sidecar")
    return namespace, labels, logs, principals, gateways


# -- explain ------------------------------------------------------------------------------------


def explain(
    to: Annotated[str, typer.Option("--to", help="The workload: NAMESPACE/NAME, or KIND/NAME with -n.")],
    caller: Annotated[
        str, typer.Option("--from", help="The caller: NAMESPACE/ACCOUNT, or a SPIFFE ID; none: no mutual TLS.")
    ] = "",
    port: Annotated[int, typer.Option("--port", help="The workload's port.")] = 0,
    method: Annotated[str, typer.Option("--method", help="Method of the request.")] = "GET",
    path: Annotated[str, typer.Option("--path", help="Path of the request, with its query.")] = "/",
    host: Annotated[str, typer.Option("--host", help="Host of the request.")] = "",
    header: Annotated[list[str] | None, typer.Option("--header", help="NAME=VALUE; may be repeated.")] = None,
    jwt: Annotated[
        Path | None, typer.Option("--jwt", help="File with the token; its signature is not checked.")
    ] = None,
    claims: Annotated[str, typer.Option("--claims", help="Claims of the token, as JSON.")] = "",
    source_ip: Annotated[str, typer.Option("--source-ip", help="Source address of the connection.")] = "",
    remote_ip: Annotated[str, typer.Option("--remote-ip", help="Address of the client before proxies.")] = "",
    sni: Annotated[str, typer.Option("--sni", help="Server name of the TLS connection.")] = "",
    protocol: Annotated[str, typer.Option("--protocol", help="http, or tcp for a connection.")] = "http",
    requests: Annotated[
        Path | None, typer.Option("--requests", help="JSON lines with requests; prints one decision per line.")
    ] = None,
    labels: Annotated[str, typer.Option("--labels", help="Labels of the workload: KEY=VALUE[,…].")] = "",
    gateway: Annotated[bool, typer.Option("--gateway", help="The workload is a gateway (with --labels).")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Decide from manifests; no cluster needed.")] = False,
    file: File = None,
    mesh_config: Annotated[Path | None, typer.Option("--mesh-config", help="MeshConfig YAML (with --offline).")] = None,
    namespace: Annotated[str, namespace_option("Namespace of the workload.")] = "",
    out: TextForm = "text",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Say which policy decides a request to a workload, as its Envoy does."""
    from sailcloth.analysis import authorization

    output.check_choice("output", out, "text", "json", "yaml")
    output.check_choice("protocol", protocol, "http", "tcp")
    mesh, workload = _mesh_and_workload(to, namespace, request_options.pairs("--labels", labels.split(",") if labels else []), gateway, offline,
                              file or [], mesh_config, kubeconfig)  # fmt: skip
    if requests is not None:
        for call in request_options.calls(requests):
            print(json.dumps(_to_builtins(authorization.decide(mesh.graph, workload, call))))
        return
    call = authorization.Call(
        principal=request_options.principal(caller, mesh.config.trust_domain),
        source_ip=request_options.address("--source-ip", source_ip),
        remote_ip=request_options.address("--remote-ip", remote_ip),
        method=method,
        path=path if path.startswith("/") else f"/{path}",
        host=host,
        port=port,
        headers=request_options.pairs("--header", header or []),
        claims=request_options.claims(jwt, claims),
        sni=sni,
        protocol="tcp" if protocol == "tcp" else "http",
    )
    decision = authorization.decide(mesh.graph, workload, call)
    if jwt is not None and decision.decision != "deny" and request_options.expired(call.claims or {}):
        decision = authorization.Decision("deny", "JWT", None, None, "the token has expired (401)")
    if out != "text":
        output.structured(_to_builtins(decision), out)
        return
    by = f" by {decision.action} policy {decision.policy}" if decision.policy else ""
    by += f", rule {decision.rule}" if decision.rule is not None else ""
    print(f"{decision.decision}{by}: {decision.reason}")


def _to_builtins(decision: Decision) -> Object:
    import msgspec

    return dict(msgspec.to_builtins(decision))


# -- the mesh and the workload ------------------------------------------------------------------


def _mesh_and_workload(
    to: str,
    namespace: str,
    labels: dict[str, str],
    gateway: bool,
    offline: bool,
    files: list[Path],
    mesh_config: Path | None,
    kubeconfig: str,
) -> tuple[Mesh, Workload]:
    """The mesh and the workload, from manifests or from a cluster."""
    from sailcloth.analysis import authorization
    from sailcloth.analysis import offline as meshes
    from sailcloth.mesh import mesh_config as mesh_options

    from . import manifest_files

    if files and not offline:
        output.fail("-f needs --offline", output.USAGE)
    first, slash, name = to.partition("/")
    kind = first if slash and first in _KINDS else ""
    namespace, name = (namespace, name) if kind else (first, name) if slash else (namespace, to)
    if offline:
        if not files:
            output.fail("--offline needs manifests: -f FILE [-f FILE…]", output.USAGE)
        objects, documents = manifest_files.read(files, notes=False)
        try:
            config = mesh_options.parse(mesh_config.read_text()) if mesh_config else None
            mesh = meshes.mesh_of(objects, config)
        except (OSError, ValueError) as error:
            output.fail(str(error), output.DATA)
        namespace = namespace or "default"
        template = next((t for d in documents if (t := _pod_template(d, kind, namespace, name)) is not None), None)
    else:
        namespace, template, objects = dumps.run(_read_cluster(kind, namespace, name, kubeconfig, bool(labels)))
        mesh = meshes.mesh_of(objects)
    if labels:
        return mesh, authorization.Workload(namespace, labels, gateway)
    if template is None:
        output.fail(f"no workload {name} in {namespace}; name it, or give its --labels", output.DATA)
    return mesh, authorization.Workload(
        namespace, (template.get("metadata") or {}).get("labels") or {}, _is_gateway(template)
    )


def _pod_template(document: Object, kind: str, namespace: str, name: str) -> Object | None:
    """The pod template of a document, or the pod itself; None if the document is not the workload."""
    metadata = document.get("metadata") or {}
    if metadata.get("name") != name or (metadata.get("namespace") or "default") != namespace:
        return None
    kind_of_document = str(document.get("kind", "")).lower()
    if kind and not kind_of_document.startswith({"po": "pod", "svc": "service"}.get(kind, kind)):
        return None
    if kind_of_document == "pod":
        return document
    spec = document.get("spec") or {}
    if kind_of_document == "service":
        return {"metadata": {"labels": spec.get("selector") or {}}}
    template = spec.get("template")
    return template if isinstance(template, dict) else None


def _is_gateway(template: Object) -> bool:
    """Whether the pods of a template are gateways."""
    containers = (template.get("spec") or {}).get("containers") or ()
    return any("router" in (c.get("args") or ()) for c in containers)


async def _read_cluster(
    kind: str, namespace: str, name: str, kubeconfig: str, with_labels: bool
) -> tuple[str, Object | None, list[tuple[Key, Any]]]:
    """(namespace, pod template of the workload, objects of the mesh), from a cluster."""
    from sailcloth.kube import Resource

    from . import cluster_objects
    from .cluster import client

    kinds = (
        "Service",
        "ConfigMap",
        "ServiceEntry",
        "AuthorizationPolicy",
        "RequestAuthentication",
        "PeerAuthentication",
    )
    async with client(kubeconfig) as api:
        namespace = namespace or api.endpoint.namespace
        objects = await cluster_objects.read(api, kinds)
        for group, plural, kind_name in (
            ("apps", "deployments", "Deployment"),
            ("apps", "statefulsets", "StatefulSet"),
            ("apps", "daemonsets", "DaemonSet"),
            ("", "pods", "Pod"),
            ("", "services", "Service"),
        ):
            obj = await cluster_objects.existing(api, Resource(group, "v1", plural, kind_name), name, namespace)
            template = _pod_template({**obj, "kind": kind_name}, kind, namespace, name) if obj is not None else None
            if template is not None:
                return namespace, template, objects
    if not with_labels:
        raise ValueError(f"no workload {name} in namespace {namespace}")
    return namespace, None, objects
