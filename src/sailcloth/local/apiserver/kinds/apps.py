"""Deployments, ReplicaSets, StatefulSets, DaemonSets, ControllerRevisions."""

from __future__ import annotations

from collections.abc import Iterator

from sailcloth.lib.schemacheck import go

from ..field_errors import FieldError, forbidden, invalid, unsupported
from ..label_selectors import label_selector
from ..unstructured import Unstructured
from . import pod_spec
from .amounts import is_nothing, validate_amount
from .columns import AGE, CONTAINERS, IMAGES, SELECTOR, integer, selector_text, text, value_at
from .core.volumes import claim_defaults
from .defaulting import nested, set_defaults
from .pod_validation import validate_pod_spec
from .record import READ, SCALE, STATUS, WRITE, FieldSelector, Grant, Kind


def _deployment_defaults(obj: Unstructured) -> None:
    spec = obj["spec"]
    set_defaults(spec, replicas=1, revisionHistoryLimit=10, progressDeadlineSeconds=600)
    strategy = nested(spec, "strategy")
    strategy["type"] = strategy.get("type") or "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        set_defaults(nested(strategy, "rollingUpdate"), maxSurge="25%", maxUnavailable="25%")
    pod_spec.template(spec)


def _replica_set_defaults(obj: Unstructured) -> None:
    set_defaults(obj["spec"], replicas=1)
    pod_spec.template(obj["spec"])


def _stateful_set_defaults(obj: Unstructured) -> None:
    spec = obj["spec"]
    set_defaults(spec, replicas=1, revisionHistoryLimit=10, podManagementPolicy="OrderedReady")
    strategy = nested(spec, "updateStrategy")
    strategy["type"] = strategy.get("type") or "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        set_defaults(nested(strategy, "rollingUpdate"), partition=0)
    set_defaults(nested(spec, "persistentVolumeClaimRetentionPolicy"), whenDeleted="Retain", whenScaled="Retain")
    pod_spec.template(spec)
    for claim in spec.get("volumeClaimTemplates") or ():
        set_defaults(claim, apiVersion="v1", kind="PersistentVolumeClaim")
        nested(claim, "metadata").setdefault("creationTimestamp", None)
        claim_defaults(claim)


def _daemon_set_defaults(obj: Unstructured) -> None:
    spec = obj["spec"]
    set_defaults(spec, revisionHistoryLimit=10)
    strategy = nested(spec, "updateStrategy")
    strategy["type"] = strategy.get("type") or "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        set_defaults(nested(strategy, "rollingUpdate"), maxSurge=0, maxUnavailable=1)
    pod_spec.template(spec)


def _validate(obj: Unstructured, old: Unstructured | None) -> Iterator[FieldError]:
    spec = obj["spec"]
    template = spec.get("template") or {}
    labels = (template.get("metadata") or {}).get("labels") or {}
    if spec.get("selector") and not label_selector(spec["selector"])(labels):
        shown = "map[string]string{" + ", ".join(f"{go(k)}:{go(labels[k])}" for k in sorted(labels)) + "}"
        text = f"Invalid value: {shown}: `selector` does not match template `labels`"
        yield "spec.template.metadata.labels", "FieldValueInvalid", text
    if int(spec.get("replicas") or 0) < 0:
        yield invalid("spec.replicas", spec["replicas"], "must be greater than or equal to 0")
    claims = {c.get("metadata", {}).get("name") for c in spec.get("volumeClaimTemplates") or ()}
    pod = template.get("spec") or {}
    yield from validate_pod_spec(pod, "spec.template.spec", claims)
    if pod.get("restartPolicy") not in (None, "Always"):
        yield unsupported("spec.template.spec.restartPolicy", pod["restartPolicy"], ("Always",))


def _validate_rollout(strategy: Unstructured, field: str, others: tuple[str, ...]) -> Iterator[FieldError]:
    """For how pods are replaced: in a rolling update, or as one of the `others`."""
    kinds, kind, rolling = (*others, "RollingUpdate"), strategy.get("type"), strategy.get("rollingUpdate")
    if kind not in kinds:
        yield unsupported(f"{field}.type", kind or "", kinds)
    elif kind != "RollingUpdate" and rolling is not None:
        yield forbidden(f"{field}.rollingUpdate", f"may not be specified when strategy `type` is '{kind}'")
    elif rolling is not None:
        yield from validate_amount(f"{field}.rollingUpdate.maxSurge", rolling.get("maxSurge"))
        unavailable = rolling.get("maxUnavailable")
        yield from validate_amount(f"{field}.rollingUpdate.maxUnavailable", unavailable, most_percent=100)
        if "maxSurge" in rolling and is_nothing(rolling["maxSurge"]) and is_nothing(unavailable):
            text = "may not be 0 when `maxSurge` is 0"
            yield invalid(f"{field}.rollingUpdate.maxUnavailable", unavailable, text)


def _validate_deployment(obj: Unstructured, old: Unstructured | None) -> Iterator[FieldError]:
    yield from _validate(obj, old)
    yield from _validate_rollout(obj["spec"].get("strategy") or {}, "spec.strategy", ("Recreate",))


def _validate_daemon_set(obj: Unstructured, old: Unstructured | None) -> Iterator[FieldError]:
    yield from _validate(obj, old)
    yield from _validate_rollout(obj["spec"].get("updateStrategy") or {}, "spec.updateStrategy", ("OnDelete",))


_STATEFUL_SET_MUTABLE = (
    "replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit", "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)  # fmt: skip


def _validate_stateful_set(obj: Unstructured, old: Unstructured | None) -> Iterator[FieldError]:
    yield from _validate(obj, old)
    yield from _validate_rollout(obj["spec"].get("updateStrategy") or {}, "spec.updateStrategy", ("OnDelete",))
    if old is not None:
        fixed = [{k: v for k, v in o["spec"].items() if k not in _STATEFUL_SET_MUTABLE} for o in (obj, old)]
        if fixed[0] != fixed[1]:
            names = ", ".join(f"'{name}'" for name in _STATEFUL_SET_MUTABLE[:-1])
            yield forbidden(
                "spec",
                f"updates to statefulset spec for fields other than {names} and 'minReadySeconds' are forbidden",
            )


def _ready(obj: Unstructured) -> str:
    return f"{obj.get('status', {}).get('readyReplicas', 0)}/{obj['spec'].get('replicas', 1)}"


def _controller(obj: Unstructured) -> str:
    """The owner as kubectl shows it: `statefulset.apps/db`."""
    for owner in obj["metadata"].get("ownerReferences") or ():
        if owner.get("controller"):
            group = owner["apiVersion"].rpartition("/")[0]
            return f"{owner['kind'].lower()}{'.' + group if group else ''}/{owner['name']}"
    return "<none>"


def _grants(*subresources: str) -> tuple[Grant, ...]:
    scalable = ("", *(s for s in subresources if s == "scale"))
    return Grant("view", READ, ("", *subresources)), Grant("edit", WRITE, scalable)


DEPLOYMENT = Kind(
    group="apps",
    plural="deployments",
    kind="Deployment",
    short_names=("deploy",),
    categories=("all",),
    subresources=(STATUS, SCALE),
    columns=(
        text("Ready", _ready),
        integer("Up-to-date", "status.updatedReplicas"),
        integer("Available", "status.availableReplicas"),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ),
    grants=(*_grants("scale", "status"), Grant("edit", WRITE, ("rollback",))),
    generation=True,
    has_spec=True,
    has_status=True,
    defaults=_deployment_defaults,
    immutable=("spec.selector",),
    validate=_validate_deployment,
)
REPLICA_SET = Kind(
    group="apps",
    plural="replicasets",
    kind="ReplicaSet",
    short_names=("rs",),
    categories=("all",),
    subresources=(STATUS, SCALE),
    columns=(
        integer("Desired", "spec.replicas"),
        integer("Current", "status.replicas"),
        integer("Ready", "status.readyReplicas"),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ),
    field_selectors={"status.replicas": FieldSelector("0")},
    grants=_grants("scale", "status"),
    generation=True,
    has_spec=True,
    has_status=True,
    defaults=_replica_set_defaults,
    immutable=("spec.selector",),
    validate=_validate,
)
STATEFUL_SET = Kind(
    group="apps",
    plural="statefulsets",
    kind="StatefulSet",
    short_names=("sts",),
    categories=("all",),
    subresources=(STATUS, SCALE),
    columns=(text("Ready", _ready), AGE, CONTAINERS, IMAGES),
    grants=_grants("scale", "status"),
    generation=True,
    has_spec=True,
    has_status=True,
    defaults=_stateful_set_defaults,
    validate=_validate_stateful_set,
)
DAEMON_SET = Kind(
    group="apps",
    plural="daemonsets",
    kind="DaemonSet",
    short_names=("ds",),
    categories=("all",),
    subresources=(STATUS,),
    columns=(
        integer("Desired", "status.desiredNumberScheduled"),
        integer("Current", "status.currentNumberScheduled"),
        integer("Ready", "status.numberReady"),
        integer("Up-to-date", "status.updatedNumberScheduled"),
        integer("Available", "status.numberAvailable"),
        text("Node Selector", lambda o: selector_text((o["spec"]["template"].get("spec") or {}).get("nodeSelector"))),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ),
    grants=_grants("status"),
    generation=True,
    has_spec=True,
    has_status=True,
    defaults=_daemon_set_defaults,
    immutable=("spec.selector",),
    validate=_validate_daemon_set,
)
CONTROLLER_REVISION = Kind(
    group="apps",
    plural="controllerrevisions",
    kind="ControllerRevision",
    columns=(text("Controller", _controller), integer("Revision", value_at("revision")), AGE),
    grants=(Grant("view", READ),),
    immutable=("data",),
)
KINDS = (DEPLOYMENT, REPLICA_SET, STATEFUL_SET, DAEMON_SET, CONTROLLER_REVISION)
