"""Requests to a Kubernetes API server."""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import io
import sys
from types import TracebackType
from typing import Any

import aiohttp
import orjson

from . import config
from .config import Endpoint
from .resources import Resource

_PAGE = 500
_PATCHES = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}


class ApiError(Exception):
    """An error response of the API server: HTTP status, reason (such as NotFound) and message."""

    def __init__(self, status: int, reason: str, message: str, body: dict[str, Any] | None = None) -> None:
        super().__init__(f"{status} {reason}: {message}" if message else f"{status} {reason}")
        self.status, self.reason, self.message, self.body = status, reason, message, body or {}


RETRIABLE: tuple[type[Exception], ...] = (ApiError, aiohttp.ClientError, OSError, TimeoutError)
"""Errors of requests that may succeed when retried. Handle an expected ApiError (such as 404) before these."""


class Client:
    """One connection pool to one server; use as `async with`."""

    def __init__(self, endpoint: Endpoint, user_agent: str = "sailcloth") -> None:
        self.endpoint = endpoint
        self._agent = user_agent
        self._session: aiohttp.ClientSession | None = None

    @classmethod
    def from_kubeconfig(cls, path: str, context: str | None = None) -> Client:
        return cls(config.from_kubeconfig(path, context))

    @classmethod
    def in_cluster(cls) -> Client:
        return cls(config.in_cluster())

    @classmethod
    def load(cls) -> Client:
        return cls(config.load())

    async def __aenter__(self) -> Client:
        # Before Python 3.12.7, TLS connections closed during a watch linger without `enable_cleanup_closed`.
        connector = aiohttp.TCPConnector(
            ssl=self.endpoint.context or False, limit=0, enable_cleanup_closed=sys.version_info < (3, 12, 7)
        )
        timeout = aiohttp.ClientTimeout(total=None, connect=10, sock_connect=10)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, headers={"User-Agent": self._agent})
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            # Python 3.11 raises AttributeError when it aborts a TLS connection that is already closed.
            with contextlib.suppress(AttributeError):
                await self._session.close()
            await asyncio.sleep(0)

    # -- raw ------------------------------------------------------------------------------------

    def request(self, method: str, path: str, **options: Any) -> Any:
        """An aiohttp request context: `async with client.request("GET", path) as response`."""
        assert self._session is not None, "use the client as `async with`"
        headers = dict(options.pop("headers", None) or {})
        token = self.endpoint.token
        if self.endpoint.token_file:
            with open(self.endpoint.token_file) as file:
                token = file.read().strip()
        if token:
            headers["Authorization"] = f"Bearer {token}"
        return self._session.request(method, self.endpoint.server + path, headers=headers, **options)

    def websocket(self, url: str, protocol: str) -> Any:
        """A websocket to the server, as an async context."""
        assert self._session is not None, "use the client as `async with`"
        headers = {"Authorization": f"Bearer {self.endpoint.token}"} if self.endpoint.token else {}
        return self._session.ws_connect(url, protocols=(protocol,), headers=headers, max_msg_size=0)

    async def call(
        self, method: str, path: str, body: Any = None, *, kind: str = "application/json", **query: Any
    ) -> bytes:
        """Send a request; returns the response body. Raises ApiError for a status of 400 or more, OSError if the server cannot
        be reached or does not answer within 60 s."""
        data: Any = None if body is None else body if isinstance(body, bytes) else orjson.dumps(body)
        headers = {"Content-Type": kind} if data is not None else {}
        if data is not None and len(data) > 1 << 20:
            data = io.BytesIO(data)  # aiohttp sends it in chunks
        params = {k: str(v) for k, v in query.items() if v not in (None, "")}
        try:
            async with self.request(
                method, path, data=data, headers=headers, params=params, timeout=aiohttp.ClientTimeout(total=60)
            ) as response:
                answer: bytes = await response.read()
                if response.status >= 400:
                    raise refusal(response.status, answer)
                return answer
        except aiohttp.ClientError as error:
            raise OSError(f"{self.endpoint.server}: {error}") from error
        except TimeoutError:
            raise OSError(f"{self.endpoint.server}: no answer within 60 s") from None

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """POST an object (such as a TokenReview) to a path; returns the response object."""
        return dict(orjson.loads(await self.call("POST", path, body)))

    # -- objects --------------------------------------------------------------------------------

    async def get(self, resource: Resource, name: str, namespace: str = "") -> dict[str, Any]:
        return dict(orjson.loads(await self.call("GET", resource.path(namespace, name))))

    async def list(
        self, resource: Resource, namespace: str = "", label_selector: str = "", field_selector: str = ""
    ) -> tuple[builtins.list[dict[str, Any]], str]:
        """(all objects, resourceVersion of the list), read in pages."""
        items: builtins.list[dict[str, Any]] = []
        continue_token = ""
        while True:
            answer = orjson.loads(
                await self.call(
                    "GET",
                    resource.path(namespace),
                    labelSelector=label_selector,
                    fieldSelector=field_selector,
                    limit=_PAGE,
                    **{"continue": continue_token},
                )
            )
            items += answer.get("items") or []
            metadata = answer.get("metadata") or {}
            continue_token = metadata.get("continue", "")
            if not continue_token:
                return items, str(metadata.get("resourceVersion", ""))

    async def create(self, resource: Resource, obj: dict[str, Any]) -> dict[str, Any]:
        namespace = (obj.get("metadata") or {}).get("namespace", "default") if resource.namespaced else ""
        return dict(orjson.loads(await self.call("POST", resource.path(namespace), obj)))

    async def replace(self, resource: Resource, obj: dict[str, Any], sub: str = "") -> dict[str, Any]:
        metadata = obj["metadata"]
        path = resource.path(metadata.get("namespace", ""), metadata["name"], sub)
        return dict(orjson.loads(await self.call("PUT", path, obj)))

    async def patch(
        self, resource: Resource, name: str, namespace: str, patch: Any, type: str = "merge", sub: str = ""
    ) -> dict[str, Any]:
        path = resource.path(namespace, name, sub)
        return dict(orjson.loads(await self.call("PATCH", path, patch, kind=_PATCHES[type])))

    async def apply(
        self, resource: Resource, obj: dict[str, Any], field_manager: str, force: bool = True, sub: str = ""
    ) -> dict[str, Any]:
        """Server-side apply."""
        metadata = obj["metadata"]
        path = resource.path(metadata.get("namespace", "") if resource.namespaced else "", metadata["name"], sub)
        query = {"fieldManager": field_manager, "force": "true" if force else "false"}
        return dict(orjson.loads(await self.call("PATCH", path, obj, kind=_PATCHES["apply"], **query)))

    async def delete(self, resource: Resource, name: str, namespace: str = "", grace: int | None = None) -> None:
        query = {} if grace is None else {"gracePeriodSeconds": str(grace)}
        await self.call("DELETE", resource.path(namespace, name), **query)

    async def create_token(
        self,
        service_account: str,
        namespace: str,
        audiences: builtins.list[str],
        expiration_seconds: int,
        bound_pod: dict[str, Any] | None = None,
    ) -> str:
        """A service-account token, bound to a pod if one is given."""
        spec: dict[str, Any] = {"audiences": audiences, "expirationSeconds": expiration_seconds}
        if bound_pod is not None:
            metadata = bound_pod["metadata"]
            spec["boundObjectRef"] = {
                "kind": "Pod",
                "apiVersion": "v1",
                "name": metadata["name"],
                "uid": metadata["uid"],
            }
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        answer = await self.post(f"/api/v1/namespaces/{namespace}/serviceaccounts/{service_account}/token", request)
        return str(answer["status"]["token"])


def refusal(status: int, body: bytes) -> ApiError:
    """The ApiError that a response body (a Status) describes."""
    try:
        status_body = orjson.loads(body)
    except ValueError:
        return ApiError(status, "Unknown", body[:200].decode(errors="replace"))
    if not isinstance(status_body, dict):
        return ApiError(status, "Unknown", "")
    message = status_body.get("message") or status_body.get("error")  # Prometheus', through the proxy of its Service
    return ApiError(status, str(status_body.get("reason") or "Unknown"), str(message or ""), status_body)
