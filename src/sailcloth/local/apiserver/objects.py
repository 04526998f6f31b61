"""The life of an object: create, replace, patch, delete, with everything Kubernetes promises about metadata."""

from __future__ import annotations

import asyncio
import copy
import datetime as dt
import ipaddress
import random
import re
import string
import uuid
from collections.abc import Callable
from typing import Any

import orjson

from . import defaults, patches
from .access import User
from .admission import Admission
from .errors import Refused, already_exists, bad_request, conflict, invalid, not_found
from .ownership import Conflict, show
from .resources import Registry, Served, custom_resources
from .selectors import label_selector
from .storage import Store

Object = dict[str, Any]
_NAME = re.compile(r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
_LOOSE = {"roles", "clusterroles", "rolebindings", "clusterrolebindings"}
CRDS = "customresourcedefinitions.apiextensions.k8s.io"


def now() -> str:
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Objects:
    """Operations on objects. Every method that writes returns after the commit."""

    def __init__(self, store: Store, registry: Registry, admission: Admission, service_cidr: str) -> None:
        self.store, self.registry, self.admission = store, registry, admission
        self._cidr = ipaddress.ip_network(service_cidr)
        self._finishing: set[str] = set()
        self.on_crd: Callable[[], None] | None = None
        for crd in store.all(CRDS):
            self._install(crd)

    # -- create ---------------------------------------------------------------------------------

    async def create(
        self, served: Served, obj: Object, namespace: str, user: User, manager: str, query: dict[str, str]
    ) -> tuple[Object, list[str]]:
        """A new object. Raises Refused."""
        if not isinstance(obj.get("metadata"), dict):
            obj["metadata"] = {}
        self._identify(served, obj, namespace)
        metadata = obj["metadata"]
        if not metadata.get("name"):
            if not metadata.get("generateName"):
                raise invalid(
                    served.kind,
                    served.group,
                    "",
                    [("metadata.name", "FieldValueRequired", "Required value: name or generateName is required")],
                )
            metadata["name"] = metadata["generateName"] + "".join(
                random.choices(string.ascii_lowercase[2:] + "2456789", k=5)
            )
        name = metadata["name"]
        self._check_name(served, name)
        if self.store.get(served.gr, metadata.get("namespace", ""), name) is not None:
            raise already_exists(served.gr, name, served.group, served.plural)
        if served.namespaced:
            holder = self.store.get("namespaces", "", namespace)
            if holder is None:
                raise not_found("namespaces", namespace, "", "namespaces")
            if holder["metadata"].get("deletionTimestamp"):
                text = f'{served.gr} "{name}" is forbidden: unable to create new content in namespace {namespace} because it is being terminated'
                raise Refused(403, "Forbidden", text)
        warnings = self._check(served, obj, query)
        for key in ("resourceVersion", "uid", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds"):
            metadata.pop(key, None)
        metadata["uid"] = str(uuid.uuid4())
        metadata["creationTimestamp"] = now()
        if not served.custom and served.kind in (
            "Namespace",
            "ConfigMap",
            "Secret",
            "ServiceAccount",
            "Event",
            "Endpoints",
        ):
            metadata.pop("generation", None)
        else:
            metadata["generation"] = 1
        if served.custom and "status" in served.subresources:
            obj.pop("status", None)
        self._tidy(metadata)
        self._default(served, obj)
        dry = bool(query.get("dryRun"))
        made, more = await self.admission.admit(served, "CREATE", obj, None, user, dry)
        assert made is not None
        obj = made
        self._default(served, obj)
        self._validate(served, obj, None)
        if served.kind == "Service":
            self._allocate(obj)
        if "managedFields" not in obj["metadata"]:
            served.fields.update(None, obj, manager, now())
        if dry:
            obj["metadata"].setdefault("resourceVersion", "")
            return obj, warnings + more
        if self.store.get(served.gr, obj["metadata"].get("namespace", ""), name) is not None:
            raise already_exists(served.gr, name, served.group, served.plural)
        self._store_version(served, obj)
        self.store.put(served.gr, obj)
        self._after(served, obj)
        await self.store.committed()
        return obj, warnings + more

    # -- update ---------------------------------------------------------------------------------

    async def change(
        self,
        served: Served,
        namespace: str,
        name: str,
        sub: str,
        make: Callable[[Object], Object],
        user: User,
        manager: str,
        query: dict[str, str],
        applied: bool = False,
    ) -> tuple[Object, list[str]]:
        """Change an object by a function of a copy of it. Conflicts with a resourceVersion in the result are refused; without
        one the change is tried again when somebody else was faster."""
        for _ in range(8):
            live = self.store.get(served.gr, namespace, name)
            if live is None:
                raise not_found(served.gr, name, served.group, served.plural)
            new = make(copy.deepcopy(live))
            if not isinstance(new, dict) or not isinstance(new.get("metadata"), dict):
                raise bad_request("the patched object is not an object with metadata")
            given = new["metadata"].get("resourceVersion")
            if given and given != live["metadata"]["resourceVersion"]:
                raise conflict(served.gr, name)
            if new["metadata"].get("uid", live["metadata"]["uid"]) != live["metadata"]["uid"]:
                raise conflict(served.gr, name, "the UID in the precondition does not match the UID in record")
            if new["metadata"].get("name", name) != name:
                raise bad_request(
                    f"the name of the object ({new['metadata'].get('name')}) does not match the name on the URL ({name})"
                )
            new = self._scoped(served, live, new, sub)
            warnings = [] if sub == "status" else self._check(served, new, query)
            self._keep(served, live, new)
            self._default(served, new)
            dry = bool(query.get("dryRun"))
            before = live["metadata"]["resourceVersion"]
            more: list[str] = []
            if not sub:
                made, more = await self.admission.admit(served, "UPDATE", new, live, user, dry)
                assert made is not None
                new = made
                self._validate(served, new, live)
                if served.kind == "Service":
                    self._allocate(new, live)
            latest = self.store.get(served.gr, namespace, name)
            if latest is None or latest["metadata"]["resourceVersion"] != before:
                if given:
                    raise conflict(served.gr, name)
                continue
            if not applied:
                served.fields.update(live, new, manager, now(), sub)
            if _same(live, new):
                return live, warnings + more
            if new.get("spec") != live.get("spec") and "generation" in live["metadata"]:
                new["metadata"]["generation"] = live["metadata"]["generation"] + 1
            if dry:
                return new, warnings + more
            self._store_version(served, new)
            self.store.put(served.gr, new)
            self._after(served, new)
            if new["metadata"].get("deletionTimestamp") and not new["metadata"].get("finalizers"):
                self._maybe_remove(served, new)
            await self.store.committed()
            return new, warnings + more
        raise conflict(served.gr, name)

    async def patch(
        self,
        served: Served,
        namespace: str,
        name: str,
        sub: str,
        kind: str,
        body: Any,
        user: User,
        manager: str,
        query: dict[str, str],
    ) -> tuple[Object, list[str], bool]:
        """(object, warnings, whether it was created). `kind` is the patch's content type."""
        if kind == "application/apply-patch+yaml":
            return await self._apply(served, namespace, name, sub, body, user, manager, query)

        def make(live: Object) -> Object:
            if kind == "application/merge-patch+json":
                made = patches.merge(live, body)
            elif kind == "application/json-patch+json":
                try:
                    made = patches.operations(live, body)
                except ValueError as error:
                    raise Refused(
                        422, "Invalid", f"the server rejected our request due to an error in our request: {error}"
                    ) from None
            elif kind == "application/strategic-merge-patch+json":
                if served.custom:
                    raise Refused(
                        415,
                        "UnsupportedMediaType",
                        "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
                    )
                made = patches.strategic(served.schemas, served.node, live, body)
            else:
                raise Refused(415, "UnsupportedMediaType", f"the patch type {kind!r} is not supported")
            if isinstance(made, dict) and isinstance(made.get("metadata"), dict):
                asked = (body.get("metadata") or {}).get("resourceVersion") if isinstance(body, dict) else None
                if not asked and made["metadata"].get("resourceVersion") == live["metadata"]["resourceVersion"]:
                    made["metadata"].pop("resourceVersion")  # no precondition: try again if somebody was faster
            return made  # type: ignore[no-any-return]

        obj, warnings = await self.change(served, namespace, name, sub, make, user, manager, query)
        return obj, warnings, False

    async def _apply(
        self,
        served: Served,
        namespace: str,
        name: str,
        sub: str,
        body: Any,
        user: User,
        manager: str,
        query: dict[str, str],
    ) -> tuple[Object, list[str], bool]:
        if not isinstance(body, dict):
            raise bad_request("an apply patch must be an object")
        if not query.get("fieldManager"):
            raise bad_request(
                "PatchOptions.meta.k8s.io is invalid: fieldManager: Required value: is required for apply patch"
            )
        force = query.get("force") == "true"
        self._identify(served, body, namespace)
        body["metadata"].setdefault("name", name)
        warnings = self._check(served, body, query)

        def make(live: Object | None) -> Object:
            try:
                made = served.fields.apply(live, body, manager, force, now(), sub)
            except Conflict as error:
                texts = []
                for who, operation, path in error.fields:
                    via = "" if operation == "Apply" else f" using {served.gv}"
                    texts.append((f'conflict with "{who}"{via}', show(path)))
                text = "; ".join(f"{t}: {p}" for t, p in texts)
                causes = [{"reason": "FieldManagerConflict", "message": t, "field": p} for t, p in texts]
                plural = "s" if len(texts) > 1 else ""
                raise Refused(
                    409, "Conflict", f"Apply failed with {len(texts)} conflict{plural}: {text}", {"causes": causes}
                ) from None
            made["metadata"].pop("resourceVersion", None) if live is not None else None
            return made

        if self.store.get(served.gr, namespace, name) is None:
            if sub:
                raise not_found(served.gr, name, served.group, served.plural)
            obj, more = await self.create(served, make(None), namespace, user, manager, query)
            return obj, warnings + more, True
        obj, more = await self.change(served, namespace, name, sub, make, user, manager, query, applied=True)
        return obj, warnings + more, False

    # -- delete ---------------------------------------------------------------------------------

    async def delete(
        self, served: Served, namespace: str, name: str, options: dict[str, Any], user: User
    ) -> tuple[Object, bool]:
        """(the object, whether it is gone). Pods on a node and objects with finalizers are only marked."""
        live = self.store.get(served.gr, namespace, name)
        if live is None:
            raise not_found(served.gr, name, served.group, served.plural)
        wanted = options.get("preconditions") or {}
        if wanted.get("uid") and wanted["uid"] != live["metadata"]["uid"]:
            raise conflict(served.gr, name, "the UID in the precondition does not match the UID in record")
        dry = bool(options.get("dryRun"))
        await self.admission.admit(served, "DELETE", None, live, user, dry)
        live = self.store.get(served.gr, namespace, name)
        if live is None:
            raise not_found(served.gr, name, served.group, served.plural)
        if dry:
            return live, True
        gone = self._delete(served, live, options)
        await self.store.committed()
        return (self.store.get(served.gr, namespace, name) or live), gone

    def _delete(self, served: Served, live: Object, options: dict[str, Any]) -> bool:
        metadata = live["metadata"]
        policy = options.get("propagationPolicy")
        grace = 0
        if served.kind == "Pod":
            asked = options.get("gracePeriodSeconds")
            grace = int(live["spec"].get("terminationGracePeriodSeconds", 30)) if asked is None else int(asked)
            if not live["spec"].get("nodeName") or live.get("status", {}).get("phase") in ("Succeeded", "Failed"):
                grace = 0
        finalizers = list(metadata.get("finalizers") or ())
        if served.kind == "Namespace":
            finalizers.append("kubernetes")
        if policy == "Foreground" and self._dependents(live):
            finalizers.append("foregroundDeletion")
        if not finalizers and not grace:
            self._remove(served, live, orphan=policy == "Orphan")
            return True
        known = metadata.get("deletionTimestamp")
        if known and not (served.kind == "Pod" and grace < int(metadata.get("deletionGracePeriodSeconds") or 0)):
            if policy == "Foreground":
                self._delete_dependents(live)
            return False
        new = copy.deepcopy(live)
        stamp = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=grace)
        new["metadata"]["deletionTimestamp"] = stamp.strftime("%Y-%m-%dT%H:%M:%SZ")
        new["metadata"]["deletionGracePeriodSeconds"] = grace
        if "foregroundDeletion" in finalizers:
            new["metadata"]["finalizers"] = [*(metadata.get("finalizers") or ()), "foregroundDeletion"]
        if served.kind == "Namespace":
            new["status"] = {**(new.get("status") or {}), "phase": "Terminating"}
        elif "generation" in new["metadata"]:
            new["metadata"]["generation"] += 1
        self.store.put(served.gr, new)
        if "foregroundDeletion" in finalizers:
            self._delete_dependents(new)
        if served.kind == "Namespace":
            self.finish_namespace(metadata["name"])
        return False

    def _remove(self, served: Served, live: Object, orphan: bool = False) -> None:
        metadata = live["metadata"]
        self.store.delete(served.gr, metadata.get("namespace", ""), metadata["name"])
        if orphan:
            self._orphan(metadata["uid"])
        else:
            asyncio.get_running_loop().call_soon(self._collect, metadata["uid"])
        if served.gr == CRDS:
            self._uninstall(live)
        namespace = metadata.get("namespace", "")
        if namespace:
            holder = self.store.get("namespaces", "", namespace)
            if holder is not None and holder["metadata"].get("deletionTimestamp"):
                self._finish_soon(namespace)
        for owner in metadata.get("ownerReferences") or ():
            if owner.get("blockOwnerDeletion"):
                asyncio.get_running_loop().call_soon(self._unblock, owner, namespace)

    def _maybe_remove(self, served: Served, obj: Object) -> None:
        """The last finalizer is gone: so is the object, unless a node still stops its processes."""
        if served.kind == "Namespace":
            self.finish_namespace(obj["metadata"]["name"])
        elif served.kind != "Pod" or not int(obj["metadata"].get("deletionGracePeriodSeconds") or 0):
            self._remove(served, obj)

    def _finish_soon(self, namespace: str) -> None:
        if namespace not in self._finishing:  # once for all objects that go in this turn
            self._finishing.add(namespace)
            asyncio.get_running_loop().call_soon(self.finish_namespace, namespace)

    def finish_namespace(self, name: str) -> None:
        """Delete what is in a namespace that goes away, and it itself when it is empty."""
        self._finishing.discard(name)
        holder = self.store.get("namespaces", "", name)
        if holder is None or not holder["metadata"].get("deletionTimestamp"):
            return
        left = False
        for served in self.registry.distinct():
            if served.namespaced:
                for obj in self.store.all(served.gr, name):
                    if not obj["metadata"].get("deletionTimestamp"):
                        self._delete(served, obj, {})
                left = left or bool(self.store.all(served.gr, name))
        if not left and not holder["metadata"].get("finalizers"):
            self.store.delete("namespaces", "", name)

    def _dependents(self, owner: Object) -> list[tuple[Served, Object]]:
        """What names an owner; a namespaced owner counts in its own namespace only."""
        namespace = owner["metadata"].get("namespace")
        found = self.store.dependents(owner["metadata"]["uid"])
        if not found:
            return []
        served = {s.gr: s for s in self.registry.distinct()}
        return [
            (served[gr], obj)
            for gr, obj in found
            if gr in served and namespace in (None, obj["metadata"].get("namespace"))
        ]

    def _delete_dependents(self, owner: Object) -> None:
        for served, obj in self._dependents(owner):
            if not obj["metadata"].get("deletionTimestamp"):
                self._delete(served, obj, {"propagationPolicy": "Foreground"})

    def _collect(self, uid: str) -> None:
        """Background deletion of what an object owned."""
        for served, obj in self._dependents({"metadata": {"uid": uid}}):
            others = [r for r in obj["metadata"].get("ownerReferences") or () if r.get("uid") != uid]
            if others:
                self._put_owners(served, obj, others)
            elif not obj["metadata"].get("deletionTimestamp"):
                self._delete(served, obj, {})

    def _orphan(self, uid: str) -> None:
        for served, obj in self._dependents({"metadata": {"uid": uid}}):
            self._put_owners(served, obj, [r for r in obj["metadata"]["ownerReferences"] if r.get("uid") != uid])

    def _put_owners(self, served: Served, obj: Object, owners: list[Object]) -> None:
        new = copy.deepcopy(obj)
        if owners:
            new["metadata"]["ownerReferences"] = owners
        else:
            new["metadata"].pop("ownerReferences", None)
        self.store.put(served.gr, new)

    def _unblock(self, reference: Object, namespace: str) -> None:
        """A dependent is gone: its owner may be too, if it waited for that."""
        for served in self.registry.distinct():
            if served.kind == reference.get("kind"):
                obj = self.store.get(served.gr, namespace if served.namespaced else "", reference.get("name", ""))
                if obj is None or obj["metadata"]["uid"] != reference.get("uid") or self._dependents(obj):
                    continue
                finalizers = list(obj["metadata"].get("finalizers") or ())
                if finalizers == ["foregroundDeletion"]:
                    self._remove(served, obj)
                elif "foregroundDeletion" in finalizers:
                    new = copy.deepcopy(obj)
                    new["metadata"]["finalizers"] = [f for f in finalizers if f != "foregroundDeletion"]
                    self.store.put(served.gr, new)

    # -- rules ----------------------------------------------------------------------------------

    def _identify(self, served: Served, obj: Object, namespace: str) -> None:
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

    def _check_name(self, served: Served, name: str) -> None:
        if served.plural in _LOOSE:
            return
        if not _NAME.match(name) or len(name) > 253:
            text = f"Invalid value: \"{name}\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character"
            raise invalid(served.kind, served.group, name, [("metadata.name", "FieldValueInvalid", text)])

    def _check(self, served: Served, obj: Object, query: dict[str, str]) -> list[str]:
        """Unknown fields by the request's fieldValidation; wrong values always. Returns warnings."""
        mode = query.get("fieldValidation") or "Warn"
        problems = list(served.schemas.check(served.node, obj))
        unknown = [p.text for p in problems if p.kind == "unknown"]
        if unknown and mode == "Strict":
            raise bad_request(
                f'{served.kind} in version "{served.version}" cannot be handled as a {served.kind}: strict decoding error: {", ".join(unknown)}'
            )
        wrong = [p for p in problems if p.kind != "unknown"]
        if wrong and not served.custom:
            soft = [p for p in wrong if p.kind == "required" and p.path.startswith(("status", "metadata"))]
            wrong = [p for p in wrong if p not in soft]
        if wrong:
            reasons = {"invalid": "FieldValueInvalid", "required": "FieldValueRequired"}
            name = str(obj["metadata"].get("name", ""))
            raise invalid(
                served.kind, served.group, name, [(p.path or "<nil>", reasons[p.kind], p.text) for p in wrong]
            )
        if unknown:
            served.schemas.prune(served.node, obj)
        return unknown if mode == "Warn" else []

    def _default(self, served: Served, obj: Object) -> None:
        if served.custom:
            served.schemas.default(served.node, obj)
        else:
            defaults.apply(served.kind, obj)
            if served.kind == "Namespace":
                obj["status"].setdefault("phase", "Active")

    def _validate(self, served: Served, obj: Object, old: Object | None) -> None:
        """The few rules across fields that users run into."""
        problems: list[tuple[str, str, str]] = []
        spec = obj.get("spec") or {}
        if served.kind in ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet"):
            labels = (spec.get("template", {}).get("metadata") or {}).get("labels") or {}
            if not label_selector(spec.get("selector"))(labels):
                problems.append(
                    (
                        "spec.template.metadata.labels",
                        "FieldValueInvalid",
                        f"Invalid value: {orjson.dumps(labels).decode()}: `selector` does not match template `labels`",
                    )
                )
            if old is not None and old["spec"].get("selector") != spec.get("selector"):
                problems.append(("spec.selector", "FieldValueInvalid", "Invalid value: field is immutable"))
            if not (spec.get("template", {}).get("spec") or {}).get("containers"):
                problems.append(("spec.template.spec.containers", "FieldValueRequired", "Required value"))
            if int(spec.get("replicas") or 0) < 0:
                problems.append(
                    (
                        "spec.replicas",
                        "FieldValueInvalid",
                        f"Invalid value: {spec['replicas']}: must be greater than or equal to 0",
                    )
                )
        if served.kind == "Pod" and old is None and not spec.get("containers"):
            problems.append(("spec.containers", "FieldValueRequired", "Required value"))
        if served.kind == "Service" and spec.get("type") != "ExternalName":
            if not spec.get("ports") and spec.get("clusterIP") != "None":
                problems.append(("spec.ports", "FieldValueRequired", "Required value"))
            names = [p.get("name", "") for p in spec.get("ports") or ()]
            if len(names) > 1 and "" in names:
                problems.append((f"spec.ports[{names.index('')}].name", "FieldValueRequired", "Required value"))
            doubled = next((n for n in names if n and names.count(n) > 1), None)
            if doubled:
                index = len(names) - 1 - names[::-1].index(doubled)
                problems.append((f"spec.ports[{index}].name", "FieldValueDuplicate", f'Duplicate value: "{doubled}"'))
        if problems:
            raise invalid(served.kind, served.group, obj["metadata"].get("name", ""), problems)

    def _allocate(self, obj: Object, old: Object | None = None) -> None:
        """Cluster address and node ports of a Service, as a real server gives them in its answer."""
        spec = obj["spec"]
        if spec.get("type") == "ExternalName":
            spec.pop("clusterIP", None)
            spec.pop("clusterIPs", None)
            return
        taken = {
            s["spec"].get("clusterIP")
            for s in self.store.all("services")
            if s["metadata"].get("uid") != obj["metadata"].get("uid")
        }
        if old is not None and old["spec"].get("clusterIP") and not spec.get("clusterIP"):
            spec["clusterIP"] = old["spec"]["clusterIP"]
        address = spec.get("clusterIP")
        name = obj["metadata"]["name"]
        if not address:
            base = int(self._cidr.network_address)
            for _ in range(1000):
                candidate = str(ipaddress.ip_address(base + random.randrange(256, self._cidr.num_addresses - 1)))
                if candidate not in taken:
                    address = candidate
                    break
            else:
                raise Refused(500, "InternalError", "the range of cluster addresses is used up")
            spec["clusterIP"] = address
        elif address != "None" and address in taken:
            raise invalid(
                "Service",
                "",
                name,
                [
                    (
                        "spec.clusterIPs[0]",
                        "FieldValueInvalid",
                        f'Invalid value: ["{address}"]: failed to allocate IP {address}: provided IP is already allocated',
                    )
                ],
            )
        spec["clusterIPs"] = [spec["clusterIP"]]
        if spec.get("type") in ("NodePort", "LoadBalancer"):
            used = {
                p.get("nodePort")
                for s in self.store.all("services")
                if s["metadata"].get("uid") != obj["metadata"].get("uid")
                for p in s["spec"].get("ports") or ()
            }
            before = {p.get("name", ""): p.get("nodePort") for p in (old or {"spec": {}})["spec"].get("ports") or ()}
            for index, port in enumerate(spec.get("ports") or ()):
                if not port.get("nodePort"):
                    port["nodePort"] = before.get(port.get("name", "")) or next(
                        n for n in iter(lambda: random.randrange(30_000, 32_768), None) if n not in used
                    )
                elif port["nodePort"] in used:
                    raise invalid(
                        "Service",
                        "",
                        name,
                        [
                            (
                                f"spec.ports[{index}].nodePort",
                                "FieldValueInvalid",
                                f"Invalid value: {port['nodePort']}: provided port is already allocated",
                            )
                        ],
                    )
                used.add(port["nodePort"])

    def _scoped(self, served: Served, live: Object, new: Object, sub: str) -> Object:
        """What a request to this path may change."""
        if sub == "status":
            out = copy.deepcopy(live)
            if "status" in new:
                out["status"] = new["status"]
            for key in ("managedFields", "resourceVersion"):
                if key in new["metadata"]:
                    out["metadata"][key] = new["metadata"][key]
            if served.kind in ("Pod", "Node"):
                for key in ("labels", "annotations"):
                    if key in new["metadata"]:
                        out["metadata"][key] = new["metadata"][key]
            return out
        if not sub and "status" in served.subresources:
            if "status" in live:
                new["status"] = copy.deepcopy(live["status"])
            else:
                new.pop("status", None)
        return new

    def _keep(self, served: Served, live: Object, new: Object) -> None:
        """Metadata that only the server changes."""
        old, metadata = live["metadata"], new["metadata"]
        new["kind"], new["apiVersion"] = served.kind, served.gv
        for key in (
            "uid",
            "creationTimestamp",
            "generation",
            "name",
            "namespace",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "selfLink",
            "generateName",
        ):
            if key in old:
                metadata[key] = old[key]
            else:
                metadata.pop(key, None)
        metadata["resourceVersion"] = old["resourceVersion"]
        if "managedFields" in old and "managedFields" not in metadata:
            metadata["managedFields"] = old["managedFields"]
        self._tidy(metadata)

    @staticmethod
    def _tidy(metadata: Object) -> None:
        for key in ("labels", "annotations", "finalizers", "ownerReferences"):
            if key in metadata and not metadata[key]:
                del metadata[key]

    @staticmethod
    def _store_version(served: Served, obj: Object) -> None:
        obj["apiVersion"] = f"{served.group}/{served.storage_version}" if served.custom else served.gv

    # -- custom resources -----------------------------------------------------------------------

    def _after(self, served: Served, obj: Object) -> None:
        if served.gr == CRDS and not obj["metadata"].get("deletionTimestamp"):
            self._install(obj)
            if not (obj.get("status") or {}).get("conditions"):
                self._establish(obj)

    def _install(self, crd: Object) -> None:
        spec = crd["spec"]
        self.registry.remove(spec["group"], spec["names"]["plural"])
        for served in custom_resources(crd):
            self.registry.add(served)

    def _establish(self, crd: Object) -> None:
        stamp = now()

        def condition(kind: str, reason: str, text: str) -> Object:
            return {"type": kind, "status": "True", "reason": reason, "message": text, "lastTransitionTime": stamp}

        new = copy.deepcopy(crd)
        new["status"] = {
            "acceptedNames": crd["spec"]["names"],
            "conditions": [
                condition("NamesAccepted", "NoConflicts", "no conflicts found"),
                condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
            ],
            "storedVersions": [v["name"] for v in crd["spec"]["versions"] if v.get("storage")],
        }
        self.store.put(CRDS, new)

    def _uninstall(self, crd: Object) -> None:
        spec = crd["spec"]
        plural, group = spec["names"]["plural"], spec["group"]
        for served in [s for s in self.registry.distinct() if s.group == group and s.plural == plural]:
            for obj in self.store.all(served.gr):
                metadata = obj["metadata"]
                self.store.delete(served.gr, metadata.get("namespace", ""), metadata["name"])
        self.registry.remove(group, plural)


def _same(live: Object, new: Object) -> bool:
    """Whether a write changes nothing, times and revisions aside: such a write keeps the resourceVersion."""

    def strip(obj: Object) -> Object:
        metadata = {
            k: v for k, v in obj["metadata"].items() if k not in ("resourceVersion", "managedFields", "generation")
        }
        return {**obj, "metadata": metadata, "apiVersion": ""}

    def owned(obj: Object) -> list[Any]:
        return [
            (m.get("manager"), m.get("operation"), m.get("fieldsV1"))
            for m in obj["metadata"].get("managedFields") or ()
        ]

    return strip(live) == strip(new) and owned(live) == owned(new)
