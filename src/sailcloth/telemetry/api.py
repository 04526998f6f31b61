"""Prometheus' HTTP API (version 1) over the store, so that Grafana, Kiali and promtool can point at it.

Queries run in threads, a few at a time, so that scrapes go on. Must not change the store but by remote write.
https://prometheus.io/docs/prometheus/latest/querying/api/
"""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import orjson
import promql_parser
from aiohttp import web

from sailcloth.lib import regex

from .exposition import Metadata
from .metrics.labels import NAME, Index, Ints, Matcher
from .metrics.store import Store
from .parameters import Parameters
from .promql import evaluate, results
from .promql.errors import BadQuery, QueryError, QueryTimeout
from .promql.numbers import plain

T = TypeVar("T")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_AT_ONCE, _WAITING = 2, 32  # queries
_TIMEOUT_S = 60.0
_VERSION = "2.42.0"  # whose PromQL this is; Grafana and Kiali choose their queries by it
_FRONT = """\
Metrics of the mesh, through Prometheus' HTTP API: give this address to Grafana or Kiali as that of a Prometheus.

/api/v1/targets                                       what is scraped, and how that goes
/api/v1/query?query=sum(rate(istio_requests_total[1m]))by(destination_workload)
/api/v1/label/__name__/values                         which metrics there are
/metrics                                              how this process does
"""
_LABEL_NAME = Matcher("", "=~", "[a-zA-Z_][a-zA-Z0-9_]*").predicate()


@dataclass
class Info:
    """What the status pages say. targets: the active ones, as the API shows them. metrics: numbers of the process itself."""

    targets: Callable[[], list[dict[str, Any]]] = list
    metrics: Callable[[], dict[str, float]] = dict
    scrape_interval_s: float = 5.0
    accepts_writes: bool = False
    start: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))


class Overloaded(QueryError):
    """Too many queries wait."""

    kind = "unavailable"
    status = 503


class Api:
    """The handlers. now: ms."""

    def __init__(
        self, store: Store, metadata: Metadata, info: Info, now: Callable[[], int] = lambda: int(time.time() * 1000)
    ) -> None:
        self.store, self.metadata, self.info, self._now = store, metadata, info, now
        self._slots, self._waiting = asyncio.Semaphore(_AT_ONCE), 0

    def application(self, instead: Handler | None = None) -> web.Application:
        """The web application. `instead` answers everything that is not about this process itself."""
        app = web.Application(client_max_size=32 << 20, middlewares=[_errors])
        if instead is not None:
            app.router.add_get("/metrics", self._metrics)
            app.router.add_get("/-/ready", _text("Prometheus Server is Ready.\n"))
            app.router.add_route("*", "/{path:.*}", instead)
            return app
        both: dict[str, Handler] = {
            "query": self._query,
            "query_range": self._query_range,
            "series": self._series,
            "labels": self._labels,
            "format_query": self._format_query,
            "query_exemplars": _fixed([]),
        }
        for name, handler in both.items():
            app.router.add_route("GET", f"/api/v1/{name}", handler)
            app.router.add_route("POST", f"/api/v1/{name}", handler)
        pages: dict[str, Handler] = {
            "/api/v1/label/{name}/values": self._label_values,
            "/api/v1/metadata": self._metadata,
            "/api/v1/targets": self._targets,
            "/api/v1/targets/metadata": _fixed([]),
            "/api/v1/rules": _fixed({"groups": []}),
            "/api/v1/alerts": _fixed({"alerts": []}),
            "/api/v1/alertmanagers": _fixed({"activeAlertmanagers": [], "droppedAlertmanagers": []}),
            "/api/v1/status/buildinfo": self._build_info,
            "/api/v1/status/config": self._config,
            "/api/v1/status/flags": self._flags,
            "/api/v1/status/runtimeinfo": self._runtime_info,
            "/api/v1/status/tsdb": self._tsdb,
            "/federate": self._federate,
            "/metrics": self._metrics,
            "/": _text(_FRONT),
            "/-/healthy": _text("Prometheus Server is Healthy.\n"),
            "/-/ready": _text("Prometheus Server is Ready.\n"),
        }
        for path, handler in pages.items():
            app.router.add_get(path, handler)
        app.router.add_post("/api/v1/write", self._write)
        return app

    # -- queries --------------------------------------------------------------------------------

    async def _query(self, request: web.Request) -> web.Response:
        parameters = await _parameters(request)
        at, limits = parameters.time_ms("time", self._now()), self._limits(parameters)
        tree = parameters.expression()

        def work() -> dict[str, Any]:
            value: evaluate.Value | evaluate.RangeVector
            if isinstance(tree, promql_parser.MatrixSelector | promql_parser.SubqueryExpr):
                value = evaluate.raw_samples(self.store, tree, at, limits)
            else:
                value = evaluate.evaluate(self.store, tree, np.array([at], np.int64), limits)
            return results.instant(value, at)

        return await self._answer(work, limits)

    async def _query_range(self, request: web.Request) -> web.Response:
        parameters = await _parameters(request)
        steps, limits = parameters.steps(), self._limits(parameters)
        tree = parameters.expression()
        kind = {"MatrixSelector": "range vector", "SubqueryExpr": "range vector", "StringLiteral": "string"}.get(
            type(tree).__name__
        )
        if kind is not None:
            raise BadQuery(
                f'invalid parameter "query": invalid expression type "{kind}" for range query, must be Scalar or instant Vector'
            )
        return await self._answer(
            lambda: results.over_range(evaluate.evaluate(self.store, tree, steps, limits), steps), limits
        )

    async def _format_query(self, request: web.Request) -> web.Response:
        return success((await _parameters(request)).expression().prettify())

    @staticmethod
    def _limits(parameters: Parameters) -> evaluate.Limits:
        return evaluate.Limits(deadline=time.monotonic() + parameters.timeout_s(_TIMEOUT_S))

    async def _answer(self, work: Callable[[], Any], limits: evaluate.Limits) -> web.Response:
        body = await self._in_turn(lambda: _body(work()), limits.deadline)
        return web.Response(body=body, content_type="application/json")

    async def _in_turn(self, work: Callable[[], T], deadline: float = float("inf")) -> T:
        """Run in a thread when it is its turn. Raises QueryError."""
        if self._waiting >= _WAITING:
            raise Overloaded("too many queries wait for their turn; try again later")
        self._waiting += 1
        try:
            async with self._slots:
                if time.monotonic() > deadline:
                    raise QueryTimeout("query timed out in query queue")
                return await asyncio.to_thread(work)
        finally:
            self._waiting -= 1

    # -- series and labels ----------------------------------------------------------------------

    async def _series(self, request: web.Request) -> web.Response:
        parameters = await _parameters(request)
        selectors, since = parameters.selectors(required=True), parameters.time_ms("start", 0)
        limit = parameters.limit()

        def work() -> bytes:
            index, refs = self._matching(selectors, since)
            return _body(sorted((index.labels(ref) for ref in refs[:limit].tolist()), key=lambda m: sorted(m.items())))

        return web.Response(body=await self._in_turn(work), content_type="application/json")

    async def _labels(self, request: web.Request) -> web.Response:
        parameters = await _parameters(request)
        selectors, since = parameters.selectors(required=False), parameters.time_ms("start", 0)

        def work() -> bytes:
            index, refs = self._matching(selectors, since)
            return _body(sorted(index.names(refs))[: parameters.limit()])

        return web.Response(body=await self._in_turn(work), content_type="application/json")

    async def _label_values(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if not _LABEL_NAME(name):
            raise BadQuery(f'invalid label name: "{name}"')
        parameters = await _parameters(request)
        selectors, since = parameters.selectors(required=False), parameters.time_ms("start", 0)

        def work() -> bytes:
            index, refs = self._matching(selectors, since)
            values = np.unique(index.column(name)[refs]).tolist()
            return _body(sorted(index.strings.texts[v] for v in values if v)[: parameters.limit()])

        return web.Response(body=await self._in_turn(work), content_type="application/json")

    def _matching(self, selectors: Sequence[Iterable[Matcher]], since_ms: int) -> tuple[Index, Ints]:
        """The series that satisfy any of the selectors (all, if there is none) and had a sample since a time."""
        index = self.store.index
        try:
            parts = [index.select(matchers) for matchers in selectors or [()]]
        except regex.BadRegex as error:
            raise BadQuery(f'invalid parameter "match[]": error parsing regexp: {error}') from None
        refs = np.unique(np.concatenate(parts)) if len(parts) > 1 else parts[0]
        return index, refs[index.last_seen[refs] >= since_ms]

    async def _metadata(self, request: web.Request) -> web.Response:
        parameters = await _parameters(request)
        limit, wanted = parameters.limit(), parameters.text("metric")
        names = sorted(self.metadata.types.keys() | self.metadata.help.keys())
        shown = [name for name in names if not wanted or name == wanted][:limit]
        entry = self._metadata_of
        return success({name: [entry(name)] for name in shown})

    def _metadata_of(self, name: str) -> dict[str, str]:
        types, texts = self.metadata.types, self.metadata.help
        return {"type": types.get(name, "unknown"), "help": texts.get(name, ""), "unit": ""}

    async def _federate(self, request: web.Request) -> web.Response:
        parameters = await _parameters(request)
        selectors = parameters.selectors(required=True)
        now = self._now()

        def work() -> str:
            lines: dict[str, list[str]] = defaultdict(list)
            for labels, time_ms, value in evaluate.newest_samples(self.store, selectors, now):
                pairs = ",".join(f'{n}="{_escaped(v)}"' for n, v in labels.items() if n != NAME)
                lines[labels.get(NAME, "")].append(f"{labels.get(NAME, '')}{{{pairs}}} {plain(value)} {time_ms}\n")
            return "".join(f"# TYPE {name} untyped\n" + "".join(lines[name]) for name in sorted(lines))

        return web.Response(text=await self._in_turn(work), content_type="text/plain", charset="utf-8")

    async def _write(self, request: web.Request) -> web.Response:
        if not self.info.accepts_writes:
            return web.Response(status=404, text="remote write is not accepted here; set accept_remote_write\n")
        from . import remote_write  # imports protobuf, which few need

        try:
            late = remote_write.receive(self.store, remote_write.decode(await request.read()))
        except ValueError as error:
            return web.Response(status=400, text=f"{error}\n")
        if late:
            return web.Response(status=400, text=f"out of order sample: {late} of them; the others were taken\n")
        return web.Response(status=204)

    # -- status ---------------------------------------------------------------------------------

    async def _targets(self, request: web.Request) -> web.Response:
        state = (await _parameters(request)).text("state", "any")
        active = self.info.targets() if state in ("any", "active") else []
        return success({"activeTargets": active, "droppedTargets": []})

    async def _build_info(self, _: web.Request) -> web.Response:
        names = ("revision", "branch", "buildUser", "buildDate", "goVersion")
        return success({"version": _VERSION, **dict.fromkeys(names, ""), "buildUser": "sailcloth"})

    async def _config(self, _: web.Request) -> web.Response:
        interval = f"{self.info.scrape_interval_s:g}s"
        jobs = "".join(f"- job_name: {job}\n" for job in ("istiod", "kubernetes-pods"))
        text = f"global:\n  scrape_interval: {interval}\n  scrape_timeout: {interval}\nscrape_configs:\n{jobs}"
        return success({"yaml": text})

    async def _flags(self, _: web.Request) -> web.Response:
        return success(
            {
                "query.lookback-delta": "5m",
                "query.timeout": f"{_TIMEOUT_S:g}s",
                "query.max-samples": str(evaluate.Limits().samples),
                "storage.tsdb.retention.time": f"{self.store.coarse_ms // 1000}s",
            }
        )

    async def _runtime_info(self, _: web.Request) -> web.Response:
        start = self.info.start.isoformat().replace("+00:00", "Z")
        return success(
            {
                "startTime": start,
                "CWD": str(Path.cwd()),
                "reloadConfigSuccess": True,
                "lastConfigTime": start,
                "corruptionCount": 0,
                "goroutineCount": 0,
                "GOMAXPROCS": os.cpu_count() or 1,
                "GOGC": "",
                "GODEBUG": "",
                "storageRetention": f"{self.store.coarse_ms // 1000}s",
            }
        )

    async def _tsdb(self, _: web.Request) -> web.Response:
        index, texts = self.store.index, self.store.index.strings.texts
        names, counts = np.unique(index.column(NAME), return_counts=True)
        top = np.argsort(-counts, kind="stable")[:10]
        views = [target.view for target in self.store.targets.values()]
        times = [int(t) for v in views for t in (v.fine_since_ms, *v.times[: v.count][-1:].tolist()) if t < 1 << 62]
        head = {
            "numSeries": len(index),
            "numLabelPairs": sum(len(np.unique(index.column(name))) for name in index.names()),
            "chunkCount": sum(len(v.fine) + (v.count > 0) for v in views),
            "minTime": min(times, default=0),
            "maxTime": max(times, default=0),
        }
        by_name = [{"name": texts[int(names[i])], "value": int(counts[i])} for i in top]
        others = ("labelValueCountByLabelName", "memoryInBytesByLabelName", "seriesCountByLabelValuePair")
        return success({"headStats": head, "seriesCountByMetricName": by_name, **{name: [] for name in others}})

    async def _metrics(self, _: web.Request) -> web.Response:
        store = self.store
        numbers = {
            "prometheus_tsdb_head_series": len(store.index),
            "sailcloth_telemetry_max_series": store.max_series,
            "sailcloth_telemetry_samples_appended_total": store.appended,
            "sailcloth_telemetry_series_refused_total": store.refused,
            "sailcloth_telemetry_series_evicted_total": store.evicted,
            "sailcloth_telemetry_series_conflicting_total": store.conflicting,
            **self.info.metrics(),
        }
        lines = (
            f"# TYPE {name} {'counter' if name.endswith('_total') else 'gauge'}\n{name} {plain(float(value))}\n"
            for name, value in numbers.items()
        )
        return web.Response(text="".join(lines))


async def _parameters(request: web.Request) -> Parameters:
    items: dict[str, list[str]] = defaultdict(list)
    if request.method == "POST" and request.content_type == "application/x-www-form-urlencoded":
        for name, value in (await request.post()).items():
            if isinstance(value, str):
                items[name].append(value)
    for name, value in request.query.items():
        items[name].append(value)
    return Parameters(items)


def _body(data: Any) -> bytes:
    return orjson.dumps({"status": "success", "data": data})


def success(data: Any) -> web.Response:
    """An answer with some data."""
    return web.Response(body=_body(data), content_type="application/json")


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except QueryError as error:
        body = {"status": "error", "errorType": error.kind, "error": str(error)}
        return web.Response(body=orjson.dumps(body), status=error.status, content_type="application/json")
    except UnicodeError:
        body = {"status": "error", "errorType": "bad_data", "error": "a parameter is not UTF-8"}
        return web.Response(body=orjson.dumps(body), status=400, content_type="application/json")


def _fixed(data: Any) -> Handler:
    async def page(_: web.Request) -> web.Response:
        return success(data)

    return page


def _text(text: str) -> Handler:
    async def page(_: web.Request) -> web.Response:
        return web.Response(text=text)

    return page


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
