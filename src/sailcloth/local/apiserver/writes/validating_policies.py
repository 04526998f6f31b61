"""Enforces ValidatingAdmissionPolicies: for every binding of a policy that matches a request, its CEL validations are evaluated.

An expression may iterate 10,000 times, and its intermediate results are bounded before it runs: it cannot hold up the server.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from sailcloth.lib import celauthorizer
from sailcloth.lib.cel import BadExpression, Failed

from ..auth import authorization
from ..errors import StatusError
from ..kinds import admissionregistration, policy_expressions
from ..label_selectors import label_selector
from ..registry import Registry
from ..request_info import RequestInfo
from ..storage import Store
from ..unstructured import Unstructured

log = logging.getLogger(__name__)

_CODES = {"Unauthorized": 401, "Forbidden": 403, "Invalid": 422, "RequestEntityTooLarge": 413}
_MEMORY = 256 << 20  # bytes that one evaluation may need
_LONGEST_MESSAGE = 5 << 10
_EXPENSIVE = "operation cancelled: actual cost limit exceeded"
Matches = Callable[[Unstructured], bool]
"""Whether a MatchResources selects the request."""


@dataclass(frozen=True)
class AdmissionAttributes:
    """What the expressions see of a request. `request` is its AdmissionRequest without the objects."""

    info: RequestInfo
    request: Unstructured
    obj: Unstructured | None
    old: Unstructured | None


class ValidatingPolicies:
    """The policies in the store."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self._store, self._registry = store, registry

    def exist(self) -> bool:
        """Whether there are any."""
        return bool(self._store.all(admissionregistration.POLICY.group_resource))

    def validate(self, attributes: AdmissionAttributes, matches: Matches) -> list[str]:
        """Warnings for the client. Raises StatusError if a policy denies the request."""
        warnings: list[str] = []
        policies = self._store.all(admissionregistration.POLICY.group_resource)
        bindings = self._store.all(admissionregistration.BINDING.group_resource)
        for policy in policies:
            name = policy["metadata"]["name"]
            bound = [b for b in bindings if b["spec"].get("policyName") == name]
            if not bound or not matches(policy["spec"].get("matchConstraints") or {}):
                continue
            for binding in bound:
                resources = binding["spec"].get("matchResources")
                if resources is None or matches(resources):
                    self._enforce(policy, binding, attributes, warnings)
        return warnings

    def _enforce(
        self, policy: Unstructured, binding: Unstructured, attributes: AdmissionAttributes, warnings: list[str]
    ) -> None:
        """Adds warnings. Raises StatusError if the binding denies the request."""
        title = f"ValidatingAdmissionPolicy '{policy['metadata']['name']}' with binding '{binding['metadata']['name']}'"
        for violation in self._violations(policy, binding, attributes):
            actions = ("Deny",) if violation.misconfigured else binding["spec"].get("validationActions") or ()
            if "Warn" in actions:
                warnings.append(f"Validation failed for {title}: {violation.message}")
            if "Audit" in actions:
                log.info("audit: validation failed for %s: %s", title, violation.message)
            if "Deny" in actions:
                raise _denied(attributes, f"{title} denied request: {violation.message}", violation.reason, warnings)

    def _violations(
        self, policy: Unstructured, binding: Unstructured, attributes: AdmissionAttributes
    ) -> Iterator[_Violation]:
        spec = policy["spec"]
        fails = spec.get("failurePolicy") != "Ignore"
        try:
            params = self._params(spec.get("paramKind"), binding["spec"].get("paramRef"), attributes)
        except _Misconfigured as error:
            if fails:
                yield _Violation(str(error), "Invalid", misconfigured=True)
            return
        for param in params:
            evaluation = _Evaluation(self._store, policy, attributes, param)
            if not evaluation.matches():
                if evaluation.condition_error and fails:
                    yield _Violation(evaluation.condition_error, "Invalid")
                continue
            yield from evaluation.violations(fails)

    def _params(
        self, kind: Unstructured | None, reference: Unstructured | None, attributes: AdmissionAttributes
    ) -> list[Unstructured | None]:
        """The objects that a binding's validations are evaluated with, one after the other. Raises _Misconfigured."""
        if not kind or not reference:
            return [None]
        group, _, version = str(kind.get("apiVersion", "")).rpartition("/")
        resource = next(
            (
                r
                for r in self._registry.resources.values()
                if (r.group, r.version, r.kind) == (group, version, kind.get("kind"))
            ),
            None,
        )
        if resource is None:
            raise _Misconfigured(
                f"failed to find resource referenced by paramKind: '{kind.get('apiVersion')}, Kind={kind.get('kind')}'"
            )
        namespace = ""
        if resource.namespaced:
            namespace = str(reference.get("namespace") or attributes.request["namespace"])
            if not namespace:
                raise _Misconfigured(
                    "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
                )
        elif reference.get("namespace"):
            raise _Misconfigured("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
        if reference.get("name"):
            param = self._store.get(resource.group_resource, namespace, str(reference["name"]))
            found = [param] if param is not None else []
        else:
            match = label_selector(reference.get("selector"))
            found = [
                o
                for o in self._store.all(resource.group_resource, namespace or None)
                if match(o["metadata"].get("labels") or {})
            ]
        if not found and reference.get("parameterNotFoundAction") == "Deny":
            raise _Misconfigured(
                "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
            )
        return [resource.from_storage(o) for o in found]


def observe(store: Store, policy: Unstructured) -> None:
    """Write the status of a policy that was written. Its expressions are not type-checked against the kinds that it matches."""
    generation = policy["metadata"].get("generation", 1)
    if (policy.get("status") or {}).get("observedGeneration") != generation:
        status = {**(policy.get("status") or {}), "observedGeneration": generation, "typeChecking": {}}
        store.put(admissionregistration.POLICY.group_resource, {**policy, "status": status})


class _Misconfigured(Exception):
    """The policy or its binding cannot be evaluated."""


@dataclass(frozen=True)
class _Violation:
    message: str
    reason: str
    misconfigured: bool = False


class _Evaluation:
    """A policy's expressions over one request and one parameter object. Variables are evaluated when an expression names them."""

    def __init__(
        self, store: Store, policy: Unstructured, attributes: AdmissionAttributes, param: Unstructured | None
    ) -> None:
        self._store, self._spec, self._attributes = store, policy["spec"], attributes
        request = attributes.request
        within = request["namespace"] if attributes.info.resource.namespaced else ""
        namespace = store.get("namespaces", "", within) if within else None
        self._values: dict[str, Any] = {
            "object": attributes.obj,
            "oldObject": attributes.old,
            "request": request,
            "params": param,
            "namespaceObject": namespace,
            "authorizer": celauthorizer.authorizer(
                group=attributes.info.resource.group,
                resource=attributes.info.resource.plural,
                subresource=attributes.info.subresource,
                namespace=request["namespace"],
                name=request["name"],
            ),
        }
        self._size = sum(len(orjson.dumps(v)) for v in self._values.values())
        self._expressions = {v["name"]: str(v["expression"]) for v in self._spec.get("variables") or ()}
        self._variables: dict[str, Any] = {}
        self._failed: dict[str, str] = {}
        self.condition_error = ""

    def matches(self) -> bool:
        """Whether all matchConditions hold. One that is false skips the policy, whatever fails in others."""
        for condition in self._spec.get("matchConditions") or ():
            try:
                if self._run(condition["expression"]) is not True:
                    self.condition_error = ""
                    return False
            except Failed as error:
                self.condition_error = f"expression '{condition['expression'].strip()}' resulted in error: {error}"
        return not self.condition_error

    def violations(self, fails: bool) -> Iterator[_Violation]:
        """What validations are not true, or fail in evaluation if the failure policy is Fail."""
        for validation in self._spec.get("validations") or ():
            text = str(validation["expression"]).strip()
            reason = str(validation.get("reason") or "Invalid")
            try:
                if self._run(validation["expression"]) is not True:
                    yield _Violation(self._message(validation) or f"failed expression: {text}", reason)
            except Failed as error:
                if fails:
                    yield _Violation(f"expression '{text}' resulted in error: {error}", reason)

    def _message(self, validation: Unstructured) -> str:
        if validation.get("messageExpression"):
            try:
                text = self._run(validation["messageExpression"])
            except Failed as error:
                log.info("a messageExpression failed: %s", error)
                text = ""
            if isinstance(text, str) and text.strip() and "\n" not in text.strip() and len(text) <= _LONGEST_MESSAGE:
                return text.strip()
        return str(validation.get("message") or "").strip()

    def _run(self, text: str) -> Any:
        """Raises Failed."""
        try:
            expression = policy_expressions.compiled(text)
        except BadExpression as error:
            raise Failed(f"compilation failed: {error}") from None
        for name in expression.variables:
            self._resolve(name)
        failed = next((n for n in expression.variables if n in self._failed), None)
        if policy_expressions.largest_result(text, self._size) > _MEMORY:
            raise Failed(_EXPENSIVE)
        try:
            with celauthorizer.deciding(self._decide):
                return expression.program.run({**self._values, "variables": self._variables})
        except Failed as error:
            if failed and str(error) == f"no such key: {failed}":
                raise Failed(f"composited variable {failed!r} fails to evaluate: {self._failed[failed]}") from None
            raise

    def _resolve(self, name: str) -> None:
        """Evaluate a variable, once. One that fails is absent: it matters only to an expression that needs it."""
        text = self._expressions.get(name)
        if text is None or name in self._variables or name in self._failed:
            return
        self._failed[name] = "it refers to itself"  # while it is evaluated
        try:
            self._variables[name] = self._run(text)
        except Failed as error:
            self._failed[name] = str(error)
            return
        del self._failed[name]
        self._size += len(orjson.dumps(self._variables[name], default=str))

    def _decide(self, asked: dict[str, str], verb: str) -> bool:
        user = self._attributes.info.user
        name, groups = user.name, user.groups
        if "user" in asked:
            name = asked["user"]
            groups = ("system:serviceaccounts", f"system:serviceaccounts:{name.split(':')[2]}", "system:authenticated")
        if "path" in asked:
            return authorization.is_allowed(
                self._store, name, groups, authorization.Attributes(verb, path=asked["path"])
            )
        resource = asked.get("resource", "") + (f"/{asked['subresource']}" if asked.get("subresource") else "")
        where = asked.get("namespace", ""), asked.get("name", "")
        attributes = authorization.Attributes(verb, asked.get("group", ""), resource, *where)
        return authorization.is_allowed(self._store, name, groups, attributes)


def _denied(attributes: AdmissionAttributes, text: str, reason: str, warnings: list[str]) -> StatusError:
    resource, name = attributes.info.resource, attributes.request["name"]
    details = {"name": name, "group": resource.group, "kind": resource.plural, "causes": [{"message": text}]}
    error = StatusError(
        _CODES.get(reason, 422), reason, f'{resource.group_resource} "{name}" is forbidden: {text}', details
    )
    error.warnings = tuple(warnings)
    return error
