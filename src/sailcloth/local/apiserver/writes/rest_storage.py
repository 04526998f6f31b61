"""The life of an object: create, replace, patch, delete, with everything Kubernetes promises about metadata."""

from __future__ import annotations

import random
import string
import uuid
from collections.abc import Callable
from typing import Any

import orjson

from ..auth import certificate_signing, default_roles
from ..auth.authentication import User
from ..errors import Refused, already_exists, bad_request, conflict, invalid, not_found
from ..http.bodies import Body
from ..registry import Registry, Served
from ..schemas import field_validation
from ..schemas.definitions import Definitions
from ..storage import Store, clone
from ..times import now
from . import metadata, patches, validation
from .admission import Admission
from .deletion import Deletion
from .managed_fields import Conflict, show
from .service_addresses import Addresses

Object = dict[str, Any]
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


class Objects:
    """Operations on objects. Every method that writes returns after the commit."""

    def __init__(self, store: Store, registry: Registry, admission: Admission, service_cidr: str) -> None:
        self.store, self.registry, self.admission = store, registry, admission
        self._addresses = Addresses(store, service_cidr)
        self.definitions = Definitions(store, registry)
        self.deletion = Deletion(store, registry, self.definitions.uninstall)

    # -- create ---------------------------------------------------------------------------------

    async def create(
        self,
        served: Served,
        obj: Object,
        namespace: str,
        user: User,
        manager: str,
        query: dict[str, str],
        doubled: tuple[str, ...] = (),
        applied: bool = False,
    ) -> tuple[Object, list[str]]:
        """A new object. `doubled` are fields that its text had twice; `applied`: its managed fields are complete. Raises
        Refused."""
        validation.identify(served, obj, namespace)
        meta = obj["metadata"]
        if not meta.get("name"):
            if not meta.get("generateName"):
                text = "Required value: name or generateName is required"
                raise invalid(served.kind, served.group, "", [("metadata.name", "FieldValueRequired", text)])
            letters = string.ascii_lowercase[2:] + "2456789"
            meta["name"] = meta["generateName"][:58] + "".join(random.choices(letters, k=5))
        name = meta["name"]
        self._exists_not(served, obj)
        if served.namespaced:
            self._enter(served, namespace, name)
        warnings = field_validation.read(served, obj, query, doubled)
        meta = obj["metadata"]
        if served.gr == certificate_signing.REQUESTS:
            certificate_signing.begin(obj, user)
        metadata.begin(served, obj, str(uuid.uuid4()))
        validation.fill_defaults(served, obj)
        dry = bool(query.get("dryRun"))
        if not applied:
            served.fields.update(None, obj, manager, now())
        before = obj
        made, more = await self.admission.mutate(served, "CREATE", obj, None, user, dry)
        assert made is not None
        obj = made
        if obj is not before and obj != before:
            validation.fill_defaults(served, obj)
            if not applied:
                obj["metadata"].pop("managedFields", None)
                served.fields.update(None, obj, manager, now())
        validation.judge(served, obj, None)
        self.definitions.judge(served, obj, None)
        if served.kind == "Service":
            self._addresses.assign(obj)
        more += await self.admission.validate(served, "CREATE", obj, None, user, dry)
        if dry:
            return obj, warnings + more
        self._exists_not(served, obj)
        obj = served.stored(obj)
        self.store.put(served.gr, obj)
        self._follow(served, obj)
        await self.store.committed()
        return (self.store.get(served.gr, obj["metadata"].get("namespace", ""), name) or obj), warnings + more

    def _follow(self, served: Served, obj: Object) -> None:
        """What follows at once from an object that was written."""
        self.definitions.written(served, obj)
        if served.gr == default_roles.CLUSTER_ROLES:
            default_roles.aggregate(self.store)

    def _exists_not(self, served: Served, obj: Object) -> None:
        name = obj["metadata"]["name"]
        if self.store.get(served.gr, obj["metadata"].get("namespace", ""), name) is not None:
            raise already_exists(served.gr, name, served.group, served.plural)

    def _enter(self, served: Served, namespace: str, name: str) -> None:
        """Raises Refused for a namespace that is not there, or is going away."""
        holder = self.store.get("namespaces", "", namespace)
        if holder is None:
            raise not_found("namespaces", namespace, "", "namespaces")
        if holder["metadata"].get("deletionTimestamp"):
            text = f'{served.gr} "{name}" is forbidden: unable to create new content in namespace {namespace} because it is being terminated'
            causes = [{"reason": "NamespaceTerminating", "message": f"namespace {namespace} is being terminated", "field": "metadata.namespace"}]  # fmt: skip
            details = {"name": name, "group": served.group, "kind": served.plural, "causes": causes}
            raise Refused(403, "Forbidden", text, details)

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
        doubled: tuple[str, ...] = (),
        patch: Any = None,
    ) -> tuple[Object, list[str]]:
        """Change an object by a function of a copy of it. Conflicts with a resourceVersion in the result are refused; without
        one the change is tried again when somebody else was faster. `applied`: managed fields are complete; `patch` is what
        `make` applies, for messages."""
        for _ in range(8):
            live = self.store.get(served.gr, namespace, name)
            if live is None:
                raise not_found(served.gr, name, served.group, served.plural)
            before = served.shown(live)
            new = make(clone(before))
            given = metadata.precondition(served, live, new)
            new = metadata.scoped(served, before, new, sub)
            warnings = field_validation.read(served, new, query, doubled, patch)
            metadata.keep(served, live, new)
            validation.fill_defaults(served, new)
            if not applied and sub != "binding":
                served.fields.update(before, new, manager, now(), sub)
            dry = bool(query.get("dryRun"))
            new, more = await self._admit(served, sub, before, new, user, dry, None if applied else manager)
            latest = self.store.get(served.gr, namespace, name)
            if latest is None or latest["metadata"]["resourceVersion"] != live["metadata"]["resourceVersion"]:
                if given:
                    raise conflict(served.gr, name)
                continue
            if metadata.same(before, new):
                return before, warnings + more
            if metadata.moves_generation(served, before, new):
                new["metadata"]["generation"] = int(live["metadata"].get("generation") or 1) + 1
            if dry:
                return new, warnings + more
            new = served.stored(new)
            self.store.put(served.gr, new)
            self._follow(served, new)
            if new["metadata"].get("deletionTimestamp") and not new["metadata"].get("finalizers"):
                self.deletion.finish(served, new)
            await self.store.committed()
            return (self.store.get(served.gr, namespace, name) or new), warnings + more
        raise conflict(served.gr, name)

    async def _admit(
        self, served: Served, sub: str, live: Object, new: Object, user: User, dry: bool, manager: str | None
    ) -> tuple[Object, list[str]]:
        """Webhooks and rules over a change. Fields that webhooks change are `manager`'s, if that is given."""
        before = new
        made, warnings = await self.admission.mutate(served, "UPDATE", new, live, user, dry, sub)
        assert made is not None
        new = made
        if new is not before and new != before:
            metadata.keep(served, live, new)
            validation.fill_defaults(served, new)
            if manager is not None:
                served.fields.update(live, new, manager, now(), sub)
        validation.judge(served, new, live)
        if served.gr == certificate_signing.REQUESTS:
            certificate_signing.permit(self.store, live, new, sub, user)
        if not sub:
            self.definitions.judge(served, new, live)
            if served.kind == "Service":
                self._addresses.assign(new, live)
        warnings += await self.admission.validate(served, "UPDATE", new, live, user, dry, sub)
        return new, warnings

    async def replace(
        self,
        served: Served,
        namespace: str,
        name: str,
        sub: str,
        body: Body,
        user: User,
        manager: str,
        query: dict[str, str],
    ) -> tuple[Object, list[str]]:
        """Replace an object by another."""
        kind, version = body.value.get("kind"), body.value.get("apiVersion")
        if (kind and kind != served.kind) or (version and version != served.gv):
            validation.identify(served, body.value, namespace)  # refuses it

        def make(_: Object) -> Object:
            return clone(body.value)

        return await self.change(served, namespace, name, sub, make, user, manager, query, doubled=body.doubled)

    async def patch(
        self,
        served: Served,
        namespace: str,
        name: str,
        sub: str,
        body: Body,
        user: User,
        manager: str,
        query: dict[str, str],
    ) -> tuple[Object, list[str], bool]:
        """(object, warnings, whether it was created). The body's content type says what kind of patch it is."""
        if body.kind in ("application/apply-patch+yaml", "application/apply-patch+cbor"):
            return await self._apply(served, namespace, name, sub, body, user, query)
        if query.get("force"):
            text = "Forbidden: may not be specified for non-apply patch"
            raise invalid("PatchOptions", "meta.k8s.io", "", [("force", "FieldValueForbidden", text)])

        def make(live: Object) -> Object:
            made = patches.patched(served, live, body.value, body.kind)
            if isinstance(made, dict) and isinstance(made.get("metadata"), dict):
                asked = (
                    (body.value.get("metadata") or {}).get("resourceVersion") if isinstance(body.value, dict) else None
                )
                if not asked and made["metadata"].get("resourceVersion") == live["metadata"]["resourceVersion"]:
                    made["metadata"].pop("resourceVersion")  # no precondition: try again if somebody was faster
            return made  # type: ignore[no-any-return]

        obj, warnings = await self.change(
            served, namespace, name, sub, make, user, manager, query, doubled=body.doubled, patch=body.value
        )
        return obj, warnings, False

    async def _apply(
        self, served: Served, namespace: str, name: str, sub: str, body: Body, user: User, query: dict[str, str]
    ) -> tuple[Object, list[str], bool]:
        applied, manager = body.value, query.get("fieldManager", "")
        if not isinstance(applied, dict):
            raise bad_request("an apply patch must be an object")
        if not manager:
            text = "Required value: is required for apply patch"
            raise invalid("PatchOptions", "meta.k8s.io", "", [("fieldManager", "FieldValueRequired", text)])
        validation.identify(served, applied, namespace)
        if applied["metadata"].get("managedFields"):
            raise bad_request("metadata.managedFields must be nil")
        applied["metadata"].setdefault("name", name)
        field_validation.declared(served, applied, namespace, applied["metadata"]["name"])
        warnings = field_validation.read(served, clone(applied), query, body.doubled)
        force, asked = query.get("force") == "true", applied["metadata"].pop("resourceVersion", None)
        metadata.reset(served, applied, sub)

        def make(live: Object | None) -> Object:
            try:
                made = served.fields.apply(live, applied, manager, force, now(), sub)
            except Conflict as error:
                raise _conflicts(served, error) from None
            annotations = made["metadata"].get("annotations") or {}
            if manager == "kubectl" and _LAST_APPLIED in annotations and not sub:  # so that the way back is open
                annotations[_LAST_APPLIED] = orjson.dumps(applied).decode() + "\n"
            if live is not None:
                made["metadata"].pop("resourceVersion", None)
                if asked:
                    made["metadata"]["resourceVersion"] = asked
            return made

        if self.store.get(served.gr, namespace, name) is None:
            if sub:
                raise not_found(served.gr, name, served.group, served.plural)
            if asked or applied["metadata"].get("uid"):
                raise conflict(served.gr, name, f"Precondition failed: object {name} does not exist")
            obj, more = await self.create(served, make(None), namespace, user, manager, query, applied=True)
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
        for key in ("uid", "resourceVersion"):
            if wanted.get(key) and wanted[key] != live["metadata"][key]:
                word = "UID" if key == "uid" else "ResourceVersion"
                text = f"the {word} in the precondition ({wanted[key]}) does not match the {word} in record ({live['metadata'][key]}). The object might have been deleted and then recreated"
                raise conflict(served.gr, name, text)
        dry = bool(options.get("dryRun"))
        await self.admission.mutate(served, "DELETE", None, live, user, dry)
        await self.admission.validate(served, "DELETE", None, live, user, dry)
        live = self.store.get(served.gr, namespace, name)
        if live is None:
            raise not_found(served.gr, name, served.group, served.plural)
        if dry:
            return live, True
        gone = self.deletion.mark(served, live, options)
        if served.gr == default_roles.CLUSTER_ROLES:
            default_roles.aggregate(self.store)
        await self.store.committed()
        return (self.store.get(served.gr, namespace, name) or live), gone


def _conflicts(served: Served, error: Conflict) -> Refused:
    found = [
        (f'conflict with "{who}"{"" if operation == "Apply" else f" using {served.gv}"}', show(path))
        for who, operation, path in error.fields
    ]
    causes = [{"reason": "FieldManagerConflict", "message": t, "field": p} for t, p in found]
    plural = "s" if len(found) > 1 else ""
    if len({t for t, _ in found}) == 1 and plural:
        text = f"{found[0][0]}:\n" + "\n".join(f"- {p}" for _, p in found)
        text = text.replace('conflict with "', 'conflicts with "', 1)
    else:
        text = "; ".join(f"{t}: {p}" for t, p in found)
    return Refused(409, "Conflict", f"Apply failed with {len(found)} conflict{plural}: {text}", {"causes": causes})
