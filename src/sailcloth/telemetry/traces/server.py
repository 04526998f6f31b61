"""Traces over HTTP and gRPC: receivers (Zipkin, OTLP), and the query APIs of Jaeger, Zipkin and Tempo.

All paths of one API are its own, so that one port may serve them all. Must not store anything itself.
"""

from __future__ import annotations

import asyncio
import logging
import time
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import orjson
from aiohttp import web

from sailcloth.lib.grpc_server import Abort, Call, Status, Unary

from . import jaeger, otlp, tempo, zipkin
from .model import BadSpans, Span
from .store import Query, TraceStore

log = logging.getLogger(__name__)

MAX_BODY = 8 << 20  # bytes of a message, also unpacked
Forward = Callable[[str, str, bytes, list[Span]], None]
_FLUSH_S = 1.0
_VERSION = "2.4.0"  # of Tempo, whose API this is; Grafana chooses its queries by it


class Traces:
    """The receivers and the APIs over one store. `now_us` is the time in microseconds. Each of `forward` gets every message that was
    understood, for another tracing system: (path, content type, body, spans). Without `keep` the store gets none."""

    def __init__(
        self,
        store: TraceStore,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        forward: Sequence[Forward] = (),
        keep: bool = True,
    ) -> None:
        self.store, self._now, self._forward, self._keep = store, now_us, forward, keep
        self.refused = 0

    async def run(self) -> None:
        """Write what has come, once a second, until cancelled; then once more."""
        try:
            while True:
                await asyncio.sleep(_FLUSH_S)
                self.store.flush(self._now())
        finally:
            self.store.flush(self._now())

    # -- receivers ----------------------------------------------------------------------------------

    def receivers(self) -> list[web.RouteDef]:
        """POST /api/v2/spans (Zipkin) and /v1/traces (OTLP)."""
        return [web.post("/api/v2/spans", self._zipkin), web.post("/v1/traces", self._otlp)]

    def methods(self) -> dict[str, Unary]:
        """OTLP over gRPC, for a `GrpcServer`."""
        return {otlp.EXPORT: self._export}

    async def _zipkin(self, request: web.Request) -> web.Response:
        if not request.content_type.endswith("json"):
            return web.Response(status=415, text="send spans as application/json\n")
        answer = await self._take(request, zipkin.read)
        return answer or web.Response(status=202)

    async def _otlp(self, request: web.Request) -> web.Response:
        as_json = request.content_type == "application/json"
        if not as_json and request.content_type != "application/x-protobuf":
            return web.Response(status=415, text="send application/x-protobuf or application/json\n")
        answer = await self._take(request, otlp.read_json if as_json else otlp.read)
        done = web.json_response({}) if as_json else web.Response(content_type="application/x-protobuf")
        return answer or done

    async def _take(self, request: web.Request, read: Callable[[bytes], list[Span]]) -> web.Response | None:
        """Keep the spans of a request; the refusal if it is not understood."""
        try:
            body = unpacked(await request.read(), request.headers.get("Content-Encoding", ""))
            self._add(request.path, request.content_type, body, read(body))
        except BadSpans as error:
            self.refused += 1
            return web.Response(status=400, text=f"{error}\n")
        return None

    def _add(self, path: str, content_type: str, body: bytes, spans: list[Span]) -> None:
        if self._keep:
            self.store.add(spans)
        for forward in self._forward:
            forward(path, content_type, body, spans)

    async def _export(self, body: bytes, call: Call) -> bytes:
        try:
            self._add("/v1/traces", "application/x-protobuf", body, otlp.read(body))
        except BadSpans as error:
            self.refused += 1
            raise Abort(Status.INVALID_ARGUMENT, str(error)) from None
        return b""

    # -- Jaeger -------------------------------------------------------------------------------------

    def jaeger(self) -> list[web.RouteDef]:
        """Jaeger's query API."""
        return [
            web.get("/api/services", self._services),
            web.get("/api/services/{service}/operations", self._operation_names),
            web.get("/api/operations", self._operations),
            web.get("/api/traces", self._find),
            web.get("/api/traces/{id}", self.trace_by_id),
            web.get("/api/dependencies", self._dependencies),
        ]

    async def _services(self, _: web.Request) -> web.Response:
        names = self.store.services()
        return _json(jaeger.answer(names, len(names)))

    async def _operation_names(self, request: web.Request) -> web.Response:
        names = sorted({name for name, _ in self.store.operations(request.match_info["service"])})
        return _json(jaeger.answer(names, len(names)))

    async def _operations(self, request: web.Request) -> web.Response:
        wanted = request.query.get("spanKind", "")
        found = self.store.operations(request.query.get("service", ""))
        listed = [{"name": name, "spanKind": kind} for name, kind in found if wanted in ("", kind)]
        return _json(jaeger.answer(listed, len(listed)))

    async def _find(self, request: web.Request) -> web.Response:
        ids = request.query.getall("traceID", [])
        try:
            traces = (
                [t for i in ids[:100] if _is_id(i) and (t := self.store.trace(i))]
                if ids
                else self.store.find(jaeger.query(request.query, request.query.getall("tag", [])))
            )
        except jaeger.BadQuery as error:
            return _json(jaeger.failure(400, str(error)), 400)
        return _json(jaeger.answer([jaeger.trace(spans) for spans in traces]))

    async def trace_by_id(self, request: web.Request) -> web.Response:
        """One trace, in Jaeger's form; in Tempo's, which has the same path, if the caller wants protobuf."""
        identifier = request.match_info["id"]
        spans = self.store.trace(identifier) if _is_id(identifier) else []
        if "protobuf" in request.headers.get("Accept", ""):  # Tempo's, at the same path
            body = tempo.protobuf(spans)
            return web.Response(status=200 if spans else 404, body=body, content_type="application/protobuf")
        if not spans:
            return _json(jaeger.failure(404, "trace not found"), 404)
        return _json(jaeger.answer([jaeger.trace(spans)]))

    async def _dependencies(self, request: web.Request) -> web.Response:
        try:
            end = jaeger.number(request.query, "endTs") * 1000 or self._now()
            lookback = jaeger.number(request.query, "lookback") * 1000 or 86_400_000_000
        except jaeger.BadQuery as error:
            return _json(jaeger.failure(400, str(error)), 400)
        return _json(jaeger.answer(jaeger.dependencies(self.store.dependencies(end - lookback, end))))

    # -- Zipkin -------------------------------------------------------------------------------------

    def zipkin(self) -> list[web.RouteDef]:
        """Zipkin's query API."""
        return [
            web.get("/api/v2/services", self._zipkin_services),
            web.get("/api/v2/spans", self._zipkin_names),
            web.get("/api/v2/traces", self._zipkin_find),
            web.get("/api/v2/trace/{id}", self._zipkin_trace),
            web.get("/api/v2/dependencies", self._zipkin_dependencies),
        ]

    async def _zipkin_services(self, _: web.Request) -> web.Response:
        return _json(self.store.services())

    async def _zipkin_names(self, request: web.Request) -> web.Response:
        return _json(sorted({name for name, _ in self.store.operations(request.query.get("serviceName", ""))}))

    async def _zipkin_find(self, request: web.Request) -> web.Response:
        try:
            end = jaeger.number(request.query, "endTs") * 1000 or self._now()
            lookback = jaeger.number(request.query, "lookback") * 1000 or 86_400_000_000
            service = request.query.get("serviceName", "")
            query = Query(
                "" if service == "all" else service,
                request.query.get("spanName", "") if request.query.get("spanName") != "all" else "",
                end - lookback,
                end,
                jaeger.number(request.query, "minDuration"),
                jaeger.number(request.query, "maxDuration"),
                limit=min(jaeger.number(request.query, "limit") or 10, jaeger.MAX_LIMIT),
            )
        except jaeger.BadQuery as error:
            return web.Response(status=400, text=f"{error}\n")
        return _json([zipkin.write(spans) for spans in self.store.find(query)])

    async def _zipkin_trace(self, request: web.Request) -> web.Response:
        identifier = request.match_info["id"]
        spans = self.store.trace(identifier) if _is_id(identifier) else []
        return _json(zipkin.write(spans)) if spans else web.Response(status=404, text=f"{identifier} not found\n")

    async def _zipkin_dependencies(self, request: web.Request) -> web.Response:
        end = self._now()
        links = self.store.dependencies(end - 86_400_000_000, end)
        return _json([{"parent": a, "child": b, "callCount": n} for (a, b), n in sorted(links.items())])

    # -- Tempo --------------------------------------------------------------------------------------

    def tempo(self) -> list[web.RouteDef]:
        """Tempo's search API, whose traces by id are at /api/v2/traces/ID, and as protobuf where Jaeger's are."""
        return [
            web.get("/api/echo", _echo),
            web.get("/api/status/buildinfo", _build),
            web.get("/api/search", self._search),
            web.get("/api/v2/traces/{id}", self._tempo_trace),
            web.get("/api/search/tags", self._tags),
            web.get("/api/v2/search/tags", self._scoped_tags),
            web.get("/api/search/tag/{tag}/values", self._values),
            web.get("/api/v2/search/tag/{tag}/values", self._typed_values),
        ]

    async def _search(self, request: web.Request) -> web.Response:
        try:
            query, some, whole, shown = tempo.query(request.query)
        except jaeger.BadQuery as error:
            return web.Response(status=400, text=f"{error}\n")
        traces = [spans for spans in self.store.find(query) if whole(spans)]
        return _json({"traces": [tempo.search_result(t, some, shown) for t in traces], "metrics": {"totalBlocks": 1}})

    async def _tempo_trace(self, request: web.Request) -> web.Response:
        identifier = request.match_info["id"]
        spans = self.store.trace(identifier) if _is_id(identifier) else []
        if not spans:
            return web.Response(status=404, text="trace not found\n")
        if "protobuf" in request.headers.get("Accept", ""):
            return web.Response(body=tempo.protobuf(spans), content_type="application/protobuf")
        return _json({"trace": otlp.write(spans)})

    async def _tags(self, _: web.Request) -> web.Response:
        return _json({"tagNames": ["service.name", "name", "status", *self.store.tag_names()]})

    async def _scoped_tags(self, _: web.Request) -> web.Response:
        own = {"name": "intrinsic", "tags": ["duration", "kind", "name", "status"]}
        resource, span = (
            {"name": "resource", "tags": ["service.name"]},
            {"name": "span", "tags": self.store.tag_names()},
        )
        return _json({"scopes": [own, resource, span]})

    async def _values(self, request: web.Request) -> web.Response:
        return _json({"tagValues": self._values_of(request.match_info["tag"])})

    async def _typed_values(self, request: web.Request) -> web.Response:
        values = self._values_of(request.match_info["tag"])
        return _json({"tagValues": [{"type": "string", "value": value} for value in values]})

    def _values_of(self, tag: str) -> list[str]:
        name = tag.removeprefix("resource.").removeprefix("span.").removeprefix(".")
        if name == "service.name":
            return self.store.services()
        if name == "status":
            return ["error", "ok"]
        if name == "name":
            return sorted({n for service in self.store.services() for n, _ in self.store.operations(service)})
        return self.store.tag_values(name)


def unpacked(body: bytes, encoding: str) -> bytes:
    """A body without its compression, if the HTTP server has left it on. Raises BadSpans if it is too long or not compressed so."""
    if len(body) > MAX_BODY:
        raise BadSpans(f"the message is longer than {MAX_BODY >> 20} MiB")
    if encoding != "gzip" or not body.startswith(b"\x1f\x8b"):
        return body
    try:
        reader = zlib.decompressobj(31)
        plain = reader.decompress(body, MAX_BODY)
    except zlib.error:
        raise BadSpans(f"the message is not {encoding}") from None
    if reader.unconsumed_tail:
        raise BadSpans(f"the message is longer than {MAX_BODY >> 20} MiB")
    return plain


def _is_id(text: str) -> bool:
    return 0 < len(text) <= 32 and all(c in "0123456789abcdefABCDEF" for c in text)


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(value), content_type="application/json")


async def _echo(_: web.Request) -> web.Response:
    return web.Response(text="echo")


async def _build(_: web.Request) -> web.Response:
    return _json({"version": _VERSION, "revision": "sailcloth", "branch": "", "buildDate": "", "goVersion": ""})
