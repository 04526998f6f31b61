"""Namespaces and what stands in each, and nodes."""

from __future__ import annotations

from ...unstructured import Unstructured
from ..columns import AGE, CREATED_AT, NAME, age, integer, text, value_at, wide
from ..defaulting import nested, quantities, set_defaults
from ..record import LABEL, READ, STATUS, WRITE, Cell, FieldSelector, Grant, Kind, Subresource


def _namespace_defaults(obj: Unstructured) -> None:
    set_defaults(nested(obj, "spec"), finalizers=["kubernetes"])
    set_defaults(nested(obj, "status"), phase="Active")
    nested(obj["metadata"], "labels")["kubernetes.io/metadata.name"] = obj["metadata"]["name"]


def _node_defaults(obj: Unstructured) -> None:
    nested(obj, "spec")
    status = obj.get("status") or {}
    for key in ("capacity", "allocatable"):
        if isinstance(status.get(key), dict):
            quantities(status[key])
    if status.get("capacity"):
        set_defaults(status, allocatable=dict(status["capacity"]))


def _quota_defaults(obj: Unstructured) -> None:
    if isinstance(obj["spec"].get("hard"), dict):
        quantities(obj["spec"]["hard"])


def _limit_range_defaults(obj: Unstructured) -> None:
    for item in obj["spec"].get("limits") or ():
        for key in ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio"):
            if isinstance(item.get(key), dict):
                quantities(item[key])
        if item.get("type") == "Container":
            limits = {**(item.get("max") or {}), **(item.get("default") or {})}
            if limits:
                item["default"] = limits
            requests = {**(item.get("min") or {}), **limits, **(item.get("defaultRequest") or {})}
            if requests:
                item["defaultRequest"] = requests


def _node_status(obj: Unstructured) -> str:
    conditions = [c for c in obj.get("status", {}).get("conditions") or () if c["type"] == "Ready"]
    ready = "Ready" if conditions and conditions[0]["status"] == "True" else "NotReady" if conditions else "Unknown"
    return ready + (",SchedulingDisabled" if obj["spec"].get("unschedulable") else "")


def _node_address(kind: str) -> Cell:
    def cell(obj: Unstructured) -> str:
        addresses = obj.get("status", {}).get("addresses") or ()
        return next((a["address"] for a in addresses if a["type"] == kind), "<none>")

    return cell


def _node_roles(obj: Unstructured) -> str:
    prefix = "node-role.kubernetes.io/"
    return (
        ",".join(k.removeprefix(prefix) for k in obj["metadata"].get("labels") or () if k.startswith(prefix))
        or "<none>"
    )


def _event_object(obj: Unstructured) -> str:
    ref = obj.get("involvedObject", {})
    return f"{str(ref.get('kind', '')).lower()}/{ref.get('name', '')}"


def _usage(kind: str) -> Cell:
    """`kind` is requests or limits."""

    def cell(obj: Unstructured) -> str:
        status = obj.get("status", {})
        hard, used = status.get("hard") or obj["spec"].get("hard") or {}, status.get("used") or {}
        names = [k for k in sorted(hard) if k.startswith("limits.") == (kind == "limits")]
        return ", ".join(f"{k}: {used.get(k, '0')}/{hard[k]}" for k in names)

    return cell


NAMESPACE = Kind(
    plural="namespaces",
    kind="Namespace",
    namespaced=False,
    short_names=("ns",),
    subresources=(STATUS, Subresource("finalize", verbs=("update",))),
    columns=(text("Status", "status.phase"), AGE),
    field_selectors={"status.phase": FieldSelector()},
    grants=(Grant("view", READ, ("", "status")),),
    name_rule=LABEL,
    defaults=_namespace_defaults,
)
SERVICE_ACCOUNT = Kind(
    plural="serviceaccounts",
    kind="ServiceAccount",
    short_names=("sa",),
    subresources=(Subresource("token", "TokenRequest", ("create",), "authentication.k8s.io", "v1"),),
    columns=(integer("Secrets", lambda o: len(o.get("secrets") or ())), AGE),
    grants=(
        Grant("view", READ),
        Grant("edit", ("impersonate",)),
        Grant("edit", WRITE),
        Grant("edit", ("create",), ("token",)),
    ),
)
NODE = Kind(
    plural="nodes",
    kind="Node",
    namespaced=False,
    short_names=("no",),
    subresources=(STATUS,),
    columns=(
        text("Status", _node_status),
        text("Roles", _node_roles),
        AGE,
        text("Version", "status.nodeInfo.kubeletVersion"),
        wide("Internal-IP", _node_address("InternalIP")),
        wide("External-IP", _node_address("ExternalIP")),
        wide("OS-Image", value_at("status.nodeInfo.osImage", "<unknown>")),
        wide("Kernel-Version", value_at("status.nodeInfo.kernelVersion", "<unknown>")),
        wide("Container-Runtime", value_at("status.nodeInfo.containerRuntimeVersion", "<unknown>")),
    ),
    field_selectors={"spec.unschedulable": FieldSelector("false")},
    defaults=_node_defaults,
)
EVENT = Kind(
    plural="events",
    kind="Event",
    short_names=("ev",),
    columns=(
        text(
            "Last Seen",
            lambda o: age(o.get("lastTimestamp") or o.get("eventTime") or o["metadata"].get("creationTimestamp")),
        ),
        text("Type", "type"),
        text("Reason", "reason"),
        text("Object", _event_object),
        text("Message", lambda o: str(o.get("message", "")).strip()),
        wide("First Seen", lambda o: age(o.get("firstTimestamp"))),
        integer("Count", value_at("count", 1), 1),
        NAME._replace(priority=1),
    ),
    field_selectors={
        **{
            f"involvedObject.{name}": FieldSelector()
            for name in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
        },
        **{name: FieldSelector() for name in ("reason", "reportingComponent", "type")},
        "source": FieldSelector(path="source.component"),
    },
    grants=(Grant("view", READ), Grant("edit", WRITE)),
)
RESOURCE_QUOTA = Kind(
    plural="resourcequotas",
    kind="ResourceQuota",
    short_names=("quota",),
    subresources=(STATUS,),
    columns=(AGE, text("Request", _usage("requests")), text("Limit", _usage("limits"))),
    grants=(Grant("view", READ, ("", "status")),),
    has_spec=True,
    has_status=True,
    defaults=_quota_defaults,
)
LIMIT_RANGE = Kind(
    plural="limitranges",
    kind="LimitRange",
    short_names=("limits",),
    columns=(CREATED_AT,),
    grants=(Grant("view", READ),),
    has_spec=True,
    defaults=_limit_range_defaults,
)
