"""The URL that opens the console, with a token that logs in."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from sailcloth.kube import Client

SERVICE, PORT = "kiali", 20001
_TOKEN_S = 24 * 3600


async def token(api: Client, namespace: str = "istio-system") -> str:
    """A token of the console's account, which may read the mesh, for a day. Raises ApiError."""
    import orjson

    body = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": _TOKEN_S},
    }
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{SERVICE}/token"
    return str(orjson.loads(await api.call("POST", path, body))["status"]["token"])


async def url(api: Client, token_file: Path) -> str:
    """The console of a local cluster, at its load balancer's address, with the cluster's token; empty without a console. Raises
    ApiError, OSError."""
    from sailcloth.kube import ApiError
    from sailcloth.kube.resources import SERVICES

    try:
        service = await api.get(SERVICES, SERVICE, "istio-system")
    except ApiError as error:
        if error.status == 404:
            return ""
        raise
    addresses = [a["ip"] for a in service["status"].get("loadBalancer", {}).get("ingress") or () if a.get("ip")]
    return f"http://{addresses[0]}:{PORT}/?token={token_file.read_text()}" if addresses else ""
