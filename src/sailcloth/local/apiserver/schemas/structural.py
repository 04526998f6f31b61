"""Validates CustomResourceDefinitions: names, versions, printer columns, structural schemas.

A schema is structural when every field has a type outside `allOf`, `anyOf`, `oneOf` and `not`: only then can fields be pruned,
defaulted and tracked in managed fields.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from sailcloth.lib import celcost, celrules, schemacheck
from sailcloth.lib.cel import BadExpression
from sailcloth.lib.openapi import EMBEDDED, KEEP, RESOURCE, Schemas
from sailcloth.lib.regex import BadRegex, compiled
from sailcloth.lib.schemacheck import go

from ..unstructured import Unstructured

FieldError = tuple[str, str, str]  # field, reason, message
RuleCosts = list[tuple[str, str, int]]  # path, "rule" or "messageExpression", worst-case cost in one request
_MOST_EXPENSIVE = 4  # rules that are named when all together cost too much
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_LABEL_1035 = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_DOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)+")
_TYPES = ("object", "array", "string", "integer", "number", "boolean")
_LOGIC = ("allOf", "anyOf", "oneOf")
_FORBIDDEN_IN_LOGIC = (
    "type", "title", "description", "default", "nullable", "additionalProperties", KEEP, EMBEDDED,
    "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type", celrules.RULES,
)  # fmt: skip
_INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]
_UNSUPPORTED = ("definitions", "dependencies", "patternProperties", "additionalItems", "id", "$schema")


def definition_errors(crd: Unstructured, old: Unstructured | None) -> list[FieldError]:
    """All errors of a definition."""
    spec = crd["spec"]
    out = [*_names(crd), *_versions(spec)]
    schemas = [(v.get("schema") or {}).get("openAPIV3Schema") for v in spec.get("versions") or ()]
    alone = all(s == schemas[0] for s in schemas)  # Kubernetes then holds it once, and says so
    for index, version in enumerate(spec.get("versions") or ()):
        path = "spec.validation.openAPIV3Schema" if alone else f"spec.versions[{index}].schema.openAPIV3Schema"
        schema = schemas[index]
        if schema is None:
            if not spec.get("preserveUnknownFields"):
                out.append(
                    (
                        path.rpartition(".")[0] if not alone else path,
                        "FieldValueRequired",
                        "Required value: schemas are required",
                    )
                )
        elif not (alone and index) and (old is None or old["spec"].get("versions") != spec["versions"]):
            costs: RuleCosts = []
            out += schema_errors(schema, path, costs)
            out += _cost_errors(path, costs)
        out += _serving(version, "spec" if len(schemas) == 1 else f"spec.versions[{index}]")
    if old is not None:
        out += _changes(crd, old)
    return out


def _names(crd: Unstructured) -> Iterator[FieldError]:
    spec, names = crd["spec"], crd["spec"].get("names") or {}
    group, plural = str(spec.get("group", "")), str(names.get("plural", ""))
    if not _DOMAIN.fullmatch(group):
        yield "spec.group", "FieldValueInvalid", f'Invalid value: "{group}": should be a domain with at least one dot'
    if crd["metadata"].get("name") != f"{plural}.{group}":
        text = f'Invalid value: "{crd["metadata"].get("name")}": must be spec.names.plural+"."+spec.group'
        yield "metadata.name", "FieldValueInvalid", text
    if spec.get("scope") not in ("Namespaced", "Cluster"):
        yield (
            "spec.scope",
            "FieldValueNotSupported",
            f'Unsupported value: {go(spec.get("scope") or "")}: supported values: "Cluster", "Namespaced"',
        )
    rule = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character"
    for key in ("plural", "singular"):
        if not _LABEL_1035.fullmatch(str(names.get(key, ""))):
            yield f"spec.names.{key}", "FieldValueInvalid", f'Invalid value: "{names.get(key, "")}": {rule}'
    for key in ("kind", "listKind"):
        if not _LABEL_1035.fullmatch(str(names.get(key, "")).lower()):
            yield (
                f"spec.names.{key}",
                "FieldValueInvalid",
                f'Invalid value: "{names.get(key, "")}": may have mixed case, but should otherwise match: {rule}',
            )
    if names.get("kind") and names.get("kind") == names.get("listKind"):
        yield (
            "spec.names.listKind",
            "FieldValueInvalid",
            f'Invalid value: "{names["listKind"]}": kind and listKind may not be the same',
        )
    for key in ("shortNames", "categories"):
        for index, name in enumerate(names.get(key) or ()):
            if not _LABEL_1035.fullmatch(str(name)):
                yield f"spec.names.{key}[{index}]", "FieldValueInvalid", f'Invalid value: "{name}": {rule}'


def _versions(spec: Unstructured) -> Iterator[FieldError]:
    versions = spec.get("versions") or []
    if not versions:
        yield "spec.versions", "FieldValueRequired", "Required value: must have at least one version"
    names = [str(v.get("name")) for v in versions]
    for index, name in enumerate(names):
        if not _LABEL_1035.fullmatch(name):
            yield (
                f"spec.versions[{index}].name",
                "FieldValueInvalid",
                f'Invalid value: "{name}": must be a DNS-1035 label',
            )
        if versions[index].get("deprecationWarning") is not None and not versions[index].get("deprecated"):
            text = "Invalid value: can only be set for deprecated versions"
            yield f"spec.versions[{index}].deprecationWarning", "FieldValueInvalid", text
    shown = ", ".join(f'"{n}"' for n in names)
    if len(set(names)) < len(names):
        yield "spec.versions", "FieldValueInvalid", f"Invalid value: [{shown}]: must contain unique version names"
    if versions and sum(1 for v in versions if v.get("storage")) != 1:
        text = f"Invalid value: [{shown}]: must have exactly one version marked as storage version"
        yield "spec.versions", "FieldValueInvalid", text
    if spec.get("preserveUnknownFields"):
        text = "Invalid value: true: must be false in order to use defaults in the schema, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        yield "spec.preserveUnknownFields", "FieldValueInvalid", text
    strategy = (spec.get("conversion") or {}).get("strategy", "None")
    if strategy == "Webhook" and not ((spec.get("conversion") or {}).get("webhook") or {}).get("clientConfig"):
        yield (
            "spec.conversion.webhookClientConfig",
            "FieldValueRequired",
            "Required value: required when strategy is set to Webhook",
        )
    elif strategy not in ("None", "Webhook"):
        yield (
            "spec.conversion.strategy",
            "FieldValueNotSupported",
            f'Unsupported value: "{strategy}": supported values: "None", "Webhook"',
        )


def _serving(version: Unstructured, path: str) -> Iterator[FieldError]:
    for index, column in enumerate(version.get("additionalPrinterColumns") or ()):
        where = f"{path}.additionalPrinterColumns[{index}]"
        if column.get("type") not in ("integer", "number", "string", "boolean", "date"):
            text = f'Invalid value: "{column.get("type", "")}": must be one of boolean,date,integer,number,string'
            yield f"{where}.type", "FieldValueInvalid", text
        if not str(column.get("jsonPath", "")).startswith("."):
            text = f'Invalid value: "{column.get("jsonPath", "")}": must be a simple json path starting with .'
            yield f"{where}.jsonPath", "FieldValueInvalid", text
    scale = (version.get("subresources") or {}).get("scale")
    if scale is not None:
        for key, roots in (("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")):
            value = str(scale.get(key) or "")
            where = f"{path}.subresources.scale.{key}"
            if not value:
                yield where, "FieldValueRequired", "Required value"
            elif not value.startswith(roots):
                yield where, "FieldValueInvalid", f'Invalid value: "{value}": should be a json path under {roots[:-1]}'


def _changes(crd: Unstructured, old: Unstructured) -> Iterator[FieldError]:
    established = any(c.get("type") == "Established" and c.get("status") == "True" for c in _conditions(old))
    if established and old["spec"].get("scope") != crd["spec"].get("scope"):
        yield "spec.scope", "FieldValueInvalid", f'Invalid value: "{crd["spec"].get("scope")}": field is immutable'
    names = {v.get("name") for v in crd["spec"].get("versions") or ()}
    for index, version in enumerate((old.get("status") or {}).get("storedVersions") or ()):
        if version not in names:
            text = f'Invalid value: "{version}": missing from spec.versions; {version} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {version} and removes {version} from status.storedVersions'
            yield f"status.storedVersions[{index}]", "FieldValueInvalid", text


def _conditions(crd: Unstructured) -> list[Unstructured]:
    return (crd.get("status") or {}).get("conditions") or []


# -- schemas ----------------------------------------------------------------------------------------


def schema_errors(schema: Unstructured, path: str, costs: RuleCosts | None = None) -> Iterator[FieldError]:
    """Errors that keep a schema from being structural, and invalid CEL rules and defaults. The costs of the rules are added to
    `costs`, if given."""
    kind = schema.get("type")
    if kind != "object":
        if kind is None:
            yield f"{path}.type", "FieldValueRequired", "Required value: must not be empty at the root"
        else:
            yield f"{path}.type", "FieldValueInvalid", f'Invalid value: "{kind}": must be object at the root'
    metadata = (schema.get("properties") or {}).get("metadata") or {}
    if set(metadata) - {"type", "properties", "description"} or set(metadata.get("properties") or ()) - {
        "name",
        "generateName",
    }:
        text = "Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified"
        yield f"{path}.properties[metadata]", "FieldValueForbidden", text
    yield from _node_errors(schema, path, "root", celcost.Cardinality(), costs)


def _cost_errors(path: str, costs: RuleCosts) -> Iterator[FieldError]:
    """Rules that might take too long, each and all together."""
    for where, what, cost in costs:
        excess = celcost.excess(f"estimated {what} cost", cost, celcost.RULE_LIMIT)
        if excess:
            yield where, "FieldValueForbidden", f"Forbidden: {excess}"
    total = sum(cost for _, _, cost in costs)
    name = "x-kubernetes-validations estimated rule & messageExpression cost total for entire OpenAPIv3 schema"
    excess = celcost.excess(name, total, celcost.SCHEMA_LIMIT)
    if excess:
        for where, _, _ in sorted(costs, key=lambda c: c[2], reverse=True)[:_MOST_EXPENSIVE]:
            text = "contributed to estimated rule & messageExpression cost total exceeding cost limit for entire OpenAPIv3 schema"
            yield where, "FieldValueForbidden", f"Forbidden: {text}"
        yield path, "FieldValueForbidden", f"Forbidden: {excess}"


def _node_errors(
    node: Unstructured, path: str, level: str, cardinality: celcost.Cardinality, costs: RuleCosts | None
) -> Iterator[FieldError]:
    yield from _shape(node, path, level)
    yield from _lists(node, path)
    for junctor in _LOGIC:
        for index, inner in enumerate(node.get(junctor) or ()):
            pair = junctor == "anyOf" and node.get("x-kubernetes-int-or-string") and node["anyOf"] == _INT_OR_STRING
            if not pair:
                yield from _limits(inner, node, f"{path}.{junctor}[{index}]")
    if isinstance(node.get("not"), dict):
        yield from _limits(node["not"], node, f"{path}.not")
    for name, inner in (node.get("properties") or {}).items():
        if not (level == "root" and name in RESOURCE):
            yield from _node_errors(inner, f"{path}.properties[{name}]", "object fields", cardinality, costs)
    if isinstance(node.get("additionalProperties"), dict):
        values, inside = node["additionalProperties"], f"{path}.additionalProperties"
        yield from _node_errors(values, inside, "object fields", cardinality.within(node), costs)
    if isinstance(node.get("items"), dict):
        yield from _node_errors(node["items"], f"{path}.items", "array items", cardinality.within(node), costs)
    if "default" in node:
        yield from _default(node, path)
    for index, rule in enumerate(node.get(celrules.RULES) or ()):
        yield from _rule(rule, node, f"{path}.{celrules.RULES}[{index}]", cardinality, costs)


def _shape(node: Unstructured, path: str, level: str) -> Iterator[FieldError]:
    kind = node.get("type")
    if kind is None and level != "root" and not node.get("x-kubernetes-int-or-string") and not node.get(KEEP):
        yield f"{path}.type", "FieldValueRequired", f"Required value: must not be empty for specified {level}"
    if kind is not None and kind not in _TYPES and level != "root":
        listed = ", ".join(f'"{t}"' for t in sorted(_TYPES))
        yield f"{path}.type", "FieldValueNotSupported", f"Unsupported value: {go(kind)}: supported values: {listed}"
    if kind == "array" and node.get("items") is None:
        yield f"{path}.items", "FieldValueRequired", "Required value: must be specified"
    if node.get("x-kubernetes-int-or-string") and kind:
        yield f"{path}.type", "FieldValueForbidden", "Forbidden: must be empty if x-kubernetes-int-or-string is true"
    if node.get(EMBEDDED):
        if kind != "object":
            yield (
                f"{path}.type",
                "FieldValueInvalid",
                f"Invalid value: {go(kind or '')}: must be object if {EMBEDDED} is true",
            )
        if not node.get("properties") and not node.get(KEEP):
            text = f"Required value: must not be empty if {EMBEDDED} is true without {KEEP}"
            yield f"{path}.properties", "FieldValueRequired", text
    if KEEP in node and node[KEEP] is not True:
        yield f"{path}.{KEEP}", "FieldValueInvalid", f"Invalid value: {go(node[KEEP])}: must be true or undefined"
    if node.get("properties") and node.get("additionalProperties") is not None:
        text = "Forbidden: additionalProperties and properties are mutual exclusive"
        yield f"{path}.additionalProperties", "FieldValueForbidden", text
    if node.get("additionalProperties") is False:
        yield (
            f"{path}.additionalProperties",
            "FieldValueForbidden",
            "Forbidden: additionalProperties cannot be set to false",
        )
    if node.get("uniqueItems"):
        text = "Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        yield f"{path}.uniqueItems", "FieldValueForbidden", text
    for word in ("$ref", *_UNSUPPORTED):
        if node.get(word):
            yield f"{path}.{word}", "FieldValueForbidden", f"Forbidden: {word} is not supported"
    if "pattern" in node:
        try:
            compiled(str(node["pattern"]))
        except BadRegex as error:
            text = f"Invalid value: {go(node['pattern'])}: must be a valid regular expression, but isn't: error parsing regexp: {error}"
            yield f"{path}.pattern", "FieldValueInvalid", text


def _lists(node: Unstructured, path: str) -> Iterator[FieldError]:
    kind, keys = node.get("x-kubernetes-list-type"), node.get("x-kubernetes-list-map-keys") or []
    items: Unstructured = node["items"] if isinstance(node.get("items"), dict) else {}
    if kind is not None:
        if node.get("type") != "array":
            text = "Invalid value: must be array if x-kubernetes-list-type is specified"
            yield f"{path}.type", "FieldValueInvalid", text
        if kind not in ("atomic", "set", "map"):
            text = f'Unsupported value: {go(kind)}: supported values: "atomic", "map", "set"'
            yield f"{path}.x-kubernetes-list-type", "FieldValueNotSupported", text
    if kind != "map" and keys:
        text = "Forbidden: must be empty if x-kubernetes-list-type is not map"
        yield f"{path}.x-kubernetes-list-map-keys", "FieldValueForbidden", text
    if kind == "map":
        if not keys:
            text = "Required value: must not be empty if x-kubernetes-list-type is map"
            yield f"{path}.x-kubernetes-list-map-keys", "FieldValueRequired", text
        if items.get("type") != "object":
            text = f"Invalid value: {go(items.get('type') or '')}: must be object if parent array's x-kubernetes-list-type is map"
            yield f"{path}.items.type", "FieldValueInvalid", text
        properties = items.get("properties") or {}
        for index, key in enumerate(keys):
            if key not in properties:
                text = f"Invalid value: {go(key)}: entries must all be names of item properties"
                yield f"{path}.x-kubernetes-list-map-keys[{index}]", "FieldValueInvalid", text
            elif key not in (items.get("required") or ()) and "default" not in properties[key]:
                text = "Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
                yield f"{path}.items.properties[{key}].default", "FieldValueRequired", text
    if kind == "set":
        loose = items.get("type") == "object" and items.get("x-kubernetes-map-type") != "atomic"
        loose = loose or (items.get("type") == "array" and items.get("x-kubernetes-list-type", "atomic") != "atomic")
        if loose:
            text = "Forbidden: items of a set must be scalars, or atomic lists and maps"
            yield f"{path}.items", "FieldValueForbidden", text
    if "x-kubernetes-map-type" in node:
        if node["x-kubernetes-map-type"] not in ("atomic", "granular"):
            text = f'Unsupported value: {go(node["x-kubernetes-map-type"])}: supported values: "atomic", "granular"'
            yield f"{path}.x-kubernetes-map-type", "FieldValueNotSupported", text
        if node.get("type") != "object":
            text = "Invalid value: must be object if x-kubernetes-map-type is specified"
            yield f"{path}.type", "FieldValueInvalid", text


def _limits(node: Unstructured, outside: Unstructured, path: str) -> Iterator[FieldError]:
    """Inside junctors there are limits of values only, of fields that are specified outside."""
    for word in _FORBIDDEN_IN_LOGIC:
        if node.get(word) is not None and not (word == "type" and outside.get("x-kubernetes-int-or-string")):
            yield f"{path}.{word}", "FieldValueForbidden", "Forbidden: must be empty to be structural"
    known = outside.get("properties") or {}
    for name, inner in (node.get("properties") or {}).items():
        if name in known:
            yield from _limits(inner, known[name], f"{path}.properties[{name}]")
        elif not isinstance(outside.get("additionalProperties"), dict):
            where = f"{path.partition('.' + _logic_keyword(path))[0]}.properties[{name}]"
            yield where, "FieldValueRequired", f"Required value: because it is defined in {path}.properties[{name}]"
    if isinstance(node.get("items"), dict):
        yield from _limits(node["items"], outside.get("items") or {}, f"{path}.items")
    for junctor in _LOGIC:
        for index, inner in enumerate(node.get(junctor) or ()):
            yield from _limits(inner, outside, f"{path}.{junctor}[{index}]")
    if isinstance(node.get("not"), dict):
        yield from _limits(node["not"], outside, f"{path}.not")


def _logic_keyword(path: str) -> str:
    match = re.search(r"\.((?:allOf|anyOf|oneOf)\[|not)", path)
    return match[1] if match else ""


def _default(node: Unstructured, path: str) -> Iterator[FieldError]:
    schemas, value = Schemas({}), node["default"]
    for problem in schemacheck.check(schemas, node, value, "default", nulls=False):
        where = path + "." + problem.path if problem.path else f"{path}.default"
        if problem.kind == "unknown":
            yield where, "FieldValueInvalid", f"Invalid value: {go(value)}: must not have unknown fields"
        else:
            yield where, "FieldValueInvalid", problem.text.replace("default in body", f"{path}.default in body")


def _rule(
    rule: Unstructured, node: Unstructured, path: str, cardinality: celcost.Cardinality, costs: RuleCosts | None
) -> Iterator[FieldError]:
    if not str(rule.get("rule") or "").strip():
        yield f"{path}.rule", "FieldValueRequired", "Required value: rule is not specified"
        return
    reasons = ("FieldValueInvalid", "FieldValueForbidden", "FieldValueRequired", "FieldValueDuplicate")
    if rule.get("reason") and rule["reason"] not in reasons:
        listed = ", ".join(f'"{r}"' for r in sorted(reasons))
        yield (
            f"{path}.reason",
            "FieldValueNotSupported",
            f"Unsupported value: {go(rule['reason'])}: supported values: {listed}",
        )
    if "\n" in str(rule.get("message") or "").strip():
        yield (
            f"{path}.message",
            "FieldValueInvalid",
            f"Invalid value: {go(rule['message'])}: message must not contain line breaks",
        )
    if rule.get("fieldPath") and not _reaches(str(rule["fieldPath"]), node):
        text = (
            f"Invalid value: {go(rule['fieldPath'])}: fieldPath must be a valid path: does not refer to a valid field"
        )
        yield f"{path}.fieldPath", "FieldValueInvalid", text
    try:
        compiled_rule = celrules.compiled(rule, node)
    except BadExpression as error:
        shown = (
            "apiextensions.ValidationRule{" + f"Rule:{go(rule['rule'])}, Message:{go(rule.get('message') or '')}" + "}"
        )
        yield f"{path}.rule", "FieldValueInvalid", f"Invalid value: {shown}: compilation failed: {error}"
        return
    if costs is not None:
        costs.append((f"{path}.rule", "rule", celcost.rule_cost(compiled_rule.program.tree, node, cardinality)))
        if compiled_rule.message_program is not None:
            cost = celcost.rule_cost(compiled_rule.message_program.tree, node, cardinality)
            costs.append((f"{path}.messageExpression", "messageExpression", cost))
    if rule.get("optionalOldSelf") is not None and not compiled_rule.transition:
        text = f"Invalid value: {go(rule['optionalOldSelf'])}: option optionalOldSelf is set, but oldSelf is not used in rule"
        yield f"{path}.optionalOldSelf", "FieldValueInvalid", text


def _reaches(path: str, node: Unstructured) -> bool:
    steps = [a or b for a, b in re.findall(r"\.([^.\[\]]+)|\['([^']+)'\]", path)]
    at: Any = node
    for step in steps:
        at = (at.get("properties") or {}).get(step) or (at.get("additionalProperties") or None)
        if not isinstance(at, dict):
            return False
    return bool(steps)
