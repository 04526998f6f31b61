"""Queries of the mesh's metrics: through the API server to the Service `prometheus` of the installation, or to a given URL.

It may be the one of the local cluster, or a real Prometheus.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import orjson

from sailcloth.analysis import traffic_graph

Object = dict[str, Any]
Sample = tuple[Mapping[str, str], float]
_SERVICE = "/api/v1/namespaces/istio-system/services/http:prometheus:9090/proxy"
_TIMEOUT_S = 30


class NoMetrics(ValueError):
    """There is nothing to ask. The text says what to do."""


async def query(expressions: Mapping[str, str], url: str, kubeconfig: str) -> dict[str, list[Sample]]:
    """The answers to instant queries, by the queries' names. Raises NoMetrics, ApiError, OSError."""
    if url:
        return await _at_url(expressions, url.rstrip("/"))
    from sailcloth.kube import ApiError

    from .cluster import client

    async with client(kubeconfig) as api:

        async def ask(expression: str) -> list[Sample]:
            try:
                body = await api.call("GET", f"{_SERVICE}/api/v1/query?query={quote(expression, safe='')}")
            except ApiError as error:
                if error.status in (404, 502, 503):
                    raise NoMetrics(
                        "the Service istio-system/prometheus does not answer: is telemetry on (sailctl up without --no-telemetry),"
                        " or a Prometheus installed? Or give --prometheus URL"
                    ) from None
                raise
            return _samples(body)

        answers = await asyncio.gather(*(ask(e) for e in expressions.values()))
    return dict(zip(expressions, answers, strict=True))


async def _at_url(expressions: Mapping[str, str], url: str) -> dict[str, list[Sample]]:
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:

        async def ask(expression: str) -> list[Sample]:
            async with session.post(f"{url}/api/v1/query", data={"query": expression}) as answer:
                return _samples(await answer.read())

        try:
            answers = await asyncio.gather(*(ask(e) for e in expressions.values()))
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NoMetrics(f"{url}: {error or 'no answer'}") from None
    return dict(zip(expressions, answers, strict=True))


def _samples(body: bytes) -> list[Sample]:
    """The vector of an answer. Raises NoMetrics with Prometheus' own error."""
    try:
        return traffic_graph.samples(orjson.loads(body))
    except orjson.JSONDecodeError:
        raise NoMetrics("what answers is no Prometheus") from None
    except ValueError as error:
        raise NoMetrics(str(error)) from None
