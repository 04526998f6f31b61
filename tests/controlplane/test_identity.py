"""Whom the control plane takes callers for, and what it does not believe them: against a real API."""

from __future__ import annotations

from typing import Any

import pytest

from sailcloth.analysis import offline
from sailcloth.api.core import Pod
from sailcloth.api.meta import Key
from sailcloth.controlplane.identity import Verifier, bearer
from sailcloth.controlplane.secret_access import SecretAccess
from sailcloth.kube import ApiError

LABELS = {"app": "web", "version": "v2"}


class Api:
    """An API server's reviews: one account is known until it is deleted, and one may list secrets."""

    def __init__(self) -> None:
        self.reviews: list[str] = []
        self.deleted = False
        self.error: Exception | None = None

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        if self.error is not None:
            raise self.error
        self.reviews.append(body["kind"])
        if body["kind"] == "SubjectAccessReview":
            asked = body["spec"]["resourceAttributes"]
            user = body["spec"]["user"]
            yes = (
                user == "system:serviceaccount:shop:gateway"
                and asked["verb"] == "list"
                and asked["resource"] == "secrets"
            )
            return {"status": {"allowed": yes}}
        assert body["spec"]["audiences"] == ["istio-ca"]
        account, _, pod = body["spec"]["token"].partition("/")
        if self.deleted or account == "nobody":
            return {"status": {"authenticated": False, "error": "the account is gone"}}
        user = {
            "username": f"system:serviceaccount:shop:{account}" if account != "human" else "jane",
            "extra": {"authentication.kubernetes.io/pod-name": [pod]} if pod else {},
        }
        return {"status": {"authenticated": True, "user": user, "audiences": ["istio-ca"]}}


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def verifier(api: Api) -> Verifier:
    import msgspec

    pod = msgspec.convert({"metadata": {"name": "web-1", "namespace": "shop", "labels": LABELS}}, Pod)
    return Verifier(api, offline.mesh_of([(Key("Pod", "shop", "web-1"), pod)]))  # type: ignore[arg-type]


async def test_an_answer_is_kept_but_not_where_something_is_signed(api: Api, verifier: Verifier) -> None:
    assert (await verifier.caller("web/web-1")).pod == "web-1"
    await verifier.caller("web/web-1")
    assert len(api.reviews) == 1
    identity = await verifier.identity("web/web-1")
    assert (identity.namespace, identity.service_account) == ("shop", "web")
    assert len(api.reviews) == 2
    api.deleted = True
    with pytest.raises(PermissionError, match="the account is gone"):
        await verifier.identity("web/web-1")
    with pytest.raises(PermissionError, match="the account is gone"):
        await verifier.caller("web/web-1")  # what was kept is forgotten with it


@pytest.mark.parametrize(
    ("token", "why"),
    [
        ("", "no service-account token"),
        ("nobody", "the account is gone"),
        ("human", "not a service account's: its user is jane"),
    ],
)
async def test_who_is_refused_is_told_why(verifier: Verifier, token: str, why: str) -> None:
    with pytest.raises(PermissionError, match=why):
        await verifier.caller(token)


@pytest.mark.parametrize("error", [ApiError(500, "InternalError", "later"), OSError("reset"), TimeoutError()])
async def test_without_an_api_server_nobody_is_believed(api: Api, verifier: Verifier, error: Exception) -> None:
    api.error = error
    with pytest.raises(PermissionError, match="could not be verified"):
        await verifier.caller("web/web-1")


async def test_secrets_go_by_what_the_account_may_and_by_the_labels_of_the_pod(api: Api, verifier: Verifier) -> None:
    labels = tuple(sorted(LABELS.items()))
    web, gateway = await verifier.caller("web/web-1"), await verifier.caller("gateway/web-1")
    assert await verifier.secret_access(web) == SecretAccess(labels=labels)
    assert await verifier.secret_access(gateway) == SecretAccess(whole_namespace=True, labels=labels)
    assert await verifier.secret_access(await verifier.caller("web")) == SecretAccess()
    api.error = ApiError(503, "Unavailable", "later")
    assert not (await verifier.secret_access(web)).whole_namespace


@pytest.mark.parametrize(
    ("header", "token"), [("Bearer abc", "abc"), ("bearer  abc ", "abc"), ("Basic abc", ""), ("", "")]
)
def test_a_token_is_a_bearers(header: str, token: str) -> None:
    assert bearer({"authorization": header}) == token
