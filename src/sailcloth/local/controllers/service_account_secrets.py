"""Secrets of type kubernetes.io/service-account-token: filled with a token of their service account, deleted with it."""

from __future__ import annotations

import base64

from sailcloth.local.apiserver.auth.service_account_tokens import BoundObject, TokenIssuer
from sailcloth.local.apiserver.unstructured import Unstructured

from .context import ControllerContext

SECRETS = "secrets"
TYPE = "kubernetes.io/service-account-token"
_NAME, _UID = "kubernetes.io/service-account.name", "kubernetes.io/service-account.uid"
_LIFE_S = 10 * 365 * 86_400  # such tokens do not expire in Kubernetes; they end with the Secret or the account


async def reconcile(
    cluster: ControllerContext, namespace: str, name: str, tokens: TokenIssuer, root_certificate: str
) -> float | None:
    """Fill in token, namespace and root certificate; delete the Secret if its service account is gone."""
    secret = cluster.store.get(SECRETS, namespace, name)
    if secret is None or secret.get("type") != TYPE or secret["metadata"].get("deletionTimestamp"):
        return None
    annotations = secret["metadata"].get("annotations") or {}
    account = cluster.store.get("serviceaccounts", namespace, str(annotations.get(_NAME)))
    if account is None or annotations.get(_UID, account["metadata"]["uid"]) != account["metadata"]["uid"]:
        await cluster.delete(SECRETS, namespace, name)
        return None
    data, uid = secret.get("data") or {}, str(account["metadata"]["uid"])
    if {"token", "ca.crt", "namespace"} <= {*data} and _UID in annotations:
        return None
    bound = BoundObject("Secret", name, str(secret["metadata"]["uid"]))
    token, _ = tokens.issue(namespace, account["metadata"]["name"], uid, [], _LIFE_S, bound)
    texts = {"token": token, "ca.crt": root_certificate, "namespace": namespace}
    encoded = {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}

    def fill(live: Unstructured) -> Unstructured:
        live["data"] = {**encoded, **(live.get("data") or {})}
        live["metadata"].setdefault("annotations", {})[_UID] = uid
        return live

    await cluster.update(SECRETS, namespace, name, fill)
    return None
