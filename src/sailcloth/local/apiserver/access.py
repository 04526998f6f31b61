"""Who is calling, by client certificate or bearer token, and answers to review requests.

Authorisation: the administrator's group and system components may do everything, any other verified identity may too for
now; nobody else gets further than health and version.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .storage import Store
from .tokens import ISSUER, BadToken, Tokens

OPEN_PATHS = frozenset({"/healthz", "/livez", "/readyz", "/version"})


@dataclass(frozen=True)
class User:
    """A verified caller."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: dict[str, list[str]] = field(default_factory=dict, compare=False)

    def info(self) -> dict[str, Any]:
        out: dict[str, Any] = {"username": self.name, "groups": list(self.groups)}
        if self.uid:
            out["uid"] = self.uid
        if self.extra:
            out["extra"] = self.extra
        return out


class Access:
    """Turns credentials into users."""

    def __init__(self, tokens: Tokens, store: Store) -> None:
        self._tokens, self._store = tokens, store

    def from_certificate(self, certificate: dict[str, Any] | None) -> User | None:
        """The user of a verified client certificate: common name, and organisations as groups."""
        if not certificate:
            return None
        pairs = [pair for part in certificate.get("subject", ()) for pair in part]
        name = next((v for k, v in pairs if k == "commonName"), "")
        groups = tuple(v for k, v in pairs if k == "organizationName")
        return User(name, (*groups, "system:authenticated")) if name else None

    def from_token(self, token: str, audiences: list[str] | None = None) -> tuple[User, list[str]]:
        """(user, audiences that the token shares with those asked for). Raises BadToken."""
        claims = self._tokens.verify(token)
        own = claims.get("aud") or []
        own = [own] if isinstance(own, str) else own
        shared = [a for a in own if a in (audiences or [ISSUER])]
        if not shared:
            raise BadToken(
                f"the token is for the audience {', '.join(own)}, not for {', '.join(audiences or [ISSUER])}"
            )
        bound = claims.get("kubernetes.io") or {}
        namespace, account = bound.get("namespace", ""), (bound.get("serviceaccount") or {}).get("name", "")
        found = self._store.get("serviceaccounts", namespace, account)
        if found is None or found["metadata"]["uid"] != bound["serviceaccount"].get("uid"):
            raise BadToken("the token's service account no longer exists")
        extra: dict[str, list[str]] = {}
        pod = bound.get("pod")
        if pod:
            live = self._store.get("pods", namespace, pod["name"])
            if live is None or live["metadata"]["uid"] != pod["uid"]:
                raise BadToken("the pod that the token is bound to no longer exists")
            extra["authentication.kubernetes.io/pod-name"] = [pod["name"]]
            extra["authentication.kubernetes.io/pod-uid"] = [pod["uid"]]
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
        return User(claims["sub"], groups, str(found["metadata"]["uid"]), extra), shared

    def review(self, kind: str, obj: dict[str, Any], user: User) -> dict[str, Any]:
        """The answer to a review request."""
        spec = obj.get("spec") or {}
        if kind == "TokenReview":
            status: dict[str, Any]
            try:
                who, shared = self.from_token(str(spec.get("token", "")), spec.get("audiences"))
                status = {"authenticated": True, "user": who.info(), "audiences": shared}
            except BadToken as error:
                status = {"authenticated": False, "error": str(error)}
            kept = {k: v for k, v in spec.items() if k != "token"}
            return {**obj, "spec": kept, "status": status}
        if kind == "SelfSubjectReview":
            return {**obj, "status": {"userInfo": user.info()}}
        if kind == "SelfSubjectRulesReview":
            rules = [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]
            urls = [{"verbs": ["*"], "nonResourceURLs": ["*"]}]
            return {**obj, "status": {"resourceRules": rules, "nonResourceRules": urls, "incomplete": False}}
        return {**obj, "status": {"allowed": True, "reason": "every verified identity may do everything"}}
