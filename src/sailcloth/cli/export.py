"""`sailctl export`: the objects of a cluster as YAML that can be applied again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import dumps, output
from .cluster_options import Kubeconfig, namespace_option

if TYPE_CHECKING:
    from sailcloth.kube import Client

Object = dict[str, Any]
# Made by the cluster itself, or true only of the cluster they were read from.
_DERIVED = {"events", "pods", "replicasets", "endpointslices", "endpoints", "nodes", "leases", "componentstatuses"}
_METADATA = (
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "managedFields",
    "selfLink",
    "ownerReferences",
)
_NAMESPACES = ("kube-system", "kube-public", "kube-node-lease")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export", rich_help_panel="Local cluster")(export)


def export(
    file: Annotated[str, typer.Option("-f", "--filename", help="Where to write; default standard output.")] = "",
    namespace: Annotated[str, namespace_option("Only this namespace.")] = "",
    secrets: Annotated[bool, typer.Option("--secrets", help="With Secrets; keep the file to yourself.")] = False,
    kubeconfig: Kubeconfig = "",
) -> None:
    """Export objects as YAML for `kubectl apply -f`, without pods and other objects that controllers create."""
    import yaml

    result = dumps.run(_objects(kubeconfig, namespace, secrets))
    text = yaml.dump_all(result, sort_keys=False, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper))
    if not file:
        sys.stdout.write(text)
        return
    path = Path(file)
    try:
        path.touch(mode=0o600)
        path.write_text(text)
    except OSError as error:
        output.fail(f"{file}: {error.strerror}", output.DATA)
    print(f"{len(result)} objects written to {file}", file=sys.stderr)


async def _objects(kubeconfig: str, namespace: str, secrets: bool) -> list[Object]:
    from .cluster import client

    async with client(kubeconfig) as api:
        out: list[Object] = []
        for resource in await _resources(api):
            if resource.plural in _DERIVED or (resource.plural == "secrets" and not secrets):
                continue
            if namespace and not resource.namespaced:
                continue
            items, _ = await api.list(resource, namespace if resource.namespaced else "")
            out += [_plain(o, resource.api_version, resource.kind) for o in items if _is_users(o, resource.plural)]
    order = {
        "CustomResourceDefinition": 0,
        "Namespace": 1,
        "ServiceAccount": 2,
        "ConfigMap": 3,
        "Secret": 3,
        "Service": 4,
    }
    return sorted(out, key=lambda o: order.get(o["kind"], 5))


async def _resources(api: Client) -> list[Any]:
    """Every kind that can be listed and created, in the version that its group prefers."""
    import orjson

    from sailcloth.kube import Resource

    groups = orjson.loads(await api.call("GET", "/apis"))["groups"]
    versions = [("", "v1"), *((g["name"], g["preferredVersion"]["version"]) for g in groups)]
    out = []
    for group, version in versions:
        data = orjson.loads(await api.call("GET", f"/apis/{group}/{version}" if group else f"/api/{version}"))
        for r in data["resources"]:
            if "/" not in r["name"] and {"list", "create"} <= set(r["verbs"]):
                out.append(Resource(group, version, r["name"], r["kind"], r["namespaced"]))
    return out


def _is_users(obj: Object, plural: str) -> bool:
    """Whether a user created an object."""
    metadata = obj["metadata"]
    if metadata.get("ownerReferences") or metadata.get("namespace") in _NAMESPACES or metadata["name"] in _NAMESPACES:
        return False
    if plural == "customresourcedefinitions" and [m.get("fieldsV1") for m in metadata.get("managedFields") or ()] == [
        {}
    ]:
        return False  # it came with the cluster, and nobody has applied another over it
    created = {"serviceaccounts": "default", "configmaps": "kube-root-ca.crt", "services": "kubernetes"}
    if created.get(plural) == metadata["name"] or (metadata["name"], plural) == ("istio-ca-root-cert", "configmaps"):
        return False
    return str(obj.get("type", "")) not in ("kubernetes.io/service-account-token", "istio.io/ca-root")


def _plain(obj: Object, version: str, kind: str) -> Object:
    metadata = {k: v for k, v in obj["metadata"].items() if k not in _METADATA}
    notes = {
        k: v for k, v in (metadata.get("annotations") or {}).items() if not k.startswith("kubectl.kubernetes.io/last-")
    }
    if notes:
        metadata["annotations"] = notes
    else:
        metadata.pop("annotations", None)
    out: Object = {"apiVersion": version, "kind": kind, "metadata": metadata}
    out.update({k: v for k, v in obj.items() if k not in ("apiVersion", "kind", "metadata", "status")})
    if kind == "Service" and out.get("spec", {}).get("clusterIP") != "None":
        out["spec"] = {k: v for k, v in out["spec"].items() if k not in ("clusterIP", "clusterIPs")}
    return out
