"""Takes secrets out of what leaves the machine in a bug report: keys, tokens, passwords, in objects and in text.

Pure. Rather takes too much than too little; must not be asked to decide what is shown on the user's own terminal.
"""

from __future__ import annotations

import re
from typing import Any

Object = dict[str, Any]
REDACTED = "[redacted]"
_FIELDS = re.compile(
    r"(private_?key|password|passwd|token|secret(?!s?_?(name|key_?ref|ref))|credential(?!_?name)|api_?key|hmac|"
    r"inline_?bytes|generic_secret|session_ticket_keys|authorization|cookie|client_secret)s?$",
    re.IGNORECASE,
)
_TEXT = (
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----", re.DOTALL),
    re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"),  # a JSON web token
    re.compile(r"(?i)(?<=bearer )[\w.~+/=-]{8,}"),
    re.compile(r"(?i)(?<=basic )[\w+/]{8,}={0,2}"),
    re.compile(r"(?i)((?:token|password|passwd|secret|api[_-]?key)=)[^&\s\"',]+"),  # of URLs and of arguments
    re.compile(r"(?i)([?&](?:code|state|sig|signature)=)[^&\s\"']+"),
    re.compile(r"(://[^/\s:@]+:)[^@\s/]+(?=@)"),  # of users in URLs
)
_CONFIGURATION = "kubectl.kubernetes.io/last-applied-configuration"


def text(value: str) -> str:
    """The text without private keys, tokens, and what URLs carry in parameters of such names."""
    for pattern in _TEXT:
        value = pattern.sub(lambda m: (m[1] if m.re.groups else "") + REDACTED, value)
    return value


def value(given: Any, name: str = "") -> Any:
    """The value without what fields of such names hold; environment variables and headers are judged by their own names."""
    if isinstance(given, dict):
        if "name" in given and isinstance(given.get("value"), str) and _FIELDS.search(str(given["name"])):
            given = {**given, "value": REDACTED}
        if "key" in given and isinstance(given.get("value"), str) and _FIELDS.search(str(given["key"])):
            given = {**given, "value": REDACTED}
        return {k: _field(k, v) for k, v in given.items() if k != _CONFIGURATION}
    if isinstance(given, list):
        return [value(v, name) for v in given]
    return text(given) if isinstance(given, str) else given


def _field(name: str, given: Any) -> Any:
    if given and isinstance(given, str | bytes | list) and _FIELDS.search(name) and not _structured(given):
        return REDACTED
    if (
        isinstance(given, dict)
        and _FIELDS.search(name)
        and set(given) & {"inline_string", "inline_bytes", "inlineString", "inlineBytes"}
    ):
        return REDACTED
    return value(given, name)


def _structured(given: Any) -> bool:
    return isinstance(given, list) and any(isinstance(v, dict) for v in given)


def obj(given: Object) -> Object:
    """A Kubernetes object; of a Secret, only the names of its keys."""
    if given.get("kind") == "Secret":
        keys = sorted({**(given.get("data") or {}), **(given.get("stringData") or {})})
        meta = {k: v for k, v in given["metadata"].items() if k in ("name", "namespace", "labels", "creationTimestamp")}
        return {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": given.get("type", ""), "keys": keys}
    shown = {k: v for k, v in given.items() if k != "metadata"}
    meta = {k: v for k, v in (given.get("metadata") or {}).items() if k != "managedFields"}
    return dict(value({**{k: shown[k] for k in ("apiVersion", "kind") if k in shown}, "metadata": meta, **shown}))
