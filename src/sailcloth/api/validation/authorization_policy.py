"""Validates AuthorizationPolicy: its action, and its rules."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sailcloth.api.authorization_policy import AuthorizationPolicy, Condition, Operation, Rule, Source

from . import addresses, attachment, codes, hosts, ports
from .report import Report

_DRY_RUN = "istio.io/dry-run"
_BOOLEANS = {"1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False"}
_PLAIN = {
    "source.ip", "source.namespace", "source.principal", "source.serviceAccount", "remote.ip", "request.auth.principal",
    "request.auth.audiences", "request.auth.presenter", "destination.ip", "destination.port", "connection.sni",
}  # fmt: skip
_KEYED = re.compile(r"(request\.headers\[.+\]|request\.auth\.claims(\[[^\[\]]+\])+|experimental\.envoy\.filters\..+)\Z")
_HTTP_SOURCE = ("request_principals", "not_request_principals")
_HTTP_OPERATION = ("hosts", "not_hosts", "methods", "not_methods", "paths", "not_paths")


def validate(report: Report, obj: AuthorizationPolicy) -> None:
    """Report all findings."""
    spec = obj.spec
    attachment.check(report, spec.selector, spec.target_ref, spec.target_refs)
    _dry_run(report, obj)
    if spec.action == "CUSTOM":
        if spec.provider is None or not spec.provider.name:
            text = "action CUSTOM needs a provider"
            report.error(codes.REQUIRED, "spec.provider.name", text, "Name one of the mesh options' providers.")
    elif spec.provider is not None:
        text = f"a provider is for action CUSTOM, not {spec.action}"
        report.error(codes.CONFLICT, "spec.provider", text, "Remove it, or use action CUSTOM.")
    if spec.action in ("DENY", "CUSTOM") and not spec.rules:
        text = f"action {spec.action} without rules has no effect"
        report.error(codes.REQUIRED, "spec.rules", text, "Give rules; a rule {} matches everything.")
    for index, rule in enumerate(spec.rules):
        _rule(report, f"spec.rules[{index}]", rule, spec.action)


def _dry_run(report: Report, obj: AuthorizationPolicy) -> None:
    value, path = obj.metadata.annotations.get(_DRY_RUN), f"metadata.annotations[{_DRY_RUN}]"
    if value is None:
        return
    if value not in _BOOLEANS:
        report.error(codes.CHOICE, path, f"{value!r} is neither true nor false", "Use true or false.")
    if obj.spec.action not in ("ALLOW", "DENY"):
        text = f"action {obj.spec.action} does not support dry-run"
        report.error(codes.CONFLICT, path, text, "Remove the annotation, or use ALLOW or DENY.")


def _rule(report: Report, path: str, rule: Rule, action: str) -> None:
    http = with_port = False
    for index, caller in enumerate(rule.from_):
        source_path = f"{path}.from[{index}].source"
        if caller.source is None or not _values_of(caller.source):
            report.error(codes.REQUIRED, source_path, "the source is empty", "Give at least one field, or remove from.")
        else:
            _source(report, source_path, caller.source, action)
            http = http or any(getattr(caller.source, f) for f in _HTTP_SOURCE)
    for index, call in enumerate(rule.to):
        source_path = f"{path}.to[{index}].operation"
        if call.operation is None or not _values_of(call.operation):
            report.error(
                codes.REQUIRED, source_path, "the operation is empty", "Give at least one field, or remove to."
            )
        else:
            _operation(report, source_path, call.operation)
            http = http or any(getattr(call.operation, f) for f in _HTTP_OPERATION)
            with_port = with_port or bool(call.operation.ports)
    for index, condition in enumerate(rule.when):
        _condition(report, f"{path}.when[{index}]", condition, action)
        http = http or condition.key.startswith("request.")
        with_port = with_port or condition.key == "destination.port"
    if action == "DENY" and http and not with_port:
        text = "the rule has only HTTP fields, so that on TCP ports it denies all connections"
        report.warning(codes.RISKY, path, text, "Give to.operation.ports.")


def _values_of(struct: Source | Operation) -> list[str]:
    return [f for f in struct.__struct_fields__ if getattr(struct, f)]


def _wire(field: str) -> str:
    first, *others = field.split("_")
    return first + "".join(p.capitalize() for p in others)


def _source(report: Report, path: str, source: Source, action: str) -> None:
    for field in _values_of(source):
        _filled(report, f"{path}.{_wire(field)}", getattr(source, field))
    for field in ("ip_blocks", "not_ip_blocks", "remote_ip_blocks", "not_remote_ip_blocks"):
        for index, block in enumerate(getattr(source, field)):
            if block:
                addresses.check_subnet(report, f"{path}.{_wire(field)}[{index}]", block)
    accounts = source.service_accounts or source.not_service_accounts
    others = source.principals or source.not_principals or source.namespaces or source.not_namespaces
    if accounts and others:
        text = "serviceAccounts cannot be set together with namespaces or principals"
        report.error(codes.CONFLICT, path, text, "Make them two sources.")
    for field in ("service_accounts", "not_service_accounts"):
        for index, account in enumerate(getattr(source, field)):
            at = f"{path}.{_wire(field)}[{index}]"
            parts = account.split("/")
            if account and (len(parts) > 2 or "*" in account or not all(parts)):
                text = f"{account!r} is not a service account"
                report.error(codes.NAME, at, text, "Write namespace/name or name.")
    if action == "CUSTOM" and (source.request_principals or source.not_request_principals):
        text = "action CUSTOM is evaluated before tokens are read"
        report.error(codes.CONFLICT, path, text, "Remove requestPrincipals.")


def _operation(report: Report, path: str, operation: Operation) -> None:
    for field in _values_of(operation):
        _filled(report, f"{path}.{_wire(field)}", getattr(operation, field))
    for field in ("ports", "not_ports"):
        for index, port in enumerate(getattr(operation, field)):
            if port:
                _port(report, f"{path}.{_wire(field)}[{index}]", port)
    for field in ("paths", "not_paths"):
        for index, text in enumerate(getattr(operation, field)):
            _path(report, f"{path}.{_wire(field)}[{index}]", text)


def _filled(report: Report, path: str, values: Sequence[str]) -> None:
    for index, value in enumerate(values):
        if not value:
            report.error(codes.REQUIRED, f"{path}[{index}]", "the value is empty", "Remove it; '*' means present.")


def _port(report: Report, path: str, text: str) -> None:
    if text.isascii() and text.isdigit():
        ports.check_number(report, path, int(text[:12]))
    else:
        report.error(codes.PORT, path, f"{text!r} is not a port", "Give a port from 1 to 65535.")


def _path(report: Report, path: str, text: str) -> None:
    """A path template: {*} matches one path segment; {**} matches any number, only once and at the end."""
    if "{" not in text and "}" not in text:
        return
    if "{*}" not in text and "{**}" not in text:
        return  # without operators, braces are ordinary characters
    parts = text.split("/")
    bad = [p for p in parts if p not in ("{*}", "{**}") and ("{" in p or "}" in p or "*" in p)]
    if bad:
        problem = f"{bad[0]!r} in path template {text!r} must be {{*}}, {{**}} or plain text"
        report.error(codes.NAME, path, problem, "Put the operator between slashes.")
    elif "{**}" in parts and parts.index("{**}") != len(parts) - 1:
        report.error(codes.NAME, path, f"{{**}} must be the last part of {text!r}", "Move it to the end, or use {*}.")


def _condition(report: Report, path: str, condition: Condition, action: str) -> None:
    key = condition.key
    if not key:
        report.error(codes.REQUIRED, f"{path}.key", "the key is empty", "Name an attribute, such as source.ip.")
        return
    if key not in _PLAIN and not _KEYED.match(key):
        text = f"{key!r} is not an attribute"
        report.error(codes.CHOICE, f"{path}.key", text, f"Use request.headers[name] or {', '.join(sorted(_PLAIN))}.")
    if not condition.values and not condition.not_values:
        report.error(codes.REQUIRED, path, "there is no value to compare with", "Give values or notValues.")
    for field, values in (("values", condition.values), ("notValues", condition.not_values)):
        _filled(report, f"{path}.{field}", values)
        for index, value in enumerate(values):
            at = f"{path}.{field}[{index}]"
            if key in ("source.ip", "remote.ip", "destination.ip") and value:
                addresses.check_subnet(report, at, value)
            elif key == "destination.port" and value:
                _port(report, at, value)
            elif key == "source.namespace" and value and not hosts.is_label(value.replace("*", "a")):
                report.error(codes.NAMESPACE, at, f"{value!r} is not a namespace", "Give the name of a namespace.")
    if action == "CUSTOM" and key.startswith("request.auth."):
        text = "action CUSTOM is evaluated before tokens are read"
        report.error(codes.CONFLICT, f"{path}.key", text, "Use another attribute.")
