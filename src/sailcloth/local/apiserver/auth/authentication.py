"""Authenticates requests by client certificate or bearer token, and responds to review requests. Permissions are decided by
`authorization`.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sailcloth.lib.schemacheck import go

from ..errors import StatusError, bad_request, invalid
from ..storage import Store
from . import authorization
from .service_account_tokens import BOUND_KINDS, ISSUER, InvalidToken, TokenIssuer

UNAUTHENTICATED_PATHS = frozenset({"/healthz", "/livez", "/readyz", "/version"})


@dataclass(frozen=True)
class User:
    """An authenticated user."""

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


class Authenticator:
    """Turns credentials into users."""

    def __init__(self, tokens: TokenIssuer, store: Store) -> None:
        self._tokens, self._store = tokens, store

    def authenticate_certificate(self, certificate: dict[str, Any] | None) -> User | None:
        """The user of a verified client certificate: common name, and organisations as groups."""
        if not certificate:
            return None
        pairs = [pair for part in certificate.get("subject", ()) for pair in part]
        name = next((v for k, v in pairs if k == "commonName"), "")
        groups = tuple(v for k, v in pairs if k == "organizationName")
        return User(name, (*groups, "system:authenticated")) if name else None

    def authenticate_token(self, token: str, audiences: list[str] | None = None) -> tuple[User, list[str]]:
        """(user, audiences that the token and the request have in common). Raises InvalidToken."""
        claims = self._tokens.verify(token)
        own = claims.get("aud") or []
        own = [own] if isinstance(own, str) else own
        shared = [a for a in own if a in (audiences or [ISSUER])]
        if not shared:
            raise InvalidToken(
                f"the token is for the audience {', '.join(own)}, not for {', '.join(audiences or [ISSUER])}"
            )
        bound = claims.get("kubernetes.io") or {}
        namespace, account = bound.get("namespace", ""), (bound.get("serviceaccount") or {}).get("name", "")
        service_account = self._store.get("serviceaccounts", namespace, account)
        if service_account is None or service_account["metadata"]["uid"] != bound["serviceaccount"].get("uid"):
            raise InvalidToken("the token's service account no longer exists")
        extra: dict[str, list[str]] = {}
        for kind in BOUND_KINDS:
            named = bound.get(kind.lower())
            if named and not self._exists(kind, namespace, named):
                raise InvalidToken(f"the {kind.lower()} that the token is bound to no longer exists")
        for kind in ("pod", "node"):
            if kind in bound:
                extra[f"authentication.kubernetes.io/{kind}-name"] = [bound[kind]["name"]]
                extra[f"authentication.kubernetes.io/{kind}-uid"] = [bound[kind]["uid"]]
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
        return User(claims["sub"], groups, str(service_account["metadata"]["uid"]), extra), shared

    def _exists(self, kind: str, namespace: str, named: Mapping[str, str]) -> bool:
        live = self._store.get(f"{kind.lower()}s", "" if kind == "Node" else namespace, named["name"])
        return live is not None and live["metadata"]["uid"] == named["uid"]

    def impersonate(self, user: User, headers: Mapping[str, str], groups: list[str]) -> User:
        """The user that the headers `Impersonate-*` name; the caller without them. Raises StatusError if the caller may not impersonate."""
        name = headers.get("Impersonate-User", "")
        extra: dict[str, list[str]] = {}
        for key, value in headers.items():
            if key.lower().startswith("impersonate-extra-"):
                extra.setdefault(urllib.parse.unquote(key[18:]).lower(), []).append(value)
        uid = headers.get("Impersonate-Uid", "")
        if not name:
            if groups or extra or uid:
                raise bad_request(f"requested {groups or list(extra) or uid} without impersonating a user")
            return user
        words = name.split(":")
        if words[:2] == ["system", "serviceaccount"] and len(words) == 4:
            self.check(user, authorization.Attributes("impersonate", "", "serviceaccounts", words[2], words[3]))
            implied = ["system:serviceaccounts", f"system:serviceaccounts:{words[2]}"]
        else:
            self.check(user, authorization.Attributes("impersonate", "", "users", "", name))
            implied = []
        for group in groups:
            self.check(user, authorization.Attributes("impersonate", "", "groups", "", group))
        for key, values in extra.items():
            for value in values:
                resource = f"userextras/{key}"
                self.check(user, authorization.Attributes("impersonate", "authentication.k8s.io", resource, "", value))
        if uid:
            self.check(user, authorization.Attributes("impersonate", "authentication.k8s.io", "uids", "", uid))
        everyone = "system:unauthenticated" if name == "system:anonymous" else "system:authenticated"
        return User(name, tuple(dict.fromkeys([*(groups or implied), everyone])), uid, extra)

    def review(self, kind: str, obj: dict[str, Any], user: User, namespace: str = "") -> dict[str, Any]:
        """The review with its status filled in; `namespace` is that of its path. Raises StatusError."""
        spec = obj.get("spec") or {}
        if problems := list(_review_problems(kind, spec, namespace)):
            raise invalid(kind, "authorization.k8s.io", "", problems)
        if kind == "TokenReview":
            status: dict[str, Any]
            try:
                who, shared = self.authenticate_token(str(spec.get("token", "")), spec.get("audiences"))
                status = {"authenticated": True, "user": who.info(), "audiences": shared}
            except InvalidToken as error:
                status = {"authenticated": False, "error": str(error)}
            kept = {k: v for k, v in spec.items() if k != "token"}
            return {**obj, "spec": kept, "status": status}
        if kind == "SelfSubjectReview":
            return {**obj, "status": {"userInfo": user.info()}}
        if kind == "SelfSubjectRulesReview":
            rules = list(authorization.rules_for(self._store, user.name, user.groups, str(spec.get("namespace") or "")))
            resources = [r for r in rules if r.get("resources")]
            urls = [r for r in rules if r.get("nonResourceURLs")]
            return {**obj, "status": {"resourceRules": resources, "nonResourceRules": urls, "incomplete": False}}
        name, groups = user.name, user.groups
        if kind in ("SubjectAccessReview", "LocalSubjectAccessReview"):
            name, groups = str(spec.get("user") or ""), tuple(spec.get("groups") or ())
        yes = authorization.is_allowed(self._store, name, groups, _review_attributes(spec))
        return {**obj, "status": {"allowed": yes}}

    def check(self, user: User, asked: authorization.Attributes) -> None:
        """Raises StatusError if the user may not."""
        if not authorization.is_allowed(self._store, user.name, user.groups, asked):
            raise StatusError(403, "Forbidden", asked.forbidden_message(user.name))


def _review_problems(kind: str, spec: dict[str, Any], namespace: str) -> Iterator[tuple[str, str, str]]:
    """What is wrong with a review of access, as (field, reason, message)."""
    if not kind.endswith("SubjectAccessReview"):
        return
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if (resource is None) == (path is None):
        text = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        yield "spec.resourceAttributes", "FieldValueInvalid", f"Invalid value: {text}"
    if not kind.startswith("Self") and not spec.get("user") and not spec.get("groups"):
        yield "spec.user", "FieldValueInvalid", 'Invalid value: "": at least one of user or group must be specified'
    if kind.startswith("Local"):
        if path is not None:
            text = "Invalid value: disallowed on this kind of request"
            yield "spec.nonResourceAttributes", "FieldValueInvalid", text
        given = str((resource or {}).get("namespace") or "")
        if given != namespace:
            text = f"Invalid value: {go(given)}: must match metadata.namespace"
            yield "spec.resourceAttributes.namespace", "FieldValueInvalid", text


def _review_attributes(spec: dict[str, Any]) -> authorization.Attributes:
    path = spec.get("nonResourceAttributes")
    if path:
        return authorization.Attributes(str(path.get("verb", "")), path=str(path.get("path", "")))
    given = spec.get("resourceAttributes") or {}
    sub = given.get("subresource")
    return authorization.Attributes(
        str(given.get("verb", "")),
        str(given.get("group", "")),
        str(given.get("resource", "")) + (f"/{sub}" if sub else ""),
        str(given.get("namespace", "")),
        str(given.get("name", "")),
    )
