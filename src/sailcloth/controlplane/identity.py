"""Authenticates callers by service-account tokens, which the API server verifies, and derives identities with attested attributes.

Must not log tokens, or trust what a proxy says about itself.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from sailcloth.analysis import manifests
from sailcloth.api import core, workload_labels
from sailcloth.api.meta import Key
from sailcloth.ca.authority import Identity
from sailcloth.kube import RETRIABLE, Client
from sailcloth.kube.resources import PODS
from sailcloth.mesh import endpoints
from sailcloth.mesh.registry import Mesh
from sailcloth.mesh.selection import Labels

from .secret_access import SecretAccess

log = logging.getLogger(__name__)

AUDIENCE = "istio-ca"
_PREFIX = "system:serviceaccount:"
_CACHE_S = 30.0
_MAX_CACHED = 10_000  # cached reviews


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a verified token: a service account, and the pod that the token is bound to (empty if none)."""

    namespace: str
    account: str
    pod: str = ""

    @property
    def user(self) -> str:
        return f"{_PREFIX}{self.namespace}:{self.account}"


class Verifier:
    """Verifies tokens by TokenReview, and permissions by SubjectAccessReview. Caches positive answers for 30 s, except for
    signing. Never logs tokens."""

    def __init__(self, client: Client, mesh: Mesh) -> None:
        self._client, self._mesh = client, mesh
        self._callers: dict[bytes, tuple[float, Caller]] = {}
        self._readers: dict[
            tuple[str, str], float
        ] = {}  # (user, namespace) that may list Secrets -> expiry of the cached answer

    async def identity(self, token: str) -> Identity:
        """The identity to sign a certificate for. Raises PermissionError with a message for the client."""
        caller = await self.caller(token, fresh=True)
        pod = self._pod(caller) or await self._read(caller)
        attributes: dict[str, str] = {}
        if pod is not None:
            labels = pod.metadata.labels
            attributes = {
                "workload": endpoints.workload_name(pod),
                "app": workload_labels.app(labels),
                "version": workload_labels.version(labels),
                "canonical_service": workload_labels.canonical_service(labels),
                "canonical_revision": workload_labels.canonical_revision(labels),
            }
        return Identity(self._mesh.config.trust_domain, caller.namespace, caller.account, pod=caller.pod, **attributes)

    def _pod(self, caller: Caller) -> core.Pod | None:
        pod = self._mesh.objects.get(Key("Pod", caller.namespace, caller.pod)) if caller.pod else None
        return pod if isinstance(pod, core.Pod) else None

    async def _read(self, caller: Caller) -> core.Pod | None:
        """A pod that the watch has not brought yet."""
        if not caller.pod:
            return None
        try:
            found = await self._client.get(PODS, caller.pod, caller.namespace)
        except RETRIABLE as error:
            log.warning(
                "pod %s/%s cannot be read, its certificate has no attributes: %s", caller.namespace, caller.pod, error
            )
            return None
        read = manifests.typed({"apiVersion": "v1", "kind": "Pod", **found})
        return read[1] if isinstance(read, tuple) and isinstance(read[1], core.Pod) else None

    async def secret_access(self, caller: Caller) -> SecretAccess:
        """The Secrets of its namespace that the caller's proxy may read: all if the account may list them, as in Istio; else those
        named by objects that select the pod, by the pod's labels in the API, not those that the proxy sends."""
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
            log.warning("cannot check whether %s may list secrets, so access is denied: %s", caller.user, error)
            return False
        if (answer.get("status") or {}).get("allowed") is not True:
            return False
        if len(self._readers) > _MAX_CACHED:
            self._readers.clear()
        self._readers[key] = now + _CACHE_S
        return True

    async def caller(self, token: str, fresh: bool = False) -> Caller:
        """The sender of a token. `fresh`: do not use the cache. Raises PermissionError with a message for the client."""
        if not token:
            raise PermissionError("no service-account token was sent")
        now = time.monotonic()
        digest = sha256(token.encode()).digest()
        cached = self._callers.get(digest)
        if cached is None or cached[0] < now or fresh:
            self._callers.pop(digest, None)
            caller = await self._review(token)
            if len(self._callers) > _MAX_CACHED:
                self._callers.clear()
            cached = self._callers[digest] = now + _CACHE_S, caller
        return cached[1]

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
            raise PermissionError(f"the token was rejected: {status.get('error') or 'not authenticated'}")
        if AUDIENCE not in (status.get("audiences") or ()):  # without audiences it is one for the API server itself
            raise PermissionError(f"the token is not for the audience {AUDIENCE}")
        user = status.get("user") or {}
        name = str(user.get("username", ""))
        if not name.startswith(_PREFIX) or name.count(":") != 3:
            raise PermissionError(f"the token is not a service account's: its user is {name or 'empty'}")
        _, _, namespace, account = name.split(":")
        pods = (user.get("extra") or {}).get("authentication.kubernetes.io/pod-name") or [""]
        return Caller(namespace, account, str(pods[0]))


def bearer(metadata: Mapping[str, str]) -> str:
    """The bearer token in a call's metadata or headers (lower-case names); empty if there is none."""
    header = metadata.get("authorization", "")
    return header[7:].strip() if header.lower().startswith("bearer ") else ""
