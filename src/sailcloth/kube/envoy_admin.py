"""Envoy's admin interface of a pod, through the API server's port-forward: it asks for the right to forward ports of the pod."""

from __future__ import annotations

import aiohttp

from sailcloth.lib import http1

from . import portforward
from .client import ApiError, Client

_PORT = 15000
_MOST = 256 << 20  # bytes


async def page(api: Client, pod: str, namespace: str, path: str, method: str = "GET") -> str:
    """A page of one pod's Envoy. Raises ApiError, and OSError if Envoy does not answer or answers with more than 256 MiB."""
    answer = bytearray()
    try:
        async with portforward.connect(api, pod, namespace, _PORT) as tunnel:
            await tunnel.send(http1.request(method, path))
            async for part in tunnel.receive():
                answer += part
                if len(answer) > _MOST:
                    raise OSError(f"it answers with more than {_MOST >> 20} MiB")
        return http1.body(bytes(answer)).decode(errors="replace")
    except aiohttp.WSServerHandshakeError as error:
        raise ApiError(error.status, "", f"port-forward to {pod}.{namespace}: {error.message}") from None
    except (OSError, aiohttp.ClientError) as error:
        raise OSError(f"Envoy of {pod}.{namespace}: {error}") from None
