"""What a new process waits for."""

from __future__ import annotations

import asyncio
import logging

from sailcloth.kube import ApiError, Client
from sailcloth.kube.resources import NAMESPACES

log = logging.getLogger(__name__)


async def until_ready(client: Client, namespace: str) -> None:
    """Wait until the API server responds and the installation's namespace exists."""
    delay = 0.02
    while True:
        try:
            await client.get(NAMESPACES, namespace)
            return
        except (ApiError, OSError) as error:
            if isinstance(error, ApiError) and error.status not in (404, 429, 500, 503):
                raise
            if delay > 0.5:
                log.info("waiting for the API server: %s", error)
            await asyncio.sleep(delay)
            delay = min(delay * 1.5, 1.0)
