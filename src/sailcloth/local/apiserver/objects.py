"""The life of an object: create, replace, patch, delete, with everything Kubernetes promises about metadata."""

from __future__ import annotations

import copy
import random
import string
import uuid
from collections.abc import Callable
from typing import Any

from . import patches, rules
from .access import User
from .addresses import Addresses
from .admission import Admission
from .definitions import Definitions
from .deletion import Deletion
from .errors import Refused, already_exists, bad_request, conflict, invalid, not_found
from .ownership import Conflict, show
from .resources import Registry, Served
from .storage import Store
from .times import now

Object = dict[str, Any]


class Objects:
    """Operations on objects. Every method that writes returns after the commit."""

    def __init__(self, store: Store, registry: Registry, admission: Admission, service_cidr: str) -> None:
        self.store, self.registry, self.admission = store, registry, admission
        self._addresses = Addresses(store, service_cidr)
        self._definitions = Definitions(store, registry)
        self.deletion = Deletion(store, registry, self._definitions.uninstall)

    # -- create ---------------------------------------------------------------------------------

    async def create(
        self, served: Served, obj: Object, namespace: str, user: User, manager: str, query: dict[str, str]
    ) -> tuple[Object, list[str]]:
        """A new object. Raises Refused."""
        if not isinstance(obj.get("metadata"), dict):
            obj["metadata"] = {}
        rules.identify(served, obj, namespace)
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
        rules.check_name(served, name)
        if self.store.get(served.gr, metadata.get("namespace", ""), name) is not None:
            raise already_exists(served.gr, name, served.group, served.plural)
        if served.namespaced:
            holder = self.store.get("namespaces", "", namespace)
            if holder is None:
                raise not_found("namespaces", namespace, "", "namespaces")
            if holder["metadata"].get("deletionTimestamp"):
                text = f'{served.gr} "{name}" is forbidden: unable to create new content in namespace {namespace} because it is being terminated'
                raise Refused(403, "Forbidden", text)
        warnings = rules.check_fields(served, obj, query)
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
        rules.fill_defaults(served, obj)
        dry = bool(query.get("dryRun"))
        made, more = await self.admission.admit(served, "CREATE", obj, None, user, dry)
        assert made is not None
        obj = made
        rules.fill_defaults(served, obj)
        rules.validate(served, obj, None)
        if served.kind == "Service":
            self._addresses.assign(obj)
        if "managedFields" not in obj["metadata"]:
            served.fields.update(None, obj, manager, now())
        if dry:
            obj["metadata"].setdefault("resourceVersion", "")
            return obj, warnings + more
        if self.store.get(served.gr, obj["metadata"].get("namespace", ""), name) is not None:
            raise already_exists(served.gr, name, served.group, served.plural)
        self._store_version(served, obj)
        self.store.put(served.gr, obj)
        self._definitions.written(served, obj)
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
            warnings = [] if sub == "status" else rules.check_fields(served, new, query)
            self._keep(served, live, new)
            rules.fill_defaults(served, new)
            dry = bool(query.get("dryRun"))
            before = live["metadata"]["resourceVersion"]
            more: list[str] = []
            if not sub:
                made, more = await self.admission.admit(served, "UPDATE", new, live, user, dry)
                assert made is not None
                new = made
                rules.validate(served, new, live)
                if served.kind == "Service":
                    self._addresses.assign(new, live)
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
            self._definitions.written(served, new)
            if new["metadata"].get("deletionTimestamp") and not new["metadata"].get("finalizers"):
                self.deletion.finish(served, new)
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
        rules.identify(served, body, namespace)
        body["metadata"].setdefault("name", name)
        warnings = rules.check_fields(served, body, query)

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
        gone = self.deletion.mark(served, live, options)
        await self.store.committed()
        return (self.store.get(served.gr, namespace, name) or live), gone

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
