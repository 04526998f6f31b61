"""Webhook configurations, and admission policies in CEL with their bindings."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from sailcloth.lib.cel import BadExpression

from ..field_errors import FieldError, invalid, required, unsupported
from ..unstructured import Unstructured
from . import policy_expressions
from .columns import AGE, integer, text
from .defaulting import set_defaults
from .record import STATUS, Column, Kind

GROUP = "admissionregistration.k8s.io"


def _defaults(obj: Unstructured) -> None:
    for hook in obj.get("webhooks") or ():
        set_defaults(hook, failurePolicy="Fail", matchPolicy="Equivalent", timeoutSeconds=10)
        set_defaults(hook, namespaceSelector={}, objectSelector={})
        if obj["kind"] == "MutatingWebhookConfiguration":
            set_defaults(hook, reinvocationPolicy="Never")
        for rule in hook.get("rules") or ():
            set_defaults(rule, scope="*")
        service = (hook.get("clientConfig") or {}).get("service")
        if service:
            set_defaults(service, port=443)


def _validate(obj: Unstructured, old: Unstructured | None) -> Iterator[FieldError]:
    for index, hook in enumerate(obj.get("webhooks") or ()):
        client, field = hook.get("clientConfig") or {}, f"webhooks[{index}].clientConfig"
        if (client.get("url") is None) == (client.get("service") is None):
            yield required(field, "exactly one of url or service is required")
        elif client.get("url") is not None:
            yield from _validate_url(str(client["url"]), f"{field}.url")


def _validate_url(url: str, field: str) -> Iterator[FieldError]:
    """A webhook is called over TLS, and by nothing but its address."""
    form = "; desired format: https://host[/path]"
    try:
        parts = urlsplit(url)
    except ValueError as error:
        yield required(field, f"url must be a valid URL: {error}{form}")
        return
    if parts.scheme != "https":
        yield invalid(field, parts.scheme, f"'https' is the only allowed URL scheme{form}")
    if not parts.hostname:
        yield invalid(field, parts.netloc, f"host must be specified{form}")
    if parts.username is not None or parts.password is not None:
        yield invalid(field, "<redacted>", f"user information is not permitted in the URL{form}")
    if parts.fragment:
        yield invalid(field, parts.fragment, f"fragments are not permitted in the URL{form}")
    if parts.query:
        yield invalid(field, parts.query, f"query parameters are not permitted in the URL{form}")


_COLUMNS = (integer("Webhooks", lambda o: len(o.get("webhooks") or ())), AGE)
MUTATING, VALIDATING = (
    Kind(
        group=GROUP,
        plural=f"{operation.lower()}webhookconfigurations",
        kind=f"{operation}WebhookConfiguration",
        namespaced=False,
        columns=_COLUMNS,
        generation=True,
        defaults=_defaults,
        validate=_validate,
    )
    for operation in ("Mutating", "Validating")
)


def _match_defaults(match: Unstructured | None) -> None:
    if isinstance(match, dict):
        set_defaults(match, matchPolicy="Equivalent", namespaceSelector={}, objectSelector={})
        for rule in [*(match.get("resourceRules") or ()), *(match.get("excludeResourceRules") or ())]:
            set_defaults(rule, scope="*")


def _policy_defaults(obj: Unstructured) -> None:
    set_defaults(obj["spec"], failurePolicy="Fail")
    _match_defaults(obj["spec"].get("matchConstraints"))


def _binding_defaults(obj: Unstructured) -> None:
    _match_defaults(obj["spec"].get("matchResources"))


def _validate_policy(obj: Unstructured, old: Unstructured | None) -> Iterator[FieldError]:
    spec = obj["spec"]
    yield from _validate_match(spec.get("matchConstraints"), "spec.matchConstraints", needed=True)
    if spec.get("failurePolicy") not in ("Fail", "Ignore"):
        yield unsupported("spec.failurePolicy", spec.get("failurePolicy"), ("Fail", "Ignore"))
    if not spec.get("validations") and not spec.get("auditAnnotations"):
        yield required("spec.validations", "validations or auditAnnotations must contain at least one item")
    known: set[str] = set()
    for index, variable in enumerate(spec.get("variables") or ()):
        path = f"spec.variables[{index}]"
        if variable.get("name") in known:
            yield f"{path}.name", "FieldValueDuplicate", f'Duplicate value: "{variable["name"]}"'
        yield from _validate_expression(variable, "expression", path, ("any",), known)
        known.add(str(variable.get("name")))
    for index, condition in enumerate(spec.get("matchConditions") or ()):
        path = f"spec.matchConditions[{index}]"
        if not condition.get("name"):
            yield required(f"{path}.name")
        yield from _validate_expression(condition, "expression", path, ("bool",), known)
    for index, validation in enumerate(spec.get("validations") or ()):
        path = f"spec.validations[{index}]"
        yield from _validate_expression(validation, "expression", path, ("bool",), known)
        if validation.get("messageExpression"):
            yield from _validate_expression(validation, "messageExpression", path, ("string",), known)
        if "\n" in str(validation.get("message") or "").strip():
            yield invalid(f"{path}.message", validation["message"], "message must not contain line breaks")
        if validation.get("reason") and validation["reason"] not in REASONS:
            yield unsupported(f"{path}.reason", validation["reason"], REASONS)
    for index, annotation in enumerate(spec.get("auditAnnotations") or ()):
        path = f"spec.auditAnnotations[{index}]"
        yield from _validate_expression(annotation, "valueExpression", path, ("string", "null_type"), known)


def _validate_expression(
    holder: Unstructured, key: str, path: str, returns: tuple[str, ...], known: set[str]
) -> Iterator[FieldError]:
    """An expression compiles, returns one of the types, and names variables that stand before it."""
    text = str(holder.get(key) or "")
    if not text.strip():
        yield required(f"{path}.{key}", f"{key} is not specified")
        return
    try:
        expression = policy_expressions.compiled(text)
    except BadExpression as error:
        yield invalid(f"{path}.{key}", text, f"compilation failed: {error}")
        return
    if "any" not in returns and expression.program.returns not in (*returns, "dyn"):
        yield invalid(f"{path}.{key}", text, f"must evaluate to {returns[0]}")
    for name in sorted(expression.variables - known):
        yield invalid(f"{path}.{key}", text, f"compilation failed: undefined field '{name}'")


def _validate_match(match: Unstructured | None, path: str, needed: bool) -> Iterator[FieldError]:
    rules = (match or {}).get("resourceRules") or ()
    if needed and match is None:
        yield required(path)
    elif needed and not rules:
        yield required(f"{path}.resourceRules")
    for index, rule in enumerate(rules):
        for key in ("operations", "apiGroups", "apiVersions", "resources"):
            if not rule.get(key):
                yield required(f"{path}.resourceRules[{index}].{key}")


def _validate_binding(obj: Unstructured, old: Unstructured | None) -> Iterator[FieldError]:
    spec = obj["spec"]
    if not spec.get("policyName"):
        yield required("spec.policyName")
    actions = spec.get("validationActions") or ()
    if not actions:
        yield required("spec.validationActions")
    for index, action in enumerate(actions):
        if action not in ACTIONS:
            yield unsupported(f"spec.validationActions[{index}]", action, ACTIONS)
    if {"Deny", "Warn"} <= set(actions):
        text = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)"
        yield invalid("spec.validationActions", list(actions), text)
    yield from _validate_match(spec.get("matchResources"), "spec.matchResources", needed=False)
    reference = spec.get("paramRef")
    if reference is not None:
        if bool(reference.get("name")) == (reference.get("selector") is not None):
            yield required("spec.paramRef.name", "one of name or selector must be specified")
        if reference.get("parameterNotFoundAction") not in ("Allow", "Deny"):
            yield unsupported(
                "spec.paramRef.parameterNotFoundAction", reference.get("parameterNotFoundAction"), ("Deny", "Allow")
            )


REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized")
ACTIONS = ("Audit", "Deny", "Warn")


def _param_kind(obj: Unstructured) -> str:
    kind = obj["spec"].get("paramKind")
    return f"{kind.get('apiVersion')}/{kind.get('kind')}" if kind else "<unset>"


def _param_ref(obj: Unstructured) -> str:
    reference = obj["spec"].get("paramRef")
    if not reference:
        return "<unset>"
    name = reference.get("name") or "*"
    return f"{reference['namespace']}/{name}" if reference.get("namespace") else str(name)


POLICY = Kind(
    group=GROUP,
    plural="validatingadmissionpolicies",
    kind="ValidatingAdmissionPolicy",
    namespaced=False,
    subresources=(STATUS,),
    columns=(
        integer("Validations", lambda o: len(o["spec"].get("validations") or ())),
        Column("ParamKind", "string", 0, _param_kind),
        AGE,
    ),
    generation=True,
    has_spec=True,
    has_status=True,
    defaults=_policy_defaults,
    validate=_validate_policy,
)
BINDING = Kind(
    group=GROUP,
    plural="validatingadmissionpolicybindings",
    kind="ValidatingAdmissionPolicyBinding",
    namespaced=False,
    columns=(
        text("PolicyName", lambda o: o["spec"].get("policyName", "")),
        Column("ParamRef", "string", 0, _param_ref),
        AGE,
    ),
    generation=True,
    has_spec=True,
    defaults=_binding_defaults,
    validate=_validate_binding,
)
KINDS = (MUTATING, VALIDATING, POLICY, BINDING)
