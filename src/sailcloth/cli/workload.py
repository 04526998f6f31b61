"""`sailctl x workload`: a WorkloadGroup to apply, and the files with which a machine outside of Kubernetes joins it.

The files are those of `istioctl x workload entry configure`, for Istio's own package on the machine (source: istio.md 2.22).
Nothing is applied.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from . import dumps, output
from .cluster_options import Kubeconfig, namespace_option

Object = dict[str, Any]
_AUDIENCE = "istio-ca"
_DISCOVERY = "istiod.istio-system.svc"
_LOCAL_PORTS = "22,15090,15021,15020"
File = Annotated[Path | None, typer.Option("-f", "--file", help="Manifest of the WorkloadGroup.")]
Namespace = Annotated[str, namespace_option("Namespace of the group.")]


def register(group: typer.Typer) -> None:
    """Add the commands to the group `x`."""
    workload = typer.Typer(help="Machines outside of Kubernetes.", no_args_is_help=True)
    groups = typer.Typer(help="Groups of machines.", no_args_is_help=True)
    entries = typer.Typer(help="Machines of a group.", no_args_is_help=True)
    groups.command("create")(create)
    entries.command("configure")(configure)
    workload.add_typer(groups, name="group")
    workload.add_typer(entries, name="entry")
    group.add_typer(workload, name="workload")


def create(
    name: Annotated[str, typer.Option("--name", help="Name of the group.")],
    namespace: Namespace = "",
    labels: Annotated[str, typer.Option("-l", "--labels", help="Labels of its workloads: a=b,c=d.")] = "",
    annotations: Annotated[
        str, typer.Option("-a", "--annotations", help="Annotations of their entries: a=b,c=d.")
    ] = "",
    ports: Annotated[str, typer.Option("-p", "--ports", help="Their ports by name: http=8080,grpc=3550.")] = "",
    account: Annotated[str, typer.Option("-s", "--serviceAccount", help="Their service account.")] = "default",
) -> None:
    """Print a WorkloadGroup: `sailctl x workload group create … | kubectl apply -f -`."""
    try:
        created = group_of(name, namespace, pairs(labels), pairs(annotations), pairs(ports), account)
    except ValueError as error:
        output.fail(str(error), output.USAGE)
    _check(created)
    output.structured(created, "yaml")


def pairs(text: str) -> dict[str, str]:
    """`a=b,c=d` as a mapping. Raises ValueError for a part without `=`."""
    out = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        key, equals, value = part.partition("=")
        if not key or not equals:
            raise ValueError(f"{part!r} is not of the form NAME=VALUE")
        out[key] = value
    return out


def group_of(
    name: str,
    namespace: str,
    labels: dict[str, str],
    annotations: dict[str, str],
    ports: dict[str, str],
    account: str,
) -> Object:
    """The manifest of a group. Raises ValueError for a port that is no number."""
    for key, port in ports.items():
        if not port.isdigit():
            raise ValueError(f"port {key}={port} is no number")
    metadata = {**({"annotations": annotations} if annotations else {}), **({"labels": labels} if labels else {})}
    template = {**({"ports": {k: int(v) for k, v in ports.items()}} if ports else {}), "serviceAccount": account}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "WorkloadGroup",
        "metadata": {"name": name, **({"namespace": namespace} if namespace else {})},
        "spec": {**({"metadata": metadata} if metadata else {}), "template": template},
    }


def _check(created: Object) -> None:
    """Exit with the first validation error of the group."""
    from sailcloth.analysis import manifests

    try:
        _, findings = manifests.load([json.dumps(created)])
    except ValueError as error:
        output.fail(str(error), output.DATA)
    for finding in findings:
        output.fail(str(finding), output.DATA)


def configure(
    out: Annotated[Path, typer.Option("-o", "--output", help="Folder for the files.")],
    file: File = None,
    name: Annotated[str, typer.Option("--name", help="Name of a group in the cluster, without -f.")] = "",
    namespace: Namespace = "",
    cluster: Annotated[
        str, typer.Option("--clusterID", help="Kube cluster that the machine belongs to.")
    ] = "Kubernetes",
    autoregister: Annotated[
        bool, typer.Option("--autoregister", help="Let the machine make its WorkloadEntry.")
    ] = False,
    capture_dns: Annotated[
        bool, typer.Option("--capture-dns/--no-capture-dns", help="Answer DNS on the machine.")
    ] = True,
    external: Annotated[str, typer.Option("--externalIP", help="Address of the machine from outside.")] = "",
    internal: Annotated[str, typer.Option("--internalIP", help="Address of the machine from inside.")] = "",
    ingress: Annotated[
        str, typer.Option("--ingressIP", help="Address where the machine reaches the control plane.")
    ] = "",
    ingress_service: Annotated[
        str, typer.Option("--ingressService", help="Service whose address that is, without --ingressIP.")
    ] = "istio-eastwestgateway",
    ingress_namespace: Annotated[str, typer.Option("--ingressNamespace", help="Its namespace.")] = "istio-system",
    duration: Annotated[
        int, typer.Option("--tokenDuration", help="Seconds that the token is good for.", min=600)
    ] = 3600,
    kubeconfig: Kubeconfig = "",
) -> None:
    """Write the files with which a machine joins a WorkloadGroup: cluster.env, mesh.yaml, hosts, root-cert.pem, istio-token."""
    group = _from_file(file) if file else None
    if group is None and not name:
        output.fail("name the group: -f FILE, or --name NAME for one in the cluster", output.USAGE)
    where = (ingress, ingress_service, ingress_namespace)
    obj = dumps.run(_fetch(group, name, namespace, where, duration, kubeconfig))
    group, options, root, token, address = obj
    env = environment(group, options, cluster, autoregister=autoregister, capture_dns=capture_dns)
    if external or internal:
        env["ISTIO_SVC_IP"] = internal or external
    if external:
        env["REWRITE_PROBE_LEGACY_LOCALHOST_DESTINATION"] = "true"  # probes come to an address that the machine has not
    _write(out, files(group, env, root, token, address))
    if not address:
        output.warn(
            f"{out / 'hosts'} is empty: service {ingress_service} in {ingress_namespace} has no address. "
            f"Give --ingressIP, or let the machine resolve {_DISCOVERY}"
        )
    print(f"Configuration of machines of {group['metadata']['name']} is in {out}; keep istio-token secret")


def _from_file(file: Path) -> Object:
    import yaml

    from sailcloth.lib import bounded_yaml

    try:
        data = [d for d in bounded_yaml.load_all(file.read_text()) if isinstance(d, dict)]
    except (OSError, yaml.YAMLError) as error:
        output.fail(f"{file}: {error}", output.DATA)
    groups = [d for d in data if d.get("kind") == "WorkloadGroup"]
    if len(groups) != 1:
        output.fail(f"{file}: {len(groups)} WorkloadGroups are in it, and one is wanted", output.DATA)
    _check(groups[0])
    return groups[0]


async def _fetch(
    group: Object | None, name: str, namespace: str, where: tuple[str, str, str], duration: int, kubeconfig: str
) -> tuple[Object, Object, str, str, str]:
    """(group, the mesh's options, root certificate, token, the control plane's address), from the cluster."""

    from sailcloth.kube import ApiError, Resource
    from sailcloth.kube.resources import CONFIGMAPS, SERVICES
    from sailcloth.lib import bounded_yaml

    from .cluster import client

    async with client(kubeconfig) as api:
        if group is None:
            kind = Resource("networking.istio.io", "v1", "workloadgroups", "WorkloadGroup")
            group = await api.get(kind, name, namespace or api.endpoint.namespace)
        metadata = group["metadata"]
        metadata["namespace"] = namespace or metadata.get("namespace") or api.endpoint.namespace
        root = (await api.get(CONFIGMAPS, "istio-ca-root-cert", metadata["namespace"]))["data"]["root-cert.pem"]
        account = group["spec"]["template"].get("serviceAccount") or "default"
        token = await api.create_token(account, metadata["namespace"], [_AUDIENCE], duration)
        options: Object = {}
        address, service, at = where
        try:
            obj = await api.get(CONFIGMAPS, "istio", "istio-system")
            options = bounded_yaml.load((obj.get("data") or {}).get("mesh") or "") or {}
            if not address:
                status = (await api.get(SERVICES, service, at)).get("status", {})
                entries = status.get("loadBalancer", {}).get("ingress") or [{}]
                address = str(entries[0].get("ip", ""))
        except ApiError as error:
            if error.status != 404:
                raise
    return group, options, str(root), token, address


def environment(
    group: Object, options: Object, cluster: str = "Kubernetes", *, autoregister: bool = False, capture_dns: bool = True
) -> dict[str, str]:
    """The machine's variables, in Istio's names."""
    spec, metadata = group["spec"], group["metadata"]
    template = spec["template"]
    defaults = options.get("defaultConfig") or {}
    labels = {**(template.get("labels") or {}), **((spec.get("metadata") or {}).get("labels") or {})}
    name, namespace = str(metadata["name"]), str(metadata["namespace"])
    service = labels.get("service.istio.io/canonical-name") or labels.get("app.kubernetes.io/name") or labels.get("app")
    revision = labels.get("service.istio.io/canonical-revision") or labels.get("app.kubernetes.io/version")
    canonical = {
        "service.istio.io/canonical-name": service or name,
        "service.istio.io/canonical-revision": revision or labels.get("version") or "latest",
    }
    ports = ",".join(str(p) for p in sorted(template.get("ports", {}).values()))
    network = str(template.get("network") or "")
    out = {
        **{str(k): str(v) for k, v in (defaults.get("proxyMetadata") or {}).items()},
        "CANONICAL_REVISION": canonical["service.istio.io/canonical-revision"],
        "CANONICAL_SERVICE": canonical["service.istio.io/canonical-name"],
        "ISTIO_INBOUND_PORTS": ports or "*",
        "ISTIO_LOCAL_EXCLUDE_PORTS": _LOCAL_PORTS,
        "ISTIO_METAJSON_LABELS": json.dumps({**labels, **canonical}, separators=(",", ":"), sort_keys=True),
        "ISTIO_META_CLUSTER_ID": cluster,
        "ISTIO_META_MESH_ID": str(defaults.get("meshId") or options.get("trustDomain") or "cluster.local"),
        "ISTIO_META_NETWORK": network,
        "ISTIO_META_WORKLOAD_NAME": name,
        "ISTIO_NAMESPACE": namespace,
        "ISTIO_SERVICE": f"{name}.{namespace}",
        "ISTIO_SERVICE_CIDR": "*",
        "POD_NAMESPACE": namespace,
        "SERVICE_ACCOUNT": str(template.get("serviceAccount") or "default"),
        "TRUST_DOMAIN": str(options.get("trustDomain") or "cluster.local"),
    }
    if capture_dns:
        out["ISTIO_META_DNS_CAPTURE"] = "true"
    if autoregister:
        out["ISTIO_META_AUTO_REGISTER_GROUP"] = name
    return dict(sorted(out.items()))


def files(group: Object, env: dict[str, str], root: str, token: str, address: str) -> dict[str, str]:
    """The files' texts by name."""
    import yaml

    defaults: Object = {"discoveryAddress": f"{_DISCOVERY}:15012", "proxyMetadata": env}
    if env["ISTIO_META_MESH_ID"]:
        defaults["meshId"] = env["ISTIO_META_MESH_ID"]
    if group["spec"].get("probe"):
        defaults["readinessProbe"] = group["spec"]["probe"]
    return {
        "cluster.env": "".join(f"{name}={_quoted(value)}\n" for name, value in env.items()),
        "mesh.yaml": yaml.safe_dump({"defaultConfig": defaults}),
        "hosts": f"{address} {_DISCOVERY}\n" if address else "",
        "root-cert.pem": root,
        "istio-token": token,
    }


def _quoted(text: str) -> str:
    """As a shell reads it back."""
    return "'" + text.replace("'", "'\\''") + "'"


def _write(folder: Path, texts: dict[str, str]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            mode = 0o600 if name == "istio-token" else 0o644
            with os.fdopen(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
                os.fchmod(file.fileno(), mode)  # also of a file that was there
                file.write(text)
    except OSError as error:
        output.fail(f"{error.filename or folder}: {error.strerror}", output.DATA)
