"""Who is calling: a service-account token, verified by the API server, becomes an identity with attested attributes."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from sailcloth.api import core
from sailcloth.api.meta import Key
from sailcloth.ca.authority import Identity
from sailcloth.kube import RETRIABLE, Client
from sailcloth.mesh import endpoints, registry, selection
from sailcloth.mesh.kinds import service
from sailcloth.mesh.registry import Mesh
from sailcloth.mesh.selection import Labels

from .secret_access import SecretAccess

log = logging.getLogger(__name__)

AUDIENCE = "istio-ca"
_PREFIX = "system:serviceaccount:"
_CACHE_S = 30.0
_MOST = 10_000  # answers that are kept


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a verified token: a service account, and the pod that the token is bound to (empty if it is bound to none)."""

    namespace: str
    account: str
    pod: str = ""

    @property
    def user(self) -> str:
        return f"{_PREFIX}{self.namespace}:{self.account}"


class Verifier:
    """Verifies tokens by TokenReview, and asks what their accounts may do by SubjectAccessReview. Positive answers are kept for
    half a minute, but not where something is signed; tokens are never logged."""

    def __init__(self, client: Client, mesh: Mesh) -> None:
        self._client, self._mesh = client, mesh
        self._known: dict[bytes, tuple[float, Caller]] = {}
        self._readers: dict[
            tuple[str, str], float
        ] = {}  # (user, namespace) that may list Secrets, and until when we believe it

    async def identity(self, token: str) -> Identity:
        """The identity to sign for. Raises PermissionError with a reason fit to show."""
        caller = await self.caller(token, fresh=True)
        pod = self._pod(caller)
        attributes: dict[str, str] = {}
        if pod is not None:
            labels = pod.metadata.labels
            attributes = {
                "workload": endpoints.workload_name(pod),
                "app": labels.get("service.istio.io/canonical-name") or labels.get("app", ""),
                "version": labels.get("service.istio.io/canonical-revision") or labels.get("version", ""),
                "service": self._service(caller.namespace, labels),
            }
        return Identity(self._mesh.config.trust_domain, caller.namespace, caller.account, **attributes)

    def _pod(self, caller: Caller) -> core.Pod | None:
        pod = self._mesh.objects.get(Key("Pod", caller.namespace, caller.pod)) if caller.pod else None
        return pod if isinstance(pod, core.Pod) else None

    async def secret_access(self, caller: Caller) -> SecretAccess:
        """What a proxy of this caller may have of its namespace's Secrets: all if the account may list them, as Istio asks; else
        those that an object names which selects the pod, by the labels that the pod has, not by those that the proxy claims."""
        if await self._may_list_secrets(caller):
            return SecretAccess(whole_namespace=True, labels=self._labels(caller))
        return SecretAccess(labels=self._labels(caller))

    def _labels(self, caller: Caller) -> Labels | None:
        pod = self._pod(caller)
        return endpoints.labels_of(pod) if pod is not None else None

    async def _may_list_secrets(self, caller: Caller) -> bool:
        key, now = (caller.user, caller.namespace), time.monotonic()
        if self._readers.get(key, 0.0) > now:
            return True
        attributes = {"namespace": caller.namespace, "verb": "list", "group": "", "resource": "secrets"}
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{caller.namespace}", "system:authenticated"]
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": caller.user, "groups": groups, "resourceAttributes": attributes},
        }
        try:
            answer = await self._client.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
        except RETRIABLE as error:
            log.warning("whether %s may list secrets is not known, so it may not: %s", caller.user, error)
            return False
        if (answer.get("status") or {}).get("allowed") is not True:
            return False
        if len(self._readers) > _MOST:
            self._readers.clear()
        self._readers[key] = now + _CACHE_S
        return True

    def _service(self, namespace: str, labels: dict[str, str]) -> str:
        """The first service of the workload, by name."""
        candidates = registry.by_selector(self._mesh.graph, service.by_selector_label, namespace, labels.items())
        return next((key.name for key, obj in candidates if selection.matches(obj.spec.selector, labels)), "")

    async def caller(self, token: str, fresh: bool = False) -> Caller:
        """Who sent a token. `fresh`: ask the API server in any case. Raises PermissionError with a reason fit to show."""
        if not token:
            raise PermissionError("no service-account token was sent")
        now = time.monotonic()
        digest = sha256(token.encode()).digest()
        known = self._known.get(digest)
        if known is None or known[0] < now or fresh:
            self._known.pop(digest, None)
            caller = await self._review(token)
            if len(self._known) > _MOST:
                self._known.clear()
            known = self._known[digest] = now + _CACHE_S, caller
        return known[1]

    async def _review(self, token: str) -> Caller:
        review = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [AUDIENCE]},
        }
        try:
            answer = await self._client.post("/apis/authentication.k8s.io/v1/tokenreviews", review)
        except RETRIABLE as error:
            raise PermissionError(f"the token could not be verified: {error}") from None
        status = answer.get("status") or {}
        if not status.get("authenticated"):
            raise PermissionError(f"the token was refused: {status.get('error') or 'not authenticated'}")
        if AUDIENCE not in (status.get("audiences") or [AUDIENCE]):
            raise PermissionError(f"the token is not for the audience {AUDIENCE}")
        user = status.get("user") or {}
        name = str(user.get("username", ""))
        if not name.startswith(_PREFIX) or name.count(":") != 3:
            raise PermissionError(f"the token is not a service account's but of {name or 'nobody'}")
        _, _, namespace, account = name.split(":")
        pods = (user.get("extra") or {}).get("authentication.kubernetes.io/pod-name") or [""]
        return Caller(namespace, account, str(pods[0]))


def bearer(metadata: Mapping[str, str]) -> str:
    """The token of a call, from its metadata or headers by lower-case name; empty if there is none."""
    header = metadata.get("authorization", "")
    return header[7:].strip() if header.lower().startswith("bearer ") else ""
