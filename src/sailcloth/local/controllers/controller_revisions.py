"""ControllerRevisions: the templates that a StatefulSet or DaemonSet had, for `kubectl rollout history` and `undo`, and for pods
that are to stay at an older one. Their data is a strategic merge patch that brings the template back, as kubectl expects."""

from __future__ import annotations

import copy
from collections.abc import Iterable

from sailcloth.local.apiserver.unstructured import Unstructured

from .context import ControllerContext
from .deployments import template_hash
from .replicasets import reference

GR = "controllerrevisions.apps"
_HASH = "controller.kubernetes.io/hash"
_KEPT = 10
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def _revisions_of(cluster: ControllerContext, owner: Unstructured) -> list[Unstructured]:
    """The owner's revisions, oldest first."""
    revisions = [r for r in cluster.owned(GR, owner) if not r["metadata"].get("deletionTimestamp")]
    return sorted(revisions, key=lambda r: int(r["revision"]))


def _data(owner: Unstructured) -> Unstructured:
    return {"spec": {"template": {"$patch": "replace", **copy.deepcopy(owner["spec"]["template"])}}}


async def sync(cluster: ControllerContext, owner: Unstructured) -> None:
    """See that the owner's present template is its newest revision."""
    metadata, data, known = owner["metadata"], _data(owner), _revisions_of(cluster, owner)
    newest = int(known[-1]["revision"]) if known else 0
    same = next((r for r in known if r.get("data") == data), None)
    if same is None:
        digest = template_hash(owner["spec"]["template"])
        notes = {k: v for k, v in (metadata.get("annotations") or {}).items() if k != _LAST_APPLIED}
        labels = (owner["spec"]["template"].get("metadata") or {}).get("labels") or {}
        revision = {
            "metadata": {
                "name": f"{metadata['name']}-{digest}",
                "namespace": metadata["namespace"],
                "labels": {**labels, _HASH: digest, "controller-revision-hash": digest},
                "annotations": notes,
                "ownerReferences": [reference(owner)],
            },
            "data": data,
            "revision": newest + 1,
        }
        await cluster.create(GR, revision)
    elif int(same["revision"]) < newest:  # a rollback: this revision becomes the newest
        await cluster.update(
            GR, metadata["namespace"], same["metadata"]["name"], lambda r: {**r, "revision": newest + 1}
        )


def template(cluster: ControllerContext, owner: Unstructured, digest: str) -> Unstructured | None:
    """The template of a revision; None if it is not kept any more."""
    for revision in _revisions_of(cluster, owner):
        if revision["metadata"]["labels"].get(_HASH) == digest:
            pod_template: Unstructured = copy.deepcopy(revision["data"]["spec"]["template"])
            pod_template.pop("$patch", None)
            return pod_template
    return None


async def prune(cluster: ControllerContext, owner: Unstructured, used: Iterable[str]) -> None:
    """Remove the oldest beyond the limit, but for those whose hashes are used."""
    limit = owner["spec"].get("revisionHistoryLimit")
    live = set(used)
    spare = [r for r in _revisions_of(cluster, owner) if r["metadata"]["labels"].get(_HASH) not in live]
    for revision in spare[: max(0, len(spare) - int(_KEPT if limit is None else limit))]:
        await cluster.delete(GR, owner["metadata"]["namespace"], revision["metadata"]["name"])
