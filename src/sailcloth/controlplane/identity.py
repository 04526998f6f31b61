"""Who is calling: a service-account token, verified by the API server, becomes an identity with attested attributes."""

from __future__ import annotations

import logging
import time
from hashlib import sha256
from typing import Any

from sailcloth.api import core
from sailcloth.api.meta import Key
from sailcloth.ca.authority import Identity
from sailcloth.kube import ApiError, Client
from sailcloth.mesh import endpoints, registry, selection
from sailcloth.mesh.kinds import service
from sailcloth.mesh.registry import Mesh

log = logging.getLogger(__name__)

AUDIENCE = "istio-ca"
_PREFIX = "system:serviceaccount:"
_CACHE_S = 30.0


class Verifier:
    """Verifies tokens by TokenReview. Positive answers are kept for half a minute; tokens are never logged."""

    def __init__(self, client: Client, mesh: Mesh) -> None:
        self._client, self._mesh = client, mesh
        self._known: dict[bytes, tuple[float, str, dict[str, Any]]] = {}

    async def identity(self, token: str) -> Identity:
        """The identity behind a token. Raises PermissionError with a reason fit to show."""
        namespace, account, extra = await self._review(token)
        pod_name = next(iter(extra.get("authentication.kubernetes.io/pod-name") or [""]), "")
        pod = self._mesh.objects.get(Key("Pod", namespace, pod_name)) if pod_name else None
        attributes: dict[str, str] = {}
        if isinstance(pod, core.Pod):
            labels = pod.metadata.labels
            attributes = {
                "workload": endpoints.workload_name(pod),
                "app": labels.get("service.istio.io/canonical-name") or labels.get("app", ""),
                "version": labels.get("service.istio.io/canonical-revision") or labels.get("version", ""),
                "service": self._service(namespace, labels),
            }
        return Identity(self._mesh.config.trust_domain, namespace, account, **attributes)

    def _service(self, namespace: str, labels: dict[str, str]) -> str:
        """The first service of the workload, by name."""
        candidates = registry.by_selector(self._mesh.graph, service.by_selector_label, namespace, labels.items())
        return next((key.name for key, obj in candidates if selection.matches(obj.spec.selector, labels)), "")

    async def namespace(self, token: str) -> str:
        """The namespace behind a token."""
        return (await self._review(token))[0]

    async def account(self, token: str) -> str:
        """The service account behind a token."""
        return (await self._review(token))[1]

    async def _review(self, token: str) -> tuple[str, str, dict[str, Any]]:
        if not token:
            raise PermissionError("no service-account token was sent")
        now = time.monotonic()
        digest = sha256(token.encode()).digest()
        known = self._known.get(digest)
        if known is None or known[0] < now:
            review = {
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenReview",
                "spec": {"token": token, "audiences": [AUDIENCE]},
            }
            try:
                answer = await self._client.post("/apis/authentication.k8s.io/v1/tokenreviews", review)
            except (ApiError, OSError) as error:
                raise PermissionError(f"the token could not be verified: {error}") from None
            status = answer.get("status") or {}
            if not status.get("authenticated"):
                raise PermissionError(f"the token was refused: {status.get('error') or 'not authenticated'}")
            if AUDIENCE not in (status.get("audiences") or [AUDIENCE]):
                raise PermissionError(f"the token is not for the audience {AUDIENCE}")
            user = status.get("user") or {}
            if len(self._known) > 10_000:
                self._known.clear()
            known = self._known[digest] = (now + _CACHE_S, str(user.get("username", "")), user.get("extra") or {})
        name = known[1]
        if not name.startswith(_PREFIX) or name.count(":") != 3:
            raise PermissionError(f"the token is not a service account's but of {name or 'nobody'}")
        _, _, namespace, account = name.split(":")
        return namespace, account, known[2]
