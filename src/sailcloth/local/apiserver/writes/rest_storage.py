"""Create, update, patch, apply and delete objects: strict decoding, defaults, managed fields, admission, validation, storage.

Knows no HTTP and no kind: what differs between kinds is in their records.
"""

from __future__ import annotations

import random
import string
import uuid
from collections.abc import Callable
from typing import Any

import orjson

from ..auth import authorization, certificate_signing, default_roles, escalation
from ..errors import StatusError, already_exists, bad_request, conflict, invalid, not_found
from ..kinds import admissionregistration
from ..registry import ApiResource, Registry
from ..request_info import Body, RequestInfo
from ..schemas import field_validation
from ..schemas.definitions import DefinitionController
from ..storage import Store, clone
from ..times import now
from ..unstructured import Unstructured
from . import managed_fields, metadata, patches, validating_policies, validation
from .admission import Admission
from .deletion import Deletion
from .managed_fields import ApplyConflict, path_text
from .service_addresses import ServiceAllocator

_IMMORTAL = ("default", "kube-system", "kube-public")
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


class RestStorage:
    """Operations on objects. Every method that writes returns after the commit."""

    def __init__(self, store: Store, registry: Registry, admission: Admission, service_cidr: str) -> None:
        self.store, self.registry, self.admission = store, registry, admission
        self._addresses = ServiceAllocator(store, service_cidr)
        self.definitions = DefinitionController(store, registry)
        self.deletion = Deletion(store, registry, self.definitions.on_delete)

    def live(self, info: RequestInfo) -> Unstructured:
        """The stored object. Raises StatusError (404)."""
        obj = self.store.get(info.resource.group_resource, info.namespace, info.name)
        if obj is None:
            raise not_found(info.resource.group_resource, info.name, info.resource.group, info.resource.plural)
        return obj

    # -- create ---------------------------------------------------------------------------------

    async def create(
        self, info: RequestInfo, obj: Unstructured, duplicates: tuple[str, ...] = (), *, applied: bool = False
    ) -> tuple[Unstructured, list[str]]:
        """(the new object, warnings). `duplicates` are fields that its text had twice; `applied`: its managed fields are
        complete. Raises StatusError."""
        resource = info.resource
        validation.check_type_meta(resource, obj, info.namespace)
        _generate_name(resource, obj)
        name = obj["metadata"]["name"]
        self._check_absent(resource, obj)
        if resource.namespaced:
            self._check_namespace(resource, info.namespace, name)
        warnings = field_validation.decode_strictly(resource, obj, info.options, duplicates)
        if resource.group_resource == certificate_signing.REQUESTS:
            certificate_signing.set_requester(obj, info.user)
        metadata.fill_system_fields(resource, obj, str(uuid.uuid4()))
        validation.apply_defaults(resource, obj)
        manager = None if applied else info.field_manager
        if manager is not None:
            managed_fields.of(resource).update(None, obj, manager, now())
        obj, more = await self._mutate(info, obj, None, manager)
        validation.validate(resource, obj, None)
        self.definitions.validate(resource, obj, None)
        escalation.authorize(self.store, info.user, resource.group_resource, obj, None)
        if resource.kind == "Service":
            self._addresses.allocate(obj)
        warnings += more + await self.admission.validate(info, "CREATE", obj, None)
        if info.dry_run:
            return obj, warnings
        self._check_absent(resource, obj)
        obj = resource.to_storage(obj)
        self.store.put(resource.group_resource, obj)
        self._after_write(resource, obj, new=True)
        stored = self.store.get(resource.group_resource, obj["metadata"].get("namespace", ""), name) or obj
        await self.store.committed()  # what others write meanwhile is not durable yet, so it is not the answer
        return stored, warnings

    def install_definition(self, definition: Unstructured) -> None:
        """Store a CustomResourceDefinition that is part of the program and known to be valid, unless there is one of its name.
        Its manager owns no field, so that whoever applies another over it has no conflict."""
        resource = self.registry.resources["apiextensions.k8s.io", "v1", "customresourcedefinitions"]
        if self.store.get(resource.group_resource, "", definition["metadata"]["name"]) is None:
            metadata.fill_system_fields(resource, definition, str(uuid.uuid4()))
            validation.apply_defaults(resource, definition)
            version = definition["apiVersion"]
            manager = {"manager": "sailcloth", "operation": "Update", "apiVersion": version, "time": now()}
            definition["metadata"]["managedFields"] = [{**manager, "fieldsType": "FieldsV1", "fieldsV1": {}}]
            self.definitions.install(definition)

    def _after_write(self, resource: ApiResource, obj: Unstructured, new: bool = False) -> None:
        """What follows at once from an object that was written."""
        self.definitions.on_write(resource, obj, known_valid=new)
        if new:
            self.deletion.follow_owners(resource, obj)
        if resource.group_resource == default_roles.CLUSTER_ROLES:
            default_roles.aggregate(self.store)
        if resource.group_resource == admissionregistration.POLICY.group_resource:
            validating_policies.observe(self.store, obj)

    def _check_absent(self, resource: ApiResource, obj: Unstructured) -> None:
        name = obj["metadata"]["name"]
        if self.store.get(resource.group_resource, obj["metadata"].get("namespace", ""), name) is not None:
            raise already_exists(resource.group_resource, name, resource.group, resource.plural)

    def _check_namespace(self, resource: ApiResource, namespace: str, name: str) -> None:
        """Raises StatusError for a namespace that does not exist, or is terminating."""
        holder = self.store.get("namespaces", "", namespace)
        if holder is None:
            raise not_found("namespaces", namespace, "", "namespaces")
        if holder["metadata"].get("deletionTimestamp"):
            text = f'{resource.group_resource} "{name}" is forbidden: unable to create new content in namespace {namespace} because it is being terminated'
            causes = [{"reason": "NamespaceTerminating", "message": f"namespace {namespace} is being terminated", "field": "metadata.namespace"}]  # fmt: skip
            details = {"name": name, "group": resource.group, "kind": resource.plural, "causes": causes}
            raise StatusError(403, "Forbidden", text, details)

    async def _mutate(
        self, info: RequestInfo, obj: Unstructured, live: Unstructured | None, manager: str | None
    ) -> tuple[Unstructured, list[str]]:
        """(the object after mutating webhooks, warnings). What they change is owned by `manager`, if that is given."""
        resource = info.resource
        mutated, warnings = await self.admission.mutate(info, "CREATE" if live is None else "UPDATE", obj, live)
        assert mutated is not None
        if mutated is obj or mutated == obj:
            return mutated, warnings
        if live is not None:
            metadata.preserve_system_fields(resource, live, mutated)
        validation.apply_defaults(resource, mutated)
        if manager is not None:
            if live is None:
                mutated["metadata"].pop("managedFields", None)
            managed_fields.of(resource).update(live, mutated, manager, now(), info.subresource)
        return mutated, warnings

    # -- update ---------------------------------------------------------------------------------

    async def update(
        self,
        info: RequestInfo,
        mutate: Callable[[Unstructured], Unstructured],
        duplicates: tuple[str, ...] = (),
        *,
        applied: bool = False,
        patch: Any = None,
    ) -> tuple[Unstructured, list[str]]:
        """(the changed object, warnings): `mutate` gets a copy of the stored one. Conflicts with a resourceVersion in its result
        are refused; without one the update is tried again when another write was faster. `applied`: managed fields are
        complete; `patch` is what `mutate` applies, for messages. Raises StatusError."""
        resource = info.resource
        for _ in range(8):
            live = self.live(info)
            before = resource.from_storage(live)
            new = mutate(clone(before))
            given = metadata.check_preconditions(resource, live, new)
            new = metadata.restrict_update(resource, before, new, info.subresource)
            warnings = field_validation.decode_strictly(resource, new, info.options, duplicates, patch)
            metadata.preserve_system_fields(resource, live, new)
            validation.apply_defaults(resource, new)
            if not applied and info.subresource != "binding":
                managed_fields.of(resource).update(before, new, info.field_manager, now(), info.subresource)
            new, more = await self._admit_update(info, before, new, None if applied else info.field_manager)
            latest = self.store.get(resource.group_resource, info.namespace, info.name)
            if latest is None or latest["metadata"]["resourceVersion"] != live["metadata"]["resourceVersion"]:
                if given:
                    raise conflict(resource.group_resource, info.name)
                continue
            if metadata.is_unchanged(before, new):
                await self.store.committed()  # another writer's version may not be durable yet
                return before, warnings + more
            if metadata.bumps_generation(resource, before, new):
                new["metadata"]["generation"] = int(live["metadata"].get("generation") or 1) + 1
            if info.dry_run:
                return new, warnings + more
            new = resource.to_storage(new)
            self.store.put(resource.group_resource, new)
            self._after_write(resource, new)
            if new["metadata"].get("deletionTimestamp") and not new["metadata"].get("finalizers"):
                self.deletion.finalize(resource, new)
            stored = self.store.get(resource.group_resource, info.namespace, info.name) or new
            await self.store.committed()
            return stored, warnings + more
        raise conflict(resource.group_resource, info.name)

    async def _admit_update(
        self, info: RequestInfo, live: Unstructured, new: Unstructured, manager: str | None
    ) -> tuple[Unstructured, list[str]]:
        """Webhooks and rules over an update."""
        resource = info.resource
        new, warnings = await self._mutate(info, new, live, manager)
        validation.validate(resource, new, live, info.subresource)
        if resource.group_resource == certificate_signing.REQUESTS:
            certificate_signing.authorize_decision(self.store, live, new, info.subresource, info.user)
        escalation.authorize(self.store, info.user, resource.group_resource, new, live)
        if not info.subresource:
            self.definitions.validate(resource, new, live)
            if resource.kind == "Service":
                self._addresses.allocate(new, live)
        return new, warnings + await self.admission.validate(info, "UPDATE", new, live)

    async def replace(self, info: RequestInfo, body: Body) -> tuple[Unstructured, list[str]]:
        """(the object, warnings): the body takes the place of the stored object."""
        kind, version = body.value.get("kind"), body.value.get("apiVersion")
        if (kind and kind != info.resource.kind) or (version and version != info.resource.group_version):
            validation.check_type_meta(info.resource, body.value, info.namespace)  # refuses it
        return await self.update(info, lambda _: clone(body.value), body.duplicates)

    async def patch(self, info: RequestInfo, body: Body) -> tuple[Unstructured, list[str], bool]:
        """(object, warnings, whether it was created). The body's content type says what kind of patch it is."""
        if body.content_type in ("application/apply-patch+yaml", "application/apply-patch+cbor"):
            return await self._apply(info, body)
        if info.options.get("force"):
            text = "Forbidden: may not be specified for non-apply patch"
            raise invalid("PatchOptions", "meta.k8s.io", "", [("force", "FieldValueForbidden", text)])

        def mutate(live: Unstructured) -> Unstructured:
            patched = patches.apply_patch(info.resource, live, body.value, body.content_type)
            if isinstance(patched, dict) and isinstance(patched.get("metadata"), dict):
                asked = (
                    (body.value.get("metadata") or {}).get("resourceVersion") if isinstance(body.value, dict) else None
                )
                if not asked and patched["metadata"].get("resourceVersion") == live["metadata"]["resourceVersion"]:
                    patched["metadata"].pop("resourceVersion")  # no precondition: try again if another write was faster
            return patched  # type: ignore[no-any-return]

        obj, warnings = await self.update(info, mutate, body.duplicates, patch=body.value)
        return obj, warnings, False

    async def _apply(self, info: RequestInfo, body: Body) -> tuple[Unstructured, list[str], bool]:
        applied, manager, resource = body.value, str(info.options.get("fieldManager", "")), info.resource
        if not isinstance(applied, dict):
            raise bad_request("an apply patch must be an object")
        if not manager:
            text = "Required value: is required for apply patch"
            raise invalid("PatchOptions", "meta.k8s.io", "", [("fieldManager", "FieldValueRequired", text)])
        validation.check_type_meta(resource, applied, info.namespace)
        if applied["metadata"].get("managedFields"):
            raise bad_request("metadata.managedFields must be nil")
        if applied["metadata"].setdefault("name", info.name) != info.name:
            text = f"the name of the object ({applied['metadata']['name']}) does not match the name on the URL ({info.name})"
            raise bad_request(text)
        field_validation.check_declared(resource, applied, info.namespace, applied["metadata"]["name"])
        warnings = field_validation.decode_strictly(resource, clone(applied), info.options, body.duplicates)
        asked = applied["metadata"].pop("resourceVersion", None)
        metadata.reset_fields(resource, applied, info.subresource)

        def merge(live: Unstructured | None) -> Unstructured:
            try:
                merged = managed_fields.of(resource).apply(live, applied, manager, info.force, now(), info.subresource)
            except ApplyConflict as error:
                raise _conflict_error(resource, error) from None
            annotations = merged["metadata"].get("annotations") or {}
            if manager == "kubectl" and _LAST_APPLIED in annotations and not info.subresource:
                # kubectl may go back to client-side apply, which reads this annotation
                annotations[_LAST_APPLIED] = orjson.dumps(applied).decode() + "\n"
            if live is not None:
                merged["metadata"].pop("resourceVersion", None)
                if asked:
                    merged["metadata"]["resourceVersion"] = asked
            return merged

        if self.store.get(resource.group_resource, info.namespace, info.name) is None:
            if info.subresource:
                raise not_found(resource.group_resource, info.name, resource.group, resource.plural)
            if asked or applied["metadata"].get("uid"):
                raise conflict(
                    resource.group_resource, info.name, f"Precondition failed: object {info.name} does not exist"
                )
            self._authorize_create(info)
            obj, more = await self.create(info, merge(None), applied=True)
            return obj, warnings + more, True
        obj, more = await self.update(info, merge, applied=True)
        return obj, warnings + more, False

    def _authorize_create(self, info: RequestInfo) -> None:
        """Raises StatusError (403) if a patch would create an object for who may not."""
        resource, user = info.resource, info.user
        asked = authorization.Attributes("create", resource.group, resource.plural, info.namespace, info.name)
        if not authorization.is_allowed(self.store, user.name, user.groups, asked):
            raise StatusError(403, "Forbidden", asked.forbidden_message(user.name))

    # -- delete ---------------------------------------------------------------------------------

    async def delete(self, info: RequestInfo) -> tuple[Unstructured, bool]:
        """(the object, whether it is gone), by the DeleteOptions in the request's options. Pods on a node and objects with
        finalizers are only marked."""
        resource, live = info.resource, self.live(info)
        wanted = info.options.get("preconditions") or {}
        for key in ("uid", "resourceVersion"):
            if wanted.get(key) and wanted[key] != live["metadata"][key]:
                word = "UID" if key == "uid" else "ResourceVersion"
                text = f"the {word} in the precondition ({wanted[key]}) does not match the {word} in record ({live['metadata'][key]}). The object might have been deleted and then recreated"
                raise conflict(resource.group_resource, info.name, text)
        if resource.group_resource == "namespaces" and info.name in _IMMORTAL:
            text = f'namespaces "{info.name}" is forbidden: this namespace may not be deleted'
            raise StatusError(403, "Forbidden", text)
        await self.admission.mutate(info, "DELETE", None, live)
        await self.admission.validate(info, "DELETE", None, live)
        live = self.live(info)
        if info.dry_run:
            return live, True
        gone = self.deletion.delete_or_mark(resource, live, info.options)
        if resource.group_resource == default_roles.CLUSTER_ROLES:
            default_roles.aggregate(self.store)
        stored = self.store.get(resource.group_resource, info.namespace, info.name) or live
        await self.store.committed()
        return stored, gone


def _generate_name(resource: ApiResource, obj: Unstructured) -> None:
    """Raises StatusError for an object with neither a name nor a prefix for one."""
    meta = obj["metadata"]
    if meta.get("name"):
        return
    if not meta.get("generateName"):
        text = "Required value: name or generateName is required"
        raise invalid(resource.kind, resource.group, "", [("metadata.name", "FieldValueRequired", text)])
    letters = string.ascii_lowercase[2:] + "2456789"
    meta["name"] = meta["generateName"][:58] + "".join(random.choices(letters, k=5))


def _conflict_error(resource: ApiResource, error: ApplyConflict) -> StatusError:
    conflicts = [
        (f'conflict with "{who}"{"" if operation == "Apply" else f" using {resource.group_version}"}', path_text(path))
        for who, operation, path in error.fields
    ]
    causes = [{"reason": "FieldManagerConflict", "message": t, "field": p} for t, p in conflicts]
    plural = "s" if len(conflicts) > 1 else ""
    if len({t for t, _ in conflicts}) == 1 and plural:
        text = f"{conflicts[0][0]}:\n" + "\n".join(f"- {p}" for _, p in conflicts)
        text = text.replace('conflict with "', 'conflicts with "', 1)
    else:
        text = "; ".join(f"{t}: {p}" for t, p in conflicts)
    return StatusError(
        409, "Conflict", f"Apply failed with {len(conflicts)} conflict{plural}: {text}", {"causes": causes}
    )
