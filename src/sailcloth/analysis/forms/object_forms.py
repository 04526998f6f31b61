"""Forms of single objects, as data: for each field of a form its path in the object. What a form shows and what it writes come from here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from .paths import CannotSay, Object, Path, get, put, require_same

Struct = msgspec.Struct
Type = Literal["text", "number", "boolean", "choice", "list", "labels"]


class BadValue(ValueError):
    """A value that a field of a form cannot have. The text names the field."""


class Field(Struct, frozen=True, rename="camel", kw_only=True):
    """`help`: what it does, and an example."""

    name: str
    label: str
    type: Type = "text"
    choices: list[str] = []
    default: Any = None
    required: bool = False
    help: str = ""


class Form(Struct, frozen=True, rename="camel", kw_only=True):
    """`kind`: of the object that it makes."""

    name: str
    title: str
    help: str
    kind: str
    fields: list[Field]


_Row = tuple[Field, Path]
_SELECTOR = Field(
    name="workload",
    label="Workloads with labels",
    type="labels",
    help="None: all of the namespace. Such as app=reviews.",
)


def _text(name: str, label: str, *path: str | int, **options: Any) -> _Row:
    return Field(name=name, label=label, **options), path


_TABLE: tuple[tuple[str, str, str, str, tuple[_Row, ...]], ...] = (
    (
        "mutual-tls", "Mutual TLS", "Whether proxies demand mutual TLS from callers.", "PeerAuthentication",
        (
            (_SELECTOR, ("selector", "matchLabels")),
            _text("mode", "Mode", "mtls", "mode", type="choice", choices=["STRICT", "PERMISSIVE", "DISABLE"],
                  default="STRICT", required=True, help="PERMISSIVE takes plain text, too; STRICT refuses it."),
        ),
    ),
    (
        "authorization", "Authorization", "Who may call workloads, and what they may do.", "AuthorizationPolicy",
        (
            (_SELECTOR, ("selector", "matchLabels")),
            _text("action", "Action", "action", type="choice", choices=["ALLOW", "DENY", "AUDIT"], default="ALLOW",
                  required=True, help="With an ALLOW policy everything that none allows is refused."),
            _text("principals", "Callers", "rules", 0, "from", 0, "source", "principals", type="list",
                  help="Identities, such as cluster.local/ns/default/sa/bookinfo-productpage."),
            _text("namespaces", "Namespaces of callers", "rules", 0, "from", 0, "source", "namespaces", type="list"),
            _text("methods", "Methods", "rules", 0, "to", 0, "operation", "methods", type="list", help="Such as GET."),
            _text("paths", "Paths", "rules", 0, "to", 0, "operation", "paths", type="list", help="Such as /api/*."),
            _text("ports", "Ports", "rules", 0, "to", 0, "operation", "ports", type="list"),
        ),
    ),
    (
        "token", "End-user tokens", "Which JSON Web Tokens workloads accept.", "RequestAuthentication",
        (
            (_SELECTOR, ("selector", "matchLabels")),
            _text("issuer", "Issuer", "jwtRules", 0, "issuer", required=True, help="The claim iss of tokens."),
            _text("jwksUri", "Keys", "jwtRules", 0, "jwksUri", help="URL of the issuer's public keys (JWKS)."),
            _text("audiences", "Audiences", "jwtRules", 0, "audiences", type="list"),
        ),
    ),
    (
        "rate-limit", "Rate limit", "How many requests workloads take.", "RateLimit",
        (
            (_SELECTOR, ("workloadSelector", "labels")),
            _text("requests", "Requests", "http", 0, "limit", "requests", type="number", required=True, default=100),
            _text("per", "In a time of", "http", 0, "limit", "per", default="1s", help="Such as 1s or 1m."),
            _text("burst", "Burst", "http", 0, "limit", "burst", type="number", help="How many at once after a quiet time."),
            _text("scope", "Counted", "http", 0, "scope", type="choice", choices=["LOCAL", "GLOBAL"],
                  help="LOCAL: by each pod. GLOBAL: over all pods."),
            _text("header", "For each value of the header", "http", 0, "by", 0, "header"),
        ),
    ),
    (
        "gateway", "Gateway", "What an ingress gateway listens on.", "Gateway",
        (
            (Field(name="selector", label="Gateway pods with labels", type="labels", required=True,
                   default={"istio": "ingressgateway"}), ("selector",)),
            _text("hosts", "Hosts", "servers", 0, "hosts", type="list", default=["*"], required=True),
            _text("port", "Port", "servers", 0, "port", "number", type="number", default=80, required=True),
            _text("portName", "Name of the port", "servers", 0, "port", "name", default="http", required=True),
            _text("protocol", "Protocol", "servers", 0, "port", "protocol", type="choice", default="HTTP", required=True,
                  choices=["HTTP", "HTTPS", "HTTP2", "GRPC", "TCP", "TLS"]),
            _text("tlsMode", "TLS", "servers", 0, "tls", "mode", type="choice",
                  choices=["SIMPLE", "MUTUAL", "PASSTHROUGH", "ISTIO_MUTUAL"]),
            _text("credential", "Secret with the certificate", "servers", 0, "tls", "credentialName"),
            _text("redirect", "Redirect to HTTPS", "servers", 0, "tls", "httpsRedirect", type="boolean"),
        ),
    ),
    (
        "service-entry", "Service entry", "A service outside of the mesh.", "ServiceEntry",
        (
            _text("hosts", "Hosts", "hosts", type="list", required=True, help="Such as api.example.com."),
            _text("addresses", "Addresses", "addresses", type="list", help="Needed for TCP, such as 203.0.113.7."),
            _text("port", "Port", "ports", 0, "number", type="number", default=443, required=True),
            _text("portName", "Name of the port", "ports", 0, "name", default="tls", required=True),
            _text("protocol", "Protocol", "ports", 0, "protocol", type="choice", default="TLS", required=True,
                  choices=["HTTP", "HTTPS", "HTTP2", "GRPC", "TCP", "TLS", "MONGO"]),
            _text("location", "Location", "location", type="choice", choices=["MESH_EXTERNAL", "MESH_INTERNAL"],
                  default="MESH_EXTERNAL"),
            _text("resolution", "Addresses come from", "resolution", type="choice", default="DNS",
                  choices=["DNS", "NONE", "STATIC", "DNS_ROUND_ROBIN"]),
        ),
    ),
    (
        "sidecar", "Sidecar", "What proxies know of the mesh: less of it, less memory.", "Sidecar",
        (
            (_SELECTOR, ("workloadSelector", "labels")),
            _text("hosts", "Hosts that are called", "egress", 0, "hosts", type="list", required=True,
                  default=["./*", "istio-system/*"], help="NAMESPACE/HOST; ./* is the own namespace."),
            _text("mode", "Other hosts", "outboundTrafficPolicy", "mode", type="choice",
                  choices=["REGISTRY_ONLY", "ALLOW_ANY"]),
        ),
    ),
)  # fmt: skip
FORMS = {
    name: Form(name=name, title=title, help=text, kind=kind, fields=[field for field, _ in rows])
    for name, title, text, kind, rows in _TABLE
}
_PATHS = {name: {field.name: path for field, path in rows} for name, *_, rows in _TABLE}
_CHECKS: dict[Type, type | tuple[type, ...]] = {
    "text": str, "number": int, "boolean": bool, "choice": str, "list": list, "labels": dict,
}  # fmt: skip


def read(obj: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """(name of the form, its values) of an object; None if no form is for its kind. Raises CannotSay."""
    form = next((f for f in FORMS.values() if f.kind == obj["kind"]), None)
    if form is None:
        return None
    spec = obj.get("spec") or {}
    values = {name: value for name, path in _PATHS[form.name].items() if (value := get(spec, path)) is not None}
    where = f"{obj['kind']} {obj['metadata']['name']}"
    try:
        require_same(write(form.name, values), spec, where)
    except BadValue as error:
        raise CannotSay(f"{where}: the form cannot say this: {error}; use the editor") from None
    return form.name, values


def write(name: str, values: Mapping[str, Any]) -> Object:
    """The spec that a form's values say; empty values are left out. Raises KeyError for an unknown form, BadValue."""
    form, known = FORMS[name], {field.name: field for field in FORMS[name].fields}
    for given, value in values.items():
        if given not in known:
            raise BadValue(f"{given}: {form.title} has no such field; it has {', '.join(known)}")
        field = known[given]
        if value is None:
            continue
        if not isinstance(value, _CHECKS[field.type]) or (field.type == "number" and isinstance(value, bool)):
            raise BadValue(f"{field.label}: {value!r} is not a {field.type}")
        if field.type == "choice" and value and value not in field.choices:
            raise BadValue(f"{field.label}: {value!r} is not one of {', '.join(field.choices)}")
    missing = [f.label for f in form.fields if f.required and values.get(f.name) in (None, "", [], {})]
    if missing:
        raise BadValue(f"{', '.join(missing)}: give a value")
    return _spec(name, values)


def _spec(name: str, values: Mapping[str, Any]) -> Object:
    spec: Object = {}
    for field, path in _PATHS[name].items():
        value = values.get(field)
        if value is not None and value not in ("", [], {}):
            put(spec, path, value)
    return spec
