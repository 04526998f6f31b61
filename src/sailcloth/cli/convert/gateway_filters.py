"""What a rule of a VirtualService does, as filters, timeouts and retries of an HTTPRoute. Must not know matches or parents."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from sailcloth.api import virtual_service as vs
from sailcloth.api.meta import StringMatch, duration_ms

from .documents import Losses, without_empty
from .gateway_backends import Backends, Place
from .gateway_matches import EXACT, PREFIX, REGEX, Match

_AUTHORITY = ("host", ":authority")
_RETRIED = {"connect-failure", "refused-stream", "unavailable", "cancelled", "retriable-status-codes"}
_CODES = {"5xx": (500, 502, 503, 504), "gateway-error": (502, 503, 504)}
_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[^/]+")
_WHOLE = ("/.*", "^/.*", "^/.*$", "/.*$", ".*", "^.*$")


def headers(changes: vs.Headers | None, path: str, losses: Losses) -> tuple[list[dict[str, Any]], str | None]:
    """(filters that change headers, the host that the request gets)."""
    out: list[dict[str, Any]] = []
    host = None
    for field, name in (("request", "RequestHeaderModifier"), ("response", "ResponseHeaderModifier")):
        operations: vs.HeaderOperations | None = getattr(changes, field) if changes is not None else None
        if operations is None:
            continue
        body: dict[str, Any] = {}
        for verb, values in (("set", operations.set), ("add", operations.add)):
            rows = []
            for header, value in values.items():
                text = value.replace("%%", "\0")
                if "%" in text:
                    at = f"{path}.{field}.{verb}.{header}"
                    losses.add(at, "the header is left out: its value is computed", "Use an EnvoyFilter.")
                elif field == "request" and header.lower() in _AUTHORITY:
                    host = text.replace("\0", "%")
                else:
                    rows.append({"name": header, "value": text.replace("\0", "%")})
            body[verb] = rows
        body = without_empty({**body, "remove": list(operations.remove)})
        if body:
            out.append({"type": name, name[0].lower() + name[1:]: body})
    return out, host


def rewrite(rule: vs.HTTPRoute, host: str | None, match: Match, path: str, losses: Losses) -> dict[str, Any] | None:
    """The filter that rewrites requests of one match. `host`: set by a header."""
    wanted = rule.rewrite
    body: dict[str, Any] = without_empty({"hostname": host or (wanted.authority if wanted is not None else None)})
    if wanted is not None and wanted.uri is not None:
        old, new = match.origin, wanted.uri
        if old.type == PREFIX and old.value == "/" and not new.endswith("/"):
            text = f"the rest of the path follows {new} with a slash"
            losses.add(f"{path}.uri", text, f"Write {new}/ for the same in both.")
        elif old.type == PREFIX and old.value != "/" and new.endswith("/"):
            losses.add(f"{path}.uri", "the path has no double slash, if it had one", "Nothing is to be done.")
        modifier = _moved(new, match)
        if modifier is None:
            text = "the path of some matches is not rewritten, because they are expressions"
            losses.add(f"{path}.uri", text, "Match a prefix or a whole path.")
        else:
            body["path"] = modifier
    if wanted is not None and wanted.uri_regex_rewrite is not None:
        found, text = wanted.uri_regex_rewrite.match or "", wanted.uri_regex_rewrite.rewrite or ""
        if found in _WHOLE and "\\" not in text:
            body["path"] = {"type": "ReplaceFullPath", "replaceFullPath": text}
        else:
            losses.add(f"{path}.uriRegexRewrite", "the path is not rewritten by an expression", "Use rewrite.uri.")
    return {"type": "URLRewrite", "urlRewrite": body} if body else None


def _moved(uri: str, match: Match) -> dict[str, Any] | None:
    """The change of a path whose prefix, or whole, becomes `uri`; None if its match is an expression."""
    old, own = match.origin, match.match.path
    if old.type == EXACT:
        return {"type": "ReplaceFullPath", "replaceFullPath": uri}
    if REGEX in (old.type, own.type):
        return None
    rest = own.value.removeprefix(old.value.rstrip("/"))  # empty but for a match that was narrowed
    if own.type == EXACT:
        return {"type": "ReplaceFullPath", "replaceFullPath": f"{uri.rstrip('/')}{rest}" if rest else uri}
    new = f"{uri.rstrip('/')}{rest.rstrip('/')}" or "/"
    return {"type": "ReplacePrefixMatch", "replacePrefixMatch": new}


def redirect(rule: vs.HTTPRedirect, match: Match, mesh: bool, path: str, losses: Losses) -> dict[str, Any]:
    """The filter for a redirect of the requests of one match."""
    body: dict[str, Any] = without_empty({"scheme": rule.scheme, "hostname": rule.authority, "port": rule.port})
    if mesh and rule.authority and not rule.scheme and not rule.port and rule.derive_port != "FROM_REQUEST_PORT":
        body = {"scheme": "http", **body}  # otherwise the redirect would keep the port of the service
    if rule.derive_port == "FROM_REQUEST_PORT" and rule.scheme:
        text = "the port is that of the scheme, because the scheme is set"
        losses.add(f"{path}.derivePort", text, "Leave out the scheme.")
    whole, prefix = rule.uri, rule.prefix_rewrite
    if rule.uri is not None and rule.uri.startswith("%PREFIX()%"):
        whole, prefix = None, rule.uri.removeprefix("%PREFIX()%")
    modifier = _moved(prefix, match) if prefix is not None and match.origin.type == PREFIX else None
    if whole is not None:
        modifier = {"type": "ReplaceFullPath", "replaceFullPath": whole}
    elif prefix is not None and modifier is None:
        losses.add(
            f"{path}.uri", "the path is kept, because no prefix is matched", "Match a prefix, or give the whole path."
        )
    body |= {"path": modifier} if modifier is not None else {}
    return {"type": "RequestRedirect", "requestRedirect": {**body, "statusCode": rule.redirect_code or 301}}


def mirrors(rule: vs.HTTPRoute, place: Place, path: str, backends: Backends, losses: Losses) -> list[dict[str, Any]]:
    """The filters that copy requests."""
    rows = [(f"{path}.mirrors[{i}].destination", m.destination, m.percentage) for i, m in enumerate(rule.mirrors)]
    if rule.mirror is not None:
        rows.append((f"{path}.mirror", rule.mirror, vs.Percent(value=rule.mirrored_percent)))
    out = []
    for at, destination, percentage in rows:
        share = 100.0 if percentage is None else percentage.value
        reference = backends.reference(destination, place, at, losses) if share else None
        if reference is None:
            continue
        body: dict[str, Any] = {"backendRef": reference}
        if share < 100 and share == int(share):
            body["percent"] = int(share)
        elif share < 100:
            body["fraction"] = {"numerator": round(share * 10_000), "denominator": 1_000_000}
        out.append({"type": "RequestMirror", "requestMirror": body})
    return out


def cors(policy: vs.CorsPolicy, path: str, losses: Losses) -> dict[str, Any] | None:
    """The filter for other origins; None, with a loss, if no origin can be said."""
    origins = []
    rows = [(f"allowOrigins[{i}]", o) for i, o in enumerate(policy.allow_origins)]
    rows += [(f"allowOrigin[{i}]", StringMatch(exact=o)) for i, o in enumerate(policy.allow_origin)]
    for at, match in rows:
        text = match.exact or ""
        if match.regex is not None:
            parts = match.regex.split(".*")
            plain = [re.sub(r"\\([^A-Za-z0-9])", r"\1", part) for part in parts]
            bare = [re.sub(r"\\[^A-Za-z0-9]", "", part) for part in parts]
            text = "*".join(plain) if not any(set("\\^$.|?*+()[]{}") & set(part) for part in bare) else ""
        if _ORIGIN.fullmatch(text) and text.find("*") in (-1, 0, text.find("://") + 3):
            origins.append(text)
        else:
            why = "the origin is left out: it is a URL such as https://*.example.com, or *"
            losses.add(f"{path}.{at}", why, "Write scheme and host, exact.")
    if policy.unmatched_preflights != "IGNORE":
        text = "preflight requests of other origins do not reach the application"
        losses.add(f"{path}.unmatchedPreflights", text, "Write IGNORE, if this is meant.")
    if not origins:
        return None
    age = duration_ms(policy.max_age)
    body = {
        "allowOrigins": origins,
        "allowMethods": list(policy.allow_methods),
        "allowHeaders": list(policy.allow_headers),
        "exposeHeaders": list(policy.expose_headers),
        "allowCredentials": policy.allow_credentials,
        "maxAge": int(age / 1000) if age is not None else None,
    }
    return {"type": "CORS", "cors": without_empty(body)}


def times(rule: vs.HTTPRoute, path: str, losses: Losses) -> dict[str, Any]:
    """`timeouts` and `retry` of a rule."""
    retries = rule.retries
    per_try = retries.per_try_timeout if retries is not None and retries.attempts > 0 else None
    timeouts = {
        "request": _duration(rule.timeout, f"{path}.timeout", losses),
        "backendRequest": _duration(per_try, f"{path}.retries.perTryTimeout", losses),
    }
    whole, one = duration_ms(rule.timeout), duration_ms(per_try)
    if whole and one and one > whole:
        timeouts["backendRequest"] = timeouts["request"]  # it could not be reached
    return without_empty({"timeouts": without_empty(timeouts), "retry": _retry(retries, f"{path}.retries", losses)})


def _retry(retries: vs.HTTPRetry | None, path: str, losses: Losses) -> dict[str, Any] | None:
    if retries is None:
        return None
    text = "the field retry is of the experimental channel: with the standard definitions, retries are the default ones"
    losses.add(path, text, "Install the Gateway API's experimental channel.")
    if retries.attempts <= 0:
        return {"attempts": 0}
    for name, value in (
        ("retryRemoteLocalities", retries.retry_remote_localities),
        ("retryIgnorePreviousHosts", retries.retry_ignore_previous_hosts),
    ):
        if value is not None:
            losses.add(f"{path}.{name}", "retries choose endpoints as by default")
    words = [word.strip() for word in (retries.retry_on or "").split(",") if word.strip()]
    codes = {int(word) for word in words if word.isdigit()}
    for word in words:
        codes.update(_CODES.get(word, ()))
    text = ""
    if "5xx" in words:
        text = "of 5xx, only 500, 502, 503 and 504 are retried"
    unknown = sorted({w for w in words if not w.isdigit()} - _RETRIED - set(_CODES))
    more = sorted(_RETRIED - {"retriable-status-codes"} - set(words)) if words else []
    more = [] if "5xx" in words else more
    if unknown:
        text = f"{', '.join(unknown)} is not retried"
    elif more and not text:
        text = f"{', '.join(more)} is retried too"
    if text:
        losses.add(f"{path}.retryOn", text, "Name status codes.")
    backoff = _duration(retries.backoff, f"{path}.backoff", losses)
    return without_empty({"attempts": retries.attempts, "codes": sorted(codes), "backoff": backoff})


def _duration(text: str | None, path: str, losses: Losses) -> str | None:
    """A duration of the Gateway API: whole numbers of h, m, s and ms."""
    if text is None:
        return None
    exact = duration_ms(text) or 0.0
    rest = round(exact)
    if abs(exact - rest) > 1e-6:
        losses.add(path, f"the duration is rounded to {rest}ms")
        rest = max(rest, 1)
    out = ""
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        number, rest = divmod(rest, size)
        out += f"{number}{unit}" if number else ""
    return out or "0s"


def refuses(rule: vs.HTTPRoute) -> bool:
    """Whether a rule aborts all requests: then it must not let them through."""
    abort = rule.fault.abort if rule.fault is not None else None
    return abort is not None and abort.percentage is not None and abort.percentage.value >= 100


def unsaid(rule: vs.HTTPRoute, path: str, losses: Losses) -> None:
    """The losses of what no filter does."""
    fault: Mapping[str, Any] = msgspec.to_builtins(rule.fault) if rule.fault is not None else {}
    for name in fault:
        text = "faults cannot be injected"
        if name == "abort" and refuses(rule):
            text = "the response to all requests is 500, because faults cannot be injected"
        losses.add(f"{path}.fault.{name}", text, "Keep a VirtualService for the time of the test.")
    response = rule.direct_response
    if response is not None and (response.status != 500 or response.body is not None):
        text = f"the response is 500 instead of {response.status}, without a body"
        losses.add(f"{path}.directResponse", text, "Route to a service that gives the response.")
