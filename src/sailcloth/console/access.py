"""Who asks, and which namespaces they may see: by Kubernetes tokens, reviewed by the API server.

A session keeps a user's name, groups and token, in memory only; it ends with the token, after eight hours, or with the process. A namespace
that a user may not read does not exist for them, and what they change is written with their own token. Must not decide anything that the
API server decides.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TypeVar

import orjson

from sailcloth.kube import Client

K = TypeVar("K")
V = TypeVar("V")
_SESSION_S = 8 * 3600.0
_ACCESS_S = 30.0  # how long an answer about a user's rights is used
_SESSIONS = 1000
_TOKENS = 256  # reviews of bearer tokens that are remembered
_QUESTIONS = 10_000  # answers that are remembered of one user
_OWN_S = 3600
_ACCOUNT = "system:serviceaccount:"
_MAX_TOKEN = 16 << 10  # bytes
_AUTHENTICATION = "/apis/authentication.k8s.io/v1/tokenreviews"
_AUTHORIZATION = "/apis/authorization.k8s.io/v1/subjectaccessreviews"


class Refused(Exception):
    """A token that is not valid. The text has nothing of it."""


@dataclass(frozen=True)
class User:
    """`ends`: when its token does, in seconds since the epoch. `token`: empty for the local cluster's own, until it is needed."""

    name: str
    groups: tuple[str, ...]
    ends: float
    token: str = field(default="", repr=False, compare=False)


@dataclass(frozen=True)
class Question:
    """Whether a user may do something. `resource`: a plural, with `/` and a subresource; an empty namespace stands for all."""

    verb: str
    resource: str
    group: str = ""
    namespace: str = ""
    name: str = ""


@dataclass
class _Rights:
    """`answers`: whether a user may do what `Question`s ask."""

    until: float
    answers: dict[Question, bool] = field(default_factory=dict)


_LOCAL = User(
    "system:serviceaccount:istio-system:kiali",
    ("system:serviceaccounts", "system:serviceaccounts:istio-system", "system:authenticated"),
    float("inf"),
)


class Access:
    """Sessions, and answers of the API server that are used for a while. local_token: logs in as the account `kiali`. now: seconds
    since the epoch."""

    def __init__(self, client: Client, local_token: str = "", now: Callable[[], float] = time.time) -> None:
        self._client, self._now = client, now
        self._local = _digest(local_token) if local_token else b""
        self._sessions: OrderedDict[bytes, User] = OrderedDict()
        self._reviews: OrderedDict[bytes, User] = OrderedDict()
        self._rights: OrderedDict[tuple[str, tuple[str, ...]], _Rights] = OrderedDict()
        self._own = ("", 0.0)  # a token of the account `kiali`, and until when it is used

    async def login(self, token: str) -> tuple[str, User]:
        """(identifier of a new session, its user). Raises Refused, ApiError, OSError."""
        user = await self._review(token)
        user = replace(user, ends=min(user.ends, self._now() + _SESSION_S))
        session = secrets.token_urlsafe(32)
        _keep(self._sessions, _digest(session), user, _SESSIONS)
        return session, user

    def logout(self, session: str) -> None:
        """End a session."""
        self._sessions.pop(_digest(session), None)

    def of_session(self, session: str) -> User | None:
        """The user of a session; None if it has ended."""
        user = self._sessions.get(_digest(session))
        return user if user is not None and user.ends > self._now() else None

    async def of_token(self, token: str) -> User:
        """The user of a bearer token. Raises Refused, ApiError, OSError."""
        digest = _digest(token)
        user = self._reviews.get(digest)
        if user is None or user.ends <= self._now():
            user = await self._review(token)
            user = replace(user, ends=min(user.ends, self._now() + _ACCESS_S))
            _keep(self._reviews, digest, user, _TOKENS)
        return user

    async def _review(self, token: str) -> User:
        if not token or len(token) > _MAX_TOKEN or not token.isascii() or not token.isprintable():
            raise Refused("give a Kubernetes token, such as that of: kubectl -n istio-system create token kiali")
        if hmac.compare_digest(_digest(token), self._local):
            return _LOCAL
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
        status = orjson.loads(await self._client.call("POST", _AUTHENTICATION, review)).get("status") or {}
        if not status.get("authenticated"):
            raise Refused("the API server does not accept this token; it may have expired")
        user = status.get("user") or {}
        return User(str(user.get("username", "")), tuple(user.get("groups") or ()), _expiry(token), token)

    async def credential(self, user: User) -> str:
        """The token with which a user's changes are written. Raises ApiError, OSError."""
        if user.token:
            return user.token
        if self._own[1] < self._now():
            namespace, _, account = user.name.removeprefix(_ACCOUNT).partition(":")
            token = await self._client.create_token(account, namespace, [], _OWN_S)
            self._own = (token, self._now() + _OWN_S / 2)
        return self._own[0]

    async def readable(self, user: User, namespaces: Iterable[str]) -> list[str]:
        """Those of the namespaces whose pods a user may list. Raises ApiError, OSError."""
        names = list(namespaces)
        if await self.reads_all(user):
            return names
        return [name for name in names if await self.may(user, Question("list", "pods", namespace=name))]

    async def reads_all(self, user: User) -> bool:
        """Whether a user may list the pods of all namespaces, those to come too. Raises ApiError, OSError."""
        return await self.may(user, Question("list", "pods"))

    async def may(self, user: User, question: Question) -> bool:
        """Whether the API server lets a user do something. Raises ApiError, OSError."""
        now, identity = self._now(), (user.name, user.groups)
        rights = self._rights.get(identity)
        if rights is None or rights.until < now:
            rights = _Rights(now + _ACCESS_S)
            _keep(self._rights, identity, rights, _SESSIONS)
        if question not in rights.answers:
            if len(rights.answers) >= _QUESTIONS:
                rights.answers.clear()
            rights.answers[question] = await self._ask(user, question)
        return rights.answers[question]

    async def _ask(self, user: User, question: Question) -> bool:
        resource, _, sub = question.resource.partition("/")
        attributes = {"verb": question.verb, "resource": resource, "namespace": question.namespace}
        more = {"group": question.group, "subresource": sub, "name": question.name}
        spec = {
            "user": user.name,
            "groups": list(user.groups),
            "resourceAttributes": attributes | {name: value for name, value in more.items() if value},
        }
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        status = orjson.loads(await self._client.call("POST", _AUTHORIZATION, review)).get("status") or {}
        return bool(status.get("allowed"))


def _keep(into: OrderedDict[K, V], key: K, value: V, most: int) -> None:
    into[key] = value
    into.move_to_end(key)
    while len(into) > most:
        into.popitem(last=False)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode(errors="surrogatepass")).digest()


def _expiry(token: str) -> float:
    """When a JSON Web Token that the API server has accepted ends; infinity without an expiry."""
    try:
        claims = token.split(".")[1]
        return float(orjson.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["exp"])
    except (IndexError, KeyError, TypeError, ValueError):
        return float("inf")
