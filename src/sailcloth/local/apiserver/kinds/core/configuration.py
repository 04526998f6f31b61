"""ConfigMaps and Secrets."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping

import orjson

from ...field_errors import FieldError, forbidden, immutable, invalid, required
from ...unstructured import Unstructured
from ..columns import AGE, integer, text
from ..defaulting import nested, set_defaults
from ..record import READ, WRITE, FieldSelector, Grant, Kind

_LARGEST = 1 << 20  # bytes of all values
_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_KEY_TEXT = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
_SERVICE_ACCOUNT = "kubernetes.io/service-account.name"
_REQUIRED_KEYS: Mapping[str, tuple[str, ...]] = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
}


def _secret_defaults(obj: Unstructured) -> None:
    set_defaults(obj, type="Opaque")
    plain = obj.pop("stringData", None)
    if plain:
        nested(obj, "data").update({k: base64.b64encode(str(v).encode()).decode() for k, v in plain.items()})


def _validate_config_map(obj: Unstructured, old: Unstructured | None) -> Iterator[FieldError]:
    data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
    yield from _validate_keys(data, "data")
    yield from _validate_keys(binary, "binaryData")
    for key in sorted({*data} & {*binary}):
        yield invalid(f"data[{key}]", key, "duplicate of key present in binaryData")
    size = sum(len(str(v).encode()) for v in data.values()) + sum(_decoded_size(v) for v in binary.values())
    if size > _LARGEST:
        yield "", "FieldValueTooLong", f"Too long: may not be more than {_LARGEST} bytes"
    yield from _validate_immutable(obj, old, ("data", "binaryData"))


def _validate_secret(obj: Unstructured, old: Unstructured | None) -> Iterator[FieldError]:
    data, kind = obj.get("data") or {}, str(obj.get("type"))
    yield from _validate_keys(data, "data")
    if sum(_decoded_size(v) for v in data.values()) > _LARGEST:
        yield "data", "FieldValueTooLong", f"Too long: may not be more than {_LARGEST} bytes"
    for key in _REQUIRED_KEYS.get(kind, ()):
        if key not in data:
            yield required(f"data[{key}]")
    if kind == "kubernetes.io/basic-auth" and not {"username", "password"} & {*data}:
        yield required("data[username]")
        yield required("data[password]")
    if kind == "kubernetes.io/service-account-token" and not (obj["metadata"].get("annotations") or {}).get(
        _SERVICE_ACCOUNT
    ):
        yield required(f"metadata.annotations[{_SERVICE_ACCOUNT}]")
    for key in (".dockercfg", ".dockerconfigjson"):
        if kind == f"kubernetes.io/{key[1:]}" and key in data and not _is_json(data[key]):
            yield invalid(f"data[{key}]", "<secret contents redacted>", "invalid character in JSON")
    if old is not None and old.get("type") != obj.get("type"):
        yield immutable("type", obj.get("type"))
    yield from _validate_immutable(obj, old, ("data",))


def _validate_keys(data: Unstructured, field: str) -> Iterator[FieldError]:
    for key in data:
        where = f"{field}[{key}]"
        if len(key) > 253:
            yield invalid(where, key, "must be no more than 253 characters")
        if not _KEY.fullmatch(key):
            yield invalid(where, key, _KEY_TEXT)
        if key == ".":
            yield invalid(where, key, "must not be '.'")
        elif key == "..":
            yield invalid(where, key, "must not be '..'")
        elif key.startswith(".."):
            yield invalid(where, key, "must not start with '..'")


def _validate_immutable(obj: Unstructured, old: Unstructured | None, fields: tuple[str, ...]) -> Iterator[FieldError]:
    if old is None or not old.get("immutable"):
        return
    text = "field is immutable when `immutable` is set"
    if not obj.get("immutable"):
        yield forbidden("immutable", text)
    for field in fields:
        if (obj.get(field) or {}) != (old.get(field) or {}):
            yield forbidden(field, text)


def _decoded_size(text: object) -> int:
    return len(str(text)) * 3 // 4


def _is_json(text: object) -> bool:
    try:
        return isinstance(orjson.loads(base64.b64decode(str(text))), dict)
    except (ValueError, binascii.Error):
        return False


CONFIG_MAP = Kind(
    plural="configmaps",
    kind="ConfigMap",
    short_names=("cm",),
    columns=(integer("Data", lambda o: len(o.get("data") or ()) + len(o.get("binaryData") or ())), AGE),
    grants=(Grant("view", READ), Grant("edit", WRITE)),
    validate=_validate_config_map,
)
SECRET = Kind(
    plural="secrets",
    kind="Secret",
    columns=(text("Type", "type"), integer("Data", lambda o: len(o.get("data") or ())), AGE),
    field_selectors={"type": FieldSelector()},
    grants=(Grant("edit", READ), Grant("edit", WRITE)),
    defaults=_secret_defaults,
    validate=_validate_secret,
)
