"""`sailctl x precheck`: what stands in the way of the mesh in a cluster. Reads and asks for rights; changes nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sailcloth.api.revision import DEFAULT, TAG

from . import output
from .cluster_options import Kubeconfig, Namespace, form
from .injection import INJECTOR, REVISION
from .tags import is_ours

if TYPE_CHECKING:
    from sailcloth.analysis.analyzers import Document
    from sailcloth.kube import Client

Object = dict[str, Any]
MINIMUM = (1, 29)  # minor version of Kubernetes that has native sidecars by default
_GATEWAY_API = (1, 2)
_BUNDLE = "gateway.networking.k8s.io/bundle-version"
_CONCERNING = ("IST0002", "IST0135", "IST0139", "IST0168", "IST0169")  # deprecations, webhooks, changed defaults
_NEEDED = (
    ("", "namespaces", False),
    ("", "services", True),
    ("", "configmaps", True),
    ("", "serviceaccounts", True),
    ("", "secrets", True),
    ("apps", "deployments", True),
    ("rbac.authorization.k8s.io", "clusterroles", False),
    ("rbac.authorization.k8s.io", "clusterrolebindings", False),
    ("apiextensions.k8s.io", "customresourcedefinitions", False),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations", False),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations", False),
)


def register(group: typer.Typer) -> None:
    """Add the command to the group `x`."""
    group.command("precheck")(precheck)


def precheck(
    skip: Annotated[
        bool, typer.Option("--skip-controlplane", help="Only what concerns the objects, not rights and versions.")
    ] = False,
    revision: Annotated[str, typer.Option("-r", "--revision", help="Revision that is to be installed.")] = "",
    since: Annotated[str, typer.Option("-f", "--from-version", help="Version to upgrade from, as istioctl's.")] = "",
    out: Annotated[str, typer.Option("-o", "--output", help="log, json or yaml")] = "log",
    namespace: Namespace = "istio-system",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Check whether the mesh can be installed or upgraded in a cluster: version, rights, definitions, and what objects lose."""
    from . import dumps

    chosen = form(out, "log") if out != "log" else ""
    findings = dumps.run(_check(skip, namespace, revision, kubeconfig))
    if chosen:
        output.structured(findings, chosen)
    else:
        for f in findings:
            print(f"{f['level']} [{f['code']}] ({f['origin']}) {f['message']}")
    if any(f["level"] == "Error" for f in findings):
        output.fail("the cluster is not ready for an installation or an upgrade; the lines above say what to do")
    if not findings and not chosen:
        print("✔ Nothing stands in the way of an installation or an upgrade.")


async def _check(skip: bool, namespace: str, revision: str, kubeconfig: str) -> list[Object]:
    import orjson

    from sailcloth.analysis import analyzers
    from sailcloth.kube.resources import CRDS, MUTATING_WEBHOOKS

    from . import analysis_input
    from .cluster import client

    findings: list[Object] = []
    async with client(kubeconfig) as api:
        if not skip:
            findings += version(orjson.loads(await api.call("GET", "/version")))
            findings += await _rights(api, namespace)
            crds, _ = await api.list(CRDS)
            findings += [*definitions(crds), *kinds(crds)]
            findings += meshes((await api.list(MUTATING_WEBHOOKS, label_selector=INJECTOR))[0], revision)
        documents, _ = await analysis_input.from_cluster(api, namespace)
    found = analyzers.run(analyzers.ObjectSet(documents, root=namespace))
    findings += [
        {"level": f.severity, "code": f.code, "origin": str(f.resource), "message": f.text}
        for f in found
        if f.code in _CONCERNING
    ]
    return [*findings, *objects(documents)]


def version(info: Object) -> list[Object]:
    """A finding if Kubernetes is too old."""
    numbers = tuple(int(re.sub(r"\D.*", "", str(info.get(part) or "0")) or 0) for part in ("major", "minor"))
    if numbers >= MINIMUM:
        return []
    wanted = ".".join(map(str, MINIMUM))
    text = f"The Kubernetes version {info.get('gitVersion', '?')} is older than {wanted}; upgrade the cluster first"
    return [{"level": "Error", "code": "KUBERNETES-VERSION", "origin": "Cluster", "message": text}]


def kinds(crds: list[Object]) -> list[Object]:
    """A finding for each kind of the mesh that is there without the version that the control plane reads."""
    from sailcloth.api.kinds import MESH_KINDS

    served = {d["metadata"]["name"]: {v["name"] for v in d["spec"]["versions"] if v.get("served")} for d in crds}
    return [
        {
            "level": "Error",
            "code": "KIND-VERSION",
            "origin": f"CustomResourceDefinition {name}",
            "message": f"It serves {', '.join(sorted(served[name]))}, but not {kind.versions[0]}; bring it to Istio 1.22 or newer first",
        }
        for kind in MESH_KINDS
        if (name := f"{kind.plural}.{kind.group}") in served and kind.versions[0] not in served[name]
    ]


def meshes(hooks: list[Object], revision: str) -> list[Object]:
    """A finding for each control plane of another product; an error if it has the revision that is to be installed."""
    findings = []
    for hook in hooks:
        labels = hook["metadata"].get("labels") or {}
        own = labels.get(REVISION, DEFAULT)
        if TAG in labels or is_ours(hook):
            continue
        level, advice = "Info", "namespaces move by the label istio.io/rev, and back (docs/migrate-from-istio.md)"
        if own == (revision or DEFAULT):
            level, advice = "Error", "install beside it: `sailctl install --revision sailcloth --set profile=minimal`"
        text = f"Another mesh injects as revision {own}; {advice}"
        findings.append({"level": level, "code": "MESH", "origin": hook["metadata"]["name"], "message": text})
    return findings


def objects(documents: list[Document]) -> list[Object]:
    """A finding for each object that this control plane would not bring into force."""
    from sailcloth.api.kinds import LATER_KINDS

    later = {(kind.group, kind.name) for kind in LATER_KINDS}
    findings = []
    for document in documents:
        refused = [f"{f.path}: {f.text}" for f in document.admission if f.severity == "Error"]
        if (document.group, document.key.kind) in later:
            refused = ["the kind is not there yet"]
        if refused:
            text = f"This version would not bring it into force: {refused[0]}"
            findings.append({"level": "Warning", "code": "OBJECT", "origin": str(document.key), "message": text})
    return findings


async def _rights(api: Client, namespace: str) -> list[Object]:
    """A finding for each kind that the user may not create."""
    findings = []
    for group, resource, namespaced in _NEEDED:
        attributes = {"verb": "create", "group": group, "resource": resource}
        attributes |= {"namespace": namespace} if namespaced else {}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        answer = await api.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
        if not (answer.get("status") or {}).get("allowed"):
            where = f" in namespace {namespace}" if namespaced else ""
            text = f"This user may not create {resource}{where}, which an installation does; ask for that right"
            findings.append({"level": "Error", "code": "RIGHTS", "origin": "Cluster", "message": text})
    return findings


def definitions(crds: list[Object]) -> list[Object]:
    """A finding if the Gateway API's definitions are missing or too old."""
    bundles = {
        (d["metadata"].get("annotations") or {}).get(_BUNDLE, "")
        for d in crds
        if d["spec"]["group"] == "gateway.networking.k8s.io"
    } - {""}
    for bundle in sorted(bundles):
        match = re.match(r"v(\d+)\.(\d+)", bundle)
        if match and (int(match[1]), int(match[2])) < _GATEWAY_API:
            wanted = ".".join(map(str, _GATEWAY_API))
            text = f"The Gateway API's definitions are of {bundle}; install those of v{wanted} or newer"
            return [{"level": "Warning", "code": "GATEWAY-API", "origin": "CustomResourceDefinition", "message": text}]
    return []
