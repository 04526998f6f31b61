"""Bodies and parameters of requests: decodes JSON, YAML and protobuf, and finds duplicate fields."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import orjson
import yaml
from aiohttp import web

from sailcloth.lib import bounded_yaml
from sailcloth.lib.nesting import DEEPEST, exceeds_depth
from sailcloth.lib.schemacheck import go, join

from ..errors import StatusError, bad_request, invalid
from ..request_info import Body
from ..schemas import request_kinds
from ..unstructured import Unstructured
from . import protobuf
from .negotiation import PROTOBUF

_LONGEST_MANAGER = 128
_DIGITS = 18  # of the numbers that 64 bits hold


async def read_body(request: web.Request) -> Body:
    """The request's body. Raises StatusError for one that cannot be read."""
    try:
        if request.content.is_eof():  # it came with the head
            raw = await request.read()
        else:
            async with asyncio.timeout(request["request_timeout_s"]):
                raw = await request.read()
    except TimeoutError:
        raise StatusError(408, "Timeout", "the body of the request did not come in time") from None
    kind = request.headers.get("Content-Type", "").split(";")[0].strip()
    if not raw:
        return Body({}, kind)
    try:
        if kind == PROTOBUF:
            return Body(protobuf.decode(raw), kind)
        if "yaml" in kind and not _is_json(raw):
            value = bounded_yaml.load(raw, _Loader)
            plain = orjson.loads(orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS))
            return Body(_check_depth(plain), kind, _duplicate_paths(value))
        value = _check_depth(orjson.loads(raw))
        return Body(value, kind, _duplicates_of_json(raw, value))
    except protobuf.Unsupported as error:
        raise StatusError(415, "UnsupportedMediaType", str(error)) from None
    except (ValueError, TypeError, KeyError, RecursionError, yaml.YAMLError) as error:
        words = " ".join(str(error).split())[:300]
        raise bad_request(f"the body of the request could not be read: {words}") from None


def _is_json(raw: bytes) -> bool:
    """Whether a YAML body is JSON, as kubectl's is; another one that begins with a brace is YAML in flow style."""
    if raw.lstrip()[:1] not in (b"{", b"["):
        return False
    try:
        orjson.loads(raw)
    except ValueError:
        return False
    return True


def _check_depth(value: Any) -> Any:
    if exceeds_depth(value):
        raise ValueError(f"it has more than {DEEPEST} objects and lists within each other")
    return value


class _Pairs(dict[str, Any]):
    """An object that remembers which of its keys came twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        seen: set[str] = set()
        self.duplicates = [k for k, _ in pairs if k in seen or seen.add(k)] if len(self) < len(pairs) else []  # type: ignore[func-returns-value]


class _Loader(bounded_yaml.Loader):
    """YAML with mappings as `_Pairs`."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        self.flatten_mapping(node)
        pairs = [(self.construct_object(k, deep=True), self.construct_object(v, deep=True)) for k, v in node.value]
        return _Pairs(pairs)


_Loader.add_constructor("tag:yaml.org,2002:map", lambda loader, node: loader.construct_mapping(node, True))


def _duplicates_of_json(raw: bytes, value: Any) -> tuple[str, ...]:
    """Paths of the keys that an object in a JSON text has twice. A text without them has as many colons as what was read from it,
    and needs no second parser; one with escaped characters could hide a colon."""
    if b"\\u" not in raw and raw.count(b":") == orjson.dumps(value).count(b":"):
        return ()
    return _duplicate_paths(json.loads(raw, object_pairs_hook=_Pairs))


def _duplicate_paths(value: Any, path: str = "") -> tuple[str, ...]:
    out: list[str] = []
    if isinstance(value, dict):
        out += [join(path, str(k)) for k in dict.fromkeys(getattr(value, "duplicates", ()))]
        for key, inner in value.items():
            if isinstance(inner, dict | list):
                out += _duplicate_paths(inner, join(path, str(key)))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            if isinstance(inner, dict | list):
                out += _duplicate_paths(inner, f"{path}[{index}]")
    return tuple(out)


def write_options(request: web.Request, options: str) -> dict[str, str]:
    """The request's parameters. Raises StatusError for unsupported values of `dryRun` and `fieldValidation`; `options` is the
    kind in that error, such as CreateOptions."""
    parameters = dict(request.query.items())
    check_options(parameters, options)
    return parameters


def check_options(given: Unstructured, options: str) -> None:
    """Raises StatusError for unsupported options."""
    wrong = []
    dry = given.get("dryRun") or []
    for value in [dry] if isinstance(dry, str) else dry:
        if value != "All":
            text = f'Unsupported value: "{value}": supported values: "All"'
            wrong.append(("dryRun", "FieldValueNotSupported", text))
    mode = given.get("fieldValidation")
    if mode and mode not in ("Ignore", "Warn", "Strict"):
        text = f'Unsupported value: "{mode}": supported values: "", "Ignore", "Strict", "Warn"'
        wrong.append(("fieldValidation", "FieldValueNotSupported", text))
    manager = given.get("fieldManager") or ""
    if len(manager) > _LONGEST_MANAGER:
        wrong.append(("fieldManager", "FieldValueTooLong", f"Too long: may not be more than {_LONGEST_MANAGER} bytes"))
    elif not manager.isprintable():
        wrong.append(
            (
                "fieldManager",
                "FieldValueInvalid",
                f"Invalid value: {go(manager)}: should only contain printable characters",
            )
        )
    if options == "DeleteOptions" and given.get("orphanDependents") is not None and given.get("propagationPolicy"):
        text = "Invalid value: orphanDependents and deletionPropagation cannot be both set"
        wrong.append(("propagationPolicy", "FieldValueInvalid", text))
    if wrong:
        raise invalid(options, "meta.k8s.io", "", wrong)


def field_manager(request: web.Request) -> str:
    """The field manager of a request: its parameter `fieldManager`, else the client's program name."""
    return request.query.get("fieldManager") or request.headers.get("User-Agent", "unknown").split("/")[0][:128]


def delete_options(parameters: dict[str, str], body: Any) -> Unstructured:
    """DeleteOptions from the body and the parameters. Raises StatusError."""
    options: Unstructured = {**parameters, **request_kinds.decode("DeleteOptions", body)}
    check_options(options, "DeleteOptions")
    if options.get("gracePeriodSeconds") in (None, ""):
        options.pop("gracePeriodSeconds", None)
    else:
        seconds = {"gracePeriodSeconds": str(options["gracePeriodSeconds"])}
        options["gracePeriodSeconds"] = non_negative(seconds, "gracePeriodSeconds")
    policy = options.get("propagationPolicy")
    if policy and policy not in ("Background", "Foreground", "Orphan"):
        known = '"Background", "Foreground", "Orphan"'
        text = f'Unsupported value: "{policy}": supported values: {known}'
        raise invalid("DeleteOptions", "meta.k8s.io", "", [("propagationPolicy", "FieldValueNotSupported", text)])
    return options


def non_negative(parameters: Mapping[str, str], name: str) -> int:
    """A parameter that is a whole number, 0 if absent. Raises StatusError."""
    text = parameters.get(name) or "0"
    if not text.isascii() or not text.isdigit() or len(text) > _DIGITS:
        raise bad_request(f"Invalid value: {text!r}: {name} must be a non-negative whole number")
    return int(text)
