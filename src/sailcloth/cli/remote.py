"""`sailctl create-remote-secret` and `remote-clusters`: access to another kube cluster as a Secret, and the clusters of the mesh."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from . import cluster_objects, dumps, output
from .cluster_options import Form, Kubeconfig, Namespace, form

Object = dict[str, Any]
LABEL, ANNOTATION = "istio/multiCluster", "networking.istio.io/cluster"
_PREFIX, _ACCOUNT = "istio-remote-secret-", "istio-reader-service-account"
_LIFETIME_S = 10 * 365 * 86_400
_TYPES = ("remote", "config")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("create-remote-secret", rich_help_panel="Multicluster")(create_remote_secret)
    app.command("remote-clusters", rich_help_panel="Multicluster")(remote_clusters)


def create_remote_secret(
    name: Annotated[str, typer.Option("--name", help="Name of the cluster in the mesh; its own id by default.")] = "",
    account: Annotated[str, typer.Option("--service-account", help="Account that the access is for.")] = _ACCOUNT,
    make: Annotated[
        bool,
        typer.Option("--create-service-account/--no-create-service-account", help="Make the account if it is missing."),
    ] = True,
    server: Annotated[str, typer.Option("--server", help="URL by which others reach the API server.")] = "",
    kind: Annotated[str, typer.Option("--type", help="remote or config")] = "remote",
    auth: Annotated[str, typer.Option("--auth-type", help="bearer-token")] = "bearer-token",
    namespace: Namespace = "istio-system",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Print a Secret with a kubeconfig of this cluster, to be applied in another one. Treat it as a password."""
    import yaml

    if kind not in _TYPES:
        output.fail(f"--type: unknown value {kind!r}; use {', '.join(_TYPES)}", output.USAGE)
    if auth != "bearer-token":
        output.fail(f"--auth-type: {auth!r} is not there; use bearer-token", output.USAGE)
    made = dumps.run(_secret(name, account, make, server, kind, namespace, kubeconfig))
    print(
        "# Apply this in the other cluster; it gives access to this one.\n"
        + yaml.safe_dump(made, sort_keys=False)
        + "---"
    )


async def _secret(
    name: str, account: str, make: bool, server: str, kind: str, namespace: str, kubeconfig: str
) -> Object:
    from sailcloth.kube.resources import CONFIGMAPS, SERVICEACCOUNTS

    from .cluster import client

    async with client(kubeconfig) as api:
        url = server or api.endpoint.server
        if not url.startswith("https://"):
            raise ValueError(f"the server {url!r} is no https:// URL; name one that others reach with --server")
        if await cluster_objects.existing(api, SERVICEACCOUNTS, account, namespace) is None:
            if not make:
                raise ValueError(
                    f"there is no service account {namespace}/{account}; leave out --no-create-service-account"
                )
            for resource, obj in reader(account, namespace):
                await api.apply(resource, obj, field_manager="sailctl", force=True)
        authority = (await api.get(CONFIGMAPS, "kube-root-ca.crt", namespace))["data"]["ca.crt"]
        token = await api.create_token(account, namespace, [], _LIFETIME_S)
    return secret(name or "Kubernetes", url, authority, token, kind, namespace)


def reader(account: str, namespace: str) -> list[tuple[Any, Object]]:
    """The service account that reads what a control plane needs of a cluster, with its role."""
    from sailcloth.kube import Resource
    from sailcloth.kube.resources import SERVICEACCOUNTS

    group = "rbac.authorization.k8s.io"
    name = f"istio-reader-clusterrole-{namespace}"
    rules = [
        {
            "apiGroups": ["networking.istio.io", "security.istio.io", "telemetry.istio.io", "extensions.istio.io"],
            "resources": ["*"],
            "verbs": ["get", "list", "watch"],
        },
        {
            "apiGroups": [""],
            "resources": ["endpoints", "pods", "services", "nodes", "namespaces", "configmaps"],
            "verbs": ["get", "list", "watch"],
        },
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]},
    ]
    subject = {"kind": "ServiceAccount", "name": account, "namespace": namespace}
    role = {"apiGroup": group, "kind": "ClusterRole", "name": name}
    version = f"{group}/v1"
    return [
        (
            SERVICEACCOUNTS,
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account, "namespace": namespace}},
        ),
        (
            Resource(group, "v1", "clusterroles", "ClusterRole", namespaced=False),
            {"apiVersion": version, "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules},
        ),
        (
            Resource(group, "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False),
            {
                "apiVersion": version,
                "kind": "ClusterRoleBinding",
                "metadata": {"name": name},
                "roleRef": role,
                "subjects": [subject],
            },
        ),
    ]


def secret(name: str, server: str, authority: str, token: str, kind: str, namespace: str) -> Object:
    """The Secret, in the form that Istio's control planes read."""
    import base64

    import yaml

    cluster = {"certificate-authority-data": base64.b64encode(authority.encode()).decode(), "server": server}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
        "users": [{"name": name, "user": {"token": token}}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": ("istio-kubeconfig" if kind == "config" else _PREFIX + name.lower()),
            "namespace": namespace,
            "labels": {LABEL: "true"},
            "annotations": {ANNOTATION: name},
        },
        "stringData": {name: yaml.safe_dump(config, sort_keys=False)},
    }


def remote_clusters(
    revision: Annotated[str, typer.Option("-r", "--revision", help="Only control planes of this revision.")] = "",
    out: Form = "short",
    kubeconfig: Kubeconfig = "",
) -> None:
    """List the kube clusters that the control plane reads, and Secrets of others that it does not read yet."""
    chosen = form(out)
    rows = dumps.run(_clusters(revision, kubeconfig))
    if chosen:
        output.structured(rows, chosen)
        return
    fields = ("name", "secret", "status", "istiod", "revision")
    output.table([f.upper() for f in fields], [[row[f] for f in fields] for row in rows])


async def _clusters(revision: str, kubeconfig: str) -> list[Object]:
    from sailcloth.kube.resources import PODS, SECRETS

    from .cluster import client, debug, root_namespace

    read = await debug(kubeconfig, "/debug/clusterz")
    async with client(kubeconfig) as api:
        secrets, _ = await api.list(SECRETS, root_namespace(), f"{LABEL}=true")
        pods, _ = await api.list(PODS, root_namespace(), "app=istiod")
    known = {c["secretName"] for c in read}
    rows = [{"name": c["id"], "secret": c["secretName"], "status": c["syncStatus"]} for c in read]
    for each in secrets:
        meta = each["metadata"]
        if f"{meta['namespace']}/{meta['name']}" not in known:
            names = [(meta.get("annotations") or {}).get(ANNOTATION), *(each.get("data") or {})]
            rows.append(
                {
                    "name": next(n for n in (*names, meta["name"]) if n),
                    "secret": f"{meta['namespace']}/{meta['name']}",
                    "status": "not read",
                }
            )
    planes = [(p["metadata"]["name"], (p["metadata"].get("labels") or {}).get("istio.io/rev", "")) for p in pods]
    return [{**row, "istiod": name, "revision": of} for row in rows for name, of in planes if revision in ("", of)]
