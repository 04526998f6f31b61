"""Reads the state of proxies through the API server: Envoy's admin interface, DNS tables, the control plane's debug pages."""

from __future__ import annotations

import json
from collections.abc import Coroutine
from typing import Any, TypeVar

from . import output

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T], failed: int = 1) -> T:
    """Run a coroutine; an error of the API server ends the command with its message and the exit code `failed`."""
    import asyncio

    import aiohttp

    from sailcloth.kube import ApiError

    try:
        return asyncio.run(work)
    except ApiError as error:
        output.fail(error.message or f"{error.status} {error.reason}", failed)
    except BrokenPipeError:  # who reads the output has seen enough
        raise
    except (OSError, ValueError, aiohttp.ClientError) as error:
        output.fail(str(error), failed)


def fetch(pod: str, namespace: str, kubeconfig: str) -> dict[str, Any]:
    """The config dump of a pod's Envoy, endpoints included."""
    return dict(json.loads(run(admin(pod, namespace, kubeconfig, "GET", "/config_dump?include_eds"))))


def health(pod: str, namespace: str, kubeconfig: str) -> dict[str, Any]:
    """The output of Envoy's /clusters: endpoints with their health."""
    return dict(json.loads(run(admin(pod, namespace, kubeconfig, "GET", "/clusters?format=json"))))


def logging(pod: str, namespace: str, kubeconfig: str, level: str) -> str:
    """Envoy's loggers and levels, after setting `level` (a level for all, or logger:level by comma)."""
    query = ""
    if level:
        query = "?" + (f"level={level}" if ":" not in level else "paths=" + level)
    return run(admin(pod, namespace, kubeconfig, "POST", "/logging" + query))


async def admin(pod: str, namespace: str, kubeconfig: str, method: str, path: str) -> str:
    """A request to the admin interface of a pod's Envoy, through the API server's port-forward."""
    from .cluster import admin_request

    return await admin_request(pod, namespace, kubeconfig, method, path)


def names(pod: str, namespace: str, kubeconfig: str) -> dict[str, list[str]]:
    """The DNS table of a pod's agent: addresses by name; empty if the pod does not capture DNS."""
    from .cluster import names_of

    result: dict[str, Any] = run(names_of(pod, namespace, kubeconfig))
    return {host: list(info["ips"]) for host, info in result["table"].items()}


def desired(proxy: str, kubeconfig: str) -> dict[str, Any]:
    """The config dump that the control plane generates for a proxy (POD.NAMESPACE)."""
    from .cluster import debug_of_proxy

    return dict(run(debug_of_proxy(kubeconfig, f"/debug/config_dump?proxyID={proxy}")))


def sync_status(kubeconfig: str) -> list[dict[str, Any]]:
    """The control plane's view of every connected proxy."""
    from .cluster import connected_proxies

    return run(connected_proxies(kubeconfig))
