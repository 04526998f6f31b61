"""The subresource `proxy` of Services and pods: hands a request to one of their ports, and the answer back as it comes.

As Kubernetes: the caller's credentials stay here, redirects go back to the caller, and what is on this machine or on its link (an
EndpointSlice may name any address) is not reached. Must not look into bodies.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import replace
from urllib.parse import quote, urlsplit

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from ..errors import StatusError, bad_request
from ..request_info import RequestInfo
from ..unstructured import Unstructured
from ..writes.rest_storage import RestStorage

_HOP_BY_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
_CREDENTIALS = frozenset(("authorization", "impersonate-user", "impersonate-group", "impersonate-uid"))
_CONNECT_S = 10.0
_CHUNK = 1 << 16
_PREFIX = 8  # segments of the path up to `proxy`


async def serve(request: web.Request, storage: RestStorage, info: RequestInfo) -> web.StreamResponse:
    """Answer a request to `/api/v1/namespaces/NAMESPACE/KIND/[SCHEME:]NAME[:PORT]/proxy/PATH`. Raises StatusError: 503 if nothing answers."""
    words = info.name.split(":")
    scheme, name, port = words if len(words) == 3 else ["http", *words, ""][:3]
    if len(words) > 3 or scheme not in ("", "http", "https"):
        raise bad_request(f"{info.name!r} is not [http:|https:]NAME[:PORT]")
    parts = request.rel_url.raw_path.split("/", _PREFIX)
    prefix, path = "/".join(parts[:_PREFIX]), "/".join(parts[_PREFIX:])
    try:
        if info.resource.kind == "Pod":
            host, number = _of_pod(storage.live(_named(info, name)), port)
        else:
            host, number = storage.admission.endpoint({"namespace": info.namespace, "name": name, "port": port})
        _check(host)
        query = f"?{request.rel_url.raw_query_string}" if request.rel_url.raw_query_string else ""
        authority = f"[{host}]" if ":" in host else host
        url = URL(f"{scheme or 'http'}://{authority}:{number}/{path}{query}", encoded=True)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S)
        async with (
            aiohttp.ClientSession(
                auto_decompress=False, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()
            ) as session,
            session.request(
                request.method,
                url,
                headers=_request_headers(request),
                data=request.content if request.body_exists else None,
                allow_redirects=False,
                ssl=False,
            ) as answer,
        ):
            response = web.StreamResponse(status=answer.status, headers=_answer_headers(answer.headers, prefix, host))
            await response.prepare(request)
            async for chunk in answer.content.iter_chunked(_CHUNK):
                await response.write(chunk)
            return response
    except (ValueError, aiohttp.ClientError, OSError) as error:
        raise StatusError(503, "ServiceUnavailable", f"error trying to reach service: {error}") from None


def _named(info: RequestInfo, name: str) -> RequestInfo:
    return replace(info, name=name, subresource="")


def _of_pod(pod: Unstructured, port: str) -> tuple[str, int]:
    """Address and port of a pod; the first declared port by default. Raises ValueError."""
    declared = [p for c in pod["spec"]["containers"] for p in c.get("ports") or ()]
    number = (
        int(port)
        if port.isdigit()
        else next((int(p["containerPort"]) for p in declared if port in ("", p.get("name"))), 80)
    )
    address = (pod.get("status") or {}).get("podIP")
    if not address:
        raise ValueError(f"pod {pod['metadata']['name']} has no address yet")
    return str(address), number


def _check(host: str) -> None:
    """Raises ValueError for addresses of this machine and of its link."""
    address = ipaddress.ip_address(host)
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    if address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified:
        raise ValueError(f"the address {host} is not allowed")


def _request_headers(request: web.Request) -> CIMultiDict[str]:
    out = _passed(request.headers.items(), _HOP_BY_HOP | _CREDENTIALS | {"host", "content-length"})
    for name in [name for name in out if name.lower().startswith("impersonate-extra-")]:
        out.popall(name, None)
    if request.content_length is not None and request.body_exists:
        out["Content-Length"] = str(request.content_length)
    out.add("X-Forwarded-For", request.remote or "unknown")
    out["X-Forwarded-Host"], out["X-Forwarded-Uri"] = request.host, quote(request.path)
    return out


def _answer_headers(headers: Mapping[str, str], prefix: str, host: str) -> CIMultiDict[str]:
    """What the back end says; a redirect to itself leads through here again."""
    out = _passed(headers.items(), _HOP_BY_HOP)
    target = urlsplit(out.get("Location", ""))
    if target.path.startswith("/") and target.hostname in (None, host):
        out["Location"] = prefix + target.path + (f"?{target.query}" if target.query else "")
    return out


def _passed(headers: Iterable[tuple[str, str]], without: frozenset[str] | set[str]) -> CIMultiDict[str]:
    return CIMultiDict((name, value) for name, value in headers if name.lower() not in without)
