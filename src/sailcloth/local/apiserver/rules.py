"""What an object must be to be accepted: identity, name, metadata, fields by schema, and the few rules across fields."""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Iterator, Set
from typing import Any

from sailcloth.lib import cron, quantity
from sailcloth.lib.schemacheck import go

from . import defaults, ephemeral, fields, signing
from .errors import bad_request, invalid
from .resources import Served
from .selectors import label_selector

Object = dict[str, Any]
_NAME = re.compile(r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
Wrong = tuple[str, str, str]  # field, reason, message
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_STRICT = {
    "namespaces": (r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", 63, "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"),
    "services": (r"[a-z]([-a-z0-9]*[a-z0-9])?", 63, "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"),
}  # fmt: skip
_LOOSE = {"roles", "clusterroles", "rolebindings", "clusterrolebindings"}


def identify(served: Served, obj: Object, namespace: str) -> None:
    """Kind, version and namespace as the request's path has them. Raises Refused if the object says otherwise."""
    if not isinstance(obj.get("metadata"), dict):
        obj["metadata"] = {}
    kind, version = obj.get("kind"), obj.get("apiVersion")
    if kind and kind != served.kind:
        raise bad_request(f"the kind in the data ({kind}) does not match the expected kind ({served.kind})")
    if version and version != served.gv:
        raise bad_request(
            f"the API version in the data ({version}) does not match the expected API version ({served.gv})"
        )
    obj["kind"], obj["apiVersion"] = served.kind, served.gv
    if served.namespaced:
        given = obj["metadata"].get("namespace")
        if given and given != namespace:
            raise bad_request(
                f"the namespace of the provided object does not match the namespace sent on the request ({given} != {namespace})"
            )
        obj["metadata"]["namespace"] = namespace
    else:
        obj["metadata"].pop("namespace", None)


def _name(served: Served, name: str) -> Iterator[Wrong]:
    if served.plural in _LOOSE:
        return
    if served.plural in ("namespaces", "services"):
        pattern, most, text = _STRICT[served.plural]
        if not re.fullmatch(pattern, name) or len(name) > most:
            yield "metadata.name", "FieldValueInvalid", f'Invalid value: "{name}": {text}'
    elif not _NAME.match(name) or len(name) > 253:
        text = f"Invalid value: \"{name}\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
        yield "metadata.name", "FieldValueInvalid", text


def _metadata(metadata: Object, path: str = "metadata") -> Iterator[Wrong]:
    """Labels, annotations, finalizers and owners."""
    labels = metadata.get("labels")
    for key, value in (labels if isinstance(labels, dict) else {}).items():
        yield from _key(key, f"{path}.labels")
        if isinstance(value, str) and (len(value) > 63 or not _VALUE.fullmatch(value)):
            text = f"Invalid value: {go(value)}: a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
            yield f"{path}.labels", "FieldValueInvalid", text
    annotations = metadata.get("annotations")
    annotations = annotations if isinstance(annotations, dict) else {}
    for key in annotations:
        yield from _key(key.lower(), f"{path}.annotations")
    if sum(len(k) + len(str(v)) for k, v in annotations.items()) > 256 << 10:
        yield f"{path}.annotations", "FieldValueTooLong", "Too long: may not be more than 262144 bytes"
    for name in metadata.get("finalizers") or ():
        if "/" not in name and name not in ("kubernetes", "orphan", "foregroundDeletion"):
            text = f"Invalid value: {go(name)}: name is neither a standard finalizer name nor is it fully qualified"
            yield f"{path}.finalizers", "FieldValueInvalid", text
    for index, owner in enumerate(metadata.get("ownerReferences") or ()):
        for key, word in (("apiVersion", "version"), ("kind", "kind"), ("name", "name"), ("uid", "uid")):
            if not owner.get(key):
                text = f'Invalid value: "": {word} must not be empty'
                yield f"{path}.ownerReferences[{index}].{key}", "FieldValueInvalid", text


def _key(key: str, path: str) -> Iterator[Wrong]:
    prefix, slash, name = key.rpartition("/")
    if len(name) > 63 or not _QUALIFIED.fullmatch(name):
        text = f"Invalid value: {go(key)}: name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
        yield path, "FieldValueInvalid", text
    elif slash and (len(prefix) > 253 or not _NAME.match(prefix)):
        text = f"Invalid value: {go(key)}: prefix part a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character"
        yield path, "FieldValueInvalid", text


def judge(served: Served, obj: Object, old: Object | None) -> None:
    """Raises Refused for an object that may not be stored, with everything that is wrong with it."""
    name = str(obj["metadata"].get("name", ""))
    found: list[Wrong] = []
    if old is None:
        found += _name(served, name)
    if (
        old is None
        or old["metadata"].get("labels") != obj["metadata"].get("labels")
        or "annotations" in obj["metadata"]
    ):
        found += _metadata(obj["metadata"])
    found += [(p.path or "<nil>", fields.CAUSES[p.kind], p.text) for p in fields.problems(served, obj, old)]
    if not any(reason == "FieldValueTypeInvalid" for _, reason, _ in found):
        seen = {field for field, _, _ in found}
        found += [w for w in _across(served, obj, old) if w[0] not in seen]
    if found:
        raise invalid(served.kind, served.group, name, found)


def fill_defaults(served: Served, obj: Object) -> None:
    """In place."""
    if served.custom:
        served.schemas.default(served.node, obj)
    else:
        defaults.apply(served.kind, obj)
        if served.kind == "Namespace":
            obj["status"].setdefault("phase", "Active")


def _across(served: Served, obj: Object, old: Object | None) -> Iterator[Wrong]:
    """The few rules across fields of built-in kinds that users run into."""
    if served.gr == "controllerrevisions.apps" and old is not None and old.get("data") != obj.get("data"):
        yield "data", "FieldValueInvalid", f"Invalid value: {go(obj.get('data'))}: field is immutable"
    if served.gr == signing.REQUESTS and isinstance(obj.get("spec"), dict):
        yield from signing.wrong(obj, old)
    if old is not None and old.get("spec") == obj.get("spec"):
        return  # a stored object is not locked in by rules that are newer than itself
    if not served.custom and isinstance(obj.get("spec"), dict):
        if served.kind in ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet"):
            yield from _workload(obj, old)
        elif served.kind == "Pod":
            yield from _pod(obj["spec"], "spec") if old is None else ()
            yield from ephemeral.wrong(obj, old)
        elif served.kind == "Service":
            yield from _service(obj["spec"])
        elif served.kind == "Job":
            yield from _job(obj["spec"], "spec")
        elif served.kind == "CronJob":
            yield from _cron_job(obj["spec"])
            yield from _job((obj["spec"].get("jobTemplate") or {}).get("spec") or {}, "spec.jobTemplate.spec")


def _workload(obj: Object, old: Object | None) -> Iterator[Wrong]:
    spec = obj["spec"]
    template = spec.get("template") or {}
    labels = (template.get("metadata") or {}).get("labels") or {}
    if spec.get("selector") and not label_selector(spec["selector"])(labels):
        shown = "map[string]string{" + ", ".join(f"{go(k)}:{go(labels[k])}" for k in sorted(labels)) + "}"
        text = f"Invalid value: {shown}: `selector` does not match template `labels`"
        yield "spec.template.metadata.labels", "FieldValueInvalid", text
    if old is not None and old["spec"].get("selector") != spec.get("selector"):
        yield "spec.selector", "FieldValueInvalid", f"Invalid value: {go(spec.get('selector'))}: field is immutable"
    if int(spec.get("replicas") or 0) < 0:
        text = f"Invalid value: {spec['replicas']}: must be greater than or equal to 0"
        yield "spec.replicas", "FieldValueInvalid", text
    claims = {c.get("metadata", {}).get("name") for c in spec.get("volumeClaimTemplates") or ()}
    pod = template.get("spec") or {}
    yield from _pod(pod, "spec.template.spec", claims)
    policy = pod.get("restartPolicy")
    if policy not in (None, "Always"):
        text = f'Unsupported value: "{policy}": supported values: "Always"'
        yield "spec.template.spec.restartPolicy", "FieldValueNotSupported", text


def _job(spec: Object, path: str) -> Iterator[Wrong]:
    pod = (spec.get("template") or {}).get("spec") or {}
    yield from _pod(pod, f"{path}.template.spec")
    if pod.get("restartPolicy", "Always") == "Always":
        text = 'Required value: valid values: "OnFailure", "Never"'
        yield f"{path}.template.spec.restartPolicy", "FieldValueRequired", text


_CHOICES = {
    "restartPolicy": ("Always", "Never", "OnFailure"),
    "dnsPolicy": ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"),
}


def _pod(spec: Object, path: str, claims: Set[Any] = frozenset()) -> Iterator[Wrong]:
    if not spec.get("containers"):
        yield f"{path}.containers", "FieldValueRequired", "Required value"
    for key, known in _CHOICES.items():
        if spec.get(key) and spec[key] not in known:
            listed = ", ".join(f'"{k}"' for k in known)
            text = f"Unsupported value: {go(spec[key])}: supported values: {listed}"
            yield f"{path}.{key}", "FieldValueNotSupported", text
    volumes = {v.get("name") for v in spec.get("volumes") or ()} | claims
    names: set[str] = set()
    for group in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(group) or ()):
            where, name = f"{path}.{group}[{index}]", str(container.get("name") or "")
            if not name:
                yield f"{where}.name", "FieldValueRequired", "Required value"
            elif len(name) > 63 or not _LABEL.fullmatch(name):
                text = f"Invalid value: {go(name)}: a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
                yield f"{where}.name", "FieldValueInvalid", text
            elif name in names:
                yield f"{where}.name", "FieldValueDuplicate", f"Duplicate value: {go(name)}"
            names.add(name)
            if not container.get("image"):
                yield f"{where}.image", "FieldValueRequired", "Required value"
            yield from _container(container, where, volumes)


def _container(container: Object, where: str, volumes: set[Any]) -> Iterator[Wrong]:
    for index, port in enumerate(container.get("ports") or ()):
        number = port.get("containerPort")
        if isinstance(number, int) and not 0 < number < 65536:
            text = f"Invalid value: {number}: must be between 1 and 65535, inclusive"
            yield f"{where}.ports[{index}].containerPort", "FieldValueInvalid", text
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        if mount.get("name") not in volumes:
            text = f"Not found: {go(mount.get('name') or '')}"
            yield f"{where}.volumeMounts[{index}].name", "FieldValueNotFound", text
    resources = container.get("resources") or {}
    for kind in ("limits", "requests"):
        for name, amount in (resources.get(kind) or {}).items():
            limit = (resources.get("limits") or {}).get(name)
            if kind == "requests" and limit is not None and quantity.parse(str(amount)) > quantity.parse(str(limit)):
                text = f"Invalid value: {go(str(amount))}: must be less than or equal to {name} limit of {limit}"
                yield f"{where}.resources.requests", "FieldValueInvalid", text


def _cron_job(spec: Object) -> Iterator[Wrong]:
    try:
        cron.parse(str(spec.get("schedule") or ""))
    except ValueError as error:
        yield "spec.schedule", "FieldValueInvalid", f"Invalid value: {go(spec.get('schedule'))}: {error}"
    if spec.get("timeZone") and spec["timeZone"] not in zoneinfo.available_timezones():
        text = f"Invalid value: {go(spec['timeZone'])}: unknown time zone {spec['timeZone']}"
        yield "spec.timeZone", "FieldValueInvalid", text


def _service(spec: Object) -> Iterator[Wrong]:
    kinds = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
    if spec.get("type") not in kinds:
        listed = ", ".join(f'"{k}"' for k in kinds)
        yield (
            "spec.type",
            "FieldValueNotSupported",
            f"Unsupported value: {go(spec.get('type'))}: supported values: {listed}",
        )
    ports = spec.get("ports") or []
    if spec.get("type") == "ExternalName":
        if not spec.get("externalName"):
            yield "spec.externalName", "FieldValueRequired", "Required value"
        return
    if not ports and spec.get("clusterIP") != "None":
        yield "spec.ports", "FieldValueRequired", "Required value"
    names: set[str] = set()
    numbers: set[tuple[Any, Any]] = set()
    for index, port in enumerate(ports):
        where, name, number = f"spec.ports[{index}]", port.get("name") or "", port.get("port")
        if len(ports) > 1 and not name:
            yield f"{where}.name", "FieldValueRequired", "Required value"
        if name and name in names:
            yield f"{where}.name", "FieldValueDuplicate", f'Duplicate value: "{name}"'
        names.add(name)
        if isinstance(number, int) and not 0 < number < 65536:
            text = f"Invalid value: {number}: must be between 1 and 65535, inclusive"
            yield f"{where}.port", "FieldValueInvalid", text
        if (port.get("protocol"), number) in numbers:
            shown = f"core.ServicePort{{Name:{go(name)}, Protocol:{go(port.get('protocol'))}, Port:{number}}}"
            yield where, "FieldValueDuplicate", f"Duplicate value: {shown}"
        numbers.add((port.get("protocol"), number))
